//! What a load balancer says in front of a session, or what somebody says in its place.
//!
//! A header ends where it ends, whatever comes behind it and in whatever pieces; it is never longer
//! than it may be; and the client that it names is the one that a plain reader finds there.
#![no_main]

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use gatepost_smtp::proxy::{Framed, Proxied, V1_OCTETS_MAX, V2_OCTETS_MAX, frame, parse};
use libfuzzer_sys::fuzz_target;

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fuzz_target!(|input: &[u8]| {
    let whole = frame(input);
    for end in 0..input.len() {
        let early = frame(&input[..end]);
        assert!(early == Ok(Framed::Incomplete) || early == whole, "{early:?} became {whole:?}");
    }
    // Not asked for, and no harm.
    let _ = parse(input);
    let Ok(Framed::Whole(octets)) = whole else { return };
    let header = &input[..octets];
    let is_binary = header.starts_with(V2_SIGNATURE);
    assert!(octets <= if is_binary { V2_OCTETS_MAX } else { V1_OCTETS_MAX });
    assert_ne!(frame(&input[..octets - 1]), whole, "an octet less would do");
    let expected = if is_binary { binary(header) } else { line(header) };
    assert_eq!(parse(header).ok(), expected, "{}", header.escape_ascii());
});

/// Version 1, as proxy-protocol.txt has it: six words, each as it must be.
fn line(header: &[u8]) -> Option<Proxied> {
    let words = header.strip_suffix(b"\r\n")?.strip_prefix(b"PROXY ")?;
    if words.contains(&b'\r') {
        return None;
    }
    if words == b"UNKNOWN" || words.starts_with(b"UNKNOWN ") {
        return Some(Proxied::Nobody);
    }
    let words: Vec<&str> = std::str::from_utf8(words).ok()?.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = words[..] else {
        return None;
    };
    let is_port = |text: &str| text.parse().is_ok_and(|port: u16| port.to_string() == text);
    if !is_port(source_port) || !is_port(destination_port) {
        return None;
    }
    let source = match family {
        "TCP4" => both::<Ipv4Addr>(source, destination)?.into(),
        "TCP6" => IpAddr::V6(both::<Ipv6Addr>(source, destination)?),
        _ => return None,
    };
    Some(Proxied::Client(source))
}

/// The first of two addresses of one family.
fn both<T: FromStr>(source: &str, destination: &str) -> Option<T> {
    destination.parse::<T>().ok()?;
    source.parse().ok()
}

/// Version 2: the octets at their places.
fn binary(header: &[u8]) -> Option<Proxied> {
    let rest = &header[16..];
    let source = match (header[12], header[13]) {
        (0x20, _) | (0x21, 0x00) => return Some(Proxied::Nobody),
        (0x21, 0x31) if rest.len() >= 216 => return Some(Proxied::Nobody),
        (0x21, 0x11) if rest.len() >= 12 && is_list(header, 28) => {
            IpAddr::from(<[u8; 4]>::try_from(&rest[..4]).ok()?)
        }
        (0x21, 0x21) if rest.len() >= 36 && is_list(header, 52) => {
            IpAddr::from(<[u8; 16]>::try_from(&rest[..16]).ok()?)
        }
        _ => return None,
    };
    Some(Proxied::Client(source))
}

/// Whether TLVs from this place on fill the header, and each checksum among them is right.
fn is_list(header: &[u8], at: usize) -> bool {
    match &header[at..] {
        [] => true,
        [kind, high, low, rest @ ..] => {
            let octets = usize::from(*high) * 256 + usize::from(*low);
            let Some(value) = rest.get(..octets) else { return false };
            let is_right = *kind != 3 || value == crc32c_without(header, at + 3, octets);
            is_right && is_list(header, at + 3 + octets)
        }
        _ => false,
    }
}

/// CRC-32C bit by bit, with zeros where the checksum stands.
fn crc32c_without(header: &[u8], at: usize, octets: usize) -> Vec<u8> {
    let mut header = header.to_vec();
    header.splice(at..at + octets, [0; 4]);
    let mut crc = u32::MAX;
    for octet in header {
        crc ^= u32::from(octet);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).to_be_bytes().to_vec()
}
