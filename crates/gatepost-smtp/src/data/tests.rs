use proptest::prelude::*;

use super::*;

/// The fake ends of research on SMTP smuggling.
const FAKE_ENDS: [&[u8]; 14] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\n",
    b"\n.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\n\n.\r\r\n",
    b"\r\n.\r\0\n",
];

/// What goes on, the fault, and what is left behind the end.
type Outcome = (Vec<u8>, Option<DataFault>, Option<Vec<u8>>);

fn run(data: &[u8], pieces: &[usize]) -> Outcome {
    run_with(DataScanner::new(), data, pieces)
}

fn normalize(data: &[u8], pieces: &[usize]) -> Outcome {
    run_with(DataScanner::normalizing(), data, pieces)
}

/// Feeds `data` in pieces as a reader would.
fn run_with(mut scanner: DataScanner, data: &[u8], pieces: &[usize]) -> Outcome {
    let (mut content, mut fault) = (Vec::new(), None);
    let mut buffer = Vec::new();
    let mut fed = 0;
    let mut pieces = pieces.iter().copied().chain(std::iter::repeat(data.len().max(1)));
    while fed < data.len() {
        let until = (fed + pieces.next().expect("endless").max(1)).min(data.len());
        buffer.extend_from_slice(&data[fed..until]);
        fed = until;
        loop {
            match scanner.scan(&buffer) {
                Scan::More(octets) => {
                    let taken: Vec<u8> = buffer.drain(..octets).collect();
                    if fault.is_none() {
                        content.extend(taken);
                    }
                    assert!(buffer.len() <= 2, "at most two octets are held back");
                    break;
                }
                Scan::Fault(octets, found) => {
                    assert_eq!(fault, None, "reported once");
                    content.extend(buffer.drain(..octets));
                    fault = Some(found);
                }
                Scan::Replace { octets, replaced, with } => {
                    assert_eq!(fault, None, "nothing spoilt is mended");
                    content.extend(buffer.drain(..octets));
                    buffer.drain(..replaced);
                    content.extend(with);
                }
                Scan::End(octets) => {
                    let taken: Vec<u8> = buffer.drain(..octets).collect();
                    if fault.is_none() {
                        content.extend(taken);
                    }
                    buffer.drain(..TERMINATOR.len());
                    buffer.extend_from_slice(&data[fed..]);
                    return (content, fault, Some(buffer));
                }
            }
        }
    }
    (content, fault, None)
}

#[test]
fn data_ends_with_crlf_dot_crlf() {
    let (content, fault, rest) = run(b"a\r\n.\r\nNOOP\r\n", &[]);
    assert_eq!(
        (content.as_slice(), fault, rest.as_deref()),
        (&b"a\r\n"[..], None, Some(&b"NOOP\r\n"[..]))
    );
    assert_eq!(run(b".\r\n", &[]), (vec![], None, Some(vec![])));
    assert_eq!(run(b"..\r\n.\r\n", &[]), (b"..\r\n".to_vec(), None, Some(vec![])));
    assert_eq!(run(b"a.\r\nb\r\n", &[]).2, None);
}

#[test]
fn no_fake_end_ends_the_data() {
    for fake in FAKE_ENDS {
        let data = [b"S: x\r\n\r\nbody", fake, b"MAIL FROM:<evil@x>\r\n.\r\n"].concat();
        for split in 0..data.len() {
            let (content, fault, rest) = run(&data, &[split]);
            assert!(fault.is_some(), "{} must spoil the message", fake.escape_ascii());
            assert_eq!(rest.as_deref(), Some(&b""[..]), "{} must not end it", fake.escape_ascii());
            assert!(is_clean(&content), "nothing spoilt is forwarded");
        }
    }
}

#[test]
fn no_fake_end_becomes_an_end_where_newlines_are_normalised() {
    for fake in FAKE_ENDS {
        let data = [b"S: x\r\n\r\nbody", fake, b"MAIL FROM:<evil@x>\r\n.\r\n"].concat();
        let bare_lf_only = !fake.contains(&0)
            && fake
                .iter()
                .enumerate()
                .all(|(at, &b)| b != b'\r' || fake.get(at + 1) == Some(&b'\n'));
        for split in 0..data.len() {
            let (content, fault, rest) = normalize(&data, &[split]);
            assert_eq!(fault.is_none(), bare_lf_only, "{}", fake.escape_ascii());
            assert_eq!(rest.as_deref(), Some(&b""[..]), "{} must not end it", fake.escape_ascii());
            assert!(is_clean(&content), "nothing spoilt is forwarded");
            let (_, again, end) = run(&content, &[]);
            assert_eq!((again, end), (None, None), "{} must not become one", fake.escape_ascii());
        }
    }
}

#[test]
fn a_bare_newline_is_replaced() {
    for (data, expected) in [
        (&b"a\nb\r\n.\r\n"[..], &b"a\r\nb\r\n"[..]),
        (b"\n\n\r\n.\r\n", b"\r\n\r\n\r\n"),
        (b"\n folded\r\n.\r\n", b"\r\n folded\r\n"),
        // A dot behind a bare LF is content, so it is stuffed.
        (b"a\n.\r\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n"),
        (b"a\n.b\n..c\r\n.\r\n", b"a\r\n..b\r\n...c\r\n"),
        (b"a\n.\n.\n\r\n.\r\n", b"a\r\n..\r\n..\r\n\r\n"),
        // A dot behind CRLF is transparency, so it goes where the line would become an end.
        (b"a\r\n.\nb\r\n.\r\n", b"a\r\n\r\nb\r\n"),
        (b".\nb\r\n.\r\n", b"\r\nb\r\n"),
        (b".\n.\r\n\r\n.\r\n", b"\r\n..\r\n\r\n"),
        (b"a\r\n..\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n"),
    ] {
        let outcome = (expected.to_vec(), None, Some(vec![]));
        assert_eq!(normalize(data, &[]), outcome, "{}", data.escape_ascii());
        assert_eq!(normalize(data, &[1; 40]), outcome, "{}", data.escape_ascii());
    }
}

#[test]
fn other_faults_stay_where_newlines_are_normalised() {
    assert_eq!(normalize(b"a\nb\rc\nd\r\n.\r\n", &[]).1, Some(DataFault::BareCr));
    assert_eq!(normalize(b"a\n\rb\r\n.\r\n", &[]).1, Some(DataFault::BareCr));
    assert_eq!(normalize(b"a\n\0\n.\r\n\r\n.\r\n", &[]).1, Some(DataFault::Nul));
    assert_eq!(normalize(b" a\n\r\n.\r\n", &[]).1, Some(DataFault::LeadingSpace));
}

#[test]
fn a_first_line_that_would_fold_is_refused() {
    assert_eq!(run(b" folded\r\n.\r\n", &[]).1, Some(DataFault::LeadingSpace));
    assert_eq!(run(b"\t\r\n.\r\n", &[1]).1, Some(DataFault::LeadingSpace));
    for stuffed in [&b". folded\r\n.\r\n"[..], b".\tfolded\r\n.\r\n"] {
        for split in 0..3 {
            assert_eq!(run(stuffed, &[split]).1, Some(DataFault::LeadingSpace), "the dot goes");
        }
    }
    assert_eq!(run(b"\n\r\n.\r\n", &[]).1, Some(DataFault::BareLf));
    assert_eq!(run(b"a: b\r\n folded\r\n.\r\n", &[]).1, None);
}

/// Whether CR and LF stand as CRLF only.
fn is_clean(content: &[u8]) -> bool {
    content.windows(2).all(|w| (w[0] == b'\r') == (w[1] == b'\n'))
        && content.last() != Some(&b'\r')
        && content.first() != Some(&b'\n')
}

/// Lines as RFC 5321 has them: CRLF is between them, and nothing else is.
fn lines(content: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    for (at, &octet) in content.iter().enumerate() {
        let line = lines.last_mut().expect("there is always a line");
        line.push(octet);
        if octet == b'\n' && at > 0 && content[at - 1] == b'\r' {
            line.truncate(line.len() - 2);
            lines.push(Vec::new());
        }
    }
    lines
}

/// What a receiver makes of content (RFC 5321 §4.5.2).
fn unstuff(content: &[u8]) -> Vec<u8> {
    let unstuffed = |line: &Vec<u8>| line.strip_prefix(b".").unwrap_or(line).to_vec();
    lines(content).iter().map(unstuffed).collect::<Vec<_>>().join(&b"\r\n"[..])
}

/// The message that whole `data` carries, each bare LF in it made CRLF; `None` without an end.
fn model(data: &[u8]) -> Option<Vec<u8>> {
    let before = [b"\r\n", data].concat();
    let end = before.windows(5).position(|window| window == b"\r\n.\r\n")?;
    let content = before.get(2..end + 2).unwrap_or_default();
    let mended = |line: &[u8]| line.split(|&b| b == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]);
    let message = unstuff(content);
    Some(lines(&message).iter().map(|line| mended(line)).collect::<Vec<_>>().join(&b"\r\n"[..]))
}

/// Mail data in which everything is near an end. Faults are rare enough to leave some of it whole.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        6 => Just(&b"\n"[..]),
        6 => Just(&b"\r\n"[..]),
        6 => Just(&b"."[..]),
        3 => Just(&b"a"[..]),
        1 => Just(&b"\r\n.\r\n"[..]),
        1 => prop_oneof![Just(&b"\r"[..]), Just(&b"\0"[..]), Just(&b" "[..])],
    ];
    proptest::collection::vec(word, 0..20).prop_map(|words| words.concat())
}

/// The same kinds of octets among stretches without any: what is looked at many octets at a time. CR and LF
/// stand at every place of such a look, its first and its last among them.
fn long_data() -> impl Strategy<Value = Vec<u8>> {
    let stretch = prop_oneof![
        0..200_usize,
        Just(PLAIN_OCTETS_MIN),
        PLAIN_OCTETS - 8..PLAIN_OCTETS + 8,
        2 * PLAIN_OCTETS - 8..2 * PLAIN_OCTETS + 8,
    ];
    let word = prop_oneof![
        12 => Just(&b"\r\n"[..]),
        4 => Just(&b"\r\n."[..]),
        1 => proptest::sample::select(&FAKE_ENDS[..]),
        1 => Just(&b"\r\n.\r\n"[..]),
        1 => prop_oneof![Just(&b"\r"[..]), Just(&b"\n"[..]), Just(&b"\0"[..])],
    ];
    let piece = (stretch, word).prop_map(|(octets, word)| [&vec![b'x'; octets][..], word].concat());
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Many octets at a time, or few: the outcome is the same.
    #[test]
    fn long_reads_are_scanned_like_short_ones(
        data in long_data(),
        pieces in proptest::collection::vec(1..PLAIN_OCTETS_MIN - 2, 200),
    ) {
        let short = run(&data, &pieces);
        prop_assert_eq!(&run(&data, &[]), &short);
        prop_assert_eq!(&run(&data, &[PLAIN_OCTETS_MIN + 1; 100]), &short);
    }

    /// However the octets are cut into reads, the outcome is the same, and it is that of a
    /// reader who has all of them at once.
    #[test]
    fn pieces_do_not_matter(
        data in proptest::collection::vec(prop_oneof![
            4 => Just(b'\r'), 4 => Just(b'\n'), 4 => Just(b'.'), 1 => Just(0_u8), 4 => Just(b'x'), 1 => Just(b' ')
        ], 0..60),
        pieces in proptest::collection::vec(1_usize..8, 0..40),
    ) {
        let whole = run(&data, &[]);
        prop_assert_eq!(&run(&data, &pieces), &whole);
        let reference = if data.starts_with(TERMINATOR) {
            Some(TERMINATOR.len())
        } else {
            memchr::memmem::find(&data, b"\r\n.\r\n").map(|at| at + 5)
        };
        prop_assert_eq!(whole.2, reference.map(|at| data[at..].to_vec()));
    }

    /// What comes out of a scanner that normalises is one message to a strict one, and the message
    /// that the client has sent but for its bare LFs, however the octets are cut into reads.
    #[test]
    fn normalised_data_is_one_message(
        data in data(),
        pieces in proptest::collection::vec(1_usize..5, 0..60),
    ) {
        let whole = normalize(&data, &[]);
        prop_assert_eq!(&normalize(&data, &pieces), &whole);
        let (content, fault, rest) = whole;
        prop_assert!(is_clean(&content));
        prop_assert_eq!(&rest, &run(&data, &[]).2, "the end is where it was");
        if fault.is_some() || rest.is_none() {
            let (_, again, end) = run(&content, &[]);
            prop_assert_eq!((again, end), (None, None), "what is broken off has no end");
        } else {
            let sent = [&content, TERMINATOR].concat();
            prop_assert_eq!(run(&sent, &[]), (content.clone(), None, Some(vec![])));
            prop_assert_eq!(Some(unstuff(&content)), model(&data));
        }
    }

    /// Where nothing is to be replaced, normalising makes no difference.
    #[test]
    fn normalised_data_without_bare_newlines_is_untouched(data in data()) {
        let strict = run(&data, &[]);
        if strict.1 != Some(DataFault::BareLf) {
            prop_assert_eq!(normalize(&data, &[]), strict);
        }
    }
}
