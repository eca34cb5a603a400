use gatepost_policy::printable::Printable;
use proptest::{
    prelude::*,
    sample::{Index, select},
};
use toml::{Table, Value};

use super::*;
use crate::item::{Kind, policy_text};

fn read(format: Format, text: &str) -> Result<Imported, ImportErrors> {
    let defaults = Defaults { senders: vec!["example.com".to_owned()], ..Defaults::default() };
    import(format, text, "list", &defaults, &mut |_, _| {})
}

fn taken(format: Format, text: &str) -> Vec<Item> {
    read(format, text).unwrap_or_else(|errors| panic!("{errors}\n{text}")).items
}

fn written(format: Format, items: &[Item]) -> String {
    export(format, items).expect("can be written").text
}

fn errors(format: Format, text: &str) -> Vec<String> {
    let errors = read(format, text).expect_err(text);
    errors.errors.iter().map(ToString::to_string).collect()
}

/// Texts with everything that a format could trip over.
fn text() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "a",
        "Z",
        "9",
        " ",
        "  ",
        "\"",
        "\"\"",
        "'",
        "\\",
        "\n",
        "\r",
        "\r\n",
        "\t",
        "\0",
        "\u{1b}",
        ",",
        ";",
        "[",
        "]",
        "{",
        "}",
        "#",
        "=",
        "+",
        "-",
        "@",
        "＝",
        "=cmd|' /C calc'!A0",
        "ä",
        "日本",
        "\u{feff}",
        "\u{a0}",
        "\u{2028}",
        "\u{9b}",
        "\u{202e}",
        "\u{200b}",
        "\u{e0041}",
        "null",
        "true",
        "1",
        "2027-01-01T00:00:00Z",
        "[]",
        "[\"a\"]",
        "\"\"\"",
        "'''",
        "*",
        "<>",
    ]);
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn list() -> impl Strategy<Value = Value> {
    let item = prop_oneof![
        text(),
        select(vec![
            "*",
            "<>",
            "*.example.org",
            "\"a b\"@example.com",
            "\"a,b;c\"@example.com",
            "=a@example.com",
            "10.0.0.0/8",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(item, 0..4)
        .prop_map(|items| Value::Array(items.into_iter().map(Value::String).collect()))
}

fn date() -> impl Strategy<Value = Value> {
    let dates = [
        "2027-01-01T00:00:00Z",
        "2026-02-28T23:59:59.123456789+05:30",
        "1999-12-31T00:00:00-08:00",
        "2027-01-01",
        "2027-01-01T10:00:00",
    ];
    select(dates.to_vec()).prop_map(|date| Value::Datetime(date.parse().expect("a date")))
}

/// The value of a key of the contract.
fn value(key: &'static str) -> BoxedStrategy<Value> {
    match key {
        "networks"
        | "services"
        | "senders"
        | "recipients"
        | "helo"
        | "client_certificate"
        | "add_missing_headers"
        | "entries"
        | "sender_domains"
        | "recipient_domains" => list().boxed(),
        "enabled" => any::<bool>().prop_map(Value::Boolean).boxed(),
        "max_recipients" | "max_connections" => any::<i64>().prop_map(Value::Integer).boxed(),
        "not_before" | "expires" | "at" => date().boxed(),
        _ => text().prop_map(Value::String).boxed(),
    }
}

fn item(kind: Kind) -> impl Strategy<Value = Item> {
    const ENTRY: [&str; 27] = [
        "networks",
        "description",
        "owner",
        "enabled",
        "action",
        "services",
        "senders",
        "recipients",
        "helo",
        "header_from",
        "tls",
        "client_certificate",
        "authentication",
        "upstream",
        "mode",
        "max_message_size",
        "max_recipients",
        "max_connections",
        "message_rate",
        "recipient_rate",
        "duplicate_rate",
        "bare_newlines",
        "add_missing_headers",
        "not_before",
        "expires",
        "expiry",
        "acknowledge",
    ];
    let keys: &[&'static str] = match kind {
        Kind::Entry => &ENTRY,
        Kind::Credential => &["username", "password_hash", "senders", "expires", "max_recipients"],
        Kind::Route => &[
            "entries",
            "sender_domains",
            "recipient_domains",
            "upstream",
            "mode",
            "rewrite_mail_from",
        ],
        Kind::Expect => {
            &["ip", "from", "rcpt", "helo", "tls", "service", "at", "result", "upstream", "entry"]
        }
    };
    let optional = |key: &&'static str| {
        let key = *key;
        prop::option::of(value(key))
            .prop_map(move |value| value.map(|value| (key.to_owned(), value)))
    };
    let pairs: Vec<_> = keys.iter().map(optional).collect();
    let id = (text(), "[a-z0-9._-]{1,8}").prop_map(|(odd, id)| odd + &id);
    (pairs, id).prop_map(move |(pairs, id)| {
        let mut table: Table = pairs.into_iter().flatten().collect();
        if kind != Kind::Expect {
            table.insert("id".to_owned(), Value::String(id));
        }
        Item::new(kind, &table).expect("an item")
    })
}

/// Items in the order of a policy, none of which is there twice.
fn items(kinds: &'static [Kind]) -> impl Strategy<Value = Vec<Item>> {
    let item = any::<Index>().prop_flat_map(move |index| item(*index.get(kinds)));
    prop::collection::vec(item, 0..8).prop_map(|mut items| {
        let mut seen = std::collections::HashSet::new();
        items.retain(|item| seen.insert((item.kind(), item.id().to_owned())));
        items.sort_by_key(Item::kind);
        items
    })
}

proptest! {
    #[test]
    fn toml_and_json_come_back(items in items(&Kind::ALL)) {
        prop_assert_eq!(&taken(Format::Toml, &written(Format::Toml, &items)), &items);
        let json = written(Format::Json, &items);
        prop_assert_eq!(&taken(Format::Json, &json), &items, "{}", &json);
        // And it is JSON to others.
        prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
    }

    #[test]
    fn entries_come_back_from_csv(entries in items(&[Kind::Entry])) {
        let csv = written(Format::Csv, &entries);
        prop_assert_eq!(&taken(Format::Csv, &csv), &entries, "{}", &csv);
        // Nothing in it is a formula, and it is CSV to others.
        for row in csv::ReaderBuilder::new().from_reader(csv.as_bytes()).records() {
            for cell in &row.expect("a row of as many cells") {
                let is_number = cell.parse::<i64>().is_ok();
                prop_assert!(is_number || !cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{}", cell);
            }
        }
    }

    /// Nothing that a list can hold makes a format panic, and what it takes has names.
    #[test]
    fn no_list_is_too_odd(pieces in prop::collection::vec(text(), 0..12), format in select(Format::ALL.to_vec())) {
        if let Ok(imported) = read(format, &pieces.concat()) {
            prop_assert!(imported.items.iter().all(|item| !item.id().is_empty()));
        }
    }
}

#[test]
fn errors_are_collected_and_bounded() {
    let text: String = "id,enabled\n".to_owned() + &"a,perhaps\n".repeat(250);
    let errors = read(Format::Csv, &text).expect_err("wrong rows");
    assert_eq!((errors.errors.len(), errors.more), (100, 150));
    let shown = errors.to_string();
    assert!(shown.starts_with("list:2: enabled: \"perhaps\" is neither true nor false\nlist:3: "));
    assert!(shown.ends_with("\nand 150 more"));
}

#[test]
fn progress_grows_to_the_whole() {
    let text = "192.0.2.1\n".repeat(10_000);
    let mut told = Vec::new();
    let defaults = Defaults { senders: vec!["*".to_owned()], ..Defaults::default() };
    for format in [Format::Smartermail, Format::Sendgrid, Format::Postfix] {
        told.clear();
        import(format, &text, "list", &defaults, &mut |read, all| told.push((read, all)))
            .expect("a good list");
        assert!(told.is_sorted() && told.last() == Some(&(100_000, 100_000)), "{told:?}");
    }
}

#[test]
fn the_same_name_twice_is_refused_with_both_places() {
    for (format, text) in [
        (Format::Toml, "[[entry]]\nid = \"a\"\n[[entry]]\nid = \"a\"\n"),
        (Format::Json, "[\n{\"id\": \"a\"},\n{\"id\": \"a\", \"tls\": \"required\"}]"),
        (Format::Csv, "id,tls\n\na,\n\na,required\n"),
    ] {
        let (first, second) = match format {
            Format::Toml => (1, 3),
            Format::Json => (2, 3),
            _ => (3, 5),
        };
        let message = format!(
            "list:{second}: entry \"a\" is in line {first} already; give one of them another id"
        );
        assert_eq!(errors(format, text), [message]);
    }
}

#[test]
fn the_same_expectation_twice_is_one() {
    let text = "[[expect]]\nip = \"10.0.0.1\"\n[[expect]]\nip = \"10.0.0.1\"\n[[expect]]\nip = \"10.0.0.2\"\n";
    let imported = read(Format::Toml, text).expect("good");
    assert_eq!(imported.items.len(), 2);
    let notes: Vec<_> = imported.notes.iter().map(ToString::to_string).collect();
    assert_eq!(notes, ["list:3: the same [[expect]] is in line 1; once is enough"]);
}

#[test]
fn wrong_tables_are_told_with_their_lines() {
    let text = "[[route]]\nupstream = \"a\"\n\n[[entry]]\nid = \"a\"\n[[entry]]\nenabled = true\n";
    assert_eq!(
        errors(Format::Toml, text),
        [
            "list:1: a table [[route]] has no id; give it one, like id = \"billing\"",
            "list:6: a table [[entry]] has no id; give it one, like id = \"billing\"",
        ]
    );
    assert!(errors(Format::Toml, "\n[[entry]\n")[0].starts_with("list:2: "));
    assert!(errors(Format::Toml, "[[entrys]]\n")[0].starts_with("list: \"entrys\" is not a table"));
}

#[test]
fn json_is_read_strictly() {
    for (text, message) in [
        (
            "{\"entry\": [\n{\"id\": \"a\",\n\"tls\": null}]}",
            "list:3: null says nothing; leave the key out",
        ),
        ("[{\"id\": \"a\", \"id\": \"b\"}]", "list:1: the key \"id\" is there twice; take one out"),
        (
            "[{\"id\": \"a\", \"max_recipients\": 9223372036854775808}]",
            "list:1: the number is too large",
        ),
        (
            "[\n{\"id\": \"a\", \"expires\": \"tomorrow\"}]",
            "list:2: expires: \"tomorrow\" is not a date; write it like 2027-01-01T00:00:00Z",
        ),
        ("[1]", "list:1: not an object; write it like {\"id\": \"billing\"}"),
        ("[{}]", "list:1: a table [[entry]] has no id; give it one, like id = \"billing\""),
        ("{\"entry\": [], \"entry\": []}", "list:1: duplicate field `entry`"),
        (
            "[{\"id\": \"a\", \"x\": [[[[[[[[[[1]]]]]]]]]]}]",
            "list:1: nested too deep; no key needs that",
        ),
    ] {
        assert_eq!(errors(Format::Json, text), [message], "{text}");
    }
    assert!(
        errors(Format::Json, "{\"entrys\": []}")[0]
            .contains("unknown field `entrys`, expected one of `entry`")
    );
    assert!(errors(Format::Json, "{\"entry\": [\n{]}")[0].starts_with("list:2: "));
    assert!(errors(Format::Json, &"[".repeat(100_000))[0].starts_with("list:1: "));
    assert_eq!(taken(Format::Json, "{}"), []);
    assert_eq!(written(Format::Json, &[]), "{}\n");
}

#[test]
fn csv_is_read_as_spreadsheets_write_it() {
    let text = "\u{feff}ID;Networks;senders;enabled;max_recipients;description\r\n\
                a;10.0.0.0/8, 10.1.0.0/16;[];FALSE;100;\"two\r\nlines\"\r\n\
                ;;;;;\r\n\
                b;10.2.0.0/16;;;;\"the \"\"Office\"\" in Rome\"\r\n";
    let items = taken(Format::Csv, text);
    let list = |items: &[&str]| Value::Array(items.iter().map(|item| (*item).into()).collect());
    let expected = Table::from_iter([
        ("id".to_owned(), Value::from("a")),
        ("networks".to_owned(), list(&["10.0.0.0/8", "10.1.0.0/16"])),
        ("senders".to_owned(), list(&[])),
        ("enabled".to_owned(), Value::from(false)),
        ("max_recipients".to_owned(), Value::from(100)),
        ("description".to_owned(), Value::from("two\r\nlines")),
    ]);
    assert_eq!(items[0].table(), expected);
    assert_eq!(items[1].table()["description"].as_str(), Some("the \"Office\" in Rome"));
    assert!(!items[1].table().contains_key("senders"));
}

#[test]
fn csv_is_read_strictly() {
    for (text, message) in [
        ("id,nets\n", "list:1: \"nets\" is no column; there are id, networks, description, "),
        ("id,id\n", "list:1: the column id is there twice; take one out"),
        (
            "id,tls\r\n\r\n\r\na\r\n",
            "list:4: 1 cells, but 2 columns; put a cell that holds a separator in quotes",
        ),
        ("id,tls\n,required\n", "list:2: the row has no id; give it one, like billing"),
        ("id,senders\na,[b\n", "list:2: senders: \"[b\" begins like a JSON array and is none"),
        (
            "id,senders\na,\"\"\"a b\"\"@c\"\n",
            "list:2: senders: \"\\\"a b\\\"@c\" has a quote; write the list as a JSON array",
        ),
        (
            "id,expires\na,01.01.2027\n",
            "list:2: expires: \"01.01.2027\" is not a date; write it like",
        ),
        ("id,max_recipients\na,many\n", "list:2: max_recipients: \"many\" is not a number"),
        (
            "id,owner\na,\"b\nc,d\n",
            "list:2: a quote is opened in this row or before and never closed",
        ),
        ("", "list: there is no row; the first one names the columns"),
    ] {
        let errors = errors(Format::Csv, text);
        assert!(errors.len() == 1 && errors[0].starts_with(message), "{text}: {errors:?}");
    }
}

#[test]
fn what_a_format_cannot_tell_is_refused_or_counted() {
    let of = |text: &str| crate::item::items(text, "p").expect("items");
    let items = of("[[entry]]\nid = \"a\"\nodd = 1\n");
    assert_eq!(
        export(Format::Csv, &items).expect_err("no column").to_string(),
        "odd of entry a cannot be told in csv; export as toml"
    );
    assert!(export(Format::Csv, &of("[[entry]]\nid = \"a\"\nenabled = \"no\"\n")).is_err());
    assert!(export(Format::Json, &of("[[entry]]\nid = \"a\"\nodd = 2027-01-01\n")).is_err());
    assert!(export(Format::Json, &of("[[entry]]\nid = \"a\"\nodd = [nan]\n")).is_err());
    assert!(
        export(Format::Json, &of("[[entry]]\nid = \"a\"\nexpires = \"2027-01-01\"\n")).is_err()
    );
    let items = of("[[entry]]\nid = \"a\"\n[[route]]\nid = \"b\"\n[[expect]]\nip = \"10.0.0.1\"\n");
    let exported = export(Format::Csv, &items).expect("the entry");
    assert_eq!((exported.text.as_str(), exported.left_out), ("id,networks\na,\n", 2));
    for format in [Format::Postfix, Format::Sendgrid, Format::Smartermail] {
        assert_eq!(export(format, &items), Err(ExportError::ReadOnly(format)));
    }
}

#[test]
fn exports_show_all_that_is_in_them() {
    let text = "Tür 1\u{202e}\u{200b}\u{9b}31m\u{7f}\u{e0041}";
    let mut table = Table::from_iter([("id".to_owned(), Value::from("a"))]);
    table.insert("description".to_owned(), Value::from(text));
    table.insert("senders".to_owned(), Value::from(vec![text]));
    let items = [Item::new(Kind::Entry, &table).expect("it has an id")];
    for format in [Format::Toml, Format::Json, Format::Csv] {
        let written = written(format, &items);
        let unseen = written.lines().flat_map(str::chars).find(|c| Printable::escapes(*c));
        assert_eq!(unseen, None, "{format:?}: {written}");
        assert!(written.contains("Tür 1\\u202e\\u200b\\u009b31m\\u007f"), "{written}");
        assert_eq!(taken(format, &written), items, "{format:?}");
    }
}

/// To Postfix the second line is a part of the first, and refuses.
#[test]
fn a_form_feed_makes_no_rule() {
    for space in ["\u{b}", "\u{c}", "\r", " ", "\t"] {
        let text = format!("10.1.0.0/16 REJECT\n{space}10.0.0.0/8 OK\n");
        let items = taken(Format::Postfix, &text);
        let policy = policy_text(&items);
        assert!(policy.contains("action = \"deny\"") && !policy.contains("10.0.0.0/8"), "{policy}");
        let text = format!("mynetworks = 10.1.0.0/16\n{space}10.2.0.0/16\nrelayhost = a\n");
        let policy = policy_text(&taken(Format::Postfix, &text));
        assert!(policy.contains("[\"10.1.0.0/16\", \"10.2.0.0/16\"]"), "{policy}");
    }
    // Only a space, a tab or a comma ends a pattern of mynetworks.
    for space in ["\u{b}", "\u{c}"] {
        let text = format!("mynetworks = 10.1.0.0/16{space}10.2.0.0/16\n");
        assert_eq!(errors(Format::Postfix, &text).len(), 1);
    }
}

#[test]
fn a_switch_without_a_header_lets_nobody_in() {
    let told = |line: usize, word: &str| {
        format!(
            "list:{line}: {word:?} switches something, and no header says what; put the header of the \
             page above the rows, without a # before it, like Address,SMTP Auth Bypass"
        )
    };
    for word in
        ["true", "false", "Yes", "no", "ON", "off", "1", "0", "enabled", "Disabled", " false "]
    {
        let shown = word.trim();
        assert_eq!(errors(Format::Smartermail, &format!("192.0.2.1,{word}\n")), [told(1, shown)]);
        let commented = format!("# Address,SMTP Auth Bypass\n192.0.2.1,office\n192.0.2.2,{word}\n");
        assert_eq!(errors(Format::Smartermail, &commented), [told(3, shown)]);
        // With its header the list says what it is for.
        let headed = format!("Address,SMTP Auth Bypass\n192.0.2.1,on\n192.0.2.2,{word}\n");
        assert_eq!(taken(Format::Smartermail, &headed).len(), 1);
        let described = format!("Address,Description\n192.0.2.2,{word}\n");
        assert_eq!(taken(Format::Smartermail, &described).len(), 1);
    }
    assert_eq!(taken(Format::Smartermail, "192.0.2.1,office 1\n192.0.2.2,\n192.0.2.3\n").len(), 2);
}

#[test]
fn formats_have_names() {
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(format));
    }
    assert!("yaml".parse::<Format>().is_err());
}
