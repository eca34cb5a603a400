//! Notifications: who is told what has become of a message that was accepted, and who is kept instead
//! (RFC 3461, RFC 3464, RFC 5321 §6.1).
//!
//! A [`Bouncer`] says of each recipient whose fate is decided what is left to do, composes the
//! notification that is owed, and commits it to the spool together with the note that it was made.
//! From there it goes the way of every message. What it says is composed by [`report`], which has no
//! clock and does no I/O.
//!
//! It must never answer a null reverse-path, never give a failure up that nobody was told of and that
//! somebody could want to know, and never let what an upstream or a client has sent become a header
//! field of its own.

mod fields;
mod metrics;
mod original;
mod rate;
mod report;
mod text;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use gatepost_smtp::bdat;
use gatepost_smtp::command::Body;
use gatepost_smtp::dsn::{MailDsn, Occasion, RcptDsn, Ret};
use gatepost_spool::{
    About, After, Entrance, Envelope, Message, Mode, Notice, Origin, QueueId, Recipient,
    RecipientState, Spool, SpoolError, StoredMessage, StoredRecipient,
};

use self::metrics::{NotificationMetrics, Told};
use self::original::{HEADERS_OCTETS_MAX, Original, WHOLE_OCTETS_MAX};
use self::rate::Rate;
use self::report::{Kind, Report};
use crate::id::Ids;

/// Recipients that one notification tells about, so that its size has a limit; more of them are told
/// about in another one.
const RECIPIENTS_MAX: usize = 500;
/// Where the mail log says that a notification comes from.
const LISTENER: &str = "bounce";
/// What RCPT says of a notification (RFC 3461 §6.1): nobody is told about it.
const NOTIFY_NEVER: &[u8] = b" NOTIFY=NEVER";

/// What is configured for notifications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BounceConfig {
    /// What becomes of failures.
    pub bounces: Bounces,
    /// Name of the upstream that notifications go to; none: that of the message.
    pub upstream: Option<Arc<str>>,
}

/// What becomes of a message that was accepted and cannot be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bounces {
    /// Its sender is told.
    #[default]
    Dsn,
    /// It is kept until somebody has looked at it, and no notification is made of anything.
    Keep,
}

/// What was decided about a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The upstream has accepted it.
    Delivered {
        /// It offers DSN and was given NOTIFY: telling is its business now (RFC 3461 §5.2.1).
        upstream_tells: bool,
    },
    /// The upstream has refused it for good.
    Failed,
    /// Its time is over.
    Expired,
}

/// Who tells senders.
pub(crate) struct Bouncer {
    config: BounceConfig,
    hostname: Arc<str>,
    expire_after: Duration,
    ids: Arc<Ids>,
    rate: Mutex<Rate>,
    metrics: NotificationMetrics,
}

/// What is left to do.
impl Bouncer {
    /// `hostname` is our name, and a notification that cannot be delivered is given up after
    /// `expire_after`.
    pub(crate) fn new(
        config: BounceConfig,
        hostname: Arc<str>,
        expire_after: Duration,
        ids: Arc<Ids>,
    ) -> Self {
        let (rate, metrics) = (Mutex::default(), NotificationMetrics::new());
        Self { config, hostname, expire_after, ids, rate, metrics }
    }

    /// What is left to do about a recipient whose fate is decided: for whoever records it, once.
    ///
    /// | | reverse-path, `bounces = "dsn"` | null, or `bounces = "keep"` |
    /// |---|---|---|
    /// | not delivered | told, unless NOTIFY excludes it: then it is forgotten | kept |
    /// | delivered | told, if NOTIFY asks for it and the upstream does not | forgotten |
    ///
    /// What has a null reverse-path is kept even with NOTIFY=NEVER: our own notifications say that,
    /// and one that is lost would be a failure of which nobody knows.
    pub(crate) fn after(&self, envelope: &Envelope, recipient: &Recipient, fate: Fate) -> After {
        let occasion = match fate {
            Fate::Delivered { upstream_tells: true } => return After::Forget,
            Fate::Delivered { upstream_tells: false } => Occasion::Success,
            Fate::Expired | Fate::Failed => Occasion::Failure,
        };
        if self.answers(envelope) {
            let is_wanted = RcptDsn::kept(&recipient.dsn).wants(occasion);
            return if is_wanted { After::Notify } else { After::Forget };
        }
        if occasion == Occasion::Success {
            return After::Forget;
        }
        self.metrics.count(Kind::Failed, Told::Kept, 1);
        After::Keep
    }

    /// Whether a notice of delay is wanted for a recipient: only if NOTIFY asks for it. RFC 3461 §4.1
    /// allows one to who has not said; but when an upstream is down, that would double its queue.
    pub(crate) fn wants_delay(&self, envelope: &Envelope, recipient: &Recipient) -> bool {
        self.answers(envelope) && RcptDsn::kept(&recipient.dsn).wants(Occasion::Delay)
    }

    /// Whether there is somebody to tell. RFC 5321 §4.5.5, §6.1: what has a null reverse-path is
    /// never answered.
    fn answers(&self, envelope: &Envelope) -> bool {
        self.config.bounces == Bounces::Dsn && !envelope.reverse_path.is_empty()
    }
}

/// Telling it.
impl Bouncer {
    /// Composes and commits the notification that is owed: at the end of recipients whose `after` is
    /// [`After::Notify`], in a delay of those that are pending, want to know it, and were not told.
    /// None if there was nothing to tell, or too much was told lately: then who was not delivered is
    /// kept. When this has returned, nobody of them is to be told that any more.
    ///
    /// `message` is as it stands now; two calls about one message must not overlap.
    pub(crate) async fn notify(
        &self,
        spool: &Spool,
        message: &StoredMessage,
        notice: Notice,
        now: SystemTime,
    ) -> Result<Option<QueueId>, SpoolError> {
        let envelope = &message.envelope;
        let (told, silent): (Vec<_>, Vec<_>) =
            message.recipients.iter().filter(|it| is_concerned(it, notice)).partition(|it| {
                match notice {
                    Notice::Delay => self.wants_delay(envelope, &it.recipient),
                    // Whoever recorded it had asked; but `bounces` may have changed since.
                    Notice::End => self.answers(envelope),
                }
            });
        if !silent.is_empty() {
            spool.withhold(about(message, &silent, notice)).await?;
            if notice == Notice::End {
                self.metrics.count_all(&silent, notice, Told::Kept);
            }
        }
        let mut sent = None;
        for told in told.chunks(RECIPIENTS_MAX) {
            let about = about(message, told, notice);
            if !self.rate().take(domain(&envelope.reverse_path), now) {
                spool.withhold(about).await?;
                self.metrics.count_all(told, notice, Told::Limited);
                tracing::debug!(id = %envelope.id, "too many notifications: its recipients are kept");
                continue;
            }
            let id = self.send(spool, (message, told), about, now).await?;
            self.metrics.count_all(told, notice, Told::Sent);
            sent = sent.or(Some(id));
        }
        Ok(sent)
    }

    /// Commits one notification.
    async fn send(
        &self,
        spool: &Spool,
        (message, told): (&StoredMessage, &[&StoredRecipient]),
        about: About,
        now: SystemTime,
    ) -> Result<QueueId, SpoolError> {
        let id = self.ids.next();
        let original = read_original(spool, message, told, about.notice).await?;
        let notice = about.notice;
        let hostname = &*self.hostname;
        let report = Report { id, hostname, now, message, told, notice, original: &original };
        let content = report.compose();
        let mut body = spool.body(id);
        let is_eight_bit = !content.is_ascii();
        body.append(Bytes::from(bdat::stuff(&content))).await?;
        let notification = Message {
            envelope: self.envelope(id, &message.envelope, is_eight_bit, now),
            // RFC 3461 §6.1: to whom MAIL has named. Where a route rewrites that, it is the one that
            // the operator has said bounces go to, and that who is beyond the upstream answers to.
            recipients: vec![Recipient {
                path: message.envelope.reverse_path[..].into(),
                dsn: NOTIFY_NEVER.into(),
            }],
            entrance: Entrance::Due(now),
            about: Some(about),
        };
        spool.commit(notification, body).await
    }

    /// The envelope of a notification about a message with that one. It comes by the same entry, so
    /// that it takes its turns in the queue among what that entry sends.
    fn envelope(
        &self,
        id: QueueId,
        about: &Envelope,
        is_eight_bit: bool,
        now: SystemTime,
    ) -> Envelope {
        Envelope {
            id,
            received_at: now,
            expires_at: now + self.expire_after,
            reverse_path: Arc::default(),
            sender: Arc::default(),
            // RFC 3461 §6.1: no RET.
            dsn: Arc::default(),
            body: is_eight_bit.then_some(Body::EightBitMime),
            // The forward-path and the To field are all that may need it.
            smtputf8: !about.reverse_path.is_ascii(),
            mode: Mode::Spool,
            upstream: self.config.upstream.as_ref().unwrap_or(&about.upstream).clone(),
            origin: Origin {
                listener: LISTENER.into(),
                credential: None,
                helo: None,
                tls: None,
                ..about.origin.clone()
            },
        }
    }

    fn rate(&self) -> MutexGuard<'_, Rate> {
        // A panic leaves at worst a wrong time of one domain.
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a notice is for this recipient to be told, or not to be told any more.
fn is_concerned(recipient: &StoredRecipient, notice: Notice) -> bool {
    match notice {
        Notice::Delay => recipient.state == RecipientState::Pending && !recipient.delay_told,
        Notice::End => recipient.after == After::Notify,
    }
}

fn about(message: &StoredMessage, recipients: &[&StoredRecipient], notice: Notice) -> About {
    let recipients = recipients.iter().map(|recipient| recipient.place).collect();
    About { id: message.envelope.id, recipients, notice }
}

/// The domain of a mailbox: what is behind its last sign.
fn domain(path: &[u8]) -> &[u8] {
    path.rsplit(|&octet| octet == b'@').next().unwrap_or_default()
}

/// What comes back of a message: its header section; all of it only if that was asked for, a
/// recipient has failed (RFC 3461 §4.3), and it is small. A body that cannot be read must not keep
/// its sender from being told.
async fn read_original(
    spool: &Spool,
    message: &StoredMessage,
    told: &[&StoredRecipient],
    notice: Notice,
) -> Result<Original, SpoolError> {
    let has_failed = told.iter().any(|it| Kind::of(notice, it.state) == Kind::Failed);
    let is_whole = has_failed
        && MailDsn::kept(&message.envelope.dsn).ret() == Some(Ret::Full)
        && message.octets <= WHOLE_OCTETS_MAX;
    let octets_max = if is_whole { WHOLE_OCTETS_MAX as usize } else { HEADERS_OCTETS_MAX };
    let held = match read_start(spool, message.envelope.id, octets_max).await {
        Err(SpoolError::BodyDamaged { .. }) | Ok(None) => return Ok(Original::gone()),
        held => held?.unwrap_or_default(),
    };
    Ok(if is_whole { Original::whole(&held) } else { Original::headers(&held) })
}

/// So many octets of a body, as it is stored.
async fn read_start(
    spool: &Spool,
    id: QueueId,
    octets_max: usize,
) -> Result<Option<Vec<u8>>, SpoolError> {
    let Some(mut reader) = spool.read_body(id).await? else { return Ok(None) };
    let mut held = Vec::new();
    while held.len() < octets_max {
        let Some(chunk) = reader.next().await? else { break };
        held.extend_from_slice(&chunk[..chunk.len().min(octets_max - held.len())]);
    }
    Ok(Some(held))
}

#[cfg(test)]
mod tests;
