//! Expectations: what a policy says of itself, and must do.
//!
//! An expectation is a question to [`explain`] with its answer; nothing is decided here. It is about
//! the policy, not about its clients: what they have used up of connections and rates does not
//! count. What it does not tell of a session is not looked at; but the listener is always looked at,
//! and where none is named, all of them are.

mod edit;

use std::{fmt, net::IpAddr, sync::Arc};

use gatepost_smtp::path::{ForwardPath, ReversePathBuf};

pub(crate) use self::edit::prove_after;
use crate::{
    check::{MailFacts, SessionTls},
    compile::PlacedExpectation,
    date::{Date, Moment},
    document::{DocumentError, Places, Position},
    explain::{self, Explanation, Question},
    listener::{ListenerId, View},
    ruleset::Ruleset,
    site::UpstreamId,
    verdict::Verdict,
};

/// Lines of an explanation that are told of an expectation which is not met. Most have about
/// twenty; with many recipients there are as many as somebody likes.
const LINES_MAX: usize = 60;

/// All expectations of a policy, in their order.
#[derive(Debug)]
pub(crate) struct Expectations {
    /// The name of the policy in messages.
    origin: Box<str>,
    placed: Box<[(Position, Expectation)]>,
}

/// One `[[expect]]`, checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expectation {
    pub(crate) client: IpAddr,
    /// Where the client connects. `None`: see [`Expectation::listeners`].
    pub(crate) listener: Option<ListenerId>,
    pub(crate) tls: Option<SessionTls>,
    pub(crate) helo: Option<Box<str>>,
    pub(crate) sender: Option<ReversePathBuf>,
    /// Forward-paths in their brackets. The compiler has read them once.
    pub(crate) recipients: Box<[Box<str>]>,
    pub(crate) at: Option<Date>,
    pub(crate) answer: Answer,
    /// The id of the entry that must decide.
    pub(crate) entry: Option<Box<str>>,
    /// Where the message must go.
    pub(crate) upstream: Option<UpstreamId>,
}

/// The verdict that is expected, whatever its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accept,
    Defer,
    Reject,
}

/// An expectation that is not met, and what is instead.
pub(crate) struct Unmet<'e> {
    origin: &'e str,
    position: Position,
    pub(crate) expectation: &'e Expectation,
    broken: Broken,
    /// The name of the listener, if another could have been meant.
    listener: Option<&'e str>,
}

/// How an expectation is broken on a listener.
struct Broken {
    listener: ListenerId,
    explanation: Explanation,
    difference: String,
}

impl Expectations {
    /// Keeps them with their lines and columns, because the text is not kept.
    pub(crate) fn new(read: Vec<PlacedExpectation>, text: &str, origin: &str) -> Self {
        let mut lines = Places::of(text);
        let placed = read.into_iter().map(|it| (lines.next(it.at), it.expectation));
        Self { origin: origin.into(), placed: placed.collect() }
    }

    pub(crate) const fn len(&self) -> usize {
        self.placed.len()
    }

    /// Those that the ruleset does not meet, and what it does instead.
    pub(crate) fn unmet<'e>(
        &'e self,
        ruleset: &'e Ruleset,
        now: Moment,
    ) -> impl Iterator<Item = Unmet<'e>> {
        let all = distinct(ruleset.views());
        self.placed.iter().filter_map(move |(position, expectation)| {
            let broken = expectation.broken(ruleset, &all, now)?;
            let could_be_another = expectation.listener.is_none() && all.len() > 1;
            let name = ruleset.listener_name(broken.listener);
            let listener = name.filter(|_| could_be_another);
            Some(Unmet { origin: &self.origin, position: *position, expectation, broken, listener })
        })
    }
}

/// The listeners that see different entries: of those that see the same, the first. Listeners differ
/// in nothing else here, so the others need not be asked.
pub(crate) fn distinct(views: &[View]) -> Vec<ListenerId> {
    let is_new = |&index: &usize| {
        let before = &views[..index];
        !before.iter().any(|view| Arc::ptr_eq(&view.table, &views[index].table))
    };
    let distinct: Vec<_> = (0..views.len()).filter(is_new).map(ListenerId::new).collect();
    // Where there is no listener nobody is let in, as on one that does not exist.
    if distinct.is_empty() { vec![ListenerId::new(0)] } else { distinct }
}

impl Unmet<'_> {
    /// It as an error, explained.
    pub(crate) fn error(&self) -> DocumentError {
        let explained = told(&self.broken.explanation);
        self.finding("").with_details(explained.lines())
    }

    /// It in one line that ends with `end`.
    fn finding(&self, end: &str) -> DocumentError {
        let message = format_args!("{self}{end}");
        DocumentError::without_position(self.origin, "expect", message).in_place(self.position)
    }
}

/// `10.20.1.1 on listener smtp (all are asked unless service names one): reject was expected, but: accept`
impl fmt::Display for Unmet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.expectation)?;
        if let Some(name) = self.listener {
            write!(f, " on listener {name} (all are asked unless service names one)")?;
        }
        write!(f, ": {}", self.broken.difference)
    }
}

impl Expectation {
    /// The listeners on which it must hold, of `all` that differ. A client that must be refused must
    /// be so wherever it connects; one that must be accepted, wherever it is known.
    fn listeners(&self, ruleset: &Ruleset, all: &[ListenerId]) -> Vec<ListenerId> {
        if let Some(listener) = self.listener {
            return vec![listener];
        }
        let mut listeners = all.to_vec();
        let is_known = |listener: &ListenerId| ruleset.lookup(*listener, self.client).is_some();
        // Where it is known nowhere, all refuse it alike.
        if self.answer == Answer::Accept && listeners.iter().any(is_known) {
            listeners.retain(is_known);
        }
        listeners
    }

    /// How it is broken, on the first listener where it is.
    fn broken(&self, ruleset: &Ruleset, all: &[ListenerId], now: Moment) -> Option<Broken> {
        self.listeners(ruleset, all).into_iter().find_map(|listener| {
            let explanation = self.explain(ruleset, listener, now);
            let difference = self.difference(ruleset, &explanation)?;
            Some(Broken { listener, explanation, difference })
        })
    }

    fn explain(&self, ruleset: &Ruleset, listener: ListenerId, now: Moment) -> Explanation {
        let paths = self.recipients.iter().map(|path| ForwardPath::split_from(path.as_bytes()));
        let recipients: Vec<_> = paths.flatten().map(|(path, _)| path).collect();
        let unix_seconds = self.at.as_ref().map_or(now.unix_seconds, Date::unix_seconds);
        let facts = MailFacts {
            now: Moment { unix_seconds, ..now },
            generation: ruleset.generation(),
            tls: self.tls,
            // A session in plain text has none.
            certificate: (self.tls == Some(SessionTls::Plain)).then_some(&[]),
            // Whoever has a credential uses it where it has to.
            login: None,
            helo: self.helo.as_deref().map(str::as_bytes),
            sender: self.sender.as_ref().map(ReversePathBuf::path),
            size: None,
        };
        let question = Question {
            client: self.client,
            listener,
            facts,
            username: None,
            recipients: &recipients,
            header_from: &[],
        };
        explain::explain_afresh(ruleset, &question)
    }

    /// What is otherwise than expected; the first of it, because the rest follows from it.
    fn difference(&self, ruleset: &Ruleset, explanation: &Explanation) -> Option<String> {
        let verdict = explanation.verdict();
        if !self.answer.is(verdict) {
            return Some(format!("{} was expected, but: {verdict}", self.answer.name()));
        }
        if let Some(expected) = &self.entry
            && explanation.entry() != Some(expected)
        {
            let found = match explanation.entry() {
                Some(id) => format!("it belongs to entry {id}"),
                None => "it belongs to none".to_owned(),
            };
            return Some(format!("entry {expected} was expected, but {found}"));
        }
        let site = ruleset.site();
        let expected = site.upstream_name(self.upstream?)?;
        let found = match self.upstream(ruleset, explanation) {
            Ok(found) if found == self.upstream => return None,
            Ok(found) => {
                let name = found.and_then(|upstream| site.upstream_name(upstream));
                format!("it goes to {}", name.map_or("none", |name| name))
            }
            Err(why) => why,
        };
        Some(format!("upstream {expected} was expected, but {found}"))
    }

    /// Where the message goes. Without a recipient none was routed, and all must go there.
    fn upstream(
        &self,
        ruleset: &Ruleset,
        explanation: &Explanation,
    ) -> Result<Option<UpstreamId>, String> {
        if !self.recipients.is_empty() {
            return Ok(explanation.upstream().and_then(|name| ruleset.site().upstream(name)));
        }
        let Some(entry) = explanation.entry().and_then(|id| ruleset.entry(id)) else {
            return Ok(None);
        };
        let sender = self.sender.as_ref().map(ReversePathBuf::path);
        ruleset.routes().upstream_of_all(entry, sender.as_ref()).map_err(|route| {
            let missing = match sender {
                Some(_) => "rcpt",
                None if route.takes_all_recipients() => "from",
                None => "from and rcpt",
            };
            format!("only some of such messages take route {}; give {missing}", route.id())
        })
    }
}

/// Who is meant, as short as that can be told: `10.20.1.1 from <a@example.com> to <b@example.net>`.
impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.client)?;
        if let Some(sender) = &self.sender {
            write!(f, " from <{}>", String::from_utf8_lossy(sender.octets()))?;
        }
        if let [first, others @ ..] = &*self.recipients {
            write!(f, " to {first}")?;
            if !others.is_empty() {
                write!(f, " and {} more", others.len())?;
            }
        }
        self.at.as_ref().map_or(Ok(()), |at| write!(f, " at {at}"))
    }
}

impl Answer {
    const fn is(self, verdict: &Verdict) -> bool {
        matches!(
            (self, verdict),
            (Self::Accept, Verdict::Accept)
                | (Self::Defer, Verdict::Defer(_))
                | (Self::Reject, Verdict::Reject(_))
        )
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Defer => "defer",
            Self::Reject => "reject",
        }
    }
}

/// The explanation, without what is too much of it. The verdict was told before.
fn told(explanation: &Explanation) -> String {
    let whole = explanation.to_string();
    let Some((too_much, _)) = whole.match_indices('\n').nth(LINES_MAX - 1) else { return whole };
    let left_out = whole[too_much + 1..].lines().count();
    format!("{}\nand {left_out} more lines", &whole[..too_much])
}

#[cfg(test)]
mod tests;
