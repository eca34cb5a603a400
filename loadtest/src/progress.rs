//! The line that lives while a source runs: a bar, and how it goes.
//!
//! Goes to standard error, and only if that is a terminal: nothing of it ends up in a file.

use std::future::Future;
use std::time::Duration;

use gatepost_loadtest::{Progress, Snapshot};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{self, MissedTickBehavior};

/// As often as an eye sees it move.
const INTERVAL: Duration = Duration::from_millis(200);

/// The bar's unit: a run is drawn by thousandths, whatever ends it.
const WHOLE: u64 = 1000;

/// Waits for a source and meanwhile shows how it goes.
pub(crate) async fn show_while<T>(work: impl Future<Output = T>, progress: &Progress) -> T {
    let bar = ProgressBar::new(WHOLE);
    if bar.is_hidden() {
        return work.await;
    }
    // The template is constant and right.
    bar.set_style(ProgressStyle::with_template("{spinner} {elapsed} {bar:24} {wide_msg}").unwrap());
    tokio::pin!(work);
    let mut ticks = time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            finished = &mut work => {
                bar.finish_and_clear();
                return finished;
            }
            _ = ticks.tick() => {
                let snapshot = progress.snapshot();
                bar.set_message(describe(&snapshot));
                bar.set_position(done(&snapshot));
            }
        }
    }
}

/// Thousandths: of the idle connections while they are opened, then of whatever ends the run first.
fn done(snapshot: &Snapshot) -> u64 {
    let Some(elapsed) = snapshot.elapsed else {
        let (opened, asked) = snapshot.idle;
        return thousandths(opened.into(), asked.into());
    };
    let answered = snapshot.accepted + snapshot.refused + snapshot.failed;
    let messages = snapshot.messages.map_or(0, |messages| thousandths(answered, messages));
    let millis = |duration: Duration| duration.as_millis() as u64;
    let time = snapshot.duration.map_or(0, |whole| thousandths(millis(elapsed), millis(whole)));
    messages.max(time).min(WHOLE)
}

fn thousandths(part: u64, whole: u64) -> u64 {
    part.saturating_mul(WHOLE).checked_div(whole).unwrap_or(0)
}

fn describe(snapshot: &Snapshot) -> String {
    let (opened, asked) = snapshot.idle;
    if snapshot.elapsed.is_none() {
        return format!("{opened} of {asked} idle connections");
    }
    let Snapshot { accepted, refused, failed, last, .. } = snapshot;
    let rate = rate(last.accepted, last.seconds);
    let (p50, p99) = (milliseconds(last.p50_us), milliseconds(last.p99_us));
    let backlog = snapshot.backlog.map(|backlog| format!(", backlog {backlog}"));
    let idle = (asked > 0).then(|| format!(", {opened} idle"));
    // What changes most comes first: a narrow terminal cuts off the end.
    format!(
        "{rate}/s, p50 {p50}, p99 {p99}{}, {accepted} accepted, {refused} refused, {failed} failed{}",
        backlog.unwrap_or_default(),
        idle.unwrap_or_default(),
    )
}

#[expect(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "a rate that is looked at")]
fn rate(count: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (count as f64 / seconds) as u64 } else { 0 }
}

fn milliseconds(microseconds: u64) -> String {
    format!("{:.2} ms", Duration::from_micros(microseconds).as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use gatepost_loadtest::SecondPoint;

    use super::*;

    #[test]
    fn whatever_ends_the_run_first_moves_the_bar() {
        let opening = Snapshot {
            messages: Some(1000),
            duration: None,
            elapsed: None,
            accepted: 0,
            refused: 0,
            failed: 0,
            last: SecondPoint::default(),
            backlog: None,
            idle: (30, 40),
        };
        assert_eq!(
            (done(&opening), describe(&opening).as_str()),
            (750, "30 of 40 idle connections")
        );
        let elapsed = Some(Duration::from_secs(2));
        let sending = Snapshot { elapsed, accepted: 100, refused: 20, failed: 3, ..opening };
        assert_eq!(done(&sending), 123);
        let timed =
            Snapshot { duration: Some(Duration::from_secs(8)), backlog: Some(7), ..sending };
        assert_eq!(done(&timed), 250);
        let last = SecondPoint { seconds: 2.0, accepted: 100, p50_us: 1500, ..Default::default() };
        let line = describe(&Snapshot { last, ..timed });
        assert_eq!(
            line,
            "50/s, p50 1.50 ms, p99 0.00 ms, backlog 7, 100 accepted, 20 refused, 3 failed, 30 idle"
        );
    }
}
