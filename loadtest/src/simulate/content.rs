//! The content of a message while it passes: what a provider, and a judge of clients, look at.
//!
//! Works on octets in pieces that may be cut anywhere. Holds the header section, bounded, and the
//! whole content only where somebody asked for it.

use super::record::ViolationKind;

/// The longest line with its CRLF (RFC 5321 §4.5.3.1.6), and the octet that transparency adds.
const LINE_OCTETS_MAX: usize = 1001;

/// Octets of the header section that are held to find the From field.
const HEADER_OCTETS_MAX: usize = 64 * 1024;

/// The content of one message so far.
#[derive(Debug, Default)]
pub(super) struct Content {
    octets: u64,
    line_octets: usize,
    last: Option<u8>,
    /// One of each kind is enough to know about a message.
    faults: Vec<ViolationKind>,
    header: Vec<u8>,
    kept: Option<Vec<u8>>,
}

impl Content {
    pub(super) fn new(keep: bool) -> Self {
        Self { kept: keep.then(Vec::new), ..Self::default() }
    }

    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// Takes the next piece. `most` octets are kept, no more.
    pub(super) fn take(&mut self, piece: &[u8], most: u64) {
        self.octets += piece.len() as u64;
        let room = HEADER_OCTETS_MAX.saturating_sub(self.header.len());
        self.header.extend_from_slice(&piece[..piece.len().min(room)]);
        match &mut self.kept {
            Some(kept) if self.octets <= most => kept.extend_from_slice(piece),
            Some(kept) => *kept = Vec::new(),
            None => {}
        }
        for &octet in piece {
            self.step(octet);
        }
    }

    fn step(&mut self, octet: u8) {
        self.line_octets += 1;
        if self.line_octets == LINE_OCTETS_MAX + 1 {
            self.fault(ViolationKind::LineTooLong);
        }
        match (self.last, octet) {
            (Some(b'\r'), b'\n') => self.line_octets = 0,
            (_, b'\n') => self.fault(ViolationKind::BareLf),
            (Some(b'\r'), _) => self.fault(ViolationKind::BareCr),
            _ => {}
        }
        if octet == 0 {
            self.fault(ViolationKind::Nul);
        }
        self.last = Some(octet);
    }

    fn fault(&mut self, kind: ViolationKind) {
        if !self.faults.contains(&kind) {
            self.faults.push(kind);
        }
    }

    /// What was wrong with it.
    pub(super) fn faults(&self) -> &[ViolationKind] {
        &self.faults
    }

    /// The content as it was on the wire, if it was to be kept.
    pub(super) fn into_kept(self) -> Option<Vec<u8>> {
        self.kept
    }

    /// The address in the From field, as far as a provider's look at it goes: of the first such
    /// field what stands between angle brackets, or else all of it.
    pub(super) fn sender(&self) -> Option<String> {
        let header = String::from_utf8_lossy(&self.header);
        let header = header.split("\r\n\r\n").next()?;
        let unfolded = header.replace("\r\n ", " ").replace("\r\n\t", " ");
        let value = unfolded.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim_end().eq_ignore_ascii_case("From").then_some(value)
        })?;
        let address = match (value.rfind('<'), value.rfind('>')) {
            (Some(start), Some(end)) if start < end => &value[start + 1..end],
            _ => value,
        };
        Some(address.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(pieces: &[&[u8]]) -> Content {
        let mut content = Content::new(true);
        for piece in pieces {
            content.take(piece, 1000);
        }
        content
    }

    #[test]
    fn faults_are_found_wherever_the_content_is_cut() {
        use ViolationKind::{BareCr, BareLf, Nul};
        for (text, faults) in [
            (&b"a\r\nb\r\n"[..], &[][..]),
            (b"a\nb\r\n", &[BareLf]),
            (b"\n", &[BareLf]),
            (b"a\rb\r\n", &[BareCr]),
            (b"a\r\r\n", &[BareCr]),
            (b"a\0\r\n", &[Nul]),
            (b"a\n\n\rb\0", &[BareLf, BareCr, Nul]),
        ] {
            for cut in 0..=text.len() {
                let (first, second) = text.split_at(cut);
                assert_eq!(content(&[first, second]).faults(), faults, "{}", text.escape_ascii());
            }
        }
        let line = |octets: usize| [vec![b'x'; octets - 2], b"\r\n".to_vec()].concat();
        assert_eq!(content(&[&line(1001), &line(1001)]).faults(), &[]);
        assert_eq!(content(&[&line(1002)]).faults(), &[ViolationKind::LineTooLong]);
    }

    #[test]
    fn the_from_field_is_found() {
        for (text, from) in [
            ("From: a@b.test\r\n\r\n", Some("a@b.test")),
            ("Subject: x\r\nFROM: \"From: x\" <a@b.test>\r\n\r\nx", Some("a@b.test")),
            ("From:\r\n A <a@b.test>\r\n\r\n", Some("a@b.test")),
            ("Subject: x\r\n\r\nFrom: a@b.test\r\n", None),
            ("", None),
        ] {
            assert_eq!(content(&[text.as_bytes()]).sender().as_deref(), from, "{text}");
        }
    }

    #[test]
    fn only_so_much_is_kept() {
        assert_eq!(content(&[&[b'x'; 500], &[b'x'; 500]]).into_kept().unwrap().len(), 1000);
        assert_eq!(content(&[&[b'x'; 500], &[b'x'; 501]]).into_kept().unwrap().len(), 0);
        let mut unkept = Content::new(false);
        unkept.take(b"x", 10);
        assert_eq!((unkept.octets(), unkept.into_kept()), (1, None));
    }
}
