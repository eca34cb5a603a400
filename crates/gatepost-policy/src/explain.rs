//! Why a client may or may not send: the decision, told step by step.
//!
//! An explanation is made by calling the functions that decide, in their order; it never decides by
//! itself. It ends where the session would end: at the first refusal. A check whose input is not
//! given is told as skipped, because a session would have made it.

use std::{fmt, net::IpAddr, sync::Arc};

use gatepost_smtp::path::{ForwardPath, ReversePath};
use serde::Serialize;

use crate::{
    check::{self, Greeting},
    entry::Entry,
    generation::Generation,
    listener::ListenerId,
    network::{Network, client_address},
    printable::Printable,
    ruleset::Ruleset,
    verdict::Verdict,
};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The address of the client, as it was given.
    pub client: IpAddr,
    /// Where it connects.
    pub listener: ListenerId,
    /// Our own name, for the words of a refusal.
    pub hostname: &'a str,
    /// The reverse-path, if it is known.
    pub sender: Option<ReversePath<'a>>,
    /// The forward-paths, as far as they are known.
    pub recipients: &'a [ForwardPath<'a>],
}

/// The decision and the way to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    generation: Generation,
    /// The id of the entry, if the client has one.
    entry: Option<Box<str>>,
    /// The network that decided.
    network: Option<Network>,
    steps: Vec<Step>,
    #[serde(flatten)]
    verdict: Verdict,
}

/// One step of the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was looked at: `client`, `listener`, `network`, `hidden`, `entry`, `sender`, `recipient`.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen.
    pub detail: String,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A fact, not a check.
    Found,
    /// A check that accepts.
    Passed,
    /// A check that refuses; it gives the verdict.
    Refused,
    /// A check that was not made.
    Skipped,
}

/// Tells what would happen, and why.
pub fn explain(ruleset: &Ruleset, question: &Question<'_>) -> Explanation {
    let mut explanation = Explanation {
        generation: ruleset.generation(),
        entry: None,
        network: None,
        steps: Vec::new(),
        verdict: Verdict::Accept,
    };
    explanation.tell_client(question.client);
    explanation.tell_listener(ruleset, question.listener);
    if let Some(entry) = explanation.tell_entry(ruleset, question) {
        explanation.tell_sender(&entry, question.sender);
        explanation.tell_recipients(question.recipients);
    }
    explanation
}

impl Explanation {
    /// What would happen.
    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The id of the entry, if the client has one.
    pub fn entry(&self) -> Option<&str> {
        self.entry.as_deref()
    }

    /// The way to the verdict.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn tell_client(&mut self, given: IpAddr) {
        let client = client_address(given);
        let detail = if client == given {
            client.to_string()
        } else {
            format!("{given} is IPv4-mapped: {client}")
        };
        self.push("client", Outcome::Found, detail);
    }

    fn tell_listener(&mut self, ruleset: &Ruleset, listener: ListenerId) {
        let detail = match ruleset.listener_name(listener) {
            Some(name) => name.to_owned(),
            None => "there is no such listener; it sees no entry".to_owned(),
        };
        self.push("listener", Outcome::Found, detail);
    }

    /// The greeting, and the networks that led to it. `None` ends the way.
    fn tell_entry(&mut self, ruleset: &Ruleset, question: &Question<'_>) -> Option<Arc<Entry>> {
        let Question { client, listener, hostname, .. } = *question;
        let entry = match check::greet(ruleset, listener, client, hostname) {
            Greeting::Allowed(entry) => entry,
            Greeting::Refused(reply) => {
                let detail = "none around the client; it is refused with the greeting".to_owned();
                self.push("network", Outcome::Refused, detail);
                self.verdict = Verdict::Reject(reply);
                return None;
            }
        };
        for (index, (network, owner)) in
            ruleset.networks_around(listener, client).into_iter().enumerate()
        {
            if index == 0 {
                self.network = Some(network);
                let detail = format!("{network} is the longest match");
                self.push("network", Outcome::Passed, detail);
            } else {
                self.push("hidden", Outcome::Found, format!("{network} of entry {}", owner.id()));
            }
        }
        self.entry = Some((**entry.id()).into());
        self.push("entry", Outcome::Found, summary(&entry));
        Some(entry)
    }

    fn tell_sender(&mut self, entry: &Entry, path: Option<ReversePath<'_>>) {
        let Some(path) = path else {
            self.push("sender", Outcome::Skipped, "not given".to_owned());
            return;
        };
        let verdict = check::sender(entry, self.generation, &path);
        let shown = bracketed(path.as_bytes());
        if verdict == Verdict::Accept {
            let pattern = entry.senders().iter().find(|pattern| pattern.matches(&path));
            let pattern = pattern.map(ToString::to_string).unwrap_or_default();
            self.push("sender", Outcome::Passed, format!("{shown} matches {pattern}"));
        } else {
            let detail = format!("{shown} matches none of {}", list(entry.senders()));
            self.push("sender", Outcome::Refused, detail);
        }
        self.verdict = verdict;
    }

    fn tell_recipients(&mut self, recipients: &[ForwardPath<'_>]) {
        if self.verdict != Verdict::Accept {
            self.push("recipient", Outcome::Skipped, "not reached".to_owned());
        } else if recipients.is_empty() {
            self.push("recipient", Outcome::Skipped, "not given".to_owned());
        } else {
            for recipient in recipients {
                let shown = bracketed(recipient.as_bytes());
                let detail = format!("{shown}: any recipient is allowed");
                self.push("recipient", Outcome::Passed, detail);
            }
        }
    }

    fn push(&mut self, name: &'static str, outcome: Outcome, detail: String) {
        self.steps.push(Step { name, outcome, detail });
    }
}

/// The id, and what helps a human to recognise the entry.
fn summary(entry: &Entry) -> String {
    let description = entry.description().map(|text| format!(": {}", Printable(text)));
    let owner = entry.owner().map(|text| format!(" (owner {})", Printable(text)));
    [Some(entry.id().to_string()), description, owner].into_iter().flatten().collect()
}

/// A path as it is sent.
fn bracketed(octets: &[u8]) -> String {
    format!("<{}>", Printable(&String::from_utf8_lossy(octets)))
}

/// `[a, b]`, shortened after a few.
fn list(items: &[impl fmt::Display]) -> String {
    const SHOWN_MAX: usize = 10;
    let mut shown: Vec<_> = items.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if items.len() > SHOWN_MAX {
        shown.push(format!("and {} more", items.len() - SHOWN_MAX));
    }
    format!("[{}]", shown.join(", "))
}

/// One line a step, and the verdict as the last.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<11}{}", "generation", self.generation)?;
        for Step { name, outcome, detail } in &self.steps {
            let word = match outcome {
                Outcome::Found | Outcome::Passed => "",
                Outcome::Refused => "refused: ",
                Outcome::Skipped => "skipped: ",
            };
            writeln!(f, "{name:<11}{word}{detail}")?;
        }
        write!(f, "{:<11}{}", "verdict", self.verdict)
    }
}

#[cfg(test)]
mod tests;
