//! One pattern of Postfix: an address or a network, the address perhaps in brackets.

use gatepost_policy::network::NetworkError;
use ipnet::IpNet;

use super::order::Meaning;
use crate::exchange::networks::{self, RangeError};

/// The network of a pattern. All of IPv4 or IPv6 can be refused, but not let in.
pub(super) fn network(pattern: &str, meaning: Meaning) -> Result<IpNet, String> {
    let text = without_brackets(pattern);
    match networks::network(&text) {
        Ok(network) => Ok(network),
        Err(error @ RangeError::Network(NetworkError::Everything)) => match meaning {
            Meaning::Allow => Err(error.to_string()),
            Meaning::Deny | Meaning::Pass => {
                networks::everything(&text).ok_or_else(|| error.to_string())
            }
        },
        Err(error) => Err(reference(pattern).map_or_else(|| error.to_string(), str::to_owned)),
    }
}

/// `[2001:db8::]/32` as `2001:db8::/32`.
fn without_brackets(pattern: &str) -> String {
    let inner = pattern.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match inner {
        Some((address, "")) => address.to_owned(),
        Some((address, rest)) if rest.starts_with('/') => format!("{address}{rest}"),
        _ => pattern.to_owned(),
    }
}

/// What to do about a pattern that stands for others.
fn reference(pattern: &str) -> Option<&'static str> {
    if pattern.starts_with('/') {
        return Some("the networks are in that file; import it by itself, and take it out here");
    }
    if pattern.contains('$') {
        return Some(
            "a parameter; write what it stands for, as `postconf -xh mynetworks` shows it",
        );
    }
    if pattern.contains('#') {
        return Some("not a comment to Postfix; begin comments on lines of their own");
    }
    let (kind, name) = pattern.split_once(':')?;
    // `cdb:/etc/…` could begin like an IPv6 address.
    let is_kind = name.starts_with('/') || kind.bytes().any(|octet| !octet.is_ascii_hexdigit());
    let is_word = !kind.is_empty() && kind.bytes().all(|octet| octet.is_ascii_alphanumeric());
    (is_kind && is_word).then_some(
        "the networks are in that table; import its file by itself if it is a CIDR table, else write \
         its networks out, and take it out here",
    )
}
