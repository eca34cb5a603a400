//! Does a second worker make messages dearer? A bit: caches are shared, and work is handed over.
//!
//! A gateway has as many workers as CPUs. The second one shares its CPU with the load, which says
//! nothing about the highest rate: CPU time per message is the figure here.

use super::{Bench, Cost, GatepostSetup, Gateway, Manner, middle, middle_ratio};
use crate::figures::{Axis, Mark, Plot, Section, Series, Style, Table};

/// A message with two workers costs at most this times what it does with one.
const GOAL: f64 = 1.1;

const MANNERS: [(&str, Manner); 2] =
    [("sessions kept", Manner::Reused), ("a connection per message", Manner::PerSession)];

pub(super) async fn ask(bench: &mut Bench) -> anyhow::Result<Section> {
    let (first, second) = (bench.options.gateway_cpu, bench.options.load_cpu);
    let mut gateways = Vec::new();
    for cpus in [vec![first], vec![first, second]] {
        let name = format!("gatepost-{}-workers", cpus.len());
        let gateway = Gateway::start(&GatepostSetup { name, cpus, ..bench.setup() }).await?;
        bench.warm_up(&gateway).await?;
        gateways.push(gateway);
    }
    let turns: Vec<_> = gateways.iter().collect();
    // By manner, then by workers.
    let mut costs: [[Vec<Cost>; 2]; 2] = Default::default();
    for round in 0..bench.options.rounds {
        bench.tell(&format!("workers: round {} of {}", round + 1, bench.options.rounds));
        for (manner, (_, how)) in MANNERS.into_iter().enumerate() {
            let messages = bench.choose([30_000, 10_000], [300, 100])[manner];
            let each = bench.round(&turns, how, messages).await?;
            for (costs, cost) in costs[manner].iter_mut().zip(each) {
                costs.push(cost);
            }
        }
    }
    for gateway in gateways {
        bench.end(gateway).await;
    }
    Ok(section(&costs))
}

fn section(costs: &[[Vec<Cost>; 2]; 2]) -> Section {
    let cpu = |cost: &Cost| cost.cpu_per_message;
    let rate = |cost: &Cost| cost.rate;
    let rows = MANNERS.iter().zip(costs).map(|((name, _), [one, two])| {
        vec![
            (*name).to_owned(),
            format!("{:.1}", middle(one, cpu)),
            format!("{:.1}", middle(two, cpu)),
            format!("{:.3}", middle_ratio(two, one, cpu)),
            format!("{:.0}", middle(one, rate)),
            format!("{:.0}", middle(two, rate)),
        ]
    });
    let columns = [
        "",
        "CPU per message, one worker (µs)",
        "two workers (µs)",
        "ratio",
        "messages/s, one",
        "two",
    ];
    let ratios: Vec<_> = costs.iter().map(|[one, two]| middle_ratio(two, one, cpu)).collect();
    let names = MANNERS.map(|(name, _)| name);
    let points = (0..).map(f64::from).zip(ratios).collect();
    let bars = vec![Series::new("two workers beside one", Style::Bars, points)];
    let names = names.map(str::to_owned);
    let (x, y) = (Axis::named("", names), Axis::linear("ratio of CPU per message"));
    Section {
        title: "Workers".to_owned(),
        text: format!(
            "The second worker has the CPU of the load, so the rates say little. Goal: a ratio of at \
             most {GOAL}."
        ),
        tables: vec![Table::new("", &columns, rows.collect())],
        plots: vec![
            Plot::new("What a second worker costs", x, y, bars)
                .with_marks(vec![Mark::new(GOAL, "goal")]),
        ],
    }
}
