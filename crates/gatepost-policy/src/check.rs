//! The decisions, in the order in which a connection meets them.
//!
//! Sessions call them to act, `explain` calls them to tell: there is no second place that decides,
//! and none that words a refusal. They are pure; a check that accepts allocates nothing.

use std::{net::IpAddr, sync::Arc};

use gatepost_smtp::{path::ReversePath, reply::Reply};

use crate::{
    entry::Entry, generation::Generation, listener::ListenerId, network::client_address,
    ruleset::Ruleset, verdict::Verdict,
};

/// Octets of a path that a reply repeats: with what stands around it, an entry id of full length
/// included, the line stays within 512 octets (RFC 5321 §4.5.3.1.5), and its end is not lost.
const QUOTED_OCTETS_MAX: usize = 300;

/// How a connection is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Greet; this entry says what the client may do.
    Allowed(Arc<Entry>),
    /// Greet with this refusal.
    Refused(Reply),
}

/// Decides about a client that connects, and again at MAIL when the generation has changed.
/// `hostname` is our own name, for the refusal.
pub fn greet(ruleset: &Ruleset, listener: ListenerId, client: IpAddr, hostname: &str) -> Greeting {
    if let Some(entry) = ruleset.lookup(listener, client) {
        return Greeting::Allowed(Arc::clone(entry));
    }
    let client = client_address(client);
    let text = format!("{hostname}: {client} is not on the allow-list");
    Greeting::Refused(Reply::new(554, (5, 7, 1), text))
}

/// Decides about the reverse-path of MAIL. `generation` is the one the entry was found in.
pub fn sender(entry: &Entry, generation: Generation, path: &ReversePath<'_>) -> Verdict {
    if entry.senders().iter().any(|pattern| pattern.matches(path)) {
        return Verdict::Accept;
    }
    let text = format!(
        "<{}> is not an allowed sender of entry {} (generation {generation})",
        quoted(path.as_bytes()),
        entry.id(),
    );
    Verdict::Reject(Reply::new(550, (5, 7, 1), text))
}

/// A message that is larger than is allowed, whether that was declared or turned out.
pub const TOO_LARGE: Reply =
    Reply::fixed(552, (5, 3, 4), "the message is larger than is allowed here");

/// Decides about the size that MAIL declares (RFC 1870 §6.1).
pub fn size(declared_octets: u64, octets_max: u64) -> Verdict {
    if declared_octets > octets_max { Verdict::Reject(TOO_LARGE) } else { Verdict::Accept }
}

/// A path as text, shortened in its end if it is very long.
fn quoted(octets: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(octets).into_owned();
    if text.len() > QUOTED_OCTETS_MAX {
        text.truncate(text.floor_char_boundary(QUOTED_OCTETS_MAX));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use gatepost_smtp::{path::PATH_OCTETS_MAX, reply::LINE_OCTETS_MAX};

    use super::*;

    const LISTENER: ListenerId = ListenerId::new(0);

    fn ruleset(senders: &str) -> Ruleset {
        let text = format!(
            "[[entry]]\nid = \"billing\"\nnetworks = [\"10.0.0.0/8\"]\nsenders = {senders}\n"
        );
        let compiled = Ruleset::compile(&text, "policy.toml", &["smtp"]).expect("a good policy");
        compiled.ruleset.with_revision(41)
    }

    fn judged(senders: &str, path: &str) -> Verdict {
        let ruleset = ruleset(senders);
        let (path, _) = ReversePath::split_from(path.as_bytes()).expect("a valid path");
        sender(&ruleset.entries()[0], ruleset.generation(), &path)
    }

    #[test]
    fn strangers_are_told_their_address() {
        for client in ["203.0.113.9", "::ffff:203.0.113.9"] {
            let client = client.parse().expect("an address");
            let Greeting::Refused(reply) =
                greet(&ruleset("[]"), LISTENER, client, "relay.example.com")
            else {
                panic!("{client} must be refused");
            };
            let told = "554 5.7.1 relay.example.com: 203.0.113.9 is not on the allow-list";
            assert_eq!(reply.to_string(), told);
        }
    }

    #[test]
    fn listed_clients_meet_their_entry() {
        let ruleset = ruleset("[]");
        for client in ["10.1.2.3", "::ffff:10.1.2.3"] {
            let client = client.parse().expect("an address");
            let greeting = greet(&ruleset, LISTENER, client, "relay.example.com");
            assert_eq!(greeting, Greeting::Allowed(Arc::clone(&ruleset.entries()[0])));
        }
    }

    #[test]
    fn a_wrong_sender_is_told_entry_and_generation() {
        let generation = ruleset("[\"example.com\"]").generation();
        let verdict = judged("[\"example.com\"]", "<a@b.example>");
        let reply = verdict.reply().expect("a refusal").to_string();
        let told = format!(
            "550 5.7.1 <a@b.example> is not an allowed sender of entry billing (generation {generation})"
        );
        assert_eq!(reply, told);
        assert!(told.contains("(generation 41-"));
    }

    #[test]
    fn the_null_reverse_path_is_judged_too() {
        assert_eq!(judged("[\"<>\"]", "<>"), Verdict::Accept);
        assert_eq!(judged("[\"*\", \"<>\"]", "<>"), Verdict::Accept);
        let verdict = judged("[\"*\"]", "<>");
        let told = verdict.reply().expect("a refusal").to_string();
        assert!(told.starts_with("550 5.7.1 <> is not an allowed sender of entry billing"));
    }

    #[test]
    fn without_senders_nobody_may_send() {
        for path in ["<>", "<a@b>"] {
            assert!(matches!(judged("[]", path), Verdict::Reject(_)));
        }
    }

    #[test]
    fn the_end_of_a_refusal_is_not_cut_off() {
        let path = format!("<{}é@b>", "ü".repeat((PATH_OCTETS_MAX - 4) / 2));
        let verdict = judged("[]", &path);
        let mut line = bytes::BytesMut::default();
        let octets = verdict.reply().expect("a refusal").encode(&mut line);
        assert!(octets <= LINE_OCTETS_MAX, "{octets}");
        let line = String::from_utf8_lossy(&line).into_owned();
        assert!(line.contains("...> is not an allowed sender of entry billing"), "{line}");
        assert!(line.ends_with(")\r\n"), "{line}");
    }
}
