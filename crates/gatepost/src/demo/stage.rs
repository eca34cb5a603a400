//! How the demo looks, and its sink. Colours end where the terminal cannot show them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anstream::println;
use gatepost_loadtest::{Received, Sink, SinkOptions};
use gatepost_policy::check::MailFacts;
use gatepost_policy::date::Moment;
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

/// What is shown before the first scene.
pub(super) fn opening(gateway: SocketAddr, sink: SocketAddr, policy: &str) {
    println!("{}", "Gatepost: an SMTP relay that knows a fleet by where it connects from".bold());
    println!();
    println!("   {LISTED}, on the list  ──┐");
    println!("                             ├──►  Gatepost {gateway}  ──►  upstream {sink}");
    println!("   {STRANGER}, a stranger   ──┘");
    println!();
    println!("   The policy of this demo:");
    for line in policy.trim().lines() {
        println!("      {}", line.dimmed());
    }
}

/// Shows a conversation and what policy says to it.
pub(super) fn scene(number: usize, scene: &Scene, talk: &anyhow::Result<Talk>, ruleset: &Ruleset) {
    println!();
    println!("{} {}", format!("{number}.").bold(), scene.title.bold());
    let Ok(talk) = talk else { return };
    for line in &talk.lines {
        match line {
            Line::Client(text) => println!("   {} {text}", "app      ▸".cyan()),
            Line::Gateway(text) => println!("   {} {}", "gateway  ◂".magenta(), coloured(text)),
        }
    }
    println!("   {} {}", "policy    ".dimmed(), decision(scene, talk, ruleset));
    if scene.delivered_to > 0 {
        println!("   {} {:.1?} from MAIL to the upstream's word", "latency   ".dimmed(), talk.took);
    }
}

/// Shows what arrived, or what was broken.
pub(super) fn outcome(outcome: Result<&Option<Received>, &anyhow::Error>) {
    match outcome {
        Ok(Some(received)) => {
            let content = String::from_utf8_lossy(&received.content);
            let (trace, rest) = content.split_once("\r\n").unwrap_or_default();
            let recipients = received.forward_paths.join(">, <");
            println!(
                "   {} from <{}> to <{recipients}>",
                "upstream ▸".blue(),
                received.reverse_path
            );
            println!("   {} {}", "          ".dimmed(), trace.dimmed());
            println!("   {} {} octets as the app sent them", "          ".dimmed(), rest.len());
            println!("   {}", "✓ delivered, octet for octet, with one line in front".green());
        }
        Ok(None) => println!("   {}", "✓ refused, and the upstream never heard of it".green()),
        Err(error) => println!("   {} {error:#}", "✗ not as promised:".red().bold()),
    }
}

/// What is shown at the end.
pub(super) fn closing(metrics: Option<SocketAddr>, kept: bool) {
    println!();
    if kept {
        println!("{}", "All went as promised.".green().bold());
    } else {
        println!("{}", "Not all went as promised.".red().bold());
    }
    if let Some(metrics) = metrics {
        println!("Metrics: http://{metrics}/metrics   health: http://{metrics}/readyz");
    }
}

/// What can be tried by hand.
pub(super) fn invitation(gateway: SocketAddr, metrics: Option<SocketAddr>, once: bool) {
    let port = gateway.port();
    let until =
        if once { "without --once the gateway stays" } else { "the gateway stays until Ctrl-C" };
    println!();
    println!("{} ({until})", "Try it by hand:".bold());
    println!("   swaks --server 127.0.0.1:{port} --from me@billing.example --to you@example.net");
    println!("   swaks --server 127.0.0.1:{port} --local-interface 127.0.0.2 --to you@example.net");
    println!("   printf 'Subject: hi\\r\\n\\r\\nhello\\r\\n' | curl smtp://127.0.0.1:{port} \\");
    println!("        --mail-from me@billing.example --mail-rcpt you@example.net -T -");
    if let Some(metrics) = metrics {
        println!("   curl -s http://{metrics}/metrics | grep ^gatepost_");
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
        username: None,
        client: scene.from,
        listener: ListenerId::new(0),
        facts: MailFacts {
            login: None,
            now: Moment { unix_seconds: 0, uptime: Duration::ZERO },
            generation: ruleset.generation(),
            tls: None,
            certificate: None,
            helo: None,
            sender: sender.map(|(path, _)| path),
            size: None,
        },
        recipients: &[],
        header_from: &[],
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
