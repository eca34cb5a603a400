//! How the demo looks, and its sink.

use std::net::{Ipv4Addr, SocketAddr};

use gatepost_loadtest::{Received, Sink, SinkOptions};
use gatepost_policy::explain::{Question, explain};
use gatepost_policy::listener::ListenerId;
use gatepost_policy::ruleset::Ruleset;
use gatepost_smtp::path::ReversePath;
use owo_colors::OwoColorize;
use tokio::sync::mpsc;

use super::client::{Line, Talk};
use super::{LISTED, STRANGER, Scene};

/// Starts the sink that plays the upstream.
pub(super) fn start_sink(deliver: mpsc::Sender<Received>) -> std::io::Result<SocketAddr> {
    let options = SinkOptions { deliver: Some(deliver), ..SinkOptions::default() };
    let sink = Sink::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options)?;
    let address = sink.local_addr();
    tokio::spawn(sink.run(std::future::pending()));
    Ok(address)
}

/// Writes the show to standard output.
pub(super) struct Stage {
    scene: usize,
}

impl Stage {
    pub(super) const fn new() -> Self {
        Self { scene: 0 }
    }

    pub(super) fn opening(&mut self, gateway: SocketAddr, sink: SocketAddr, policy: &str) {
        anstream::println!(
            "{}",
            "Gatepost: an SMTP relay that knows a fleet by where it connects from".bold()
        );
        anstream::println!();
        anstream::println!("  {LISTED} (listed)   ─┐");
        anstream::println!("                         ├─►  Gatepost {gateway}  ─►  upstream {sink}");
        anstream::println!("  {STRANGER} (stranger) ─┘");
        anstream::println!();
        anstream::println!("The policy of this demo:");
        for line in policy.trim().lines() {
            anstream::println!("  {}", line.dimmed());
        }
    }

    pub(super) fn scene(&mut self, scene: &Scene, talk: &anyhow::Result<Talk>, ruleset: &Ruleset) {
        self.scene += 1;
        anstream::println!();
        anstream::println!("{} {}", format!("{}.", self.scene).bold(), scene.title.bold());
        let Ok(talk) = talk else { return };
        for line in &talk.lines {
            match line {
                Line::Client(text) => anstream::println!("   {} {text}", "app     ▸".cyan()),
                Line::Gateway(text) => {
                    anstream::println!("   {} {}", "gateway ◂".magenta(), coloured(text))
                }
            }
        }
        anstream::println!(
            "   {} {}",
            "policy   ".dimmed(),
            decision(scene, talk, ruleset).dimmed()
        );
        if scene.delivered_to > 0 {
            anstream::println!(
                "   {} {:.1?} from MAIL to the upstream's word",
                "latency  ".dimmed(),
                talk.took
            );
        }
    }

    pub(super) fn outcome(&mut self, outcome: Result<&Option<Received>, &anyhow::Error>) {
        match outcome {
            Ok(Some(received)) => {
                let content = String::from_utf8_lossy(&received.content);
                let trace = content.lines().next().unwrap_or_default();
                anstream::println!(
                    "   {} <{}> for {}, {} octets",
                    "upstream ◂".blue(),
                    received.reverse_path,
                    received.forward_paths.join(", "),
                    received.content.len()
                );
                anstream::println!("   {} {}", "         ".dimmed(), trace.dimmed());
                anstream::println!(
                    "   {}",
                    "✓ delivered, octet for octet, with one line in front".green()
                );
            }
            Ok(None) => {
                anstream::println!("   {}", "✓ refused, and the upstream never heard of it".green())
            }
            Err(error) => anstream::println!("   {} {error:#}", "✗ not as promised:".red().bold()),
        }
    }

    pub(super) fn closing(&mut self, gateway: SocketAddr, metrics: Option<SocketAddr>, kept: bool) {
        anstream::println!();
        if kept {
            anstream::println!("{}", "All went as promised.".green().bold());
        } else {
            anstream::println!("{}", "Not all went as promised.".red().bold());
        }
        let port = gateway.port();
        anstream::println!();
        anstream::println!("Try it by hand:");
        anstream::println!(
            "  swaks --server 127.0.0.1:{port} --from me@billing.example --to you@example.net"
        );
        anstream::println!(
            "  printf 'Subject: hi\\r\\n\\r\\nhello\\r\\n' | curl smtp://127.0.0.1:{port} --mail-from me@billing.example --mail-rcpt you@example.net -T -"
        );
        if let Some(metrics) = metrics {
            anstream::println!("  curl http://{metrics}/metrics");
        }
    }
}

/// What policy says to the scene, told by the code that decides.
fn decision(scene: &Scene, talk: &Talk, ruleset: &Ruleset) -> String {
    let sender = talk.lines.iter().find_map(|line| match line {
        Line::Client(text) => {
            ReversePath::split_from(text.strip_prefix("MAIL FROM:")?.as_bytes()).ok()
        }
        Line::Gateway(_) => None,
    });
    let question = Question {
        client: scene.from,
        listener: ListenerId::new(0),
        hostname: "relay.example",
        sender: sender.map(|(path, _)| path),
        recipients: &[],
    };
    let explanation = explain(ruleset, &question);
    match explanation.entry() {
        Some(entry) => {
            format!("{} matches entry {entry}: {}", scene.from, explanation.verdict().name())
        }
        None => format!("{} matches no entry: {}", scene.from, explanation.verdict().name()),
    }
}

fn coloured(reply: &str) -> String {
    match reply.as_bytes().first() {
        Some(b'2' | b'3') => reply.green().to_string(),
        Some(b'4') => reply.yellow().to_string(),
        _ => reply.red().to_string(),
    }
}
