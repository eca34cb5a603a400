//! The protocol, chapter by chapter: see `dialogues/*.smtp`, and the testkit for their form.
//!
//! Of settings, `@max_message_size` and its kin are keys of `[limits]`; `@entry`, `@listener`,
//! `@upstream` and `@timeouts` are lines of these tables; `@tls starttls` gives the listener TLS.

use std::net::SocketAddr;

use crate::harness::{Harness, POLICY, Settings, config_text};
use gatepost_testkit::ThrowAwayCa;
use gatepost_testkit::dialogue::{self, Dialogue};
use tempfile::TempDir;

/// Who else is on the list, beside those of every test.
const OTHERS: &str = r#"
[[entry]]
id = "blocked"
networks = ["127.0.0.4"]
action = "deny"

[[entry]]
id = "past"
networks = ["127.0.0.5"]
senders = ["app.test"]
expires = 2020-01-01T00:00:00Z

[[entry]]
id = "deferred"
networks = ["127.0.0.6"]
senders = ["app.test"]
expires = 2020-01-01T00:00:00Z
expiry = "defer"

[[entry]]
id = "future"
networks = ["127.0.0.7"]
senders = ["app.test"]
not_before = 2999-01-01T00:00:00Z
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dialogue_holds() {
    let chapters = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dialogues");
    let dialogues = dialogue::load(chapters);
    // Most of their time they wait whether something else happens: four at once.
    let mut parts = dialogues.chunks(dialogues.len().div_ceil(4));
    let mut next = || dialogue::play(parts.next().unwrap_or_default(), gateway);
    tokio::join!(next(), next(), next(), next());
}

/// A gateway as the dialogue wants it, and what lives as long as it.
async fn gateway(dialogue: &Dialogue, upstream: SocketAddr) -> (SocketAddr, (Harness, TempDir)) {
    let (harness, certificate) = start(dialogue, upstream);
    (harness.addr(), (harness, certificate))
}

/// The same, with the directory of its certificate.
fn start(dialogue: &Dialogue, upstream: SocketAddr) -> (Harness, TempDir) {
    let files = tempfile::tempdir().expect("a directory");
    let text = config_text(upstream, &settings(dialogue));
    let text = match dialogue.setting("tls") {
        None => text,
        Some(mode) => text.replacen("tls = \"none\"", &tls(mode, &files), 1),
    };
    let fleet = "\"<>\"]\n";
    let policy = POLICY.replacen(fleet, &format!("{fleet}{}", lines(dialogue, "entry")), 1);
    (Harness::with_policy(&text, &format!("{policy}{OTHERS}")), files)
}

fn settings(dialogue: &Dialogue) -> Settings {
    let limit = |name: &str, default: &str| {
        let value = dialogue.setting(name).unwrap_or(default);
        format!("{name} = {value}\n")
    };
    let size = dialogue.setting("max_message_size").unwrap_or("1000000");
    Settings {
        listener: lines(dialogue, "listener"),
        upstream: lines(dialogue, "upstream"),
        tables: ["[limits]\n".to_owned()]
            .into_iter()
            .chain([format!("max_message_size = \"{size} B\"\n")])
            .chain([
                limit("max_recipients", "1000"),
                limit("errors_max", "20"),
                limit("received_max", "50"),
            ])
            .chain([format!("[timeouts]\n{}", lines(dialogue, "timeouts"))])
            .collect(),
        ..Settings::default()
    }
}

fn lines(dialogue: &Dialogue, table: &str) -> String {
    dialogue.settings(table).flat_map(|line| [line, "\n"]).collect()
}

/// Lines of a listener with a certificate that nobody looks at.
fn tls(mode: &str, files: &TempDir) -> String {
    let issued = ThrowAwayCa::new().issue(&["relay.test"]);
    let [certificate, key] =
        [("relay.pem", issued.certificate), ("relay.key", issued.key)].map(|(name, pem)| {
            let path = files.path().join(name);
            std::fs::write(&path, pem).expect("writes");
            path.display().to_string()
        });
    format!("tls = \"{mode}\"\ncertificate = \"{certificate}\"\nprivate_key = \"{key}\"")
}
