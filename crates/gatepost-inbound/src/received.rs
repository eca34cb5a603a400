//! The trace field that is put in front of every message (RFC 5321 §4.4, RFC 5322 §3.6.7).

use std::net::IpAddr;

use bytes::Bytes;
use gatepost_policy::network::Network;
use gatepost_smtp::ascii::{self, Latest, Text};
use jiff::fmt::StdFmtWrite;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;

use crate::config::ReceivedStyle;
use gatepost_relay::Id;

/// Octets of the longest date (RFC 5322 §3.3).
const DATE_OCTETS_MAX: usize = "Sat, 21 Nov 2026 22:05:09 +0000".len();

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
        let mut line = Vec::with_capacity(LINE_OCTETS);
        line.extend_from_slice(b"Received: ");
        if style == ReceivedStyle::Full || !is_internal(self.client) {
            line.extend_from_slice(b"from ");
            put_name(self.helo, &mut line);
            // An address literal (RFC 5321 §4.1.3).
            let tag: &[u8] = if self.client.is_ipv4() { b" ([" } else { b" ([IPv6:" };
            line.extend_from_slice(tag);
            line.extend_from_slice(ascii::address(self.client).as_bytes());
            line.extend_from_slice(b"]) ");
        }
        line.extend_from_slice(b"by ");
        line.extend_from_slice(self.hostname.as_bytes());
        line.extend_from_slice(match self.protocol {
            Protocol::Esmtp => b" with ESMTP id ",
            Protocol::Esmtps => b" with ESMTPS id ",
            Protocol::Esmtpsa => b" with ESMTPSA id ",
        });
        line.extend_from_slice(self.id.text().as_bytes());
        line.extend_from_slice(b"; ");
        line.extend_from_slice(self.date().as_bytes());
        line.extend_from_slice(b"\r\n");
        Bytes::from(line)
    }

    /// The date, worded once for all messages of a second.
    fn date(&self) -> Text<DATE_OCTETS_MAX> {
        static PRINTER: DateTimePrinter = DateTimePrinter::new();
        thread_local! {
            static SECOND: Latest<DATE_OCTETS_MAX> = const { Latest::new() };
        }
        let word = |text: &mut Text<DATE_OCTETS_MAX>| {
            // A Text takes everything.
            let _ = PRINTER.print_zoned(&self.at.to_zoned(TimeZone::UTC), StdFmtWrite(text));
        };
        SECOND.with(|latest| latest.of(self.at.as_second(), word))
    }
}

/// Adds what a client calls itself: nearly always ASCII, which is looked up octet by octet.
fn put_name(name: &str, line: &mut Vec<u8>) {
    if name.is_ascii() {
        line.extend(name.bytes().map(|octet| PRINTABLE[usize::from(octet)]));
    } else {
        line.extend(name.chars().map(|c| u8::try_from(c).map_or(b'?', printable)));
    }
}

/// What the contract calls private: loopback, RFC 1918, RFC 6598, link-local, ULA.
fn is_internal(address: IpAddr) -> bool {
    let octets_bits = if address.is_ipv4() { 32 } else { 128 };
    Network::new(address, octets_bits).is_ok_and(|host| !host.is_public())
}

/// [`printable`], looked up.
const PRINTABLE: [u8; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < table.len() {
        table[octet] = printable(octet as u8);
        octet += 1;
    }
    table
};

/// A character of a client's name for itself, if it can neither end the field's words nor open a comment.
const fn printable(octet: u8) -> u8 {
    match octet {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'.' | b'-' | b'_' | b':' | b'[' | b']' => octet,
        _ => b'?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_relay::Ids;
    use proptest::prelude::*;

    fn line(client: &str, helo: &str, style: ReceivedStyle) -> String {
        let received = Received {
            helo,
            client: client.parse().expect("an address"),
            hostname: "relay.example.com",
            protocol: Protocol::Esmtp,
            id: Ids::new().next(),
            at: "2026-11-21T22:05:09.7Z".parse().expect("a time"),
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
        let odd = line("10.0.0.1", "[a_B:9]\u{e9}\u{20ac}(.-", ReceivedStyle::Full);
        assert!(odd.starts_with("Received: from [a_B:9]???.- ([10.0.0.1])"), "{odd}");
        assert!(line("10.0.0.1", &"x".repeat(255), ReceivedStyle::Full).len() < 998);
    }

    proptest! {
        #[test]
        fn dates_are_those_of_their_seconds(
            at in prop::collection::vec((1_790_000_000_i64..1_790_000_003, 0..1_000_000_000), 1..9),
            other in 0_i64..200_000_000_000,
        ) {
            let all = at.into_iter().chain([(other, 1)]);
            for (second, nanosecond) in all {
                let at = jiff::Timestamp::new(second, nanosecond).expect("a moment");
                let zoned = at.to_zoned(TimeZone::UTC);
                let expected = jiff::fmt::rfc2822::to_string(&zoned).expect("a year of ours");
                let received = Received {
                    helo: "a",
                    client: [10, 0, 0, 1].into(),
                    hostname: "b",
                    protocol: Protocol::Esmtps,
                    id: Ids::new().next(),
                    at,
                };
                let id = received.id;
                let line = received.line(ReceivedStyle::Full);
                let expected =
                    format!("Received: from a ([10.0.0.1]) by b with ESMTPS id {id}; {expected}\r\n");
                prop_assert_eq!(str::from_utf8(&line), Ok(&*expected));
            }
        }
    }
}
