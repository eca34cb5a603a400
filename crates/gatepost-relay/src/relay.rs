//! The ways to the upstreams, and what is known of a message before it takes one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatepost_delivery::Upstream;
use gatepost_smtp::command::Body;
use tokio::time::Instant;

use crate::handoff::Handoff;
use crate::mail_log::MailLog;
use crate::outlet::Outlet;

/// What is configured for handing over.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// How long the upstream may take to answer the final dot.
    pub final_reply_timeout: Duration,
    /// `Received:` fields at which a message is taken to be in a loop.
    pub received_max: u32,
}

/// The ways to all upstreams.
pub struct Relay {
    pub(crate) config: RelayConfig,
    pub(crate) mail_log: MailLog,
    outlets: Box<[Arc<Outlet>]>,
}

/// What is known of a message when its transaction begins.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id, in the log and in the `Received:` line.
    pub id: Box<str>,
    /// The reverse-path as the client has sent it, without brackets: the log has this one.
    pub sender: Arc<[u8]>,
    /// What MAIL says upstream: the same, or what a route makes of it. Empty if it is null.
    pub reverse_path: Arc<[u8]>,
    /// The id of the policy entry it comes by, which shares the upstream with others.
    pub entry: Arc<str>,
    /// Declared octets of content.
    pub size: Option<u64>,
    /// Declared body type.
    pub body: Option<Body>,
    /// Whether SMTPUTF8 was asked for.
    pub smtputf8: bool,
    /// RET and ENVID as the client has sent them, each with a space in front.
    pub dsn: Box<[u8]>,
    /// The one line that is put in front, CRLF included.
    pub received: Bytes,
    /// When the client said MAIL.
    pub began: Instant,
}

impl Relay {
    /// A relay to these upstreams, known by their place in the list.
    pub fn new(config: RelayConfig, upstreams: Vec<Arc<Upstream>>, mail_log: MailLog) -> Arc<Self> {
        let outlets = upstreams.into_iter().map(|upstream| Arc::new(Outlet::new(upstream)));
        Arc::new(Self { config, mail_log, outlets: outlets.collect() })
    }

    /// Begins to hand a message over to an upstream, if there is one at that place. Nothing is sent
    /// before the first recipient.
    pub fn begin(self: &Arc<Self>, upstream: usize, message: Message) -> Option<Handoff> {
        let outlet = self.outlets.get(upstream)?;
        Some(Handoff::new(self.clone(), outlet.clone(), message))
    }

    /// Where events of messages are written.
    pub const fn mail_log(&self) -> &MailLog {
        &self.mail_log
    }
}
