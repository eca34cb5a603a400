//! How a session begins: with TLS where that comes first, a greeting and EHLO. STARTTLS (RFC 3207)
//! lets it begin anew.

use std::net::IpAddr;
use std::sync::Arc;

use gatepost_policy::check;
use gatepost_smtp::command::Greeting;
use gatepost_smtp::extension::Offer;
use gatepost_smtp::server::{Connected, Hello, Ready, replies};

use super::Session;
use crate::conn::{Conn, End};
use crate::listener::Listener;
use crate::service::Service;
use crate::tls::{self, Caller, ListenerTls, Secured, ServerTls};

/// What sessions have in common before anybody knows what their clients may do.
#[derive(Clone, Copy)]
pub(super) struct Door<'s> {
    pub(super) service: &'s Service,
    pub(super) listener: &'s Listener,
    pub(super) client: IpAddr,
    pub(super) caller: Caller,
}

impl Session {
    /// Greets, behind TLS where that comes first.
    pub(super) async fn begin(&mut self, conn: &mut Conn) -> Result<Ready, End> {
        let tls = self.door().secure_first(conn).await?;
        self.tls = tls;
        conn.say(&self.service.greeting);
        self.greet(conn, Connected).await
    }

    /// STARTTLS (RFC 3207 §4): from the handshake on, nothing that was said before is known.
    pub(super) async fn start_tls(&mut self, conn: &mut Conn, ready: Ready) -> Result<Ready, End> {
        match self.door().start_tls(conn, self.tls.as_deref()).await? {
            None => Ok(ready),
            Some(tls) => {
                self.tls = Some(tls);
                self.greet(conn, ready.start_tls()).await
            }
        }
    }

    async fn greet(&self, conn: &mut Conn, connected: Connected) -> Result<Ready, End> {
        let hello = self.door().hello(conn, connected).await?;
        self.say_hello(conn, &hello);
        conn.idled()?;
        Ok(connected.greet(hello))
    }

    pub(crate) fn say_hello(&self, conn: &mut Conn, hello: &Hello) {
        let is_offered = check::auth(
            self.listener.config.auth,
            Some(&self.entry),
            Some(tls::version(self.tls.as_deref())),
        );
        let size_octets_max = self.terms().map(|terms| terms.max_message_size).min();
        let offer = Offer {
            size_octets_max: size_octets_max.unwrap_or_default(),
            starttls: self.door().offers_starttls(self.tls.as_deref()),
            auth: self.login.is_none() && is_offered.is_ok(),
            recipients_max: self.told_recipients_max(),
            dsn: self.offers_dsn(),
        };
        self.door().say_hello(conn, hello, offer);
    }

    fn door(&self) -> Door<'_> {
        Door {
            service: &self.service,
            listener: &self.listener,
            client: self.client,
            caller: Caller::Client,
        }
    }
}

impl Door<'_> {
    /// Protects the connection, where that comes before everything else.
    pub(super) async fn secure_first(&self, conn: &mut Conn) -> Result<Option<Box<Secured>>, End> {
        let ListenerTls::Implicit(tls) = &self.listener.tls else { return Ok(None) };
        self.secure(conn, tls).await.map(Some)
    }

    async fn secure(&self, conn: &mut Conn, tls: &ServerTls) -> Result<Box<Secured>, End> {
        let handshakes = (&self.service.handshakes, self.service.config.tls_timeout);
        tls::handshake(conn, tls, handshakes, (self.caller, self.client)).await
    }

    /// STARTTLS (RFC 3207 §4). `None`: it is refused, and the client was told.
    pub(super) async fn start_tls(
        &self,
        conn: &mut Conn,
        secured: Option<&Secured>,
    ) -> Result<Option<Box<Secured>>, End> {
        let tls = match (&self.listener.tls, secured) {
            (_, Some(_)) => Err(&replies::TLS_ALREADY),
            (ListenerTls::StartTls(tls), None) => Ok(Arc::clone(tls)),
            (ListenerTls::None | ListenerTls::Implicit(_), None) => Err(&replies::NOT_OFFERED),
        };
        let tls = match tls {
            Ok(tls) => tls,
            Err(refusal) => return conn.fault(refusal).map(|()| None),
        };
        conn.say(&replies::START_TLS);
        // Whoever stands between could have put it there, to be taken for the client's own words.
        conn.forget();
        conn.flush(self.service.config.tls_timeout).await?;
        self.secure(conn, &tls).await.map(Some)
    }

    /// Waits for EHLO or HELO, which is still to be answered.
    pub(super) async fn hello(&self, conn: &mut Conn, connected: Connected) -> Result<Hello, End> {
        loop {
            let octets = conn.idle_line(self.service.config.command_timeout).await?;
            let step = connected.handle(conn.line(octets));
            conn.consume(octets);
            match step.decision() {
                Ok(hello) => return Ok(hello),
                Err(step) => conn.perform(step)?,
            }
        }
    }

    pub(super) fn offers_starttls(&self, secured: Option<&Secured>) -> bool {
        secured.is_none() && matches!(self.listener.tls, ListenerTls::StartTls(_))
    }

    pub(super) fn say_hello(&self, conn: &mut Conn, hello: &Hello, offer: Offer) {
        match hello.greeting {
            Greeting::Helo => conn.say(&self.service.helo),
            Greeting::Ehlo => conn.say(&self.service.ehlo(offer)),
        }
    }
}

/// Even a refusal can only be heard behind the handshake, where that comes first.
pub(super) async fn secure_stranger(
    conn: &mut Conn,
    service: &Service,
    listener: &Listener,
    client: IpAddr,
) -> Result<(), End> {
    let door = Door { service, listener, client, caller: Caller::Stranger };
    door.secure_first(conn).await.map(drop)
}
