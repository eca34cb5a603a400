//! What is counted about clients. Handles are made once, per listener.

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};

pub(crate) struct ListenerMetrics {
    pub(crate) allowed: Counter,
    pub(crate) unknown: Counter,
    pub(crate) overload: Counter,
    pub(crate) lookup_duration: Histogram,
    pub(crate) sender_accepted: Counter,
    pub(crate) sender_rejected: Counter,
    pub(crate) accepted: Counter,
    pub(crate) deferred: Counter,
    pub(crate) refused: Counter,
    pub(crate) aborted: Counter,
    pub(crate) octets: Counter,
}

impl ListenerMetrics {
    pub(crate) fn new(listener: &str) -> Self {
        describe_counter!(
            "gatepost_connections_total",
            "Client connections, by how they were greeted"
        );
        describe_counter!("gatepost_verdicts_total", "Decisions of the policy at MAIL");
        describe_counter!("gatepost_messages_total", "Messages, by what the client was told");
        describe_counter!("gatepost_message_bytes_total", "Octets of accepted messages");
        describe_histogram!(
            "gatepost_lookup_duration_seconds",
            Unit::Seconds,
            "How long it took to find the entry of an address"
        );
        let listener = listener.to_owned();
        // Made at zero: an alert on the first increase needs something to increase from.
        let connections = |result: &'static str| {
            zero(
                counter!("gatepost_connections_total", "listener" => listener.clone(), "result" => result),
            )
        };
        let verdicts = |check: &'static str, verdict: &'static str| {
            zero(
                counter!("gatepost_verdicts_total", "listener" => listener.clone(), "check" => check, "verdict" => verdict),
            )
        };
        let messages = |result: &'static str| {
            zero(
                counter!("gatepost_messages_total", "listener" => listener.clone(), "result" => result),
            )
        };
        Self {
            allowed: connections("allowed"),
            unknown: connections("unknown"),
            overload: connections("overload"),
            lookup_duration: histogram!("gatepost_lookup_duration_seconds", "listener" => listener.clone()),
            sender_accepted: verdicts("sender", "accept"),
            sender_rejected: verdicts("sender", "reject"),
            accepted: messages("accepted"),
            deferred: messages("deferred"),
            refused: messages("refused"),
            aborted: messages("aborted"),
            octets: zero(counter!("gatepost_message_bytes_total", "listener" => listener.clone())),
        }
    }
}

fn zero(counter: Counter) -> Counter {
    counter.increment(0);
    counter
}
