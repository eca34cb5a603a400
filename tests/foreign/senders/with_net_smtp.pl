#!/usr/bin/perl
# Sends one message with Net::SMTP, exactly as the file has it.
#
# usage: with_net_smtp.pl PORT TLS CA MESSAGE SENDER RECIPIENT...
use strict;
use warnings;
use Net::SMTP;

my ($port, $tls, $ca, $path, $sender, @recipients) = @ARGV;
open(my $file, '<:raw', $path) or die "$path: $!";
my $message = do { local $/; <$file> };

my @protection = (SSL_ca_file => $ca, SSL_verifycn_name => 'localhost', SSL_verify_mode => 1);
my $client = Net::SMTP->new(
    'localhost', Port => $port, Hello => 'app.test', Timeout => 20,
    ($tls eq 'implicit' ? (SSL => 1, @protection) : ()),
) or die "no connection: $@";

# The last reply says why.
sub must { $_[0] or die join(' ', $client->code, $client->message) . "\n" }

must($client->starttls(@protection)) if $tls eq 'starttls';
if (my $user = $ENV{SMTP_USER}) {
    require Authen::SASL;
    my $credential = Authen::SASL->new(
        mechanism => $ENV{SMTP_MECHANISM},
        callback => { user => $user, authname => '', pass => $ENV{SMTP_PASSWORD} },
    );
    must($client->auth($credential));
}
must($client->mail($sender));
must($client->to(@recipients));
must($client->data());
must($client->datasend($message));
must($client->dataend());
print $client->message;
$client->quit;
