//! The words of a command, and the octets of a message, to a strict server (RFC 5321 §4.1).
//!
//! Plain and slow, and written without a look at gatepost-smtp. What the contract and the module
//! `gatepost_smtp::path` allow or refuse beyond the RFC is said where it is.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::strict::Newlines;

/// Octets of a path, and of its domain (contract §3).
const PATH_OCTETS_MAX: usize = 1000;
const DOMAIN_OCTETS_MAX: usize = 255;

/// The parameters of MAIL.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// SIZE.
    pub size: Option<u64>,
    /// BODY, as it is sent on.
    pub body: Option<&'static str>,
    /// SMTPUTF8.
    pub smtputf8: bool,
}

impl Mail {
    /// Those that are sent on as they are.
    pub fn words(&self) -> Vec<&'static str> {
        self.body.into_iter().chain(self.smtputf8.then_some("SMTPUTF8")).collect()
    }
}

/// The verb in capitals, and what follows it. More spaces than one are let through around the
/// argument, and none before the verb.
pub fn verb(line: &[u8]) -> (Vec<u8>, &[u8]) {
    let end = line.iter().position(|octet| *octet == b' ').unwrap_or(line.len());
    (line[..end].to_ascii_uppercase(), line[end..].trim_ascii())
}

/// Whether a client may call itself so: any 1 to 255 printable octets (contract §3).
pub fn is_client_name(argument: &[u8]) -> bool {
    (1..=255).contains(&argument.len()) && argument.iter().all(|o| (b' '..=b'~').contains(o))
}

/// The path behind a keyword, without brackets and source route, and the words behind it. One space
/// between keyword and path is let through (contract §3).
pub fn path<'a>(argument: &'a [u8], keyword: &[u8]) -> Option<(&'a [u8], Vec<&'a [u8]>)> {
    if argument.len() < keyword.len() || !argument[..keyword.len()].eq_ignore_ascii_case(keyword) {
        return None;
    }
    let argument = &argument[keyword.len()..];
    let argument = argument.strip_prefix(b" ").unwrap_or(argument).strip_prefix(b"<")?;
    // No path may hold another bracket, not even in quotes.
    let end = argument.iter().position(|octet| *octet == b'>')?;
    let (path, rest) = (&argument[..end], &argument[end + 1..]);
    if path.len() > PATH_OCTETS_MAX || !(rest.is_empty() || rest.starts_with(b" ")) {
        return None;
    }
    let words = rest.split(|octet| *octet == b' ').filter(|word| !word.is_empty()).collect();
    Some((without_route(path)?, words))
}

/// `@a,@b:c@d` means `c@d` (RFC 5321 §4.1.1.3).
fn without_route(path: &[u8]) -> Option<&[u8]> {
    if !path.starts_with(b"@") {
        return Some(path);
    }
    let colon = path.iter().position(|octet| *octet == b':')?;
    let mut hops = path[..colon].split(|octet| *octet == b',');
    hops.all(|hop| hop.strip_prefix(b"@").is_some_and(is_domain)).then_some(&path[colon + 1..])
}

/// The parameters of MAIL, each of them once.
pub fn mail_words(words: Vec<&[u8]>) -> Option<Mail> {
    let mut mail = Mail::default();
    for word in words {
        let word = word.to_ascii_uppercase();
        let fresh = match &*word {
            b"SMTPUTF8" => !std::mem::replace(&mut mail.smtputf8, true),
            b"BODY=7BIT" => mail.body.replace("BODY=7BIT").is_none(),
            b"BODY=8BITMIME" => mail.body.replace("BODY=8BITMIME").is_none(),
            _ => mail.size.replace(size(&word)?).is_none(),
        };
        if !fresh {
            return None;
        }
    }
    Some(mail)
}

/// `SIZE=` and 1 to 20 digits (RFC 1870 §3).
fn size(word: &[u8]) -> Option<u64> {
    number(std::str::from_utf8(word.strip_prefix(b"SIZE=")?).ok()?)
}

/// `1*20DIGIT`. Twenty digits may be more than any number that is kept, and are too many in any case.
fn number(text: &str) -> Option<u64> {
    let valid = (1..=20).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    valid.then(|| text.parse().unwrap_or(u64::MAX))
}

/// `"BDAT" SP chunk-size [ SP "LAST" ]` (RFC 3030 §2), with spaces behind it: how many octets follow, and
/// whether they are the last.
pub fn chunk(line: &[u8]) -> Option<(u64, bool)> {
    let text = std::str::from_utf8(line).ok()?.trim_end_matches(' ');
    let words: Vec<&str> = text.split(' ').skip(1).collect();
    match words[..] {
        [size] => Some((number(size)?, false)),
        [size, last] if last.eq_ignore_ascii_case("LAST") => Some((number(size)?, true)),
        _ => None,
    }
}

/// `Local-part "@" ( Domain / address-literal )` (RFC 5321 §4.1.2, RFC 6531 §3.3).
pub fn is_mailbox(path: &[u8]) -> bool {
    if std::str::from_utf8(path).is_err() {
        return false;
    }
    // No `@` in a domain, nor in an address literal.
    let Some(at) = path.iter().rposition(|octet| *octet == b'@') else { return false };
    let (local_part, domain) = (&path[..at], &path[at + 1..]);
    let is_local_part = is_dot_string(local_part) || is_quoted_string(local_part);
    is_local_part && (is_domain(domain) || is_literal(domain))
}

fn is_dot_string(octets: &[u8]) -> bool {
    let is_atext = |octet: &u8| {
        octet.is_ascii_alphanumeric() || !octet.is_ascii() || b"!#$%&'*+-/=?^_`{|}~".contains(octet)
    };
    octets.split(|octet| *octet == b'.').all(|atom| !atom.is_empty() && atom.iter().all(is_atext))
}

/// No space and no angle brackets in it, which is stricter than RFC 5321: whoever takes the quotes
/// off would find another recipient there.
fn is_quoted_string(octets: &[u8]) -> bool {
    let [b'"', content @ .., b'"'] = octets else { return false };
    let mut content = content.iter();
    while let Some(octet) = content.next() {
        let octet = match octet {
            b'"' => return false,
            b'\\' => match content.next() {
                Some(quoted) if quoted.is_ascii() => quoted,
                _ => return false,
            },
            octet => octet,
        };
        if octet.is_ascii_control() || b" <>".contains(octet) {
            return false;
        }
    }
    true
}

/// `_` is let through, because internal names have it.
fn is_domain(octets: &[u8]) -> bool {
    let is_inner =
        |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'_' || !octet.is_ascii();
    let is_label = |label: &[u8]| {
        let inner = label.iter().all(|octet| is_inner(octet) || *octet == b'-');
        let fits = label.len() <= 63 || !label.is_ascii();
        inner && fits && label.first().is_some_and(is_inner) && label.last().is_some_and(is_inner)
    };
    octets.len() <= DOMAIN_OCTETS_MAX
        && std::str::from_utf8(octets).is_ok()
        && octets.split(|octet| *octet == b'.').all(is_label)
}

/// IPv4 or `IPv6:`; no other was ever registered.
fn is_literal(octets: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(octets) else { return false };
    let Some(text) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) else {
        return false;
    };
    let is_ipv6 = text.len() > 5
        && text.is_char_boundary(5)
        && text[..5].eq_ignore_ascii_case("IPv6:")
        && text[5..].parse::<Ipv6Addr>().is_ok();
    is_ipv6 || text.parse::<Ipv4Addr>().is_ok()
}

/// Whether two servers may see two messages in it: a bare CR, a bare LF where it is a fault, NUL.
pub fn is_spoilt(content: &[u8], newlines: Newlines) -> bool {
    content.iter().enumerate().any(|(at, octet)| match octet {
        b'\r' => content.get(at + 1) != Some(&b'\n'),
        b'\n' => newlines == Newlines::Reject && (at == 0 || content[at - 1] != b'\r'),
        0 => true,
        _ => false,
    })
}

/// Whether it would go on with the field that is put in front (RFC 5322 §2.2.3).
pub fn begins_with_space(content: &[u8]) -> bool {
    let first = content.strip_prefix(b".").unwrap_or(content).first();
    matches!(first, Some(b' ' | b'\t'))
}
