//! The header section of a message that a client has made up.
//!
//! However it comes in pieces, it is seen alike; and who it is from is what its receiver is shown,
//! or is not known at all.
#![no_main]

use gatepost_fuzz::{Pieces, Received, shown_mailboxes};
use gatepost_smtp::{
    header::{FromFault, HeaderScan, Progress, Section, fields, from_mailboxes, has_field},
    path::Mailbox,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(pieces) = Pieces::of(input) else { return };
    let progress = section(pieces);
    scan(pieces);
    let content = pieces.whole;
    let mailboxes = mailboxes(content);
    match progress {
        Progress::Ended(octets) => {
            well_formed(&content[..octets], &mailboxes);
            let alone = self::mailboxes(&content[..octets]);
            assert_eq!(mailboxes, alone, "the body does not matter");
        }
        Progress::Malformed(octets) => {
            assert_eq!(mailboxes, Err(FromFault::MalformedSection));
            assert!(fields(&content[..octets]).all(|field| field.is_ok()));
        }
        Progress::More => {}
    }
});

/// The end of a section does not depend on how what is held has grown.
fn section(pieces: Pieces<'_>) -> Progress {
    let whole = Section::new().advance(pieces.whole);
    let (mut section, mut answer) = (Section::new(), Progress::More);
    for end in pieces.ends() {
        let now = section.advance(&pieces.whole[..end]);
        assert!(answer == Progress::More || answer == now, "{answer:?} became {now:?}");
        answer = now;
    }
    assert_eq!(answer, whole);
    assert_eq!(section.is_malformed(), matches!(whole, Progress::Malformed(_)));
    whole
}

/// The same of what is noted of every message.
fn scan(pieces: Pieces<'_>) {
    let noted = |scan: &HeaderScan| (scan.received(), scan.is_over(), scan.eight_bit());
    let mut whole = HeaderScan::new();
    whole.scan(pieces.whole);
    let (mut scan, mut start) = (HeaderScan::new(), 0);
    for end in pieces.ends() {
        scan.scan(&pieces.whole[start..end]);
        start = end;
    }
    assert_eq!(noted(&scan), noted(&whole));
    if has_no_bare_newline(pieces.whole) {
        let received = Received::lines_that_begin_with(pieces.whole, b"received:");
        assert_eq!(usize::try_from(whole.received()), Ok(received));
    }
}

fn has_no_bare_newline(content: &[u8]) -> bool {
    let bare = |(at, octet): (usize, &u8)| match octet {
        b'\r' => content.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || content[at - 1] != b'\r',
        _ => false,
    };
    !content.iter().enumerate().any(bare)
}

/// All mailboxes, or the fault. Each is a slice of the section, behind the one before it.
fn mailboxes(section: &[u8]) -> Result<Vec<&[u8]>, FromFault> {
    let from_fields = fields(section).flatten().filter(|field| field.is(b"From")).count();
    assert_eq!(has_field(section, b"from"), from_fields > 0);
    let mut found = Vec::new();
    let mut behind = 0;
    let mut items = from_mailboxes(section)?;
    while let Some(item) = items.next() {
        let mailbox = item.inspect_err(|_| assert!(items.next().is_none(), "behind a fault"))?;
        let octets = mailbox.as_bytes();
        assert_eq!(Mailbox::parse(octets), Ok(mailbox));
        assert!(!octets.windows(2).any(|two| two == b"=?"), "an encoded word");
        let within = section.as_ptr_range();
        assert!(within.contains(&octets.as_ptr()), "a slice of the section");
        let start = octets.as_ptr().addr() - within.start.addr();
        assert!(start >= behind && start + octets.len() <= section.len(), "in their order");
        behind = start + octets.len();
        found.push(octets);
    }
    assert!(!found.is_empty(), "no mailbox and no fault");
    assert!(fields(section).all(|field| field.is_ok()));
    assert_eq!(from_fields, 1);
    Ok(found)
}

/// A section that has ended is what its receiver makes of it.
fn well_formed(section: &[u8], mailboxes: &Result<Vec<&[u8]>, FromFault>) {
    let received = Received::read(section);
    let shown: Vec<_> = fields(section)
        .map(|field| field.expect("a section that ended has fields only"))
        .map(|field| (field.name.to_vec(), unfolded(field.value)))
        .collect();
    assert_eq!(shown, received.fields);
    let is_from = |(name, _): &&(Vec<u8>, Vec<u8>)| name.eq_ignore_ascii_case(b"From");
    let from: Vec<_> = received.fields.iter().filter(is_from).collect();
    match (&from[..], mailboxes) {
        ([], result) => assert_eq!(result, &Err(FromFault::Missing)),
        ([(_, value)], Ok(mailboxes)) => {
            assert_eq!(mailboxes, &shown_mailboxes(value));
            let is_control = |octet: &u8| octet.is_ascii_control() && *octet != b'\t';
            assert!(!value.iter().any(is_control), "a control character is shown");
        }
        ([_], Err(fault)) => {
            assert!(matches!(fault, FromFault::Group | FromFault::Unreadable(_)), "{fault:?}");
        }
        (several, result) => assert_eq!(result, &Err(FromFault::Several(several.len()))),
    }
}

/// A value without its folds and without the dots that are stuffed behind them.
fn unfolded(value: &[u8]) -> Vec<u8> {
    let mut unfolded = Vec::new();
    let mut rest = value;
    while let Some((octet, behind)) = rest.split_first() {
        rest = match rest {
            [b'\r', b'\n', b'.', behind @ ..] | [b'\r', b'\n', behind @ ..] => behind,
            _ => {
                unfolded.push(*octet);
                behind
            }
        };
    }
    unfolded
}
