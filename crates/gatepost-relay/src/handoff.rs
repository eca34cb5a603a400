//! One transaction handed over: to its upstream, to the spool, or to either as it turns out.
//!
//! ```text
//! Relay::begin ─► name, ask (RCPT by RCPT, or in groups) ─► data ─► content … ─► complete
//!                     ├─► begin_chunk ─► content … ─► end_chunk, or complete
//!                     └──────────────► abandon, or drop
//! ```
//!
//! In mode `sync` the upstream's word is the client's. In mode `spool` everything is owed to the
//! spool. Mode `hybrid` is one rule between them: what would be a 4yz to the client becomes a
//! recipient that is owed to the spool, and a 250; a 5yz stays what it is.
//!
//! [`Handoff::complete`] is the only place in Gatepost that grants the 250 after data: when the
//! upstream has said so, or the spool has what it is owed on stable storage.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatepost_delivery::Paths;
use gatepost_smtp::bdat::Chunk;
use gatepost_smtp::data::TERMINATOR;
use gatepost_smtp::reply::Reply;

use crate::leg::{Leg, LegMail, LegTerms, TellsSuccess};
use crate::mail_log::Origin;
use crate::mode::Mode;
use crate::outlet::Outlet;
use crate::relay::{Message, Relay};
use keep::Keep;

pub(crate) use ending::Fate;
pub use recipients::Named;

mod doubt;
mod ending;
mod keep;
mod recipients;
mod record;

/// A transaction on its way to its upstream, to the spool, or both.
pub struct Handoff {
    relay: Arc<Relay>,
    message: Message,
    mode: Mode,
    leg: Leg,
    keep: Keep,
    /// Named, and owed to the spool unless the upstream refuses everybody for good.
    keeping: Paths,
    /// The same of the last [`Handoff::ask`].
    kept: Paths,
    /// The upstream's word on the last one who is owed to the spool for that word, for the log.
    deferral: Option<Reply>,
    /// Somebody was put off by the upstream, or the whole message: the queue lets it be for a while.
    has_put_off: bool,
    /// What is put in front has been handed on.
    is_begun: bool,
    octets: u64,
}

/// The last octets of a message.
#[derive(Clone, Debug)]
pub enum Last {
    /// Content with the terminator behind it.
    Terminated(Bytes),
    /// The rest of the last chunk.
    OfChunk(Bytes),
}

/// The reply to the end of data.
#[derive(Debug)]
pub enum DataReply {
    /// The message is the upstream's, or in the spool.
    Granted(Grant),
    /// It is neither, as far as anybody can tell.
    Refused(Reply),
}

/// The permission to say 250 after data. Only [`Handoff::complete`] makes one.
#[derive(Debug)]
pub struct Grant(Reply);

impl Grant {
    /// The reply: the upstream's own, or that the message is kept.
    pub const fn reply(&self) -> &Reply {
        &self.0
    }
}

impl Handoff {
    pub(crate) fn new(
        relay: Arc<Relay>,
        outlet: Arc<Outlet>,
        mode: Mode,
        message: Message,
    ) -> Self {
        // Without a spool there is nothing but sync.
        let mode = if relay.spool.is_some() { mode } else { Mode::Sync };
        let front_octets = message.received.len() as u64;
        let mail = LegMail {
            id: message.id,
            entry: Arc::clone(&message.entry),
            reverse_path: Arc::clone(&message.reverse_path),
            size: message.size.map(|octets| octets.saturating_add(front_octets)),
            body: message.body,
            smtputf8: message.smtputf8,
            dsn: Arc::clone(&message.dsn),
        };
        let terms = LegTerms {
            final_reply_timeout: relay.config.final_reply_timeout,
            received_max: relay.config.received_max,
            // Whoever can be kept does not wait for its turn.
            patience: match mode {
                Mode::Sync => outlet.upstream.recipient_patience(),
                Mode::Hybrid | Mode::Spool => Duration::ZERO,
            },
            success: TellsSuccess::Nobody,
        };
        let keep = Keep::new(&message, outlet.upstream.config().name.clone(), mode);
        let leg = Leg::new(outlet, mail, terms);
        Self {
            relay,
            message,
            mode,
            leg,
            keep,
            keeping: Paths::default(),
            kept: Paths::default(),
            deferral: None,
            has_put_off: false,
            is_begun: false,
            octets: 0,
        }
    }

    /// What is known of the message.
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// How it is handed over.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Everybody who stands: whom the upstream has accepted, and whom the spool is owed.
    pub fn recipients(&self) -> Cow<'_, Paths> {
        let accepted = self.leg.accepted();
        if !self.keep.is_owed() {
            return Cow::Borrowed(accepted);
        }
        Cow::Owned(accepted.with_parameters().chain(self.keep.recipients()).collect())
    }

    /// Octets of content so far.
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// What went wrong with the upstream, if anything did.
    pub fn reason(&self) -> Option<&str> {
        self.leg.reason()
    }

    /// The name of the upstream.
    pub fn upstream_name(&self) -> &str {
        self.leg.outlet().name()
    }

    /// How long a client that stalls may hold a connection of the upstream.
    pub fn client_stall(&self) -> Duration {
        self.leg.outlet().upstream.config().client_stall
    }

    /// Whether the spool would take a message now.
    fn has_room(&self) -> bool {
        self.relay.spool.as_ref().is_some_and(|spool| spool.is_writable().is_ok())
    }
}

// Data.
impl Handoff {
    /// Hands the last content over, and brings back who has the message.
    pub async fn complete(mut self: Box<Self>, last: Last, origin: Origin<'_>) -> DataReply {
        let untold = self.untold();
        let ended = self.end(last, &origin).await;
        untold.told();
        self.record(&ended, origin);
        if ended.is_granted() {
            DataReply::Granted(Grant(ended.reply))
        } else {
            DataReply::Refused(ended.reply)
        }
    }

    /// Whether a connection of the upstream is held.
    pub const fn holds_connection(&self) -> bool {
        self.leg.holds_connection()
    }

    /// The client has been silent for too long: its connection is needed elsewhere.
    pub fn stalled(&mut self) {
        self.leg.stalled();
    }

    /// Sends DATA upstream, if it did not go with the recipients. The client may be told to go on
    /// at once: if the upstream does not, the end of data is where the client hears of it.
    pub async fn data(&mut self) -> Result<(), Reply> {
        if self.leg.accepted().is_empty() && self.keep.is_owed() {
            self.leg.withdraw_data();
            return Ok(());
        }
        match self.leg.data().await {
            Err(_) if self.falls_back() => Ok(()),
            sent => sent,
        }
    }

    /// Puts header fields in front of the message, before its first content.
    pub fn put_in_front(&mut self, fields: &[u8]) {
        let received = &self.message.received;
        self.message.received = [received, fields].concat().into();
    }

    /// Hands content on. After a failure it is thrown away: the client's data is read to its end,
    /// and [`Handoff::complete`] says what happened.
    pub async fn content(&mut self, content: Bytes) {
        self.octets += content.len() as u64;
        self.begin().await;
        if self.is_copied() {
            self.keep.append(content.clone()).await;
        }
        self.leg.content(content).await;
        if self.leg.closed().is_some() && self.refusal().is_some() {
            self.keep.forget();
        }
    }

    /// Whether the upstream takes chunks. One that is lost takes nothing, in either way.
    pub fn takes_chunks(&self) -> bool {
        !self.leg.accepted().is_empty() && self.leg.takes_chunks()
    }

    /// Announces a chunk of the client's content. All of the chunk has to be handed on before the
    /// next one is begun.
    pub async fn begin_chunk(&mut self, chunk: Chunk) {
        self.begin().await;
        self.keep.turn_plain();
        self.leg.begin_chunk(chunk);
    }

    /// The upstream's word on a chunk that is not the last; none, if nothing of it went there. An
    /// `Err` is the last word on the message: what follows is thrown away.
    pub async fn end_chunk(&mut self) -> Result<Option<Reply>, Reply> {
        match self.leg.end_chunk().await {
            Err(_) if self.falls_back() || self.is_kept_only() => Ok(None),
            Err(reply) => {
                // The rest of the message is not heard: a part of it must not be taken for all of it
                // if there should be room again in a moment.
                self.keep.forget();
                Err(reply)
            }
            ended => ended,
        }
    }

    /// Content begins: what is put in front of it goes to both sides.
    async fn begin(&mut self) {
        if std::mem::replace(&mut self.is_begun, true) {
            return;
        }
        self.leg.put_in_front(self.message.received.clone());
        if self.is_copied()
            && let Some(spool) = &self.relay.spool
        {
            self.keep.begin(spool, &self.message.received).await;
        }
    }

    /// Whether the spool may have to have the message.
    fn is_copied(&self) -> bool {
        self.mode != Mode::Sync || self.keep.is_owed()
    }

    /// Whether everybody who stands is owed to the spool.
    fn is_kept_only(&self) -> bool {
        self.leg.accepted().is_empty() && self.keep.is_owed() && !self.leg.is_unfit()
    }

    /// Whether an upstream that was given up leaves the message to the spool, for now.
    fn falls_back(&self) -> bool {
        let can_wait = |reply: &Reply| self.mode == Mode::Hybrid && reply.is_transient();
        !self.leg.is_unfit() && self.leg.closed().is_some_and(can_wait) && self.has_room()
    }

    /// What the client hears at the end, if nobody can have the message any more.
    fn refusal(&self) -> Option<&Reply> {
        let reply = self.leg.closed()?;
        (!self.falls_back() && !self.is_kept_only()).then_some(reply)
    }
}

impl Last {
    /// How many octets of them are content.
    pub fn content_octets(&self) -> u64 {
        match self {
            Self::Terminated(last) => last.len().saturating_sub(TERMINATOR.len()) as u64,
            Self::OfChunk(last) => last.len() as u64,
        }
    }

    fn octets(self) -> Bytes {
        let (Self::Terminated(last) | Self::OfChunk(last)) = self;
        last
    }
}
