//! One attempt to deliver one message: its turn, the conversation, and what is made of it.
//!
//! Whatever happens, the lease ends: with what was decided, or by being given back. The connection is
//! free again before anything is written down.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use gatepost_delivery::DataFollows;
use gatepost_smtp::data::TERMINATOR;
use gatepost_smtp::reply::Reply;
use gatepost_spool::{LeaseGuard, SpoolError};

use super::Inner;
use super::fresh::{Fresh, Room};
use super::letter::{Content, Letter};
use super::metrics::InFlight;
use super::record::{Circumstances, is_over};
use super::schedule::schedule;
use super::verdict::{Decision, Time, Word, is_heard, judge};
use super::way::{Place, Ticket, Way};
use crate::leg::{Decided, Ending, Leg, LegMail, LegTerms, TellsSuccess};

/// Recipients that are asked for at once (RFC 5321 §4.5.3.1.8: every server takes as many).
const GROUP: usize = 100;
/// Octets of the last content that are copied to have the terminator behind them in the same write.
const COPIED_MAX: usize = 16 * 1024;
/// What is recorded of a message that cannot be read back.
const BODY_DAMAGED: Reply = Reply::fixed(554, (5, 3, 0), "the body of this message is damaged");

/// A message that is leased and may set out.
pub(super) struct Job {
    lease: LeaseGuard,
    ticket: Ticket,
    source: Source,
    /// What it takes up until it was delivered.
    _hold: Hold,
}

enum Source {
    Fresh(Box<Letter>, Bytes),
    Stored,
}

#[allow(dead_code)] // what they are there for is to be dropped
enum Hold {
    Place(Place),
    Room(Room),
}

/// What came of the conversation.
enum Tried {
    /// The upstream has heard nothing of it.
    Unreached(Option<Box<str>>),
    /// The upstream has heard of it, and has not got it: it cannot be read.
    Unread(SpoolError),
    Answered {
        words: Vec<Word>,
        ending: Option<Ending>,
        reason: Option<Box<str>>,
        offers_dsn: bool,
    },
}

impl Job {
    pub(super) const fn stored(lease: LeaseGuard, ticket: Ticket, place: Place) -> Self {
        Self { lease, ticket, source: Source::Stored, _hold: Hold::Place(place) }
    }

    pub(super) fn fresh(fresh: Fresh, ticket: Ticket) -> Self {
        let Fresh { message, body, lease, room } = fresh;
        let source = body.map_or(Source::Stored, |body| {
            Source::Fresh(Box::new(Letter::of_fresh(message, &body)), body)
        });
        Self { lease, ticket, source, _hold: Hold::Room(room) }
    }

    /// Delivers it, if the upstream lets it.
    pub(super) async fn run(self, inner: Arc<Inner>) {
        let Self { lease, mut ticket, source, _hold: hold } = self;
        let way = ticket.way().clone();
        let (letter, content) = match source {
            Source::Fresh(letter, body) => (*letter, Content::Memory(body)),
            Source::Stored => match inner.load(&lease, &way).await {
                Ok(Some(loaded)) => loaded,
                Ok(None) => return inner.give_back(lease).await,
                Err(error) => return inner.unread(lease, &way, None, error).await,
            },
        };
        // More can wait here than a line takes: then it is due later.
        let Ok(turn) = way.turns.acquire(&letter.envelope.origin.entry).await else {
            return inner.give_back(lease).await;
        };
        if inner.is_stopping() || !ticket.renew() {
            return inner.give_back(lease).await;
        }
        let in_flight = InFlight::new(&way.metrics.in_flight);
        let tried = inner.converse(&way, &letter, content).await;
        drop((in_flight, turn, hold));
        match tried {
            Tried::Unreached(reason) => {
                way.metrics.unreachable.increment(1);
                ticket.unreached(reason.as_deref().unwrap_or("-"));
                inner.give_back(lease).await;
            }
            Tried::Unread(error) => {
                ticket.answered();
                drop(ticket);
                inner.unread(lease, &way, Some(&letter), error).await;
            }
            Tried::Answered { words, ending, reason, offers_dsn } => {
                if is_heard(&words) {
                    ticket.answered();
                } else {
                    ticket.unreached(reason.as_deref().unwrap_or("-"));
                }
                drop(ticket);
                let is_over = letter.is_over(SystemTime::now());
                let time = if is_over { Time::Over } else { Time::Left };
                let decisions = judge(&words, ending.as_ref(), time);
                let reason = reason_of(ending, reason, &way);
                let circumstances = Circumstances {
                    way: Some(&way),
                    reason: reason.as_deref(),
                    offers_dsn,
                    keeps: false,
                };
                inner.settle(&letter, &decisions, circumstances, lease).await;
            }
        }
    }
}

/// Why it is as it is. Also counts a message of which nobody knows whether it arrived.
fn reason_of(ending: Option<Ending>, reason: Option<Box<str>>, way: &Way) -> Option<Box<str>> {
    let Some(Ending::Refused(refused)) = ending else { return reason };
    if refused.decided == Decided::Nobody {
        // RFC 1047: to try again may be once too often; not to try may be never. The leg has told.
        way.metrics.ambiguous.increment(1);
    }
    refused.reason.or(reason)
}

impl Inner {
    /// What is to be delivered; none if it is not for this way, or for anybody any more.
    async fn load(
        &self,
        lease: &LeaseGuard,
        way: &Way,
    ) -> Result<Option<(Letter, Content)>, SpoolError> {
        let id = lease.id();
        let Some(message) = self.spool.show(id).await? else { return Ok(None) };
        let letter = Letter::of_stored(message);
        // An operator may have given it to another upstream before it was leased.
        if letter.envelope.upstream != *way.name() || letter.recipients.is_empty() {
            return Ok(None);
        }
        let Some(body) = self.spool.read_body(id).await? else {
            let reason = "it has no body".into();
            return Err(SpoolError::BodyDamaged { id, reason });
        };
        Ok(Some((letter, Content::Stored(body))))
    }

    /// Says everything to the upstream that there is to say.
    async fn converse(&self, way: &Way, letter: &Letter, content: Content) -> Tried {
        let envelope = &letter.envelope;
        let mail = LegMail {
            reverse_path: envelope.reverse_path.clone(),
            size: Some(letter.octets),
            body: envelope.body,
            smtputf8: envelope.smtputf8,
            dsn: envelope.dsn.clone(),
            entry: envelope.origin.entry.clone(),
            id: envelope.id,
        };
        let terms = LegTerms {
            final_reply_timeout: self.final_reply_timeout,
            // Whoever took it has judged it; what was put in front of it since is no reason to lose it.
            received_max: u32::MAX,
            patience: way.outlet.upstream.recipient_patience(),
            success: TellsSuccess::Driver,
        };
        let mut leg = Leg::new(way.outlet.clone(), mail, terms);
        let (words, refusal) = ask(&mut leg, letter).await;
        let reason = leg.reason().map(Box::from);
        if leg.is_unreached() {
            return Tried::Unreached(reason);
        }
        if words.iter().all(|word| *word == Word::Unasked) {
            // It may be given nothing more for now, which is no fault of this message.
            return Tried::Unreached(refusal.map(|reply| reply.to_string().into()));
        }
        let offers_dsn = leg.offers_dsn();
        if leg.accepted().is_empty() {
            leg.abandon();
            return Tried::Answered { words, ending: None, reason, offers_dsn };
        }
        match hand_over(leg, content).await {
            Ok(ending) => Tried::Answered { words, ending: Some(ending), reason, offers_dsn },
            Err(error) => Tried::Unread(error),
        }
    }

    /// A message cannot be read: for good if its body is damaged, and not now otherwise. Nothing of it
    /// was brought to its end.
    async fn unread(
        self: &Arc<Self>,
        lease: LeaseGuard,
        way: &Way,
        letter: Option<&Letter>,
        error: SpoolError,
    ) {
        let id = lease.id();
        if !matches!(error, SpoolError::BodyDamaged { .. }) {
            if is_over(&error) {
                self.tell_stopped(&error);
            } else {
                tracing::warn!(%id, %error, "a message cannot be read, and waits");
            }
            return self.put_off(lease).await;
        }
        tracing::error!(%id, %error, "a message cannot be delivered: it is a dead letter now");
        let stored;
        let letter = if let Some(letter) = letter {
            letter
        } else {
            let Ok(Some(message)) = self.spool.show(id).await else {
                return self.put_off(lease).await;
            };
            stored = Letter::of_stored(message);
            &stored
        };
        let decisions: Vec<Decision> =
            letter.recipients.iter().map(|_| Decision::Failed(BODY_DAMAGED)).collect();
        let reason = error.to_string();
        let circumstances =
            Circumstances { way: Some(way), reason: Some(&reason), offers_dsn: false, keeps: true };
        self.settle(letter, &decisions, circumstances, lease).await;
    }

    /// Gives a lease back: nothing was tried.
    pub(super) async fn give_back(&self, lease: LeaseGuard) {
        self.give_all_back(vec![lease]).await;
    }

    /// The same for some. The runner looks when they are due again: their guards would not tell it.
    pub(super) async fn give_all_back(&self, leases: Vec<LeaseGuard>) {
        // What fails here, the guards do some time.
        if self.spool.release(leases.iter().map(LeaseGuard::id).collect()).await.is_ok() {
            leases.into_iter().for_each(LeaseGuard::is_over);
            self.wake.notify_one();
        }
    }

    /// Gives a lease back for later: it would fail again at once.
    async fn put_off(&self, lease: LeaseGuard) {
        let wait = schedule(1, &self.config.retry, fastrand::f64());
        let due_at = SystemTime::now() + wait;
        if self.spool.reschedule(lease.id(), due_at).await.is_ok() {
            lease.is_over();
            self.wake.notify_one();
        }
    }
}

/// Asks for all recipients. Answers what was said about each, in order, and why some were not asked for.
async fn ask(leg: &mut Leg, letter: &Letter) -> (Vec<Word>, Option<Reply>) {
    let count = letter.recipients.len();
    let mut words = Vec::with_capacity(count);
    let mut refusal = None;
    for pending in &letter.recipients {
        if leg.pending() == GROUP {
            put(leg, DataFollows::No, &mut words).await;
        }
        let recipient = &pending.recipient;
        if let Err(reply) = leg.name(&recipient.path, &recipient.dsn).await {
            refusal = Some(reply);
            break;
        }
    }
    if leg.pending() > 0 {
        put(leg, DataFollows::Yes, &mut words).await;
    }
    words.resize(count, Word::Unasked);
    (words, refusal)
}

async fn put(leg: &mut Leg, data: DataFollows, words: &mut Vec<Word>) {
    leg.ask(data).await;
    words.extend(leg.answers().map(|(_, reply)| Word::Asked(reply.clone())));
}

/// Sends the content to its end. If it cannot be read, the connection is closed without the dot.
async fn hand_over(mut leg: Leg, content: Content) -> Result<Ending, SpoolError> {
    if leg.data().await.is_err() {
        // The end says again why.
        return Ok(leg.finish(Bytes::from_static(TERMINATOR)).await);
    }
    // The last octets are held back until it is known that all before them are whole.
    let mut last = Bytes::new();
    match content {
        Content::Memory(octets) => last = octets,
        Content::Stored(mut body) => {
            while let Some(octets) = body.next().await? {
                let before = std::mem::replace(&mut last, octets);
                if !before.is_empty() {
                    leg.content(before).await;
                }
            }
        }
    }
    if last.len() > COPIED_MAX {
        leg.content(last).await;
        last = Bytes::new();
    }
    let mut end = BytesMut::with_capacity(last.len() + TERMINATOR.len());
    end.extend_from_slice(&last);
    end.extend_from_slice(TERMINATOR);
    Ok(leg.finish(end.freeze()).await)
}
