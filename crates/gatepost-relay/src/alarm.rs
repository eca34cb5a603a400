//! Who is told that an upstream objects to us or is used up: metrics at once, the log once a minute.
//!
//! A client can provoke as many faults as it likes. So each rule of the profile, and the table for
//! what no rule knows, has a line a minute and no more.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gatepost_delivery::Profile;
use gatepost_delivery::profile::ReplyRule;
use tokio::time::Instant;

use crate::metrics::FaultMetrics;
use crate::trouble::{Means, Outcome, Scope};

/// What is said where no rule of a profile knows better.
const SAY: &str = "Check the settings of the upstream, and what it has on record for this relay.";

pub(crate) struct Alarm {
    metrics: FaultMetrics,
    /// The last word that concerned the whole upstream was a fault.
    is_raised: AtomicBool,
    started: Instant,
    /// The last minute since the start in which each rule was told, the table's behind them.
    told: Box<[AtomicU64]>,
}

impl Alarm {
    pub(crate) fn new(upstream: &str, profile: &Profile) -> Self {
        Self {
            metrics: FaultMetrics::new(upstream),
            is_raised: AtomicBool::new(false),
            started: Instant::now(),
            told: (0..=profile.replies.len()).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Counts and tells what somebody should know of an outcome. `said` is bounded and printable.
    pub(crate) fn consider(
        &self,
        upstream: &str,
        profile: &Profile,
        outcome: &Outcome,
        said: &dyn Display,
    ) {
        let rule = outcome.rule.and_then(|index| profile.replies.get(index));
        if outcome.means == Means::ConfigurationFault {
            self.metrics.faults(outcome.scope).increment(1);
            if outcome.scope == Scope::Upstream {
                self.is_raised.store(true, Ordering::Relaxed);
                self.metrics.fault.set(1.0);
            }
            if self.is_time_to_tell(outcome.rule, self.minute()) {
                let (name, say) = rule.map_or(("-", SAY), words);
                let scope = outcome.scope;
                tracing::warn!(upstream, rule = name, %scope, %said, "the upstream objects to how it is used. {say}");
            }
        } else if let Some((name, say)) = rule.map(words).filter(|(_, say)| !say.is_empty())
            && self.is_time_to_tell(outcome.rule, self.minute())
        {
            // A quota ends mail for hours: somebody must act. Throttling is what the pool is for.
            let means = outcome.means;
            if means == Means::Quota {
                tracing::warn!(upstream, rule = name, %means, %said, "the upstream takes no more for now. {say}");
            } else {
                tracing::info!(upstream, rule = name, %means, %said, "the upstream wants it otherwise. {say}");
            }
        }
    }

    /// The upstream has accepted a message: whatever it objected to is mended.
    pub(crate) fn clear(&self) {
        // A load on nearly every message, and a store on the one that ends the alarm.
        if self.is_raised.load(Ordering::Relaxed) && self.is_raised.swap(false, Ordering::Relaxed) {
            self.metrics.fault.set(0.0);
        }
    }

    fn minute(&self) -> u64 {
        self.started.elapsed().as_secs() / 60
    }

    /// `minute` is that since the start.
    fn is_time_to_tell(&self, rule: Option<usize>, minute: u64) -> bool {
        // Zero is "never".
        let minute = minute + 1;
        let told = rule.and_then(|index| self.told.get(index)).or(self.told.last());
        told.is_some_and(|told| told.fetch_max(minute, Ordering::Relaxed) < minute)
    }
}

fn words(rule: &ReplyRule) -> (&str, &str) {
    (&rule.name, &rule.say)
}

#[cfg(test)]
mod tests {
    use gatepost_smtp::reply::Reply;

    use super::*;
    use crate::trouble::{Stage, of_reply};

    /// A flood of faults of each kind is a line of each kind.
    #[test]
    fn each_rule_is_told_once_a_minute() {
        let ses = Profile::named("ses").expect("is there");
        let alarm = Alarm::new("a", &ses);
        let rule =
            |code, text: &'static str| of_reply(&ses, Stage::Data, &Reply::plain(code, text)).rule;
        let unverified = rule(554, "Email address is not verified");
        let denied = rule(554, "is not authorized to perform");
        assert!(unverified.is_some() && denied.is_some() && unverified != denied);
        for rule in [unverified, denied, None] {
            assert!(alarm.is_time_to_tell(rule, 0), "{rule:?}");
            assert!(!alarm.is_time_to_tell(rule, 0), "{rule:?}");
        }
        assert!(alarm.is_time_to_tell(unverified, 1));
        assert!(!alarm.is_time_to_tell(unverified, 1));
        assert!(!alarm.is_time_to_tell(unverified, 0), "time does not go back");
        assert!(alarm.is_time_to_tell(None, 9));
    }
    /// It is on while the last word that concerned all of the upstream was a fault.
    #[test]
    fn one_sender_raises_no_alarm_and_a_message_ends_it() {
        let sendgrid = Profile::named("sendgrid").expect("is there");
        let alarm = Alarm::new("a", &sendgrid);
        let hear = |stage, code, text: &'static str| {
            let reply = Reply::plain(code, text);
            alarm.consider("a", &sendgrid, &of_reply(&sendgrid, stage, &reply), &reply);
            alarm.is_raised.load(Ordering::Relaxed)
        };
        assert!(!hear(Stage::Data, 403, "You are not authorized to send from that email address"));
        assert!(!hear(Stage::Recipient, 550, "no such user"));
        assert!(hear(Stage::Opening, 451, "Authentication failed: Could not authenticate"));
        assert!(hear(Stage::Recipient, 550, "no such user"), "that is no yes");
        alarm.clear();
        assert!(!alarm.is_raised.load(Ordering::Relaxed));
    }
}
