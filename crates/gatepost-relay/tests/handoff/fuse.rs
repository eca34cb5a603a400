//! A wire between the relay and an upstream, which is cut behind the n-th octet of one side.
//!
//! The relay hears of the cut when the upstream has come to its end with what it had got by then: what
//! the upstream has is known when the client is answered.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Where a wire is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Behind so many octets of the relay.
    Heard(usize),
    /// Behind so many octets of the upstream.
    Said(usize),
}

/// A wire that is cut once.
pub(crate) struct Fuse {
    pub(crate) addr: SocketAddr,
    is_armed: Arc<AtomicBool>,
}

impl Fuse {
    /// Leads to an upstream. Octets count from when it is armed.
    pub(crate) async fn new(upstream: SocketAddr, cut: Cut) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let is_armed = Arc::<AtomicBool>::default();
        let armed = Arc::clone(&is_armed);
        tokio::spawn(async move {
            // Until the runtime ends, or nobody can connect any more.
            while let Ok((relay, _)) = listener.accept().await {
                let Ok(upstream) = TcpStream::connect(upstream).await else { continue };
                tokio::spawn(carry(relay, upstream, cut, Arc::clone(&armed)));
            }
        });
        Self { addr, is_armed }
    }

    pub(crate) fn arm(&self) {
        self.is_armed.store(true, Ordering::SeqCst);
    }

    /// Whether it was armed and has cut nothing.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_armed.load(Ordering::SeqCst)
    }
}

async fn carry(mut relay: TcpStream, mut upstream: TcpStream, cut: Cut, armed: Arc<AtomicBool>) {
    let (mut heard, mut said) = ([0; 16 * 1024], [0; 16 * 1024]);
    let (mut heard_left, mut said_left) = match cut {
        Cut::Heard(octets) => (octets, usize::MAX),
        Cut::Said(octets) => (usize::MAX, octets),
    };
    let (mut relay_is_open, mut upstream_is_open) = (true, true);
    while relay_is_open || upstream_is_open {
        let (octets, left, to, is_open) = tokio::select! {
            read = relay.read(&mut heard), if relay_is_open => {
                let Ok(read) = read else { break };
                (&heard[..read], &mut heard_left, &mut upstream, &mut relay_is_open)
            }
            read = upstream.read(&mut said), if upstream_is_open => {
                let Ok(read) = read else { return };
                (&said[..read], &mut said_left, &mut relay, &mut upstream_is_open)
            }
        };
        if octets.is_empty() {
            *is_open = false;
            let _ = to.shutdown().await;
            continue;
        }
        let counts = armed.load(Ordering::SeqCst);
        let passes = if counts { octets.len().min(*left) } else { octets.len() };
        let _ = to.write_all(&octets[..passes]).await;
        if counts {
            *left -= passes;
        }
        if *left == 0 && armed.swap(false, Ordering::SeqCst) {
            break;
        }
    }
    // The upstream hears the end, and may do what it does then. What it says is lost.
    let _ = upstream.shutdown().await;
    while upstream.read(&mut said).await.is_ok_and(|octets| octets > 0) {}
}
