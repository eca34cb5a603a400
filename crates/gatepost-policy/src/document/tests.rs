use proptest::prelude::*;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(default)]
    item: Vec<Spanned<Item>>,
    later: Option<NotBuilt>,
    later_list: Option<NotBuilt>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    name: String,
    #[serde(default)]
    numbers: Vec<Spanned<u8>>,
    later: Option<NotBuilt>,
    inner: Option<Inner>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    later: Option<NotBuilt>,
}

fn error(text: &str) -> String {
    parse::<Whole>(text, "x.toml").expect_err(text).to_string()
}

#[test]
fn a_good_document_is_read_with_spans() {
    let text = "[[item]]\nname = \"a\"\nnumbers = [1, 2]\ninner = {}\n";
    let whole: Whole = parse(text, "x.toml").expect("a good document");
    let item = whole.item[0].get_ref();
    assert_eq!((item.name.as_str(), item.numbers[1].span().start), ("a", 34));
    assert_eq!(Position::of(text, 34), Position { line: 3, column: 15 });
    assert!(whole.later.is_none() && whole.later_list.is_none() && item.later.is_none());
    assert!(item.inner.as_ref().is_some_and(|inner| inner.later.is_none()));
    assert_eq!(size_of::<Option<NotBuilt>>(), 0);
}

#[test]
fn errors_name_line_column_and_key() {
    for (text, told) in [
        ("nonsense", "x.toml:1:9: "),
        ("a = 1\nb = \n", "x.toml:2:5: "),
        ("[[item]]\nname = \"a\"\nname = \"b\"", "x.toml:3:1: duplicate key"),
        ("\nunknown = 1", "x.toml:2:1: unknown: unknown key `unknown`, expected one of `item`"),
        ("[[item]]\nname = \"a\"\n\n  numbs = 1", "x.toml:4:3: item[0].numbs: unknown key `numbs`"),
        ("[[item]]\nnumbers = []", "x.toml:1:1: item[0]: missing key `name`"),
        ("[[item]]\nname = 5", "x.toml:2:8: item[0].name: invalid type: integer `5`, expected"),
        (
            "[[item]]\nname = \"a\"\n[[item]]\nname = \"ä\"\nnumbers = [1, 700]",
            "x.toml:5:15: item[1].numbers[1]: invalid value",
        ),
        ("item = 3", "x.toml:1:8: item: invalid type: integer `3`, expected a sequence"),
    ] {
        let error = error(text);
        assert!(error.starts_with(told), "{text:?}: {error}");
    }
}

#[test]
fn keys_that_are_not_built_are_refused_by_name() {
    for (text, told) in [
        ("\n later = 5", "x.toml:2:10: later: not built yet"),
        ("[later]\na = 1", "x.toml:1:1: later: not built yet"),
        ("[[item]]\nname = \"a\"\nlater = [1, 2]", "x.toml:3:9: item[0].later: not built yet"),
        (
            "[[item]]\nname = \"a\"\n[item.inner]\nlater = 1",
            "x.toml:4:9: item[0].inner.later: not built yet",
        ),
        (
            "[[item]]\nname = \"a\"\ninner.later = 1",
            "x.toml:3:15: item[0].inner.later: not built yet",
        ),
        ("[[later_list]]\na = 1\n[[later_list]]\n", "x.toml:1:1: later_list: not built yet"),
        ("later = 2026-01-01T00:00:00Z", "x.toml:1:9: later: not built yet"),
    ] {
        assert_eq!(error(text), told, "{text:?}");
    }
}

#[test]
fn control_characters_are_escaped() {
    let error = error("\"\\u001b[31m\\n\" = 1");
    assert!(error.contains("unknown key `\\u{1b}[31m\\n`"), "{error}");
    assert!(!error.contains(char::is_control), "{error}");
}

#[test]
fn columns_count_characters() {
    assert_eq!(Position::of("", 0), Position { line: 1, column: 1 });
    assert_eq!(Position::of("ä = 1", 3), Position { line: 1, column: 3 });
    assert_eq!(Position::of("a\r\nb", 3), Position { line: 2, column: 1 });
    assert_eq!(Position::of("a\n", 900), Position { line: 2, column: 1 });
}

#[test]
fn salvage_tells_one_fault_an_item() {
    let text = "later = 1\n[[item]]\nname = 1\n[[item]]\nname = \"b\"\n[[item]]\nnom = 1\n";
    let salvage = salvage::<Item, Whole>(text, "item", 7);
    assert_eq!(salvage.count, 3);
    let [item] = &salvage.items[..] else { panic!("one item is right") };
    assert_eq!(item.get_ref().name, "b");
    assert_eq!(item.span().start, text.find("[[item]]\nname = \"b\"").expect("it is there"));
    let keys: Vec<_> = salvage.faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["later", "item[7].name", "item[9].nom"]);
    let lines: Vec<_> = salvage.faults.iter().map(|fault| line(text, fault)).collect();
    assert_eq!(lines, [1, 3, 7]);
    assert_eq!(salvage.faults[0].message, "not built yet");
}

#[test]
fn salvage_tells_every_syntax_error_and_nothing_else() {
    let text = "a = \nb = \nitem = 3";
    let salvage = salvage::<Item, Whole>(text, "item", 0);
    assert!(salvage.items.is_empty());
    let lines: Vec<_> = salvage.faults.iter().map(|fault| line(text, fault)).collect();
    assert_eq!(lines, [1, 2]);
}

fn line(text: &str, fault: &Fault) -> usize {
    Position::of(text, fault.offset.expect("a place")).line
}

proptest! {
    #[test]
    fn no_text_panics(text in "(item|\\[\\[item\\]\\]|name|later|[ =\\[\\]{}.\"'\n\r#,0-9a\u{e4}\u{1b}]){0,30}") {
        if let Err(error) = parse::<Whole>(&text, "x.toml") {
            let _ = error.to_string();
            let _ = salvage::<Item, Whole>(&text, "item", 0);
        }
    }
}

#[test]
fn details_are_lines_below_the_error() {
    let error = DocumentError::without_position("x.toml", "item", "wrong")
        .in_place(Position { line: 3, column: 1 })
        .with_details("one\ntwo \u{1b}[31m".lines());
    assert_eq!(error.to_string(), "x.toml:3:1: item: wrong\n    one\n    two \\u{1b}[31m");
    assert_eq!(error.details(), ["one", "two \\u{1b}[31m"]);
}

proptest! {
    /// Places that are found in one pass are those that are found one by one.
    #[test]
    fn places_are_counted_on(
        text in prop::collection::vec(prop::sample::select(vec!["a", "ä", "\n", "\r\n", "🎉"]), 0..20),
        mut offsets in prop::collection::vec(0_usize..60, 0..10),
    ) {
        let text = text.concat();
        offsets.sort_unstable();
        let mut places = Places::of(&text);
        for offset in offsets {
            let before = &text[..text.floor_char_boundary(offset)];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
            prop_assert_eq!(places.next(offset), Position { line, column });
            prop_assert_eq!(Position::of(&text, offset), Position { line, column });
        }
    }
}
