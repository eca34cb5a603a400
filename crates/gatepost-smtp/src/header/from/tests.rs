use proptest::prelude::*;

use super::*;
use crate::header::{Progress, Section};

/// The addresses of a section, or the fault.
fn addresses(section: &[u8]) -> Result<Vec<String>, FromFault> {
    let utf8 = |mailbox: Mailbox<'_>| String::from_utf8_lossy(mailbox.as_bytes()).into_owned();
    from_mailboxes(section)?.map(|mailbox| mailbox.map(utf8)).collect()
}

/// The same for a section with one From field of this text.
fn addresses_of(text: &[u8]) -> Result<Vec<String>, FromFault> {
    addresses(&[b"Date: x\r\nFrom:", text, b"\r\nTo: t@t.example\r\n\r\nFrom: body\r\n"].concat())
}

#[test]
fn addresses_are_read_as_they_were_sent() {
    for (text, expected) in [
        (&b"a@b.example"[..], &["a@b.example"][..]),
        (b" a@b.example \t", &["a@b.example"]),
        (b" <a@b.example>", &["a@b.example"]),
        (b" A.B+c@B.Example", &["A.B+c@B.Example"]),
        (b" App <a@b>", &["a@b"]),
        (b" App<a@b>", &["a@b"]),
        (b" < a@b\t>", &["a@b"]),
        (b" John Q. Public <a@b>", &["a@b"]),
        (b" ... <a@b>", &["a@b"]),
        (b" \"Public, John (CEO) <evil@x>\" <a@b>", &["a@b"]),
        (b" \"evil@x, \\\" evil@y\\\\\" <a@b>", &["a@b"]),
        (b" \"\"<a@b>", &["a@b"]),
        (b" A \"B\"C\"D\" <a@b>", &["a@b"]),
        (b" a@b (evil@x)", &["a@b"]),
        (b" (evil@x) a@b(<evil@x>),(,)c@d", &["a@b", "c@d"]),
        (b" (a (b (c \\) \\( ) ) \"\xe9) a@b", &["a@b"]),
        (b" (((((((()))))))) a@b", &["a@b"]),
        (b" A (comment) <a@b> (comment)", &["a@b"]),
        (b" \"A\tB\\\t\" (c\td) <a@b>", &["a@b"]),
        (b" a@b,c@d, E <e@f>,\"G\" <g@h> , i@j", &["a@b", "c@d", "e@f", "g@h", "i@j"]),
        (b"\r\n a@b,\r\n\tC\r\n <c@d>\r\n ,\r\n e@f\r\n ", &["a@b", "c@d", "e@f"]),
        (b" \"a\r\n b\" (a\r\n\tb) <\r\n a@b\r\n >", &["a@b"]),
        (b"\r\n.\ta@b,\r\n. C\r\n.  <c@d\r\n. >", &["a@b", "c@d"]),
        (b" \"a\r\n. b\" (a\r\n.\tb) <a@b>", &["a@b"]),
        (b" =?utf-8?q?evil=40x?= =?utf-8?B?Zm9v?= <a@b>", &["a@b"]),
        (b" \"=?utf-8?q?x?=\" <a@b> (=?utf-8?q?x?=)", &["a@b"]),
        (b" Gr\xc3\xbcn \xe9\xff <a@b>", &["a@b"]),
        (b" \"Gr\xc3\xbcn \xe9\\\xe9\" (\xff) <a@b>", &["a@b"]),
        (b" gr\xc3\xbcn@gr\xc3\xbcn.example", &["gr\u{fc}n@gr\u{fc}n.example"]),
        (b" \"a.b\"@c", &["\"a.b\"@c"]),
        (b" \"a,(b\"@c,<\"d\\\"e@f\"@g>", &["\"a,(b\"@c", "\"d\\\"e@f\"@g"]),
        (b" \"a.b\" <x@y>", &["x@y"]),
        (b" a@[127.0.0.1], <b@[IPv6:2001:db8::1]>", &["a@[127.0.0.1]", "b@[IPv6:2001:db8::1]"]),
    ] {
        let expected = expected.iter().map(ToString::to_string).collect();
        assert_eq!(addresses_of(text), Ok(expected), "{}", text.escape_ascii());
    }
}

#[test]
fn the_field_is_found_as_the_receiver_finds_it() {
    for section in [
        &b"From: a@b\r\n"[..],
        b"fRoM :a@b\r\n\r\n",
        b"FROM\t :\r\n a@b\r\n\r\nno field",
        b".From: a@b\r\n\r\n",
        b".from\t: a@b\r\nX-From: c@d\r\nResent-From: c@d\r\n..From: c@d\r\nSubject:\r\n From: c@d\r\n\r\n",
        b"From: a@b\r\n\r\nFrom: c@d\r\n",
    ] {
        assert_eq!(addresses(section), Ok(vec!["a@b".to_owned()]), "{}", section.escape_ascii());
    }
}

#[test]
fn exactly_one_field_must_stand_in_a_section_that_is_whole() {
    use FromFault::{MalformedSection, Missing, Several};
    for (section, fault) in [
        (&b""[..], Missing),
        (b"\r\n", Missing),
        (b"\r\nFrom: a@b\r\n", Missing),
        (b"To: a@b\r\n\r\nFrom: a@b\r\n", Missing),
        (b"X: y\r\n From: a@b\r\n\r\n", Missing),
        (b"..From: a@b\r\n\r\n", Missing),
        (b"From: a@b\r\nFrom: a@b\r\n\r\n", Several(2)),
        (b"From: a@b\r\nX: y\r\nfROM: c@d\r\n\r\n", Several(2)),
        (b"From: a@b\r\n.From: c@d\r\nfrom\t: e@f\r\n\r\n", Several(3)),
        (b"From: a@b\r\nno colon\r\nFrom: c@d\r\n\r\n", MalformedSection),
        (b"From: a@b\r\n>From: c@d x\r\nFrom c@d\r\n\r\n", MalformedSection),
        (b" From: a@b\r\nFrom: a@b\r\n\r\n", MalformedSection),
        (b"From: a@b\r\nFrom\xa0: c@d\r\n\r\n", MalformedSection),
        (b"From: a@b\r\nFrom\0: c@d\r\n\r\n", MalformedSection),
        (b"From: a@b\r\n: x\r\n\r\n", MalformedSection),
        (b"From: a@b\rFrom: c@d\r\n\r\n", MalformedSection),
        (b"From: a@b\nFrom: c@d\r\n\r\n", MalformedSection),
        (b"From: a@b, c", MalformedSection),
    ] {
        assert_eq!(addresses(section), Err(fault), "{}", section.escape_ascii());
    }
}

fn refuse(fault: impl Into<FromFault>, texts: &[&[u8]]) {
    let fault = fault.into();
    for text in texts {
        assert_eq!(addresses_of(text), Err(fault), "{}", text.escape_ascii());
    }
}

#[test]
fn an_address_stands_wherever_one_is_expected() {
    refuse(
        Unreadable::NoAddress,
        &[
            &b""[..],
            b" (a@b)",
            b"\r\n ",
            b" App",
            b" \"a@b\"",
            b" Public, John <a@b>",
            b" a@b,",
            b" a@b, ",
            b" ,a@b",
            b" a@b,,c@d",
            b" a@b, (c) ,c@d",
        ],
    );
}

/// A careless reader shows the first address that it finds.
#[test]
fn names_and_addresses_are_not_mixed_up() {
    refuse(
        Unreadable::Stray,
        &[
            &b" <a@b> x"[..],
            b" <a@b> <c@d>",
            b" <a@b>;",
            b" <a@b>>",
            b" a@b c@d",
            b" a@b <c@d>",
            b" a@b\r\n <c@d>",
            b" a@b (c) <c@d>",
            b" a@b>",
            b" evil@x.example <ok@y.example>",
            b" App evil@x.example <ok@y.example>",
            b" App @ evil <ok@y.example>",
            b" @a <ok@y.example>",
            b" a @b",
            b" a(c)@b",
            b" a(c)d@b",
            b" a. b@c",
            b" \"a\" @b",
            b" \"a\".b@c",
            b" a.\"b\"@c",
            b" : a@b",
            b" [App] <a@b>",
            b" A\\pp <a@b>",
            b" App) <a@b>",
            b" > <a@b>",
            b" <a@b,c@d>",
            b" <a@b (c)>",
            b" <a@b c@d>",
            b" a@b .c",
        ],
    );
}

#[test]
fn an_address_is_one_that_could_be_relayed() {
    refuse(
        Unreadable::Address,
        &[
            &b" a@b;"[..],
            b" a@ b",
            b" a@(c)b",
            b" a@b@c",
            b" a@b<c@d>",
            b" a@b\"c\"",
            b" a..b@c",
            b" .a@b",
            b" a@b.",
            b" \"a b\"@c",
            b" \"<a@b>\"@c",
            b" a@\xff",
            b" <>",
            b" <a>",
            b" <a @b>",
            b" <(c)a@b>",
            b" <<a@b>>",
            b" <@a,@b:c@d>",
            b" <@a:b@c>",
            b" <\"a>b\"@c>",
        ],
    );
    refuse(
        Unreadable::EncodedAddress,
        &[
            &b" =?utf-8?q?a?=@b"[..],
            b" App <=?utf-8?q?a=40b=20?=@c>",
            b" \"=?utf-8?q?a?=\"@b",
            b" a@=?utf-8?q?b?=",
        ],
    );
}

#[test]
fn what_is_opened_is_closed_and_holds_no_control_octets() {
    refuse(
        Unreadable::Control,
        &[
            &b" App\0 <a@b>"[..],
            b" \x0ba@b",
            b" \"\x1b\" <a@b>",
            b" \"\\\0\" <a@b>",
            b" \"\\\r\n \" <a@b>",
            b" (\x7f) a@b",
            b" a@b (\\\x08)",
            b" <a@b> \x0c",
        ],
    );
    refuse(Unreadable::Depth, &[&b" (((((((((c))))))))) a@b"[..], b" a@b ((((((((("]);
    refuse(
        Unreadable::Unterminated,
        &[
            &b" \"App <a@b>"[..],
            b" \"App\\\" <a@b>",
            b" \"App\\",
            b" (App <a@b>",
            b" (App\\) <a@b>",
            b" a@b (App",
            b" a@b (\\",
            b" App <a@b",
            b" App <",
        ],
    );
}

#[test]
fn groups_are_refused_by_their_name() {
    refuse(
        FromFault::Group,
        &[
            &b" Managing Partners:a@b,c@d;"[..],
            b" undisclosed-recipients:;",
            b" \"G\" (c) : a@b;",
            b" a@b, G: c@d;",
            b" Re: App <a@b>",
        ],
    );
}

#[test]
fn nothing_comes_behind_a_fault() {
    let mut mailboxes = from_mailboxes(b"From: a@b, c d, e@f\r\n").expect("there is one");
    assert!(mailboxes.next().is_some_and(|mailbox| mailbox.is_ok()));
    assert!(mailboxes.next().is_some_and(|mailbox| mailbox.is_err()));
    assert_eq!(mailboxes.next(), None);
}

#[test]
fn faults_are_told_in_words() {
    for (fault, words) in [
        (FromFault::Missing, "the message has no From field"),
        (FromFault::Several(2), "the message has 2 From fields"),
        (
            Unreadable::NoAddress.into(),
            "the From field cannot be read: there is no address where one is expected",
        ),
    ] {
        assert_eq!(fault.to_string(), words);
    }
}

/// A section that ends early does not hide the line that ends it, if all that is held is read.
#[test]
fn a_malformed_section_is_one_here_too() {
    let held = b"From: a@b\r\nno colon\r\nFrom: c@d\r\n\r\n";
    let mut section = Section::new();
    assert_eq!(section.advance(held), Progress::Malformed(11));
    assert_eq!(addresses(held), Err(FromFault::MalformedSection));
}

/// White space, folds and comments, some of which look like addresses.
fn cfws() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => fws(),
        1 => Just("(evil@x)".to_owned()),
        1 => Just("(<evil@x>, \"(\\) \\\"\r\n\t\u{e9}) )".to_owned()),
    ];
    proptest::collection::vec(piece, 0..3).prop_map(|pieces| pieces.concat())
}

fn fws() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["", "", " ", "\t", "\r\n ", "\r\n.\t", " \r\n  "])
        .prop_map(str::to_owned)
}

fn address() -> impl Strategy<Value = String> {
    let local_part = prop_oneof![
        "[a-z0-9!#$%&'*+/^_`{|}~-]{1,6}(\\.[a-z]{1,3}){0,2}",
        r#""([a-z.,;:@()]|\\["\\a]){0,6}""#
    ];
    let domain = prop_oneof![
        4 => "[a-z0-9]{1,6}(\\.[a-z]{2,4}){0,2}",
        1 => Just("[127.0.0.1]".to_owned()),
        1 => Just("[IPv6:2001:db8::1]".to_owned()),
        1 => Just("gr\u{fc}n.example".to_owned()),
    ];
    (local_part, domain).prop_map(|(local_part, domain)| format!("{local_part}@{domain}"))
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z.\u{e0}-\u{ff}]{1,6}",
        Just("=?utf-8?q?evil=40x?=".to_owned()),
        r#""([a-z.,;:@<>() ]|\\["\\a]|\r\n |\r\n\.\t){0,8}""#,
    ]
}

/// An address in one of the forms of RFC 5322 §3.4, and how it is written.
fn mailbox_text() -> impl Strategy<Value = (String, String)> {
    let name = proptest::collection::vec((word(), cfws()), 0..4);
    let name = name.prop_map(|words| words.into_iter().map(|(word, cfws)| word + &cfws).collect());
    let bracketed = (address(), name, fws(), fws()).prop_map(
        |(address, name, before, after): (_, String, _, _)| {
            (format!("{name}<{before}{address}{after}>"), address)
        },
    );
    let bare = address().prop_map(|address| (address.clone(), address));
    (cfws(), prop_oneof![bare, bracketed], cfws())
        .prop_map(|(before, (text, address), after)| (format!("{before}{text}{after}"), address))
}

proptest! {
    #[test]
    fn what_is_written_is_read(list in proptest::collection::vec(mailbox_text(), 1..5)) {
        let (texts, expected): (Vec<_>, Vec<_>) = list.into_iter().unzip();
        let text = texts.join(",");
        prop_assert_eq!(addresses_of(text.as_bytes()), Ok(expected), "{:?}", text);
    }

    /// Whatever is read, each address stands in the field, in order, and nothing panics.
    #[test]
    fn any_text_can_be_read(words in proptest::collection::vec(prop_oneof![
        8 => proptest::sample::select(vec![
            &b"\""[..], b"(", b")", b"<", b">", b"\\", b"@", b",", b":", b";", b".", b" ", b"\r\n ",
            b"\r\n. ", b"a", b"a@b", b"=?", b"\xc3\xa9",
        ]).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 1..3),
    ], 0..16)) {
        let section = [b"From:", &words.concat()[..], b"\r\n"].concat();
        let mut rest = &section[..];
        for address in addresses(&section).unwrap_or_default() {
            let at = memchr::memmem::find(rest, address.as_bytes());
            prop_assert!(at.is_some());
            rest = &rest[at.unwrap_or_default() + address.len()..];
        }
    }

    #[test]
    fn any_octets_can_be_read(section in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = addresses(&section);
        let _ = addresses_of(&section);
    }
}
