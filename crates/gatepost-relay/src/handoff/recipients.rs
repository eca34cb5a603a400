//! The recipients of a hand-over: asked of the upstream, or owed to the spool.

use std::sync::Arc;

use gatepost_delivery::DataFollows;
use gatepost_smtp::reply::{Reply, Severity};

use super::{Handoff, keep};
use crate::mode::Mode;
use crate::relay::Message;

/// What is said of a recipient that is owed to the spool.
static KEPT: Reply = Reply::fixed(250, (2, 1, 5), "accepted, to be relayed later");

/// Who answers for a recipient that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// [`Handoff::answers`] will have the reply to it.
    Asked,
    /// [`Handoff::kept_answers`] will: it is owed to the spool.
    Kept,
}

impl Handoff {
    /// What is said of a recipient that goes another way.
    pub const fn kept_apart() -> &'static Reply {
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
        self.keeping.push(forward_path, dsn);
        Ok(Named::Kept)
    }

    /// Names a recipient whose way is another than the first one's: by the upstream at that place,
    /// with another reverse-path, or in another mode, which is not sync. It is owed to the spool.
    pub fn name_apart(
        &mut self,
        (upstream, mode): (usize, Mode),
        reverse_path: Option<Arc<[u8]>>,
        recipient: (&[u8], &[u8]),
    ) -> Result<(), Reply> {
        let Some(outlet) = self.relay.outlet_at(upstream).filter(|_| self.has_room()) else {
            return Err(if mode == Mode::Spool { keep::NO_ROOM } else { keep::APART });
        };
        let name = outlet.upstream.config().name.clone();
        let reverse_path = reverse_path.unwrap_or_else(|| Arc::clone(&self.message.sender));
        let ids = &self.relay.ids;
        self.keep.take_apart((name, reverse_path), mode, recipient, || ids.next())
    }

    /// How many recipients were named and not yet asked for, those apart not counted.
    pub fn pending(&self) -> usize {
        self.leg.pending() + self.keeping.len()
    }

    /// Asks the upstream for the recipients that were named, all at once. The first call opens the
    /// transaction. In mode hybrid, whom it cannot take now is owed to the spool. An upstream that
    /// refuses the sender for good has refused those, too, whom it was not asked for.
    pub async fn ask(&mut self, data: DataFollows) {
        self.leg.ask(data).await;
        let refuses_some = self.leg.answers().any(|(_, reply)| reply.is_transient());
        if self.mode == Mode::Hybrid && refuses_some && self.has_room() {
            let (owed, deferral) = (&mut self.keep.main.recipients, &mut self.deferral);
            self.leg.revise(|(path, dsn), reply| {
                reply.is_transient().then(|| {
                    owed.push(path, dsn);
                    *deferral = Some(reply.clone());
                    KEPT.clone()
                })
            });
        }
        self.kept.truncate(0);
        std::mem::swap(&mut self.keeping, &mut self.kept);
        if self.refused_for_good().is_none() {
            self.keep.main.recipients.extend(&self.kept);
        }
    }

    /// The upstream's word on everybody, if it is a 5yz.
    fn refused_for_good(&self) -> Option<&Reply> {
        self.leg.closed().filter(|reply| reply.severity() == Severity::Permanent)
    }

    /// The recipients that the upstream was asked for last, and the word on each.
    pub fn answers(&self) -> impl Iterator<Item = (&[u8], &Reply)> {
        self.leg.answers()
    }

    /// Those who were named with them and are [`Named::Kept`], and the word on each.
    pub fn kept_answers(&self) -> impl Iterator<Item = (&[u8], &Reply)> {
        let reply = self.refused_for_good().unwrap_or(&KEPT);
        self.kept.iter().map(move |path| (path, reply))
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
