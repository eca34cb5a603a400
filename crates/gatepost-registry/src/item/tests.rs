use proptest::prelude::*;

use super::*;

const POLICY: &str = r#"
        [[route]]
        upstream = "a"
        id = "r"

        [[entry]]   # a comment
        senders = ["*.example.org", 'a@b.example']
        id = "billing"
        expires = 2027-01-01T00:00:00Z
        networks = [ "10.0.0.0/8",
                     "2001:db8::/48" ]
        "odd key" = { x = 1 }
        max_recipients = 100

        [[expect]]
        ip = "10.0.0.1"
        result = "accept"
    "#;

const CANONICAL: &str = r#"[[entry]]
id = "billing"
networks = ["10.0.0.0/8", "2001:db8::/48"]
senders = ["*.example.org", "a@b.example"]
max_recipients = 100
expires = 2027-01-01T00:00:00Z
"odd key" = { x = 1 }

[[route]]
id = "r"
upstream = "a"

[[expect]]
ip = "10.0.0.1"
result = "accept"
"#;

#[test]
fn a_policy_becomes_canonical_and_stays_so() {
    let items = super::items(POLICY, "policy.toml").expect("a good policy");
    assert_eq!(policy_text(&items), CANONICAL);
    let again = super::items(CANONICAL, "policy.toml").expect("as good");
    assert_eq!(again, items);
    let ids: Vec<_> = items.iter().map(|item| (item.kind().name(), item.id())).collect();
    assert_eq!(ids[..2], [("entry", "billing"), ("route", "r")]);
    assert_eq!(ids[2].1.len(), 2 * HASH_OCTETS);
    for item in &items {
        assert_eq!(Item::new(item.kind(), &item.table()).as_ref(), Ok(item));
        assert_eq!(Item::from_body(item.kind(), item.body(), "x").as_ref(), Ok(item));
    }
}

#[test]
fn values_that_need_care_survive() {
    let body =
        "description = \"a \\\"quoted\\\" \\\\ text\\nin two lines \\u0007 \\u007f\"\nid = \"a\"\n";
    let item = Item::from_body(Kind::Entry, body, "x").expect("an item");
    let again = Item::from_body(Kind::Entry, item.body(), "x").expect("as good");
    assert_eq!(item, again);
    assert_eq!(item.body().lines().count(), 2, "one line a key");
    assert_eq!(
        again.table()["description"].as_str(),
        Some("a \"quoted\" \\ text\nin two lines \u{7} \u{7f}")
    );
}

#[test]
fn what_would_not_be_seen_is_escaped() {
    let text = "a\u{9b}31m\u{85}\u{202e}b\u{200b}\u{2028}\u{e0041}é🙂";
    let nested = Table::from_iter([(text.to_owned(), Value::from(text))]);
    let values = [Value::from(text), Value::from(vec![text]), Value::from(nested)];
    let escaped = r#""a\u009b31m\u0085\u202eb\u200b\u2028\U000e0041é🙂""#;
    for (value, written) in values.into_iter().zip([
        escaped.to_owned(),
        format!("[{escaped}]"),
        format!("{{ {escaped} = {escaped} }}"),
    ]) {
        let mut table = Table::from_iter([("id".to_owned(), Value::from("a"))]);
        table.insert("description".to_owned(), value);
        let item = Item::new(Kind::Entry, &table).expect("it has an id");
        assert_eq!(item.body(), format!("id = \"a\"\ndescription = {written}\n"));
        assert_eq!(item.table(), table);
    }
}

/// Characters of all classes, and as often those that are not seen.
fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        any::<char>(),
        any::<char>().prop_filter("seen", |c| c.is_control()),
        prop::char::range('\u{0}', '\u{ff}'),
        prop::char::range('\u{600}', '\u{620}'),
        prop::char::range('\u{2000}', '\u{2070}'),
        prop::char::range('\u{fe00}', '\u{ffff}'),
        prop::char::range('\u{e0000}', '\u{e01ff}'),
        prop::sample::select(vec!['"', '\\', '\'', '\n', 'u', 'U', '0']),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(character(), 0..12).prop_map(String::from_iter)
}

proptest! {
    /// Whatever a text holds, its item is shown line by line and says the same.
    #[test]
    fn a_body_is_safe_to_show_and_says_the_same(
        key in text(),
        values in prop::collection::vec(text(), 4),
    ) {
        let [plain, listed, nested, name] = &*values else { unreachable!("there are four") };
        let mut table = Table::from_iter([("id".to_owned(), Value::from("a"))]);
        table.insert(key.clone() + "-", Value::from(&**plain));
        table.insert("senders".to_owned(), Value::from(vec![&**listed]));
        let inner = Table::from_iter([(name.clone(), Value::from(&**nested))]);
        table.insert("odd".to_owned(), Value::from(inner));
        let item = Item::new(Kind::Entry, &table).expect("it has an id");
        prop_assert_eq!(item.body().lines().count(), table.len());
        let unseen = item.body().lines().flat_map(str::chars).find(|c| Printable::escapes(*c));
        prop_assert_eq!(unseen, None);
        prop_assert_eq!(item.table(), table);
        let again = Item::from_body(Kind::Entry, item.body(), "x");
        prop_assert_eq!(again.as_ref(), Ok(&item));
    }
}

#[test]
fn what_is_no_item_is_refused_with_its_mend() {
    let error = |text: &str| super::items(text, "p.toml").expect_err("is wrong").to_string();
    assert_eq!(
        error("[[entry]]\nenabled = true\n"),
        "a table [[entry]] has no id; give it one, like id = \"billing\""
    );
    assert_eq!(error("[entry]\n"), "entry is not a list of tables; write [[entry]]");
    assert_eq!(error("entry = [1]\n"), "entry is not a list of tables; write [[entry]]");
    assert!(error("[[entrys]]\n").starts_with("\"entrys\" is not a table of a policy"));
    assert!(error("[[entry]\n").starts_with("p.toml:1:"));
}

#[test]
fn a_credential_is_shown_without_its_hash() {
    let hash = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let body = |hash: &str| {
        let text =
            format!("username = \"crm\"\nid = \"crm\"\npassword_hash = {hash:?}\nsenders = []\n");
        Item::from_body(Kind::Credential, &text, "policy.toml").expect("one").body().to_owned()
    };
    let shown = masked(Kind::Credential, body(hash));
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines[..2], ["id = \"crm\"", "username = \"crm\""]);
    assert!(lines[2].starts_with("password_hash = \"$argon2id$… (") && lines[2].ends_with(")\""));
    assert_eq!((lines[3], lines.len()), ("senders = []", 4));
    assert!(!shown.contains("AAAA") && !shown.contains("c2Fsd"), "{shown}");
    let other = masked(Kind::Credential, body(&hash.replace('A', "B")));
    assert_ne!(other, shown, "a change is seen");
    let entry = "password_hash = \"x\"\n".to_owned();
    assert_eq!(masked(Kind::Entry, entry.clone()), entry);
}
