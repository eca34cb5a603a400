//! What the client hears at the end of a message, and what is written down about it.

use std::borrow::Cow;

use gatepost_policy::check::Refusal;
use gatepost_policy::credential::Credential;
use gatepost_policy::usage::Use;
use gatepost_relay::{DataReply, Event, EventType, Handoff, Last, Origin};
use gatepost_smtp::command::Mail;
use gatepost_smtp::path::{ForwardPath, ReversePathBuf};
use gatepost_smtp::reply::{Reply, Severity};
use gatepost_smtp::server::Hello;
use tokio::time::Instant;

use crate::conn::Conn;
use crate::listener::Listener;
use crate::service::Service;
use crate::session::{Claim, Session, Stranger};

/// Hands the last of the data over and says what came of it. The 250 that is said here is the
/// relay's [`gatepost_relay::Grant`]; there is no other.
pub(crate) async fn complete(
    session: &Session,
    conn: &mut Conn,
    hello: &Hello,
    handoff: Box<Handoff>,
    last: Last,
) {
    let metrics = &session.listener.metrics;
    let octets = handoff.octets() + last.content_octets();
    let names = session.origin_names();
    match handoff.complete(last, session.origin(&names, hello)).await {
        DataReply::Granted(grant) => {
            conn.say(grant.reply());
            conn.has_brought_mail();
            metrics.accepted.increment(1);
            session.count(Use::Message);
            metrics.octets.increment(octets);
        }
        DataReply::Refused(reply) => {
            conn.say(&reply);
            match reply.severity() {
                Severity::Permanent => metrics.refused.increment(1),
                _ => metrics.deferred.increment(1),
            }
        }
    }
}

/// The data is refused by us.
pub(crate) fn log_refused(session: &Session, hello: &Hello, handoff: &Handoff, reply: &Reply) {
    session.listener.metrics.refused.increment(1);
    session.count(Use::Refusal);
    log_message(session, hello, handoff, Some(reply), String::from_utf8_lossy(reply.text()));
}

/// The same message has come too often: a program that sends it in a loop does so in any number.
pub(crate) fn log_copy(session: &Session, hello: &Hello, handoff: &Handoff, refusal: &Refusal) {
    session.listener.metrics.deferred.increment(1);
    session.count(Use::Refusal);
    let Some(reason) = reason(session, refusal, Flood::of(refusal)) else { return };
    log_message(session, hello, handoff, Some(&refusal.reply), reason);
}

/// The upstream was lost between RCPT and DATA, by its fault or by the client's.
pub(crate) fn log_deferred(session: &Session, hello: &Hello, handoff: &Handoff, reply: &Reply) {
    session.listener.metrics.deferred.increment(1);
    let reason = handoff.reason().map(Cow::from);
    let reason = reason.unwrap_or_else(|| String::from_utf8_lossy(reply.text()));
    log_message(session, hello, handoff, Some(reply), reason);
}

/// The client went away, fell silent or changed its mind in the middle of its data.
pub(crate) fn log_aborted(session: &Session, hello: &Hello, handoff: &Handoff) {
    session.listener.metrics.aborted.increment(1);
    log_message(
        session,
        hello,
        handoff,
        None,
        Cow::from("given up by the client in the middle of the data"),
    );
}

/// MAIL is refused by policy.
pub(crate) fn log_mail(session: &Session, hello: &Hello, mail: &Mail<'_>, refusal: &Refusal) {
    let Some(reason) = reason(session, refusal, Flood::of(refusal)) else { return };
    let names = session.origin_names();
    let sender = mail.reverse_path.as_bytes();
    let event = rejection(session.origin(&names, hello), Some(&refusal.reply));
    let log = session.service.relay.mail_log();
    log.write(&Event { sender: Some(sender), size: mail.size, reason: Some(reason), ..event });
}

/// A recipient is refused by policy, the `nth` of its message.
pub(crate) fn log_rcpt(
    session: &Session,
    hello: &Hello,
    sender: &ReversePathBuf,
    (path, nth): (&ForwardPath<'_>, u32),
    refusal: &Refusal,
) {
    // A long list of wrong recipients is one matter, and not one line each.
    let flood = if nth > 1 { Flood::Yes } else { Flood::of(refusal) };
    let Some(reason) = reason(session, refusal, flood) else { return };
    let names = session.origin_names();
    session.service.relay.mail_log().write(&Event {
        sender: Some(sender.octets()),
        recipients: Some(&[path.as_bytes()].into_iter().collect()),
        reason: Some(reason),
        ..rejection(session.origin(&names, hello), Some(&refusal.reply))
    });
}

/// Whether refusals like it come in any number: then there is one line per address and minute.
#[derive(Clone, Copy)]
enum Flood {
    No,
    Yes,
}

impl Flood {
    /// What passes by itself (rates, limits) is tried again and again.
    const fn of(refusal: &Refusal) -> Self {
        if refusal.reply.is_transient() { Self::Yes } else { Self::No }
    }
}

/// Why, if it is to be logged at all.
fn reason(session: &Session, refusal: &Refusal, flood: Flood) -> Option<Cow<'static, str>> {
    if !session.service.relay.mail_log().is_on() {
        return None;
    }
    let check = refusal.check.name();
    let verb = if refusal.reply.is_transient() { "deferred" } else { "refused" };
    let Flood::Yes = flood else { return Some(Cow::from(format!("{verb} by check {check}"))) };
    let count = session.service.rejections.count(session.client, Instant::now())?;
    Some(Cow::from(format!("{verb} by check {check}; refusals since the last line: {count}")))
}

/// The upstream has refused a recipient.
pub(crate) fn log_recipient(
    session: &Session,
    hello: &Hello,
    handoff: &Handoff,
    path: &[u8],
    reply: &Reply,
) {
    let relay = &session.service.relay;
    if !relay.mail_log().is_on() {
        return;
    }
    let r#type = match reply.severity() {
        Severity::Permanent => EventType::Bounce,
        _ => EventType::TransientFailure,
    };
    let names = session.origin_names();
    relay.mail_log().write(&Event {
        id: Some(handoff.message().id),
        sender: Some(&handoff.message().sender),
        recipients: Some(&[path].into_iter().collect()),
        mode: Some(handoff.mode().name()),
        upstream: Some(handoff.upstream_name()),
        attempt: Some(1),
        reason: handoff.reason().map(Cow::from),
        ..Event::new(r#type, session.origin(&names, hello), Some(reply))
    });
}

/// A client was not let in; see [`crate::rejections`].
pub(crate) fn log_stranger(service: &Service, listener: &Listener, stranger: &Stranger) {
    let Some(count) = service.rejections.count(stranger.client, Instant::now()) else { return };
    let refused = &stranger.refused;
    let (session_id, generation) = (stranger.id.to_string(), refused.generation.to_string());
    let origin = Origin {
        session_id: &session_id,
        listener: &listener.config.name,
        entry: refused.entry.as_ref().map(|entry| &**entry.id()),
        credential: None,
        generation: &generation,
        client: stranger.client,
        helo: None,
        tls: None,
    };
    let check = refused.refusal.check.name();
    let reason = format!("refused by check {check}; refusals since the last line: {count}");
    let event = rejection(origin, Some(&refused.refusal.reply));
    service.relay.mail_log().write(&Event { reason: Some(Cow::from(reason)), ..event });
}

/// An AUTH that has failed.
pub(crate) struct FailedLogin<'a> {
    pub(crate) refusal: &'a Refusal,
    /// The credential whose name was given. A name that nobody has is not told: it may be a password.
    pub(crate) known: Option<&'a Credential>,
}

/// AUTH has failed: one line per address and minute, as for strangers.
pub(crate) fn log_login(claim: &Claim<'_>, failed: &FailedLogin<'_>) {
    let service = claim.service;
    if !service.relay.mail_log().is_on() {
        return;
    }
    let Some(count) = service.rejections.count(claim.client, Instant::now()) else { return };
    let (session_id, generation) = (claim.id.to_string(), claim.generation.to_string());
    let origin = Origin {
        session_id: &session_id,
        listener: &claim.listener.config.name,
        entry: claim.entry.map(|id| &**id),
        credential: failed.known.map(|credential| &**credential.id()),
        generation: &generation,
        client: claim.client,
        helo: Some(&claim.hello.name),
        tls: claim.tls.map(|tls| &*tls.description),
    };
    let who = if failed.known.is_some() { "wrong password" } else { "unknown username" };
    let reason = format!("AUTH failed, {who}; refusals since the last line: {count}");
    let event = rejection(origin, Some(&failed.refusal.reply));
    service.relay.mail_log().write(&Event { reason: Some(Cow::from(reason)), ..event });
}

fn log_message(
    session: &Session,
    hello: &Hello,
    handoff: &Handoff,
    reply: Option<&Reply>,
    reason: Cow<'_, str>,
) {
    let log = session.service.relay.mail_log();
    if !log.is_on() {
        return;
    }
    let names = session.origin_names();
    let recipients = handoff.recipients();
    log.write(&Event {
        id: Some(handoff.message().id),
        sender: Some(&handoff.message().sender),
        recipients: Some(&recipients),
        size: Some(handoff.octets()),
        duration_ms: Some(handoff.message().began.elapsed().as_millis() as u64),
        reason: Some(reason),
        ..rejection(session.origin(&names, hello), reply)
    });
}

fn rejection<'a>(origin: Origin<'a>, reply: Option<&'a Reply>) -> Event<'a> {
    Event::new(EventType::Rejection, origin, reply)
}
