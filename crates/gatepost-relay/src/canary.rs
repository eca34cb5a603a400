//! A message that the gateway itself sends now and then, to know that an upstream still takes mail
//! before an application finds out.
//!
//! It takes the way of every other message: the same pool, the same limits, the same judgement of
//! what the upstream says, the same mail log (`listener` is `canary` there). So it never opens a
//! connection past a limit, and it proves nothing about another way.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatepost_delivery::DataFollows;
use gatepost_smtp::reply::Reply;
use jiff::{Timestamp, tz::TimeZone};
use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};
use tokio::time::Instant;

use crate::handoff::{DataReply, Last};
use crate::mail_log::Origin;
use crate::mode::Mode;
use crate::relay::{Message, Relay};

/// Where the mail log says that it comes from.
const NAME: &str = "canary";
/// Whose share of an upstream it takes: no policy entry has this id.
const SHARE: &str = "(canary)";
/// After the start connections are opened for mail that waits; it is not the first to ask.
const FIRST_AFTER: Duration = Duration::from_secs(10);

/// A canary of one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryConfig {
    /// Its reverse-path, which the upstream must accept.
    pub from: Arc<str>,
    /// Whom it goes to: a mailbox that throws it away, or that somebody looks into.
    pub to: Arc<str>,
    /// How often.
    pub every: Duration,
}

/// Sends canaries to one upstream.
pub struct Canary {
    relay: Arc<Relay>,
    upstream: usize,
    name: Arc<str>,
    hostname: Arc<str>,
    config: CanaryConfig,
    metrics: CanaryMetrics,
}

struct CanaryMetrics {
    delivered: Counter,
    failed: Counter,
    duration: Gauge,
    last_delivered: Gauge,
}

impl Canary {
    /// A canary for the upstream at a place of the list. `hostname` is our name.
    pub fn new(
        relay: Arc<Relay>,
        (upstream, name): (usize, Arc<str>),
        hostname: Arc<str>,
        config: CanaryConfig,
    ) -> Self {
        let metrics = CanaryMetrics::new(&name);
        Self { relay, upstream, name, hostname, config, metrics }
    }

    /// Sends one after the other, for as long as the task is let run.
    pub async fn run(self) {
        tokio::time::sleep(FIRST_AFTER.min(self.config.every)).await;
        let mut is_well = true;
        loop {
            let began = Instant::now();
            let sent = self.send().await;
            is_well = self.tell(&sent, is_well, began.elapsed());
            tokio::time::sleep(self.config.every.saturating_sub(began.elapsed())).await;
        }
    }

    /// Sends one, and brings the upstream's word on it back.
    pub async fn send(&self) -> Result<Reply, Reply> {
        let now = Timestamp::now();
        let id = self.relay.ids().next();
        let content = self.content(&format!("{NAME}-{id}"), now);
        let from: Arc<[u8]> = self.config.from.as_bytes().into();
        let message = Message {
            id,
            entry: SHARE.into(),
            sender: Arc::clone(&from),
            reverse_path: from,
            size: Some(content.len() as u64),
            body: None,
            smtputf8: false,
            dsn: Arc::default(),
            // It was not received from anybody.
            received: Bytes::new(),
            began: Instant::now(),
        };
        let Some(mut handoff) = self.relay.begin((self.upstream, Mode::Sync), message) else {
            // Canaries are made for upstreams that there are.
            return Err(gatepost_smtp::server::replies::NO_VALID_RECIPIENTS);
        };
        handoff.name(self.config.to.as_bytes(), b"").await?;
        handoff.ask(DataFollows::Yes).await;
        let refused = handoff.answers().map(|(_, reply)| reply).find(|reply| !reply.is_positive());
        if let Some(reply) = refused.cloned() {
            handoff.withdraw_data();
            return Err(reply);
        }
        handoff.data().await?;
        let last = Last::Terminated([&content[..], b".\r\n"].concat().into());
        match handoff.complete(last, origin()).await {
            DataReply::Granted(grant) => Ok(grant.reply().clone()),
            DataReply::Refused(reply) => Err(reply),
        }
    }

    /// Says what has changed in the log, and everything in the metrics.
    #[allow(clippy::cast_precision_loss)] // a gauge is a float; the year 9999 is exact in one
    fn tell(&self, sent: &Result<Reply, Reply>, was_well: bool, took: Duration) -> bool {
        let upstream = &*self.name;
        match sent {
            Ok(_) => {
                self.metrics.delivered.increment(1);
                self.metrics.duration.set(took.as_secs_f64());
                self.metrics.last_delivered.set(Timestamp::now().as_second() as f64);
                if !was_well {
                    tracing::info!(upstream, "the upstream takes the canary again");
                }
            }
            Err(reply) => {
                self.metrics.failed.increment(1);
                if was_well {
                    tracing::warn!(upstream, %reply, "the upstream does not take the canary");
                }
            }
        }
        sent.is_ok()
    }

    fn content(&self, id: &str, now: Timestamp) -> Vec<u8> {
        let CanaryConfig { from, to, .. } = &self.config;
        let subject = format!("Gatepost canary through {}", self.name);
        content(id, now, &self.hostname, (from, to), &subject)
    }
}

/// A whole message (RFC 5322) of one that sends it to see what becomes of it. RFC 3834 §5: nobody is
/// to answer it. What is put into it is ASCII, and has no line ends.
pub fn content(
    id: &str,
    now: Timestamp,
    hostname: &str,
    (from, to): (&str, &str),
    subject: &str,
) -> Vec<u8> {
    let date = jiff::fmt::rfc2822::to_string(&now.to_zoned(TimeZone::UTC)).unwrap_or_default();
    format!(
        "Date: {date}\r\nFrom: {from}\r\nTo: {to}\r\nMessage-ID: <{id}@{hostname}>\r\n\
         Subject: {subject}\r\nAuto-Submitted: auto-generated\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
         {hostname} has sent this to know that mail goes out.\r\nIt can be thrown away.\r\n"
    )
    .into_bytes()
}

impl CanaryMetrics {
    fn new(upstream: &str) -> Self {
        describe_counter!(
            "gatepost_canary_messages_total",
            "Messages that the gateway sends itself, by what came of them"
        );
        describe_gauge!(
            "gatepost_canary_duration_seconds",
            Unit::Seconds,
            "How long the last canary took that was delivered"
        );
        describe_gauge!(
            "gatepost_canary_last_delivered_timestamp_seconds",
            "When an upstream has last taken a canary, in seconds since 1970"
        );
        let upstream = upstream.to_owned();
        let count = |result: &'static str| {
            let counter = counter!("gatepost_canary_messages_total", "upstream" => upstream.clone(), "result" => result);
            // An alert on the first increase needs a zero to increase from.
            counter.increment(0);
            counter
        };
        Self {
            delivered: count("delivered"),
            failed: count("failed"),
            duration: gauge!("gatepost_canary_duration_seconds", "upstream" => upstream.clone()),
            last_delivered: gauge!("gatepost_canary_last_delivered_timestamp_seconds", "upstream" => upstream),
        }
    }
}

/// The gateway itself.
const fn origin() -> Origin<'static> {
    Origin {
        session_id: "-",
        listener: NAME,
        entry: None,
        credential: None,
        generation: "-",
        client: IpAddr::V6(Ipv6Addr::LOCALHOST),
        helo: None,
        tls: None,
    }
}
