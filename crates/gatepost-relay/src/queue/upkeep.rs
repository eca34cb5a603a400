//! Looks after what nobody takes: messages whose time is over while their upstream rests, senders who
//! are to hear of a delay, notifications that are still owed, upstreams that are gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gatepost_smtp::reply::Reply;
use gatepost_spool::{
    DueMessage, Filter, Notice, QueueId, Recovery, SpoolError, Standing, StoredMessage, Summary,
};

use super::Inner;
use super::letter::Letter;
use super::record::{Circumstances, is_over};
use super::verdict::Decision;

/// Messages that are looked at in one read.
const PAGE: usize = 256;
/// Messages whose delay is looked at in one round: after a start with a great many, others read, too.
const DELAYS_MAX: usize = 10_000;
/// Names of upstreams that are gone, in one round of the log.
const NAMED_MAX: usize = 16;
/// Who was put back by an operator when its time was over is tried once more; if its upstream is not
/// reached for so long, there was no such time.
const LAST_CHANCE: Duration = Duration::from_hours(1);
/// No message is as old: only those whose time is over are asked for.
const NO_DELAY: Duration = Duration::from_hours(24 * 365 * 50);
/// What is recorded of a recipient about whom nothing was ever said.
const NEVER_REACHED: Reply =
    Reply::fixed(451, (4, 4, 7), "the upstream was not reached before the message expired");

/// Goes on until the runner is told to stop.
pub(super) async fn run(inner: &Arc<Inner>) {
    let mut upkeep = Upkeep { inner, delays_told: None };
    let mut rounds = tokio::time::interval(inner.upkeep_every);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = inner.told_to_stop() => return,
            _ = rounds.tick() => {}
        }
        match upkeep.round().await {
            Ok(()) => {}
            Err(error) if is_over(&error) => return,
            Err(error) => tracing::warn!(%error, "cannot look after the spool; trying again"),
        }
    }
}

/// Counts what an upstream may have accepted when the last process ended. The spool has named them. They
/// are looked at before any of them is taken: one that has arrived meanwhile could not be found.
pub(super) async fn tell_in_doubt(inner: &Inner, recovery: &Recovery) {
    #[allow(clippy::cast_precision_loss)] // a gauge is a float
    inner.metrics.recovered.set(recovery.leases as f64);
    for &id in &recovery.in_doubt {
        if inner.is_stopping() {
            return;
        }
        let Ok(Some(message)) = inner.spool.show(id).await else { continue };
        if let Some(way) = inner.ways.get(&message.envelope.upstream) {
            way.metrics.ambiguous.increment(1);
        }
    }
    let (messages, in_doubt) = (recovery.leases, recovery.in_doubt.len());
    if messages > 0 {
        tracing::info!(
            messages,
            in_doubt,
            "messages were being delivered when the last process ended: each may arrive twice"
        );
    }
}

struct Upkeep<'a> {
    inner: &'a Arc<Inner>,
    /// Up to which message delays were told. Ids are in the order of age.
    delays_told: Option<QueueId>,
}

impl Upkeep<'_> {
    async fn round(&mut self) -> Result<(), SpoolError> {
        let owing = self.look_for_strangers().await?;
        if owing > 0 {
            self.notify_owed(owing).await?;
        }
        self.expire().await?;
        self.tell_delays().await
    }

    /// Finds upstreams that have messages and are not configured, and answers how many messages a
    /// notification is owed for.
    async fn look_for_strangers(&self) -> Result<u64, SpoolError> {
        let stats = self.inner.spool.stats(SystemTime::now()).await?;
        let mut strangers: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        let mut owing = 0;
        for tally in stats.tallies {
            if tally.standing == Standing::Owing {
                owing += tally.messages;
            } else if tally.standing == Standing::Queued
                && !self.inner.ways.contains_key(&tally.upstream)
            {
                *strangers.entry(tally.upstream).or_default() += tally.messages;
            }
        }
        for (upstream, messages) in strangers.iter().take(NAMED_MAX) {
            tracing::warn!(
                upstream = &**upstream,
                messages,
                "spooled messages wait for an upstream that is not configured; configure it, or give them \
                 to another with `gatepost queue retry --all --upstream NAME`"
            );
        }
        #[allow(clippy::cast_precision_loss)] // a gauge is a float
        self.inner.metrics.stranded.set(strangers.values().sum::<u64>() as f64);
        *self.inner.strangers() = strangers;
        Ok(owing)
    }

    async fn notify_owed(&self, owing: u64) -> Result<(), SpoolError> {
        let filter = Filter { standing: Some(Standing::Owing), ..Filter::default() };
        let (mut after, mut found) = (None, 0);
        loop {
            let page = self.inner.spool.list(filter.clone(), after, PAGE).await?;
            for message in &page.messages {
                self.inner.notify(message.id).await;
                found += 1;
            }
            after = page.next;
            if after.is_none() || found >= owing || self.inner.is_stopping() {
                return Ok(());
            }
        }
    }

    /// Gives up messages whose time is over, and whose upstream takes nothing.
    async fn expire(&self) -> Result<(), SpoolError> {
        loop {
            let now = SystemTime::now();
            let aged = self.inner.spool.aged(now, NO_DELAY, PAGE).await?;
            let is_page = aged.len() == PAGE;
            let mut given_up = 0;
            for message in aged.iter().filter(|message| self.is_given_up(message, now)) {
                given_up += usize::from(self.give_up(message.id).await?);
            }
            if !is_page || given_up == 0 || self.inner.is_stopping() {
                return Ok(());
            }
        }
    }

    fn is_given_up(&self, message: &DueMessage, now: SystemTime) -> bool {
        let is_open = self.inner.ways.get(&message.upstream).is_some_and(|way| way.is_open());
        let was_put_back = message.due_at > message.expires_at;
        // While its upstream takes something, it is tried for the last time.
        !is_open
            && message.expires_at <= now
            && (!was_put_back || message.due_at + LAST_CHANCE <= now)
    }

    async fn give_up(&self, id: QueueId) -> Result<bool, SpoolError> {
        let spool = &self.inner.spool;
        if spool.lease(vec![id]).await?.is_empty() {
            return Ok(false);
        }
        let lease = spool.guard(id);
        let Some(message) = spool.show(id).await? else { return Ok(false) };
        let letter = Letter::of_stored(message);
        let said = letter.recipients.iter().map(|it| it.reply.clone().unwrap_or(NEVER_REACHED));
        let decisions: Vec<Decision> = said.map(Decision::Expired).collect();
        let circumstances = Circumstances {
            way: self.inner.ways.get(&letter.envelope.upstream).map(|way| &**way),
            reason: Some("its upstream was not reached in time"),
            offers_dsn: false,
            keeps: false,
        };
        self.inner.settle(&letter, &decisions, circumstances, lease).await;
        Ok(true)
    }

    /// Tells senders of messages that have become so old, each once.
    async fn tell_delays(&mut self) -> Result<(), SpoolError> {
        let mut seen = 0;
        while seen < DELAYS_MAX && !self.inner.is_stopping() {
            let now = SystemTime::now();
            let page = self.inner.spool.list(Filter::default(), self.delays_told, PAGE).await?;
            for summary in &page.messages {
                if summary.received_at + self.inner.delay_after() > now {
                    return Ok(());
                }
                self.tell_delay(summary, now).await?;
                self.delays_told = Some(summary.id);
                seen += 1;
            }
            if page.next.is_none() || page.messages.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn tell_delay(&self, summary: &Summary, now: SystemTime) -> Result<(), SpoolError> {
        if summary.pending == 0 {
            return Ok(());
        }
        let Some(message) = self.inner.spool.show(summary.id).await? else { return Ok(()) };
        if !self.wants_delay(&message) {
            return Ok(());
        }
        let (inner, id) = (self.inner, summary.id);
        match inner.bouncer.notify(&inner.spool, &message, Notice::Delay, now).await {
            Ok(Some(_)) => inner.wake.notify_one(),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%id, %error, "a notification of delay is put off");
                return Err(error);
            }
        }
        Ok(())
    }

    fn wants_delay(&self, message: &StoredMessage) -> bool {
        message.recipients.iter().any(|it| {
            it.state == gatepost_spool::RecipientState::Pending
                && !it.delay_told
                && self.inner.bouncer.wants_delay(&message.envelope, &it.recipient)
        })
    }
}
