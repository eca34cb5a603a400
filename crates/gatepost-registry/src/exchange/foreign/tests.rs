use std::collections::HashSet;

use proptest::{prelude::*, sample::select};

use crate::exchange::{Defaults, Format, import};

proptest! {
    /// Whoever is in a row is let in and nobody else is, however rows overlap; no network and no id is
    /// there twice, and each description has one entry at most.
    #[test]
    fn rows_let_in_whom_they_name(rows in prop::collection::vec(
        (0_u8..40, 0_u8..12, select(vec!["", "office", "Office!", "printers", "経理"])),
        1..12,
    )) {
        let line = |&(first, more, description): &(u8, u8, &str)| {
            format!("192.0.2.{first}-192.0.2.{},{description}", first + more)
        };
        let text = rows.iter().map(line).collect::<Vec<_>>().join("\n");
        let defaults = Defaults { senders: vec!["example.com".to_owned()], ..Defaults::default() };
        let imported = import(Format::Smartermail, &text, "t", &defaults, &mut |_, _| {});
        let (mut ids, mut networks, mut descriptions) =
            (HashSet::new(), HashSet::<ipnet::IpNet>::new(), HashSet::new());
        for item in imported.expect("a good list").items {
            prop_assert!(ids.insert(item.id().to_owned()), "{}\n{}", item.id(), &text);
            let table = item.table();
            let description = table.get("description").map(ToString::to_string);
            prop_assert!(descriptions.insert(description.clone()), "{:?}\n{}", description, &text);
            for network in table["networks"].as_array().expect("a list") {
                let network = network.as_str().expect("a text").parse().expect("a network");
                prop_assert!(networks.insert(network), "{}\n{}", network, &text);
            }
        }
        for n in 0_u8..60 {
            let client = std::net::IpAddr::from([192, 0, 2, n]);
            let is_named = rows.iter().any(|(first, more, _)| (*first..=first + more).contains(&n));
            let is_let_in = networks.iter().any(|network| network.contains(&client));
            prop_assert_eq!(is_let_in, is_named, "{}\n{}", client, &text);
        }
    }
}
