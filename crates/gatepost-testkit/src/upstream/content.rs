//! The mail data of one message: where it ends, and what is kept of it.

/// The content of a message as it was on the wire: dot-stuffed, up to and with the CRLF of its
/// last line (RFC 5321 §4.1.1.4: that CRLF belongs to both the content and the end of data).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The octets; empty if the upstream keeps digests only.
    pub bytes: Vec<u8>,
    /// How many octets there were.
    pub octets: u64,
    /// Their digest.
    pub digest: Digest,
}

/// FNV-1a, 64 bits: independent of how the octets were cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// The digest of these octets.
    pub fn of(octets: &[u8]) -> Self {
        let mut digest = Self::default();
        digest.update(octets);
        digest
    }

    /// Goes on with more octets.
    pub fn update(&mut self, octets: &[u8]) {
        for &octet in octets {
            self.0 = (self.0 ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Finds CRLF.CRLF in a stream of reads, wherever the reads are cut.
#[derive(Debug)]
pub(super) struct Scan {
    content: Content,
    keeps_content: bool,
    place: Place,
}

/// Where in a line the next octet stands.
#[derive(Clone, Copy, Debug)]
enum Place {
    LineStart,
    /// A dot began the line; it is held back, for it may be the end.
    Dot,
    /// A dot and CR are held back.
    DotCr,
    Text,
    Cr,
}

impl Place {
    fn held_back(self) -> &'static [u8] {
        match self {
            Self::Dot => b".",
            Self::DotCr => b".\r",
            Self::LineStart | Self::Text | Self::Cr => b"",
        }
    }
}

impl Scan {
    pub(super) fn new(keeps_content: bool) -> Self {
        Self { content: Content::default(), keeps_content, place: Place::LineStart }
    }

    pub(super) fn octets(&self) -> u64 {
        self.content.octets
    }

    /// Moves as many octets of a chunk out of `unread` as there are, up to `octets_max`. Chunks have
    /// no end of data in them (RFC 3030 §2).
    pub(super) fn take_chunk(&mut self, unread: &mut Vec<u8>, octets_max: usize) -> usize {
        let octets = octets_max.min(unread.len());
        let chunk: Vec<u8> = unread.drain(..octets).collect();
        self.append(&chunk);
        octets
    }

    pub(super) fn into_content(self) -> Content {
        self.content
    }

    /// Moves content out of `unread`; true once the end of data was met and removed.
    pub(super) fn take(&mut self, unread: &mut Vec<u8>) -> bool {
        let mut at = 0;
        while at < unread.len() {
            match (self.place, unread[at]) {
                (Place::LineStart, b'.') => self.place = Place::Dot,
                (Place::Dot, b'\r') => self.place = Place::DotCr,
                (Place::DotCr, b'\n') => {
                    unread.drain(..=at);
                    return true;
                }
                (place, octet) => {
                    self.append(place.held_back());
                    let run = &unread[at..];
                    let length = match (place, octet) {
                        (_, b'\r') | (Place::Cr, b'\n') => 1,
                        _ => run.iter().position(|&octet| octet == b'\r').unwrap_or(run.len()),
                    };
                    self.append(&run[..length]);
                    self.place = match (place, octet) {
                        (_, b'\r') => Place::Cr,
                        (Place::Cr, b'\n') => Place::LineStart,
                        _ => Place::Text,
                    };
                    at += length;
                    continue;
                }
            }
            at += 1;
        }
        unread.clear();
        false
    }

    fn append(&mut self, octets: &[u8]) {
        if self.keeps_content {
            self.content.bytes.extend_from_slice(octets);
        }
        self.content.octets += octets.len() as u64;
        self.content.digest.update(octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the stream is cut in two, content and rest are the same.
    fn assert_content(stream: &[u8], content: &[u8], rest: &[u8]) {
        for cut in 0..=stream.len() {
            let mut scan = Scan::new(true);
            let mut unread = stream[..cut].to_vec();
            let mut ended = scan.take(&mut unread);
            unread.extend_from_slice(&stream[cut..]);
            ended = ended || scan.take(&mut unread);
            assert!(ended, "cut at {cut}");
            assert_eq!(unread, rest, "cut at {cut}");
            let found = scan.into_content();
            assert_eq!(found.bytes, content, "cut at {cut}");
            assert_eq!(found.octets, content.len() as u64);
            assert_eq!(found.digest, Digest::of(content));
        }
    }

    #[test]
    fn only_crlf_dot_crlf_ends_data() {
        assert_content(b".\r\nQUIT\r\n", b"", b"QUIT\r\n");
        assert_content(b"a\r\n..b\r\n.\r\n", b"a\r\n..b\r\n", b"");
        assert_content(b"a\n.\nb\r.\r\r\n.c\r\n.\r\n", b"a\n.\nb\r.\r\r\n.c\r\n", b"");
        assert_content(b"a\r\n.\r.\r\n.\n.\r\n\r\n.\r\n", b"a\r\n.\r.\r\n.\n.\r\n\r\n", b"");
        assert_content(b"a\r\r\n.\r\r\n.\r\n", b"a\r\r\n.\r\r\n", b"");
    }

    #[test]
    fn a_digest_alone_keeps_no_octets() {
        let mut scan = Scan::new(false);
        assert!(scan.take(&mut b"hello\r\n.\r\n".to_vec()));
        let content = scan.into_content();
        assert!(content.bytes.is_empty());
        assert_eq!((content.octets, content.digest), (7, Digest::of(b"hello\r\n")));
    }
}
