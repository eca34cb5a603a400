//! Does a long policy make messages dearer? Not if one look-up finds the entry, however many there are.
//!
//! All gateways run at the same time, each with its policy, and take turns; those that wait use no CPU.

use super::table::{dots, mib};
use super::{Bench, Cost, GatepostSetup, Gateway, Manner, middle, middle_ratio};
use crate::figures::{Axis, Mark, Plot, Section, Table};

/// From a handful to more than any fleet has.
const ENTRIES: &[u32] = &[10, 1_000, 100_000, 1_000_000];
const ENTRIES_QUICK: &[u32] = &[10, 1_000, 20_000];

/// The longest policy costs at most this times what the shortest does.
const GOAL: f64 = 1.02;

const MANNERS: [(&str, Manner); 2] =
    [("sessions kept", Manner::Reused), ("a connection per message", Manner::PerSession)];

/// One gateway with its policy, and its rounds by manner.
struct Candidate {
    entries: u32,
    gateway: Gateway,
    memory: f64,
    costs: [Vec<Cost>; 2],
}

pub(super) async fn ask(bench: &mut Bench) -> anyhow::Result<Section> {
    let mut candidates = Vec::new();
    for &entries in bench.choose(ENTRIES, ENTRIES_QUICK) {
        candidates.push(start(bench, entries).await?);
    }
    for round in 0..bench.options.rounds {
        bench.tell(&format!("entries: round {} of {}", round + 1, bench.options.rounds));
        for (manner, (_, how)) in MANNERS.into_iter().enumerate() {
            let messages = bench.choose([30_000, 10_000], [300, 100])[manner];
            let gateways: Vec<_> = candidates.iter().map(|it| &it.gateway).collect();
            let costs = bench.round(&gateways, how, messages).await?;
            for (candidate, cost) in candidates.iter_mut().zip(costs) {
                candidate.costs[manner].push(cost);
            }
        }
    }
    let section = section(&candidates);
    for candidate in candidates {
        bench.end(candidate.gateway).await;
    }
    Ok(section)
}

async fn start(bench: &mut Bench, entries: u32) -> anyhow::Result<Candidate> {
    bench.tell(&format!("entries: a gateway with {entries}"));
    let name = format!("gatepost-{entries}");
    let gateway = Gateway::start(&GatepostSetup { name, entries, ..bench.setup() }).await?;
    bench.warm_up(&gateway).await?;
    let memory = super::count(gateway.usage()?.memory);
    Ok(Candidate { entries, gateway, memory, costs: Default::default() })
}

fn section(candidates: &[Candidate]) -> Section {
    let cpu = |cost: &Cost| cost.cpu_per_message;
    let rows = candidates.iter().map(|candidate| {
        let mut row = vec![
            candidate.entries.to_string(),
            format!("{:.0}", candidate.gateway.started_in.as_secs_f64() * 1000.0),
            mib(candidate.memory),
        ];
        for (costs, shortest) in candidate.costs.iter().zip(&candidates[0].costs) {
            row.push(format!("{:.1}", middle(costs, cpu)));
            row.push(format!("{:.3}", middle_ratio(costs, shortest, cpu)));
            row.push(format!("{:.0}", middle(costs, |cost| cost.rate)));
        }
        row
    });
    let columns = [
        "entries",
        "start (ms)",
        "memory (MiB)",
        "CPU per message, kept (µs)",
        "ratio",
        "messages/s",
        "a connection each (µs)",
        "ratio",
        "messages/s",
    ];
    Section {
        title: "Entries of the policy".to_owned(),
        text: format!(
            "The ratio is that to the shortest policy in the same round. Goal: the longest one within \
             {:.0} %. Memory is told right after the start, without pages of the program.",
            (GOAL - 1.0) * 100.0
        ),
        tables: vec![Table::new("", &columns, rows.collect())],
        plots: plots(candidates),
    }
}

fn plots(candidates: &[Candidate]) -> Vec<Plot> {
    let over = |quantity: &dyn Fn(&Candidate) -> f64| {
        candidates
            .iter()
            .map(|candidate| (f64::from(candidate.entries), quantity(candidate)))
            .collect()
    };
    let cpu = |cost: &Cost| cost.cpu_per_message;
    let by_manner = |quantity: &dyn Fn(&Candidate, usize) -> f64| {
        let series = MANNERS.iter().enumerate();
        let series =
            series.map(|(manner, &(name, _))| dots(name, over(&|it| quantity(it, manner))));
        series.collect()
    };
    let x = || Axis::logarithmic("entries");
    let costs = by_manner(&|it, manner| middle(&it.costs[manner], cpu));
    let ratios =
        by_manner(&|it, manner| middle_ratio(&it.costs[manner], &candidates[0].costs[manner], cpu));
    let started = dots("start", over(&|it| it.gateway.started_in.as_secs_f64()));
    let memory = dots("memory", over(&|it| it.memory / (1024.0 * 1024.0)));
    let goal = vec![Mark::new(GOAL, "goal")];
    vec![
        Plot::new("Cost of a message", x(), Axis::linear("CPU per message (µs)"), costs),
        Plot::new("Cost beside the shortest policy", x(), Axis::linear("ratio"), ratios)
            .with_marks(goal),
        Plot::new("From start to greeting", x(), Axis::linear("seconds"), vec![started]),
        Plot::new("Memory", x(), Axis::linear("MiB"), vec![memory]),
    ]
}
