//! What the spool has kept, read while no gateway runs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use gatepost_spool::{Filter, LIST_MAX, OfflineSpool, QueueId, RecipientState};

use crate::gateway::Place;
use crate::letter::place_of;
use crate::options::Mode;

/// A recipient of a message that is in the spool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) id: QueueId,
    pub(crate) number: u64,
    pub(crate) place: usize,
    pub(crate) state: RecipientState,
}

/// Everybody for whom the spool has something; nobody if there is no spool.
pub(crate) fn read(directory: &Path) -> anyhow::Result<Vec<Kept>> {
    let Some(spool) = OfflineSpool::open(directory)? else { return Ok(Vec::new()) };
    let mut kept = Vec::new();
    let mut after = None;
    loop {
        let page = spool.list(&Filter::default(), after, LIST_MAX)?;
        for summary in &page.messages {
            let message = spool.show(summary.id)?.context("nobody removes anything")?;
            for recipient in &message.recipients {
                let path = String::from_utf8_lossy(&recipient.recipient.path);
                let (number, place) = place_of(&path)
                    .with_context(|| format!("{} has a recipient {path}", summary.id))?;
                kept.push(Kept { id: summary.id, number, place, state: recipient.state });
            }
            // What is kept is whole, or this fails.
            spool.write_body(summary.id, &mut std::io::sink())?.context("it has a body")?;
        }
        let Some(next) = page.next else { return Ok(kept) };
        after = Some(next);
    }
}

/// Whether `gatepost queue list` shows the oldest message of these, or none.
pub(crate) fn lists_the_same(place: &Place, kept: &[Kept]) -> anyhow::Result<()> {
    if place.mode == Mode::Sync {
        return Ok(());
    }
    let mut command = Command::new(&place.program);
    command.args(["queue", "list", "--output", "json", "--config"]).arg(place.config_path());
    let output = command.output()?;
    let (listed, told) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "`queue list` has ended with {}: {told}", output.status);
    let listed = str::from_utf8(listed)?;
    let Some(oldest) = kept.iter().map(|kept| kept.id).min() else { return Ok(()) };
    ensure!(listed.contains(&oldest.to_string()), "`queue list` does not show {oldest}");
    Ok(())
}
