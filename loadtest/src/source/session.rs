//! One session of the load: a message after the other, over connections that end when they should.
//!
//! The n-th message of each run has the same size and as many recipients, so that a run can be repeated.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::connection::Connection;
use super::message::number_field;
use super::phase::Laps;
use super::plan::Plan;
use super::tally::Trouble;
use super::transaction::Mail;

/// A session that fails this often without a success in between gives up: the server is not there,
/// and a million messages would only say so a million times.
pub(super) const FAILURES_IN_A_ROW_MAX: u32 = 10;

/// Numbers that follow each other give sequences that resemble each other; multiplied with this (2^64
/// divided by the golden ratio) they are far apart.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Sends messages until there are none.
pub(super) async fn run(plan: Arc<Plan>, index: u32) {
    let messages_max = plan.options.connection.messages_max();
    let mut open = None;
    let mut failures_in_a_row = 0;
    while failures_in_a_row < FAILURES_IN_A_ROW_MAX
        && let Some(mut ticket) = plan.next().await
    {
        let number = number_field(ticket.number);
        let [size, recipients] = chances(ticket.number);
        let message = plan.messages.pick(size);
        let mail =
            Mail { message, number: &number, recipients: plan.options.recipients.pick(recipients) };
        let outcome = send_message(&plan, &mut open, mail, &mut ticket.laps).await;
        ticket.laps.finish();
        plan.board.of(index).record(&outcome, &ticket.laps, message.octets());
        failures_in_a_row = match outcome {
            Err(trouble) if trouble.is_failure() => failures_in_a_row + 1,
            _ => 0,
        };
        if open.as_ref().is_some_and(|connection: &Connection| connection.sent >= messages_max) {
            close(open.take()).await;
        }
    }
    close(open).await;
}

/// Sends one message over the open connection, or over a new one. A connection that is of no use
/// any more is gone from `open` afterwards.
async fn send_message(
    plan: &Plan,
    open: &mut Option<Connection>,
    mail: Mail<'_>,
    laps: &mut Laps,
) -> Result<(), Trouble> {
    let mut connection = if let Some(connection) = open.take() {
        connection
    } else {
        let number = plan.tried.fetch_add(1, Ordering::Relaxed);
        let addresses = plan.options.source_addresses.as_ref();
        Connection::open(plan, addresses.map(|addresses| addresses.pick(number)), laps).await?
    };
    let outcome = connection.send(plan, mail, laps).await;
    if !outcome.as_ref().is_err_and(Trouble::ends_connection) {
        *open = Some(connection);
    }
    outcome
}

async fn close(connection: Option<Connection>) {
    if let Some(connection) = connection {
        connection.quit().await;
    }
}

/// Two numbers from 0 up to 1 that look random and depend on the number of the message alone.
fn chances(number: u64) -> [f64; 2] {
    let mut random = fastrand::Rng::with_seed(number.wrapping_mul(SPREAD));
    [random.f64(), random.f64()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_spread_evenly_and_know_nothing_of_each_other() {
        const COUNT: u32 = 100_000;
        let all: Vec<_> = (0..u64::from(COUNT)).map(chances).collect();
        let share = |wanted: fn(&[f64; 2]) -> bool| {
            let count = all.iter().filter(|chances| wanted(chances)).count();
            f64::from(u32::try_from(count).unwrap()) / f64::from(COUNT)
        };
        for (found, expected) in [
            (share(|[size, _]| *size < 0.1), 0.1),
            (share(|[size, _]| *size >= 0.99), 0.01),
            (share(|[_, recipients]| *recipients < 0.5), 0.5),
            (share(|[size, recipients]| *size < 0.5 && *recipients < 0.5), 0.25),
        ] {
            assert!((found - expected).abs() < 0.01, "{found} instead of {expected}");
        }
        let rises = all.windows(2).filter(|pair| pair[1][0] > pair[0][0]).count();
        assert!(rises.abs_diff(50_000) < 1000, "{rises}");
    }
}
