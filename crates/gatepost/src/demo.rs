//! `gatepost demo`: the whole product on loopback, in a minute.
//!
//! A real gateway between a real client and a real sink, all in this process. Each scene is a
//! conversation over a socket; what is shown is what was said, and what is promised is checked, so
//! that `demo --once` is a test of an installation as much as a show.

mod client;
mod stage;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use gatepost_loadtest::Received;
use gatepost_policy::ruleset::Ruleset;
use tokio::sync::mpsc;

use self::client::{Talk, converse};
use crate::config::Config;
use crate::exit::Exit;
use crate::gateway::Gateway;

const POLICY: &str = r#"
[[entry]]
id = "billing"
description = "the billing fleet of this demo"
networks = ["127.0.0.1"]
senders = ["billing.example", "*.billing.example"]
"#;

const LISTED: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// How long the sink may take to show what it was given.
const ARRIVAL: Duration = Duration::from_secs(5);

/// One conversation of the show.
struct Scene {
    title: &'static str,
    from: IpAddr,
    /// Groups of lines; each group is sent at once, as a pipelining client does.
    groups: &'static [&'static [&'static str]],
    /// The code of the reply that ends the story.
    promised: u16,
    /// Recipients that the upstream must have, if the message must arrive.
    delivered_to: usize,
}

impl Scene {
    /// The content of its message, as it goes over the wire.
    fn content(&self) -> Vec<u8> {
        let lines = self.groups.last().copied().unwrap_or_default();
        lines
            .split_last()
            .map_or(&[][..], |(_, content)| content)
            .iter()
            .flat_map(|line| [line.as_bytes(), b"\r\n"].concat())
            .collect()
    }
}

const SCENES: [Scene; 4] = [
    Scene {
        title: "An application of the fleet sends a message, command by command",
        from: LISTED,
        groups: &[
            &["EHLO invoices.billing.example"],
            &["MAIL FROM:<invoices@billing.example>"],
            &["RCPT TO:<customer@example.net>"],
            &["DATA"],
            &["From: invoices@billing.example", "Subject: Your invoice", "", "Thank you.", "."],
        ],
        promised: 250,
        delivered_to: 1,
    },
    Scene {
        title: "Another one pipelines: one group of commands, one group of replies",
        from: LISTED,
        groups: &[
            &["EHLO reports.billing.example"],
            &[
                "MAIL FROM:<reports@eu.billing.example>",
                "RCPT TO:<team@example.net>",
                "RCPT TO:<audit@example.org>",
                "DATA",
            ],
            &[
                "From: reports@eu.billing.example",
                "Subject: Numbers",
                "",
                "..dots pass unchanged",
                ".",
            ],
        ],
        promised: 250,
        delivered_to: 2,
    },
    Scene {
        title: "The fleet may not send as somebody else",
        from: LISTED,
        groups: &[&["EHLO invoices.billing.example"], &["MAIL FROM:<ceo@bank.example>"]],
        promised: 550,
        delivered_to: 0,
    },
    Scene {
        title: "An address that is not on the allow-list is refused, and told why",
        from: STRANGER,
        groups: &[],
        promised: 554,
        delivered_to: 0,
    },
];

/// Runs the show; `once` ends after it, otherwise the gateway stays until Ctrl-C.
pub fn demo(once: bool) -> anyhow::Result<Exit> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(show(once))
}

async fn show(once: bool) -> anyhow::Result<Exit> {
    let directory = tempfile::tempdir().context("a directory for the demo")?;
    let (deliver, mut arrivals) = mpsc::channel(16);
    let sink = stage::start_sink(deliver)?;
    let text = config_text(sink);
    let config = Config::from_text(&text, &directory.path().join("gatepost.toml"), [])
        .map_err(|errors| anyhow::anyhow!("the demo's own config: {errors:?}"))?;
    // The watch of the gateway reads what is in use.
    std::fs::write(directory.path().join("policy.toml"), POLICY)?;
    let compile = || Ruleset::compile(POLICY, "policy.toml", &config.site);
    let ruleset = compile()?.ruleset.with_revision(1);
    let started = compile()?.ruleset;
    let gateway = Gateway::start(config, started)?;
    let address = gateway.addresses()[0].1;
    stage::opening(address, sink, POLICY);
    let mut kept = true;
    for (number, scene) in (1..).zip(&SCENES) {
        let talk = converse(address, scene.from, scene.groups).await;
        stage::scene(number, scene, &talk, &ruleset);
        let outcome = judge(scene, talk, &mut arrivals).await;
        kept &= outcome.is_ok();
        stage::outcome(outcome.as_ref());
    }
    stage::closing(gateway.metrics_address(), kept);
    stage::invitation(address, gateway.metrics_address(), once);
    if !once {
        tokio::spawn(async move { while arrivals.recv().await.is_some() {} });
        tokio::signal::ctrl_c().await?;
    }
    gateway.drain().await;
    Ok(if kept { Exit::Ok } else { Exit::Failure })
}

/// Whether a scene went as promised, and what arrived.
async fn judge(
    scene: &Scene,
    talk: anyhow::Result<Talk>,
    arrivals: &mut mpsc::Receiver<Received>,
) -> anyhow::Result<Option<Received>> {
    let last = talk?.last_code();
    ensure!(last == scene.promised, "the reply should have been {}, not {last}", scene.promised);
    if scene.delivered_to == 0 {
        ensure!(arrivals.try_recv().is_err(), "the sink has a message that it should not have");
        return Ok(None);
    }
    let arrival = tokio::time::timeout(ARRIVAL, arrivals.recv()).await.ok().flatten();
    let received =
        arrival.context("the message was acknowledged, but the sink does not have it")?;
    ensure!(received.forward_paths.len() == scene.delivered_to, "not all recipients arrived");
    ensure!(received.content.ends_with(&scene.content()), "the content was changed on its way");
    Ok(Some(received))
}

fn config_text(sink: SocketAddr) -> String {
    format!(
        r#"
hostname = "relay.example"
state_dir = "state"
[[listener]]
name = "smtp"
bind = ["127.0.0.1:0"]
tls = "none"
[[upstream]]
name = "sink"
hosts = ["{sink}"]
tls = "none"
[policy]
file = "policy.toml"
[delivery]
mode = "sync"
[log]
mail = "off"
[metrics]
bind = "127.0.0.1:0"
"#
    )
}
