//! A policy that somebody has written, or generated, or got wrong.
//!
//! Whatever the text is, the compiler comes to an end and says what is wrong in lines that a
//! terminal can show. What it accepts is what the text says, whoever reads it and how often, lets
//! each client in by its narrowest network, and never lets everybody in. What it expects of itself
//! is met or not, whatever else happens, and what is not met is told in such lines too.
#![no_main]

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock},
    time::Duration,
};

use gatepost_policy::{
    date::Moment,
    entry::{Action, Entry, Mode},
    listener::ListenerId,
    network::Network,
    report::PolicyErrors,
    ruleset::{Compiled, Ruleset},
    site::{Site, UpstreamId},
};
use libfuzzer_sys::fuzz_target;
use toml::{Table, Value};

const ORIGIN: &str = "policy.toml";
/// Networks of a policy whose clients are looked up: many are not better than some.
const PROBED_MAX: usize = 32;

/// 2026-06-01T00:00:00Z
const NOW: Moment = Moment { unix_seconds: 1_780_272_000, uptime: Duration::ZERO };

static SITE: LazyLock<Arc<Site>> = LazyLock::new(|| {
    Arc::new(Site {
        hostname: "relay.example.com".into(),
        listeners: ["smtp", "submission", "submissions"].map(Into::into).to_vec(),
        proxies: Vec::new(),
        auth: Vec::new(),
        upstreams: vec!["google".into(), "ses".into()],
        default_upstream: Some(UpstreamId::new(0)),
        default_mode: Mode::Hybrid,
        max_message_size: 50 * 1024 * 1024,
        max_recipients: 1000,
    })
});

fuzz_target!(|text: &str| {
    match Ruleset::compile(text, ORIGIN, &SITE) {
        Ok(compiled) => accepted(text, &compiled),
        Err(errors) => refused(text, &errors),
    }
});

fn refused(text: &str, errors: &PolicyErrors) {
    assert!(!errors.errors().is_empty(), "refused for no reason");
    let lines = text.split('\n').count();
    for error in errors.errors() {
        printable(&error.to_string());
        assert!(error.position().is_none_or(|position| position.line <= lines), "{error}");
    }
    let more = usize::from(errors.count() > errors.errors().len());
    assert_eq!(errors.to_string().split('\n').count(), errors.errors().len() + more);
}

fn accepted(text: &str, compiled: &Compiled) {
    let ruleset = &compiled.ruleset;
    compiled.warnings.iter().for_each(|warning| printable(&warning.to_string()));
    same_again(text, compiled);
    what_the_text_says(text, ruleset);
    what_it_expects(text, ruleset);
    assert!(!covers_a_family(ruleset), "everybody is let in");
    for listener in (0..SITE.listeners.len()).map(ListenerId::new) {
        lookups(ruleset, listener);
    }
}

fn printable(line: &str) {
    assert!(!line.is_empty() && !line.chars().any(char::is_control), "{line:?}");
}

/// The same text is the same policy, and goes on with what the clients have used up.
fn same_again(text: &str, compiled: &Compiled) {
    let ruleset = &compiled.ruleset;
    let again = Ruleset::compile(text, ORIGIN, &SITE).expect("it was accepted before");
    let next = ruleset.recompile(text, ORIGIN).expect("it was accepted before");
    for other in [&again, &next] {
        assert_eq!(other.ruleset.generation(), ruleset.generation());
        assert_eq!(other.ruleset.prove(NOW), ruleset.prove(NOW));
        assert_eq!(other.warnings, compiled.warnings);
        assert_eq!(other.ruleset.entries().len(), ruleset.entries().len());
        for (one, other) in ruleset.entries().iter().zip(other.ruleset.entries()) {
            same(one, other);
        }
    }
    for (one, next) in ruleset.entries().iter().zip(next.ruleset.entries()) {
        assert!(Arc::ptr_eq(one.state(), next.state()), "{} has forgotten", one.id());
    }
}

fn same(one: &Entry, other: &Entry) {
    assert_eq!((one.id(), one.action()), (other.id(), other.action()));
    assert_eq!((one.networks(), one.services()), (other.networks(), other.services()));
    assert_eq!((one.senders(), one.terms()), (other.senders(), other.terms()));
    assert_eq!((one.description(), one.owner()), (other.description(), other.owner()));
    assert_eq!(one.acknowledge(), other.acknowledge());
}

/// To a reader who only knows TOML, the same entries are enabled, and each has its own id.
fn what_the_text_says(text: &str, ruleset: &Ruleset) {
    let table: Table = text.parse().expect("what is accepted is TOML");
    let written = table.get("entry").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let is_enabled = |entry: &&Value| {
        entry.get("enabled").is_none_or(|value| value.as_bool().expect("enabled is true or false"))
    };
    let id = |entry: &Value| entry["id"].as_str().expect("an id is text").to_owned();
    let said: Vec<_> = written.iter().filter(is_enabled).map(id).collect();
    let compiled: Vec<_> = ruleset.entries().iter().map(|entry| entry.id().to_string()).collect();
    assert_eq!(compiled, said);
    assert_eq!(written.iter().map(id).collect::<HashSet<_>>().len(), written.len());
    for entry in ruleset.entries() {
        let found = ruleset.entry(entry.id()).expect("an entry is found by its id");
        assert!(Arc::ptr_eq(found, entry));
    }
}

/// Not more fail than there are, and each is told with its place and what happens instead.
fn what_it_expects(text: &str, ruleset: &Ruleset) {
    let Err(errors) = ruleset.prove(NOW) else { return };
    let table: Table = text.parse().expect("what is accepted is TOML");
    let written = table.get("expect").and_then(Value::as_array).map_or(0, Vec::len);
    assert!((1..=written).contains(&errors.count()), "{} of {written}", errors.count());
    for error in errors.errors() {
        error.to_string().split('\n').for_each(printable);
        assert!(error.position().is_some() && !error.details().is_empty(), "{error}");
    }
}

/// Networks either nest or have nothing in common, so the widest ones add up to everything, or do
/// not.
fn covers_a_family(ruleset: &Ruleset) -> bool {
    let is_allowed = |entry: &&Arc<Entry>| entry.action() == Action::Allow;
    let entries = ruleset.entries().iter().filter(is_allowed);
    let allowed: HashSet<Network> = entries.flat_map(|entry| entry.networks()).copied().collect();
    let is_widest = |network: &&Network| {
        !allowed.iter().any(|other| other != *network && covers(*other, **network))
    };
    let widest: Vec<_> = allowed.iter().filter(is_widest).collect();
    [true, false].into_iter().any(|is_ipv4| {
        let family = widest.iter().filter(|network| network.address().is_ipv4() == is_ipv4);
        // Of a /1 it is half of 2^128: shares of all addresses wrap to zero.
        let shares: Vec<u128> =
            family.map(|network| 1 << (128 - network.prefix_length())).collect();
        !shares.is_empty() && shares.into_iter().fold(0, u128::wrapping_add) == 0
    })
}

fn covers(wide: Network, narrow: Network) -> bool {
    wide.address().is_ipv4() == narrow.address().is_ipv4()
        && wide.address() <= narrow.address()
        && narrow.last_address() <= wide.last_address()
}

/// At the edges of every network the client belongs to whom a look at every network finds.
fn lookups(ruleset: &Ruleset, listener: ListenerId) {
    let name = ruleset.listener_name(listener).expect("the site has it");
    let is_seen = |entry: &&Arc<Entry>| {
        entry.services().is_none_or(|services| services.iter().any(|service| **service == *name))
    };
    let seen: Vec<(Network, &Arc<Entry>)> = ruleset
        .entries()
        .iter()
        .filter(is_seen)
        .flat_map(|entry| entry.networks().iter().map(move |network| (*network, entry)))
        .collect();
    for (network, _) in seen.iter().take(PROBED_MAX) {
        for client in [network.address(), network.last_address()] {
            let around = seen.iter().filter(|(network, _)| network.contains(client));
            let narrowest = around.max_by_key(|(network, _)| network.prefix_length());
            let id = |entry: &Arc<Entry>| entry.id().to_string();
            let expected = narrowest.map(|(_, entry)| id(entry));
            assert_eq!(ruleset.lookup(listener, client).map(id), expected, "{client} on {name}");
            let explained = ruleset.networks_around(listener, client);
            assert_eq!(explained.first().map(|(_, entry)| id(entry)), expected);
        }
    }
}
