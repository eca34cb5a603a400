//! Entries that reach a proxy.
//!
//! A proxy in front of a listener tells who its clients are, and is none itself: an entry with its
//! address says nothing there. But it is how an allow-list lets everybody in who is behind the proxy,
//! on the day on which the proxy stops telling and the listener stops asking.

use crate::{
    compile::PlacedEntry,
    entry::{Action, Entry},
    listener::ListenerId,
    network::Network,
    report::{Place, Report},
    site::Site,
};

/// Warns of networks of allow entries with a proxy of a listener in them that the entry exists on.
pub(crate) fn warn_of_covered(entries: &[PlacedEntry], site: &Site, report: &mut Report) {
    let proxied: Vec<_> = (0..site.listeners.len())
        .map(ListenerId::new)
        .filter(|listener| !site.proxies(*listener).is_empty())
        .collect();
    if proxied.is_empty() {
        return;
    }
    for PlacedEntry { entry, at } in entries {
        if entry.action() != Action::Allow {
            continue;
        }
        for network in entry.networks() {
            if let Some((listener, proxy)) = first_covered(entry, *network, &proxied, site) {
                let message = format_args!(
                    "network {network} covers the proxy {proxy} of listener {listener}, which is never \
                     a client there; narrow it to the clients behind the proxy"
                );
                report.warn(Place::At(*at), format_args!("entry {}", entry.id()), message);
            }
        }
    }
}

/// One is enough: the next listener mostly has the same proxies.
fn first_covered<'s>(
    entry: &Entry,
    network: Network,
    proxied: &[ListenerId],
    site: &'s Site,
) -> Option<(&'s str, Network)> {
    proxied.iter().find_map(|listener| {
        let name = &*site.listeners[listener.index()];
        let exists = entry
            .services()
            .is_none_or(|services| services.iter().any(|service| **service == *name));
        let covered = || site.proxies(*listener).iter().find(|proxy| network.overlaps(**proxy));
        if exists { covered().map(|proxy| (name, *proxy)) } else { None }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        check::{self, Check, Greeting},
        ruleset::{Compiled, Ruleset},
        test_policy::{entry, moment, site},
    };

    /// Proxies in front of the second listener and the third, and none before the first.
    fn compile(text: &str) -> Compiled {
        let networks = |list: &[&str]| list.iter().map(|text| text.parse().expect(text)).collect();
        let proxies = vec![
            networks(&[]),
            networks(&["10.0.0.5", "2001:db8:5::/64"]),
            networks(&["10.0.0.5", "10.9.0.0/24"]),
        ];
        let site = Arc::new(Site { proxies, ..(*site()).clone() });
        Ruleset::compile(text, "policy.toml", &site).expect(text)
    }

    #[test]
    fn an_entry_that_covers_a_proxy_is_a_warning() {
        for (networks, services, told) in [
            (
                r#"["10.0.0.0/8"]"#,
                "",
                Some("network 10.0.0.0/8 covers the proxy 10.0.0.5/32 of listener submission,"),
            ),
            (
                r#"["10.0.0.5"]"#,
                "",
                Some("network 10.0.0.5/32 covers the proxy 10.0.0.5/32 of listener submission,"),
            ),
            (
                r#"["10.9.0.7"]"#,
                "",
                Some("network 10.9.0.7/32 covers the proxy 10.9.0.0/24 of listener submissions,"),
            ),
            (
                r#"["10.1.0.0/16", "2001:db8:5::/56"]"#,
                "",
                Some(
                    "network 2001:db8:5::/56 covers the proxy 2001:db8:5::/64 of listener submission,",
                ),
            ),
            (
                r#"["10.0.0.0/8"]"#,
                "services = [\"submissions\"]",
                Some("network 10.0.0.0/8 covers the proxy 10.0.0.5/32 of listener submissions,"),
            ),
            (r#"["10.0.0.0/8"]"#, "services = [\"smtp\"]", None),
            (r#"["10.0.0.0/8"]"#, "enabled = false", None),
            (r#"["10.0.0.0/8"]"#, "action = \"deny\"", None),
            (r#"["10.0.0.4", "10.0.0.6/31", "2001:db8:6::/64"]"#, "", None),
        ] {
            let text = entry("fleet", networks, services);
            let text = if services.contains("deny") { text.replace("senders", "#") } else { text };
            let warnings = crate::test_policy::warnings(&compile(&text));
            let told: Vec<_> =
                told.iter().map(|told| format!("policy.toml:1:1: entry fleet: {told}")).collect();
            assert_eq!(warnings.len(), told.len(), "{text}\n{warnings:?}");
            for (warning, told) in warnings.iter().zip(&told) {
                assert!(warning.starts_with(told), "{warning}\n{told}");
            }
        }
    }

    #[test]
    fn a_proxy_is_never_a_client() {
        let ruleset = compile(&entry("fleet", r#"["10.0.0.0/8"]"#, "")).ruleset;
        let greet = |listener, client: &str| {
            let client = client.parse().expect(client);
            check::greet(&ruleset, ListenerId::new(listener), client, moment(0))
        };
        for (listener, client) in [(1, "10.0.0.5"), (1, "::ffff:10.0.0.5"), (2, "10.9.0.255")] {
            let Greeting::Refused(None, refusal) = greet(listener, client) else {
                panic!("{client} was let in")
            };
            assert_eq!(refusal.check, Check::AllowList);
            assert_eq!(refusal.reply.code().as_u16(), 554);
        }
        for (listener, client) in [(0, "10.0.0.5"), (1, "10.9.0.255"), (2, "10.0.0.6")] {
            assert!(matches!(greet(listener, client), Greeting::Allowed(_)), "{client}");
        }
    }
}
