//! Why a client may or may not send: the decision, told step by step.
//!
//! An explanation is made by calling the checks that decide, in their order; it never decides by
//! itself, and it uses nothing up. It ends where the session would end: after a refusal, what
//! would have come next is told as not reached. A check whose input is not given is told as
//! skipped, because a session would have made it.

mod detail;
mod login;
mod shown;

use std::{net::IpAddr, sync::Arc};

use gatepost_smtp::{
    path::{ForwardPath, Mailbox, ReversePath},
    reply::Reply,
};
use serde::Serialize;

pub use self::shown::{Outcome, Step};
use crate::{
    check::{self, Check, Greeting, MailFacts, RcptFacts, Refusal, Spend},
    entry::Entry,
    generation::Generation,
    listener::ListenerId,
    network::{Network, client_address},
    route::{Routes, Way},
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
    /// What is known at MAIL. The generation is that of the ruleset, and the login that of `username`,
    /// whatever is said here.
    pub facts: MailFacts<'a>,
    /// The name with which the client has authenticated, if it has.
    pub username: Option<&'a str>,
    /// The forward-paths, as far as they are known.
    pub recipients: &'a [ForwardPath<'a>],
    /// The addresses of the From field, as far as they are known.
    pub header_from: &'a [Mailbox<'a>],
}

/// The decision and the way to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    generation: Generation,
    /// The id of the entry, if the client has one.
    entry: Option<Box<str>>,
    /// The id of the credential, if the client has authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<Box<str>>,
    /// The network that decided.
    network: Option<Network>,
    /// Where the message goes, if a recipient was accepted.
    upstream: Option<Box<str>>,
    steps: Vec<Step>,
    #[serde(flatten)]
    verdict: Verdict,
}

/// Tells what would happen, and why. The verdict is the first refusal of anything that was asked.
pub fn explain(ruleset: &Ruleset, question: &Question<'_>) -> Explanation {
    tell(ruleset, question, Spend::Look)
}

/// Tells what would happen if no client had used anything up yet: what the policy says, whatever
/// has been counted since it is in use.
pub(crate) fn explain_afresh(ruleset: &Ruleset, question: &Question<'_>) -> Explanation {
    tell(ruleset, question, Spend::LookAfresh)
}

/// `look` says how counters are looked at, after so many others.
fn tell(ruleset: &Ruleset, question: &Question<'_>, look: fn(u32) -> Spend) -> Explanation {
    let mut explanation = Explanation {
        generation: ruleset.generation(),
        entry: None,
        credential: None,
        network: None,
        upstream: None,
        steps: Vec::new(),
        verdict: Verdict::Accept,
    };
    explanation.tell_client(question.client);
    explanation.tell_listener(ruleset, question.listener);
    if let Some((entry, login)) = explanation.tell_admission(ruleset, question) {
        let facts = MailFacts { generation: ruleset.generation(), login, ..question.facts };
        let beside = facts.beside(&entry);
        explanation.tell_connections(&entry, beside, look(0));
        explanation.tell_mail(&entry, &facts, look(0));
        explanation.tell_recipients(ruleset, (&entry, look), &facts, question.recipients);
        explanation.tell_header_from(&entry, beside, question.header_from);
        explanation.tell_duplicates(&entry, beside);
    }
    explanation
}

/// How a client is greeted.
enum Admitted {
    By(Arc<Entry>),
    No,
    ToAuthenticate,
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

    /// The id of the credential, if the client has authenticated.
    pub fn credential(&self) -> Option<&str> {
        self.credential.as_deref()
    }

    /// The network that decided.
    pub const fn network(&self) -> Option<Network> {
        self.network
    }

    /// The name of the upstream, if a recipient was accepted.
    pub fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref()
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
    fn tell_entry(&mut self, ruleset: &Ruleset, question: &Question<'_>) -> Admitted {
        let Question { client, listener, facts, .. } = *question;
        let (entry, refusal) = match check::greet(ruleset, listener, client, facts.now) {
            Greeting::Allowed(entry) => (Some(entry), None),
            Greeting::Refused(entry, refusal) => (entry, Some(refusal)),
            Greeting::Authenticate => {
                let detail = "none around the client; it has to authenticate";
                self.push("network", Outcome::Found, detail.to_owned());
                return Admitted::ToAuthenticate;
            }
        };
        if let Some(entry) = &entry {
            self.tell_networks(ruleset, question);
            self.entry = Some((**entry.id()).into());
            self.push("entry", Outcome::Found, detail::summary(entry));
        } else {
            let detail = if ruleset.site().is_proxy(listener, client) {
                "not looked for: a proxy in front of the listener is never its client"
            } else {
                "none around the client; it is refused with the greeting"
            };
            self.push("network", Outcome::Refused, detail.to_owned());
        }
        match (entry, refusal) {
            (Some(entry), None) => Admitted::By(entry),
            (entry, refusal) => {
                if let Some(refusal) = refusal {
                    if entry.is_some() {
                        self.push(refusal.check.name(), Outcome::Refused, words(&refusal.reply));
                    }
                    self.verdict = Verdict::of_refusal(refusal.reply);
                }
                Admitted::No
            }
        }
    }

    fn tell_networks(&mut self, ruleset: &Ruleset, question: &Question<'_>) {
        let around = ruleset.networks_around(question.listener, question.client);
        for (index, (network, owner)) in around.into_iter().enumerate() {
            if index == 0 {
                self.network = Some(network);
                let detail = format!("{network} is the longest match");
                self.push("network", Outcome::Passed, detail);
            } else {
                self.push("hidden", Outcome::Found, format!("{network} of entry {}", owner.id()));
            }
        }
    }

    fn tell_connections(&mut self, entry: &Entry, beside: Option<&Entry>, look: Spend) {
        for (of, entry) in terms_of(entry, beside) {
            let passed =
                || format!("{of}{}", detail::connections(entry, look.connections(entry.state())));
            let judged = check::look_at_connections(entry, look);
            self.judged(Check::MaxConnections, entry, judged, passed);
        }
    }

    fn tell_mail(&mut self, entry: &Entry, facts: &MailFacts<'_>, look: Spend) {
        for check in Check::AT_MAIL {
            if check == Check::Authentication && login::is_no_matter(entry, facts) {
                continue;
            }
            if self.verdict != Verdict::Accept {
                self.skip(check, "not reached");
            } else if !facts.knows(check) {
                self.skip(check, "not given");
            } else {
                for (of, entry) in terms_of(entry, facts.beside(entry)) {
                    let judged = check::judge_mail(check, entry, facts, look);
                    let passed = || format!("{of}{}", detail::mail(check, entry, facts));
                    self.judged(check, entry, judged, passed);
                }
            }
        }
    }

    /// Each recipient, one after the other: a session goes on after one that is refused.
    fn tell_recipients(
        &mut self,
        ruleset: &Ruleset,
        (entry, look): (&Entry, fn(u32) -> Spend),
        facts: &MailFacts<'_>,
        recipients: &[ForwardPath<'_>],
    ) {
        if self.verdict != Verdict::Accept {
            return self.skip(Check::Recipient, "not reached");
        }
        // Without a sender no route can be chosen, and no session gets here.
        let (Some(sender), false) = (facts.sender, recipients.is_empty()) else {
            return self.skip(Check::Recipient, "not given");
        };
        let routes = ruleset.routes();
        let (mut named, mut first_way) = (0, None);
        for recipient in recipients {
            let asked = RcptFacts {
                uptime: facts.now.uptime,
                generation: facts.generation,
                sender,
                recipient: *recipient,
                named,
                beside: facts.beside(entry),
                way: first_way,
            };
            let way = routes.way(entry, &sender, recipient);
            if self.tell_recipient(entry, (routes, way), &asked, look(named)) {
                named += 1;
                first_way = first_way.or(way);
                self.tell_way(ruleset, entry, (way, first_way), &sender);
            }
        }
    }

    /// Whether the recipient is accepted. Those named before it have each used one of the rate.
    fn tell_recipient(
        &mut self,
        entry: &Entry,
        (routes, way): (&Routes, Option<Way>),
        asked: &RcptFacts<'_>,
        look: Spend,
    ) -> bool {
        for check in Check::AT_RCPT {
            for (of, entry) in terms_of(entry, asked.beside) {
                let judged = check::judge_rcpt(check, entry, (routes, way), asked, look);
                let accepted = judged.is_ok();
                // What all recipients pass alike would only be repeated.
                if !accepted
                    || check == Check::Recipient
                    || (check == Check::Route && of.is_empty())
                {
                    self.judged(check, entry, judged, || {
                        format!("{of}{}", detail::rcpt(check, entry, (routes, way), asked))
                    });
                }
                if !accepted {
                    return false;
                }
            }
        }
        true
    }

    fn tell_way(
        &mut self,
        ruleset: &Ruleset,
        entry: &Entry,
        (way, first): (Option<Way>, Option<Way>),
        sender: &ReversePath<'_>,
    ) {
        let Some(way) = way else { return };
        let name = ruleset.site().upstream_name(way.upstream);
        self.upstream = self.upstream.take().or_else(|| Some((**name?).into()));
        let routes = ruleset.routes();
        let mut detail = detail::way(entry, (routes, way), name.map_or("", |name| name), sender);
        if first.is_some_and(|first| !routes.lead_together(way, first)) {
            detail.push_str(", kept and sent apart from the first");
        }
        self.push("upstream", Outcome::Found, detail);
    }

    fn tell_header_from(
        &mut self,
        entry: &Entry,
        beside: Option<&Entry>,
        mailboxes: &[Mailbox<'_>],
    ) {
        let check = Check::HeaderFrom;
        if self.verdict != Verdict::Accept {
            return self.skip(check, "not reached");
        }
        if mailboxes.is_empty() {
            return self.skip(check, "not given");
        }
        for mailbox in mailboxes {
            for (of, entry) in terms_of(entry, beside) {
                let judged = check::header_mailbox(entry, self.generation, mailbox);
                let passed = || format!("{of}{}", detail::header_from(entry, mailbox));
                self.judged(check, entry, judged, passed);
            }
        }
    }

    /// Whether the message has come before is seen in its data, which no question has. Most entries
    /// do not look, and nothing is told of them.
    fn tell_duplicates(&mut self, entry: &Entry, beside: Option<&Entry>) {
        if terms_of(entry, beside).any(|(_, entry)| entry.terms().duplicate_rate.is_some()) {
            let is_reached = self.verdict == Verdict::Accept;
            self.skip(Check::DuplicateRate, if is_reached { "not given" } else { "not reached" });
        }
    }

    fn judged(
        &mut self,
        check: Check,
        entry: &Entry,
        judged: Result<(), Refusal>,
        passed: impl FnOnce() -> String,
    ) {
        match judged {
            Ok(()) => self.push(check.name(), Outcome::Passed, passed()),
            Err(Refusal { check, reply }) => {
                self.push(check.name(), Outcome::Refused, words(&reply));
                if let Some(allowed) = detail::allowed(check, entry) {
                    self.push("allowed", Outcome::Found, allowed);
                }
                if self.verdict == Verdict::Accept {
                    self.verdict = Verdict::of_refusal(reply);
                }
            }
        }
    }

    fn skip(&mut self, check: Check, why: &str) {
        self.push(check.name(), Outcome::Skipped, why.to_owned());
    }

    fn push(&mut self, name: &'static str, outcome: Outcome, detail: String) {
        self.steps.push(Step { name, outcome, detail });
    }
}

/// Terms that hold together, and whose they are if that has to be said.
fn terms_of<'e>(
    entry: &'e Entry,
    beside: Option<&'e Entry>,
) -> impl Iterator<Item = (String, &'e Entry)> {
    let of_credential = beside.map(|terms| (format!("credential {}: ", terms.id()), terms));
    std::iter::once((String::new(), entry)).chain(of_credential)
}

/// What a reply says, without its code: a step and the verdict give the same reason.
fn words(reply: &Reply) -> String {
    String::from_utf8_lossy(reply.text()).into_owned()
}

#[cfg(test)]
mod tests;
