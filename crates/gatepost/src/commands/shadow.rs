//! `gatepost shadow report`: what the policy that is tried would have done.

use std::fmt::Write as _;

use gatepost_admin::control::Client;
use gatepost_policy::{
    printable::Printable,
    shadow::{FlipCount, Sample, ShadowReport},
};

use super::{print, running, table::Table};
use crate::{
    cli::{ListArguments, OutputForm},
    config::Config,
    errors::Failure,
    exit::Exit,
    host::date,
};

/// Reports on the candidate.
pub fn report(arguments: &ListArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    let report = running::block_on(async {
        let client = Client::connect(&config.state_dir).await.map_err(running::failure)?;
        Ok(client.shadow().await.map_err(running::failure)?)
    })?;
    let Some(report) = report else {
        let message = match &config.shadow {
            None => "no policy is tried; name one with shadow in [policy], and restart".to_owned(),
            Some(file) => format!(
                "{} is not tried: `gatepost check` tells what is wrong with it",
                file.display()
            ),
        };
        return Err(Failure::new(Exit::Failure, message).into());
    };
    match arguments.output {
        OutputForm::Json => print(&(serde_json::to_string_pretty(&report)? + "\n"))?,
        OutputForm::Table => print(&table(&report))?,
    }
    Ok(Exit::Ok)
}

fn table(report: &ShadowReport) -> String {
    let ShadowReport { candidate, since_unix_seconds, envelopes, same, dropped, flips } = report;
    let since = date(*since_unix_seconds);
    let mut text = format!(
        "candidate {candidate}, tried since {since}\n{envelopes} envelopes: {same} alike, {} not",
        envelopes - same
    );
    // A string takes any text.
    let _ = match dropped {
        0 => writeln!(text),
        dropped => writeln!(text, "; {dropped} more came too fast to be looked at"),
    };
    if flips.is_empty() {
        return text;
    }
    let mut table = Table::new(["COUNT", "ENTRY", "NOW", "THEN", "UPSTREAM"]);
    text.push('\n');
    text.push_str(&table.lines(&flips.iter().map(row).collect::<Vec<_>>()));
    for flip in flips {
        let _ = writeln!(text, "\n{}: {}, then {}", flip.entry, flip.from, flip.to);
        flip.samples.iter().for_each(|sample| describe(&mut text, sample));
    }
    text
}

fn row(flip: &FlipCount) -> [String; 5] {
    [
        flip.count.to_string(),
        flip.entry.clone(),
        flip.from.to_string(),
        flip.to.to_string(),
        flip.upstream.clone().unwrap_or_default(),
    ]
}

/// One envelope: who it was, what was said, and what would be.
fn describe(text: &mut String, sample: &Sample) {
    let said = |label: &str, value: &Option<String>| {
        value.as_ref().map(|value| format!(" {label} {}", Printable(value))).unwrap_or_default()
    };
    let recipients = match sample.recipients {
        0 | 1 => String::new(),
        more => format!(" and {} more", more - 1),
    };
    let _ = writeln!(
        text,
        "  {} {} at {}{}{}{}{recipients}",
        date(sample.at_unix_seconds),
        sample.client,
        sample.listener,
        said("helo", &sample.helo),
        said("from", &sample.sender),
        said("to", &sample.recipient),
    );
    let _ = writeln!(text, "    now:  {}", Printable(&sample.active));
    let _ = writeln!(text, "    then: {}", Printable(&sample.candidate));
}
