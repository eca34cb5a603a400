//! One look at an upstream, for an operator: a connection of its own, everything that is said on it,
//! and a message if one is wanted.
//!
//! A probe does what the pool does to open a connection, by the same code, and takes nothing from the
//! pool: it works while a breaker is open, and it is not reused. Commands go out one by one, so that
//! the transcript shows which reply is whose.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatepost_smtp::client::{Answer, Envelope, MailParameters, Mechanism, Ready};
use gatepost_smtp::data::TERMINATOR;
use gatepost_smtp::reply::Reply;
use gatepost_stream::Clock;

use crate::connection::{Connection, Opened};
use crate::hosts::Hosts;
use crate::offer::Offer;
use crate::transcript::{Transcript, lock};
use crate::trouble::Trouble;
use crate::upstream::UpstreamConfig;

/// How long each reply may take once the connection is ready. Somebody sits in front of it.
const REPLY_TIMEOUT: Duration = Duration::from_mins(1);

/// A message for a probe to send.
#[derive(Clone, Debug)]
pub struct ProbeMail {
    /// Its reverse-path, without brackets; empty if it is null.
    pub from: Arc<str>,
    /// Its one forward-path, without brackets.
    pub to: Arc<str>,
    /// The whole message: lines that end with CRLF, none of which begins with a dot.
    pub content: Bytes,
}

/// What a probe has found.
#[derive(Debug)]
pub struct Probe {
    /// The connection, if one became ready.
    pub connected: Option<Connected>,
    /// What the upstream has said to the message, if one was sent: its last reply, yes or no.
    pub mail: Option<Reply>,
    /// Why it ended early.
    pub trouble: Option<Trouble>,
    /// Everything that was said.
    pub transcript: Transcript,
}

/// A connection that became ready.
#[derive(Debug)]
pub struct Connected {
    /// The host, and the address that it was reached at.
    pub host: String,
    /// TLS, if there is any.
    pub tls: Option<TlsFacts>,
    /// What it offers, behind TLS if there is any.
    pub offer: Offer,
    /// How we logged in, and as whom.
    pub login: Option<(Mechanism, Arc<str>)>,
}

/// What was agreed on with TLS.
#[derive(Debug)]
pub struct TlsFacts {
    /// The version, like `TLSv1_3`.
    pub version: String,
    /// The cipher suite.
    pub cipher: String,
    /// The chain that the upstream shows, in DER, its own certificate first.
    pub certificates: Vec<Vec<u8>>,
    /// Whether it was verified; opportunistic TLS does not look.
    pub is_verified: bool,
}

/// Looks at an upstream: host by host, until one takes us.
pub async fn probe(config: &UpstreamConfig, clock: &Clock, mail: Option<&ProbeMail>) -> Probe {
    let transcript = Mutex::new(Transcript::new());
    let mut probe =
        Probe { connected: None, mail: None, trouble: None, transcript: Transcript::new() };
    let hosts = Hosts::new(config);
    match Connection::open(config, &hosts, clock, Some(&transcript)).await {
        Err(trouble) => probe.trouble = Some(trouble),
        Ok(opened) => {
            let (mut dialogue, ready, connected) = Dialogue::new(config, opened, &transcript);
            probe.connected = Some(connected);
            match dialogue.send(ready, mail).await {
                Ok(said) => probe.mail = said,
                Err(trouble) => probe.trouble = Some(trouble),
            }
            dialogue.connection.quit().await;
        }
    }
    probe.transcript = transcript.into_inner().unwrap_or_else(PoisonError::into_inner);
    probe
}

/// A connection on which everything is written down.
struct Dialogue<'a> {
    connection: Connection,
    transcript: &'a Mutex<Transcript>,
}

impl<'a> Dialogue<'a> {
    fn new(
        config: &UpstreamConfig,
        opened: Opened,
        transcript: &'a Mutex<Transcript>,
    ) -> (Self, Ready, Connected) {
        let Opened { connection, ready, offer, host } = opened;
        let host = format!("{host} at {}", connection.key.address);
        let tls = connection.stream.tls().map(|state| TlsFacts {
            version: state.protocol_version().map(|it| format!("{it:?}")).unwrap_or_default(),
            cipher: state
                .negotiated_cipher_suite()
                .map(|it| format!("{:?}", it.suite()))
                .unwrap_or_default(),
            certificates: state
                .peer_certificates()
                .unwrap_or_default()
                .iter()
                .map(|certificate| certificate.to_vec())
                .collect(),
            is_verified: config.tls != crate::TlsPolicy::Opportunistic,
        });
        let login = connection.key.identity.login();
        let connected = Connected { host, tls, offer, login };
        (Self { connection, transcript }, ready, connected)
    }

    /// Sends the message, if there is one, and brings the reply that decided about it.
    async fn send(
        &mut self,
        ready: Ready,
        mail: Option<&ProbeMail>,
    ) -> Result<Option<Reply>, Trouble> {
        let Some(mail) = mail else { return Ok(None) };
        let parameters = MailParameters {
            reverse_path: mail.from.as_bytes(),
            size: Some(mail.content.len() as u64),
            body: None,
            smtputf8: false,
            dsn: b"",
        };
        let mut out = BytesMut::new();
        let mut envelope = ready.mail(&parameters, &mut out);
        let reply = self.ask(&mut out, &mut envelope).await?;
        if !reply.is_positive() {
            return Ok(Some(reply));
        }
        envelope.recipient(mail.to.as_bytes(), b"", &mut out);
        let reply = self.ask(&mut out, &mut envelope).await?;
        if !reply.is_positive() {
            return Ok(Some(reply));
        }
        envelope.data(&mut out);
        let reply = self.ask(&mut out, &mut envelope).await?;
        let Ok(body) = envelope.into_body() else { return Ok(Some(reply)) };
        lock(self.transcript).note(format_args!("{} octets of content", mail.content.len()));
        self.connection.stream.output().extend_from_slice(&mail.content);
        self.connection.stream.output().extend_from_slice(TERMINATOR);
        let reply = self.reply().await?;
        body.finish().handle(&reply)?;
        Ok(Some(reply))
    }

    /// Says what has gathered, and gives the reply to the envelope.
    async fn ask(&mut self, out: &mut BytesMut, envelope: &mut Envelope) -> Result<Reply, Trouble> {
        lock(self.transcript).said(out);
        self.connection.stream.output().extend_from_slice(out);
        out.clear();
        let reply = self.reply().await?;
        match envelope.handle(reply)? {
            Answer::Data(reply) | Answer::Mail(reply) | Answer::Recipient(reply) => Ok(reply),
        }
    }

    async fn reply(&mut self) -> Result<Reply, Trouble> {
        self.connection.expect_quiet()?;
        self.connection.stream.within(REPLY_TIMEOUT);
        self.connection.stream.flush().await?;
        let reply = self.connection.reply().await?;
        lock(self.transcript).heard(&reply);
        Ok(reply)
    }
}

#[cfg(test)]
mod tests;
