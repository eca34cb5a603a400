//! One line on the terminal that is written over every second while something runs.
//!
//! Goes to standard error, and only if that is a terminal: nothing of it ends up in a file.

use std::future::Future;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use tokio::time::{self, Instant, MissedTickBehavior};

const INTERVAL: Duration = Duration::from_secs(1);

/// To the start of the line, and clear it.
const CLEAR: &str = "\r\x1b[K";

/// Waits for `work` and meanwhile shows what `describe` says.
pub(crate) async fn show_while<T>(
    work: impl Future<Output = T>,
    describe: impl Fn() -> String,
) -> T {
    if !io::stderr().is_terminal() {
        return work.await;
    }
    tokio::pin!(work);
    let mut ticks = time::interval_at(Instant::now() + INTERVAL, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            finished = &mut work => {
                eprint!("{CLEAR}");
                return finished;
            }
            _ = ticks.tick() => eprint!("{CLEAR}{}", describe()),
        }
    }
}
