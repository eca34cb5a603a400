//! What is counted about notifications: recipients that somebody was told of, and those of whom
//! nobody was.

use gatepost_spool::{Notice, StoredRecipient};
use metrics::{Counter, counter, describe_counter};

use super::report::Kind;

/// Whether somebody was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is kept: the reverse-path is null, or the configuration says so.
    Kept,
    /// Too much was told lately: it is kept if it has failed.
    Limited,
    /// A notification is on its way.
    Sent,
}

pub(super) struct NotificationMetrics {
    /// By kind, then by result.
    counters: [[Counter; 3]; 3],
}

impl NotificationMetrics {
    pub(super) fn new() -> Self {
        describe_counter!(
            "gatepost_notifications_total",
            "Recipients that a notification tells of, or would have told of, by what was told"
        );
        let counters = [Kind::Delayed, Kind::Failed, Kind::Relayed].map(|kind| {
            ["kept", "limited", "sent"].map(|result| {
                let counter =
                    counter!("gatepost_notifications_total", "kind" => kind.action(), "result" => result);
                // An alert on the first increase needs a zero to increase from.
                counter.increment(0);
                counter
            })
        });
        Self { counters }
    }

    pub(super) fn count(&self, kind: Kind, result: Told, recipients: u64) {
        self.counters[kind as usize][result as usize].increment(recipients);
    }

    pub(super) fn count_all(&self, told: &[&StoredRecipient], notice: Notice, result: Told) {
        for recipient in told {
            self.count(Kind::of(notice, recipient.state), result, 1);
        }
    }
}
