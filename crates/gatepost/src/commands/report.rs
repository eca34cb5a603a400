//! `gatepost entry report`: which entries are not used, too wide, hidden, said twice, or end soon.

use std::{collections::HashMap, fmt::Write as _};

use gatepost_admin::control::{Client, ControlError};
use gatepost_policy::printable::Printable;
use gatepost_registry::{
    item::Kind,
    store::Registry,
    usage::{
        UsageStore,
        report::{Facts, Report, Thresholds, report as look_through},
    },
};

use super::{print, running};
use crate::{
    cli::{ListArguments, OutputForm},
    config::Config,
    errors::{Failure, tell_note},
    exit::Exit,
    host::date,
    load::LoadError,
    policy::{self, usage_path},
};

/// Looks the allow-list through.
pub fn report(arguments: &ListArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    let ruleset = policy::load_unproven(&config.policy, &config.site)?.ruleset;
    save(&config)?;
    let now = policy::now().unix_seconds;
    let failed = |error| Failure::new(Exit::Failure, error);
    let usage = UsageStore::open_to_read(&usage_path(&config.state_dir)).map_err(failed)?;
    let (totals, counting_since) = match &usage {
        None => {
            tell_note("nothing was counted yet: what is not used is not known");
            (HashMap::new(), now)
        }
        Some(usage) => (usage.totals().map_err(failed)?, usage.since().map_err(failed)?),
    };
    let added = added(&config)?;
    let facts = Facts { ruleset: &ruleset, totals: &totals, counting_since, added: &added, now };
    let report = look_through(&facts, &Thresholds::default());
    match arguments.output {
        OutputForm::Json => print(&(serde_json::to_string_pretty(&report)? + "\n"))?,
        OutputForm::Table => print(&text(&report, counting_since))?,
    }
    Ok(Exit::Ok)
}

/// Has a gateway that runs write down what it has counted.
fn save(config: &Config) -> anyhow::Result<()> {
    running::block_on(async {
        match Client::connect(&config.state_dir).await {
            Ok(client) => Ok(client.save_usage().await.map_err(running::failure)?),
            Err(ControlError::NotRunning(_)) => Ok(()),
            Err(error) => Err(running::failure(error).into()),
        }
    })
}

fn text(report: &Report, counting_since: i64) -> String {
    let mut text = format!("counted since {}\n", date(counting_since));
    for finding in &report.findings {
        // A string takes any text.
        let _ = writeln!(text, "{}", Printable(&finding.sentence));
    }
    if report.findings.is_empty() {
        text.push_str("nothing to report\n");
    }
    text
}

/// When entries were added, as far as that is known: one of yesterday is not unused.
fn added(config: &Config) -> anyhow::Result<HashMap<String, i64>> {
    let Some(store) = config.policy.stored()? else { return Ok(HashMap::new()) };
    let added = store.added(Kind::Entry).map_err(LoadError::Store)?;
    Ok(added.into_iter().map(|(id, at)| (id, at.as_second())).collect())
}
