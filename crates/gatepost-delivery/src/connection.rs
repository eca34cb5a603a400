//! One connection to an upstream: opened, protected, logged in, and then a stream of replies.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatepost_smtp::client::{self, Login, Opened as Step, Opening, OpeningFault, Plan, TlsPolicy};
use gatepost_smtp::reply::{Reply, Severity};
use gatepost_stream::{Clock, Stream, StreamError};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use zeroize::Zeroize;

use crate::access::Current;
use crate::auth::{Credentials, Secret};
use crate::hosts::{Attempts, Candidate, Hosts};
use crate::offer::Offer;
use crate::pool::Slot;
use crate::reuse_key::ReuseKey;
use crate::transcript::{self, Transcript};
use crate::trouble::Trouble;
use crate::upstream::UpstreamConfig;

/// A connection and what must be known to keep it. The state of its protocol is held beside it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) key: ReuseKey,
    pub(crate) opened: Instant,
    pub(crate) messages: u32,
    /// One of those that the upstream has room for; none outside a pool. Last, because it is given
    /// up behind the socket.
    _room: Option<Slot>,
}

/// Where a connection is opened to, and how.
#[derive(Clone, Copy)]
struct Place<'a> {
    config: &'a UpstreamConfig,
    candidate: &'a Candidate,
    /// That of the config, or none where that has failed and can be done without.
    tls: TlsPolicy,
    /// Where the dialogue is written down, if anybody wants to read it.
    transcript: Option<&'a Mutex<Transcript>>,
}

/// A connection that is ready for mail.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) ready: client::Ready,
    /// What it has said at last that it offers.
    pub(crate) offer: Offer,
    /// The host that it is to.
    pub(crate) host: Arc<str>,
}

impl Connection {
    /// Connects to the first candidate that takes us, and says EHLO. A host that is there and does
    /// not want us, or whose certificate or password is wrong, may be one bad node: the next one is
    /// tried after that too.
    pub(crate) async fn open(
        config: &UpstreamConfig,
        hosts: &Hosts,
        clock: &Clock,
        transcript: Option<&Mutex<Transcript>>,
    ) -> Result<Opened, Trouble> {
        // Every candidate has its own time to connect; this bounds them all, and the look-ups.
        let until = Instant::now() + config.connect_timeout * 2;
        let candidates = tokio::time::timeout_at(until, hosts.candidates());
        let candidates = candidates.await.unwrap_or(Err(Trouble::Silent))?;
        let mut attempts = Attempts::default();
        for candidate in &candidates {
            if !attempts.may_try(candidate) {
                continue;
            }
            let opening = Self::open_at(candidate, config, clock, transcript);
            let opened = tokio::time::timeout_at(until, opening).await;
            let opened = opened.unwrap_or(Err(Trouble::Silent));
            if let (Some(transcript), Err(trouble)) = (transcript, &opened) {
                transcript::lock(transcript).note(trouble);
            }
            match opened {
                Ok(opened) => {
                    hosts.succeeded(candidate);
                    return Ok(opened);
                }
                // Which is no fault of a host, and no other host has one for us.
                Err(trouble @ Trouble::NoToken(_)) => return Err(trouble),
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

    /// Connects to one address of a host, and gets ready for mail as the config wants it: all of it
    /// within `connect_timeout`.
    ///
    /// Where TLS is opportunistic and a handshake fails, mail goes on in plain text over another
    /// connection: whoever can make a handshake fail can take STARTTLS out of the offer, too.
    pub(crate) async fn open_at(
        candidate: &Candidate,
        config: &UpstreamConfig,
        clock: &Clock,
        transcript: Option<&Mutex<Transcript>>,
    ) -> Result<Opened, Trouble> {
        let place = Place { config, candidate, tls: config.tls, transcript };
        let address = candidate.address;
        let open = async {
            match Self::try_at(place, clock).await {
                Err(Trouble::Tls(reason)) if config.tls == TlsPolicy::Opportunistic => {
                    tracing::debug!(upstream = &*config.name, %address, reason, "no TLS, plain text instead");
                    Self::try_at(Place { tls: TlsPolicy::None, ..place }, clock).await
                }
                // A token may be at its end before it says so; the next one is a new one.
                Err(Trouble::AuthRefused(reply))
                    if reply.severity() == Severity::Permanent && place.has_token() =>
                {
                    tracing::debug!(upstream = &*config.name, %address, %reply, "the access token is refused");
                    Self::try_at(place, clock).await
                }
                opened => opened,
            }
        };
        // A timer per connection, not per message: connecting is not on the hot path.
        tokio::time::timeout(config.connect_timeout, open).await.unwrap_or(Err(Trouble::Silent))
    }

    async fn try_at(place: Place<'_>, clock: &Clock) -> Result<Opened, Trouble> {
        let Place { config, candidate, .. } = place;
        let address = candidate.address;
        let current = place.keys()?;
        let current = current.as_deref();
        // Before the upstream waits for us: a token may have to be fetched.
        let secret = match current.and_then(|current| current.credentials.as_ref()) {
            None => None,
            Some(credentials) => Some(credentials.secret().await?),
        };
        let server_name = config.expected_name(&candidate.name);
        place.note(format_args!("connecting to {} at {address}", candidate.name));
        let socket = connect(address, config.source_address).await?;
        socket.set_nodelay(true)?;
        let mut connection = Self {
            stream: Stream::new(socket, clock.clone(), config.connect_timeout),
            key: ReuseKey::opened(config, &server_name, address, current),
            opened: Instant::now(),
            messages: 0,
            _room: None,
        };
        let keys = (&*server_name, current);
        let (ready, offer) = connection.greet(place, keys, secret.as_deref()).await?;
        Ok(Opened { connection, ready, offer, host: candidate.name.clone() })
    }

    /// The whole opening; what it says is what `gatepost-smtp` says.
    async fn greet(
        &mut self,
        place: Place<'_>,
        (server_name, current): (&str, Option<&Current>),
        secret: Option<&Secret>,
    ) -> Result<(client::Ready, Offer), Trouble> {
        let credentials = current.and_then(|current| current.credentials.as_ref());
        let login = credentials.zip(secret).map(|(credentials, secret)| Login {
            mechanism: credentials.mechanism(),
            username: credentials.username(),
            secret: secret.expose(),
        });
        let plan = Plan { ehlo_name: &place.config.ehlo_name, tls: place.tls, login };
        if plan.tls == TlsPolicy::Implicit {
            self.secure(place, server_name, current).await?;
        }
        let mut opening = Opening::new(plan);
        let mut offer = Offer::default();
        loop {
            let reply = self.reply_or(Trouble::of_opening).await?;
            place.write_down(|transcript| transcript.heard(&plan.quotable(&reply)));
            if opening.awaits_offer() && reply.is_positive() {
                offer = Offer::from_ehlo(reply.text());
            }
            let mut said = BytesMut::new();
            opening = match opening.handle(&reply, &mut said) {
                Step::More(next) => {
                    self.expect_quiet()?;
                    next
                }
                Step::Handshake(handshake) => {
                    // What follows the 220 in plain text is somebody else's (RFC 3207 §6).
                    self.expect_quiet()?;
                    self.secure(place, server_name, current).await?;
                    offer = Offer::default();
                    handshake.done(&mut said)
                }
                Step::Ready(ready) => {
                    self.expect_quiet()?;
                    return Ok((ready, offer));
                }
                Step::Failed(fault) => {
                    if let (OpeningFault::LoginRefused(reply), Some(credentials), Some(secret)) =
                        (&fault, credentials, secret)
                        && reply.severity() == Severity::Permanent
                    {
                        credentials.refused(secret).await;
                    }
                    return Err(fault.into());
                }
            };
            place.write_down(|transcript| transcript.said(&said));
            let said = Bytes::from_owner(Wiped(said));
            self.stream.flush_with(said).await.map_err(Trouble::of_opening)?;
        }
    }

    async fn secure(
        &mut self,
        place: Place<'_>,
        server_name: &str,
        current: Option<&Current>,
    ) -> Result<(), Trouble> {
        let Some(current) = current else { return Err(no_keys()) };
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| Trouble::Tls(format!("{server_name} is no name of a certificate")))?;
        let tls = ClientConnection::new(current.tls.clone(), name)
            .map_err(|error| Trouble::Tls(error.to_string()))?;
        self.stream.secure(tls.into()).await.map_err(Trouble::of_handshake)?;
        place.note(format_args!("TLS with {server_name}"));
        Ok(())
    }

    /// The same connection, in a room that it has until it is closed.
    pub(crate) fn in_room(self, room: Slot) -> Self {
        Self { _room: Some(room), ..self }
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
        self.reply_or(Trouble::from).await
    }

    async fn reply_or(&mut self, trouble: fn(StreamError) -> Trouble) -> Result<Reply, Trouble> {
        loop {
            if let Some(reply) = client::next_reply(self.stream.input_mut())? {
                return Ok(reply);
            }
            self.stream.fill().await.map_err(trouble)?;
        }
    }

    /// Says QUIT without waiting for an answer, and closes.
    pub(crate) async fn quit(mut self) {
        let _ = self.say_quit().await;
    }

    /// Says QUIT, and waits a moment for the upstream to close. Until then it has its room.
    pub(crate) async fn part(mut self) {
        // One reply, and the end of the stream. What comes instead is not worth more reads.
        if self.say_quit().await.is_ok() && self.reply().await.is_ok() {
            let _ = self.stream.fill().await;
        }
    }

    async fn say_quit(&mut self) -> Result<(), Trouble> {
        /// The socket's buffer takes six octets at once, or the upstream is not there. It bounds the
        /// answer too, which only tells that the upstream has let go.
        const QUIT_TIMEOUT: Duration = Duration::from_secs(1);
        self.stream.within(QUIT_TIMEOUT);
        self.stream.output().extend_from_slice(client::QUIT);
        Ok(self.stream.flush().await?)
    }
}

impl Place<'_> {
    fn note(&self, text: fmt::Arguments<'_>) {
        self.write_down(|transcript| transcript.note(text));
    }

    fn write_down(&self, write: impl FnOnce(&mut Transcript)) {
        if let Some(transcript) = self.transcript {
            write(&mut transcript::lock(transcript));
        }
    }

    /// Whether we log in with something that is fetched.
    fn has_token(&self) -> bool {
        let current = self.config.access.current();
        let credentials = current.as_deref().and_then(|current| current.credentials.as_ref());
        matches!(credentials, Some(Credentials::Bearer { .. }))
    }

    /// The keys in use; none where none are needed. Where TLS has failed, they are still what is
    /// known of the connection, and a login among them still does not go in plain text.
    fn keys(&self) -> Result<Option<Arc<Current>>, Trouble> {
        if self.config.tls == TlsPolicy::None {
            return Ok(None);
        }
        self.config.access.current().map(Some).ok_or_else(no_keys)
    }
}

/// Whoever makes an upstream reads its keys first; nothing goes without them.
fn no_keys() -> Trouble {
    Trouble::Tls("no keys were read".to_owned())
}

/// Octets that may hold a secret: gone once they are sent. What TLS makes of them is sealed in place.
struct Wiped(BytesMut);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address).await };
    let socket = if source.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(address).await
}

#[cfg(test)]
mod tests;
