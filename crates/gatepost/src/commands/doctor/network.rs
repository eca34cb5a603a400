//! Names and addresses: what the gateway is called, where it listens, and where its mail goes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use gatepost_delivery::{LookupError, resolve};
use gatepost_policy::entry::{Action, Entry, RequiredTls};
use gatepost_policy::network::Network;
use gatepost_policy::ruleset::Ruleset;
use tokio::task::JoinSet;

use super::Patient;
use super::check::{Checked, counted};
use crate::config::{Config, TlsFiles};
use crate::surroundings::{PlaceKind, Surroundings};

/// How long a name may take: resolvers give up after a few tries of five seconds.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Domains that nobody has (RFC 2606, RFC 6761): they are left from an example.
const EXAMPLES: [&str; 6] =
    ["example", "example.com", "example.net", "example.org", "invalid", "test"];

pub(super) fn checks(patient: &Patient) -> Vec<Checked> {
    let Patient { config, policy, .. } = patient;
    vec![hostname(config), listeners(config, &policy.ruleset), metrics(patient)]
}

fn hostname(config: &Config) -> Checked {
    let name = &*config.hostname;
    let mut checked = Checked::new("hostname", name);
    let lower = name.to_ascii_lowercase();
    let is_in = |domain: &&str| {
        lower.strip_suffix(*domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if lower == "localhost" {
        checked.warn(
            "hostname is localhost, which is what every machine calls itself: upstreams refuse it",
            "write the full name that this gateway has in the DNS",
        );
    } else if EXAMPLES.iter().any(is_in) {
        checked.warn(
            format!("hostname {name} is a name of examples, which nobody has"),
            "write the full name that this gateway has in the DNS",
        );
    }
    checked
}

/// What an entry or a credential asks for and no listener has.
fn listeners(config: &Config, ruleset: &Ruleset) -> Checked {
    let plain = config.listeners.iter().filter(|listener| listener.tls.is_none()).count();
    let text = match (config.listeners.len(), plain) {
        (count, 0) => format!("{}, with TLS", counted(count, "listener")),
        (count, plain) => format!("{}, {plain} in plain text", counted(count, "listener")),
    };
    let mut checked = Checked::new("listeners", text);
    let entries = ruleset.entries().iter().map(|entry| ("entry", entry));
    let credentials = ruleset.credentials().iter().map(|it| ("credential", it.entry()));
    for (table, entry) in entries.chain(credentials) {
        if let Some(reason) = unreachable(entry, config) {
            checked.warn(
                format!(
                    "{table} {} {reason}, and no listener that it is for has it: it may not send",
                    entry.id()
                ),
                format!(
                    "give a listener tls = \"starttls\" (and client_ca for certificates), or take that \
                     out of the {table}"
                ),
            );
        }
    }
    checked
}

/// Why clients of an entry can never send, if that is because of the listeners.
fn unreachable(entry: &Entry, config: &Config) -> Option<&'static str> {
    if entry.action() == Action::Deny {
        return None;
    }
    let is_for = |name: &str| {
        entry.services().is_none_or(|services| services.iter().any(|service| **service == *name))
    };
    let mut listeners = config.listeners.iter().filter(|it| is_for(&it.config.name)).peekable();
    // It exists nowhere, which is told where the policy is read.
    listeners.peek()?;
    let tls: Vec<&TlsFiles> = listeners.filter_map(|listener| listener.tls.as_ref()).collect();
    if entry.terms().tls != RequiredTls::Optional && tls.is_empty() {
        return Some("must use TLS");
    }
    let is_asked = entry.terms().client_certificate.is_some();
    (is_asked && !tls.iter().any(|tls| tls.client_ca.is_some()))
        .then_some("must show a certificate")
}

fn metrics(patient: &Patient) -> Checked {
    let Some(bind) = patient.config.metrics_bind else {
        return Checked::new("metrics", "no page: [metrics] is not there");
    };
    let mut checked = Checked::new("metrics", bind.to_string());
    let own =
        patient.surroundings.places().iter().filter(|it| it.kind != PlaceKind::DefaultGateway);
    let mut own = own.map(|it| it.address).filter(|it| it.is_ipv4() == bind.is_ipv4());
    let public = if bind.ip().is_unspecified() {
        own.find(|address| is_public(*address))
    } else {
        Some(bind.ip()).filter(|address| is_public(*address))
    };
    if let Some(address) = public {
        checked.warn(
            format!("the page at {bind} has no password, and {address} is a public address"),
            "bind it to an address that only Prometheus reaches, or let a firewall see to that",
        );
    }
    checked
}

/// Link-local and loopback addresses are private.
fn is_public(address: IpAddr) -> bool {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    Network::new(address, bits).is_ok_and(Network::is_public)
}

/// Whether names of upstreams lead somewhere, and not back here. Nobody is connected to.
pub(super) async fn upstreams(patient: &Patient) -> Checked {
    let upstreams = &patient.config.upstreams;
    let hosts = upstreams.iter().map(|upstream| upstream.hosts.len()).sum();
    let text = format!("{} of {}", counted(hosts, "host"), counted(upstreams.len(), "upstream"));
    let mut checked = Checked::new("upstreams", text);
    let mut questions = JoinSet::new();
    for (index, upstream) in upstreams.iter().enumerate() {
        for (number, host) in upstream.hosts.iter().cloned().enumerate() {
            let upstream = upstream.clone();
            questions.spawn(async move {
                let asked = resolve(&upstream, &host);
                let answer = tokio::time::timeout(RESOLVE_TIMEOUT, asked).await;
                ((index, number), answer)
            });
        }
    }
    let mut answers = questions.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    for ((index, number), answer) in answers {
        let upstream = &upstreams[index];
        let shown = format!("upstream {}: {}", upstream.name, upstream.hosts[number]);
        let mend = "look at the name, and at the resolver of this machine";
        match answer {
            Err(_) => checked.warn(format!("{shown} is not resolved in time"), mend),
            Ok(Err(error @ LookupError::NoAddress)) => checked.warn(
                format!("{shown} {error}"),
                "change ip or source_address of the upstream, or give the host such an address",
            ),
            Ok(Err(error)) => checked.warn(format!("{shown} is not resolved: {error}"), mend),
            Ok(Ok(addresses)) => resolved(&mut checked, patient, &shown, &addresses),
        }
    }
    checked
}

fn resolved(checked: &mut Checked, patient: &Patient, shown: &str, addresses: &[SocketAddr]) {
    let is_here =
        |address: &&SocketAddr| leads_back(**address, &patient.config, &patient.surroundings);
    if let Some(address) = addresses.iter().find(is_here) {
        checked.problem(
            format!(
                "{shown} is {address}, where this gateway listens: mail would go round in circles"
            ),
            "name the smart host that mail is to go to",
        );
    }
}

/// Whether an address is of one of our listeners.
fn leads_back(address: SocketAddr, config: &Config, surroundings: &Surroundings) -> bool {
    let is_own = |ip: IpAddr| {
        let place = surroundings.place(ip);
        ip.is_loopback() || place.is_some_and(|it| it.kind != PlaceKind::DefaultGateway)
    };
    let mut binds = config.listeners.iter().flat_map(|listener| &listener.bind);
    binds.any(|bind| {
        let is_any = bind.ip().is_unspecified() && bind.is_ipv4() == address.is_ipv4();
        bind.port() == address.port()
            && (bind.ip() == address.ip() || is_any && is_own(address.ip()))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::check::{Status, table};
    use super::*;

    fn config(hostname: &str, bind: &str) -> Config {
        let text = format!(
            "hostname = \"{hostname}\"\nstate_dir = \"state\"\n\
             [[listener]]\nname = \"smtp\"\nbind = [\"{bind}\"]\n\
             [[upstream]]\nname = \"sink\"\nhosts = [\"127.0.0.1:25\"]\ntls = \"none\"\n\
             [policy]\nfile = \"policy.toml\"\n[delivery]\nmode = \"sync\"\n"
        );
        let path = Path::new("etc/gatepost.toml");
        Config::from_text(&text, path, std::iter::empty()).expect("a good configuration")
    }

    #[test]
    fn a_name_is_ones_own() {
        for (name, status) in [
            ("relay.corp.example.com", Status::Warning),
            ("Example.ORG", Status::Warning),
            ("LOCALHOST", Status::Warning),
            ("relay.test", Status::Warning),
            ("relay.myexample.com", Status::Ok),
            ("relay.contest", Status::Ok),
        ] {
            assert_eq!(hostname(&config(name, "127.0.0.1:25")).status(), status, "{name}");
        }
    }

    #[test]
    fn an_upstream_that_is_a_listener_of_ours_leads_back() {
        let leads_back = |bind: &str, address: &str| {
            let address = address.parse().expect(address);
            leads_back(address, &config("relay.test", bind), &Surroundings::default())
        };
        assert!(leads_back("10.0.0.7:25", "10.0.0.7:25"));
        assert!(leads_back("0.0.0.0:25", "127.0.0.1:25"));
        assert!(leads_back("[::]:25", "[::1]:25"));
        assert!(!leads_back("[::]:25", "127.0.0.1:25"), "[::] takes IPv6 only");
        assert!(!leads_back("0.0.0.0:25", "10.0.0.7:25"), "another machine");
        assert!(
            !leads_back("10.0.0.7:25", "10.0.0.7:26") && !leads_back("10.0.0.7:25", "10.0.0.8:25")
        );
    }

    #[test]
    fn a_certificate_that_nobody_asks_for_cannot_be_shown() {
        let config = config("relay.test", "127.0.0.1:25");
        let told = |more: &str| {
            let hash = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\
                        AAAAAAAAAAA";
            let text = format!(
                "[[credential]]\nid = \"crm\"\nusername = \"crm\"\npassword_hash = \"{hash}\"\n\
                 senders = []\n{more}\n[[entry]]\nid = \"app\"\nnetworks = [\"10.0.0.1\"]\n\
                 senders = []\n{more}\n"
            );
            let ruleset =
                Ruleset::compile(&text, "policy.toml", &config.site).expect("good").ruleset;
            table(&[listeners(&config, &ruleset)])
        };
        assert!(!told("").contains("warning: listeners"));
        let both = told("client_certificate = [\"app.test\"]");
        for (of, from) in [("entry app", "the entry"), ("credential crm", "the credential")] {
            let found =
                format!("warning: listeners: {of} must show a certificate, and no listener");
            assert!(both.contains(&found) && both.contains(&format!("out of {from}")), "{both}");
        }
    }

    #[test]
    fn private_addresses_are_not_public() {
        let is_public = |address: &str| is_public(address.parse().expect(address));
        assert!(is_public("203.0.113.9") && is_public("2001:db8::1"));
        assert!(["127.0.0.1", "10.0.0.1", "::1", "fe80::1"].iter().all(|it| !is_public(it)));
    }
}
