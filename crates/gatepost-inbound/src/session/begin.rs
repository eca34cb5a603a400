//! How a session begins: with TLS where that comes first, a greeting and EHLO. STARTTLS (RFC 3207)
//! lets it begin anew.

use std::net::IpAddr;
use std::sync::Arc;

use gatepost_policy::entry::Mode;
use gatepost_smtp::command::Greeting;
use gatepost_smtp::extension::{Offer, ehlo_reply};
use gatepost_smtp::server::{Connected, Hello, Ready, replies};

use super::Session;
use crate::conn::{Conn, End};
use crate::listener::Listener;
use crate::service::Service;
use crate::tls::{self, Caller, ListenerTls, ServerTls};

impl Session {
    /// Greets, behind TLS where that comes first.
    pub(super) async fn begin(&mut self, conn: &mut Conn) -> Result<Ready, End> {
        let listener = Arc::clone(&self.listener);
        if let ListenerTls::Implicit(tls) = &listener.tls {
            self.secure(conn, tls).await?;
        }
        conn.say(&self.service.greeting);
        self.greet(conn, Connected).await
    }

    async fn secure(&mut self, conn: &mut Conn, tls: &ServerTls) -> Result<(), End> {
        let handshakes = (&self.service.handshakes, self.service.config.tls_timeout);
        let caller = (Caller::Client, self.client);
        self.tls = Some(tls::handshake(conn, tls, handshakes, caller).await?);
        Ok(())
    }

    /// STARTTLS (RFC 3207 §4): from the handshake on, nothing that was said before is known.
    pub(super) async fn start_tls(&mut self, conn: &mut Conn, ready: Ready) -> Result<Ready, End> {
        let listener = Arc::clone(&self.listener);
        let tls = match (&listener.tls, &self.tls) {
            (_, Some(_)) => Err(&replies::TLS_ALREADY),
            (ListenerTls::StartTls(tls), None) => Ok(tls),
            (ListenerTls::None | ListenerTls::Implicit(_), None) => Err(&replies::NO_STARTTLS),
        };
        let tls = match tls {
            Ok(tls) => tls,
            Err(refusal) => return conn.fault(refusal).map(|()| ready),
        };
        conn.say(&replies::START_TLS);
        // Whoever stands between could have put it there, to be taken for the client's own words.
        conn.forget();
        conn.flush(self.service.config.tls_timeout).await?;
        self.secure(conn, tls).await?;
        self.greet(conn, ready.start_tls()).await
    }

    async fn greet(&self, conn: &mut Conn, connected: Connected) -> Result<Ready, End> {
        loop {
            let octets = conn.idle_line(self.service.config.command_timeout).await?;
            let step = connected.handle(conn.line(octets));
            conn.consume(octets);
            match step.decision() {
                Ok(hello) => {
                    self.say_hello(conn, &hello);
                    conn.idled()?;
                    return Ok(connected.greet(hello));
                }
                Err(step) => conn.perform(step)?,
            }
        }
    }

    /// Whether its client may ask to be told what became of a message: never of one that nobody
    /// keeps. An entry without a mode of its own may be led to any.
    pub(crate) fn offers_dsn(&self) -> bool {
        self.entry.terms().mode.is_some_and(Mode::keeps_messages)
    }

    pub(crate) fn say_hello(&self, conn: &mut Conn, hello: &Hello) {
        let service = &self.service;
        let terms = self.entry.terms();
        let starttls = self.tls.is_none() && matches!(self.listener.tls, ListenerTls::StartTls(_));
        let offer = Offer {
            size_octets_max: terms.max_message_size,
            starttls,
            recipients_max: terms.tells_max_recipients.then_some(terms.max_recipients),
            dsn: self.offers_dsn(),
        };
        let is_usual = offer.size_octets_max == service.config.max_message_size
            && offer.recipients_max.is_none()
            && !offer.dsn;
        match hello.greeting {
            Greeting::Helo => conn.say(&service.helo),
            Greeting::Ehlo if is_usual && starttls => conn.say(&service.ehlo_starttls),
            Greeting::Ehlo if is_usual => conn.say(&service.ehlo),
            Greeting::Ehlo => conn.say(&ehlo_reply(&service.config.hostname, offer)),
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
    let ListenerTls::Implicit(tls) = &listener.tls else { return Ok(()) };
    let handshakes = (&service.handshakes, service.config.tls_timeout);
    tls::handshake(conn, tls, handshakes, (Caller::Stranger, client)).await.map(drop)
}
