//! Messages that are cut everywhere, changed in every octet, come twice or not at all.

use std::fmt::Write as _;

use super::marks::{Marked, find};
use super::*;

const BODY: &str = ".\r\n..\r\na\r\n.dot\r\n\r\n.\n.\r.\r\nb\r\r\n.\rc\r\nlast\r\n";

/// A message with its marks, as `source` makes it, without transparency.
fn message(run: u64, number: u64, body: &str) -> String {
    let mut digest = String::new();
    for octet in Sha256::digest(body) {
        write!(digest, "{octet:02x}").unwrap();
    }
    format!(
        "Received: by a relay;\r\n today\r\nX-Loadtest-Run: {run:016x}\r\n\
         X-Loadtest-Number: {number:020}\r\nX-Loadtest-Digest: {digest}\r\nSubject: x\r\n\r\n{body}"
    )
}

/// Transparency as RFC 5321 §4.5.2 says it, and the final dot.
fn stuffed(message: &str) -> Vec<u8> {
    let mut data = message.replace("\r\n.", "\r\n..");
    if data.starts_with('.') {
        data.insert(0, '.');
    }
    (data + ".\r\n").into_bytes()
}

fn verify(pieces: &[&[u8]]) -> Finding {
    let mut verifier = Verifier::default();
    for piece in pieces {
        verifier.take_data(piece);
    }
    verifier.finish()
}

fn unstuff(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut transparency, mut plain) = (Transparency::default(), Vec::new());
    for piece in pieces {
        transparency.remove(piece, |part| plain.extend_from_slice(part));
    }
    plain
}

#[test]
fn a_body_is_the_same_wherever_it_is_cut() {
    let data = stuffed(&message(0x00c0_ffee, 42, BODY));
    let intact = Finding::Marked { run: 0x00c0_ffee, number: 42, body: Body::Intact };
    assert_eq!(verify(&[&data]), intact);
    for cut in 0..=data.len() {
        let (first, second) = data.split_at(cut);
        assert_eq!(verify(&[first, second]), intact, "cut at {cut}");
    }
    assert_eq!(verify(&data.chunks(1).collect::<Vec<_>>()), intact);
}

#[test]
fn transparency_is_undone_wherever_the_data_is_cut() {
    for body in [BODY, "", ".\r\n", "\r\n", "..\r\n", ".\r\n.\r\n", "\r.\r\n.\r\r\n", "a\n.\r\n"] {
        let data = stuffed(body);
        for first in 0..=data.len() {
            for second in first..=data.len() {
                let pieces = [&data[..first], &data[first..second], &data[second..]];
                let plain = unstuff(&pieces);
                assert_eq!(plain, body.as_bytes(), "{body:?} cut at {first} and {second}");
            }
        }
    }
}

#[test]
fn every_octet_of_a_body_counts() {
    let whole = message(1, 2, BODY);
    let start = whole.len() - BODY.len();
    for place in start..whole.len() {
        let mut changed = whole.clone().into_bytes();
        // Stays clear of CR, LF and dots, which would make other lines of it.
        changed[place] = if changed[place] == b'x' { b'y' } else { b'x' };
        let mut verifier = Verifier::default();
        verifier.take_chunk(&changed);
        let found = Finding::Marked { run: 1, number: 2, body: Body::Changed };
        assert_eq!(verifier.finish(), found, "octet {place}");
    }
    let mut verifier = Verifier::default();
    verifier.take_chunk(whole.as_bytes());
    verifier.take_chunk(b"\r\n");
    let longer = Finding::Marked { run: 1, number: 2, body: Body::Changed };
    assert_eq!(verifier.finish(), longer, "a line more");
}

#[test]
fn chunks_have_no_transparency() {
    let whole = message(1, 2, "..\r\n.\r\n");
    let mut verifier = Verifier::default();
    for piece in whole.as_bytes().chunks(7) {
        verifier.take_chunk(piece);
    }
    assert_eq!(verifier.finish(), Finding::Marked { run: 1, number: 2, body: Body::Intact });
}

#[test]
fn marks_are_whole_or_mangled_or_not_there() {
    let whole = message(3, 4, "x\r\n");
    for (message, expected) in [
        ("Subject: x\r\n\r\nX-Loadtest-Run: 0\r\n".to_owned(), Finding::Unmarked),
        ("\r\nX-Loadtest-Run: 0\r\n\r\n".to_owned(), Finding::Unmarked),
        ("Subject: no end\r\n".to_owned(), Finding::Unmarked),
        (String::new(), Finding::Unmarked),
        (whole.replace("X-Loadtest-Run", "X-Other"), Finding::Mangled),
        (whole.replace("00000000000000000004", "4"), Finding::Mangled),
        (whole.replace("00000000000000000004", "99999999999999999999"), Finding::Mangled),
        (whole.replace("00000000000000000004", "+0000000000000000004"), Finding::Mangled),
        (whole.replace("0000000000000003", "+000000000000003"), Finding::Mangled),
        (format!("X-Loadtest-Run: 0000000000000003\r\n{whole}"), Finding::Mangled),
    ] {
        assert_eq!(verify(&[&stuffed(&message)]), expected, "{message}");
    }
    let header = whole.to_uppercase();
    assert!(matches!(find(header.as_bytes()), Marked::Wholly(_)), "case means nothing");
}

#[test]
fn the_header_section_is_bounded() {
    let whole = message(5, 6, "x\r\n");
    let in_front = |octets| format!("X-Much: {}\r\n", "x".repeat(octets - "X-Much: \r\n".len()));
    let header = whole.find(str::from_utf8(HEADER_END).unwrap()).unwrap() + HEADER_END.len();
    let room = HEADER_OCTETS_MAX - b"\r\n".len() - header;
    let intact = Finding::Marked { run: 5, number: 6, body: Body::Intact };
    for (octets, expected) in [(room, intact), (room + 1, Finding::Unmarked)] {
        let message = stuffed(&(in_front(octets) + &whole));
        assert_eq!(verify(&[&message]), expected, "{octets}");
        assert_eq!(verify(&message.chunks(1000).collect::<Vec<_>>()), expected, "{octets}");
    }
}

#[test]
fn the_books_know_what_came_twice_and_what_did_not() {
    let mut ledger = Ledger::default();
    let mut enter = |run, number, body| ledger.enter(Finding::Marked { run, number, body });
    // Pages end at 65,536: numbers on both sides, and a page between them of which nothing came.
    for number in (0..100).chain(65_535..65_538).chain([200_000]) {
        enter(7, number, Body::Intact);
    }
    enter(7, 3, Body::Intact);
    enter(7, 65_536, Body::Changed);
    enter(9, 0, Body::Intact);
    ledger.enter(Finding::Unmarked);
    ledger.enter(Finding::Mangled);
    let totals = ledger.totals();
    assert_eq!((totals.verified, totals.changed, totals.mangled), (106, 1, 1));
    assert_eq!((totals.unmarked, totals.repeated, totals.untracked), (1, 2, 0));
    assert_eq!(totals.missing, 200_001 - 104);
    let of_run = |number| MessageNumber { run: 7, number };
    assert_eq!(totals.repeated_examples, [of_run(3), of_run(65_536)]);
    assert_eq!(totals.changed_examples, [of_run(65_536)]);
    assert_eq!(totals.missing_examples, (100..110).map(of_run).collect::<Vec<_>>());
    let run = RunTotals { run: 7, numbers: 104, highest: 200_000, missing: 199_897 };
    assert_eq!(totals.runs[0], run);
    assert_eq!(totals.runs[1], RunTotals { run: 9, numbers: 1, highest: 0, missing: 0 });
    assert!(!totals.all_well());
    assert_eq!(ledger.wrong(), 4);
}

#[test]
fn order_does_not_matter() {
    let mut ledger = Ledger::default();
    for number in (0..1000).rev() {
        ledger.enter(Finding::Marked { run: 1, number, body: Body::Intact });
    }
    let totals = ledger.totals();
    assert_eq!((totals.verified, totals.missing), (1000, 0));
    assert!(totals.all_well());
}

#[test]
fn runs_and_pages_are_bounded() {
    let mut ledger = Ledger::default();
    let intact = |run, number| Finding::Marked { run, number, body: Body::Intact };
    for run in 0..1025 {
        ledger.enter(intact(run, 0));
    }
    assert_eq!(ledger.totals().untracked, 1, "a run too many");
    ledger.enter(intact(3, u64::MAX));
    assert_eq!(ledger.totals().missing, u64::MAX - 1, "the highest number there is");
    // Each number of its own page, until there is no room for another one.
    for page in 1..20_000 {
        ledger.enter(intact(1, page << 16));
    }
    let totals = ledger.totals();
    assert_eq!(totals.untracked, 1 + 1024 + 1 + 19_999 - 16_384);
    ledger.enter(intact(1, 1));
    assert_eq!(ledger.totals().untracked, totals.untracked, "a page that is there has room");
}

#[test]
fn nothing_verified_is_not_all_well() {
    let mut ledger = Ledger::default();
    assert!(ledger.totals().all_well(), "no mail, no complaint");
    ledger.enter(Finding::Unmarked);
    assert!(!ledger.totals().all_well(), "the marks of all messages are lost");
    ledger.enter(Finding::Marked { run: 1, number: 0, body: Body::Intact });
    assert!(ledger.totals().all_well(), "a notification among the others");
}
