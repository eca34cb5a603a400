//! Mail data in chunks, of which another server may make lines (RFC 3030).
//!
//! In whatever chunks and pieces it comes, what goes on is what came, up to the first octet that two
//! servers may see differently, in one chunk or across two. As DATA it is one message to a strict
//! reader, and the one that was sent; and where the dots that were put in are taken off again, because
//! what was held back goes on in chunks, it is that message too.
//!
//! In front of the two octets for the pieces stand two for the chunks, and in front of those one: its
//! digit says how many octets are held back, and from `A` on there is an empty chunk before each.
#![no_main]

use gatepost_fuzz::{Pieces, grammar, received_lines, strict::Newlines};
use gatepost_smtp::{
    bdat::{Behind, ChunkScan, ChunkScanner, Transparency, unstuff},
    data::{DataFault, DataScanner, Scan, TERMINATOR},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [how, input @ ..] = input else { return };
    let Some(in_chunks) = Pieces::of(input) else { return };
    let Some(pieces) = Pieces::of(in_chunks.whole) else { return };
    let data = pieces.whole;
    let is_after_empty = *how >= b'A';
    let mut cuts = Cuts { chunks: Vec::new(), pieces: pieces.ends().collect() };
    for end in in_chunks.cut_alike(data).ends() {
        let before = cuts.chunks.last().copied().unwrap_or(0);
        cuts.chunks.extend(is_after_empty.then_some(before));
        cuts.chunks.push(end);
    }
    let at_once = Cuts { chunks: vec![data.len()], pieces: vec![data.len()] };

    let plain = read(ChunkScanner::new(Transparency::Plain), data, &cuts);
    against_plain_search(data, &plain);
    alike(&plain, &read(ChunkScanner::new(Transparency::Plain), data, &at_once));

    let stuffed = read(ChunkScanner::new(Transparency::Stuffed), data, &cuts);
    alike(&stuffed, &read(ChunkScanner::new(Transparency::Stuffed), data, &at_once));
    assert_eq!((stuffed.fault, stuffed.is_in_line), (plain.fault, plain.is_in_line));
    assert_eq!(unstuff(&stuffed.content), plain.content);
    one_message(&plain.content, &stuffed);

    let normalized = read(ChunkScanner::normalizing(Transparency::Stuffed), data, &cuts);
    let mended_at_once = read(ChunkScanner::normalizing(Transparency::Stuffed), data, &at_once);
    alike(&normalized, &mended_at_once);
    if normalized.fault.is_none() {
        assert!(!grammar::is_spoilt(data, Newlines::Normalize) && !begins_with_space(data));
        one_message(&mended(data), &normalized);
    }
    turned(data, &cuts, usize::from(how.wrapping_sub(b'0')), &plain);
});

/// Where chunks and pieces end. A piece ends with its chunk, too.
struct Cuts {
    chunks: Vec<usize>,
    pieces: Vec<usize>,
}

/// What a scanner makes of data.
#[derive(Debug)]
struct Outcome {
    /// What goes on.
    content: Vec<u8>,
    fault: Option<DataFault>,
    /// The last line has no end.
    is_in_line: bool,
}

fn read(scanner: ChunkScanner, data: &[u8], cuts: &Cuts) -> Outcome {
    read_turning(scanner, data, cuts, usize::MAX).0
}

/// Feeds data to a scanner as a session does: what it leaves is scanned again with what follows. Once
/// `held` octets have come, what was read so far is let go, without the dots that were put in; says
/// how much of the outcome that is.
fn read_turning(
    mut scanner: ChunkScanner,
    data: &[u8],
    cuts: &Cuts,
    held: usize,
) -> (Outcome, Option<usize>) {
    let mut content = Vec::new();
    let mut released = None;
    let (mut at, mut pieces) = (0, cuts.pieces.iter().copied().peekable());
    for (index, end) in cuts.chunks.iter().copied().enumerate() {
        let is_last = index + 1 == cuts.chunks.len();
        loop {
            let here = pieces.next_if(|piece| *piece < end).unwrap_or(end);
            let behind = match (here == end, is_last) {
                (false, _) => Behind::Octets,
                (true, false) => Behind::Chunk,
                (true, true) => Behind::Nothing,
            };
            if let Err(fault) = scan(&mut scanner, (data, &mut at, here), behind, &mut content) {
                let outcome = Outcome { content, fault: Some(fault), is_in_line: false };
                return (Outcome { is_in_line: scanner.is_in_line(), ..outcome }, released);
            }
            if at >= held && released.is_none() {
                content = unstuff(&content);
                released = Some(content.len());
                scanner.turn(Transparency::Plain);
            }
            if here == end {
                break;
            }
        }
        assert_eq!(at, end, "something is left of a chunk");
    }
    (Outcome { content, fault: None, is_in_line: scanner.is_in_line() }, released)
}

/// Scans what has come of a chunk.
fn scan(
    scanner: &mut ChunkScanner,
    (data, at, here): (&[u8], &mut usize, usize),
    behind: Behind,
    content: &mut Vec<u8>,
) -> Result<(), DataFault> {
    loop {
        let scan = scanner.scan(&data[*at..here], behind);
        let (ChunkScan::Fault(octets, _)
        | ChunkScan::More(octets)
        | ChunkScan::Replace { octets, .. }) = scan;
        content.extend_from_slice(&data[*at..*at + octets]);
        *at += octets;
        match scan {
            ChunkScan::Fault(_, fault) => return Err(fault),
            ChunkScan::More(_) => {
                let left = &data[*at..here];
                let is_cr = left == b"\r" && behind == Behind::Octets;
                assert!(left.is_empty() || is_cr, "held back: {}", left.escape_ascii());
                return Ok(());
            }
            ChunkScan::Replace { replaced, with, .. } => {
                content.extend_from_slice(with);
                *at += replaced;
            }
        }
    }
}

/// Pieces and chunks do not matter. A CR at the end of a chunk has gone on before it is known to be a
/// fault.
fn alike(one: &Outcome, other: &Outcome) {
    assert_eq!(one.fault, other.fault);
    if one.fault == Some(DataFault::BareCr) {
        let without = |it: &Outcome| it.content.strip_suffix(b"\r").unwrap_or(&it.content).to_vec();
        assert_eq!(without(one), without(other));
    } else {
        assert_eq!((&one.content, one.is_in_line), (&other.content, other.is_in_line));
    }
}

/// The same by searching for each thing on its own.
fn against_plain_search(data: &[u8], plain: &Outcome) {
    let fault = |at: usize| match data[at] {
        b' ' | b'\t' if at == 0 => Some((0, DataFault::LeadingSpace)),
        b'\r' if data.get(at + 1) != Some(&b'\n') => Some((at, DataFault::BareCr)),
        b'\n' if at == 0 || data[at - 1] != b'\r' => Some((at, DataFault::BareLf)),
        0 => Some((at, DataFault::Nul)),
        _ => None,
    };
    let first = (0..data.len()).find_map(fault);
    assert_eq!(plain.fault, first.map(|(_, fault)| fault));
    let at = first.map_or(data.len(), |(at, _)| at);
    let content = plain.content.strip_suffix(b"\r").filter(|it| it.len() == at);
    assert_eq!(content.unwrap_or(&plain.content), &data[..at]);
    if first.is_none() {
        assert_eq!(plain.is_in_line, !data.is_empty() && !data.ends_with(b"\r\n"));
    }
}

/// What goes on as DATA has one end, which is its own, and is `meant`, line by line. What is broken off
/// has none.
fn one_message(meant: &[u8], stuffed: &Outcome) {
    let ends = |data: &[u8]| {
        let since_354 = [b"\r\n", data].concat();
        since_354.windows(5).position(|octets| octets == b"\r\n.\r\n")
    };
    if stuffed.fault.is_some() {
        assert_eq!(ends(&stuffed.content), None, "it ends by itself");
        return;
    }
    let line_end: &[u8] = if stuffed.is_in_line { b"\r\n" } else { b"" };
    let content = [&stuffed.content, line_end].concat();
    let sent = [&content, TERMINATOR].concat();
    assert_eq!(ends(&sent), Some(content.len()));
    assert_eq!(DataScanner::new().scan(&sent), Scan::End(content.len()));
    let meant = [meant, line_end].concat();
    let meant: Vec<&[u8]> = meant.split(|octet| *octet == b'\n').collect();
    let meant: Vec<&[u8]> = meant.iter().map(|it| it.strip_suffix(b"\r").unwrap_or(it)).collect();
    assert_eq!(received_lines(&content), meant);
}

/// What was held back goes on without its dots, and what is behind it without any.
fn turned(data: &[u8], cuts: &Cuts, held: usize, plain: &Outcome) {
    let scanner = ChunkScanner::new(Transparency::Stuffed);
    let (turned, released) = read_turning(scanner, data, cuts, held);
    assert_eq!(turned.fault, plain.fault);
    let content = if released.is_some() { turned.content } else { unstuff(&turned.content) };
    assert_eq!(content, plain.content);
    assert_eq!(turned.is_in_line, plain.is_in_line);
}

fn begins_with_space(data: &[u8]) -> bool {
    matches!(data.first(), Some(b' ' | b'\t'))
}

/// A CR in front of each LF that has none.
fn mended(data: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = data.split(|octet| *octet == b'\n').collect();
    let lines: Vec<&[u8]> = lines.iter().map(|it| it.strip_suffix(b"\r").unwrap_or(it)).collect();
    lines.join(&b"\r\n"[..])
}
