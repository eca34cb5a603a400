#!/usr/bin/env ruby
# Sends one message with net-smtp, exactly as the file has it.
#
# usage: with_net_smtp.rb PORT TLS CA MESSAGE SENDER RECIPIENT...
require "net/smtp"

port, tls, ca, message, sender, *recipients = ARGV
trust = OpenSSL::SSL::SSLContext.new
trust.set_params(ca_file: ca) unless tls == "none"
client = Net::SMTP.new("localhost", Integer(port), starttls: false)
client.open_timeout = client.read_timeout = 20
client.enable_starttls(trust) if tls == "starttls"
client.enable_tls(trust) if tls == "implicit"
credential = ENV["SMTP_USER"] && {
  user: ENV["SMTP_USER"], secret: ENV["SMTP_PASSWORD"], authtype: ENV["SMTP_MECHANISM"].downcase.to_sym
}
client.start(helo: "app.test", **(credential || {})) do |session|
  puts session.send_message(File.binread(message), sender, recipients).string
end
