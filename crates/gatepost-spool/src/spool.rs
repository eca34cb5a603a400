//! The handle of a spool: what the hand-over, the queue runner and the commands call.
//!
//! Every call that changes something becomes an operation for the writer, and returns after the commit
//! that has it was flushed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::Thread;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::account::Stats;
use crate::body::{BodyReader, BodyWriter};
use crate::error::SpoolError;
use crate::id::QueueId;
use crate::lease::LeaseGuard;
use crate::message::{About, Attempt, Message, Recipient, Standing, StoredMessage};
use crate::operation::{
    CHUNK, Commit, Doubt, Hold, LeaseThem, Operation, Record, Release, Remove, RenameUpstream,
    Reschedule, Retry, RetryChunk, SettleDelay, Wake, Withdraw, Withhold,
};
use crate::read::{DueMessage, Filter, Page, Reader, resting};
use crate::shared::Shared;
use crate::workers::Workers;
use crate::writer::{Job, job};

/// A spool that is open. Clones are handles of the same one.
#[derive(Clone)]
pub struct Spool {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) jobs: mpsc::Sender<Box<dyn Job>>,
    /// Parked while all that it has to do can wait.
    pub(crate) writer: Thread,
    pub(crate) reader: Workers<Reader>,
    /// Changes when the writer has ended.
    pub(crate) ended: watch::Receiver<()>,
    /// Who is the first to get a turn.
    pub(crate) turn: AtomicUsize,
}

/// A message comes in.
impl Spool {
    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Begins the body of a message that may be committed.
    pub fn body(&self, id: QueueId) -> BodyWriter {
        BodyWriter::new(self.inner.shared.clone(), id)
    }

    /// Takes a message. When this has returned its id, the message is on stable storage with its body
    /// and all of its recipients, of whom there is at least one. If it fails, nothing of it is there,
    /// except after [`SpoolError::Stopped`]: then it may be there, and be delivered after a restart.
    ///
    /// A caller that does not wait for the end does not know whether the message was taken.
    pub async fn commit(&self, message: Message, body: BodyWriter) -> Result<QueueId, SpoolError> {
        let id = message.envelope.id;
        self.commit_and_keep(message, body).await?;
        Ok(id)
    }

    /// As [`Self::commit`]. Brings the body back if it was small enough to be a row, for a caller that
    /// goes on with it at once: these are the row's octets, and if the body came in one piece, those that
    /// came.
    pub async fn commit_and_keep(
        &self,
        message: Message,
        body: BodyWriter,
    ) -> Result<Option<Bytes>, SpoolError> {
        // Either would be a bug of the caller, and mail that is never delivered.
        assert!(!message.recipients.is_empty(), "a message for nobody waits for ever");
        assert_eq!(message.envelope.id, body.id(), "a body is found by the id of its message");
        self.inner.shared.status.check()?;
        let body = body.finish().await?;
        let kept = body.inline().cloned();
        self.write(Commit::new(message, body)).await??;
        Ok(kept)
    }

    /// Says of a message that its caller has leased: an upstream was given all of it, and has not
    /// answered. `joining` are recipients that this upstream had accepted, and that were not owed to
    /// the spool before; their places follow those that are there. False if it was not leased.
    pub async fn doubt(&self, id: QueueId, joining: Vec<Recipient>) -> Result<bool, SpoolError> {
        self.write(Doubt { id, joining }).await
    }

    /// Removes a message that its caller has leased, because all of it is told to somebody else. When
    /// this has returned the removal is on stable storage. False if it was not leased.
    pub async fn withdraw(&self, id: QueueId) -> Result<bool, SpoolError> {
        self.write(Withdraw { id }).await
    }
}

/// A message goes on.
impl Spool {
    /// At most `limit` messages that are due, without those for upstreams that are `resting`. Entries
    /// take turns, at each upstream.
    pub async fn due(
        &self,
        now: SystemTime,
        limit: usize,
        resting_upstreams: &[Arc<str>],
    ) -> Result<Vec<DueMessage>, SpoolError> {
        let mut lanes = self.inner.shared.account().ready(&resting(resting_upstreams));
        if !lanes.is_empty() {
            // With more lanes than messages are wanted, others are the first the next time.
            let first = self.inner.turn.fetch_add(limit.max(1), Relaxed) % lanes.len();
            lanes.rotate_left(first);
        }
        self.read(move |reader| reader.due(lanes, now, limit)).await
    }

    /// When the next message is due, without those for upstreams that are resting. None if there is none.
    pub async fn next_due(
        &self,
        resting_upstreams: &[Arc<str>],
    ) -> Result<Option<SystemTime>, SpoolError> {
        let lanes = self.inner.shared.account().ready(&resting(resting_upstreams));
        self.read(move |reader| reader.next_due(&lanes)).await
    }

    /// At most `limit` messages, wherever their upstream stands, that nobody is at work on, that are not
    /// held, and that are past their expiry, or else older than `delay_after` and of which nobody has
    /// said yet whether a notification of delay is made: committing one ([`Notice::Delay`](crate::Notice))
    /// says so, and so does [`Self::settle_delay`]. The oldest are the first. For messages whose upstream
    /// rests, and that no attempt brings to mind.
    pub async fn aged(
        &self,
        now: SystemTime,
        delay_after: Duration,
        limit: usize,
    ) -> Result<Vec<DueMessage>, SpoolError> {
        // What is older than the clock is older than any message.
        let delayed = now.checked_sub(delay_after).unwrap_or(SystemTime::UNIX_EPOCH);
        self.read(move |reader| reader.aged(now, delayed, limit)).await
    }

    /// Says of messages that nobody is to be told of their delay, now or later: [`Self::aged`] does not
    /// name them for it again. Answers which are there.
    pub async fn settle_delay(&self, ids: Vec<QueueId>) -> Result<Vec<QueueId>, SpoolError> {
        self.each_chunk(ids, |ids| SettleDelay { ids }).await
    }

    /// Takes messages to work on them, and answers which they are: one may have been held, removed or
    /// leased in between. A lease ends with [`Self::record`], [`Self::release`], [`Self::reschedule`],
    /// [`Self::withdraw`], or this process.
    pub async fn lease(&self, ids: Vec<QueueId>) -> Result<Vec<QueueId>, SpoolError> {
        self.each_chunk(ids, |ids| LeaseThem { ids }).await
    }

    /// What gives the lease of a message back if the task that has it does not come to its end.
    pub fn guard(&self, id: QueueId) -> LeaseGuard {
        LeaseGuard::new(self.clone(), id)
    }

    /// Gives a lease back some time, without waiting.
    pub(crate) fn abandon(&self, id: QueueId) {
        let release = job(Release { ids: vec![id] }, oneshot::channel().0);
        if let Err(mpsc::error::TrySendError::Full(_)) = self.inner.jobs.try_send(release) {
            // There is much to write, and the writer looks here when it goes on with that.
            self.inner.shared.abandoned().push(id);
        }
    }

    /// Records what an attempt has done to recipients of a message that the caller has leased, and
    /// gives the lease back. Who is still pending is due again at `due_at`. If nobody is, the message
    /// waits for a notification, is kept as a dead letter, or goes: see [`After`](crate::After).
    ///
    /// Answers where it stands now; none if nothing is left of it. A message that was not leased is
    /// left as it is.
    pub async fn record(
        &self,
        id: QueueId,
        attempts: Vec<Attempt>,
        due_at: SystemTime,
    ) -> Result<Option<Standing>, SpoolError> {
        self.write(Record { id, attempts, due_at }).await
    }

    /// Notes that a notification is not made. Who was owed one and was not delivered is kept, as
    /// [`After::Keep`](crate::After) says, and who was delivered is done with; of a delay nobody is
    /// told any more. False if the message is not there.
    pub async fn withhold(&self, about: About) -> Result<bool, SpoolError> {
        self.write(Withhold { about }).await
    }

    /// Gives leases back without an attempt: these messages are due when they were.
    pub async fn release(&self, ids: Vec<QueueId>) -> Result<Vec<QueueId>, SpoolError> {
        self.each_chunk(ids, |ids| Release { ids }).await
    }

    /// Sets when a message is due, and gives its lease back if there is one. False if it is not there,
    /// or nobody is pending.
    pub async fn reschedule(&self, id: QueueId, due_at: SystemTime) -> Result<bool, SpoolError> {
        self.write(Reschedule { id, due_at }).await
    }
}

/// An operator looks at it, and takes a hand.
impl Spool {
    /// Puts messages aside: they are not due until they are put back. One that is leased is held when
    /// its lease has ended. Answers which these were.
    pub async fn hold(&self, ids: Vec<QueueId>) -> Result<Vec<QueueId>, SpoolError> {
        self.each_chunk(ids, Hold::Aside).await
    }

    /// Puts messages back that were held.
    pub async fn unhold(&self, ids: Vec<QueueId>) -> Result<Vec<QueueId>, SpoolError> {
        self.each_chunk(ids, Hold::Back).await
    }

    /// Removes messages that nobody is at work on, and answers which these were. Nobody is notified.
    pub async fn remove(&self, ids: Vec<QueueId>) -> Result<Vec<QueueId>, SpoolError> {
        self.each_chunk(ids, |ids| Remove { ids }).await
    }

    /// Makes messages due that wait for their time, those that are held, and dead letters, whose kept
    /// recipients are pending again; by another upstream if one is named. Answers which these were. A
    /// message can be past its expiry then: whoever takes it tries it once more.
    pub async fn retry(
        &self,
        ids: Vec<QueueId>,
        now: SystemTime,
        upstream: Option<Arc<str>>,
    ) -> Result<Vec<QueueId>, SpoolError> {
        self.each_chunk(ids, |ids| Retry { ids, now, upstream: upstream.clone() }).await
    }

    /// Makes everything due that waits for its time, or everything of one upstream. Answers how many
    /// messages that were.
    pub async fn retry_all(
        &self,
        now: SystemTime,
        upstream: Option<Arc<str>>,
    ) -> Result<usize, SpoolError> {
        let mut all = 0;
        loop {
            let some = self.write(RetryChunk { upstream: upstream.clone(), now }).await?;
            all += some;
            if some < CHUNK as usize {
                return Ok(all);
            }
        }
    }

    /// Gives everything of one upstream to another one, wherever it stands. False if there was nothing.
    pub async fn move_upstream(&self, from: Arc<str>, to: Arc<str>) -> Result<bool, SpoolError> {
        self.write(RenameUpstream { from, to }).await.map(|lanes| lanes > 0)
    }

    /// A page of at most [`LIST_MAX`](crate::LIST_MAX) messages, from behind `after` on.
    pub async fn list(
        &self,
        filter: Filter,
        after: Option<QueueId>,
        limit: usize,
    ) -> Result<Page, SpoolError> {
        self.read(move |reader| reader.list(&filter, after, limit)).await
    }

    /// A message with its recipients, if it is there.
    pub async fn show(&self, id: QueueId) -> Result<Option<StoredMessage>, SpoolError> {
        self.read(move |reader| reader.message(id)).await
    }

    /// The body of a message, if it is there.
    pub async fn read_body(&self, id: QueueId) -> Result<Option<BodyReader>, SpoolError> {
        let Some(row) = self.read(move |reader| reader.body(id)).await? else { return Ok(None) };
        BodyReader::open(self.inner.shared.clone(), id, row).await.map(Some)
    }

    /// What is in the spool. Also sets the gauge of the oldest message's age.
    pub async fn stats(&self, now: SystemTime) -> Result<Stats, SpoolError> {
        let waiting = self.read(Reader::oldest_waiting).await?;
        let oldest = [waiting, self.inner.shared.account().oldest_leased()];
        let oldest = oldest.into_iter().flatten().min();
        let age = oldest.and_then(|oldest| now.duration_since(oldest).ok()).unwrap_or_default();
        let shared = &self.inner.shared;
        shared.metrics.oldest_age.set(age.as_secs_f64());
        Ok(shared.account().stats(oldest, shared.metrics.work()))
    }

    /// Whether a message would be taken now: it has not stopped, and there is room.
    pub fn is_writable(&self) -> Result<(), SpoolError> {
        self.inner.shared.status.check()?;
        self.inner.shared.room()
    }

    /// Octets of memory that bodies hold which are not committed yet.
    pub fn body_memory(&self) -> u64 {
        self.inner.shared.budget.taken()
    }

    /// Does what was asked for before, takes nothing more, and waits until the database is closed.
    pub async fn close(&self) {
        self.inner.shared.status.close();
        // The writer may be asleep, or gone already.
        let _ = self.inner.jobs.send(job(Wake, oneshot::channel().0)).await;
        self.inner.writer.unpark();
        // Nothing is ever sent: this returns when the sender is gone.
        let _ = self.inner.ended.clone().changed().await;
    }

    /// Does something to many messages, in as many transactions as keep others from waiting long.
    async fn each_chunk<O: Operation<Answer = Vec<QueueId>>>(
        &self,
        ids: Vec<QueueId>,
        operation: impl Fn(Vec<QueueId>) -> O,
    ) -> Result<Vec<QueueId>, SpoolError> {
        let mut changed = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK as usize) {
            changed.extend(self.write(operation(chunk.to_vec())).await?);
        }
        Ok(changed)
    }

    pub(crate) async fn write<O: Operation>(&self, operation: O) -> Result<O::Answer, SpoolError> {
        let inner = &*self.inner;
        inner.shared.status.check()?;
        let (caller, answer) = oneshot::channel();
        inner.jobs.send(job(operation, caller)).await.map_err(|_| inner.shared.status.gone())?;
        if !O::CAN_WAIT {
            inner.writer.unpark();
        }
        answer.await.map_err(|_| inner.shared.status.gone())?
    }

    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let ask = |reader: &mut Reader| question(reader).map_err(|error| reader.failed(&error));
        self.inner.reader.run(ask).await?
    }
}
