//! Does cost grow with the number of messages, and with nothing else? CPU linearly, memory not at all.

use super::table::{dots, mib};
use super::{Bench, Cost, Gateway, Manner, count, load, middle, middle_ratio};
use crate::figures::{Axis, Plot, Section, Table};
use crate::rig::statistics::median;

const MESSAGES: &[u64] = &[1_000, 3_000, 10_000, 30_000, 100_000];
const MESSAGES_QUICK: &[u64] = &[100, 300, 1_000];

/// Ratios are told beside this step: shorter runs are mostly their beginning.
const BESIDE: usize = 2;

/// One number of messages.
#[derive(Default)]
struct Step {
    messages: u64,
    costs: Vec<Cost>,
    memory: Vec<f64>,
}

pub(super) async fn ask(bench: &mut Bench) -> anyhow::Result<Section> {
    let gateway = Gateway::start(&bench.setup()).await?;
    bench.warm_up(&gateway).await?;
    let messages = bench.choose(MESSAGES, MESSAGES_QUICK).iter();
    let mut steps: Vec<_> =
        messages.map(|&messages| Step { messages, ..Step::default() }).collect();
    for round in 0..bench.options.rounds {
        for step in &mut steps {
            bench.tell(&format!("messages: round {}, {}", round + 1, step.messages));
            let load = load(gateway.plain, Manner::Reused, step.messages);
            step.costs.push(bench.cost(&gateway, &load).await?);
            step.memory.push(count(gateway.usage()?.memory));
        }
    }
    bench.end(gateway).await;
    Ok(section(&steps))
}

fn section(steps: &[Step]) -> Section {
    let cpu = |cost: &Cost| cost.cpu_per_message;
    let rows = steps.iter().map(|step| {
        vec![
            step.messages.to_string(),
            format!("{:.3}", middle(&step.costs, |cost| cost.cpu_seconds)),
            format!("{:.1}", middle(&step.costs, cpu)),
            format!("{:.3}", middle_ratio(&step.costs, &steps[BESIDE].costs, cpu)),
            mib(median(&step.memory)),
        ]
    });
    let columns =
        ["messages", "CPU (s)", "CPU per message (µs)", "ratio", "memory afterwards (MiB)"];
    let over = |quantity: &dyn Fn(&Step) -> f64| {
        steps.iter().map(|step| (count(step.messages), quantity(step))).collect()
    };
    let seconds = dots("CPU", over(&|step| middle(&step.costs, |cost| cost.cpu_seconds)));
    let each = dots("CPU", over(&|step| middle(&step.costs, cpu)));
    let memory = dots("memory", over(&|step| median(&step.memory) / (1024.0 * 1024.0)));
    let x = || Axis::logarithmic("messages");
    Section {
        title: "Messages".to_owned(),
        text: format!(
            "Linear is a straight line in the first plot and a flat one in the others. The ratio is that \
             to {} messages in the same round.",
            steps[BESIDE].messages
        ),
        tables: vec![Table::new("", &columns, rows.collect())],
        plots: vec![
            Plot::new("CPU in all", x(), Axis::logarithmic("seconds"), vec![seconds]),
            Plot::new("CPU per message", x(), Axis::linear("µs"), vec![each]),
            Plot::new("Memory afterwards", x(), Axis::linear("MiB"), vec![memory]),
        ],
    }
}
