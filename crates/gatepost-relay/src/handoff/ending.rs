//! The end of a message: to the upstream, into the spool, or back to the client.
//!
//! Two orders are what the promise rests on. Whoever is owed to the spool is committed before the final
//! dot goes upstream, so that a message is never taken in part. And what the client is told of in
//! another way is withdrawn, for good, before it is told.

use std::time::SystemTime;

use gatepost_delivery::Paths;
use gatepost_smtp::reply::Reply;
use gatepost_spool::{Attempt, Entrance, Outcome, Spool, SpoolError};

use super::keep::{self, Committed, Withdrawn};
use super::{Handoff, Last};
use crate::leg::{Decided, Ending, Refused};
use crate::mail_log::Origin;
use crate::mode::Mode;
use crate::queue::Fresh;

/// A copy could not be taken back, so the client must not be told that it was refused.
const NOT_WITHDRAWN: Reply =
    Reply::fixed(451, (4, 3, 0), "cannot tell what became of the message, try again later");

/// How a message has ended, for its client and for the log.
pub(super) struct Ended {
    pub(super) fate: Fate,
    /// What the client hears.
    pub(super) reply: Reply,
    /// Whom the upstream had accepted, whatever it did then.
    pub(super) accepted: Paths,
}

pub(crate) enum Fate {
    /// The upstream has it; whoever was owed to the spool is there.
    Accepted,
    /// The spool has all of it. What the upstream did, if it was asked.
    Kept(Option<Refused>),
    /// The spool has all of it, and the upstream perhaps, too: it has not answered yet.
    InDoubt,
    /// Nobody has it.
    Refused(Refused),
}

/// What the upstream has said of those it had accepted: of the first one's way, all from this place on.
struct PutOff<'a> {
    first: usize,
    reply: &'a Reply,
}

impl PutOff<'_> {
    fn attempts(&self, recipients: usize) -> Vec<Attempt> {
        let attempt = |place| Attempt {
            place: place as u32,
            outcome: Outcome::Deferred,
            reply: Some(self.reply.clone()),
        };
        (self.first..recipients).map(attempt).collect()
    }
}

impl Ended {
    /// Whether the client may go.
    pub(super) const fn is_granted(&self) -> bool {
        !matches!(self.fate, Fate::Refused(_))
    }
}

impl Handoff {
    pub(super) async fn end(&mut self, last: Last, origin: &Origin<'_>) -> Ended {
        self.octets += last.content_octets();
        self.begin().await;
        if self.is_copied() {
            self.keep.end(&last).await;
        }
        self.has_put_off = self.leg.has_put_off();
        if self.leg.holds_connection() && !self.leg.accepted().is_empty() {
            self.end_upstream(last, origin).await
        } else {
            // Nothing is sent, but what is in it has to be looked at.
            self.leg.content(last.octets()).await;
            Box::pin(self.end_here(origin)).await
        }
    }

    /// No upstream is waited for.
    async fn end_here(&mut self, origin: &Origin<'_>) -> Ended {
        let accepted = self.leg.take_accepted();
        let refused = self.leg.closed().cloned().map(|reply| self.refused(reply));
        if self.leg.is_unfit() || !(self.falls_back() || accepted.is_empty() && self.keep.is_owed())
        {
            let none = gatepost_smtp::server::replies::NO_VALID_RECIPIENTS;
            return Self::refuse(refused.unwrap_or_else(|| self.refused(none)), accepted);
        }
        let owed = self.keep.main.recipients.len();
        self.keep.main.recipients.extend(&accepted);
        // Who was never asked about was not tried.
        let tried = refused.as_ref().filter(|_| !accepted.is_empty() && !self.leg.is_unreached());
        let put_off = tried.map(|refused| PutOff { first: owed, reply: &refused.reply });
        match self.keep_all(origin, put_off).await {
            Ok(()) => Ended { reply: self.queued(), fate: Fate::Kept(refused), accepted },
            Err(error) => {
                self.keep.main.recipients.truncate(owed);
                self.not_kept(&error, refused, accepted)
            }
        }
    }

    /// Commits every part; nobody has them leased.
    async fn keep_all(
        &mut self,
        origin: &Origin<'_>,
        put_off: Option<PutOff<'_>>,
    ) -> Result<(), SpoolError> {
        let relay = self.relay.clone();
        let Some(spool) = &relay.spool else { return Err(SpoolError::Closed) };
        if self.keep.has_others() || put_off.is_some() {
            let parts = self.keep.commit_owed((&relay, spool), &self.message, origin).await?;
            self.let_go_on(spool, parts, put_off).await;
            return Ok(());
        }
        if self.mode == Mode::Spool && self.keep_and_go_on(spool, origin).await? {
            return Ok(());
        }
        let entrance = Entrance::Due(self.due_at());
        let part = &mut self.keep.main;
        part.put_down((&relay, spool), &self.message, origin, entrance).await?;
        relay.wake_queue();
        Ok(())
    }

    /// Commits a message that the queue goes on with at once. False if it has no room.
    async fn keep_and_go_on(
        &mut self,
        spool: &Spool,
        origin: &Origin<'_>,
    ) -> Result<bool, SpoolError> {
        let relay = &*self.relay;
        let part = &mut self.keep.main;
        let Some((queue, room)) = relay.queue().and_then(|queue| {
            let room = queue.room(&part.upstream, part.octets())?;
            Some((queue, room))
        }) else {
            return Ok(false);
        };
        let Some(body) = part.take_body() else { return Ok(false) };
        let message = part.message(relay, &self.message, origin, Entrance::Leased);
        let lease = spool.guard(part.id);
        match spool.commit_and_keep(message.clone(), body).await {
            Ok(body) => {
                queue.offer(Fresh { message, body, lease, room });
                Ok(true)
            }
            Err(error) => {
                // Nothing of it was leased.
                lease.is_over();
                Err(error)
            }
        }
    }

    /// The upstream has the message but for its end.
    async fn end_upstream(&mut self, last: Last, origin: &Origin<'_>) -> Ended {
        let mut parts = Vec::new();
        if let Some(relay) = self.keep.is_owed().then(|| self.relay.clone())
            && let Some(spool) = &relay.spool
        {
            let owed = self.keep.commit_owed((&relay, spool), &self.message, origin);
            match Box::pin(owed).await {
                Ok(committed) => parts = committed,
                Err(error) => {
                    // Its connection is closed without the final dot.
                    let accepted = self.leg.take_accepted();
                    drop(self.leg.take());
                    return self.not_kept(&error, None, accepted);
                }
            }
        }
        let accepted = self.leg.take_accepted();
        let ending = if self.mode == Mode::Hybrid {
            // Boxed, because it may stay for longer than the client does; and so is what seldom happens.
            let mut leg = self.leg.take();
            let mut finishing = Box::pin(async move { leg.finish(last.octets()).await });
            match tokio::time::timeout(self.relay.config.answer_within, &mut finishing).await {
                Ok(ending) => ending,
                Err(_) => return Box::pin(self.leave(finishing, parts, accepted, origin)).await,
            }
        } else {
            self.leg.finish(last.octets()).await
        };
        match ending {
            Ending::Accepted(reply) if parts.is_empty() => {
                Ended { reply, fate: Fate::Accepted, accepted }
            }
            ending => Box::pin(self.settle(ending, parts, accepted, origin)).await,
        }
    }

    /// The upstream has said its word, or will say none.
    pub(super) async fn settle(
        &mut self,
        ending: Ending,
        parts: Vec<Committed>,
        accepted: Paths,
        origin: &Origin<'_>,
    ) -> Ended {
        let relay = self.relay.clone();
        let refused = match ending {
            Ending::Accepted(reply) => {
                if let Some(spool) = &relay.spool {
                    self.let_go(spool, parts).await;
                }
                return Ended { reply, fate: Fate::Accepted, accepted };
            }
            Ending::Refused(refused) => refused,
        };
        self.has_put_off = true;
        let Some(spool) = &relay.spool else { return Self::refuse(refused, accepted) };
        let can_wait = self.mode == Mode::Hybrid && refused.reply.is_transient();
        let parts = if can_wait {
            let first = self.keep.main.recipients.len();
            match self.join(spool, parts, &accepted, origin).await {
                Ok(parts) => {
                    let put_off = PutOff { first, reply: &refused.reply };
                    self.let_go_on(spool, parts, Some(put_off)).await;
                    return Ended {
                        reply: self.queued(),
                        fate: Fate::Kept(Some(refused)),
                        accepted,
                    };
                }
                // Then it is as in mode sync.
                Err(parts) => parts,
            }
        } else {
            parts
        };
        match keep::withdraw(spool, parts).await {
            Withdrawn::All => Self::refuse(refused, accepted),
            Withdrawn::NotAll => {
                Self::refuse(Refused { reply: NOT_WITHDRAWN, ..refused }, accepted)
            }
        }
    }

    /// The upstream has everything and has refused it for now: whom it had accepted is owed to the
    /// spool, too.
    async fn join(
        &mut self,
        spool: &Spool,
        mut parts: Vec<Committed>,
        accepted: &Paths,
        origin: &Origin<'_>,
    ) -> Result<Vec<Committed>, Vec<Committed>> {
        if let Some(main) = parts.iter().find(|part| part.is_main) {
            return match spool.doubt(main.id, keep::recipients(accepted)).await {
                Ok(true) => {
                    self.keep.main.recipients.extend(accepted);
                    Ok(parts)
                }
                Ok(false) | Err(_) => Err(parts),
            };
        }
        let relay = self.relay.clone();
        let main = &mut self.keep.main;
        let owed = main.recipients.len();
        main.recipients.extend(accepted);
        let committed = main.commit((&relay, spool), &self.message, origin, Entrance::Leased);
        let Ok(lease) = committed.await else {
            main.recipients.truncate(owed);
            return Err(parts);
        };
        parts.push(Committed { id: main.id, is_main: true, lease });
        Ok(parts)
    }

    /// The queue goes on with parts: at once, or in a while with what was just tried.
    pub(super) async fn let_go(&self, spool: &Spool, parts: Vec<Committed>) {
        self.let_go_on(spool, parts, None).await;
    }

    /// The same, where the upstream was given the message and has put it off: that is an attempt.
    async fn let_go_on(&self, spool: &Spool, parts: Vec<Committed>, put_off: Option<PutOff<'_>>) {
        if parts.is_empty() {
            return;
        }
        for part in parts {
            let due_at = if part.is_main { self.due_at() } else { SystemTime::now() };
            let let_go = match put_off.as_ref().filter(|_| part.is_main) {
                Some(put_off) => {
                    let attempts = put_off.attempts(self.keep.main.recipients.len());
                    spool.record(part.id, attempts, due_at).await.map(drop)
                }
                None => spool.reschedule(part.id, due_at).await.map(drop),
            };
            // A failure leaves it to the guard.
            if let_go.is_ok() {
                part.lease.is_over();
            }
        }
        self.relay.wake_queue();
    }

    /// When the queue may go on with those who were to go by this leg.
    pub(super) fn due_at(&self) -> SystemTime {
        let now = SystemTime::now();
        // Who was never asked about has not failed.
        if self.has_put_off { now + self.relay.first_retry() } else { now }
    }

    /// What the client hears of a message that is in the spool.
    pub(super) fn queued(&self) -> Reply {
        let text = ["Ok: queued as ", self.message.id.text().as_str()].concat();
        Reply::new(250, (2, 0, 0), text)
    }

    fn refused(&self, reply: Reply) -> Refused {
        let decided = if self.leg.is_unfit() { Decided::Here } else { Decided::Upstream };
        Refused { reply, reason: self.leg.reason().map(Into::into), decided }
    }

    fn refuse(refused: Refused, accepted: Paths) -> Ended {
        Ended { reply: refused.reply.clone(), fate: Fate::Refused(refused), accepted }
    }

    /// The spool did not take it: the client hears of the upstream's trouble, if there was any. One
    /// that has refused its recipients for good has said nothing about those who still stand.
    fn not_kept(&self, error: &SpoolError, refused: Option<Refused>, accepted: Paths) -> Ended {
        // Whoever watches the spool has said so; each message is told of in the mail log.
        tracing::debug!(id = %self.message.id, %error, "the spool did not take a message");
        let refused = refused.filter(|refused| refused.reply.is_transient());
        let refused = refused.unwrap_or_else(|| Refused {
            reply: keep::NO_ROOM,
            reason: Some(error.to_string().into()),
            decided: Decided::Here,
        });
        Self::refuse(refused, accepted)
    }
}
