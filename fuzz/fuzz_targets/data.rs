//! Mail data that is made to end twice, or to hide its end.
//!
//! In whatever pieces it comes, it ends where CRLF.CRLF stands first, and what goes on is what
//! came, up to the first octet that two servers may see differently. Where bare newlines are
//! replaced, what comes out is one message to a strict reader, and the one that was sent.
#![no_main]

use gatepost_fuzz::{Pieces, received_lines};
use gatepost_smtp::data::{DataFault, DataScanner, Scan, TERMINATOR};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(pieces) = Pieces::of(input) else { return };
    let data = pieces.whole;
    let strict = read(DataScanner::new(), data, pieces.ends());
    assert_eq!(strict, read(DataScanner::new(), data, [data.len()]), "pieces do not matter");
    against_plain_search(data, &strict);

    let normalized = read(DataScanner::normalizing(), data, pieces.ends());
    let at_once = read(DataScanner::normalizing(), data, [data.len()]);
    assert_eq!(normalized, at_once, "pieces do not matter");
    assert_eq!(normalized.end, strict.end, "the end is where it was");
    if strict.fault != Some(DataFault::BareLf) {
        assert_eq!(normalized, strict, "there was nothing to replace");
    }
    one_message(data, &normalized);
});

/// What a scanner makes of data.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// What goes on.
    content: Vec<u8>,
    fault: Option<DataFault>,
    /// Where in the data the terminator begins.
    end: Option<usize>,
}

/// Feeds data to a scanner as a reader does: what it leaves is scanned again with what follows.
fn read(mut scanner: DataScanner, data: &[u8], ends: impl IntoIterator<Item = usize>) -> Outcome {
    let mut outcome = Outcome { content: Vec::new(), fault: None, end: None };
    let mut at = 0;
    for end in ends {
        loop {
            let scan = scanner.scan(&data[at..end]);
            let (Scan::End(octets)
            | Scan::Fault(octets, _)
            | Scan::More(octets)
            | Scan::Replace { octets, .. }) = scan;
            if outcome.fault.is_none() {
                outcome.content.extend_from_slice(&data[at..at + octets]);
            }
            at += octets;
            match scan {
                Scan::End(_) => {
                    outcome.end = Some(at);
                    return outcome;
                }
                Scan::Fault(_, fault) => {
                    assert_eq!(outcome.fault.replace(fault), None, "reported once");
                }
                Scan::More(_) => {
                    assert!(end - at < TERMINATOR.len(), "more is held back than a terminator");
                    break;
                }
                Scan::Replace { replaced, with, .. } => {
                    assert_eq!(outcome.fault, None, "nothing spoilt is mended");
                    outcome.content.extend_from_slice(with);
                    at += replaced;
                }
            }
        }
    }
    outcome
}

/// The same by searching for each thing on its own.
fn against_plain_search(data: &[u8], strict: &Outcome) {
    // An end may stand right after the 354, whose CRLF is then the first of its two.
    let since_354 = [b"\r\n", data].concat();
    let end = since_354.windows(5).position(|octets| octets == b"\r\n.\r\n");
    assert_eq!(strict.end, end);
    let Some(content) = end.map(|end| &data[..end]) else { return };
    let fault = |at: usize| match content[at] {
        b' ' | b'\t' if at == 0 => Some((0, DataFault::LeadingSpace)),
        b'.' if at == 0 && matches!(content[1], b' ' | b'\t') => Some((0, DataFault::LeadingSpace)),
        b'\r' if content.get(at + 1) != Some(&b'\n') => Some((at, DataFault::BareCr)),
        b'\n' if at == 0 || content[at - 1] != b'\r' => Some((at, DataFault::BareLf)),
        0 => Some((at, DataFault::Nul)),
        _ => None,
    };
    let first = (0..content.len()).find_map(fault);
    assert_eq!(strict.fault, first.map(|(_, fault)| fault));
    assert_eq!(strict.content, content[..first.map_or(content.len(), |(at, _)| at)]);
}

/// What a scanner that normalises lets through is clean; and if it is whole, it has one end, and is
/// the message of the client but for its bare newlines.
fn one_message(data: &[u8], normalized: &Outcome) {
    let content = &normalized.content;
    let again = |data: &[u8]| read(DataScanner::new(), data, [data.len()]);
    let (None, Some(end)) = (normalized.fault, normalized.end) else {
        let again = again(content);
        assert_eq!((again.fault, again.end), (None, None), "what is broken off has no end");
        return;
    };
    let sent_on = again(&[content, TERMINATOR].concat());
    let expected = Outcome { content: content.clone(), fault: None, end: Some(content.len()) };
    assert_eq!(sent_on, expected);
    let crlf = |lines: &[&[u8]]| lines.join(&b"\r\n"[..]);
    let meant: Vec<&[u8]> = received_lines(&data[..end])
        .into_iter()
        .flat_map(|line| line.split(|octet| *octet == b'\n'))
        .collect();
    assert_eq!(crlf(&received_lines(content)), crlf(&meant));
}
