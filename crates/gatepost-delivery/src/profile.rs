//! What is known of a provider, as data: one TOML file each, shipped in the program.
//!
//! A [`Profile`] holds the defaults of an upstream's settings, what the provider bears at most, and
//! [`ReplyRule`]s for its replies, because providers say with one code what others say with
//! another. Each fact names its source. An operator's own file builds on one of these.
//!
//! A profile sends nothing and decides about no message: what follows from a rule is decided where
//! replies are understood, and what is written of an upstream always counts more than its profile.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use gatepost_smtp::reply::Reply;
use serde::Deserialize;

use crate::upstream::IpVersion;

mod file;
mod reply;

pub use file::ProfileError;
pub use reply::{Answer, Means, ReplyRule, Scope, Stage, StatusPattern};

/// The profiles in the program. Each may build on those before it, and all build on the first.
const TEXTS: [(&str, &str); 7] = [
    ("generic", include_str!("profile/generic.toml")),
    ("google-relay", include_str!("profile/google-relay.toml")),
    ("m365-connector", include_str!("profile/m365-connector.toml")),
    ("m365-auth", include_str!("profile/m365-auth.toml")),
    ("sendgrid", include_str!("profile/sendgrid.toml")),
    ("ses", include_str!("profile/ses.toml")),
    ("smartermail", include_str!("profile/smartermail.toml")),
];

static BUILT_IN: LazyLock<Vec<Arc<Profile>>> = LazyLock::new(|| {
    let mut known = Vec::with_capacity(TEXTS.len());
    for (name, text) in TEXTS {
        // A test reads every one of them.
        let profile = file::read(text, name, &known).expect("a profile in the program is right");
        known.push(Arc::new(profile));
    }
    known
});

/// What is known of one provider.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What the configuration calls it: a word, or the path of a file.
    pub name: Box<str>,
    /// What it is, in one line.
    pub description: Box<str>,
    /// Names of the provider's hosts; `*` stands for any octets.
    pub hosts: Box<[Box<str>]>,
    /// Ports that are known to work. None: every port does.
    pub ports: Box<[Port]>,
    /// How connections are secured if nobody says.
    pub tls: TlsMode,
    /// Which addresses are used if nobody says.
    pub ip: IpVersion,
    /// How the provider knows whom it serves.
    pub auth: AuthRule,
    /// What it wants in EHLO.
    pub ehlo: EhloRule,
    /// What it wants in MAIL FROM.
    pub mail_from: MailFromRule,
    /// How much it takes.
    pub limits: Limits,
    /// What else is worth knowing.
    pub notes: Box<[Note]>,
    /// What its replies mean; the first that fits counts.
    pub replies: Box<[ReplyRule]>,
}

/// How connections to an upstream are secured; the words are those of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// TLS from the first octet.
    Implicit,
    /// Plain text.
    None,
    /// STARTTLS where it is offered, plain text where not.
    Opportunistic,
    /// STARTTLS, or nothing is sent.
    Required,
}

/// A port that is known to work.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// The settings of `tls` that work there.
    pub tls: Vec<TlsMode>,
    /// Who says so.
    #[serde(default)]
    pub source: Box<str>,
}

/// How a provider knows whom it serves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthRule {
    /// Whether it wants AUTH.
    pub need: Need,
    /// The mechanisms that are known to work.
    #[serde(default)]
    pub mechanisms: Vec<Mechanism>,
    /// The rule, for people.
    pub rule: Box<str>,
    /// Who says so.
    #[serde(default)]
    pub source: Box<str>,
}

/// Whether a provider wants AUTH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// It has no use for it.
    Never,
    /// It takes it in the place of, or beside, something else.
    Optional,
    /// Nothing goes without.
    Required,
}

/// A SASL mechanism; the words are those of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mechanism {
    /// LOGIN.
    Login,
    /// PLAIN (RFC 4616).
    Plain,
    /// XOAUTH2.
    Xoauth2,
}

/// What a provider wants in EHLO.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EhloRule {
    /// The rule, for people.
    pub rule: Box<str>,
    /// Who says so.
    #[serde(default)]
    pub source: Box<str>,
}

/// What a provider wants in MAIL FROM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailFromRule {
    /// The rule, for people.
    pub rule: Box<str>,
    /// Whether it takes `<>`.
    pub null_sender: NullSender,
    /// Who says so.
    #[serde(default)]
    pub source: Box<str>,
}

/// Whether a provider takes mail from nobody, which bounces are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NullSender {
    /// It does.
    Allowed,
    /// It does not.
    Refused,
}

/// Something to know that is no setting.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// What.
    pub text: Box<str>,
    /// Who says so.
    #[serde(default)]
    pub source: Box<str>,
}

/// How much a provider takes, by the keys of the configuration.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once.
    pub max_connections: Limit<u32>,
    /// Messages after which a connection is closed.
    pub max_messages_per_connection: Limit<Option<u32>>,
    /// How long an unused connection is kept.
    pub idle_timeout: Limit<Duration>,
    /// How old a connection may become.
    pub max_age: Limit<Duration>,
    /// Recipients of one transaction.
    pub max_recipients: Limit<Option<u32>>,
    /// How long a client that stalls may hold a connection.
    pub client_stall: Limit<Duration>,
    /// Recipients in time, as the configuration writes rates.
    pub recipient_rate: Limit<Vec<Box<str>>>,
}

/// One limit.
#[derive(Clone, Debug)]
pub struct Limit<T> {
    /// What holds if nobody says.
    pub default: T,
    /// What the provider bears at most, if that is known.
    pub most: Option<T>,
    /// Who says so.
    pub source: Box<str>,
}

/// The profiles in the program, that for any server first.
pub fn built_in() -> &'static [Arc<Profile>] {
    &BUILT_IN
}

/// The text of a profile in the program, to be copied.
pub fn text(name: &str) -> Option<&'static str> {
    TEXTS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

impl Profile {
    /// The one for any server: the defaults of the contract.
    pub fn generic() -> Arc<Self> {
        // There are seven, and this is the first.
        BUILT_IN[0].clone()
    }

    /// A profile in the program.
    pub fn named(name: &str) -> Option<Arc<Self>> {
        BUILT_IN.iter().find(|profile| *profile.name == *name).cloned()
    }

    /// An operator's own. What it does not say is said by the profile that it `extends`, or by that
    /// for any server. `origin` is where the text came from: it is the name, and errors begin so.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ProfileError> {
        file::read(text, origin, &BUILT_IN)
    }

    /// The place of the first rule that fits a reply, in [`Profile::replies`].
    pub fn rule(&self, stage: Stage, reply: &Reply) -> Option<usize> {
        self.replies.iter().position(|rule| rule.fits(stage, reply))
    }

    /// Whether a host is one of the provider's.
    pub fn knows_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|pattern| fits(pattern, host))
    }
}

/// Whether a name is one that a pattern with at most one `*` means.
fn fits(pattern: &str, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    match pattern.split_once('*') {
        None => name == pattern,
        Some((head, tail)) => name
            .strip_prefix(head)
            .is_some_and(|rest| rest.len() > tail.len() && rest.ends_with(tail)),
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Implicit => "implicit",
            Self::None => "none",
            Self::Opportunistic => "opportunistic",
            Self::Required => "required",
        })
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login => "login",
            Self::Plain => "plain",
            Self::Xoauth2 => "xoauth2",
        })
    }
}

#[cfg(test)]
mod tests;
