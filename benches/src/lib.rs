//! What the benches have in common: their settings, and the input they are fed.
//!
//! Each file of `benches/` asks one question and says which. Input is generated, not stored, and is
//! the same in every run: there is no clock and no random seed in it. Nothing here is measured.
#![forbid(unsafe_code)]

pub mod dialogue;
pub mod engine;
pub mod gateway;
pub mod instructions;
pub mod matchers;
pub mod message;
mod noise;
pub mod policy;

use std::{env, time::Duration};

use criterion::Criterion;

/// The settings of every bench, with those of the command line above them.
///
/// All files together take a few minutes with them. There are no plots: they take longer to draw
/// than the numbers to measure.
pub fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50)
        .without_plots()
        .configure_from_args()
}

/// Whether every bench only runs once, to see that it works (`cargo bench -- --test`). Criterion
/// does the same when cargo has not said `--bench`, and keeps the answer to itself.
pub fn is_smoke_run() -> bool {
    let given = |option: &str| env::args().any(|argument| argument == option);
    given("--test") || !given("--bench")
}

/// Whether a million entries are asked for too: compiling them takes seconds each time.
pub fn has_time_for_a_million() -> bool {
    !is_smoke_run() && env::var_os("GATEPOST_BENCH_MILLION").is_some()
}
