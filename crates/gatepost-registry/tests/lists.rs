//! Lists as they are found, and what becomes of them.
//!
//! Each list in `lists/` has a file `.golden` beside it: the policy text that it becomes and the notes,
//! or all of its errors.

use std::{fmt::Write as _, fs, path::PathBuf};

use gatepost_registry::{
    exchange::{Defaults, Format, Remark, export, import},
    item::policy_text,
};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/lists").join(name)
}

fn list(name: &str) -> String {
    fs::read_to_string(file(name)).expect(name)
}

fn defaults() -> Defaults {
    Defaults { senders: vec!["example.com".to_owned()], ..Defaults::default() }
}

/// What a list becomes, in full.
fn outcome(format: Format, name: &str, defaults: &Defaults) -> String {
    match import(format, &list(name), name, defaults, &mut |_, _| {}) {
        Ok(imported) => {
            let mut text = policy_text(&imported.items);
            for note in &imported.notes {
                let _ = writeln!(text, "# {note}");
            }
            text
        }
        Err(errors) => format!("{errors}\n"),
    }
}

#[test]
fn lists_become_what_they_say() {
    let full = Defaults {
        services: vec!["smtp".to_owned()],
        id_prefix: Some("old-relay".to_owned()),
        description: Some("Taken over from the old relay".to_owned()),
        owner: Some("team-mail".to_owned()),
        acknowledge: Some("the data centre is ours".to_owned()),
        ..defaults()
    };
    for (format, name, defaults) in [
        (Format::Postfix, "main.cf", &full),
        (Format::Postfix, "mynetworks.txt", &defaults()),
        (Format::Postfix, "relay-clients.cidr", &defaults()),
        (Format::Postfix, "broken.cf", &defaults()),
        (Format::Postfix, "broken.cidr", &defaults()),
        (Format::Sendgrid, "broken.json", &defaults()),
        (Format::Sendgrid, "sendgrid.json", &defaults()),
        (Format::Sendgrid, "sendgrid.txt", &full),
        (Format::Smartermail, "broken.csv", &defaults()),
        (Format::Smartermail, "services.csv", &full),
        (Format::Smartermail, "smartermail.csv", &defaults()),
        (Format::Smartermail, "smartermail.txt", &defaults()),
    ] {
        let outcome = outcome(format, name, defaults);
        assert_eq!(outcome, list(&format!("{name}.golden")), "{name} became\n{outcome}");
    }
}

#[test]
fn a_policy_looks_the_same_in_every_format() {
    let text = list("policy.toml");
    let imported = |format, text: &str| {
        import(format, text, "policy", &Defaults::default(), &mut |_, _| {})
            .expect("a good policy")
            .items
    };
    let items = imported(Format::Toml, &text);
    for (format, name, left_out) in [
        (Format::Toml, "policy.golden.toml", 0),
        (Format::Json, "policy.golden.json", 0),
        (Format::Csv, "policy.golden.csv", 3),
    ] {
        let exported = export(format, &items).expect("can be written");
        assert_eq!(exported.text, list(name), "{name}");
        assert_eq!(exported.left_out, left_out);
        assert_eq!(imported(format, &exported.text), items[..items.len() - left_out]);
    }
}

#[test]
fn lists_that_let_in_need_senders() {
    let nobody = Defaults::default();
    for (format, name, program) in [
        (Format::Postfix, "mynetworks.txt", "Postfix"),
        (Format::Sendgrid, "sendgrid.txt", "SendGrid"),
        (Format::Smartermail, "smartermail.txt", "SmarterMail"),
    ] {
        let errors =
            import(format, &list(name), name, &nobody, &mut |_, _| {}).expect_err("no senders");
        let message = format!(
            "a {program} list says nothing about senders; add them, like --sender billing.example.com"
        );
        let told: Vec<_> =
            errors.errors.iter().map(|Remark { line, message, .. }| (*line, message)).collect();
        assert_eq!(told, [(None, &message)]);
    }
    let refused = import(Format::Postfix, "192.0.2.1 REJECT\n", "t", &nobody, &mut |_, _| {});
    assert_eq!(refused.expect("needs none").items.len(), 1);
    let odd = Defaults { id_prefix: Some("Old Relay".to_owned()), ..defaults() };
    let errors = import(Format::Sendgrid, "192.0.2.1", "t", &odd, &mut |_, _| {}).expect_err("odd");
    assert!(errors.to_string().starts_with("t: \"Old Relay\" cannot begin an id; "));
}

#[test]
fn ids_are_slugs_and_stay() {
    let text: String = (1..=120).fold(String::new(), |mut text, n| {
        let description = [
            "Office!",
            "office",
            "経理",
            "",
            "a very long description of a printer on the second floor, left",
        ][n % 5];
        let _ = writeln!(text, "192.0.2.{n},\"{description}{}\"", " ".repeat(n % 3));
        text
    });
    let imported =
        || import(Format::Smartermail, &text, "t", &defaults(), &mut |_, _| {}).expect("good");
    let items = imported().items;
    assert_eq!(items, imported().items);
    let mut ids: Vec<_> = items.iter().map(gatepost_registry::item::Item::id).collect();
    assert!(ids.iter().all(|id| gatepost_policy::entry::is_id(id)), "{ids:?}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), items.len());
}
