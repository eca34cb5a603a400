//! How much later is a message answered through the gateway? At fixed rates, where latency counts from
//! the moment a message was due.

use super::table::dots;
use super::{Bench, Gateway, Load, Manner, count, load, order};
use crate::figures::{Axis, Plot, Section, Table};
use crate::rig::source::Percentiles;
use crate::rig::statistics::median;

/// Messages a second, all of them far from what a gateway can do at most.
const RATES: &[u32] = &[100, 500, 2_000];
const RATES_QUICK: &[u32] = &[100];

/// One rate: directly to the sink, and through the gateway.
struct Step {
    rate: u32,
    ways: [Vec<Percentiles>; 2],
}

pub(super) async fn ask(bench: &mut Bench) -> anyhow::Result<Section> {
    let gateway = Gateway::start(&bench.setup()).await?;
    bench.warm_up(&gateway).await?;
    let seconds = bench.choose(10, 1);
    let rates = bench.choose(RATES, RATES_QUICK).iter();
    let mut steps: Vec<_> = rates.map(|&rate| Step { rate, ways: Default::default() }).collect();
    let targets = [bench.sink.address, gateway.plain];
    for round in 0..bench.options.rounds {
        for step in &mut steps {
            bench.tell(&format!("latency: round {}, {} messages/s", round + 1, step.rate));
            for way in order(round, targets.len()) {
                let messages = u64::from(step.rate) * seconds;
                let load = load(targets[way], Manner::Reused, messages);
                let report = Load { rate: Some(step.rate), ..load }.run().await?;
                bench.troubles.extend(report.trouble());
                step.ways[way].push(report.latency());
            }
        }
    }
    bench.end(gateway).await;
    Ok(section(&steps))
}

/// Direct, through the gateway, and what that adds; microseconds.
fn microseconds(step: &Step, quantity: fn(&Percentiles) -> f64) -> [f64; 3] {
    let ways = [&step.ways[0], &step.ways[1]]
        .map(|way| median(&way.iter().map(quantity).collect::<Vec<_>>()) * 1000.0);
    [ways[0], ways[1], ways[1] - ways[0]]
}

fn section(steps: &[Step]) -> Section {
    let rows = steps.iter().map(|step| {
        let p50 = microseconds(step, |latency| latency.p50);
        let p99 = microseconds(step, |latency| latency.p99);
        let values = p50.into_iter().chain(p99).map(|value| format!("{value:.0}"));
        std::iter::once(step.rate.to_string()).chain(values).collect()
    });
    let columns = [
        "messages/s",
        "p50 direct (µs)",
        "through the gateway",
        "added",
        "p99 direct (µs)",
        "through the gateway",
        "added",
    ];
    let added = |name: &str, quantity: fn(&Percentiles) -> f64| {
        let points = steps.iter().map(|step| {
            let [_, _, added] = microseconds(step, quantity);
            (count(step.rate.into()), added)
        });
        dots(name, points.collect())
    };
    let series = vec![added("p50", |latency| latency.p50), added("p99", |latency| latency.p99)];
    let (x, y) = (Axis::linear("messages a second"), Axis::linear("added latency (µs)"));
    Section {
        title: "Latency".to_owned(),
        text: "From the moment a message was due to the reply after its final dot, sessions kept; \
               the sink answers at once."
            .to_owned(),
        tables: vec![Table::new("", &columns, rows.collect())],
        plots: vec![Plot::new("What the gateway adds", x, y, series)],
    }
}
