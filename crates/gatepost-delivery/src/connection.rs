//! One connection to an upstream: opened, greeted, and then a stream of replies.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use gatepost_smtp::client::{self, Opened, Opening};
use gatepost_smtp::reply::Reply;
use gatepost_stream::{Clock, Stream};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::hosts::{Attempts, Hosts};
use crate::reuse_key::ReuseKey;
use crate::trouble::Trouble;
use crate::upstream::UpstreamConfig;

/// A connection and what must be known to keep it. The state of its protocol is held beside it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) key: ReuseKey,
    pub(crate) opened: Instant,
    pub(crate) messages: u32,
}

impl Connection {
    /// Connects to the first candidate that takes us, and says EHLO. A host that is there and does
    /// not want us, or whose certificate or password is wrong, may be one bad node: the next one is
    /// tried after that too.
    pub(crate) async fn open(
        config: &UpstreamConfig,
        hosts: &Hosts,
        clock: &Clock,
    ) -> Result<(Self, client::Ready), Trouble> {
        // Every candidate has its own time to connect; this bounds them all, and the look-ups.
        let until = Instant::now() + config.connect_timeout * 2;
        let candidates = tokio::time::timeout_at(until, hosts.candidates());
        let candidates = candidates.await.unwrap_or(Err(Trouble::Silent))?;
        let mut attempts = Attempts::default();
        for candidate in &candidates {
            if !attempts.may_try(candidate) {
                continue;
            }
            let opening = Self::open_at(candidate.address, config, clock);
            let opened = tokio::time::timeout_at(until, opening).await;
            match opened.unwrap_or(Err(Trouble::Silent)) {
                Ok(opened) => {
                    hosts.succeeded(candidate);
                    return Ok(opened);
                }
                Err(trouble) => {
                    hosts.failed(candidate, &trouble);
                    attempts.failed(candidate, trouble);
                }
            }
            if Instant::now() >= until {
                break;
            }
        }
        Err(attempts.give_up())
    }

    async fn open_at(
        address: SocketAddr,
        config: &UpstreamConfig,
        clock: &Clock,
    ) -> Result<(Self, client::Ready), Trouble> {
        let open = async {
            let socket = connect(address, config.source_address).await?;
            socket.set_nodelay(true)?;
            let mut connection = Self {
                stream: Stream::new(socket, clock.clone(), config.connect_timeout),
                key: ReuseKey::new(config, address),
                opened: Instant::now(),
                messages: 0,
            };
            let ready = connection.greet(&config.ehlo_name).await?;
            Ok((connection, ready))
        };
        // A timer per connection, not per message: connecting is not on the hot path.
        tokio::time::timeout(config.connect_timeout, open).await.unwrap_or(Err(Trouble::Silent))
    }

    async fn greet(&mut self, ehlo_name: &str) -> Result<client::Ready, Trouble> {
        let mut opening = Opening::default();
        loop {
            let reply = self.reply().await?;
            match opening.handle(&reply, ehlo_name, self.stream.output()) {
                Opened::More(next) => opening = next,
                Opened::Ready(ready) => {
                    self.expect_quiet()?;
                    return Ok(ready);
                }
                Opened::Refused(reply) => return Err(Trouble::Refused(reply)),
            }
            self.expect_quiet()?;
            self.stream.flush().await?;
        }
    }

    /// Before something is asked, nothing may be unread: it would be taken for the answer.
    pub(crate) fn expect_quiet(&mut self) -> Result<(), Trouble> {
        if self.stream.is_quiet() {
            Ok(())
        } else {
            Err(Trouble::Desync("a reply that answers nothing"))
        }
    }

    /// The next reply, read if need be. The deadline is whatever [`Stream::within`] said last.
    pub(crate) async fn reply(&mut self) -> Result<Reply, Trouble> {
        loop {
            if let Some(reply) = client::next_reply(self.stream.input_mut())? {
                return Ok(reply);
            }
            self.stream.fill().await?;
        }
    }

    /// Says QUIT without waiting for an answer, and closes.
    pub(crate) async fn quit(mut self) {
        /// The socket's buffer takes six octets at once, or the upstream is not there.
        const QUIT_TIMEOUT: Duration = Duration::from_secs(1);
        self.stream.within(QUIT_TIMEOUT);
        self.stream.output().extend_from_slice(client::QUIT);
        let _ = self.stream.flush().await;
    }
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address).await };
    let socket = if source.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(address).await
}
