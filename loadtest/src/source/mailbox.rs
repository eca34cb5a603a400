//! Addresses that may stand in a command and in a header field as they are.
//!
//! Stricter than RFC 5321 §4.1.2: no quoted local-part, no address literal, no UTF-8. What a load
//! test needs is an address that no server can misread.

use std::fmt;
use std::str::FromStr;

use anyhow::ensure;

/// RFC 5321 §4.5.3.1.3 allows 256 octets for a path with its brackets.
const MAILBOX_OCTETS_MAX: usize = 254;

/// `dot-string@domain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox(String);

impl Mailbox {
    /// Of parts that are known to be plain.
    pub(super) fn from_parts(local_part: &'static str, domain: &'static str) -> Self {
        Self(format!("{local_part}@{domain}"))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn domain(&self) -> &str {
        self.split().1
    }

    /// The first recipient is the mailbox itself, number 2 is `local-part-2@domain` and so on.
    pub(super) fn numbered(&self, number: u32) -> String {
        let (local_part, domain) = self.split();
        match number {
            1 => self.0.clone(),
            _ => format!("{local_part}-{number}@{domain}"),
        }
    }

    fn split(&self) -> (&str, &str) {
        // There is exactly one: `from_str` made sure.
        self.0.split_once('@').unwrap()
    }
}

impl FromStr for Mailbox {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (local_part, domain) = text.split_once('@').unwrap_or((text, ""));
        let atoms_only = local_part.split('.').all(|atom| is_made_of(atom, is_atext));
        let labels_only = domain.split('.').all(|label| is_made_of(label, is_label));
        ensure!(atoms_only && labels_only, "{text:?} is not a plain local-part@domain");
        ensure!(text.len() <= MAILBOX_OCTETS_MAX, "longer than {MAILBOX_OCTETS_MAX} octets");
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The reverse-path of MAIL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// An address.
    Mailbox(Mailbox),
    /// `<>`, as notifications have it.
    Null,
}

impl FromStr for ReversePath {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "" | "<>" => Ok(Self::Null),
            _ => text.parse().map(Self::Mailbox),
        }
    }
}

fn is_made_of(text: &str, is_part: fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(is_part)
}

/// RFC 5322 §3.2.3.
fn is_atext(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

fn is_label(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_plain_addresses_only() {
        for good in ["a@b", "app.one+tag@example.com", "o'neil@a-b.example"] {
            assert_eq!(good.parse::<Mailbox>().unwrap().as_str(), good);
        }
        let bad =
            ["", "@", "a", "a@", "@b", "a@b@c", "a b@c", ".a@b", "a@b.", "a@b\r\nQUIT", "ä@b"];
        for bad in bad {
            bad.parse::<Mailbox>().unwrap_err();
        }
    }

    #[test]
    fn numbers_recipients_from_the_second_on() {
        let mailbox: Mailbox = "user@example.net".parse().unwrap();
        assert_eq!(mailbox.numbered(1), "user@example.net");
        assert_eq!(mailbox.numbered(12), "user-12@example.net");
    }
}
