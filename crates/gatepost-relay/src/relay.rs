//! The way to the upstream, and what is known of a message before it takes that way.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gatepost_delivery::Upstream;
use gatepost_smtp::command::Body;
use gatepost_smtp::reply::Reply;
use tokio::time::Instant;

use crate::handoff::Handoff;
use crate::mail_log::MailLog;
use crate::metrics::DeliveryMetrics;
use crate::trouble::Outcome;

/// What is configured for handing over.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// How long the upstream may take to answer the final dot.
    pub final_reply_timeout: Duration,
    /// `Received:` fields at which a message is taken to be in a loop.
    pub received_max: u32,
}

/// The way to the upstream that transactions take by default.
pub struct Relay {
    pub(crate) config: RelayConfig,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) metrics: DeliveryMetrics,
    pub(crate) mail_log: MailLog,
    started: Instant,
    /// The last minute since the start in which a configuration fault was written to the log.
    warned_minute: AtomicU64,
}

/// What is known of a message when its transaction begins.
#[derive(Debug)]
pub struct Message {
    /// Its id, in the log and in the `Received:` line.
    pub id: Box<str>,
    /// What stands between the brackets: empty for the null reverse-path.
    pub reverse_path: Box<[u8]>,
    /// Declared octets of content.
    pub size: Option<u64>,
    /// Declared body type.
    pub body: Option<Body>,
    /// Whether SMTPUTF8 was asked for.
    pub smtputf8: bool,
    /// The one line that is put in front, CRLF included.
    pub received: Bytes,
}

impl Relay {
    /// A relay to one upstream.
    pub fn new(config: RelayConfig, upstream: Arc<Upstream>, mail_log: MailLog) -> Arc<Self> {
        let metrics = DeliveryMetrics::new(&upstream.config().name);
        Arc::new(Self {
            config,
            upstream,
            metrics,
            mail_log,
            started: Instant::now(),
            warned_minute: AtomicU64::new(0),
        })
    }

    /// Begins to hand a message over. Nothing is sent before the first recipient.
    pub fn begin(self: &Arc<Self>, message: Message) -> Handoff {
        Handoff::new(self.clone(), message)
    }

    /// How long a client that stalls may hold a connection of the upstream.
    pub fn client_stall(&self) -> Duration {
        self.upstream.config().client_stall
    }

    /// The name of the upstream.
    pub fn upstream_name(&self) -> &str {
        &self.upstream.config().name
    }

    /// Where events of messages are written.
    pub const fn mail_log(&self) -> &MailLog {
        &self.mail_log
    }

    /// The reply of an outcome; an operator is alarmed if our own set-up is at fault.
    pub(crate) fn judge(&self, outcome: Outcome, said: &dyn Display) -> Reply {
        if outcome.configuration_fault {
            self.metrics.configuration_faults.increment(1);
            if self.is_time_to_warn() {
                tracing::warn!(
                    upstream = self.upstream_name(),
                    %said,
                    "the upstream objects to how it is used: check its settings and what it has on record for this relay"
                );
            }
        }
        outcome.reply
    }

    /// Once a minute: a client can provoke as many faults as it likes.
    fn is_time_to_warn(&self) -> bool {
        let minute = self.started.elapsed().as_secs() / 60 + 1;
        self.warned_minute.fetch_max(minute, Ordering::Relaxed) < minute
    }
}
