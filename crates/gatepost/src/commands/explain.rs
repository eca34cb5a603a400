//! `gatepost explain`: what would happen to a message, and why.
//!
//! Policy explains by itself. What is decided outside of it, by the session, is put in where the
//! session would decide it: the name in EHLO before the sender, the size after it (contract §3).

use std::fmt::Write;

use gatepost_inbound::SessionConfig;
use gatepost_policy::{
    check,
    explain::{self, Explanation, Outcome, Question, Step},
    generation::Generation,
    listener::ListenerId,
    ruleset::Ruleset,
    verdict::Verdict,
};

use super::print;
use crate::{
    cli::{ExplainArguments, OutputForm},
    config::{Config, units::ByteSize},
    errors::{Failure, tell_note},
    exit::Exit,
    policy,
};

/// Tells it, and returns the exit code of the verdict.
pub fn explain(arguments: &ExplainArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    let compiled = policy::load(&config.policy_file, &config.services())?;
    let question = Question {
        client: arguments.ip,
        listener: listener(arguments, &config, &compiled.ruleset)?,
        hostname: &config.hostname,
        sender: arguments.sender(),
        recipients: &arguments.recipients(),
    };
    let explanation = explain::explain(&compiled.ruleset, &question);
    let answer = Answer::new(&explanation, arguments, &config.session);
    match arguments.output {
        OutputForm::Json => print(&answer.json(&explanation)?)?,
        OutputForm::Table => print(&answer.table(compiled.ruleset.generation()))?,
    }
    Ok(Exit::from(&answer.verdict))
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
        let known = config.services().join(", ");
        let message = format!("--service: there is no listener {service:?}; known are {known}");
        Failure::new(Exit::Usage, message)
    })
}

/// The explanation of policy, and what the session adds.
struct Answer {
    steps: Vec<Step>,
    verdict: Verdict,
}

impl Answer {
    fn new(
        explanation: &Explanation,
        arguments: &ExplainArguments,
        session: &SessionConfig,
    ) -> Self {
        let mut answer = Self { steps: Vec::new(), verdict: explanation.verdict().clone() };
        for step in explanation.steps() {
            match step.name {
                "sender" => {
                    answer.helo(arguments.helo.as_deref());
                    answer.steps.push(step.clone());
                    answer.size(arguments.size, session.max_message_size);
                }
                "recipient" if answer.verdict != Verdict::Accept => {
                    answer.push("recipient", Outcome::Skipped, "not reached".to_owned());
                    break;
                }
                _ => answer.steps.push(step.clone()),
            }
        }
        answer
    }

    fn helo(&mut self, name: Option<&str>) {
        match name {
            Some(name) => {
                self.push("helo", Outcome::Passed, format!("{name}: any name is allowed"));
            }
            None => self.push("helo", Outcome::Skipped, "not given".to_owned()),
        }
    }

    fn size(&mut self, octets: Option<u64>, octets_max: u64) {
        let limit = ByteSize::new(octets_max);
        match octets {
            _ if self.verdict != Verdict::Accept => {
                self.push("size", Outcome::Skipped, "not reached".to_owned());
            }
            None => self.push("size", Outcome::Skipped, "not given".to_owned()),
            Some(octets) => {
                self.verdict = check::size(octets, octets_max);
                let (outcome, words) = match self.verdict {
                    Verdict::Accept => (Outcome::Passed, "octets; the limit is"),
                    _ => (Outcome::Refused, "octets are more than the limit of"),
                };
                self.push("size", outcome, format!("{octets} {words} {limit}"));
            }
        }
    }

    fn push(&mut self, name: &'static str, outcome: Outcome, detail: String) {
        self.steps.push(Step { name, outcome, detail });
    }

    /// One line a step, and the verdict as the last.
    fn table(&self, generation: Generation) -> String {
        let mut table = format!("{:<11}{generation}\n", "generation");
        for Step { name, outcome, detail } in &self.steps {
            let word = match outcome {
                Outcome::Found | Outcome::Passed => "",
                Outcome::Refused => "refused: ",
                Outcome::Skipped => "skipped: ",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(table, "{name:<11}{word}{detail}");
        }
        let _ = writeln!(table, "{:<11}{}", "verdict", self.verdict);
        table
    }

    /// What policy serialises, with our steps and our verdict in it.
    fn json(&self, explanation: &Explanation) -> serde_json::Result<String> {
        let mut object = serde_json::to_value(explanation)?;
        object["steps"] = serde_json::to_value(&self.steps)?;
        object["result"] = self.verdict.name().into();
        if let Some(reply) = self.verdict.reply() {
            object["reply"] = reply.to_string().into();
        }
        Ok(serde_json::to_string_pretty(&object)? + "\n")
    }
}
