//! A connection from its greeting to its end: EHLO, and MAIL by MAIL.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gatepost_policy::check;
use gatepost_policy::entry::Entry;
use gatepost_policy::generation::Generation;
use gatepost_policy::verdict::Verdict;
use gatepost_relay::{Message, Origin};
use gatepost_smtp::command::{Greeting, Mail};
use gatepost_smtp::reply::Reply;
use gatepost_smtp::server::{Connected, Hello, Ready, ReadyEvent, Refused};
use gatepost_stream::Stream;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::admission::{self, Admission, Seat};
use crate::answer;
use crate::conn::{Conn, End};
use crate::drain::Place;
use crate::id::Id;
use crate::listener::{Listener, turn_away};
use crate::peer;
use crate::received::Received;
use crate::service::Service;
use crate::transaction;

/// How long a client that is not on the allow-list may stay.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(10);

const SENDER_OK: Reply = Reply::fixed(250, (2, 1, 0), "Ok");

/// A client that was let in.
pub(crate) struct Session {
    pub(crate) service: Arc<Service>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) id: Id,
    pub(crate) client: IpAddr,
    pub(crate) entry: Arc<Entry>,
    pub(crate) generation: Generation,
}

/// A client that was not, or is not any more.
pub(crate) struct Stranger {
    pub(crate) id: Id,
    pub(crate) client: IpAddr,
    pub(crate) generation: Generation,
}

/// Runs a connection to its end.
pub(crate) async fn run(
    socket: TcpStream,
    peer: SocketAddr,
    place: Place,
    _seat: Seat,
    listener: Arc<Listener>,
    service: Arc<Service>,
) {
    place.settle().await;
    let client = peer::client(peer);
    let looked_up = Instant::now();
    let admission =
        admission::admit(&service.policy, &listener.config, client, &service.config.hostname);
    listener.metrics.lookup_duration.record(looked_up.elapsed());
    let id = service.ids.next();
    match admission {
        Admission::Allowed(entry, generation) => {
            listener.metrics.allowed.increment(1);
            let conn = open(socket, place, &service, service.config.session_timeout);
            Session { service, listener, id, client, entry, generation }.run(conn).await;
        }
        Admission::Refused(reply, generation) => {
            listener.metrics.unknown.increment(1);
            let stranger = Stranger { id, client, generation };
            answer::log_stranger(&service, &listener, &stranger, &reply);
            let Some(_stranger) = listener.room.stranger_seat(client) else {
                turn_away(&socket, &reply);
                return;
            };
            let mut conn = open(socket, place, &service, REFUSED_TIMEOUT);
            conn.say(&reply);
            let end = refuse(&mut conn).await;
            conn.close(end).await;
        }
    }
}

fn open(socket: TcpStream, place: Place, service: &Service, lifetime: Duration) -> Conn {
    let mut stream = Stream::new(socket, service.clock.clone(), lifetime);
    stream.end_after(lifetime);
    Conn::new(stream, place, service.config.errors_max)
}

/// Hears a refused client out: QUIT is answered, everything else refused, and not for long.
async fn refuse(conn: &mut Conn) -> End {
    conn.end_after(REFUSED_TIMEOUT);
    let mut refused = Refused::default();
    loop {
        let octets = match conn.idle_line(REFUSED_TIMEOUT).await {
            Ok(octets) => octets,
            Err(end) => return end,
        };
        let step = refused.handle(conn.line(octets));
        conn.consume(octets);
        if let Err(end) = conn.perform(step) {
            return end;
        }
    }
}

impl Session {
    async fn run(&mut self, mut conn: Conn) {
        conn.say(&self.service.greeting);
        let end = match self.greet(&mut conn).await {
            Ok(ready) => self.converse(&mut conn, ready).await,
            Err(end) => end,
        };
        conn.close(end).await;
    }

    async fn greet(&self, conn: &mut Conn) -> Result<Ready, End> {
        loop {
            let octets = conn.idle_line(self.service.config.command_timeout).await?;
            let step = Connected.handle(conn.line(octets));
            conn.consume(octets);
            match step.decision() {
                Ok(hello) => {
                    self.say_hello(conn, &hello);
                    return Ok(Connected.greet(hello));
                }
                Err(step) => conn.perform(step)?,
            }
        }
    }

    /// Transaction by transaction, until the end.
    async fn converse(&mut self, conn: &mut Conn, mut ready: Ready) -> End {
        loop {
            match self.next(conn, ready).await {
                Ok(next) => ready = next,
                Err(end) => return end,
            }
        }
    }

    /// One line between transactions, and the transaction that it may begin.
    async fn next(&mut self, conn: &mut Conn, ready: Ready) -> Result<Ready, End> {
        let octets = conn.idle_line(self.service.config.command_timeout).await?;
        let step = ready.handle(conn.line(octets));
        let mail = match step.decision() {
            Ok(ReadyEvent::Mail(mail)) => mail,
            Ok(ReadyEvent::Hello(hello)) => {
                conn.consume(octets);
                self.say_hello(conn, &hello);
                return Ok(ready.greet(hello));
            }
            Err(step) => {
                conn.consume(octets);
                conn.perform(step)?;
                return Ok(ready);
            }
        };
        if let Err(reply) = self.refresh() {
            conn.consume(octets);
            conn.say(&reply);
            return Err(refuse(conn).await);
        }
        match self.judge(&mail, ready.hello()) {
            Verdict::Accept => {
                self.listener.metrics.sender_accepted.increment(1);
                let message = self.message(&mail, ready.hello());
                conn.consume(octets);
                conn.say(&SENDER_OK);
                // Boxed, so that a session that idles does not carry a transaction's state.
                Box::pin(transaction::run(self, conn, ready.open(), message)).await
            }
            Verdict::Defer(reply) | Verdict::Reject(reply) => {
                conn.consume(octets);
                conn.fault(&reply)?;
                Ok(ready)
            }
        }
    }

    /// Looks the entry up again if the ruleset has changed since.
    fn refresh(&mut self) -> Result<(), Reply> {
        if self.service.policy.generation_number() == self.generation.number() {
            return Ok(());
        }
        let hostname = &self.service.config.hostname;
        match admission::admit(&self.service.policy, &self.listener.config, self.client, hostname) {
            Admission::Allowed(entry, generation) => {
                (self.entry, self.generation) = (entry, generation);
                Ok(())
            }
            Admission::Refused(reply, generation) => {
                let stranger = Stranger { id: self.id, client: self.client, generation };
                answer::log_stranger(&self.service, &self.listener, &stranger, &reply);
                Err(reply)
            }
        }
    }

    /// The checks at MAIL, in the contract's order.
    fn judge(&self, mail: &Mail<'_>, hello: &Hello) -> Verdict {
        let verdict = check::sender(&self.entry, self.generation, &mail.reverse_path);
        if let Some(reply) = verdict.reply() {
            self.listener.metrics.sender_rejected.increment(1);
            answer::log_sender(self, hello, mail, reply);
            return verdict;
        }
        match mail.size {
            Some(octets) => check::size(octets, self.service.config.max_message_size),
            None => Verdict::Accept,
        }
    }

    fn message(&self, mail: &Mail<'_>, hello: &Hello) -> Message {
        let id = self.service.ids.next();
        let received = Received {
            helo: &hello.name,
            client: self.client,
            hostname: &self.service.config.hostname,
            id,
            at: jiff::Timestamp::now(),
        };
        Message {
            id: id.to_string().into(),
            reverse_path: mail.reverse_path.as_bytes().into(),
            size: mail.size,
            body: mail.body,
            smtputf8: mail.smtputf8,
            received: received.line(self.service.config.received),
        }
    }

    pub(crate) fn say_hello(&self, conn: &mut Conn, hello: &Hello) {
        conn.say(match hello.greeting {
            Greeting::Ehlo => &self.service.ehlo,
            Greeting::Helo => &self.service.helo,
        });
    }

    /// Where this session's messages come from, for the log.
    pub(crate) fn origin<'a>(&'a self, names: &'a OriginNames, hello: &'a Hello) -> Origin<'a> {
        Origin {
            session_id: &names.session_id,
            listener: &self.listener.config.name,
            entry: Some(self.entry.id()),
            generation: &names.generation,
            client: self.client,
            helo: Some(&hello.name),
            tls: None,
        }
    }

    pub(crate) fn origin_names(&self) -> OriginNames {
        OriginNames { session_id: self.id.to_string(), generation: self.generation.to_string() }
    }
}

/// The parts of an [`Origin`] that are written out for it.
pub(crate) struct OriginNames {
    session_id: String,
    generation: String,
}
