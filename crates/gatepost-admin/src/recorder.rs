//! The numbers, kept for Prometheus.
//!
//! There is no global recorder: two gateways in one process, as in tests, do not mix their numbers.
//! Handles that are made inside [`Recorder::with`] belong to that recorder for good, wherever they
//! are used later; one that is made outside counts nothing.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use metrics::{Unit, describe_gauge, gauge};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tokio::task::JoinHandle;

/// How often samples of histograms are moved into their buckets; until then each takes memory.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// For all that is named `*_seconds`: from an upstream on the same machine to `final_reply_timeout`.
const SECONDS_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    120.0, 300.0, 600.0,
];

/// A lookup takes tens of nanoseconds; a millisecond is a thread that was put to sleep.
const LOOKUP_BUCKETS: &[f64] =
    &[50e-9, 100e-9, 200e-9, 500e-9, 1e-6, 2e-6, 5e-6, 10e-6, 20e-6, 50e-6, 100e-6, 1e-3, 10e-3];

/// Keeps the numbers of one gateway. Clones keep the same.
#[derive(Clone)]
pub struct Recorder {
    recorder: Arc<PrometheusRecorder>,
    handle: MetricsHandle,
}

/// Shows the numbers of a [`Recorder`].
#[derive(Clone, Debug)]
pub struct MetricsHandle(PrometheusHandle);

impl Recorder {
    /// A recorder with two numbers: the version of the program, and when its process began.
    pub fn new(version: &str) -> Self {
        let recorder = builder().build_recorder();
        let handle = MetricsHandle(recorder.handle());
        let recorder = Self { recorder: Arc::new(recorder), handle };
        recorder.with(|| {
            describe_gauge!("gatepost_build_info", "The version of the program; always 1.");
            gauge!("gatepost_build_info", "version" => version.to_owned()).set(1.0);
            describe_gauge!(
                "process_start_time_seconds",
                Unit::Seconds,
                "When the process began, in seconds since 1970."
            );
            gauge!("process_start_time_seconds").set(now().as_secs_f64());
        });
        recorder
    }

    /// Runs a closure whose metrics handles belong to this recorder.
    ///
    /// That is true for the thread of the closure, while it runs: not for threads and tasks that
    /// it starts.
    pub fn with<T>(&self, closure: impl FnOnce() -> T) -> T {
        metrics::with_local_recorder(&*self.recorder, closure)
    }

    /// For the page.
    pub fn handle(&self) -> MetricsHandle {
        self.handle.clone()
    }

    /// Starts the task that keeps histograms small. It never ends by itself. Must be called inside
    /// the runtime.
    pub fn spawn_upkeep(&self) -> JoinHandle<()> {
        let MetricsHandle(handle) = self.handle();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP_INTERVAL).await;
                handle.run_upkeep();
            }
        })
    }
}

impl MetricsHandle {
    /// The text that Prometheus scrapes.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

fn builder() -> PrometheusBuilder {
    let lookup = Matcher::Full("gatepost_lookup_duration_seconds".to_owned());
    let seconds = Matcher::Suffix("_seconds".to_owned());
    // The only error is a list without buckets.
    PrometheusBuilder::new()
        .set_buckets_for_metric(lookup, LOOKUP_BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(seconds, SECONDS_BUCKETS))
        .expect("the lists above are not empty")
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use metrics::{counter, histogram};

    use super::*;

    #[test]
    fn two_recorders_do_not_mix() {
        let (one, two) = (Recorder::new("1"), Recorder::new("2"));
        let counter = one.with(|| counter!("gatepost_things_total"));
        counter.increment(3);
        assert!(one.handle().render().contains("gatepost_things_total 3\n"));
        assert!(!two.handle().render().contains("gatepost_things_total"));
        assert!(two.handle().render().contains("gatepost_build_info{version=\"2\"} 1\n"));
    }

    #[test]
    fn a_lookup_is_measured_in_nanoseconds_and_all_else_in_milliseconds() {
        let recorder = Recorder::new("1");
        recorder.with(|| {
            histogram!("gatepost_lookup_duration_seconds").record(70e-9);
            histogram!("gatepost_delivery_duration_seconds", "upstream" => "a").record(0.02);
        });
        let page = recorder.handle().render();
        for line in [
            "gatepost_lookup_duration_seconds_bucket{le=\"0.00000005\"} 0\n",
            "gatepost_lookup_duration_seconds_bucket{le=\"0.0000001\"} 1\n",
            "gatepost_delivery_duration_seconds_bucket{upstream=\"a\",le=\"0.01\"} 0\n",
            "gatepost_delivery_duration_seconds_bucket{upstream=\"a\",le=\"0.025\"} 1\n",
            "gatepost_delivery_duration_seconds_bucket{upstream=\"a\",le=\"600\"} 1\n",
            "# TYPE process_start_time_seconds gauge\n",
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
    }
}
