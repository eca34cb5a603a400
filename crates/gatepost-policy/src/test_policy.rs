//! Policies for the tests of this crate.

use std::{sync::Arc, time::Duration};

use crate::{
    date::Moment,
    listener::ListenerId,
    report::PolicyErrors,
    ruleset::{Compiled, Ruleset},
    site::{Site, UpstreamId},
};

pub(crate) const LISTENERS: [&str; 3] = ["smtp", "submission", "submissions"];

/// Two upstreams, of which the first is the default.
pub(crate) fn site() -> Arc<Site> {
    Arc::new(Site {
        hostname: "relay.example.com".into(),
        listeners: LISTENERS.map(Into::into).to_vec(),
        upstreams: vec!["google".into(), "ses".into()],
        default_upstream: Some(UpstreamId::new(0)),
        max_message_size: 50 * 1024 * 1024,
        max_recipients: 1000,
    })
}

pub(crate) fn compile(text: &str) -> Result<Compiled, PolicyErrors> {
    Ruleset::compile(text, "policy.toml", &site())
}

/// An entry of five lines; `more` is the fifth.
pub(crate) fn entry(id: &str, networks: &str, more: &str) -> String {
    format!("[[entry]]\nid = {id:?}\nnetworks = {networks}\nsenders = [\"example.com\"]\n{more}\n")
}

/// So many seconds after 2026-06-01T00:00:00Z.
pub(crate) fn moment(seconds: i64) -> Moment {
    Moment { unix_seconds: 1_780_272_000 + seconds, uptime: Duration::ZERO }
}

/// What a policy is refused for.
pub(crate) fn errors(text: &str) -> Vec<String> {
    let errors = compile(text).expect_err(text);
    errors.errors().iter().map(ToString::to_string).collect()
}

/// The id of the entry that serves a client.
pub(crate) fn found(ruleset: &Ruleset, listener: usize, client: &str) -> Option<String> {
    let client = client.parse().expect("an address");
    ruleset.lookup(ListenerId::new(listener), client).map(|entry| entry.id().to_string())
}
