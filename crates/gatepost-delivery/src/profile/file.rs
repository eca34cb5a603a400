//! A profile as it is written, and how it becomes one.
//!
//! Everything may be left out: the profile that is built on has it. A rule replaces one of the same
//! name there; all others stand in front. A key that is not known is an error, with line and column.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{
    AuthRule, EhloRule, Limit, Limits, MailFromRule, Note, Port, Profile, ReplyRule, TlsMode,
};
use crate::upstream::IpVersion;

/// Why a text is not a profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}:{line}:{column}: {message}")]
pub struct ProfileError {
    origin: Box<str>,
    line: usize,
    column: usize,
    message: Box<str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    extends: Option<Spanned<String>>,
    description: Option<Box<str>>,
    hosts: Option<Box<[Box<str>]>>,
    tls: Option<TlsMode>,
    ip: Option<Ip>,
    port: Option<Box<[Port]>>,
    auth: Option<AuthRule>,
    ehlo: Option<EhloRule>,
    mail_from: Option<MailFromRule>,
    #[serde(default)]
    limits: LimitsFile,
    note: Option<Box<[Note]>>,
    #[serde(default)]
    reply: Vec<Spanned<ReplyRule>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsFile {
    max_connections: Option<Spanned<LimitFile<u32>>>,
    max_messages_per_connection: Option<Spanned<LimitFile<u32>>>,
    idle_timeout: Option<Spanned<LimitFile<Span>>>,
    max_age: Option<Spanned<LimitFile<Span>>>,
    max_recipients: Option<Spanned<LimitFile<u32>>>,
    client_stall: Option<Spanned<LimitFile<Span>>>,
    recipient_rate: Option<Spanned<LimitFile<Vec<Box<str>>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitFile<T> {
    default: Option<T>,
    most: Option<T>,
    #[serde(default)]
    source: Box<str>,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Span(
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")] Duration,
);

#[derive(Clone, Copy, Deserialize)]
enum Ip {
    #[serde(rename = "any")]
    Any,
    #[serde(rename = "4")]
    V4,
    #[serde(rename = "6")]
    V6,
}

struct Fault {
    offset: usize,
    message: String,
}

/// Reads a profile that may build on those in `known`; the first of them is what all build on.
pub(super) fn read(
    text: &str,
    origin: &str,
    known: &[Arc<Profile>],
) -> Result<Profile, ProfileError> {
    let parsed: Result<ProfileFile, Fault> = toml::from_str(text).map_err(|error| Fault {
        offset: error.span().map_or(0, |span| span.start),
        // serde speaks of fields; in a document they are keys.
        message: error
            .message()
            .replace("unknown field", "unknown key")
            .replace("missing field", "missing key"),
    });
    parsed.and_then(|file| resolve(file, origin, known)).map_err(|fault| {
        let before = &text[..text.floor_char_boundary(fault.offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ProfileError {
            origin: origin.into(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: fault.message.into(),
        }
    })
}

fn resolve(file: ProfileFile, name: &str, known: &[Arc<Profile>]) -> Result<Profile, Fault> {
    let base = base(file.extends.as_ref(), known)?;
    let replies = replies(file.reply, base)?;
    Ok(Profile {
        name: name.into(),
        description: own(file.description, base, "description", |base| &base.description)?,
        hosts: own(file.hosts, base, "hosts", |base| &base.hosts)?,
        ports: own(file.port, base, "port", |base| &base.ports)?,
        tls: own(file.tls, base, "tls", |base| &base.tls)?,
        ip: own(file.ip.map(IpVersion::from), base, "ip", |base| &base.ip)?,
        auth: own(file.auth, base, "auth", |base| &base.auth)?,
        ehlo: own(file.ehlo, base, "ehlo", |base| &base.ehlo)?,
        mail_from: own(file.mail_from, base, "mail_from", |base| &base.mail_from)?,
        limits: limits(file.limits, base)?,
        notes: own(file.note, base, "note", |base| &base.notes)?,
        replies,
    })
}

fn base<'k>(
    extends: Option<&Spanned<String>>,
    known: &'k [Arc<Profile>],
) -> Result<Option<&'k Profile>, Fault> {
    let Some(extends) = extends else { return Ok(known.first().map(AsRef::as_ref)) };
    let found = known.iter().find(|profile| *profile.name == **extends.get_ref());
    let names = || known.iter().map(|profile| &*profile.name).collect::<Vec<_>>().join(", ");
    found.map(|base| Some(&**base)).ok_or_else(|| Fault {
        offset: extends.span().start,
        message: format!("extends: {:?} is unknown; write one of {}", extends.get_ref(), names()),
    })
}

/// What is written, or what the base has.
fn own<T: Clone>(
    written: Option<T>,
    base: Option<&Profile>,
    key: &str,
    of_base: impl FnOnce(&Profile) -> &T,
) -> Result<T, Fault> {
    let value = written.or_else(|| base.map(|base| of_base(base).clone()));
    value.ok_or_else(|| Fault { offset: 0, message: format!("missing key `{key}`") })
}

fn limits(file: LimitsFile, base: Option<&Profile>) -> Result<Limits, Fault> {
    let base_limits = |of: &str| {
        base.map(|base| &base.limits)
            .ok_or_else(|| Fault { offset: 0, message: format!("missing key `limits.{of}`") })
    };
    let count = |count: u32| (count > 0).then_some(count);
    let span = |Span(span): Span| (!span.is_zero()).then_some(span);
    Ok(Limits {
        max_connections: match file.max_connections {
            Some(written) => limit(written, count)?,
            None => base_limits("max_connections")?.max_connections.clone(),
        },
        max_messages_per_connection: match file.max_messages_per_connection {
            Some(written) => open(written, count)?,
            None => base_limits("max_messages_per_connection")?.max_messages_per_connection.clone(),
        },
        idle_timeout: match file.idle_timeout {
            Some(written) => limit(written, span)?,
            None => base_limits("idle_timeout")?.idle_timeout.clone(),
        },
        max_age: match file.max_age {
            Some(written) => limit(written, span)?,
            None => base_limits("max_age")?.max_age.clone(),
        },
        max_recipients: match file.max_recipients {
            Some(written) => open(written, count)?,
            None => base_limits("max_recipients")?.max_recipients.clone(),
        },
        client_stall: match file.client_stall {
            Some(written) => limit(written, span)?,
            None => base_limits("client_stall")?.client_stall.clone(),
        },
        recipient_rate: match file.recipient_rate {
            Some(written) => limit(written, Some)?,
            None => base_limits("recipient_rate")?.recipient_rate.clone(),
        },
    })
}

/// A limit that has a default. `value` has none for zero.
fn limit<W, T>(
    written: Spanned<LimitFile<W>>,
    value: impl Fn(W) -> Option<T> + Copy,
) -> Result<Limit<T>, Fault> {
    let offset = written.span().start;
    let Limit { default, most, source } = open(written, value)?;
    match default {
        Some(default) => Ok(Limit { default, most: most.flatten(), source }),
        None => Err(Fault { offset, message: "missing key `default`".to_owned() }),
    }
}

/// A limit that may be none.
fn open<W, T>(
    written: Spanned<LimitFile<W>>,
    value: impl Fn(W) -> Option<T> + Copy,
) -> Result<Limit<Option<T>>, Fault> {
    let offset = written.span().start;
    let positive = |written: Option<W>| match written.map(value) {
        Some(None) => Err(Fault { offset, message: "must not be zero".to_owned() }),
        Some(value) => Ok(value),
        None => Ok(None),
    };
    let LimitFile { default, most, source } = written.into_inner();
    Ok(Limit { default: positive(default)?, most: positive(most)?.map(Some), source })
}

/// The own rules, and behind them those of the base that have another name.
fn replies(
    own: Vec<Spanned<ReplyRule>>,
    base: Option<&Profile>,
) -> Result<Box<[ReplyRule]>, Fault> {
    let mut rules: Vec<ReplyRule> = Vec::new();
    for rule in own {
        let offset = rule.span().start;
        let rule = rule.into_inner();
        if rules.iter().any(|earlier| earlier.name == rule.name) {
            let message =
                format!("reply {:?}: an earlier one has the name; give each its own", rule.name);
            return Err(Fault { offset, message });
        }
        if let Some(fault) = rule.fault() {
            return Err(Fault { offset, message: format!("reply {:?}: {fault}", rule.name) });
        }
        rules.push(rule);
    }
    let inherited = base.map_or(&[][..], |base| &base.replies);
    let is_replaced = |rule: &&ReplyRule| rules.iter().any(|own| own.name == rule.name);
    let inherited: Vec<_> = inherited.iter().filter(|rule| !is_replaced(rule)).cloned().collect();
    rules.extend(inherited);
    Ok(rules.into())
}

impl From<Ip> for IpVersion {
    fn from(ip: Ip) -> Self {
        match ip {
            Ip::Any => Self::Any,
            Ip::V4 => Self::V4,
            Ip::V6 => Self::V6,
        }
    }
}
