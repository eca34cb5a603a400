//! Service extensions: what is offered to clients, and what an upstream offers (RFC 5321 §2.2).

use std::fmt::Write as _;

use bytes::Bytes;

use crate::client::Mechanism;
use crate::reply::Reply;

/// What a server said it can do in its answer to EHLO. HELO leaves the default: nothing.
#[allow(clippy::struct_excessive_bools)] // an extension is offered or it is not
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// SIZE (RFC 1870).
    pub size: SizeOffer,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// AUTH (RFC 4954).
    pub auth: Mechanisms,
    /// LIMITS (RFC 9422).
    pub limits: Limits,
}

/// Which of the mechanisms that we know a server takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms {
    /// LOGIN.
    pub login: bool,
    /// PLAIN (RFC 4616).
    pub plain: bool,
    /// XOAUTH2.
    pub xoauth2: bool,
}

/// What a server says that it takes at most (RFC 9422 §4). What it does not say is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// RCPTMAX: recipients of a transaction.
    pub recipients: Option<u32>,
    /// MAILMAX: transactions of a connection.
    pub transactions: Option<u32>,
}

/// What a server says of message sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SizeOffer {
    /// The parameter is not understood.
    #[default]
    Absent,
    /// Understood; no limit is promised (no value, or 0: RFC 1870 §4).
    Unlimited,
    /// Messages of at most this many octets.
    Octets(u64),
}

impl Capabilities {
    /// Reads the answer to EHLO: a greeting line, then a keyword with its parameters on each line.
    /// Keywords that are not known are passed over, as RFC 5321 §4.1.1.1 asks.
    pub fn from_ehlo(reply: &Reply) -> Self {
        let mut capabilities = Self::default();
        for line in reply.text().split(|&b| b == b'\n').skip(1) {
            let mut words = line.split(|&b| b == b' ').filter(|word| !word.is_empty());
            let Some(keyword) = words.next() else { continue };
            if keyword.eq_ignore_ascii_case(b"PIPELINING") {
                capabilities.pipelining = true;
            } else if keyword.eq_ignore_ascii_case(b"8BITMIME") {
                capabilities.eight_bit_mime = true;
            } else if keyword.eq_ignore_ascii_case(b"SMTPUTF8") {
                capabilities.smtputf8 = true;
            } else if keyword.eq_ignore_ascii_case(b"SIZE") {
                capabilities.size = size_offer(words.next());
            } else if keyword.eq_ignore_ascii_case(b"CHUNKING") {
                capabilities.chunking = true;
            } else if keyword.eq_ignore_ascii_case(b"DSN") {
                capabilities.dsn = true;
            } else if keyword.eq_ignore_ascii_case(b"LIMITS") {
                capabilities.limits = Limits::of(words);
            } else if keyword.eq_ignore_ascii_case(b"STARTTLS") {
                capabilities.starttls = true;
            } else if keyword.eq_ignore_ascii_case(b"AUTH") {
                capabilities.auth.add(words);
            } else if let Some((b"AUTH=", first)) = keyword.split_at_checked(5) {
                // As servers said it before RFC 2554; some say it still, for old clients.
                capabilities.auth.add(std::iter::once(first).chain(words));
            }
        }
        capabilities
    }

    /// Whether a message of `octets` is more than the server said it takes.
    pub const fn refuses_size(&self, octets: u64) -> bool {
        matches!(self.size, SizeOffer::Octets(limit) if octets > limit)
    }
}

impl Mechanisms {
    /// Whether this one is among them.
    pub const fn offers(self, mechanism: Mechanism) -> bool {
        match mechanism {
            Mechanism::Login => self.login,
            Mechanism::Plain => self.plain,
            Mechanism::XOauth2 => self.xoauth2,
        }
    }

    fn add<'a>(&mut self, names: impl Iterator<Item = &'a [u8]>) {
        let is = |name: &[u8], mechanism: Mechanism| {
            name.eq_ignore_ascii_case(mechanism.name().as_bytes())
        };
        for name in names {
            self.login |= is(name, Mechanism::Login);
            self.plain |= is(name, Mechanism::Plain);
            self.xoauth2 |= is(name, Mechanism::XOauth2);
        }
    }
}

impl Limits {
    /// Reads `name=value` words. Names that are not known, and values that are no numbers from 1 to
    /// 999,999, say nothing (RFC 9422 §4.1).
    fn of<'a>(words: impl Iterator<Item = &'a [u8]>) -> Self {
        const DIGITS_MAX: usize = 6;
        let mut limits = Self::default();
        for word in words {
            let Some(equals) = word.iter().position(|&b| b == b'=') else { continue };
            let (name, value) = (&word[..equals], &word[equals + 1..]);
            let digits = value.len() <= DIGITS_MAX && value.iter().all(u8::is_ascii_digit);
            let value = digits.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten();
            let value = value.filter(|&most| most > 0);
            if name.eq_ignore_ascii_case(b"RCPTMAX") {
                limits.recipients = value;
            } else if name.eq_ignore_ascii_case(b"MAILMAX") {
                limits.transactions = value;
            }
        }
        limits
    }
}

fn size_offer(value: Option<&[u8]>) -> SizeOffer {
    let octets = value.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    match octets {
        None | Some(0) => SizeOffer::Unlimited,
        Some(octets) => SizeOffer::Octets(octets),
    }
}

/// What a client may be offered, and not every client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// SIZE (RFC 1870).
    pub size_octets_max: u64,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// AUTH (RFC 4954).
    pub auth: bool,
    /// LIMITS RCPTMAX (RFC 9422): recipients of a transaction, if there are few.
    pub recipients_max: Option<u32>,
    /// DSN (RFC 3461), which only a relay that keeps messages can honour.
    pub dsn: bool,
}

/// The answer to EHLO: what Gatepost itself can honour, whatever the upstream will be.
pub fn ehlo_reply(hostname: &str, offer: Offer) -> Reply {
    let size_octets_max = offer.size_octets_max;
    let mut text = format!(
        "{hostname}\nPIPELINING\nSIZE {size_octets_max}\n8BITMIME\nSMTPUTF8\nCHUNKING\n\
         ENHANCEDSTATUSCODES"
    );
    if let Some(most) = offer.recipients_max {
        // Writing to a String cannot fail.
        let _ = write!(text, "\nLIMITS RCPTMAX={most}");
    }
    if offer.dsn {
        text.push_str("\nDSN");
    }
    if offer.starttls {
        text.push_str("\nSTARTTLS");
    }
    if offer.auth {
        text.push_str("\nAUTH PLAIN LOGIN");
    }
    Reply::plain(250, Bytes::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_understood() {
        let offer = Offer { size_octets_max: 1000, ..Offer::default() };
        let plain = ehlo_reply("relay.example.com", offer);
        assert!(!plain.text().ends_with(b"STARTTLS"));
        let with_tls = ehlo_reply("relay.example.com", Offer { starttls: true, ..offer });
        assert!(with_tls.text().ends_with(b"ENHANCEDSTATUSCODES\nSTARTTLS"));
        let with_auth = ehlo_reply("relay.example.com", Offer { auth: true, ..offer });
        assert!(with_auth.text().ends_with(b"ENHANCEDSTATUSCODES\nAUTH PLAIN LOGIN"));
        let capabilities = Capabilities::from_ehlo(&plain);
        assert!(capabilities.pipelining && capabilities.eight_bit_mime && capabilities.smtputf8);
        assert!(capabilities.refuses_size(1001) && !capabilities.refuses_size(1000));
        assert!(capabilities.chunking && !capabilities.dsn);
        assert_eq!(capabilities.limits, Limits::default());
        let full = ehlo_reply("x", Offer { recipients_max: Some(7), dsn: true, ..offer });
        let capabilities = Capabilities::from_ehlo(&full);
        assert!(capabilities.dsn);
        assert_eq!(capabilities.limits, Limits { recipients: Some(7), transactions: None });
    }

    #[test]
    fn mechanisms_are_those_we_know() {
        for (text, starttls, [login, plain, xoauth2]) in [
            ("x\nSTARTTLS\nAUTH PLAIN LOGIN XOAUTH2", true, [true; 3]),
            ("x\nauth plain CRAM-MD5 XOAUTH", false, [false, true, false]),
            ("x\nAUTH=LOGIN PLAIN", false, [true, true, false]),
            ("x\nAUTH=\nSTARTTLSX", false, [false; 3]),
            ("STARTTLS\nAUTH", false, [false; 3]),
        ] {
            let capabilities = Capabilities::from_ehlo(&Reply::plain(250, text));
            let auth = Mechanisms { login, plain, xoauth2 };
            assert_eq!((capabilities.starttls, capabilities.auth), (starttls, auth), "{text}");
        }
    }

    #[test]
    fn limits_are_numbers() {
        for (words, recipients, transactions) in [
            ("RCPTMAX=100 MAILMAX=20", Some(100), Some(20)),
            ("rcptmax=1 RCPTDOMAINMAX=1 X", Some(1), None),
            ("RCPTMAX=0 MAILMAX=", None, None),
            ("RCPTMAX=+5 MAILMAX=-1", None, None),
            ("RCPTMAX=1000000 MAILMAX=4294967297", None, None),
            ("", None, None),
        ] {
            let reply = Reply::plain(250, format!("x\nLIMITS {words}"));
            let limits = Capabilities::from_ehlo(&reply).limits;
            assert_eq!(limits, Limits { recipients, transactions }, "{words}");
        }
    }

    #[test]
    fn the_greeting_line_offers_nothing() {
        let reply = Reply::plain(250, "PIPELINING\nsize\nX-ODD thing\nSIZE 0");
        let capabilities = Capabilities::from_ehlo(&reply);
        assert!(!capabilities.pipelining);
        assert_eq!(capabilities.size, SizeOffer::Unlimited);
        assert_eq!(
            Capabilities::from_ehlo(&Reply::plain(250, "x\nSIZE x1")).size,
            SizeOffer::Unlimited
        );
    }
}
