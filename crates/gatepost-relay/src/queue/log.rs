//! What the mail log says about an attempt: one event for those who fared alike.

use std::borrow::Cow;
use std::time::SystemTime;

use gatepost_delivery::Paths;
use gatepost_smtp::reply::Reply;

use super::letter::Letter;
use super::verdict::Decision;
use crate::mail_log::{Event, EventType, MailLog, Origin};
use crate::mode::Mode;

/// Events of one attempt. An upstream may put into each reply whatever it likes, as the name of the
/// recipient; those beyond stand with others of the same fate, under their reply.
const EVENTS_MAX: usize = 16;

/// Those who fared alike.
struct Alike<'a> {
    r#type: EventType,
    reply: &'a Reply,
    recipients: Paths,
}

/// Tells of an attempt that has begun a while ago.
pub(super) fn tell(
    mail_log: &MailLog,
    letter: &Letter,
    decisions: &[Decision],
    reason: Option<&str>,
    now: SystemTime,
) {
    if !mail_log.is_on() {
        return;
    }
    let envelope = &letter.envelope;
    let since = now.duration_since(envelope.received_at).unwrap_or_default();
    for alike in groups(letter, decisions) {
        mail_log.write(&Event {
            id: Some(envelope.id),
            sender: Some(&envelope.sender),
            recipients: Some(&alike.recipients),
            size: Some(letter.octets),
            mode: Some(Mode::from(envelope.mode).name()),
            upstream: Some(&envelope.upstream),
            attempt: Some(letter.attempts + 1),
            duration_ms: Some(since.as_millis() as u64),
            reason: reason.map(Cow::from),
            ..Event::new(alike.r#type, Origin::from(&envelope.origin), Some(alike.reply))
        });
    }
}

fn groups<'a>(letter: &Letter, decisions: &'a [Decision]) -> Vec<Alike<'a>> {
    let mut groups: Vec<Alike<'a>> = Vec::new();
    for (pending, decision) in letter.recipients.iter().zip(decisions) {
        let (r#type, reply) = match decision {
            Decision::Deferred(reply) => (EventType::TransientFailure, reply),
            Decision::Delivered(reply) => (EventType::Delivery, reply),
            Decision::Expired(reply) => (EventType::Expiration, reply),
            Decision::Failed(reply) => (EventType::Bounce, reply),
            Decision::Left => continue,
        };
        let fits = |it: &Alike<'_>| it.r#type == r#type && it.reply == reply;
        let found = groups.iter().position(fits).or_else(|| {
            let is_full = groups.len() >= EVENTS_MAX;
            groups.iter().position(|it| it.r#type == r#type).filter(|_| is_full)
        });
        let path = &pending.recipient.path;
        if let Some(place) = found {
            groups[place].recipients.push(path, b"");
        } else {
            let mut recipients = Paths::default();
            recipients.push(path, b"");
            groups.push(Alike { r#type, reply, recipients });
        }
    }
    groups
}
