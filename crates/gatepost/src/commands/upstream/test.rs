//! `gatepost upstream test`: a connection as the gateway would open it, everything that is said on it,
//! and a message if one is wanted.
//!
//! It is opened by this command, not by the gateway that runs: what is tested is what is in the files
//! now. Where it fails, what the profile knows of the reply is told with it.

use std::{fmt::Write as _, sync::Arc};

use bytes::Bytes;
use gatepost_delivery::{
    Connected, Line, Probe, ProbeMail, TlsFacts, Trouble, UpstreamConfig, Voice, probe,
};
use gatepost_relay::{
    CanaryConfig, canary_content,
    trouble::{self, Outcome, Stage},
};
use gatepost_smtp::path::Mailbox;
use gatepost_stream::Clock;
use jiff::Timestamp;
use serde_json::json;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::super::{print, running};
use crate::{
    cli::{OutputForm, TestArguments},
    config::Config,
    errors::Failure,
    exit::Exit,
    upstream_keys::{self, UpstreamKeys},
};

/// Names of a certificate that are shown; some have hundreds.
const NAMES_SHOWN_MAX: usize = 8;

/// Tests one.
pub fn test(arguments: &TestArguments) -> anyhow::Result<Exit> {
    let mut config = Config::load(&arguments.config.config)?;
    let index = place(&config, &arguments.name)?;
    let keys = upstream_keys::load(&config.upstreams, &config.upstream_files)?;
    for warning in upstream_keys::warnings(&config.upstream_files, &keys) {
        crate::errors::tell_warning(&warning);
    }
    let files = std::mem::take(&mut config.upstream_files);
    UpstreamKeys::begin(&config.upstreams, files, keys)?;
    let upstream = &config.upstreams[index];
    let mail = mail(arguments, config.canaries[index].as_ref(), &config)?;
    let found =
        running::block_on(async { Ok(probe(upstream, &Clock::start(), mail.as_ref()).await) })?;
    let verdict = Verdict::of(upstream, &found);
    match arguments.output {
        OutputForm::Json => {
            let text = serde_json::to_string_pretty(&as_json(upstream, &found, &verdict))?;
            print(&(text + "\n"))?;
        }
        OutputForm::Table => print(&as_text(upstream, &found, &verdict)?)?,
    }
    Ok(if verdict.works { Exit::Ok } else { Exit::Failure })
}

fn place(config: &Config, name: &str) -> Result<usize, Failure> {
    let index = config.upstreams.iter().position(|upstream| *upstream.name == *name);
    index.ok_or_else(|| {
        let known: Vec<_> = config.upstreams.iter().map(|upstream| &*upstream.name).collect();
        let message = format!("there is no upstream {name:?}; known are {}", known.join(", "));
        Failure::new(Exit::Usage, message)
    })
}

/// The message that is asked for, if one is.
fn mail(
    arguments: &TestArguments,
    canary: Option<&CanaryConfig>,
    config: &Config,
) -> anyhow::Result<Option<ProbeMail>> {
    let to = match (&arguments.to, canary) {
        (Some(to), _) => Arc::from(to.as_str()),
        (None, Some(canary)) if arguments.canary => canary.to.clone(),
        (None, _) if arguments.canary => {
            let message = "this upstream has no canary; write one, or say --to and --from";
            return Err(Failure::new(Exit::Usage, message).into());
        }
        (None, _) => return Ok(None),
    };
    let from = match (&arguments.from, canary) {
        (Some(from), _) => Arc::from(from.as_str()),
        (None, Some(canary)) => canary.from.clone(),
        (None, None) => {
            let message = "say --from too: upstreams take mail of senders that they know";
            return Err(Failure::new(Exit::Usage, message).into());
        }
    };
    for mailbox in [&from, &to] {
        if !mailbox.is_ascii() || Mailbox::parse(mailbox.as_bytes()).is_err() {
            let message = format!("{mailbox:?} is not a mailbox in ASCII, like user@example.com");
            return Err(Failure::new(Exit::Usage, message).into());
        }
    }
    let now = Timestamp::now();
    let id = format!("test-{}-{}", arguments.name, now.as_millisecond());
    let subject = format!("Gatepost test of {}", arguments.name);
    let content = canary_content(&id, now, &config.site.hostname, (&from, &to), &subject);
    Ok(Some(ProbeMail { from, to, content: Bytes::from(content) }))
}

/// What came of it, in one line and a piece of advice.
struct Verdict {
    works: bool,
    said: String,
    /// What the profile, or the table for all providers, makes of it.
    advice: Option<String>,
}

impl Verdict {
    fn of(upstream: &UpstreamConfig, found: &Probe) -> Self {
        match (&found.trouble, &found.mail) {
            (Some(trouble), _) => {
                let outcome = trouble::of_opening(&upstream.profile, trouble);
                Self::failed(upstream, trouble.to_string(), &outcome, is_reply(trouble))
            }
            (None, Some(reply)) if !reply.is_positive() => {
                // Which command it answers does not matter for what a provider means by it.
                let stages = [Stage::Mail, Stage::Recipient, Stage::Data];
                let stage = stages
                    .into_iter()
                    .find(|stage| upstream.profile.rule(*stage, reply).is_some())
                    .unwrap_or(Stage::Data);
                let outcome = trouble::of_reply(&upstream.profile, stage, reply);
                Self::failed(upstream, format!("the message was refused: {reply}"), &outcome, true)
            }
            (None, Some(reply)) => Self {
                works: true,
                said: format!("the message was accepted: {reply}"),
                advice: None,
            },
            (None, None) => Self {
                works: true,
                said: "a connection is ready for mail; with --to and --from a message is sent"
                    .to_owned(),
                advice: None,
            },
        }
    }

    fn failed(upstream: &UpstreamConfig, said: String, outcome: &Outcome, is_reply: bool) -> Self {
        let rule = outcome.rule.and_then(|index| upstream.profile.replies.get(index));
        let advice = rule.map(|rule| rule.say.to_string()).filter(|say| !say.is_empty());
        let client = is_reply.then(|| format!("an application hears {}", outcome.reply));
        Self { works: false, said, advice: advice.or(client) }
    }
}

const fn is_reply(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Refused(_) | Trouble::AuthRefused(_))
}

fn as_text(upstream: &UpstreamConfig, found: &Probe, verdict: &Verdict) -> anyhow::Result<String> {
    let mut text = String::new();
    for Line { at, voice, text: line } in found.transcript.lines() {
        let mark = match voice {
            Voice::Note => '*',
            Voice::Ours => '>',
            Voice::Theirs => '<',
        };
        writeln!(text, "{:8.3} s {mark} {line}", at.as_secs_f64())?;
    }
    writeln!(text)?;
    let mut fact = |name: &str, value: &str| writeln!(text, "{name:12} {value}");
    fact("upstream", &format!("{} (profile {})", upstream.name, upstream.profile.name))?;
    if let Some(Connected { host, tls, offer, login }) = &found.connected {
        fact("host", host)?;
        match tls {
            None => fact("TLS", "none: everything goes in plain text")?,
            Some(TlsFacts { version, cipher, certificates, is_verified }) => {
                let verified = if *is_verified { "verified" } else { "NOT verified" };
                fact("TLS", &format!("{version}, {cipher}, {verified}"))?;
                for (index, der) in certificates.iter().enumerate() {
                    let name = if index == 0 { "certificate" } else { "" };
                    fact(name, &describe(der))?;
                }
            }
        }
        fact("offers", &offer.lines().collect::<Vec<_>>().join(", "))?;
        match login {
            None => fact("AUTH", "none")?,
            Some((mechanism, username)) => fact("AUTH", &format!("{mechanism} as {username}"))?,
        }
    }
    fact("verdict", if verdict.works { "it works" } else { "IT DOES NOT WORK" })?;
    fact("", &verdict.said)?;
    if let Some(advice) = &verdict.advice {
        fact("", advice)?;
    }
    Ok(text)
}

fn as_json(upstream: &UpstreamConfig, found: &Probe, verdict: &Verdict) -> serde_json::Value {
    let connected = found.connected.as_ref().map(|Connected { host, tls, offer, login }| {
        json!({
            "host": host,
            "tls": tls.as_ref().map(|it| json!({
                "version": it.version,
                "cipher": it.cipher,
                "verified": it.is_verified,
                "certificates": it.certificates.iter().map(|der| describe(der)).collect::<Vec<_>>(),
            })),
            "offers": offer.lines().collect::<Vec<_>>(),
            "auth": login.as_ref().map(|(mechanism, username)| json!({
                "mechanism": mechanism.to_string(),
                "username": &**username,
            })),
        })
    });
    let voice = |voice: Voice| match voice {
        Voice::Note => "note",
        Voice::Ours => "ours",
        Voice::Theirs => "theirs",
    };
    let lines = found.transcript.lines().iter().map(|line| {
        json!({ "at": line.at.as_secs_f64(), "voice": voice(line.voice), "text": line.text })
    });
    json!({
        "upstream": &*upstream.name,
        "profile": &*upstream.profile.name,
        "works": verdict.works,
        "said": verdict.said,
        "advice": verdict.advice,
        "connected": connected,
        "message": found.mail.as_ref().map(ToString::to_string),
        "transcript": lines.collect::<Vec<_>>(),
    })
}

/// A certificate in one line: whose it is, who says so, and until when. An upstream may show anything,
/// and what else was found is told all the same.
fn describe(der: &[u8]) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return "a certificate that cannot be read".to_owned();
    };
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| &names.value.general_names[..]).unwrap_or_default();
    let shown: Vec<String> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(octets) => address(octets),
            _ => None,
        })
        .take(NAMES_SHOWN_MAX)
        .collect();
    let subject =
        if shown.is_empty() { certificate.subject().to_string() } else { shown.join(", ") };
    let until = certificate.validity().not_after;
    // The last day of the year 9999 stands for no end (RFC 5280 §4.1.2.5).
    let until = Timestamp::from_second(until.timestamp())
        .map_or_else(|_| until.to_string(), |until| until.to_string());
    let text = format!("{subject}; by {}; until {until}", certificate.issuer());
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).ok().map(std::net::IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(octets).ok().map(std::net::IpAddr::from);
    v4.or_else(v6).map(|address| address.to_string())
}

#[cfg(test)]
mod tests {
    use gatepost_testkit::ThrowAwayCa;

    use super::*;

    /// RFC 5280 §4.1.2.5: how a certificate says that it has no end.
    #[test]
    fn a_certificate_without_an_end_is_shown() {
        let mut der = ThrowAwayCa::new().issue(&["smtp.test"]).der();
        let (until, never) = (b"29990101000000Z", b"99991231235959Z");
        let at = der.windows(until.len()).position(|octets| octets == until).expect("its end");
        der[at..at + never.len()].copy_from_slice(never);
        let shown = describe(&der);
        assert!(shown.starts_with("smtp.test; by "), "{shown}");
        assert!(describe(b"x").contains("cannot be read"));
    }
}
