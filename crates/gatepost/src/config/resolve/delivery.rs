//! `[delivery]`: the mode, how long is waited, how often is tried again, and who is told in the end;
//! and the limits of what is kept meanwhile.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use gatepost_delivery::{UpstreamConfig, profile::NullSender};
use gatepost_policy::{
    choice::Choices,
    entry::Mode,
    units::{ByteSize, Span},
};
use gatepost_relay::{BounceConfig, Bounces, QueueConfig, RelayConfig};
use gatepost_spool::SpoolOptions;

use super::{
    minutes,
    values::{Values, at},
};
use crate::{
    config::file::{DeliveryFile, LimitsFile, Text, Texts},
    spool::SpoolConfig,
};

const MODES: Choices<Mode> =
    &[("sync", Some(Mode::Sync)), ("hybrid", Some(Mode::Hybrid)), ("spool", Some(Mode::Spool))];
const BOUNCES: Choices<Bounces> = &[("dsn", Some(Bounces::Dsn)), ("keep", Some(Bounces::Keep))];

/// How long clients of applications wait for a reply, by and large: RFC 5321 §4.5.3.2.6 wants ten
/// minutes of them, and few of them know. Who waits no longer sends the message again.
const CLIENT_PATIENCE: Duration = minutes(1);
/// Waits that can be written: the last repeats, so that more say nothing.
const RETRIES_MAX: usize = 100;
/// The longest of them: an upstream that was mended yesterday should have its mail today.
const RETRY_MAX: Duration = minutes(24 * 60);
/// The latest moment: nobody waits for a message any longer, and its sender should know by then.
const EXPIRE_AFTER_MAX: Duration = minutes(30 * 24 * 60);

/// Octets of all messages together that may be in memory, unless something else is written.
const MESSAGE_MEMORY: ByteSize = ByteSize::new(256 * 1024 * 1024);
/// Octets of one of them: a larger one is written into a file from there on.
const MESSAGE_MEMORY_EACH: u64 = 8 * 1024 * 1024;
/// Octets that stay free on the disk, unless something else is written: other programs want some, and
/// so does the spool, to remove what it has.
const FREE_SPACE_FLOOR: ByteSize = ByteSize::new(1024 * 1024 * 1024);

/// The mode of what nobody says otherwise about, and what is configured for handing over.
pub(super) fn resolve(
    values: &mut Values<'_>,
    file: DeliveryFile,
    (hostname, received_max): (&Arc<str>, u32),
    upstreams: &[UpstreamConfig],
) -> (Mode, RelayConfig) {
    let mode = values.choice("delivery.mode", file.mode, MODES).unwrap_or_default();
    let usual = RelayConfig::usual(Arc::clone(hostname));
    let written = file.final_reply_timeout;
    let final_reply_timeout =
        values.span("delivery.final_reply_timeout", written, usual.final_reply_timeout);
    // Whoever has little patience with an upstream has no more with a client.
    let patience = usual.answer_within.min(final_reply_timeout / 2);
    let answer_within = answer_within(values, (file.answer_within, patience), final_reply_timeout);
    let retry = retry(values, file.retry, usual.queue.retry);
    let written = (file.expire_after, usual.queue.expire_after);
    let expire_after = expire_after(values, written, retry.first().copied());
    let bounces = bounces(values, (file.bounces, file.bounce_upstream), mode, upstreams);
    let queue = QueueConfig { retry, expire_after };
    let relay =
        RelayConfig { final_reply_timeout, received_max, answer_within, queue, bounces, ..usual };
    (mode, relay)
}

/// Where messages are kept, and how many.
pub(super) fn spool(
    values: &mut Values<'_>,
    limits: &mut LimitsFile,
    state_dir: &Path,
) -> SpoolConfig {
    let memory = limits.message_memory.take();
    let floor = limits.free_space_floor.take();
    let body_memory = values.size("limits.message_memory", memory, MESSAGE_MEMORY);
    let options = SpoolOptions {
        free_space_floor: values.size("limits.free_space_floor", floor, FREE_SPACE_FLOOR),
        body_memory,
        body_memory_each: MESSAGE_MEMORY_EACH.min(body_memory),
    };
    SpoolConfig { directory: state_dir.join("spool"), options }
}

fn answer_within(
    values: &mut Values<'_>,
    (written, default): (Text, Duration),
    final_reply_timeout: Duration,
) -> Duration {
    let key = "delivery.answer_within";
    let place = written.as_ref().and_then(at);
    let is_written = written.is_some();
    let within = values.span(key, written, default);
    let shown = Span::new(within);
    if is_written && within >= final_reply_timeout {
        let message = format_args!(
            "{shown} is not shorter than final_reply_timeout, which is {}; write less, it is only how \
             long the client waits",
            Span::new(final_reply_timeout)
        );
        values.error(place, key, message);
    } else if within > CLIENT_PATIENCE {
        let message = format_args!(
            "many clients wait no longer than {} for a reply, and send the message again after that; \
             write less than {shown}, the upstream is waited for all the same",
            Span::new(CLIENT_PATIENCE)
        );
        values.warn(place, key, message);
    }
    within
}

fn retry(values: &mut Values<'_>, written: Texts, default: Vec<Duration>) -> Vec<Duration> {
    let key = "delivery.retry";
    let Some(written) = written else { return default };
    let list = written.get_ref();
    if list.is_empty() || list.len() > RETRIES_MAX {
        let count = list.len();
        let message = format_args!(
            "has {count} durations; write 1 to {RETRIES_MAX}, the last repeats, or leave it out"
        );
        values.error(at(&written), key, message);
        return default;
    }
    let mut waits = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let key = format_args!("{key}[{index}]");
        let Some(span) = values.parsed::<Span>(key, item) else { continue };
        let wait = span.duration();
        if wait.is_zero() {
            values.error(at(item), key, "must not be zero; write at least 1s");
        } else {
            at_most(values, at(item), key, wait, RETRY_MAX);
        }
        waits.push(wait);
    }
    waits
}

fn expire_after(
    values: &mut Values<'_>,
    (written, default): (Text, Duration),
    first: Option<Duration>,
) -> Duration {
    let key = "delivery.expire_after";
    let place = written.as_ref().and_then(at);
    let after = values.span(key, written, default);
    at_most(values, place, key, after, EXPIRE_AFTER_MAX);
    if let Some(first) = first.filter(|first| after <= *first) {
        let message = format_args!(
            "{} is not longer than the first wait of retry, which is {}: a message would be given up \
             before it is tried again; write more",
            Span::new(after),
            Span::new(first)
        );
        values.error(place, key, message);
    }
    after
}

fn at_most(
    values: &mut Values<'_>,
    place: Option<usize>,
    key: impl fmt::Display,
    written: Duration,
    most: Duration,
) {
    if written > most {
        let (written, most) = (Span::new(written), Span::new(most));
        values.error(place, key, format_args!("{written} is too long; write at most {most}"));
    }
}

fn bounces(
    values: &mut Values<'_>,
    (written, upstream): (Text, Text),
    mode: Mode,
    upstreams: &[UpstreamConfig],
) -> BounceConfig {
    let place = upstream.as_ref().or(written.as_ref()).and_then(at);
    let is_written = place.is_some();
    let upstream = upstream.map(|written| bounce_upstream(values, &written, upstreams));
    let bounces = values.choice("delivery.bounces", written, BOUNCES).unwrap_or_default();
    match (bounces, upstream) {
        (Bounces::Keep, Some(_)) => {
            let message =
                "has no effect with bounces = \"keep\": nobody is notified; leave one out";
            values.warn(place, "delivery.bounce_upstream", message);
        }
        // Where nothing is kept, nothing is given up later.
        (Bounces::Dsn, None) if mode.keeps_messages() || is_written => {
            let refusing = upstreams.iter().filter(|it| refuses_notifications(it));
            let names: Vec<_> = refusing.map(|it| &*it.name).collect();
            warn_of_refusal(values, place, "delivery.bounces", &names);
        }
        (Bounces::Dsn | Bounces::Keep, None) => {}
        (Bounces::Dsn, Some(index)) => {
            let chosen = index.and_then(|index| upstreams.get(index));
            let names: Vec<_> = chosen
                .filter(|it| refuses_notifications(it))
                .map(|it| &*it.name)
                .into_iter()
                .collect();
            warn_of_refusal(values, place, "delivery.bounce_upstream", &names);
        }
    }
    let named = upstream.flatten().and_then(|index| upstreams.get(index));
    BounceConfig { bounces, upstream: named.map(|it| Arc::clone(&it.name)) }
}

fn bounce_upstream(
    values: &mut Values<'_>,
    written: &toml::Spanned<String>,
    upstreams: &[UpstreamConfig],
) -> Option<usize> {
    let name = written.get_ref().as_str();
    let index = upstreams.iter().position(|upstream| *upstream.name == *name);
    if index.is_none() {
        let known = upstreams.iter().map(|it| &*it.name).collect::<Vec<_>>().join(", ");
        let message = format_args!("there is no upstream {name:?}; known are {known}");
        values.error(at(written), "delivery.bounce_upstream", message);
    }
    index
}

/// A notification is from nobody, so that nobody answers it with another (RFC 5321 §4.5.5).
fn refuses_notifications(upstream: &UpstreamConfig) -> bool {
    upstream.profile.mail_from.null_sender == NullSender::Refused
}

fn warn_of_refusal(values: &mut Values<'_>, place: Option<usize>, key: &str, names: &[&str]) {
    if names.is_empty() {
        return;
    }
    let message = format_args!(
        "the provider of {} refuses mail from <>, and that is what notifications are from; name an \
         upstream that takes them in bounce_upstream, or write bounces = \"keep\"",
        names.join(", ")
    );
    values.warn(place, key, message);
}
