//! What a gateway costs as things grow: entries, idle sessions, messages, workers.
//!
//! Each [`Question`] is a module that sets up what it needs, measures in rounds that alternate between
//! the things compared, and answers with a section of figures; a median of rounds is what is told. The
//! gateway has its own CPU, the load and this process another one. Nothing is judged here but what
//! spoils a measurement: messages that were refused, sessions that did not last.

mod accept;
mod entries;
mod idle;
mod latency;
mod messages;
mod table;
mod workers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::figures::{Figures, Section};
use crate::process::{Usage, machine, now, stay_on};
use crate::rig::gatepost::{Encryption, GatepostSetup, Mode, Span};
use crate::rig::gateway::Gateway;
use crate::rig::load::{Load, Manner};
use crate::rig::sink::{ANY_PORT, SinkProcess};
use crate::rig::source::Percentiles;
use crate::rig::statistics::median;
use crate::rig::text;

/// Entries of a gateway where they are not the question.
const FEW_ENTRIES: u32 = 10;

/// Octets of a message.
const SIZE: u64 = 4096;

/// Sessions of a load.
const SESSIONS: u32 = 20;

/// After its answer to the client the gateway has a bit to do; its CPU time is read after that.
const SETTLE_TIME: Duration = Duration::from_millis(200);

/// Until all that was accepted has come out of a queue.
const DRAIN_TIME: Duration = Duration::from_mins(2);

/// One thing that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Connections a second: connect, greeting, QUIT.
    Accept,
    /// Cost of a message with policies of different lengths.
    Entries,
    /// Memory and CPU of sessions that stand, and of the mail beside them.
    Idle,
    /// Latency that the gateway adds to a direct connection.
    Latency,
    /// Cost of many messages.
    Messages,
    /// Cost of a message with one and with two workers.
    Workers,
}

/// How thorough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Figures to quote.
    Full,
    /// That it works at all; the figures mean little.
    Quick,
}

/// What is asked of which gateway.
#[derive(Clone, Debug)]
pub struct ScaleOptions {
    /// The binary.
    pub gatepost: PathBuf,
    /// Its mode of delivery.
    pub mode: Mode,
    /// In this order.
    pub questions: Vec<Question>,
    /// Rounds of each question.
    pub rounds: usize,
    /// How thorough.
    pub effort: Effort,
    /// The CPU of the gateway.
    pub gateway_cpu: usize,
    /// The CPU of the load, the sink and this process, and of a second worker.
    pub load_cpu: usize,
    /// The command line that repeats it.
    pub command: String,
}

/// The answers.
#[derive(Debug)]
pub struct ScaleOutcome {
    /// The document that `report` draws.
    pub figures: Figures,
    /// What spoils the figures.
    pub troubles: Vec<String>,
}

impl ScaleOutcome {
    /// The tables, for a terminal.
    pub fn text(&self) -> String {
        text::render(&self.figures)
    }
}

/// Asks all questions, one after the other. What is going on is told to `tell`, a line at a time.
pub async fn scale(options: ScaleOptions, tell: fn(&str)) -> anyhow::Result<ScaleOutcome> {
    ensure!(options.rounds >= 1, "a question needs a round");
    let began = now();
    rlimit::increase_nofile_limit(u64::MAX).context("cannot raise the limit of descriptors")?;
    stay_on(options.load_cpu)?;
    let sink = SinkProcess::start(ANY_PORT, &[], &[]).await?;
    let mut bench = Bench { sink, options, troubles: Vec::new(), tell };
    let mut sections = Vec::new();
    for question in bench.options.questions.clone() {
        sections.push(bench.ask(question).await?);
    }
    let Bench { options, troubles, .. } = bench;
    let title = format!("What Gatepost costs as things grow, mode {}", options.mode);
    let figures = Figures { title, command: options.command, began, machine: machine(), sections };
    Ok(ScaleOutcome { figures, troubles })
}

/// What all questions work with.
struct Bench {
    options: ScaleOptions,
    sink: SinkProcess,
    troubles: Vec<String>,
    tell: fn(&str),
}

/// What one load has cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Seconds of the gateway's CPU, in all.
    cpu_seconds: f64,
    /// Microseconds of the gateway's CPU.
    cpu_per_message: f64,
    /// Messages a second.
    rate: f64,
    latency: Percentiles,
}

impl Cost {
    /// Of two halves of one load.
    fn and(self, other: Self) -> Self {
        let mean = |quantity: fn(&Self) -> f64| f64::midpoint(quantity(&self), quantity(&other));
        Self {
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
            cpu_per_message: mean(|cost| cost.cpu_per_message),
            rate: mean(|cost| cost.rate),
            latency: Percentiles {
                p50: mean(|cost| cost.latency.p50),
                p99: mean(|cost| cost.latency.p99),
            },
        }
    }
}

impl Bench {
    async fn ask(&mut self, question: Question) -> anyhow::Result<Section> {
        match question {
            Question::Accept => accept::ask(self).await,
            Question::Entries => entries::ask(self).await,
            Question::Idle => idle::ask(self).await,
            Question::Latency => latency::ask(self).await,
            Question::Messages => messages::ask(self).await,
            Question::Workers => workers::ask(self).await,
        }
    }

    /// The full number, or the quick one.
    fn choose<T>(&self, full: T, quick: T) -> T {
        match self.options.effort {
            Effort::Full => full,
            Effort::Quick => quick,
        }
    }

    fn tell(&self, line: &str) {
        (self.tell)(line);
    }

    /// A gateway on its CPU, with few entries and without TLS.
    fn setup(&self) -> GatepostSetup {
        GatepostSetup {
            program: self.options.gatepost.clone(),
            name: "gatepost".to_owned(),
            mode: self.options.mode,
            entries: FEW_ENTRIES,
            upstream: self.sink.address,
            encryption: Encryption::None,
            span: Span::Hours,
            cpus: vec![self.options.gateway_cpu],
        }
    }

    /// Sends a load through a gateway and reads what that has cost it.
    async fn cost(&mut self, gateway: &Gateway, load: &Load) -> anyhow::Result<Cost> {
        let before = gateway.usage()?;
        let arrived = self.sink.taken().await?.messages;
        let report = load.run().await?;
        self.troubles.extend(report.trouble());
        let accepted = report.messages.accepted;
        let expected = arrived + accepted;
        let taken = self.sink.wait_until(|taken| taken.messages >= expected, DRAIN_TIME).await?;
        let missing = expected.saturating_sub(taken.messages);
        if missing > 0 {
            self.troubles.push(format!("{missing} messages have not arrived"));
        }
        tokio::time::sleep(SETTLE_TIME).await;
        let cpu_seconds = seconds_between(before, gateway.usage()?);
        Ok(Cost {
            cpu_seconds,
            cpu_per_message: cpu_seconds * 1e6 / count(accepted.max(1)),
            rate: report.messages_per_second,
            latency: report.latency(),
        })
    }

    /// A round of the same load through each of these gateways, forth and back, half of it each way: none
    /// of them is the first, and a machine that gets slower meanwhile does so for all of them alike.
    async fn round(
        &mut self,
        gateways: &[&Gateway],
        manner: Manner,
        messages: u64,
    ) -> anyhow::Result<Vec<Cost>> {
        let half = |gateway: &Gateway| load(gateway.plain, manner, messages.div_ceil(2));
        let mut costs = Vec::with_capacity(gateways.len());
        for gateway in gateways {
            costs.push(self.cost(gateway, &half(gateway)).await?);
        }
        for (gateway, forth) in gateways.iter().zip(&mut costs).rev() {
            *forth = forth.and(self.cost(gateway, &half(gateway)).await?);
        }
        Ok(costs)
    }

    /// Ends a gateway; that it does not end well spoils no figure, but is told.
    async fn end(&mut self, gateway: Gateway) {
        self.troubles.extend(gateway.stop().await.err().map(|error| format!("{error:#}")));
    }

    /// Buffers, pools and the allocator find their size.
    async fn warm_up(&mut self, gateway: &Gateway) -> anyhow::Result<()> {
        let messages = self.choose(2000, 200);
        for manner in [Manner::Reused, Manner::PerSession] {
            self.cost(gateway, &load(gateway.plain, manner, messages)).await?;
        }
        Ok(())
    }
}

/// Small messages, as fast as they are answered.
fn load(target: SocketAddr, manner: Manner, messages: u64) -> Load {
    Load { target, sessions: SESSIONS, messages, size: SIZE, manner, rate: None }
}

fn seconds_between(before: Usage, after: Usage) -> f64 {
    after.cpu.saturating_sub(before.cpu).as_secs_f64()
}

/// The median of one quantity.
fn middle(costs: &[Cost], quantity: fn(&Cost) -> f64) -> f64 {
    median(&costs.iter().map(quantity).collect::<Vec<_>>())
}

/// The median of the ratios of rounds: what changes from round to round changes both alike.
fn middle_ratio(costs: &[Cost], to: &[Cost], quantity: fn(&Cost) -> f64) -> f64 {
    let ratios = costs.iter().zip(to).map(|(cost, to)| quantity(cost) / quantity(to));
    // A load that cost nothing measurable has no ratio, and plots want finite values.
    median(&ratios.filter(|ratio| ratio.is_finite()).collect::<Vec<_>>())
}

/// Every other round goes backwards, so that none of the things compared is always the first.
fn order(round: usize, things: usize) -> Vec<usize> {
    if round.is_multiple_of(2) { (0..things).collect() } else { (0..things).rev().collect() }
}

#[expect(clippy::cast_precision_loss, reason = "counts of things that were measured")]
fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(cpu_per_message: f64) -> Cost {
        let latency = Percentiles::default();
        Cost { cpu_seconds: 0.0, cpu_per_message, rate: 0.0, latency }
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        // The machine was half as fast in the second round.
        let short = [cost(10.0), cost(20.0), cost(10.0)];
        let long = [cost(11.0), cost(22.0), cost(11.0)];
        let ratio = middle_ratio(&long, &short, |cost| cost.cpu_per_message);
        assert!((ratio - 1.1).abs() < 1e-9, "{ratio}");
        assert!((middle(&short, |cost| cost.cpu_per_message) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn two_halves_are_one_cost() {
        let half = |cpu_seconds, rate| Cost { cpu_seconds, rate, ..cost(cpu_seconds * 10.0) };
        let whole = half(1.0, 100.0).and(half(3.0, 300.0));
        let told = format!("{} {} {}", whole.cpu_seconds, whole.cpu_per_message, whole.rate);
        assert_eq!(told, "4 20 200");
    }

    #[test]
    fn rounds_go_forth_and_back() {
        assert_eq!((order(0, 3), order(1, 3)), (vec![0, 1, 2], vec![2, 1, 0]));
    }
}
