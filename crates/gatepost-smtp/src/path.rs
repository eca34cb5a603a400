//! Reverse-path and forward-path (RFC 5321 §4.1.2).
//!
//! Paths are recognised, never rewritten: a [`Mailbox`] is a slice of the command line, so the
//! octets that policy has judged are the octets that go upstream. Nothing is un-quoted, folded in
//! case or decoded here. What cannot be forwarded safely is refused, which is stricter than the
//! RFC in two places:
//!
//! - a quoted local-part may hold no space, `<` or `>`: with them, a careless parser further on
//!   can be led to see another recipient than the one that was judged;
//! - an address literal is IPv4 or `IPv6:`; no General-address-literal was ever registered.
//!
//! A source route (`@a,@b:user@domain`) is accepted and stripped (RFC 5321 §3.6.1, appendix C).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Octets of a path (RFC 5321 §4.5.3.1.3 asks for 256; long VERP addresses want more).
pub const PATH_OCTETS_MAX: usize = 1000;
/// Octets of a domain (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_OCTETS_MAX: usize = 255;
/// Octets of one label (RFC 1035 §2.3.4); a U-label may take more in UTF-8.
const LABEL_OCTETS_MAX: usize = 63;

/// Why octets are not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No `<…>` around it.
    #[error("the path must stand in angle brackets, like <user@example.com>")]
    Brackets,
    /// The domain or address literal is not one.
    #[error("the domain of the path is not valid")]
    Domain,
    /// The local-part is not one, or holds what must not be forwarded.
    #[error("the local-part of the path is not valid")]
    LocalPart,
    /// Longer than [`PATH_OCTETS_MAX`], or its domain than [`DOMAIN_OCTETS_MAX`].
    #[error("the path is too long")]
    TooLong,
}

/// `local-part@domain`, exactly as it was sent (RFC 5321 §4.1.2, RFC 6531 §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox<'a> {
    octets: &'a [u8],
    /// Where the `@` between local-part and domain is.
    at: usize,
}

impl<'a> Mailbox<'a> {
    /// Reads `local-part@domain`, all of `octets`.
    ///
    /// ```abnf
    /// Mailbox       = Local-part "@" ( Domain / address-literal )
    /// Local-part    = Dot-string / Quoted-string
    /// ```
    pub fn parse(octets: &'a [u8]) -> Result<Self, PathError> {
        let at = local_part_octets(octets).ok_or(PathError::LocalPart)?;
        let Some((b'@', domain)) = octets[at..].split_first() else {
            return Err(PathError::LocalPart);
        };
        if domain.len() > DOMAIN_OCTETS_MAX {
            return Err(PathError::TooLong);
        }
        let valid = match domain.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
            Some(literal) => is_address_literal(literal),
            None => is_domain(domain),
        };
        if valid { Ok(Self { octets, at }) } else { Err(PathError::Domain) }
    }

    /// The whole mailbox, as sent.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.octets
    }

    /// The local-part, quotes included.
    pub fn local_part(&self) -> &'a [u8] {
        &self.octets[..self.at]
    }

    /// The domain or bracketed address literal.
    pub fn domain(&self) -> &'a [u8] {
        &self.octets[self.at + 1..]
    }

    /// Whether SMTPUTF8 is needed to say it (RFC 6531 §3.3).
    pub fn is_ascii(&self) -> bool {
        self.octets.is_ascii()
    }
}

/// Who a message is from (RFC 5321 §4.1.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePath<'a> {
    /// `<>`, of notifications (RFC 5321 §4.5.5).
    Null,
    /// Any other.
    Mailbox(Mailbox<'a>),
}

impl<'a> ReversePath<'a> {
    /// Reads `<…>` at the start of `octets`; returns it and what follows the closing bracket.
    pub fn split_from(octets: &'a [u8]) -> Result<(Self, &'a [u8]), PathError> {
        let (inner, rest) = split_brackets(octets)?;
        let path =
            if inner.is_empty() { Self::Null } else { Self::Mailbox(Mailbox::parse(inner)?) };
        Ok((path, rest))
    }

    /// What stands between the brackets: empty for the null reverse-path.
    pub const fn as_bytes(&self) -> &'a [u8] {
        match self {
            Self::Null => b"",
            Self::Mailbox(mailbox) => mailbox.as_bytes(),
        }
    }

    /// Whether it can be said without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.as_bytes().is_ascii()
    }
}

/// A [`ReversePath`] that is kept beyond its command line. Shared: cloning it copies no octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReversePathBuf {
    octets: Arc<[u8]>,
    /// Where the `@` of a mailbox is; none if it is null.
    at: Option<usize>,
}

impl ReversePathBuf {
    /// The path, borrowed.
    pub fn path(&self) -> ReversePath<'_> {
        match self.at {
            None => ReversePath::Null,
            Some(at) => ReversePath::Mailbox(Mailbox { octets: &self.octets, at }),
        }
    }

    /// What stands between the brackets: empty for the null reverse-path.
    pub const fn octets(&self) -> &Arc<[u8]> {
        &self.octets
    }
}

impl From<ReversePath<'_>> for ReversePathBuf {
    fn from(path: ReversePath<'_>) -> Self {
        let at = match path {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => Some(mailbox.at),
        };
        Self { octets: path.as_bytes().into(), at }
    }
}

/// Whom a message is for (RFC 5321 §4.1.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardPath<'a> {
    /// `<postmaster>` without a domain, in the sender's capitals (RFC 5321 §4.5.1).
    Postmaster(&'a [u8]),
    /// Any other.
    Mailbox(Mailbox<'a>),
}

impl<'a> ForwardPath<'a> {
    /// Reads `<…>` at the start of `octets`; returns it and what follows the closing bracket.
    pub fn split_from(octets: &'a [u8]) -> Result<(Self, &'a [u8]), PathError> {
        let (inner, rest) = split_brackets(octets)?;
        let path = if inner.eq_ignore_ascii_case(b"postmaster") {
            Self::Postmaster(inner)
        } else {
            Self::Mailbox(Mailbox::parse(inner)?)
        };
        Ok((path, rest))
    }

    /// What stands between the brackets.
    pub const fn as_bytes(&self) -> &'a [u8] {
        match self {
            Self::Postmaster(octets) => octets,
            Self::Mailbox(mailbox) => mailbox.as_bytes(),
        }
    }

    /// Whether it can be said without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.as_bytes().is_ascii()
    }
}

/// Splits `<inner>rest`, and strips a source route from `inner`.
///
/// The closing bracket is the first one: no valid local-part can hold another (see the module).
fn split_brackets(octets: &[u8]) -> Result<(&[u8], &[u8]), PathError> {
    let body = octets.strip_prefix(b"<").ok_or(PathError::Brackets)?;
    let end = memchr::memchr(b'>', body).ok_or(PathError::Brackets)?;
    let (inner, rest) = (&body[..end], &body[end + 1..]);
    if inner.len() > PATH_OCTETS_MAX {
        return Err(PathError::TooLong);
    }
    Ok((strip_source_route(inner)?, rest))
}

/// `A-d-l ":"` with `A-d-l = "@" Domain *( "," "@" Domain )`, dropped.
fn strip_source_route(inner: &[u8]) -> Result<&[u8], PathError> {
    if inner.first() != Some(&b'@') {
        return Ok(inner);
    }
    let colon = memchr::memchr(b':', inner).ok_or(PathError::LocalPart)?;
    let hops_valid = inner[..colon]
        .split(|&b| b == b',')
        .all(|hop| hop.strip_prefix(b"@").is_some_and(is_domain));
    if hops_valid { Ok(&inner[colon + 1..]) } else { Err(PathError::Domain) }
}

/// How many octets at the start are a local-part; `None` if there is no valid one.
fn local_part_octets(octets: &[u8]) -> Option<usize> {
    if octets.first() == Some(&b'"') {
        return quoted_string_octets(octets);
    }
    // Dot-string = Atom *("." Atom): no dot without an atom in front of it.
    let mut before = b'.';
    for (at, &octet) in octets.iter().enumerate() {
        match octet {
            b'@' | b'.' if before == b'.' => return None,
            b'@' => return std::str::from_utf8(&octets[..at]).is_ok().then_some(at),
            b'.' => {}
            _ if ATEXT[usize::from(octet)] => {}
            _ => return None,
        }
        before = octet;
    }
    None
}

fn quoted_string_octets(octets: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match *octets.get(at)? {
            b'"' => break,
            b'\\' => {
                // quoted-pairSMTP = %d92 %d32-126, less what the module doc excludes.
                if !octets.get(at + 1).copied().is_some_and(|b| is_quotable(b) && b.is_ascii()) {
                    return None;
                }
                at += 2;
            }
            octet if is_quotable(octet) => at += 1,
            _ => return None,
        }
    }
    std::str::from_utf8(&octets[..=at]).is_ok().then_some(at + 1)
}

const fn is_quotable(octet: u8) -> bool {
    matches!(octet, b'!'..=b'~' | 0x80..) && !matches!(octet, b'<' | b'>')
}

/// [`is_atext`], looked up: a path is asked octet by octet.
const ATEXT: [bool; 256] = {
    let mut table = [false; 256];
    let mut octet = 0;
    while octet < table.len() {
        table[octet] = is_atext(octet as u8);
        octet += 1;
    }
    table
};

/// `atext` of RFC 5322 §3.2.3, and any octet of a UTF-8 sequence (RFC 6531 §3.3).
pub(crate) const fn is_atext(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || octet >= 0x80
        || matches!(
            octet,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'/'
                | b'='
                | b'?'
                | b'^'
                | b'_'
                | b'`'
                | b'{'
                | b'|'
                | b'}'
                | b'~'
        )
}

/// `Domain = sub-domain *("." sub-domain)`. `_` is let through: internal host names have it.
fn is_domain(octets: &[u8]) -> bool {
    let label_valid = |label: &[u8]| {
        let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_') || *b >= 0x80;
        let octets_max = if label.is_ascii() { LABEL_OCTETS_MAX } else { DOMAIN_OCTETS_MAX };
        !label.is_empty()
            && label.len() <= octets_max
            && label.first() != Some(&b'-')
            && label.last() != Some(&b'-')
            && label.iter().all(inner)
    };
    octets.len() <= DOMAIN_OCTETS_MAX
        && octets.split(|&b| b == b'.').all(label_valid)
        && std::str::from_utf8(octets).is_ok()
}

/// `IPv4-address-literal / IPv6-address-literal` of RFC 5321 §4.1.3, without the brackets.
fn is_address_literal(octets: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(octets) else { return false };
    match text.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => {
            address.parse::<Ipv6Addr>().is_ok()
        }
        _ => text.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(text: &str) -> Result<(&str, &str), PathError> {
        let parsed = Mailbox::parse(text.as_bytes())?;
        let utf8 = |octets| std::str::from_utf8(octets).expect("a mailbox is UTF-8");
        Ok((utf8(parsed.local_part()), utf8(parsed.domain())))
    }

    #[test]
    fn mailboxes_are_split_at_the_right_sign() {
        assert_eq!(mailbox("user@example.com"), Ok(("user", "example.com")));
        assert_eq!(mailbox("\"a@b\"@c"), Ok(("\"a@b\"", "c")));
        assert_eq!(mailbox("\"a\\\"b\"@c"), Ok(("\"a\\\"b\"", "c")));
        assert_eq!(mailbox("u%x@y"), Ok(("u%x", "y")));
        assert_eq!(mailbox("h!u@y_z.internal"), Ok(("h!u", "y_z.internal")));
        assert_eq!(mailbox("u@[127.0.0.1]"), Ok(("u", "[127.0.0.1]")));
        assert_eq!(mailbox("u@[IPv6:2001:db8::1]"), Ok(("u", "[IPv6:2001:db8::1]")));
        assert_eq!(mailbox("grün@grün.example"), Ok(("grün", "grün.example")));
    }

    #[test]
    fn what_must_not_be_forwarded_is_refused() {
        for wrong in [
            "",
            "@",
            "a",
            "a@",
            "@b",
            ".a@b",
            "a.@b",
            "a..b@c",
            "a b@c",
            "a@b c",
            "a@b@c",
            "a@-b",
            "a@b-",
            "a@b..c",
            "a@b.",
            "a@.b",
            "\"a",
            "\"a\"b@c",
            "\"a b\"@c",
            "\"a<b\"@c",
            "\"a>b\"@c",
            "\"a\\ b\"@c",
            "\"a\tb\"@c",
            "a\rb@c.d",
            "a\0b@c",
            "a(c)@d",
            "a@[1.2.3]",
            "a@[01.2.3.4]",
            "a@[IPv6:1.2.3.4]",
            "a@[IPv6:fe80::1%eth0]",
            "a@[tag:x]",
            "a@[1.2.3.4",
            "a@1.2.3.4]",
        ] {
            assert!(mailbox(wrong).is_err(), "{wrong:?} must be refused");
        }
        assert!(Mailbox::parse(b"\xff@c").is_err(), "invalid UTF-8");
        assert!(Mailbox::parse(b"a@\xff").is_err(), "invalid UTF-8");
    }

    #[test]
    fn a_recipient_cannot_hide_in_a_quoted_local_part() {
        // A parser that un-quotes hands `a@evil.example> X <b@ok.example` on.
        let path = b"<\"a@evil.example> X <b\"@ok.example>";
        assert!(ForwardPath::split_from(path).is_err());
    }

    #[test]
    fn paths_end_at_their_bracket() {
        assert_eq!(ReversePath::split_from(b"<> SIZE=1"), Ok((ReversePath::Null, &b" SIZE=1"[..])));
        let (path, rest) = ForwardPath::split_from(b"<PostMaster>").expect("a path");
        assert_eq!((path, rest), (ForwardPath::Postmaster(b"PostMaster"), &b""[..]));
        assert_eq!(ReversePath::split_from(b"a@b"), Err(PathError::Brackets));
        assert_eq!(ReversePath::split_from(b"<a@b"), Err(PathError::Brackets));
        assert_eq!(ForwardPath::split_from(b"<>").unwrap_err(), PathError::LocalPart);
    }

    #[test]
    fn a_source_route_is_stripped() {
        let (path, _) = ForwardPath::split_from(b"<@a.example,@b.example:c@d>").expect("a path");
        assert_eq!(path.as_bytes(), b"c@d");
        for wrong in [&b"<@a.example>"[..], b"<@a,b:c@d>", b"<@:c@d>", b"<@a..b:c@d>"] {
            assert!(ForwardPath::split_from(wrong).is_err());
        }
    }

    #[test]
    fn limits_hold() {
        let domain = format!("{}.example", ["a"; 120].join("."));
        assert!(mailbox(&format!("u@{domain}")).is_ok());
        assert_eq!(mailbox(&format!("u@{domain}.{domain}")), Err(PathError::TooLong));
        assert_eq!(mailbox(&format!("u@{}.example", "a".repeat(64))), Err(PathError::Domain));
        let long_local = format!("<{}@b>", "a".repeat(998));
        assert!(ForwardPath::split_from(long_local.as_bytes()).is_ok());
        let too_long = format!("<{}@b>", "a".repeat(999));
        assert_eq!(ForwardPath::split_from(too_long.as_bytes()), Err(PathError::TooLong));
    }
}
