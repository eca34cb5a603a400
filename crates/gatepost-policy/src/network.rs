//! Networks and client addresses: the one place where their text is read.
//!
//! A network that can be read in two ways is refused, and the error shows the way to write it:
//! a wrong guess here lets strangers relay (`010.0.0.1` is `8.0.0.1` to some parsers, and
//! `10.1.2.3/24` is one address to one reader and 256 to the next). Leading zeros inside an IPv6
//! group are ordinary (RFC 4291 §2.2) and stay allowed.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Serialize, Serializer};

/// The address by which policy knows a client: IPv4-mapped IPv6 (`::ffff:0:0/96`, RFC 4291
/// §2.5.5.2) becomes IPv4, all else stays.
///
/// Only the kernel makes mapped addresses. The IPv4 address inside a NAT64, 6to4 or
/// IPv4-compatible address is the choice of whoever sends, and is never trusted.
pub fn client_address(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// A network of clients: no host bits, not `/0`, not IPv4-mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

/// Why a text or a pair of address and prefix length is not a [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not an address at all.
    #[error("not an IPv4 or IPv6 address; write it like 10.20.0.0/16 or 2001:db8:20::/48")]
    Address,
    /// A space, a control character, or a digit from another script.
    #[error("holds a space or a character that is not plain ASCII; take it out")]
    Character,
    /// `/0`: everybody.
    #[error("covers every address, which would be an open relay; name the networks of the clients")]
    Everything,
    /// Hexadecimal IPv4.
    #[error("hexadecimal IPv4 is not accepted; write four decimal numbers")]
    Hexadecimal,
    /// Bits are set behind the prefix.
    #[error(
        "bits behind the prefix are set; write {network} for the network or {address} for the one address"
    )]
    HostBits {
        /// The network around the address.
        network: IpNet,
        /// The address as it was given.
        address: IpAddr,
    },
    /// A leading zero, which some parsers take for octal.
    #[error("a leading zero is ambiguous (octal to some programs); leave it out")]
    LeadingZero,
    /// Inside `::ffff:0:0/96`: such clients are known by their IPv4 address.
    #[error("IPv4-mapped clients are known by their IPv4 address; write {ipv4}")]
    Mapped {
        /// The IPv4 form of the network.
        ipv4: Ipv4Net,
    },
    /// A network mask where the prefix length belongs, which it can be turned into.
    #[error("a mask is not accepted; write /{prefix_length}")]
    Mask {
        /// The prefix length that says the same.
        prefix_length: u8,
    },
    /// A port or brackets.
    #[error("ports and brackets are not accepted; write the address alone")]
    Port,
    /// Not a number between 0 and the number of bits.
    #[error("the prefix length must be a number from 1 to {max}")]
    PrefixLength {
        /// 32 or 128.
        max: u8,
    },
    /// Fewer than four decimal numbers.
    #[error("short forms of IPv4 are not accepted; write four decimal numbers")]
    ShortForm,
    /// A zone id.
    #[error("a zone id (%…) has no meaning in a policy; leave it out")]
    Zone,
}

impl Network {
    /// The network of an address and a prefix length.
    pub fn new(address: IpAddr, prefix_length: u8) -> Result<Self, NetworkError> {
        let network = IpNet::new(address, prefix_length)
            .map_err(|_| NetworkError::PrefixLength { max: bits(address) })?;
        if let IpNet::V6(network) = network
            && let Some(ipv4) = mapped_ipv4(network)
        {
            return Err(match ipv4.prefix_len() {
                0 => NetworkError::Everything,
                _ => NetworkError::Mapped { ipv4 },
            });
        }
        if prefix_length == 0 {
            return Err(NetworkError::Everything);
        }
        if network.trunc() != network {
            // A single client is shown as it would be known.
            let address = client_address(address);
            return Err(NetworkError::HostBits { network: network.trunc(), address });
        }
        Ok(Self(network))
    }

    /// The first address.
    pub fn address(self) -> IpAddr {
        self.0.addr()
    }

    /// The last address.
    pub fn last_address(self) -> IpAddr {
        self.0.broadcast()
    }

    /// How many leading bits all its addresses share.
    pub fn prefix_length(self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether the client is one of the network.
    pub fn contains(self, client: IpAddr) -> bool {
        self.0.contains(&client_address(client))
    }

    /// Whether an address is in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address()) || other.contains(self.address())
    }

    /// Whether strangers can have an address in it: it is not wholly loopback, RFC 1918, RFC 6598,
    /// link-local or unique local (RFC 4193).
    pub fn is_public(self) -> bool {
        match self.0 {
            IpNet::V4(network) => !PRIVATE_IPV4.iter().any(|private| private.contains(&network)),
            IpNet::V6(network) => !PRIVATE_IPV6.iter().any(|private| private.contains(&network)),
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        if !text.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(NetworkError::Character);
        }
        if text.contains('%') {
            return Err(NetworkError::Zone);
        }
        let (address, prefix_length) = match text.split_once('/') {
            Some((address, prefix_length)) => (address, Some(prefix_length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| address_error(address))?;
        let prefix_length = match prefix_length {
            Some(digits) => read_prefix_length(digits, bits(address))?,
            None => bits(address),
        };
        Self::new(address, prefix_length)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The IPv4 form of a network inside `::ffff:0:0/96`, without host bits.
fn mapped_ipv4(network: Ipv6Net) -> Option<Ipv4Net> {
    let address = network.addr().to_ipv4_mapped()?;
    let prefix_length = network.prefix_len().checked_sub(96)?;
    Ipv4Net::new(address, prefix_length).ok().map(|ipv4| ipv4.trunc())
}

fn read_prefix_length(digits: &str, max: u8) -> Result<u8, NetworkError> {
    if let Ok(mask) = digits.parse::<IpAddr>() {
        let of_family = bits(mask) == max;
        return Err(match ipnet::ip_mask_to_prefix(mask) {
            Ok(0) if of_family => NetworkError::Everything,
            Ok(prefix_length) if of_family => NetworkError::Mask { prefix_length },
            _ => NetworkError::PrefixLength { max },
        });
    }
    // `u8::from_str` takes a plus sign, so the digits are looked at first.
    if !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(NetworkError::PrefixLength { max });
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(NetworkError::LeadingZero);
    }
    let length = digits.parse().map_err(|_| NetworkError::PrefixLength { max })?;
    if length <= max { Ok(length) } else { Err(NetworkError::PrefixLength { max }) }
}

/// What is wrong with a text that the standard library, strict as it is, does not take.
fn address_error(text: &str) -> NetworkError {
    let is_decimal = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let with_port =
        text.rsplit_once(':').is_some_and(|(address, _)| address.parse::<Ipv4Addr>().is_ok());
    if text.starts_with('[') || with_port {
        return NetworkError::Port;
    }
    if text.split('.').any(|part| part.starts_with("0x") || part.starts_with("0X")) {
        return NetworkError::Hexadecimal;
    }
    if !text.split('.').all(is_decimal) {
        return NetworkError::Address;
    }
    match text.split('.').count() {
        1..=3 => NetworkError::ShortForm,
        4 if text.split('.').any(|part| part.len() > 1 && part.starts_with('0')) => {
            NetworkError::LeadingZero
        }
        _ => NetworkError::Address,
    }
}

const PRIVATE_IPV4: [Ipv4Net; 6] = [
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
];

const PRIVATE_IPV6: [Ipv6Net; 3] = [
    Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
];

#[cfg(test)]
mod tests;
