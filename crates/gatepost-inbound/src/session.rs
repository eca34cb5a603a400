//! A connection from its greeting to its end: EHLO, and MAIL by MAIL.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gatepost_policy::credential::Credential;
use gatepost_policy::date::Moment;
use gatepost_policy::entry::Entry;
use gatepost_policy::generation::Generation;
use gatepost_policy::state::Connection;
use gatepost_policy::usage::Use;
use gatepost_relay::{Message, Origin};
use gatepost_smtp::ascii::Text;
use gatepost_smtp::command::Mail;
use gatepost_smtp::path::ReversePathBuf;
use gatepost_smtp::reply::Reply;
use gatepost_smtp::server::{self, Hello, Ready, ReadyEvent};
use gatepost_stream::Stream;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::admission::{self, Admission, Allowed, Refused, Seat};
use crate::answer;
use crate::body;
use crate::conn::{Conn, End, Heard};
use crate::denied::Knock;
use crate::drain::Place;
use crate::health;
use crate::listener::Listener;
use crate::peer::{self, Peer};
use crate::received::{Protocol, Received};
use crate::service::Service;
use crate::shadow;
use crate::tls::Secured;
use crate::transaction::{self, Opening};
use gatepost_relay::Id;

mod auth;
mod begin;
mod terms;
mod visitor;

use self::auth::Asked;
pub(crate) use self::auth::Claim;
use self::visitor::Visitor;

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
    /// Boxed: a session without it is small.
    tls: Option<Box<Secured>>,
    /// Counted for the entry, until the session is over; it changes hands when the entry changes.
    connection: Option<Connection>,
    /// Whether it has named a sender yet, so that it is known what client it is of.
    is_known: bool,
    /// Boxed: few sessions have one.
    login: Option<Box<LoggedIn>>,
    /// Wrong passwords so far.
    auth_failures: u32,
    /// When the clock was read last: at the greeting, or at a MAIL.
    unix_seconds: i64,
}

/// What a client has authenticated with.
struct LoggedIn {
    credential: Arc<Credential>,
    /// Counted for the credential, if it is used beside an entry.
    connection: Option<Connection>,
}

/// A client that was not, or is not any more.
pub(crate) struct Stranger {
    pub(crate) id: Id,
    pub(crate) client: IpAddr,
    pub(crate) refused: Refused,
}

/// What time it is: read once for a connection and once for a message, and passed on.
#[derive(Clone, Copy)]
struct Now {
    instant: Instant,
    date: jiff::Timestamp,
}

/// Runs a connection to its end.
pub(crate) async fn run(
    mut socket: TcpStream,
    peer: SocketAddr,
    place: Place,
    _seats: [Seat; 2],
    listener: Arc<Listener>,
    service: Arc<Service>,
) {
    place.settle().await;
    let within = service.config.proxy_timeout;
    let client = match peer::identify(&mut socket, peer, (&listener, &place), within).await {
        Some(Peer::Client(client)) => client,
        Some(Peer::Proxy) => {
            let mut conn = open(socket, place, &service, health::LIFETIME);
            let secured = begin::secure_stranger(&mut conn, &service, &listener, peer.ip()).await;
            return match secured {
                Ok(()) => health::run(conn, &service).await,
                Err(end) => conn.close(end).await,
            };
        }
        None => return,
    };
    let now = Now::read();
    let moment = service.moment(now.instant, now.date);
    let admission = admission::admit(&service.policy, &listener.config, client, moment);
    listener.metrics.lookup_duration.record(now.instant.elapsed());
    let id = service.relay.ids().next();
    let by = (&listener.hidden, &*service.config.hostname, client);
    let refused = match admission {
        Admission::Allowed(allowed) => match admission::connect(allowed, by) {
            Ok((allowed, connection)) => {
                listener.metrics.allowed.increment(1);
                let conn = open(socket, place, &service, service.config.session_timeout);
                let Allowed { entry, generation } = allowed;
                let mut session = Session {
                    service,
                    listener,
                    id,
                    client,
                    entry,
                    generation,
                    tls: None,
                    connection: Some(connection),
                    is_known: false,
                    login: None,
                    auth_failures: 0,
                    unix_seconds: moment.unix_seconds,
                };
                session.count(Use::Connection);
                return session.run(conn, None).await;
            }
            Err(refused) => refused,
        },
        Admission::ToAuthenticate(generation) => {
            let (tls, auth_failures) = (None, 0);
            let visitor = Visitor { service, listener, id, client, generation, tls, auth_failures };
            return Box::pin(visitor::run(visitor, socket, place)).await;
        }
        Admission::Refused(refused) => refused,
    };
    let stranger = Stranger { id, client, refused };
    write_down(&service, &listener, &stranger, moment);
    send_away(socket, place, (&service, &listener), stranger).await;
}

/// Tells a client that it is not let in, and why.
async fn send_away(
    socket: TcpStream,
    place: Place,
    (service, listener): (&Service, &Listener),
    stranger: Stranger,
) {
    let Stranger { client, refused, .. } = stranger;
    listener.metrics.refused_connection(refused.refusal.check).increment(1);
    let reply = &refused.refusal.reply;
    // One that is let in by and by is not kept: there would be no end of those that wait.
    let seat = if reply.is_transient() { None } else { listener.room.stranger_seat(client) };
    let Some(_seat) = seat else {
        listener.turn_away(&socket, reply);
        return;
    };
    let mut conn = open(socket, place, service, REFUSED_TIMEOUT);
    let end = match begin::secure_stranger(&mut conn, service, listener, client).await {
        Ok(()) => {
            conn.say(reply);
            refuse(&mut conn, service, client).await
        }
        Err(end) => end,
    };
    conn.close(end).await;
}

/// A client is not let in: for its entry, for those who look who was refused, and for the mail log.
fn write_down(service: &Service, listener: &Listener, stranger: &Stranger, moment: Moment) {
    let Stranger { client, refused, .. } = stranger;
    let knock = Knock {
        client: *client,
        listener: &listener.config.name,
        unix_seconds: moment.unix_seconds,
    };
    if let Some(entry) = &refused.entry {
        entry.state().usage().count(Use::Refusal, *client, moment.unix_seconds);
    }
    service.denied.count(knock, refused);
    answer::log_stranger(service, listener, stranger);
    shadow::record_stranger(service, listener, stranger, moment);
}

fn open(socket: TcpStream, place: Place, service: &Service, lifetime: Duration) -> Conn {
    let mut stream = Stream::new(socket, service.clock.clone(), lifetime);
    stream.end_after(lifetime);
    Conn::new(stream, place, service.config.errors_max)
}

/// Hears a refused client out: QUIT is answered, everything else refused, and not for long. What it
/// says it is helps to find out whose it is.
async fn refuse(conn: &mut Conn, service: &Service, client: IpAddr) -> End {
    conn.end_after(REFUSED_TIMEOUT);
    let mut refused = server::Refused::default();
    loop {
        let step = match conn.hear(REFUSED_TIMEOUT).await {
            Ok(Heard::Line(octets)) => {
                let line = conn.line(octets);
                service.denied.hear(client, line);
                let step = refused.handle(line);
                conn.consume(octets);
                step
            }
            // Whatever it was, it was not QUIT.
            Ok(Heard::Fault(_)) => refused.handle(b""),
            Err(end) => return end,
        };
        if let Err(end) = conn.perform(step) {
            return end;
        }
    }
}

impl Session {
    /// Runs the session from its greeting, or from where it is `ready`, to its end.
    async fn run(&mut self, mut conn: Conn, ready: Option<Ready>) {
        let ready = match ready {
            Some(ready) => Ok(ready),
            None => self.begin(&mut conn).await,
        };
        let end = match ready {
            Ok(ready) => self.converse(&mut conn, ready).await,
            Err(end) => end,
        };
        // What is left to do is ours: the client may have its next connection.
        (self.connection, self.login) = (None, None);
        conn.close(end).await;
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
                conn.idled()?;
                return Ok(ready.greet(hello));
            }
            Ok(ReadyEvent::Chunk(chunk)) => {
                conn.consume(octets);
                return Box::pin(body::chunks::refuse(self, conn, chunk)).await.map(|()| ready);
            }
            Ok(ReadyEvent::Auth(auth)) => {
                let asked = Asked::of(&auth);
                conn.consume(octets);
                return Box::pin(self.authenticate(conn, ready, asked)).await;
            }
            Ok(ReadyEvent::StartTls) => {
                conn.consume(octets);
                // Boxed for the same reason as a transaction.
                return Box::pin(self.start_tls(conn, ready)).await;
            }
            Err(step) => {
                conn.consume(octets);
                conn.perform(step)?;
                return Ok(ready);
            }
        };
        let now = Now::read();
        let moment = self.service.moment(now.instant, now.date);
        self.unix_seconds = moment.unix_seconds;
        let routes = match self.refresh(moment) {
            Ok(routes) => routes,
            Err(reply) => {
                let denied = &self.service.denied;
                denied.hear_hello(self.client, &ready.hello().name);
                denied.hear(self.client, conn.line(octets));
                conn.consume(octets);
                conn.say(&reply);
                return Err(refuse(conn, &self.service, self.client).await);
            }
        };
        // Who proves who it is cannot be taken for another, whatever address it has.
        let proves = self.login.is_some() || self.entry.asks_for_proof();
        if !proves && !std::mem::replace(&mut self.is_known, true) {
            self.listener.hidden.see(self.client, &ready.hello().name, mail.reverse_path);
        }
        let record = match self.judge(&mail, ready.hello(), moment) {
            Ok(record) => record,
            Err(reply) => {
                conn.consume(octets);
                conn.fault(&reply)?;
                return Ok(ready);
            }
        };
        let sender = ReversePathBuf::from(mail.reverse_path);
        let message = self.message(&mail, &sender, ready.hello(), now);
        conn.consume(octets);
        conn.say(&SENDER_OK);
        let opening = Opening { open: ready.open(), message, sender, routes, record };
        // Boxed, so that a session that idles does not carry a transaction's state.
        Box::pin(transaction::run(self, conn, opening)).await
    }

    fn message(
        &self,
        mail: &Mail<'_>,
        sender: &ReversePathBuf,
        hello: &Hello,
        now: Now,
    ) -> Message {
        let id = self.service.relay.ids().next();
        let received = Received {
            helo: &hello.name,
            client: self.client,
            hostname: &self.service.config.hostname,
            protocol: match (&self.tls, &self.login) {
                (None, _) => Protocol::Esmtp,
                (Some(_), None) => Protocol::Esmtps,
                (Some(_), Some(_)) => Protocol::Esmtpsa,
            },
            id,
            at: now.date,
        };
        Message {
            id,
            sender: Arc::clone(sender.octets()),
            reverse_path: Arc::clone(sender.octets()),
            entry: Arc::clone(self.entry.id()),
            size: mail.size,
            body: mail.body,
            smtputf8: mail.smtputf8,
            dsn: transaction::parameters(mail.dsn.parameters()).into(),
            received: received.line(self.service.config.received),
            began: now.instant,
        }
    }

    /// Where this session's messages come from, for the log.
    pub(crate) fn origin<'a>(&'a self, names: &'a OriginNames, hello: &'a Hello) -> Origin<'a> {
        Origin {
            session_id: names.session_id.as_str(),
            listener: &self.listener.config.name,
            entry: Some(self.entry.id()),
            credential: self.login.as_ref().map(|login| &**login.credential.id()),
            generation: names.generation.as_str(),
            client: self.client,
            helo: Some(&hello.name),
            tls: self.tls.as_ref().map(|tls| &*tls.description),
        }
    }

    pub(crate) fn origin_names(&self) -> OriginNames {
        OriginNames { session_id: self.id.text(), generation: self.generation.text() }
    }
}

impl Now {
    fn read() -> Self {
        // The instant last: what is measured from it begins behind both.
        let date = jiff::Timestamp::now();
        Self { instant: Instant::now(), date }
    }
}

/// The parts of an [`Origin`] that are written out for it.
pub(crate) struct OriginNames {
    session_id: Text<{ Id::TEXT_OCTETS }>,
    generation: Text<{ Generation::TEXT_OCTETS_MAX }>,
}
