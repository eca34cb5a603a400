//! What do sessions cost that only stand there? Memory, and nothing else.
//!
//! Sessions are opened in steps, first without TLS, then with it, each on a gateway of its own. At each
//! step the gateway is left alone for a while, and then mail flows beside them. A round is one whole
//! way up; at its end every session must answer NOOP.

use std::time::Duration;

use tokio::time::sleep;

use super::table::{dots, mib};
use super::{
    Bench, Cost, Encryption, GatepostSetup, Gateway, Manner, count, load, middle, middle_ratio,
    seconds_between,
};
use crate::figures::{Axis, Mark, Plot, Section, Table};
use crate::rig::client::Door;
use crate::rig::fleet::Fleet;
use crate::rig::statistics::median;

const STEPS: &[usize] = &[0, 1_000, 5_000, 10_000];
const STEPS_QUICK: &[usize] = &[0, 100, 300];

/// After opening; what the gateway does then for a new session is not its idle cost.
const REST: Duration = Duration::from_secs(1);

/// KiB that a session may have: without TLS, and with it.
const GOALS_KIB: [f64; 2] = [4.9, 32.0];

const KINDS: [&str; 2] = ["without TLS", "with TLS"];

/// One step of one kind.
#[derive(Default)]
struct Step {
    sessions: usize,
    /// Octets, on the first way up: later ones find memory that is there already.
    memory: f64,
    /// Sessions a second.
    opened: Vec<f64>,
    /// Of one CPU, without mail.
    idle_percent: Vec<f64>,
    costs: Vec<Cost>,
    /// The fewest of all rounds; told for the last step only.
    standing: Option<usize>,
}

pub(super) async fn ask(bench: &mut Bench) -> anyhow::Result<Section> {
    let setup = GatepostSetup { encryption: Encryption::SecondListener, ..bench.setup() };
    let mut kinds = Vec::new();
    for kind in KINDS {
        let gateway = Gateway::start(&setup).await?;
        let tls = gateway.tls_door().filter(|_| kind == KINDS[1]);
        let door = tls.unwrap_or_else(|| gateway.plain_door());
        kinds.push(climb(bench, kind, &gateway, &door).await?);
        bench.end(gateway).await;
    }
    Ok(section(&kinds))
}

async fn climb(
    bench: &mut Bench,
    kind: &str,
    gateway: &Gateway,
    door: &Door,
) -> anyhow::Result<Vec<Step>> {
    bench.warm_up(gateway).await?;
    let sessions = bench.choose(STEPS, STEPS_QUICK).iter();
    let mut steps: Vec<_> =
        sessions.map(|&sessions| Step { sessions, ..Step::default() }).collect();
    for round in 0..bench.options.rounds {
        let mut fleet = Fleet::new(door.clone());
        let mut before = 0;
        for step in &mut steps {
            bench.tell(&format!("idle: round {}, {} sessions {kind}", round + 1, step.sessions));
            let took = fleet.grow_to(step.sessions).await?;
            if step.sessions > before {
                step.opened.push(count((step.sessions - before) as u64) / took.as_secs_f64());
            }
            before = step.sessions;
            rest_and_send(bench, gateway, step, round).await?;
        }
        let standing = fleet.still_standing().await?;
        if standing < before {
            bench.troubles.push(format!("{standing} of {before} sessions {kind} still stand"));
        }
        if let Some(last) = steps.last_mut() {
            last.standing = Some(last.standing.map_or(standing, |other| other.min(standing)));
        }
        fleet.leave().await;
    }
    Ok(steps)
}

async fn rest_and_send(
    bench: &mut Bench,
    gateway: &Gateway,
    step: &mut Step,
    round: usize,
) -> anyhow::Result<()> {
    sleep(REST).await;
    let before = gateway.usage()?;
    if round == 0 {
        step.memory = count(before.memory);
    }
    let window = bench.choose(Duration::from_secs(5), Duration::from_secs(1));
    sleep(window).await;
    let used = seconds_between(before, gateway.usage()?);
    step.idle_percent.push(used / window.as_secs_f64() * 100.0);
    let messages = bench.choose(20_000, 200);
    let load = load(gateway.plain, Manner::Reused, messages);
    step.costs.push(bench.cost(gateway, &load).await?);
    Ok(())
}

/// KiB of one session, beside a gateway that has none.
fn kib_each(steps: &[Step], step: &Step) -> f64 {
    (step.memory - steps[0].memory) / 1024.0 / count(step.sessions.max(1) as u64)
}

fn section(kinds: &[Vec<Step>]) -> Section {
    let cpu = |cost: &Cost| cost.cpu_per_message;
    let columns = [
        "sessions",
        "memory (MiB)",
        "KiB each",
        "opened/s",
        "CPU without mail (%)",
        "CPU per message beside them (µs)",
        "ratio",
        "p99 (ms)",
        "standing at the end",
    ];
    let tables = KINDS.iter().zip(kinds).map(|(kind, steps)| {
        let rows = steps.iter().map(|step| {
            let some = step.sessions > 0;
            let told = |text: String| if some { text } else { String::new() };
            vec![
                step.sessions.to_string(),
                mib(step.memory),
                told(format!("{:.1}", kib_each(steps, step))),
                told(format!("{:.0}", median(&step.opened))),
                format!("{:.2}", median(&step.idle_percent)),
                format!("{:.1}", middle(&step.costs, cpu)),
                format!("{:.3}", middle_ratio(&step.costs, &steps[0].costs, cpu)),
                format!("{:.2}", middle(&step.costs, |cost| cost.latency.p99)),
                step.standing.map_or_else(String::new, |standing| standing.to_string()),
            ]
        });
        Table::new(&format!("Sessions {kind}"), &columns, rows.collect())
    });
    let over = |quantity: &dyn Fn(&[Step], &Step) -> f64, from: usize| {
        let series = KINDS.iter().zip(kinds).map(|(kind, steps)| {
            let points = steps[from..].iter();
            dots(kind, points.map(|it| (count(it.sessions as u64), quantity(steps, it))).collect())
        });
        series.collect()
    };
    let x = || Axis::linear("idle sessions");
    let each = over(&|steps, step| kib_each(steps, step), 1);
    let memory = over(&|_, step| step.memory / (1024.0 * 1024.0), 0);
    let beside = over(&|_, step| middle(&step.costs, cpu), 0);
    let goals = GOALS_KIB.iter().zip(KINDS);
    let goals = goals.map(|(&goal, kind)| Mark::new(goal, &format!("goal {kind}"))).collect();
    Section {
        title: "Idle sessions".to_owned(),
        text: "Greeted, EHLO answered, and then silent. Memory is that of the process, without pages of its binary; sockets in the \
               kernel come on top, with any server."
            .to_owned(),
        tables: tables.collect(),
        plots: vec![
            Plot::new("Memory of the gateway", x(), Axis::linear("MiB"), memory),
            Plot::new("Memory of one session", x(), Axis::linear("KiB"), each).with_marks(goals),
            Plot::new("Cost of the mail beside them", x(), Axis::linear("CPU per message (µs)"), beside),
        ],
    }
}
