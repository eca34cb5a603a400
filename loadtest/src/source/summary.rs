//! The end of a run, for people ([`text`]), for programs (serde) and for a page ([`figures`]).
//!
//! Field names and units of the JSON form are what scripts read: add to them, do not change them.

mod figures;
mod text;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::idle::IdleOutcome;
use super::options::{Pace, SourceOptions};
use super::phase::Phase;
use super::plan::Plan;
use super::series::SecondPoint;
use super::tally::{Cause, Tally};

const OCTETS_PER_MIB: f64 = 1024.0 * 1024.0;

/// Points of the latency curve, evenly spread over its logarithmic axis, for each power of ten.
const CURVE_POINTS_PER_DECADE: u32 = 10;

/// The curve ends here, or where there is less than one message past a point.
const CURVE_DECADES: u32 = 5;

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The server.
    pub target: String,
    /// `closed`: a session waits for an answer before it sends the next message; or `open`: messages are
    /// due when the clock says so.
    #[serde(rename = "loop")]
    pub feedback: &'static str,
    /// Sessions at the same time.
    pub sessions: u32,
    /// Octets of messages, as they were asked for.
    pub sizes: String,
    /// Recipients of messages, as they were asked for.
    pub recipients: String,
    /// Connections opened by the sessions.
    pub connections: u64,
    /// Messages by outcome.
    pub messages: MessageCounts,
    /// From the start to the last answer.
    pub elapsed_seconds: f64,
    /// Accepted messages.
    pub messages_per_second: f64,
    /// Content of accepted messages, before dot-stuffing.
    pub mib_per_second: f64,
    /// What the clock asked for; `None` in a closed loop.
    pub open_loop: Option<OpenLoopSummary>,
    /// Connections that only stood; `None` if none were asked for.
    pub idle: Option<IdleSummary>,
    /// `None` if the sessions were plain.
    pub tls: Option<TlsSummary>,
    /// Of accepted messages: from the start of a message, which includes connecting if it needs a
    /// new connection, or in an open loop from the moment it was due, to the reply after its end.
    /// `None` if there are none.
    pub latency_milliseconds: Option<Latency>,
    /// Where the time of accepted messages went, in the order in which phases happen, those that happened.
    /// The last one, `message`, is the whole.
    pub phases: Vec<PhaseLatency>,
    /// Percentiles of the whole, closer together the further out.
    pub latency_curve: Vec<CurvePoint>,
    /// The course of the run.
    pub seconds: Vec<SecondPoint>,
    /// 4xx and 5xx replies.
    pub refusals: Vec<TroubleRow>,
    /// Everything else that went wrong.
    pub failures: Vec<TroubleRow>,
    /// Refusals and failures of kinds that found no room in the tables.
    pub unlisted: u64,
}

/// How an open loop was kept up with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OpenLoopSummary {
    /// What was asked for.
    pub rate_per_second: f64,
    /// `even` or `poisson`.
    pub arrivals: &'static str,
    /// Messages that became due.
    pub scheduled: u64,
    /// Those that were not sent: too many were waiting, or the run was over.
    pub not_sent: u64,
    /// The most that waited for a session at the same moment.
    pub backlog_max: u64,
    /// How late the last message was begun.
    pub behind_seconds: f64,
    /// How late the latest accepted message was begun.
    pub behind_max_seconds: f64,
}

/// What became of idle connections.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IdleSummary {
    /// Connections to hold.
    pub asked: u32,
    /// Opened, greeted, encrypted where asked for.
    pub opened: u32,
    /// How long that took.
    pub opening_seconds: f64,
    /// Opened connections, while they were opened.
    pub accepts_per_second: f64,
    /// Standing when the mail began.
    pub at_beginning: u32,
    /// Still standing when it was over.
    pub at_end: u32,
    /// Why one of those that are missing could not be opened.
    pub example: Option<String>,
}

/// TLS of sessions and idle connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TlsSummary {
    /// `implicit` or `starttls`.
    pub mode: &'static str,
    /// Handshakes that succeeded.
    pub handshakes: u64,
    /// Those of them that resumed a session.
    pub resumed: u64,
}

/// Latency of one phase, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PhaseLatency {
    /// `waiting`, `connect`, `tls`, `greeting`, `hello`, `mail`, `rcpt`, `data`, `content`, `message`.
    pub phase: &'static str,
    /// How often it happened.
    pub count: u64,
    /// The mean.
    pub mean_us: f64,
    /// The median.
    pub p50_us: f64,
    /// 90 of 100 were at least as quick.
    pub p90_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1000.
    #[serde(rename = "p99.9_us")]
    pub p99_9_us: f64,
    /// The slowest.
    pub max_us: f64,
}

/// One point of the latency curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// From 0 to 100.
    pub percentile: f64,
    /// So many of 100 messages were at least as quick.
    pub milliseconds: f64,
}

/// Messages by outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MessageCounts {
    /// To send.
    pub asked: u64,
    /// Every recipient and the content were accepted.
    pub accepted: u64,
    /// Some reply was a refusal.
    pub refused: u64,
    /// No answer, or none that makes sense.
    pub failed: u64,
    /// Not sent, or not answered when the run was stopped.
    pub unfinished: u64,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 90 of 100 were at least as quick.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    /// The slowest.
    pub max: f64,
}

/// One kind of refusal or failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TroubleRow {
    /// The command (or `connect`, `greeting`, `hello`, `content`) that it was the answer to.
    pub stage: String,
    /// The reply code, or what failed.
    pub cause: String,
    /// How many messages ended this way.
    pub count: u64,
    /// The text of the first one.
    pub example: String,
}

impl Summary {
    pub(super) fn new(plan: &Plan, start: Instant, now: Instant, idle: IdleOutcome) -> Self {
        let options = &plan.options;
        let tally = plan.board.sum();
        let (accepted, refused, failed) = (tally.accepted(), tally.refused(), tally.failed());
        let asked = plan.asked();
        let unfinished = asked.saturating_sub(accepted + refused + failed);
        let elapsed = tally.last_answer().unwrap_or(now).saturating_duration_since(start);
        let mut summary = Self {
            target: options.target.to_string(),
            feedback: if options.pace == Pace::Answers { "closed" } else { "open" },
            sessions: options.sessions,
            sizes: options.sizes.to_string(),
            recipients: options.recipients.to_string(),
            connections: plan.connected.load(Ordering::Relaxed),
            messages: MessageCounts { asked, accepted, refused, failed, unfinished },
            elapsed_seconds: elapsed.as_secs_f64(),
            messages_per_second: per_second(accepted, elapsed),
            mib_per_second: per_second(tally.octets(), elapsed) / OCTETS_PER_MIB,
            open_loop: OpenLoopSummary::new(plan, &tally),
            idle: (idle.asked > 0).then(|| IdleSummary::new(idle)),
            tls: TlsSummary::new(options, plan),
            latency_milliseconds: (accepted > 0).then(|| Latency::new(tally.phase(Phase::Message))),
            phases: phases(&tally),
            latency_curve: curve(tally.phase(Phase::Message)),
            seconds: Vec::new(),
            refusals: rows(&tally, |cause| matches!(cause, Cause::Refused(_))),
            failures: rows(&tally, |cause| !matches!(cause, Cause::Refused(_))),
            unlisted: tally.unlisted(),
        };
        let series = plan.finish(tally.into_window(), now.saturating_duration_since(start));
        summary.seconds = series.points().to_vec();
        summary
    }

    /// True if nothing was refused, lost or left over, and no idle connection has fallen.
    pub fn all_accepted(&self) -> bool {
        self.messages.accepted == self.messages.asked
            && self.idle.as_ref().is_none_or(|idle| idle.at_end == idle.asked)
    }
}

impl OpenLoopSummary {
    fn new(plan: &Plan, tally: &Tally) -> Option<Self> {
        let Pace::Clock { rate, arrivals, .. } = plan.options.pace else { return None };
        let backlog = plan.backlog()?;
        Some(Self {
            rate_per_second: rate.messages_per_second(),
            arrivals: arrivals.name(),
            scheduled: backlog.scheduled,
            // What still waits now never will be.
            not_sent: backlog.not_sent + backlog.waiting,
            backlog_max: backlog.waiting_max,
            behind_seconds: backlog.behind.as_secs_f64(),
            behind_max_seconds: milliseconds(tally.phase(Phase::Waiting).max()) / 1000.0,
        })
    }
}

impl IdleSummary {
    fn new(idle: IdleOutcome) -> Self {
        Self {
            asked: idle.asked,
            opened: idle.opened,
            opening_seconds: idle.opening.as_secs_f64(),
            accepts_per_second: per_second(idle.opened.into(), idle.opening),
            at_beginning: idle.at_beginning,
            at_end: idle.at_end,
            example: idle.trouble.map(|trouble| trouble.to_string()),
        }
    }
}

impl TlsSummary {
    fn new(options: &SourceOptions, plan: &Plan) -> Option<Self> {
        Some(Self {
            mode: options.security.name()?,
            handshakes: plan.handshakes.load(Ordering::Relaxed),
            resumed: plan.resumed.load(Ordering::Relaxed),
        })
    }
}

impl Latency {
    fn new(nanoseconds: &Histogram<u64>) -> Self {
        let at = |quantile| milliseconds(nanoseconds.value_at_quantile(quantile));
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: milliseconds(nanoseconds.max()),
        }
    }
}

fn phases(tally: &Tally) -> Vec<PhaseLatency> {
    let happened = Phase::ALL.iter().map(|&phase| (phase, tally.phase(phase)));
    happened
        .filter(|(_, nanoseconds)| !nanoseconds.is_empty())
        .map(|(phase, nanoseconds)| {
            let at = |quantile| microseconds(nanoseconds.value_at_quantile(quantile));
            PhaseLatency {
                phase: phase.name(),
                count: nanoseconds.len(),
                // Three digits, as exact as the histogram is.
                mean_us: nanoseconds.mean().round() / 1000.0,
                p50_us: at(0.5),
                p90_us: at(0.9),
                p99_us: at(0.99),
                p99_9_us: at(0.999),
                max_us: microseconds(nanoseconds.max()),
            }
        })
        .collect()
}

/// From the median on, evenly on an axis of 1 / (1 - quantile) by powers of ten, as far as there are
/// messages.
#[expect(
    clippy::cast_precision_loss,
    reason = "a count of messages is compared with a power of ten"
)]
fn curve(nanoseconds: &Histogram<u64>) -> Vec<CurvePoint> {
    let count = nanoseconds.len() as f64;
    let steps = 0..=CURVE_POINTS_PER_DECADE * CURVE_DECADES;
    steps
        .map(|step| 2.0 * 10f64.powf(f64::from(step) / f64::from(CURVE_POINTS_PER_DECADE)))
        .take_while(|&one_of| one_of <= count)
        .map(|one_of| {
            let quantile = 1.0 - 1.0 / one_of;
            let milliseconds = milliseconds(nanoseconds.value_at_quantile(quantile));
            CurvePoint { percentile: 100.0 * quantile, milliseconds }
        })
        .collect()
}

fn rows(tally: &Tally, wanted: fn(Cause) -> bool) -> Vec<TroubleRow> {
    tally
        .rows()
        .filter(|&(_, cause, _)| wanted(cause))
        .map(|(stage, cause, row)| TroubleRow {
            stage: stage.to_string(),
            cause: cause.to_string(),
            count: row.count,
            example: row.example.clone(),
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "2^53 nanoseconds are a hundred days")]
fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1_000_000.0
}

#[expect(clippy::cast_precision_loss, reason = "2^53 nanoseconds are a hundred days")]
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a rate is read to a few digits")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { count as f64 / elapsed.as_secs_f64() }
}
