//! Who is at the other end: from the socket's address to the client's.
//!
//! Policy looks at the address that leaves this file, and at no other. Where a proxy begins a
//! connection, the address is the one in its header, and nothing is guessed: a peer that is not a
//! trusted proxy is closed unread, and one that has no valid header in time is closed unanswered.
//! What follows a header stays in the socket, because it is the client's (its TLS hello, perhaps).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use std::time::Duration;

use gatepost_policy::network::{Network, client_address};
use gatepost_smtp::proxy::{self, Framed, Proxied, ProxyFault};
use metrics::Counter;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::config::ProxyProtocol;
use crate::drain::Place;
use crate::listener::Listener;

/// Octets that are looked at in one system call: any header of version 1, and one of version 2 as
/// most load balancers send it.
const WINDOW_OCTETS: usize = 256;

/// Who a session is held with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The address that policy judges: IPv4-mapped IPv6 is IPv4 (RFC 4291 §2.5.5.2).
    Client(IpAddr),
    /// A proxy that speaks for itself, or for somebody without an address: policy is not asked.
    Proxy,
}

/// Why nobody is greeted.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    /// It is gone and has said nothing, as a probe does; or service ends.
    #[error("closed before a PROXY header")]
    Closed,
    /// What it has said is no header.
    #[error(transparent)]
    Invalid(#[from] ProxyFault),
    /// It is gone in the middle of a header.
    #[error("closed in the middle of a PROXY header")]
    Torn,
    /// There was no whole header in time.
    #[error("no PROXY header in time")]
    Timeout,
    /// It is not a proxy that may say who its clients are.
    #[error("not a trusted proxy")]
    Untrusted,
}

/// Finds out who the peer is, as the listener is told to. `None`: nobody who can be told anything.
/// A header has to be there `within` the given time as a whole, however it comes.
pub(crate) async fn identify(
    socket: &mut TcpStream,
    address: SocketAddr,
    (listener, place): (&Listener, &Place),
    within: Duration,
) -> Option<Peer> {
    let address = client_address(address.ip());
    let ProxyProtocol::Required(trusted) = &listener.config.proxy_protocol else {
        return Some(Peer::Client(address));
    };
    let headers = &listener.metrics.proxy_headers;
    let found = header(socket, address, trusted, place, within).await;
    let found = found.map(|proxied| peer(proxied, address));
    let counter: &Counter = match &found {
        Ok(Peer::Client(_)) => &headers.ok,
        Ok(Peer::Proxy) => &headers.local,
        Err(Unknown::Closed) => &headers.closed,
        Err(Unknown::Invalid(_) | Unknown::Torn) => &headers.invalid,
        Err(Unknown::Timeout) => &headers.timeout,
        Err(Unknown::Untrusted) => &headers.untrusted,
    };
    counter.increment(1);
    if let Err(unknown) = &found {
        // Whoever can connect can make this line.
        tracing::debug!(listener = &*listener.config.name, peer = %address, "{unknown}");
    }
    found.ok()
}

/// Version 1 has no LOCAL: the health checks of HAProxy name the proxy itself there.
fn peer(proxied: Proxied, proxy: IpAddr) -> Peer {
    match proxied {
        Proxied::Client(client) if client_address(client) != proxy => {
            Peer::Client(client_address(client))
        }
        Proxied::Client(_) | Proxied::Nobody => Peer::Proxy,
    }
}

/// The header of a trusted proxy.
async fn header(
    socket: &mut TcpStream,
    address: IpAddr,
    trusted: &[Network],
    place: &Place,
    within: Duration,
) -> Result<Proxied, Unknown> {
    if !trusted.iter().any(|proxy| proxy.contains(address)) {
        return Err(Unknown::Untrusted);
    }
    // Boxed, so that a session does not carry for life what it needs before it begins.
    let mut read = Box::pin(tokio::time::timeout(within, read(socket)));
    std::future::poll_fn(|cx| {
        // Nobody was greeted, so nobody has to be told.
        if place.is_draining() {
            return Poll::Ready(Err(Unknown::Closed));
        }
        read.as_mut().poll(cx).map(|read| read.unwrap_or(Err(Unknown::Timeout)))
    })
    .await
}

/// Reads a header and not one octet more. What is there is looked at first, and then only what
/// belongs to the header is taken: one look and one read if it comes in one piece.
async fn read(socket: &mut TcpStream) -> Result<Proxied, Unknown> {
    let mut header = Vec::with_capacity(WINDOW_OCTETS);
    let mut window = [0; WINDOW_OCTETS];
    loop {
        let taken = header.len();
        let gone = |_: io::Error| if taken == 0 { Unknown::Closed } else { Unknown::Torn };
        let seen = match socket.peek(&mut window).await.map_err(gone)? {
            0 => return Err(gone(io::ErrorKind::UnexpectedEof.into())),
            seen => seen,
        };
        header.extend_from_slice(&window[..seen]);
        let framed = proxy::frame(&header)?;
        if let Framed::Whole(octets) = framed {
            header.truncate(octets);
        }
        // It is all there: this does not wait.
        socket.read_exact(&mut window[..header.len() - taken]).await.map_err(gone)?;
        if let Framed::Whole(_) = framed {
            return Ok(proxy::parse(&header)?);
        }
    }
}

#[cfg(test)]
mod tests;
