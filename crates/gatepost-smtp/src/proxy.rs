//! The PROXY protocol: what a load balancer says in front of a session about its client.
//!
//! Version 1 is a line, version 2 is binary; whichever comes is taken. [`frame`] finds the end of a
//! header without looking past it, because what follows is not for us to read yet: the client's TLS
//! hello, perhaps. [`parse`] reads the whole header. The rules are those of HAProxy's
//! proxy-protocol.txt, and the reader is the library's, which is lenient in version 1; here a header
//! that can be read in two ways is refused, since the address in it is all that a client is known by.
//! So is one that is not whole: what version 2 says besides has to end where the header ends, and a
//! checksum has to be right. Nothing else of it is believed.

use std::net::IpAddr;
use std::ops::Range;

use crc::{CRC_32_ISCSI, Crc};
use proxy_header::{ParseConfig, Protocol, ProxyHeader};

/// Octets of a version 1 header, CRLF included: the longest that there can be (§2.1).
pub const V1_OCTETS_MAX: usize = 107;

/// Octets of a version 2 header: sixteen, the addresses, and more than load balancers are known to
/// add about the client's TLS and themselves. The protocol could announce sixteen times as many.
pub const V2_OCTETS_MAX: usize = V2_FIXED_OCTETS + 4096;

/// Octets of a version 2 header that come before what their last two announce (§2.2).
const V2_FIXED_OCTETS: usize = 16;
const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and the command that says that the proxy speaks for itself.
const V2_LOCAL: u8 = 0x20;
/// The transport that a version 2 header names, in the lower half of its octet.
const V2_TRANSPORT: u8 = 0x0f;
const V2_DATAGRAM: u8 = 0x02;
/// What a TLV is, and how long: three octets in front of its value (§2.2.3).
const TLV_FIXED_OCTETS: usize = 3;
const TLV_CRC32C: u8 = 0x03;
/// What the protocol calls CRC32c, others know as the one of iSCSI.
static CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// What stands at the start of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    /// So far all of it belongs to a header, and there is more to come.
    Incomplete,
    /// A header of this many octets. What comes behind them is not the proxy's.
    Whole(usize),
}

/// For whom a proxy has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// For a client with this address, as the header has it: IPv4-mapped or not.
    Client(IpAddr),
    /// For nobody that it could name: itself (LOCAL), or a client without an address (UNKNOWN).
    Nobody,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyFault {
    /// It speaks of datagrams, and this is a stream.
    #[error("a PROXY header for datagrams")]
    Datagram,
    /// It begins like a header and is not one.
    #[error("malformed PROXY header")]
    Malformed,
    /// It does not begin like a header.
    #[error("no PROXY header")]
    Missing,
    /// Longer than [`V1_OCTETS_MAX`] or [`V2_OCTETS_MAX`].
    #[error("PROXY header too long")]
    TooLong,
}

/// Finds the header at the start of `input`, which has not more than it needs to be found.
pub fn frame(input: &[u8]) -> Result<Framed, ProxyFault> {
    if agree(input, V2_SIGNATURE) {
        frame_v2(input)
    } else if agree(input, V1_SIGNATURE) {
        frame_v1(input)
    } else {
        Err(ProxyFault::Missing)
    }
}

/// Reads a header that [`frame`] has found, whole and alone.
pub fn parse(header: &[u8]) -> Result<Proxied, ProxyFault> {
    if header.starts_with(V2_SIGNATURE) {
        let (command, transport) = match header.get(V2_SIGNATURE.len()..V2_FIXED_OCTETS) {
            Some(&[command, transport, _, _]) => (command, transport & V2_TRANSPORT),
            _ => return Err(ProxyFault::Malformed),
        };
        // Whatever addresses there are, they are to be ignored (§2.2), and may be of any kind.
        if command == V2_LOCAL {
            return Ok(Proxied::Nobody);
        }
        // The library does not tell datagrams of AF_UNIX.
        if transport == V2_DATAGRAM {
            return Err(ProxyFault::Datagram);
        }
        if !is_whole_v2(header) {
            return Err(ProxyFault::Malformed);
        }
    } else if !is_strict_v1(header) {
        return Err(ProxyFault::Malformed);
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    // It is whole: one that is too short for what it announces is as malformed as any other.
    let (parsed, octets) = ProxyHeader::parse(header, config).map_err(|_| ProxyFault::Malformed)?;
    if octets != header.len() {
        return Err(ProxyFault::Malformed);
    }
    match parsed.proxied_address() {
        None => Ok(Proxied::Nobody),
        Some(address) if address.protocol == Protocol::Stream => {
            Ok(Proxied::Client(address.source.ip()))
        }
        Some(_) => Err(ProxyFault::Datagram),
    }
}

/// Whether one begins as the other does, as far as both go.
fn agree(input: &[u8], signature: &[u8]) -> bool {
    let octets = input.len().min(signature.len());
    input[..octets] == signature[..octets]
}

fn frame_v1(input: &[u8]) -> Result<Framed, ProxyFault> {
    let window = &input[..input.len().min(V1_OCTETS_MAX)];
    match memchr::memchr(b'\n', window) {
        Some(feed) => Ok(Framed::Whole(feed + 1)),
        None if window.len() == V1_OCTETS_MAX => Err(ProxyFault::TooLong),
        None => Ok(Framed::Incomplete),
    }
}

fn frame_v2(input: &[u8]) -> Result<Framed, ProxyFault> {
    let Some(fixed) = input.get(..V2_FIXED_OCTETS) else { return Ok(Framed::Incomplete) };
    let announced = u16::from_be_bytes([fixed[14], fixed[15]]);
    match V2_FIXED_OCTETS + usize::from(announced) {
        octets if octets > V2_OCTETS_MAX => Err(ProxyFault::TooLong),
        octets if octets > input.len() => Ok(Framed::Incomplete),
        octets => Ok(Framed::Whole(octets)),
    }
}

/// Whether what stands behind the addresses ends where the header does, and has a right checksum if
/// it has one (§2.2.3, §2.2.4).
fn is_whole_v2(header: &[u8]) -> bool {
    let mut at = V2_FIXED_OCTETS
        + match header.get(V2_SIGNATURE.len() + 1) {
            Some(0x11) => 12,
            Some(0x21) => 36,
            // AF_UNIX and AF_UNSPEC name no client: there is nothing to be sure of.
            _ => return true,
        };
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..at + TLV_FIXED_OCTETS) else { return false };
        let value = at + TLV_FIXED_OCTETS;
        at = value + usize::from(u16::from_be_bytes([high, low]));
        if at > header.len() || kind == TLV_CRC32C && !has_checksum(header, value..at) {
            return false;
        }
    }
    true
}

/// Whether the checksum of a header stands at this place in it. It is that of the header with zeros
/// there.
fn has_checksum(header: &[u8], place: Range<usize>) -> bool {
    let mut digest = CRC32C.digest();
    digest.update(&header[..place.start]);
    digest.update(&[0; size_of::<u32>()]);
    digest.update(&header[place.end..]);
    header[place] == digest.finalize().to_be_bytes()
}

/// What the library does not ask of a line: CRLF, UNKNOWN as a word, and ports without a sign and
/// without leading zeros, which the protocol forbids because some programs take them for octal.
fn is_strict_v1(header: &[u8]) -> bool {
    let Some(line) = header.strip_suffix(b"\r\n") else { return false };
    let Some(words) = line.strip_prefix(V1_SIGNATURE) else { return false };
    if line.contains(&b'\r') {
        return false;
    }
    // What follows UNKNOWN is to be ignored (§2.1).
    if let Some(rest) = words.strip_prefix(b"UNKNOWN") {
        return rest.first().is_none_or(|octet| *octet == b' ');
    }
    let is_number = |word: &[u8]| {
        word == b"0" || word.iter().all(u8::is_ascii_digit) && !word.starts_with(b"0")
    };
    words.rsplit(|octet| *octet == b' ').take(2).all(is_number)
}

#[cfg(test)]
mod tests;
