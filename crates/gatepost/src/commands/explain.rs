//! `gatepost explain`: what would happen to a message, and why. Policy tells it; here the question
//! is put and the answer printed.

use gatepost_policy::{
    check::MailFacts,
    date::Moment,
    explain::{self, Question},
    listener::ListenerId,
    ruleset::Ruleset,
};

use super::print;
use crate::{
    cli::{ExplainArguments, OutputForm},
    config::Config,
    errors::{Failure, tell_note},
    exit::Exit,
    policy,
};

/// Tells it, and returns the exit code of the verdict.
pub fn explain(arguments: &ExplainArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    let ruleset = policy::load_unproven(&config.policy, &config.site)?.ruleset;
    let certificate = arguments.certificate();
    let question = Question {
        client: arguments.ip,
        listener: listener(arguments, &config, &ruleset)?,
        facts: MailFacts {
            now: moment(arguments.at),
            generation: ruleset.generation(),
            tls: arguments.tls(),
            certificate: certificate.as_deref(),
            login: None,
            helo: arguments.helo.as_deref().map(str::as_bytes),
            sender: arguments.sender(),
            size: arguments.size,
        },
        username: arguments.auth.as_deref(),
        recipients: &arguments.recipients(),
        header_from: &arguments.header_from(),
    };
    let explanation = explain::explain(&ruleset, &question);
    let entry = explanation.entry().and_then(|id| ruleset.entry(id));
    let credential = explanation.credential().and_then(|id| ruleset.credential(id));
    let mut entries = entry.into_iter().chain(credential.map(|credential| credential.entry()));
    if entries.any(|entry| entry.terms().counts()) {
        tell_note(
            "read from the files: what a running gateway has counted for limits is not known here",
        );
    }
    match arguments.output {
        OutputForm::Json => print(&(serde_json::to_string_pretty(&explanation)? + "\n"))?,
        OutputForm::Table => print(&format!("{explanation}\n"))?,
    }
    Ok(Exit::from(explanation.verdict()))
}

/// The time that is asked about, or now. Nothing was sent before: every rate is unused.
fn moment(at: Option<i64>) -> Moment {
    let now = policy::now();
    Moment { unix_seconds: at.unwrap_or(now.unix_seconds), ..now }
}

fn listener(
    arguments: &ExplainArguments,
    config: &Config,
    ruleset: &Ruleset,
) -> Result<ListenerId, Failure> {
    let Some(service) = &arguments.service else {
        if let [first, _, ..] = config.listeners.as_slice() {
            let name = &first.config.name;
            tell_note(&format!("explained for listener {name}; --service names another one"));
        }
        return Ok(ListenerId::new(0));
    };
    ruleset.listener(service).ok_or_else(|| {
        let known = config.site.listeners.join(", ");
        let message = format!("--service: there is no listener {service:?}; known are {known}");
        Failure::new(Exit::Usage, message)
    })
}
