//! A client that is not on the allow-list, where it may authenticate (RFC 4954 §6).
//!
//! Until it has, it is a stranger: it has a stranger's seat, little time, and may do nothing but say
//! who it is. There is no [`Session`] before that, so there is nothing that could send for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use gatepost_policy::check;
use gatepost_policy::date::Moment;
use gatepost_policy::generation::Generation;
use gatepost_policy::usage::Use;
use gatepost_smtp::extension::Offer;
use gatepost_smtp::server::{Connected, Hello, Locked, LockedEvent, Ready, replies};
use tokio::net::TcpStream;

use super::auth::{Asked, Claim};
use super::begin::Door;
use super::{LoggedIn, Now, Session, Stranger, write_down};
use crate::admission::Refused;
use crate::conn::{Conn, End};
use crate::drain::Place;
use crate::listener::{Listener, NO_ROOM};
use crate::service::Service;
use crate::tls::{self, Caller, Secured};
use gatepost_relay::Id;

/// How long a client may take until it has authenticated: handshakes, a few lines, and the pauses of
/// passwords that were wrong.
const AUTHENTICATE_WITHIN: Duration = Duration::from_mins(1);

/// A client that has yet to say who it is.
pub(super) struct Visitor {
    pub(super) service: Arc<Service>,
    pub(super) listener: Arc<Listener>,
    pub(super) id: Id,
    pub(super) client: IpAddr,
    /// Of the ruleset that has no entry for it.
    pub(super) generation: Generation,
    pub(super) tls: Option<Box<Secured>>,
    pub(super) auth_failures: u32,
}

/// Lets a client in that may authenticate, if strangers have a seat left, and runs its session.
pub(super) async fn run(visitor: Visitor, socket: TcpStream, place: Place) {
    let listener = &visitor.listener;
    let Some(seat) = listener.room.stranger_seat(visitor.client) else {
        listener.metrics.overload.increment(1);
        return listener.turn_away(&socket, &NO_ROOM);
    };
    listener.metrics.challenged.increment(1);
    let mut conn = super::open(socket, place, &visitor.service, AUTHENTICATE_WITHIN);
    // Boxed: it is soon over, and a session should not idle with room for it.
    match Box::pin(visitor.admit(&mut conn)).await {
        Ok((mut session, ready)) => {
            drop(seat);
            session.run(conn, Some(ready)).await;
        }
        Err(end) => conn.close(end).await,
    }
}

impl Visitor {
    /// Hears the client until it has authenticated. Then it has a session like others.
    async fn admit(mut self, conn: &mut Conn) -> Result<(Session, Ready), End> {
        self.tls = self.door().secure_first(conn).await?;
        conn.say(&self.service.greeting);
        let mut locked = self.greet(conn, Connected).await?;
        loop {
            let octets = conn.idle_line(self.service.config.command_timeout).await?;
            let event = match locked.handle(conn.line(octets)).decision() {
                Ok(event) => event,
                Err(step) => {
                    conn.consume(octets);
                    conn.perform(step)?;
                    continue;
                }
            };
            match event {
                LockedEvent::Hello(hello) => {
                    conn.consume(octets);
                    self.say_hello(conn, &hello);
                    conn.idled()?;
                    locked = locked.greet(hello);
                }
                LockedEvent::StartTls => {
                    conn.consume(octets);
                    if let Some(tls) = self.door().start_tls(conn, self.tls.as_deref()).await? {
                        self.tls = Some(tls);
                        locked = self.greet(conn, locked.start_tls()).await?;
                    }
                }
                LockedEvent::Mail(_) => {
                    self.refuse_mail(conn.line(octets), locked.hello());
                    conn.consume(octets);
                    conn.fault(&replies::AUTHENTICATION_REQUIRED)?;
                }
                LockedEvent::Auth(auth) => {
                    let asked = Asked::of(&auth);
                    conn.consume(octets);
                    if let Some(login) = self.authenticate(conn, asked, locked.hello()).await? {
                        return self.enter(conn, login, locked.unlock());
                    }
                }
            }
        }
    }

    async fn greet(&self, conn: &mut Conn, connected: Connected) -> Result<Locked, End> {
        let hello = self.door().hello(conn, connected).await?;
        self.say_hello(conn, &hello);
        Ok(connected.greet(hello).lock())
    }

    fn say_hello(&self, conn: &mut Conn, hello: &Hello) {
        let tls = self.tls.as_deref();
        let offer = Offer {
            size_octets_max: self.service.config.max_message_size,
            starttls: self.door().offers_starttls(tls),
            auth: tls.is_some(),
            ..Offer::default()
        };
        self.door().say_hello(conn, hello, offer);
    }

    async fn authenticate(
        &mut self,
        conn: &mut Conn,
        asked: Asked,
        hello: &Hello,
    ) -> Result<Option<LoggedIn>, End> {
        let tls = Some(tls::version(self.tls.as_deref()));
        if let Err(refusal) = check::auth(self.listener.config.auth, None, tls) {
            conn.fault(&refusal.reply)?;
            return Ok(None);
        }
        let claim = Claim {
            service: &self.service,
            listener: &self.listener,
            id: self.id,
            client: self.client,
            hello,
            tls: self.tls.as_deref(),
            entry: None,
            generation: self.generation,
        };
        let mut failures = self.auth_failures;
        let proved = claim.run(conn, asked, &mut failures).await;
        self.auth_failures = failures;
        Ok(proved?.map(|credential| LoggedIn { credential, connection: None }))
    }

    /// The credential is the client's entry from here on.
    fn enter(
        self,
        conn: &mut Conn,
        login: LoggedIn,
        ready: Ready,
    ) -> Result<(Session, Ready), End> {
        let entry = Arc::clone(login.credential.entry());
        let connection = match check::connect(&entry) {
            Ok(connection) => connection,
            Err(refusal) => {
                self.listener.metrics.refused_connection(refusal.check).increment(1);
                return Err(conn.say_last(&refusal.reply));
            }
        };
        conn.say(&replies::AUTHENTICATED);
        conn.end_after(self.service.config.session_timeout);
        let session = Session {
            service: self.service,
            listener: self.listener,
            id: self.id,
            client: self.client,
            entry,
            generation: self.generation,
            tls: self.tls,
            connection: Some(connection),
            is_known: false,
            login: Some(Box::new(login)),
            auth_failures: 0,
            unix_seconds: Now::read().date.as_second(),
        };
        session.count(Use::Connection);
        Ok((session, ready))
    }

    /// A message of a client that nobody knows: who runs the gateway may have forgotten it.
    fn refuse_mail(&self, line: &[u8], hello: &Hello) {
        let now = Now::read();
        let moment: Moment = self.service.moment(now.instant, now.date);
        let refused =
            Refused { entry: None, generation: self.generation, refusal: check::unauthenticated() };
        self.listener.metrics.verdicts.refused(&refused.refusal);
        let stranger = Stranger { id: self.id, client: self.client, refused };
        write_down(&self.service, &self.listener, &stranger, moment);
        self.service.denied.hear_hello(self.client, &hello.name);
        self.service.denied.hear(self.client, line);
    }

    fn door(&self) -> Door<'_> {
        Door {
            service: &self.service,
            listener: &self.listener,
            client: self.client,
            caller: Caller::Stranger,
        }
    }
}
