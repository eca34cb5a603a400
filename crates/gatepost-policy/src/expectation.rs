//! Expectations: what a policy says of itself, and must do.
//!
//! An expectation is a question to [`explain`] with its answer; nothing is decided here. It is about
//! the policy, not about its clients: what they have used up of connections and rates does not
//! count. What it does not tell of a session is not looked at.

use std::{fmt, net::IpAddr};

use gatepost_smtp::path::{ForwardPath, ReversePathBuf};

use crate::{
    check::{MailFacts, SessionTls},
    compile::PlacedExpectation,
    date::{Date, Moment},
    document::{DocumentError, Places, Position},
    explain::{self, Explanation, Question},
    listener::ListenerId,
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
#[derive(Debug)]
pub(crate) struct Expectation {
    pub(crate) client: IpAddr,
    pub(crate) listener: ListenerId,
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
    pub(crate) fn unmet(
        &self,
        ruleset: &Ruleset,
        now: Moment,
    ) -> impl Iterator<Item = DocumentError> {
        self.placed.iter().filter_map(move |(position, expectation)| {
            let explanation = expectation.explain(ruleset, now);
            let difference = expectation.difference(ruleset, &explanation)?;
            let message = format_args!("{expectation}: {difference}");
            let error = DocumentError::without_position(&self.origin, "expect", message);
            Some(error.in_place(*position).with_details(told(&explanation).lines()))
        })
    }
}

impl Expectation {
    fn explain(&self, ruleset: &Ruleset, now: Moment) -> Explanation {
        let paths = self.recipients.iter().map(|path| ForwardPath::split_from(path.as_bytes()));
        let recipients: Vec<_> = paths.flatten().map(|(path, _)| path).collect();
        let unix_seconds = self.at.as_ref().map_or(now.unix_seconds, Date::unix_seconds);
        let facts = MailFacts {
            now: Moment { unix_seconds, ..now },
            generation: ruleset.generation(),
            tls: self.tls,
            // A session in plain text has none.
            certificate: (self.tls == Some(SessionTls::Plain)).then_some(&[]),
            helo: self.helo.as_deref().map(str::as_bytes),
            sender: self.sender.as_ref().map(ReversePathBuf::path),
            size: None,
        };
        let question = Question {
            client: self.client,
            listener: self.listener,
            facts,
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
