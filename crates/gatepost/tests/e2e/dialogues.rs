//! The protocol, chapter by chapter: see `dialogues/*.smtp`, and the testkit for their form.

use crate::harness::{Harness, Settings};
use gatepost_testkit::dialogue::{self, Dialogue};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dialogue_holds() {
    let chapters = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dialogues");
    dialogue::play(&dialogue::load(chapters), async |dialogue: &Dialogue, upstream| {
        let harness = Harness::with(upstream, &settings(dialogue));
        (harness.addr(), harness)
    })
    .await;
}

fn settings(dialogue: &Dialogue) -> Settings {
    let limit = |name: &str, default: &str| {
        let value = dialogue.setting(name).unwrap_or(default);
        format!("{name} = {value}\n")
    };
    let size = dialogue.setting("max_message_size").unwrap_or("1000000");
    Settings {
        tables: ["[limits]\n".to_owned()]
            .into_iter()
            .chain([format!("max_message_size = \"{size} B\"\n")])
            .chain([
                limit("max_recipients", "1000"),
                limit("errors_max", "20"),
                limit("received_max", "50"),
            ])
            .collect(),
        ..Settings::default()
    }
}
