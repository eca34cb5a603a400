//! The ways to the upstreams, what is kept for them, and what is known of a message before it takes one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gatepost_delivery::Upstream;
use gatepost_smtp::command::Body;
use gatepost_spool::{Recovery, Spool};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::dsn::{BounceConfig, Bouncer, Bounces};
use crate::handoff::Handoff;
use crate::id::{Id, Ids};
use crate::mail_log::MailLog;
use crate::metrics::HandoffMetrics;
use crate::mode::Mode;
use crate::outlet::Outlet;
use crate::queue::{Queue, QueueConfig, QueueParts};

/// What is configured for handing over.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Our name, in notifications.
    pub hostname: Arc<str>,
    /// How long the upstream may take to answer the final dot.
    pub final_reply_timeout: Duration,
    /// How long a client waits for that in mode hybrid.
    pub answer_within: Duration,
    /// `Received:` fields at which a message is taken to be in a loop.
    pub received_max: u32,
    /// What is kept: when it is tried again, and for how long.
    pub queue: QueueConfig,
    /// How a sender is told of what has failed.
    pub bounces: BounceConfig,
}

impl RelayConfig {
    /// What holds where nothing is configured. RFC 5321 §4.5.3.2.6 wants ten minutes for the dot, and
    /// §4.5.4.1 four to five days for a message.
    pub fn usual(hostname: Arc<str>) -> Self {
        let minutes = [1, 2, 4, 8, 15, 30, 60].map(Duration::from_mins);
        Self {
            hostname,
            final_reply_timeout: Duration::from_mins(10),
            answer_within: Duration::from_secs(20),
            received_max: 50,
            queue: QueueConfig {
                retry: minutes.into(),
                expire_after: Duration::from_hours(5 * 24),
            },
            bounces: BounceConfig { bounces: Bounces::Dsn, upstream: None },
        }
    }
}

/// The ways to all upstreams.
pub struct Relay {
    pub(crate) config: RelayConfig,
    pub(crate) mail_log: MailLog,
    pub(crate) metrics: HandoffMetrics,
    pub(crate) ids: Arc<Ids>,
    /// None: every mode is sync.
    pub(crate) spool: Option<Spool>,
    pub(crate) bouncer: Arc<Bouncer>,
    outlets: Box<[Arc<Outlet>]>,
    queue: Option<Queue>,
    /// Those who stay with an upstream after their client has gone.
    staying: Mutex<JoinSet<()>>,
}

/// What is known of a message when its transaction begins.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id, in the log, in the `Received:` line and in the queue.
    pub id: Id,
    /// The reverse-path as the client has sent it, without brackets: the log has this one.
    pub sender: Arc<[u8]>,
    /// What MAIL says upstream: the same, or what a route makes of it. Empty if it is null.
    pub reverse_path: Arc<[u8]>,
    /// The id of the policy entry it comes by, which shares the upstream with others.
    pub entry: Arc<str>,
    /// Declared octets of content.
    pub size: Option<u64>,
    /// Declared body type.
    pub body: Option<Body>,
    /// Whether SMTPUTF8 was asked for.
    pub smtputf8: bool,
    /// RET and ENVID as the client has sent them, each with a space in front.
    pub dsn: Arc<[u8]>,
    /// The one line that is put in front, CRLF included.
    pub received: Bytes,
    /// When the client said MAIL.
    pub began: Instant,
}

impl Relay {
    /// A relay to these upstreams, known by their place in the list. Without a spool, every mode is
    /// sync.
    pub fn new(
        config: RelayConfig,
        upstreams: Vec<Arc<Upstream>>,
        mail_log: MailLog,
        spool: Option<Spool>,
        ids: Arc<Ids>,
    ) -> Arc<Self> {
        let outlets = upstreams.into_iter().map(|upstream| Arc::new(Outlet::new(upstream)));
        let outlets: Vec<_> = outlets.collect();
        let bouncer = Arc::new(Bouncer::new(
            config.bounces.clone(),
            Arc::clone(&config.hostname),
            config.queue.expire_after,
            Arc::clone(&ids),
        ));
        let queue = spool.clone().map(|spool| {
            Queue::new(QueueParts {
                spool,
                outlets: outlets.clone(),
                mail_log: mail_log.clone(),
                bouncer: bouncer.clone(),
                config: config.queue.clone(),
                final_reply_timeout: config.final_reply_timeout,
            })
        });
        Arc::new(Self {
            queue,
            config,
            mail_log,
            metrics: HandoffMetrics::new(),
            ids,
            spool,
            bouncer,
            outlets: outlets.into(),
            staying: Mutex::default(),
        })
    }

    /// Begins to hand a message over to an upstream, if there is one at that place. Nothing is sent
    /// before the first recipient. Boxed: it goes from step to step, and none of them copies it.
    pub fn begin(
        self: &Arc<Self>,
        (upstream, mode): (usize, Mode),
        message: Message,
    ) -> Option<Box<Handoff>> {
        let outlet = self.outlets.get(upstream)?;
        Some(Box::new(Handoff::new(self.clone(), outlet.clone(), mode, message)))
    }

    /// Where events of messages are written.
    pub const fn mail_log(&self) -> &MailLog {
        &self.mail_log
    }

    /// Where ids of sessions and messages come from.
    pub const fn ids(&self) -> &Arc<Ids> {
        &self.ids
    }

    /// The queue, if there is a spool.
    pub const fn queue(&self) -> Option<&Queue> {
        self.queue.as_ref()
    }

    /// Delivers what is kept, until [`Queue::stop`]. `recovery` is what the opening of the spool found.
    pub fn run_queue(&self, recovery: Recovery) -> impl Future<Output = ()> + use<> {
        let queue = self.queue.clone();
        async move {
            if let Some(queue) = queue {
                queue.run(&recovery).await;
            }
        }
    }

    pub(crate) fn outlet_at(&self, place: usize) -> Option<&Arc<Outlet>> {
        self.outlets.get(place)
    }

    pub(crate) fn wake_queue(&self) {
        if let Some(queue) = &self.queue {
            queue.wake();
        }
    }

    /// How long a message waits that was tried by its hand-over.
    pub(crate) fn first_retry(&self) -> Duration {
        self.queue.as_ref().map_or(Duration::ZERO, Queue::first_retry)
    }

    /// Lets a task stay until it ends, or the relay does.
    pub(crate) fn stay(&self, task: impl Future<Output = ()> + Send + 'static) {
        // A panic cannot leave the list in the middle of something.
        let mut staying = self.staying.lock().unwrap_or_else(PoisonError::into_inner);
        while staying.try_join_next().is_some() {}
        staying.spawn(task);
    }

    /// Waits for those who stay with an upstream. Whoever does not wait for the end of this leaves
    /// their messages to the queue, and they may arrive twice.
    pub async fn stayed(&self) {
        let mut staying = {
            let mut staying = self.staying.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *staying)
        };
        while staying.join_next().await.is_some() {}
    }
}
