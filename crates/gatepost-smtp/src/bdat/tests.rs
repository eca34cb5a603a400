//! What is let through, in whatever chunks and pieces it comes.

use proptest::prelude::*;

use super::*;
use crate::data::{DataScanner, Scan, TERMINATOR};

/// Scans chunks that come in pieces of `size`, and brings back what goes on.
fn relay(
    mut scanner: ChunkScanner,
    chunks: &[&[u8]],
    size: usize,
) -> Result<(Vec<u8>, ChunkScanner), DataFault> {
    let mut out = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let (mut from, mut to) = (0, 0);
        loop {
            to = (to + size).min(chunk.len());
            let behind = match (to == chunk.len(), index + 1 == chunks.len()) {
                (false, _) => Behind::Octets,
                (true, false) => Behind::Chunk,
                (true, true) => Behind::Nothing,
            };
            let all = loop {
                match scanner.scan(&chunk[from..to], behind) {
                    ChunkScan::More(octets) => {
                        out.extend(&chunk[from..from + octets]);
                        from += octets;
                        break from == chunk.len();
                    }
                    ChunkScan::Replace { octets, replaced, with } => {
                        out.extend(&chunk[from..from + octets]);
                        out.extend(with);
                        from += octets + replaced;
                    }
                    ChunkScan::Fault(_, fault) => return Err(fault),
                }
            };
            if all && to == chunk.len() {
                break;
            }
        }
    }
    Ok((out, scanner))
}

fn plain(chunks: &[&[u8]]) -> Result<Vec<u8>, DataFault> {
    relay(ChunkScanner::new(Transparency::Plain), chunks, 1000).map(|(out, _)| out)
}

#[test]
fn chunks_go_on_as_they_came() {
    for chunks in [
        &[&b""[..]][..],
        &[b"a: b\r\n\r\n.\r\nc", b""],
        &[b"\r\n", b".\r\n.", b"\r\n"],
        &[b"a\r", b"\nb\r", b"", b"\n"],
        &[b"no line end"],
    ] {
        assert_eq!(plain(chunks), Ok(chunks.concat()), "{chunks:?}");
    }
}

/// The bytes of RFC 3030 chunks that two servers may read differently.
#[test]
fn what_two_servers_may_read_differently_is_a_fault() {
    for (chunks, fault) in [
        (&[&b"a\nb"[..]][..], DataFault::BareLf),
        (&[b"a\rb"], DataFault::BareCr),
        (&[b"a\r"], DataFault::BareCr),
        (&[b"a\r", b""], DataFault::BareCr),
        (&[b"\r", b"\n.\r"], DataFault::BareCr),
        (&[b"a\r", b"\r\n"], DataFault::BareCr),
        (&[b"a\r", b"b"], DataFault::BareCr),
        (&[b"a\r\n", b"\n"], DataFault::BareLf),
        (&[b"a", b"\nb"], DataFault::BareLf),
        (&[b"a\0b"], DataFault::Nul),
        (&[b" a"], DataFault::LeadingSpace),
        (&[b"", b"\ta"], DataFault::LeadingSpace),
        (&[b"a\r\n.\n"], DataFault::BareLf),
        (&[b"a\r\n.\r"], DataFault::BareCr),
    ] {
        for size in 1..4 {
            let relayed = relay(ChunkScanner::new(Transparency::Plain), chunks, size);
            assert_eq!(relayed.err(), Some(fault), "{chunks:?} in pieces of {size}");
        }
    }
}

#[test]
fn a_dot_that_begins_a_line_is_stuffed_wherever_its_chunk_begins() {
    let chunks: &[&[u8]] = &[b".a\r\n", b".", b"\r\nb.\r", b"\n", b".\r\n"];
    for size in 1..5 {
        let scanner = ChunkScanner::new(Transparency::Stuffed);
        let (out, scanner) = relay(scanner, chunks, size).expect("content");
        assert_eq!(out, b"..a\r\n..\r\nb.\r\n..\r\n");
        assert_eq!(unstuff(&out), chunks.concat());
        assert!(!scanner.is_in_line());
    }
}

#[test]
fn a_bare_lf_is_mended_where_that_is_asked_for() {
    let scanner = ChunkScanner::normalizing(Transparency::Stuffed);
    let (out, scanner) = relay(scanner, &[b"a\n.\n", b".b\nc"], 2).expect("content");
    assert_eq!(out, b"a\r\n..\r\n..b\r\nc");
    assert!(scanner.is_in_line(), "the last line has no end");
}

proptest! {
    /// What goes on as DATA has one end, at its end, and is what was sent; in whatever chunks.
    #[test]
    fn as_data_it_is_one_message(
        words in proptest::collection::vec(proptest::sample::select(
            vec!["\r\n", ".", "\r", "\n", "\0", "a", " ", "\r\n.\r\n"]
        ), 0..12),
        cuts in proptest::collection::vec(0_usize..30, 0..6),
        size in 1_usize..5,
    ) {
        let message = words.concat().into_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(message.len())).collect();
        cuts.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for at in cuts.into_iter().chain([message.len()]) {
            chunks.push(&message[from..at]);
            from = at;
        }
        let whole = relay(ChunkScanner::new(Transparency::Plain), &[&message], 1000);
        let pieces = relay(ChunkScanner::new(Transparency::Plain), &chunks, size);
        prop_assert_eq!(whole.as_ref().err(), pieces.as_ref().err());
        let stuffed = relay(ChunkScanner::new(Transparency::Stuffed), &chunks, size);
        prop_assert_eq!(whole.is_ok(), stuffed.is_ok());
        if let (Ok((whole, _)), Ok((pieces, _)), Ok((mut out, scanner))) = (whole, pieces, stuffed) {
            prop_assert_eq!(&whole, &message);
            prop_assert_eq!(&pieces, &message);
            prop_assert_eq!(&unstuff(&out), &message);
            let (mut plain, mut unstuffer) = (Vec::new(), Unstuffer::default());
            out.chunks(size).for_each(|piece| unstuffer.append(piece, &mut plain));
            prop_assert_eq!(&plain, &message);
            if scanner.is_in_line() {
                out.extend(b"\r\n");
            }
            let content = out.len();
            out.extend(TERMINATOR);
            let mut scanner = DataScanner::new();
            prop_assert_eq!(scanner.scan(&out), Scan::End(content));
        }
    }
}

#[test]
fn dots_come_off_however_content_is_cut() {
    let plain = b".a\r\n..\r\nb.\r\n.\r\n\r\n.end\r\n";
    let stuffed = stuff(plain);
    assert_eq!(stuffed, b"..a\r\n...\r\nb.\r\n..\r\n\r\n..end\r\n");
    for size in 1..=stuffed.len() {
        let (mut unstuffer, mut all) = (Unstuffer::default(), Vec::new());
        for piece in stuffed.chunks(size) {
            unstuffer.append(piece, &mut all);
        }
        assert_eq!(all, plain, "pieces of {size}");
    }
}
