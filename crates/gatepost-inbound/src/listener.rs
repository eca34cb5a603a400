//! Bound sockets, and the loop that accepts connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use gatepost_smtp::reply::Reply;
use metrics::{describe_gauge, gauge};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::admission::Room;
use crate::config::{ListenerConfig, ProxyProtocol};
use crate::hidden::HiddenClients;
use crate::metrics::ListenerMetrics;
use crate::service::Service;
use crate::session;
use crate::tls::ListenerTls;

/// Connections that the kernel may hold until they are accepted: a fleet that restarts at once.
const BACKLOG: i32 = 4096;
/// How long to wait when accepting fails, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often it is told that accepting fails: it goes on failing, and strangers can see to that.
const TELL_AGAIN: Duration = Duration::from_mins(1);
/// Silence after which the kernel asks whether a client is still there. One that has vanished is
/// let go within [`KEEPALIVE_PROBES`] further intervals, however long its session may be silent; and
/// the load balancers and NATs on the way, which forget a silent connection after four minutes or
/// more, remember it.
const KEEPALIVE_IDLE: Duration = Duration::from_mins(2);
/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Questions without an answer after which the connection is over.
const KEEPALIVE_PROBES: u32 = 4;

pub(crate) const NO_ROOM: Reply =
    Reply::fixed(421, (4, 7, 0), "too many connections, try again later");

/// A bound service.
pub struct Listener {
    pub(crate) config: ListenerConfig,
    pub(crate) tls: ListenerTls,
    pub(crate) metrics: ListenerMetrics,
    pub(crate) room: Arc<Room>,
    pub(crate) hidden: HiddenClients,
}

/// Binds an address. `[::]` takes IPv6 only, so that it can stand beside `0.0.0.0`.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for old connections to be forgotten by the kernel.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it: one call for all of them, and none for each.
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    // Inherited as well. Replies are whole segments: nothing is gained by waiting to fill one.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Listener {
    /// A listener without sockets.
    pub fn new(config: ListenerConfig, tls: ListenerTls) -> Arc<Self> {
        describe_gauge!("gatepost_connections", "Open client connections");
        let gauge = gauge!("gatepost_connections", "listener" => config.name.to_string());
        let (metrics, room) = (ListenerMetrics::new(&config.name), Room::new(&config, gauge));
        let hidden = HiddenClients::new(&config.name, config.hidden_clients);
        Arc::new(Self { config, tls, metrics, room, hidden })
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    /// Which clients come to it by which address.
    pub const fn hidden_clients(&self) -> &HiddenClients {
        &self.hidden
    }

    /// Accepts connections from one of the listener's sockets until service ends.
    pub async fn serve(self: Arc<Self>, socket: TcpListener, service: Arc<Service>) {
        let drain = service.drain.clone();
        let begun = drain.begun();
        tokio::pin!(begun);
        let mut told: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = &mut begun => return,
            };
            match accepted {
                Ok((stream, peer)) => self.welcome(stream, peer, &service),
                Err(error) => {
                    if told.is_none_or(|then| then.elapsed() >= TELL_AGAIN) {
                        told = Some(Instant::now());
                        let listener = &*self.config.name;
                        tracing::warn!(listener, %error, "cannot accept connections");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn welcome(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, service: &Arc<Service>) {
        let (Some(seat), Some(common)) = (self.room.seat(), service.seats.seat()) else {
            self.metrics.overload.increment(1);
            // Who has to wait for a proxy's header has nothing to say before it.
            if self.config.proxy_protocol == ProxyProtocol::Off {
                self.turn_away(&stream, &NO_ROOM);
            }
            return;
        };
        let (listener, service) = (self.clone(), service.clone());
        let drain = service.drain.clone();
        drain.spawn(|place| session::run(stream, peer, place, [seat, common], listener, service));
    }
    /// Says why and closes, in the two system calls that a flood may cost. A client that has spoken
    /// before it was greeted may get a reset instead of the reason, and one that expects a handshake
    /// gets none: that is more than a flood may cost.
    pub(crate) fn turn_away(&self, stream: &TcpStream, reply: &Reply) {
        if let ListenerTls::Implicit(_) = self.tls {
            return;
        }
        let mut octets = BytesMut::new();
        reply.encode(&mut octets);
        // A fresh socket's buffer takes one line.
        let _ = socket2::SockRef::from(stream).send(&octets);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// Half-open peers: a client whose machine is gone says neither FIN nor RST.
    #[tokio::test]
    async fn an_accepted_connection_is_kept_alive_by_the_kernel_and_does_not_wait() {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
        let address = listener.local_addr().expect("bound");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let _client = client.expect("connects");
        let accepted = accepted.expect("accepts").0;
        let socket = socket2::SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().expect("a TCP socket"));
        assert!(socket.keepalive().expect("a TCP socket"));
        assert_eq!(socket.tcp_keepalive_time().expect("a TCP socket"), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().expect("a TCP socket"), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().expect("a TCP socket"), KEEPALIVE_PROBES);
    }
}
