//! Who is at the other end: from the socket's address to the client's.
//!
//! Policy looks at the address that leaves this file, and at no other. The PROXY protocol will be
//! read here, before anything else is.

use std::net::{IpAddr, SocketAddr};

use gatepost_policy::network::client_address;

/// The address that policy judges: IPv4-mapped IPv6 is IPv4 (RFC 4291 §2.5.5.2).
pub(crate) fn client(peer: SocketAddr) -> IpAddr {
    client_address(peer.ip())
}
