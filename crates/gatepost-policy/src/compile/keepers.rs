//! Whose messages are kept whatever way they take, so that it can be promised to tell what became of
//! them (RFC 3461).
//!
//! An entry's own mode decides. Without one every route counts that some of its messages may take, and
//! the gateway's mode for those that no route takes. Entries are made before routes are known; here
//! they are corrected, once, before anybody shares them.

use std::sync::Arc;

use super::parts::{PlacedRoute, Tables};
use crate::{
    entry::{Entry, Mode},
    pattern::Pattern,
    route::Route,
    site::Site,
};

/// Finds out for each entry and credential. Where no route says otherwise than the gateway, what
/// they were made with is right already.
pub(crate) fn find_keepers(tables: &mut Tables, site: &Site) {
    let default = site.default_mode;
    let keeps = default.keeps_messages();
    let says_otherwise = |placed: &PlacedRoute| keeps != keeps_on(&placed.route, default);
    if !tables.routes.iter().any(says_otherwise) {
        return;
    }
    let entries = tables.entries.iter_mut().map(|placed| &mut placed.entry);
    let credentials = tables.credentials.iter_mut().filter_map(|placed| {
        let credential = Arc::get_mut(&mut placed.credential)?;
        Some(&mut credential.entry)
    });
    for entry in entries.chain(credentials) {
        // Nobody else has it yet. If somebody had, it would promise nothing.
        if let Some(entry) = Arc::get_mut(entry)
            && entry.terms.mode.is_none()
        {
            entry.keeps_messages = is_kept_by_all(entry, &tables.routes, default);
        }
    }
}

/// Whether all routes that messages of an entry may take keep them. One that cannot say what it sends
/// as promises nothing.
fn is_kept_by_all(entry: &Entry, routes: &[PlacedRoute], default: Mode) -> bool {
    let of_entry = || routes.iter().map(|placed| &placed.route).filter(|it| it.is_for(entry));
    entry.senders().iter().all(|senders| is_kept(senders, of_entry(), default))
}

/// Walks as a message would that could be from any of these senders, to the first route that takes
/// all of them.
fn is_kept<'r>(senders: &Pattern, routes: impl Iterator<Item = &'r Route>, default: Mode) -> bool {
    for route in routes.filter(|route| route.takes_some_of(senders)) {
        if !keeps_on(route, default) {
            return false;
        }
        if route.takes_all_of(senders) {
            return true;
        }
    }
    default.keeps_messages()
}

fn keeps_on(route: &Route, default: Mode) -> bool {
    route.mode.unwrap_or(default).keeps_messages()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        ruleset::Ruleset,
        test_policy::{self, entry},
    };
    use gatepost_smtp::path::{ForwardPath, ReversePath};

    fn keeps(default: Mode, text: &str) -> Vec<bool> {
        let site = Arc::new(Site { default_mode: default, ..(*test_policy::site()).clone() });
        let ruleset = Ruleset::compile(text, "policy.toml", &site).expect(text).ruleset;
        ruleset.entries().iter().map(|entry| entry.keeps_messages()).collect()
    }

    #[test]
    fn a_mode_of_its_own_decides() {
        let text = ["hybrid", "spool", "sync"]
            .map(|mode| {
                entry(mode, &format!("[\"10.0.{}.0/24\"]", mode.len()), &format!("mode = {mode:?}"))
            })
            .concat()
            .replace("10.0.5", "10.0.9")
            .replacen("10.0.4", "10.0.8", 1);
        let text = text + "[[route]]\nid = \"r\"\nmode = \"sync\"\n";
        for default in [Mode::Hybrid, Mode::Spool, Mode::Sync] {
            assert_eq!(keeps(default, &text), [true, true, false], "{default:?}");
        }
    }

    #[test]
    fn without_one_every_way_counts_that_a_message_may_take() {
        let fleet = entry("fleet", "[\"10.0.0.1\"]", "");
        let route = |lines: &str| format!("{fleet}[[route]]\nid = \"r\"\n{lines}\n");
        for (default, lines, expected) in [
            (Mode::Hybrid, "upstream = \"ses\"", true),
            (Mode::Sync, "upstream = \"ses\"", false),
            (Mode::Hybrid, "mode = \"sync\"", false),
            (Mode::Sync, "mode = \"spool\"", true),
            // Some of its messages take the route, some do not.
            (Mode::Hybrid, "mode = \"sync\"\nrecipient_domains = [\"a.test\"]", false),
            (Mode::Sync, "mode = \"spool\"\nrecipient_domains = [\"a.test\"]", false),
            // None does.
            (Mode::Hybrid, "mode = \"sync\"\nsender_domains = [\"other.test\"]", true),
            (Mode::Hybrid, "mode = \"sync\"\nsender_domains = [\"<>\"]", true),
            // What takes all of them hides what comes behind it.
            (Mode::Hybrid, "mode = \"spool\"\n[[route]]\nid = \"s\"\nmode = \"sync\"", true),
            (
                Mode::Hybrid,
                "mode = \"spool\"\nrecipient_domains = [\"a.test\"]\n[[route]]\nid = \"s\"\nmode = \"sync\"",
                false,
            ),
        ] {
            assert_eq!(keeps(default, &route(lines)), [expected], "{default:?}: {lines}");
        }
        let others = entry("other", "[\"10.0.0.2\"]", "");
        let text = format!(
            "{fleet}{others}[[route]]\nid = \"r\"\nmode = \"sync\"\nentries = [\"other\"]\n"
        );
        assert_eq!(keeps(Mode::Hybrid, &text), [true, false]);
    }

    #[test]
    fn the_terms_of_a_credential_have_ways_too() {
        let hash = format!("$argon2id$v=19$m=8,t=1,p=1${}${}", "c2FsdHNhbHQ", "A".repeat(43));
        let text = format!(
            "[[credential]]\nid = \"crm\"\nusername = \"crm\"\npassword_hash = {hash:?}\nsenders = [\"a.test\"]\n\
             [[route]]\nid = \"r\"\nentries = [\"crm\"]\nmode = \"sync\"\n"
        );
        let ruleset = test_policy::compile(&text).expect("good").ruleset;
        assert!(!ruleset.credential("crm").expect("is there").entry().keeps_messages());
        let text = text.replace("mode = \"sync\"", "mode = \"hybrid\"");
        let ruleset = test_policy::compile(&text).expect("good").ruleset;
        assert!(ruleset.credential("crm").expect("is there").entry().keeps_messages());
    }

    proptest! {
        /// Whoever is promised it is never led anywhere else.
        #[test]
        fn no_message_of_a_keeper_takes_a_way_that_keeps_nothing(
            text in test_policy::policies(),
            modes in prop::collection::vec(prop::sample::select(vec!["sync", "spool", "hybrid"]), 3),
            default in prop::sample::select(vec![Mode::Hybrid, Mode::Spool, Mode::Sync]),
        ) {
            let mut text = text;
            for mode in modes {
                text = text.replacen("mode = \"sync\"\n", &format!("mode = '{mode}'\n"), 1);
            }
            let site = Arc::new(Site { default_mode: default, ..(*test_policy::site()).clone() });
            let Ok(compiled) = Ruleset::compile(&text, "policy.toml", &site) else { return Ok(()) };
            let ruleset = compiled.ruleset;
            for entry in ruleset.entries() {
                for sender in [&b"<>"[..], b"<x@a.example>", b"<u@b>", b"<x@deep.a.example>", b"<x@c.example>"] {
                    let (sender, _) = ReversePath::split_from(sender).expect("a path");
                    if !entry.senders().iter().any(|pattern| pattern.matches(&sender)) {
                        continue;
                    }
                    for recipient in [&b"<x@r.example>"[..], b"<x@other.example>"] {
                        let (recipient, _) = ForwardPath::split_from(recipient).expect("a path");
                        let way = ruleset.routes().way(entry, &sender, &recipient).expect("a way");
                        prop_assert!(
                            !entry.keeps_messages() || way.mode.keeps_messages(),
                            "{} in {text}", entry.id()
                        );
                    }
                }
            }
        }
    }
}
