//! What is counted about clients. Handles are made once, per listener.

use gatepost_policy::check::{Check, Refusal};
use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};

pub(crate) struct ListenerMetrics {
    pub(crate) allowed: Counter,
    pub(crate) overload: Counter,
    /// Greeted, and may do nothing before AUTH.
    pub(crate) challenged: Counter,
    unknown: Counter,
    denied: Counter,
    expired: Counter,
    hidden: Counter,
    limited: Counter,
    pub(crate) lookup_duration: Histogram,
    pub(crate) proxy_headers: ProxyHeaders,
    pub(crate) verdicts: Verdicts,
    pub(crate) auth: AuthAttempts,
    pub(crate) accepted: Counter,
    pub(crate) deferred: Counter,
    pub(crate) refused: Counter,
    pub(crate) aborted: Counter,
    pub(crate) octets: Counter,
}

/// What came in front of a connection where a proxy begins it.
pub(crate) struct ProxyHeaders {
    /// A header that names a client.
    pub(crate) ok: Counter,
    /// A header of a proxy that names none.
    pub(crate) local: Counter,
    pub(crate) untrusted: Counter,
    pub(crate) invalid: Counter,
    pub(crate) timeout: Counter,
    /// Nothing: a probe, or the end of service.
    pub(crate) closed: Counter,
}

impl ProxyHeaders {
    fn new(listener: &str) -> Self {
        describe_counter!(
            "gatepost_proxy_headers_total",
            "Connections where a PROXY header is required, by what came"
        );
        let counter = |result: &'static str| {
            zero(
                counter!("gatepost_proxy_headers_total", "listener" => listener.to_owned(), "result" => result),
            )
        };
        Self {
            ok: counter("ok"),
            local: counter("local"),
            untrusted: counter("untrusted"),
            invalid: counter("invalid"),
            timeout: counter("timeout"),
            closed: counter("closed"),
        }
    }
}

/// What has come of AUTH.
pub(crate) struct AuthAttempts {
    pub(crate) ok: Counter,
    /// A wrong password, or a name that nobody has.
    pub(crate) failed: Counter,
    /// The client has given up, or said what cannot be understood.
    pub(crate) aborted: Counter,
    /// The address has failed too often.
    pub(crate) limited: Counter,
    /// There was no time to look at the password.
    pub(crate) overload: Counter,
}

impl AuthAttempts {
    fn new(listener: &str) -> Self {
        describe_counter!("gatepost_auth_attempts_total", "AUTH of clients, by what came of it");
        let counter = |result: &'static str| {
            zero(
                counter!("gatepost_auth_attempts_total", "listener" => listener.to_owned(), "result" => result),
            )
        };
        Self {
            ok: counter("ok"),
            failed: counter("failed"),
            aborted: counter("aborted"),
            limited: counter("limited"),
            overload: counter("overload"),
        }
    }
}

/// Decisions of the policy after the greeting.
pub(crate) struct Verdicts {
    pub(crate) mail_accepted: Counter,
    pub(crate) rcpt_accepted: Counter,
    /// Accepted although the entry has expired.
    pub(crate) expired: Counter,
    refused: Vec<(Check, &'static str, Counter)>,
}

/// How each check can refuse.
const REFUSALS: [(Check, &str); 15] = [
    (Check::Dates, "defer"),
    (Check::Dates, "reject"),
    (Check::Tls, "reject"),
    (Check::Certificate, "reject"),
    (Check::Authentication, "reject"),
    (Check::Helo, "reject"),
    (Check::Sender, "reject"),
    (Check::Size, "reject"),
    (Check::MessageRate, "defer"),
    (Check::Recipient, "reject"),
    (Check::MaxRecipients, "defer"),
    (Check::Route, "defer"),
    (Check::RecipientRate, "defer"),
    (Check::HeaderFrom, "reject"),
    (Check::DuplicateRate, "defer"),
];

impl Verdicts {
    fn new(listener: &str) -> Self {
        describe_counter!("gatepost_verdicts_total", "Decisions of the policy after the greeting");
        let counter = |check: &'static str, verdict: &'static str| {
            zero(
                counter!("gatepost_verdicts_total", "listener" => listener.to_owned(), "check" => check, "verdict" => verdict),
            )
        };
        Self {
            mail_accepted: counter("mail", "accept"),
            rcpt_accepted: counter("rcpt", "accept"),
            expired: counter("dates", "warn"),
            refused: REFUSALS
                .map(|(check, verdict)| (check, verdict, counter(check.name(), verdict)))
                .into(),
        }
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        let verdict = if refusal.reply.is_transient() { "defer" } else { "reject" };
        let meant = |(check, name, _): &&(Check, &str, Counter)| {
            *check == refusal.check && *name == verdict
        };
        if let Some((_, _, counter)) = self.refused.iter().find(meant) {
            counter.increment(1);
        }
    }
}

impl ListenerMetrics {
    pub(crate) fn new(listener: &str) -> Self {
        describe_counter!(
            "gatepost_connections_total",
            "Client connections, by how they were greeted"
        );
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
        let messages = |result: &'static str| {
            zero(
                counter!("gatepost_messages_total", "listener" => listener.clone(), "result" => result),
            )
        };
        Self {
            allowed: connections("allowed"),
            overload: connections("overload"),
            challenged: connections("challenged"),
            unknown: connections("unknown"),
            denied: connections("denied"),
            expired: connections("expired"),
            hidden: connections("hidden"),
            limited: connections("limited"),
            proxy_headers: ProxyHeaders::new(&listener),
            verdicts: Verdicts::new(&listener),
            auth: AuthAttempts::new(&listener),
            lookup_duration: histogram!("gatepost_lookup_duration_seconds", "listener" => listener.clone()),
            accepted: messages("accepted"),
            deferred: messages("deferred"),
            refused: messages("refused"),
            aborted: messages("aborted"),
            octets: zero(counter!("gatepost_message_bytes_total", "listener" => listener.clone())),
        }
    }
}

impl ListenerMetrics {
    /// Connections that were refused by a check of policy.
    pub(crate) const fn refused_connection(&self, check: Check) -> &Counter {
        match check {
            Check::Action => &self.denied,
            Check::Dates => &self.expired,
            Check::HiddenClients => &self.hidden,
            Check::MaxConnections => &self.limited,
            _ => &self.unknown,
        }
    }
}

fn zero(counter: Counter) -> Counter {
    counter.increment(0);
    counter
}
