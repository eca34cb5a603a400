//! The trace field that is put in front of every message (RFC 5321 §4.4, RFC 5322 §3.6.7).

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use bytes::Bytes;
use gatepost_policy::network::Network;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;

use crate::config::ReceivedStyle;
use gatepost_relay::Id;

/// What a `Received:` line says.
pub(crate) struct Received<'a> {
    pub(crate) helo: &'a str,
    pub(crate) client: IpAddr,
    pub(crate) hostname: &'a str,
    pub(crate) protocol: Protocol,
    pub(crate) id: Id,
    pub(crate) at: jiff::Timestamp,
}

/// How it came (RFC 3848).
#[derive(Clone, Copy)]
pub(crate) enum Protocol {
    Esmtp,
    Esmtps,
    /// Behind TLS, by a client that has authenticated.
    Esmtpsa,
}

impl Received<'_> {
    /// The line with its CRLF. At most some 650 octets, under the 998 of RFC 5322 §2.1.1.
    pub(crate) fn line(&self, style: ReceivedStyle) -> Bytes {
        /// Most lines; one for every message, so it is written without pieces of its own.
        const LINE_OCTETS: usize = 192;
        static DATE: DateTimePrinter = DateTimePrinter::new();
        let mut line = String::with_capacity(LINE_OCTETS);
        line.push_str("Received: ");
        if style == ReceivedStyle::Full || !is_internal(self.client) {
            line.push_str("from ");
            line.extend(self.helo.chars().map(printable));
            // A String takes everything.
            let _ = write!(line, " ({}) ", Literal(self.client));
        }
        line.push_str("by ");
        line.push_str(self.hostname);
        line.push_str(match self.protocol {
            Protocol::Esmtp => " with ESMTP id ",
            Protocol::Esmtps => " with ESMTPS id ",
            Protocol::Esmtpsa => " with ESMTPSA id ",
        });
        let _ = write!(line, "{}; ", self.id);
        let _ = DATE.print_zoned(&self.at.to_zoned(TimeZone::UTC), &mut line);
        line.push_str("\r\n");
        Bytes::from(line)
    }
}

/// What the contract calls private: loopback, RFC 1918, RFC 6598, link-local, ULA.
fn is_internal(address: IpAddr) -> bool {
    let octets_bits = if address.is_ipv4() { 32 } else { 128 };
    Network::new(address, octets_bits).is_ok_and(|host| !host.is_public())
}

/// A character of a client's name for itself, if it can neither end the field's words nor open a comment.
const fn printable(c: char) -> char {
    match c {
        '0'..='9' | 'A'..='Z' | 'a'..='z' | '.' | '-' | '_' | ':' | '[' | ']' => c,
        _ => '?',
    }
}

/// An address literal (RFC 5321 §4.1.3).
struct Literal(IpAddr);

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "[{address}]"),
            IpAddr::V6(address) => write!(f, "[IPv6:{address}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_relay::Ids;

    fn line(client: &str, helo: &str, style: ReceivedStyle) -> String {
        let received = Received {
            helo,
            client: client.parse().expect("an address"),
            hostname: "relay.example.com",
            protocol: Protocol::Esmtp,
            id: Ids::new().next(),
            at: "2026-11-21T22:05:09Z".parse().expect("a time"),
        };
        String::from_utf8(received.line(style).to_vec()).expect("ASCII")
    }

    #[test]
    fn the_line_is_that_of_the_contract() {
        let full = line("10.0.0.1", "app.internal", ReceivedStyle::Full);
        assert!(full.starts_with(
            "Received: from app.internal ([10.0.0.1]) by relay.example.com with ESMTP id "
        ));
        assert!(full.ends_with("; Sat, 21 Nov 2026 22:05:09 +0000\r\n"), "{full}");
        assert!(
            line("2001:db8::1", "a", ReceivedStyle::Full)
                .contains("from a ([IPv6:2001:db8::1]) by")
        );
    }

    #[test]
    fn internal_clients_can_be_masked() {
        assert!(
            line("10.0.0.1", "app.internal", ReceivedStyle::Masked)
                .starts_with("Received: by relay")
        );
        assert!(
            line("203.0.113.1", "app", ReceivedStyle::Masked).contains("from app ([203.0.113.1])")
        );
    }

    #[test]
    fn a_name_cannot_say_more_than_a_name() {
        let odd = line("10.0.0.1", "a) by evil (; x", ReceivedStyle::Full);
        assert!(odd.starts_with("Received: from a??by?evil????x ([10.0.0.1])"), "{odd}");
        assert!(line("10.0.0.1", &"x".repeat(255), ReceivedStyle::Full).len() < 998);
    }
}
