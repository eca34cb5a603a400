//! What is counted and written down about a message when it has ended.

use std::borrow::Cow;
use std::sync::Arc;

use gatepost_delivery::Paths;
use gatepost_smtp::reply::Severity;

use super::Handoff;
use super::ending::{Ended, Fate};
use crate::id::Id;
use crate::leg::{Decided, Ending, Refused};
use crate::mail_log::{Event, EventType, MailLog, Origin};
use crate::metrics::DeliveryMetrics;
use crate::mode::Mode;
use crate::outlet::Outlet;
use crate::relay::Relay;

/// Why a message was kept whose upstream has not said anything.
const NO_ANSWER_YET: &str = "the upstream takes its time to answer";

impl Handoff {
    /// Counts and logs how a message has ended.
    pub(super) fn record(&self, ended: &Ended, origin: Origin<'_>) {
        let metrics = &self.leg.outlet().metrics;
        self.relay.metrics.count(self.mode, &ended.fate);
        let attempt = match &ended.fate {
            Fate::Accepted => {
                metrics.delivered.increment(1);
                Some((EventType::Delivery, None))
            }
            Fate::Kept(Some(refused)) if !ended.accepted.is_empty() => {
                count(metrics, refused);
                Some((EventType::TransientFailure, Some(refused)))
            }
            Fate::Kept(_) | Fate::InDoubt => None,
            Fate::Refused(refused) => {
                count(metrics, refused);
                Some((event_type(refused), Some(refused)))
            }
        };
        let log = &self.relay.mail_log;
        if !log.is_on() {
            return;
        }
        let everybody = self.everybody(ended);
        let event = |r#type, recipients, reply| Event {
            id: Some(self.message.id),
            sender: Some(&self.message.sender),
            recipients: Some(recipients),
            size: Some(self.octets),
            mode: Some(self.mode.name()),
            upstream: Some(self.upstream_name()),
            duration_ms: Some(self.message.began.elapsed().as_millis() as u64),
            ..Event::new(r#type, origin, Some(reply))
        };
        if let (Fate::Accepted, Cow::Borrowed(everybody)) = (&ended.fate, &everybody) {
            let received = event(EventType::Reception, everybody, &ended.reply);
            let names = [(EventType::Reception, None), (EventType::Delivery, Some(1))];
            return log.write_as(&received, &names);
        }
        if ended.is_granted() {
            let reason = match &ended.fate {
                Fate::InDoubt => Some(NO_ANSWER_YET),
                Fate::Kept(Some(refused)) => refused.reason.as_deref(),
                _ => None,
            };
            // Whom the upstream has put off was told 250: this is where its word stands.
            let deferral = || self.deferral.as_ref().map(|reply| Cow::Owned(reply.to_string()));
            let reason = reason.map(Cow::Borrowed).or_else(deferral);
            let reception = event(EventType::Reception, &everybody, &ended.reply);
            log.write(&Event { reason, ..reception });
        }
        if let Some((r#type, refused)) = attempt {
            let reply = refused.map_or(&ended.reply, |refused| &refused.reply);
            let reason = refused.and_then(|refused| refused.reason.as_deref()).map(Cow::Borrowed);
            log.write(&Event { attempt: Some(1), reason, ..event(r#type, &ended.accepted, reply) });
        }
    }

    /// Whom the client was told 250 for.
    fn everybody<'a>(&self, ended: &'a Ended) -> Cow<'a, Paths> {
        if !self.keep.is_owed() {
            return Cow::Borrowed(&ended.accepted);
        }
        let elsewhere = match ended.fate {
            // Whom the upstream had accepted is among those who are kept.
            Fate::Kept(_) | Fate::InDoubt => None,
            Fate::Accepted | Fate::Refused(_) => Some(&ended.accepted),
        };
        let accepted = elsewhere.into_iter().flat_map(Paths::with_parameters);
        Cow::Owned(accepted.chain(self.keep.recipients()).collect())
    }
}

/// Tells of a message whose hand-over was cut off at its end: its client has heard nothing, and sends again
/// what the spool or the upstream may have.
pub(super) struct Untold {
    relay: Arc<Relay>,
    mode: Mode,
    id: Id,
    is_over: bool,
}

impl Handoff {
    pub(super) fn untold(&self) -> Untold {
        Untold {
            relay: Arc::clone(&self.relay),
            mode: self.mode,
            id: self.message.id,
            is_over: false,
        }
    }
}

impl Untold {
    /// The client is about to be told.
    pub(super) fn told(mut self) {
        self.is_over = true;
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        if !self.is_over {
            self.relay.metrics.cut_off(self.mode);
            tracing::warn!(
                id = %self.id,
                "cut off before the client was told: it sends the message again, which may arrive twice"
            );
        }
    }
}

/// The upstream's word on a message that its client was told is kept.
pub(super) struct LateWord<'a> {
    pub(super) message: &'a gatepost_spool::Message,
    /// Whom it is about.
    pub(super) recipients: Paths,
    pub(super) outlet: &'a Outlet,
}

impl LateWord<'_> {
    pub(super) fn tell(&self, log: &MailLog, ending: &Ending) {
        let metrics = &self.outlet.metrics;
        let (r#type, reply, reason) = match ending {
            Ending::Accepted(reply) => {
                metrics.delivered.increment(1);
                (EventType::Delivery, reply, None)
            }
            Ending::Refused(refused) => {
                count(metrics, refused);
                (event_type(refused), &refused.reply, refused.reason.as_deref())
            }
        };
        if !log.is_on() {
            return;
        }
        let envelope = &self.message.envelope;
        let origin = Origin::from(&envelope.origin);
        log.write(&Event {
            id: Some(envelope.id),
            sender: Some(&envelope.sender),
            recipients: Some(&self.recipients),
            mode: Some(Mode::Hybrid.name()),
            upstream: Some(self.outlet.name()),
            attempt: Some(1),
            reason: reason.map(Cow::Borrowed),
            ..Event::new(r#type, origin, Some(reply))
        });
    }
}

/// What it is called that an upstream did not take a message.
fn event_type(refused: &Refused) -> EventType {
    match (refused.decided, refused.reply.severity()) {
        (Decided::Here, _) => EventType::Rejection,
        (Decided::Upstream, Severity::Permanent) => EventType::Bounce,
        _ => EventType::TransientFailure,
    }
}

fn count(metrics: &DeliveryMetrics, refused: &Refused) {
    match (refused.decided, refused.reply.severity()) {
        (Decided::Here, _) => {}
        (Decided::Nobody, _) => metrics.ambiguous.increment(1),
        (Decided::Upstream, Severity::Permanent) => metrics.refused.increment(1),
        (Decided::Upstream, _) => metrics.deferred.increment(1),
    }
}
