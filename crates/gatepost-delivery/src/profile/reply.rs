//! What one kind of reply means: a line of a profile.

use std::fmt;
use std::time::Duration;

use gatepost_smtp::reply::{EnhancedStatus, Reply};
use serde::Deserialize;

/// Octets of a reply that are looked at: what providers are known by stands in the first lines.
const TEXT_OCTETS_MAX: usize = 2048;

/// How far a fault reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// This sender, recipient or message.
    Envelope,
    /// This connection; another may do.
    Connection,
    /// Everything that goes to this upstream. Only what no client can provoke for the others.
    Upstream,
}

/// Which command a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The greeting, EHLO, STARTTLS, AUTH.
    Opening,
    /// MAIL.
    Mail,
    /// RCPT.
    Recipient,
    /// DATA, and the end of data.
    Data,
}

/// What a provider means by a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// Our set-up, or what it has on record for us, is at fault: somebody has to mend it.
    ConfigurationFault,
    /// A limit of hours or days is used up.
    Quota,
    /// This envelope will never be taken.
    Refused,
    /// Not now, for no fault of anybody.
    Retry,
    /// It wants less at a time.
    Throttled,
}

/// A rule: what a reply looks like, and what it means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplyRule {
    /// Unique in its profile; in the log.
    pub name: Box<str>,
    /// Where it is said; none: anywhere.
    #[serde(default)]
    pub stage: Vec<Stage>,
    /// The reply codes with which it is said.
    pub codes: Vec<u16>,
    /// The enhanced status code that has to be there.
    pub status: Option<StatusPattern>,
    /// Of these one has to be in the text, in any case. None: any text will do.
    #[serde(default)]
    pub text: Vec<Box<str>>,
    /// What it means.
    pub means: Means,
    /// How far that reaches.
    pub scope: Scope,
    /// How long nothing should be sent after it.
    #[serde(default, with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional")]
    pub pause: Option<Duration>,
    /// The code and status that the client hears in the place of the provider's, before its text.
    pub answer: Option<Answer>,
    /// What to change, in a sentence or two.
    #[serde(default)]
    pub say: Box<str>,
    /// Who says that it means this.
    #[serde(default)]
    pub source: Box<str>,
    /// The reply as it was seen, in wire form: a test asserts that this rule is the one for it.
    #[serde(default)]
    pub example: Box<str>,
}

/// An enhanced status code, or all of a subject: `5.7.64`, `4.7.*`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct StatusPattern(Box<str>);

/// A code with its enhanced status code: `550 5.7.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Answer {
    /// The reply code, 400 to 599.
    pub code: u16,
    /// The enhanced status code, of the same class.
    pub status: (u8, u16, u16),
}

impl ReplyRule {
    /// Whether a reply that was given at a stage is one of those.
    pub fn fits(&self, stage: Stage, reply: &Reply) -> bool {
        let status_fits = || match &self.status {
            Some(pattern) => reply.enhanced().is_some_and(|status| pattern.fits(status)),
            None => true,
        };
        let is_said = || {
            let text = &reply.text()[..reply.text().len().min(TEXT_OCTETS_MAX)];
            self.text.is_empty()
                || without_addresses(text)
                    .any(|text| self.text.iter().any(|words| says(text, words.as_bytes())))
        };
        self.codes.contains(&reply.code().as_u16())
            && (self.stage.is_empty() || self.stage.contains(&stage))
            && status_fits()
            && is_said()
    }

    /// What makes no sense about the rule. A client must never lose a message to what will pass, nor
    /// try again for days what will not.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let all_begin_with = |digit| self.codes.iter().all(|code| code / 100 == digit);
        let is_transient = matches!(self.means, Means::Quota | Means::Retry | Means::Throttled);
        let is_envelope = self.scope == Scope::Envelope;
        let answer = self.answer.map(|answer| answer.code / 100);
        if self.codes.is_empty() || !self.codes.iter().all(|code| (400..600).contains(code)) {
            Some("codes: write at least one, each 400 to 599")
        } else if self.text.iter().any(|words| words.is_empty()) {
            Some("text: must not be empty; leave it out if any text will do")
        } else if self.means == Means::ConfigurationFault && self.say.trim().is_empty() {
            Some("say: a configuration-fault has to say what to change")
        } else if self.means == Means::Refused && !is_envelope {
            Some("scope: what is refused is an envelope; write scope = \"envelope\"")
        } else if answer.is_some() && !is_envelope {
            Some(
                "answer: is for scope = \"envelope\"; beyond that the client hears that it may try again",
            )
        } else if is_transient && is_envelope && answer != Some(4) && !all_begin_with(4) {
            Some("answer: what will pass is told with a 4xx, like answer = \"450 4.7.1\"")
        } else if !is_transient && is_envelope && answer.is_none() && !all_begin_with(5) {
            Some(
                "answer: what will not pass by itself is told otherwise, like answer = \"550 5.7.1\"",
            )
        } else if self.pause.is_some() && is_envelope {
            Some("pause: one envelope holds nobody up; leave it out")
        } else {
            None
        }
    }
}

/// Whether words are in a text, in any case. The lines of a reply are one text: providers break them
/// where they are long.
fn says(text: &[u8], words: &[u8]) -> bool {
    let same = |(said, word): (&u8, &u8)| match said {
        b'\n' => *word == b' ',
        said => said.eq_ignore_ascii_case(word),
    };
    text.windows(words.len()).any(|window| window.iter().zip(words).all(same))
}

/// The parts of a text between the addresses in it: those a client has chosen, and an upstream that
/// repeats one does not speak of itself.
fn without_addresses(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let address = (0..text.len()).find_map(|at| Some((at, address(&text[at..])?)));
        rest = address.map(|(at, octets)| &text[at + octets..]);
        Some(address.map_or(text, |(at, _)| &text[..at]))
    })
}

/// How long the address is that a text begins with: one in brackets, or with a quoted local-part
/// (RFC 5321 §4.1.2). None: it begins with something else.
fn address(text: &[u8]) -> Option<usize> {
    let opening = usize::from(text.first() == Some(&b'<'));
    let quoted = quoted_octets(&text[opening..]);
    if opening == 0 && quoted == 0 {
        return None;
    }
    let end = if opening == 1 { &b">"[..] } else { b" \n" };
    let behind = &text[opening + quoted..];
    let domain = behind.iter().position(|octet| end.contains(octet));
    let domain = domain.map_or(behind.len(), |at| at + opening);
    let is_address =
        if quoted > 0 { behind.first() == Some(&b'@') } else { behind[..domain].contains(&b'@') };
    is_address.then_some(opening + quoted + domain)
}

/// Octets of the quoted string that a text begins with, quotes included; none if it does not.
fn quoted_octets(text: &[u8]) -> usize {
    if text.first() != Some(&b'"') {
        return 0;
    }
    let mut is_escaped = false;
    let closing = text[1..].iter().position(|&octet| {
        let closes = octet == b'"' && !is_escaped;
        is_escaped = octet == b'\\' && !is_escaped;
        closes
    });
    closing.map_or(0, |at| at + 2)
}

impl StatusPattern {
    fn fits(&self, status: EnhancedStatus) -> bool {
        let status = status.to_string();
        match self.0.strip_suffix('*') {
            Some(subject) => status.starts_with(subject),
            None => *status == *self.0,
        }
    }
}

impl TryFrom<String> for StatusPattern {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parts: Vec<&str> = text.split('.').collect();
        let is_pattern = match *parts {
            ["4" | "5", subject, detail] => {
                is_number(subject) && (detail == "*" || is_number(detail))
            }
            _ => false,
        };
        if is_pattern {
            Ok(Self(text.into()))
        } else {
            Err("expected a status, like 5.7.64 or 4.7.*")
        }
    }
}

impl TryFrom<String> for Answer {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parsed = || {
            let (code, status) = text.split_once(' ')?;
            let mut parts = status.split('.');
            let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
            let digits =
                code.len() == 3 && is_number(code) && is_number(subject) && is_number(detail);
            let same_class = matches!(class, "4" | "5") && code.starts_with(class);
            if !digits || !same_class || parts.next().is_some() {
                return None;
            }
            let status = (class.parse().ok()?, subject.parse().ok()?, detail.parse().ok()?);
            Some(Self { code: code.parse().ok()?, status })
        };
        parsed().ok_or("expected a code and a status of its class, like 550 5.7.1")
    }
}

/// One to three digits (RFC 3463 §2).
fn is_number(text: &str) -> bool {
    (1..=3).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit())
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Envelope => "envelope",
            Self::Connection => "connection",
            Self::Upstream => "upstream",
        })
    }
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConfigurationFault => "configuration-fault",
            Self::Quota => "quota",
            Self::Refused => "refused",
            Self::Retry => "retry",
            Self::Throttled => "throttled",
        })
    }
}
