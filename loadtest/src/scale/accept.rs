//! How many connections a second? Connect, greeting, QUIT, goodbye, and the next one.

use std::time::Instant;

use anyhow::ensure;
use tokio::task::JoinSet;

use super::{Bench, Encryption, GatepostSetup, Gateway, count, seconds_between};
use crate::figures::{Section, Table};
use crate::rig::client::{Client, Door};
use crate::rig::fleet::address;
use crate::rig::statistics::median;

/// Clients at the same time.
const CLIENTS: usize = 32;

const KINDS: [&str; 2] = ["without TLS", "with TLS"];

/// Rounds of one kind.
#[derive(Default)]
struct Rounds {
    /// Connections a second.
    rate: Vec<f64>,
    /// Microseconds of the gateway.
    cpu_each: Vec<f64>,
}

pub(super) async fn ask(bench: &mut Bench) -> anyhow::Result<Section> {
    let setup = GatepostSetup { encryption: Encryption::SecondListener, ..bench.setup() };
    let gateway = Gateway::start(&setup).await?;
    bench.warm_up(&gateway).await?;
    let doors = [Some(gateway.plain_door()), gateway.tls_door()];
    let mut kinds: [Rounds; 2] = Default::default();
    for round in 0..bench.options.rounds {
        bench.tell(&format!("accept: round {} of {}", round + 1, bench.options.rounds));
        for (kind, door) in doors.iter().flatten().enumerate() {
            let connections = bench.choose([20_000, 4_000], [300, 100])[kind];
            let (before, started) = (gateway.usage()?, Instant::now());
            come_and_go(door, connections).await?;
            let took = started.elapsed().as_secs_f64();
            let used = seconds_between(before, gateway.usage()?);
            kinds[kind].rate.push(count(connections as u64) / took);
            kinds[kind].cpu_each.push(used * 1e6 / count(connections as u64));
        }
    }
    bench.end(gateway).await;
    Ok(section(&kinds))
}

/// Some clients that share the connections.
async fn come_and_go(door: &Door, connections: usize) -> anyhow::Result<()> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let door = door.clone();
        clients.spawn(async move {
            for number in (client..connections).step_by(CLIENTS) {
                let mut client = Client::connect(&door, address(number)).await?;
                let code = client.say("QUIT").await?;
                ensure!(code == 221, "the answer to QUIT is {code}");
            }
            Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}

fn section(kinds: &[Rounds; 2]) -> Section {
    let rows = KINDS.iter().zip(kinds).map(|(kind, rounds)| {
        let (rate, cpu) = (median(&rounds.rate), median(&rounds.cpu_each));
        vec![(*kind).to_owned(), format!("{rate:.0}"), format!("{cpu:.1}")]
    });
    let columns = ["connections", "per second", "CPU of the gateway each (µs)"];
    Section {
        title: "Connections".to_owned(),
        text: format!(
            "{CLIENTS} clients that connect, wait for the greeting, say QUIT and hear goodbye, one \
             connection after the other; with TLS each has a full handshake."
        ),
        tables: vec![Table::new("", &columns, rows.collect())],
        plots: Vec::new(),
    }
}
