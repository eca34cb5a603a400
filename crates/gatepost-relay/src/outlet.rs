//! One upstream as the relay sees it: the way out, what is counted about it, and who is alarmed.

use std::fmt::Display;
use std::sync::Arc;

use gatepost_delivery::{Profile, Trouble, Upstream};
use gatepost_smtp::reply::Reply;

use crate::alarm::Alarm;
use crate::metrics::DeliveryMetrics;
use crate::trouble::{self, Outcome, Stage};

pub(crate) struct Outlet {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) metrics: DeliveryMetrics,
    alarm: Alarm,
}

impl Outlet {
    pub(crate) fn new(upstream: Arc<Upstream>) -> Self {
        let config = upstream.config();
        let metrics = DeliveryMetrics::new(&config.name);
        let alarm = Alarm::new(&config.name, &config.profile);
        Self { upstream, metrics, alarm }
    }

    pub(crate) fn name(&self) -> &str {
        &self.upstream.config().name
    }

    fn profile(&self) -> &Profile {
        &self.upstream.config().profile
    }

    /// What the client hears of a reply that is not a yes.
    pub(crate) fn hear(&self, stage: Stage, reply: &Reply) -> Reply {
        self.judge(trouble::of_reply(self.profile(), stage, reply), reply)
    }

    /// What the client hears of trouble in a transaction.
    pub(crate) fn suffer(&self, trouble: &Trouble) -> Reply {
        self.judge(trouble::of_trouble(self.profile(), trouble), trouble)
    }

    /// What the client hears where there is no connection.
    pub(crate) fn miss(&self, trouble: &Trouble) -> Reply {
        self.judge(trouble::of_opening(self.profile(), trouble), trouble)
    }

    /// Whether a reply only means that its connection is at its end.
    pub(crate) fn is_leaving(&self, stage: Stage, reply: &Reply) -> bool {
        trouble::is_leaving(self.profile(), stage, reply)
    }

    /// The upstream has accepted a message. The pool has seen it itself.
    pub(crate) fn accepted(&self) {
        self.alarm.clear();
    }

    /// Tells the pool and whoever has to be alarmed.
    fn judge(&self, outcome: Outcome, said: &dyn Display) -> Reply {
        if let Some(signal) = outcome.signal {
            self.upstream.signal(signal);
        }
        self.alarm.consider(self.name(), self.profile(), &outcome, said);
        outcome.reply
    }
}
