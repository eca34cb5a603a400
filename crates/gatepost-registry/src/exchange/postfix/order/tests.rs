use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::exchange::{Defaults, Format, Imported, import};

/// Imports a list of Postfix.
fn imported(text: &str) -> Imported {
    let defaults = Defaults { senders: vec!["example.com".to_owned()], ..Defaults::default() };
    import(Format::Postfix, text, "t", &defaults, &mut |_, _| {}).expect("a good list")
}

/// What the imported entries say: networks, and whether they let in.
fn entries(imported: &Imported) -> Vec<(IpNet, bool)> {
    let mut entries = Vec::new();
    for item in &imported.items {
        let table = item.table();
        let lets_in = table.get("action").is_none();
        for network in table["networks"].as_array().expect("a list") {
            let network = network.as_str().expect("a text").parse().expect("a network");
            entries.push((network, lets_in));
        }
    }
    entries
}

/// What the policy does with a client: the longest prefix decides.
fn lets_in(entries: &[(IpNet, bool)], client: IpAddr) -> Option<bool> {
    let matching = entries.iter().filter(|(network, _)| network.contains(&client));
    matching.max_by_key(|(network, _)| network.prefix_len()).map(|(_, lets_in)| *lets_in)
}

/// What Postfix does with a client: the first rule that matches.
fn first_match(rules: &[(IpNet, Meaning)], client: IpAddr) -> Option<Meaning> {
    rules.iter().find(|(network, _)| network.contains(&client)).map(|(_, meaning)| *meaning)
}

/// Networks of few addresses, so that they meet.
fn network() -> impl Strategy<Value = IpNet> {
    (any::<bool>(), 0_u8..32, 0_u8..=5).prop_map(|(is_ipv4, n, bits)| {
        let n = n >> bits << bits;
        if is_ipv4 {
            IpNet::new_assert([192, 0, 2, n].into(), 32 - bits)
        } else {
            IpNet::new_assert([0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()].into(), 128 - bits)
        }
    })
}

fn clients() -> impl Iterator<Item = IpAddr> {
    let ipv4 = (0..34).map(|n| [192, 0, 2, n].into());
    ipv4.chain((0..34).map(|n| [0x2001, 0xdb8, 0, 0, 0, 0, 0, n].into()))
}

fn result(meaning: Meaning) -> &'static str {
    match meaning {
        Meaning::Allow => "OK",
        Meaning::Deny => "REJECT no relaying",
        Meaning::Pass => "DUNNO",
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whom Postfix refuses or leaves to others is not let in, and whom it lets in is; no network is
    /// there twice.
    #[test]
    fn a_table_lets_in_whom_postfix_lets_in(rules in prop::collection::vec(
        (network(), prop::sample::select(vec![Meaning::Allow, Meaning::Allow, Meaning::Deny, Meaning::Pass])),
        1..12,
    )) {
        let line = |(network, meaning): &(IpNet, Meaning)| format!("{network} {}", result(*meaning));
        let text = rules.iter().map(line).collect::<Vec<_>>().join("\n");
        let entries = entries(&imported(&text));
        for client in clients() {
            let postfix = first_match(&rules, client);
            let policy = lets_in(&entries, client);
            prop_assert_eq!(policy == Some(true), postfix == Some(Meaning::Allow), "{}\n{}", client, &text);
            if postfix == Some(Meaning::Deny) {
                prop_assert_eq!(policy, Some(false), "{}\n{}", client, &text);
            }
        }
        let mut networks: Vec<_> = entries.iter().map(|(network, _)| network).collect();
        networks.sort_unstable();
        networks.dedup();
        prop_assert_eq!(networks.len(), entries.len());
    }

    /// The same of `mynetworks`, where ! refuses.
    #[test]
    fn a_list_lets_in_whom_postfix_lets_in(rules in prop::collection::vec((network(), any::<bool>()), 1..12)) {
        let pattern = |(network, lets_in): &(IpNet, bool)| match network {
            IpNet::V6(network) => format!(
                "{}[{}]/{}", if *lets_in { "" } else { "!" }, network.addr(), network.prefix_len()
            ),
            IpNet::V4(network) => format!("{}{network}", if *lets_in { "" } else { "!" }),
        };
        let text = rules.iter().map(pattern).collect::<Vec<_>>().join(", ");
        let entries = entries(&imported(&text));
        for client in clients() {
            let postfix = rules.iter().find(|(network, _)| network.contains(&client));
            let postfix = postfix.is_some_and(|(_, lets_in)| *lets_in);
            prop_assert_eq!(lets_in(&entries, client) == Some(true), postfix, "{}: {}", client, &text);
        }
    }

    /// A list that only lets in becomes the networks that the library makes of it.
    #[test]
    fn what_only_lets_in_becomes_the_fewest(networks in prop::collection::vec(network(), 1..20)) {
        let text = networks.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let mut fewest = IpNet::aggregate(&networks);
        fewest.sort_unstable();
        let entries: Vec<_> = entries(&imported(&text)).into_iter().map(|(network, _)| network).collect();
        prop_assert_eq!(entries, fewest);
    }
}

#[test]
fn halves_that_cover_a_whole_replace_it() {
    // The rule for the /31 holds for nobody, and its two halves refuse.
    let text = "192.0.2.0 REJECT\n192.0.2.1 REJECT\n192.0.2.0/31 OK\n192.0.2.0/30 OK\n";
    let entries = entries(&imported(text));
    let shown: Vec<_> = entries.iter().map(|(network, is)| format!("{network} {is}")).collect();
    assert_eq!(shown, ["192.0.2.0/30 true", "192.0.2.0/31 false"]);
}

#[test]
fn all_of_ipv4_is_never_made() {
    let text = "0.0.0.0/1 REJECT\n128.0.0.0/1 REJECT\n::/0 REJECT\n";
    let imported = imported(text);
    assert_eq!(imported.items.len(), 1);
    assert!(imported.items[0].body().contains(r#"["0.0.0.0/1", "128.0.0.0/1"]"#));
    assert_eq!(
        imported.notes[0].to_string(),
        "t:3: ::/0 is left out: who is in no entry is refused anyway"
    );
}
