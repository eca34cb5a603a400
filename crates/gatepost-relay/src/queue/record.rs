//! What an attempt leaves behind: lines in the mail log, rows in the spool, somebody who is told.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gatepost_spool::{After, Attempt, LeaseGuard, Notice, Outcome, QueueId, SpoolError, Standing};

use super::letter::{Letter, Pending};
use super::schedule::schedule;
use super::verdict::Decision;
use super::way::Way;
use super::{Inner, log};
use crate::dsn::Fate;

/// The pauses between two tries to write something down that is known: the first, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(1)];

/// What is known about an attempt, beside what was decided.
pub(super) struct Circumstances<'a> {
    pub(super) way: Option<&'a Way>,
    pub(super) reason: Option<&'a str>,
    /// Whether the upstream offers DSN, and so tells the sender itself.
    pub(super) offers_dsn: bool,
    /// Failures are not told, but kept: there is nothing that could be sent back.
    pub(super) keeps: bool,
}

impl Inner {
    /// Writes down what was decided about a message that is leased. The lease ends with it.
    pub(super) async fn settle(
        self: &Arc<Self>,
        letter: &Letter,
        decisions: &[Decision],
        circumstances: Circumstances<'_>,
        lease: LeaseGuard,
    ) {
        let now = SystemTime::now();
        if let Some(way) = circumstances.way {
            count(way, decisions);
        }
        log::tell(&self.mail_log, letter, decisions, circumstances.reason, now);
        let attempts = self.attempts(letter, decisions, &circumstances);
        let due_at = self.due_at(letter, decisions, now);
        let id = letter.envelope.id;
        let recorded = self.record(id, attempts, due_at).await;
        if let Err(error) = self.conclude(recorded, lease).await {
            // The spool has stopped: nothing that is written now stays, and what was delivered is not
            // known to be.
            self.tell_unrecorded(letter, decisions, circumstances.way, &error);
        }
    }

    /// Goes on with what is left to do about a message.
    pub(super) async fn conclude(
        &self,
        recorded: Result<Option<Standing>, SpoolError>,
        lease: LeaseGuard,
    ) -> Result<(), SpoolError> {
        let standing = recorded?;
        let id = lease.id();
        lease.is_over();
        match standing {
            Some(Standing::Owing) => self.notify(id).await,
            // It may be due before anything else.
            Some(Standing::Queued) => self.wake.notify_one(),
            _ => {}
        }
        Ok(())
    }

    /// Writes it down; if need be, again and again. The lease is kept meanwhile: what was delivered must
    /// not be due again.
    pub(super) async fn record(
        &self,
        id: QueueId,
        attempts: Vec<Attempt>,
        due_at: SystemTime,
    ) -> Result<Option<Standing>, SpoolError> {
        let mut pause = PAUSES[0];
        loop {
            match self.spool.record(id, attempts.clone(), due_at).await {
                Err(error) if !is_over(&error) => {
                    tracing::warn!(%id, %error, "cannot write down what became of a message; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES[1]);
                }
                recorded => return recorded,
            }
        }
    }

    fn attempts(
        &self,
        letter: &Letter,
        decisions: &[Decision],
        circumstances: &Circumstances<'_>,
    ) -> Vec<Attempt> {
        let after = |pending: &Pending, fate| match fate {
            Fate::Failed if circumstances.keeps => After::Keep,
            fate => self.bouncer.after(&letter.envelope, &pending.recipient, fate),
        };
        let attempt = |(pending, decision): (&Pending, &Decision)| {
            let (outcome, reply) = match decision {
                Decision::Left => return None,
                Decision::Deferred(reply) => (Outcome::Deferred, reply),
                Decision::Delivered(reply) => {
                    let upstream_tells =
                        circumstances.offers_dsn && !pending.recipient.dsn.is_empty();
                    (Outcome::Delivered(after(pending, Fate::Delivered { upstream_tells })), reply)
                }
                Decision::Expired(reply) => {
                    (Outcome::Expired(after(pending, Fate::Expired)), reply)
                }
                Decision::Failed(reply) => (Outcome::Failed(after(pending, Fate::Failed)), reply),
            };
            Some(Attempt { place: pending.place, outcome, reply: Some(reply.clone()) })
        };
        letter.recipients.iter().zip(decisions).filter_map(attempt).collect()
    }

    /// When those are tried who are still pending: at once, if the upstream has taken some and would not
    /// be asked for more; otherwise by the schedule, and for the last time when their time is over.
    fn due_at(&self, letter: &Letter, decisions: &[Decision], now: SystemTime) -> SystemTime {
        let goes_on = decisions.contains(&Decision::Left);
        if goes_on && decisions.iter().any(Decision::is_final) {
            return now;
        }
        let pairs = letter.recipients.iter().zip(decisions);
        let tried = pairs.filter(|(_, decision)| matches!(decision, Decision::Deferred(_)));
        let attempts = tried.map(|(pending, _)| pending.attempts + 1).max().unwrap_or(1);
        let expires_at = letter.envelope.expires_at;
        let wait = schedule(attempts, &self.config.retry, fastrand::f64());
        let due_at = now + wait;
        if expires_at > now { due_at.min(expires_at) } else { due_at }
    }

    /// Tells the sender what is owed about a message.
    pub(super) async fn notify(&self, id: QueueId) {
        if !self.telling().insert(id) {
            return;
        }
        let _claim = Claim { inner: self, id };
        let told = match self.spool.show(id).await {
            // Somebody else may have told it before.
            Ok(Some(message)) if message.standing == Standing::Owing => {
                self.bouncer.notify(&self.spool, &message, Notice::End, SystemTime::now()).await
            }
            Ok(_) => return,
            Err(error) => Err(error),
        };
        match told {
            // The notification is a message that is due.
            Ok(Some(_)) => self.wake.notify_one(),
            Ok(None) => {}
            Err(error) => tracing::warn!(%id, %error, "a notification is owed, and put off"),
        }
    }

    fn tell_unrecorded(
        &self,
        letter: &Letter,
        decisions: &[Decision],
        way: Option<&Way>,
        error: &SpoolError,
    ) {
        self.tell_stopped(error);
        if decisions.iter().any(|decision| matches!(decision, Decision::Delivered(_))) {
            if let Some(way) = way {
                way.metrics.ambiguous.increment(1);
            }
            let id = letter.envelope.id;
            tracing::warn!(%id, "delivered, and that cannot be written down: the message may arrive twice");
        }
    }
}

/// Nobody else tells about this message meanwhile.
struct Claim<'a> {
    inner: &'a Inner,
    id: QueueId,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.inner.telling().remove(&self.id);
    }
}

/// Whether trying again is of no use.
pub(super) const fn is_over(error: &SpoolError) -> bool {
    matches!(error, SpoolError::Closed | SpoolError::Stopped(_))
}

fn count(way: &Way, decisions: &[Decision]) {
    let metrics = &way.metrics;
    let any = |of: fn(&Decision) -> bool| decisions.iter().any(of);
    for (counter, was) in [
        (&metrics.deferred, any(|it| matches!(it, Decision::Deferred(_)))),
        (&metrics.delivered, any(|it| matches!(it, Decision::Delivered(_)))),
        (&metrics.expired, any(|it| matches!(it, Decision::Expired(_)))),
        (&metrics.failed, any(|it| matches!(it, Decision::Failed(_)))),
    ] {
        if was {
            counter.increment(1);
        }
    }
}
