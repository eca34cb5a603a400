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
use gatepost_delivery::{DataFollows, Paths};
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

mod doubt;
mod ending;
mod keep;
mod record;

/// What is said of a recipient that is owed to the spool.
static KEPT: Reply = Reply::fixed(250, (2, 1, 5), "accepted, to be relayed later");

/// A transaction on its way to its upstream, to the spool, or both.
pub struct Handoff {
    relay: Arc<Relay>,
    message: Message,
    mode: Mode,
    leg: Leg,
    keep: Keep,
    /// Somebody was put off by the upstream, or the whole message: the queue lets it be for a while.
    has_put_off: bool,
    /// What is put in front has been handed on.
    is_begun: bool,
    octets: u64,
}

/// Who answers for a recipient that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// [`Handoff::answers`] will have the reply to it.
    Asked,
    /// We do, with [`Handoff::kept`]: it is owed to the spool.
    Kept,
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
        Self { relay, message, mode, leg, keep, has_put_off: false, is_begun: false, octets: 0 }
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

// Recipients.
impl Handoff {
    /// What is said of a recipient that is owed to the spool.
    pub const fn kept() -> &'static Reply {
        &KEPT
    }

    /// Names a recipient, for the next [`Handoff::ask`].
    ///
    /// `dsn` is NOTIFY and ORCPT as the client has sent them, each with a space in front. Waits only
    /// in mode sync, and while the upstream may be given no more recipients.
    pub async fn name(&mut self, forward_path: &[u8], dsn: &[u8]) -> Result<Named, Reply> {
        let refusal = match self.mode {
            Mode::Spool => keep::NO_ROOM,
            Mode::Hybrid | Mode::Sync => match self.leg.name(forward_path, dsn).await {
                Ok(()) => return Ok(Named::Asked),
                Err(reply) if self.mode == Mode::Hybrid && reply.is_transient() => reply,
                Err(reply) => return Err(reply),
            },
        };
        if !self.has_room() {
            return Err(refusal);
        }
        self.keep.main.recipients.push(forward_path, dsn);
        Ok(Named::Kept)
    }

    /// Names a recipient whose way is another than the first one's: by the upstream at that place,
    /// with another reverse-path, or in another mode, which is not sync. It is owed to the spool.
    pub fn name_apart(
        &mut self,
        (upstream, mode): (usize, Mode),
        reverse_path: Option<Arc<[u8]>>,
        recipient: (&[u8], &[u8]),
    ) -> Result<Named, Reply> {
        let Some(outlet) = self.relay.outlet_at(upstream).filter(|_| self.has_room()) else {
            return Err(if mode == Mode::Spool { keep::NO_ROOM } else { keep::APART });
        };
        let name = outlet.upstream.config().name.clone();
        let reverse_path = reverse_path.unwrap_or_else(|| Arc::clone(&self.message.sender));
        let ids = &self.relay.ids;
        self.keep.take_apart((name, reverse_path), mode, recipient, || ids.next())?;
        Ok(Named::Kept)
    }

    /// How many recipients were named and not yet asked for.
    pub fn pending(&self) -> usize {
        self.leg.pending()
    }

    /// Asks the upstream for the recipients that were named, all at once. The first call opens the
    /// transaction. In mode hybrid, whom it cannot take now is owed to the spool.
    pub async fn ask(&mut self, data: DataFollows) {
        self.leg.ask(data).await;
        let refuses_some = self.leg.answers().any(|(_, reply)| reply.is_transient());
        if self.mode == Mode::Hybrid && refuses_some && self.has_room() {
            let owed = &mut self.keep.main.recipients;
            self.leg.revise(|(path, dsn), reply| {
                reply.is_transient().then(|| {
                    owed.push(path, dsn);
                    KEPT.clone()
                })
            });
        }
    }

    /// The recipients that were asked for last, and the word on each.
    pub fn answers(&self) -> impl Iterator<Item = (&[u8], &Reply)> {
        self.leg.answers()
    }

    /// DATA went out with recipients of whom none stands: ends the upstream's transaction. The
    /// client's goes on, and the next recipient begins a new one.
    pub fn withdraw_data(&mut self) {
        self.leg.withdraw_data();
    }

    /// Gives up a transaction in which nobody stands, for another upstream to be asked; brings the
    /// message back as the client has sent it.
    pub fn begin_again(self) -> Message {
        let message = self.message.clone();
        self.abandon();
        Message { reverse_path: Arc::clone(&message.sender), ..message }
    }

    /// Gives the transaction up before its data, and the connection back.
    pub fn abandon(self) {
        self.leg.abandon();
    }
}

// Data.
impl Handoff {
    /// Hands the last content over, and brings back who has the message.
    pub async fn complete(mut self, last: Last, origin: Origin<'_>) -> DataReply {
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
