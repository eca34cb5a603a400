//! A scripted upstream: a real TCP server that plays the smart host.
//!
//! Unless told otherwise it is a polite ESMTP sink that insists on the order of commands. Rules
//! replace single answers: [`Builder::on`] for whatever begins with a prefix, [`Builder::on_nth`]
//! for the n-th such event in the life of the server. Two events are not commands and have names
//! of their own: [`CONNECT`], answered by the greeting, and [`END_OF_DATA`].
//!
//! Everything received is remembered as it came: reads, command lines, messages still dot-stuffed.
//! The sink never repairs input: CRLF alone ends a line, CRLF.CRLF alone ends data.
//!
//! With [`Builder::starttls`] or [`Builder::implicit_tls`] it speaks TLS, and with
//! [`Builder::account`] AUTH, behind TLS only. Rules are asked before and behind TLS alike; a 220 to
//! STARTTLS from a rule is meant as well. Answers to 334 are no events.

mod content;
mod login;
mod record;
mod script;
mod serve;
mod sink;
mod socket;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle, JoinSet};

pub use content::{Content, Digest};
pub use login::Login;
pub use record::{Connection, Ending, Message, Secured};
pub use script::{Action, CONNECT, END_OF_DATA, Move};

use record::Journal;
use script::Script;
use serve::{Manner, Throttle};
use sink::Sink;
use socket::Begins;

use crate::tls::ServerTls;

/// A running upstream. Dropping it closes it; [`stop`](Self::stop) and [`join`](Self::join) also
/// pass on the panics of its connections, so every test should end in one of them.
#[derive(Debug)]
pub struct ScriptedUpstream {
    addr: SocketAddr,
    script: Arc<Mutex<Script>>,
    journal: Arc<Journal>,
    /// Dropping it stops the server.
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl ScriptedUpstream {
    /// A polite sink on a free port of 127.0.0.1, on the runtime of the caller.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A sink whose behaviour is about to be changed.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Adds a rule from now on, as [`Builder::on`] does beforehand.
    pub fn on(&self, prefix: &str, action: impl Into<Action>) {
        script::lock(&self.script).add(prefix, None, action.into());
    }

    /// All messages that came to their end of data, whatever was answered to it.
    pub fn messages(&self) -> Vec<Message> {
        self.journal.look(|page| page.messages.clone())
    }

    /// All connections since the start, in order of arrival.
    pub fn connections(&self) -> Vec<Connection> {
        self.journal.look(|page| page.connections.clone())
    }

    /// All command lines of all connections, in order of arrival.
    pub fn lines(&self) -> Vec<String> {
        self.journal.look(|page| page.lines.clone())
    }

    /// How many connections were ever opened.
    pub fn connections_opened(&self) -> usize {
        self.journal.look(|page| page.connections.len())
    }

    /// How many connections are open now.
    pub fn connections_open(&self) -> usize {
        self.journal.look(|page| page.open)
    }

    /// The most connections that were ever open at the same time.
    pub fn connections_open_max(&self) -> usize {
        self.journal.look(|page| page.open_max)
    }

    /// Waits until at least `count` messages came to their end of data, and returns all of them.
    ///
    /// Panics once nothing at all arrived for [`PATIENCE`](crate::PATIENCE).
    pub async fn wait_for_messages(&self, count: usize) -> Vec<Message> {
        self.try_wait_for_messages(count).await.unwrap_or_else(|what| panic!("{what}"))
    }

    /// Waits until at least `count` command lines were received, and returns all of them.
    pub async fn wait_for_lines(&self, count: usize) -> Vec<String> {
        self.try_wait_for_lines(count).await.unwrap_or_else(|what| panic!("{what}"))
    }

    /// Waits until exactly `count` connections are open.
    pub async fn wait_for_open(&self, count: usize) {
        let waited = self.journal.wait_until(|page| page.open == count).await;
        waited.unwrap_or_else(|story| panic!("never {count} open connections\n{story}"));
    }

    /// Waits until at least `count` moves of [`Action::Play`] and [`Action::PlayInData`] were made, or
    /// no connection is left to make them on. One that takes its time is made once it has begun.
    pub async fn wait_for_moves(&self, count: usize) {
        let waited = self.journal.wait_until(|page| page.moves >= count || page.open == 0).await;
        waited.unwrap_or_else(|story| panic!("never {count} moves\n{story}"));
    }

    /// Everything the upstream saw, for the eyes of whoever reads a failed test.
    pub(crate) fn story(&self) -> String {
        self.journal.look(record::Page::story)
    }

    pub(crate) async fn try_wait_for_messages(&self, count: usize) -> Result<Vec<Message>, String> {
        match self.journal.wait_until(|page| page.messages.len() >= count).await {
            Ok(()) => Ok(self.messages()),
            Err(story) => Err(format!("the upstream never had {count} messages\n{story}")),
        }
    }

    pub(crate) async fn try_wait_for_lines(&self, count: usize) -> Result<Vec<String>, String> {
        match self.journal.wait_until(|page| page.lines.len() >= count).await {
            Ok(()) => Ok(self.lines()),
            Err(story) => Err(format!("the upstream never had {count} command lines\n{story}")),
        }
    }

    /// Waits until the other side has ended every connection, then stops.
    pub async fn join(self) {
        self.wait_for_open(0).await;
        self.stop().await;
    }

    /// Closes the port and all connections. Panics if one of them panicked.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(failure) = self.server.await {
            pass_on(failure);
        }
    }
}

/// Says how a [`ScriptedUpstream`] behaves.
///
/// Of the rules that fit an event the most specific one wins: a numbered rule before an unnumbered
/// one, then the longer prefix, then the later rule.
#[derive(Debug)]
pub struct Builder {
    addr: SocketAddr,
    sink: Sink,
    tls: Option<(Begins, ServerTls)>,
    script: Script,
    manner: Manner,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            addr: (Ipv4Addr::LOCALHOST, 0).into(),
            sink: Sink::default(),
            tls: None,
            script: Script::default(),
            manner: Manner::default(),
        }
    }
}

impl Builder {
    /// Listens on this loopback address: an upstream that comes back on its old port.
    #[must_use]
    pub fn at(mut self, addr: SocketAddr) -> Self {
        assert!(addr.ip().is_loopback(), "tests stay on loopback, not {addr}");
        self.addr = addr;
        self
    }

    /// Offers these extensions instead of the usual ones.
    #[must_use]
    pub fn extensions(mut self, keywords: &[&str]) -> Self {
        self.sink.extensions = keywords.iter().map(|&keyword| keyword.to_owned()).collect();
        self
    }

    /// Offers these behind TLS, where it otherwise offers the same as in front of it.
    #[must_use]
    pub fn extensions_behind_tls(mut self, keywords: &[&str]) -> Self {
        let keywords = keywords.iter().map(|&keyword| keyword.to_owned()).collect();
        self.sink.extensions_behind_tls = Some(keywords);
        self
    }

    /// Offers STARTTLS.
    #[must_use]
    pub fn starttls(mut self, tls: &ServerTls) -> Self {
        self.sink.starttls = true;
        self.tls = Some((Begins::WhenAsked, tls.clone()));
        self
    }

    /// Begins with TLS.
    #[must_use]
    pub fn implicit_tls(mut self, tls: &ServerTls) -> Self {
        self.tls = Some((Begins::AtOnce, tls.clone()));
        self
    }

    /// Takes this name with this password, or with this access token.
    #[must_use]
    pub fn account(mut self, username: &str, secret: &str) -> Self {
        self.sink.accounts.push((username.to_owned(), secret.to_owned()));
        self
    }

    /// Answers every event that begins with `prefix` (in any case: `RCPT`, `rcpt to:<bad@`).
    #[must_use]
    pub fn on(mut self, prefix: &str, action: impl Into<Action>) -> Self {
        self.script.add(prefix, None, action.into());
        self
    }

    /// Answers the n-th event, counted from 1, that begins with `prefix`, over all connections.
    #[must_use]
    pub fn on_nth(mut self, prefix: &str, n: usize, action: impl Into<Action>) -> Self {
        self.script.add(prefix, Some(n), action.into());
        self
    }

    /// Answers every connection.
    #[must_use]
    pub fn greeting(self, action: impl Into<Action>) -> Self {
        self.on(CONNECT, action)
    }

    /// Answers every end of data.
    #[must_use]
    pub fn end_of_data(self, action: impl Into<Action>) -> Self {
        self.on(END_OF_DATA, action)
    }

    /// Keeps of the mail data only length and [`Digest`], for messages of any size.
    #[must_use]
    pub fn digest_only(mut self) -> Self {
        self.manner.keeps_content = false;
        self
    }

    /// Reads mail data slowly, through a small receive buffer: so many octets, then a pause.
    #[must_use]
    pub fn throttle(mut self, octets_per_read: usize, pause: Duration) -> Self {
        assert!(octets_per_read > 0, "a read of nothing would look like the end");
        self.manner.throttle = Throttle { octets_per_read, pause };
        self
    }

    /// Binds and serves, on the runtime of the caller.
    pub fn start(self) -> ScriptedUpstream {
        let listener = self.listen();
        let addr = listener.local_addr().expect("a bound socket has an address");
        let script = Arc::new(Mutex::new(self.script));
        let journal = Arc::new(Journal::default());
        let host = serve::Host {
            script: Arc::clone(&script),
            journal: Arc::clone(&journal),
            sink: self.sink,
            tls: self.tls,
            manner: self.manner,
        };
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(accept(listener, host, stopped));
        ScriptedUpstream { addr, script, journal, stop, server }
    }

    fn listen(&self) -> TcpListener {
        let bound = || {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            if !self.manner.throttle.pause.is_zero() {
                // Inherited by accepted sockets; the usual megabytes would hide the slowness.
                socket.set_recv_buffer_size(8 * 1024)?;
            }
            socket.bind(self.addr)?;
            socket.listen(1024)
        };
        bound().unwrap_or_else(|error| panic!("no upstream on {}: {error}", self.addr))
    }
}

/// Accepts until stopped. A panic of one connection is kept for the end, the others go on.
async fn accept(listener: TcpListener, host: serve::Host, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    let mut failure = None;
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => {
                let (socket, peer) = accepted.expect("accept on loopback");
                connections.spawn(host.serve(socket, peer));
            }
            Some(ended) = connections.join_next() => failure = failure.or(ended.err()),
        }
    }
    drop(listener);
    connections.abort_all();
    while let Some(ended) = connections.join_next().await {
        failure = failure.or(ended.err().filter(JoinError::is_panic));
    }
    if let Some(failure) = failure {
        pass_on(failure);
    }
}

fn pass_on(failure: JoinError) -> ! {
    let panic: Box<dyn Any + Send> = failure.into_panic();
    resume_unwind(panic)
}
