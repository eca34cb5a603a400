//! What a message is known by when it comes again, for entries that bound how often it may.
//!
//! The same message has the same reverse-path and recipients, as the client has named them, and the
//! same [`Gist`]: Subject and body, however they were sent. All of it is hashed as it passes by, under a
//! key of this process: nobody can prepare a message that is taken for another's. Nothing of the
//! content is kept, and where no entry asks for it nothing is done.

use std::hash::{BuildHasher as _, DefaultHasher, Hasher, RandomState};

use gatepost_policy::duplicate::Fingerprint;
use gatepost_smtp::bdat::Transparency;
use gatepost_smtp::header::Gist;
use gatepost_smtp::path::ReversePathBuf;

use crate::session::Session;

/// Octets that are hashed at a time.
const BLOCK_OCTETS: usize = 64;

/// Makes the fingerprint of a message that is being received.
pub(crate) struct Fingerprinter {
    key: RandomState,
    /// The sum of the hashes of the recipients: it does not matter in which order they were named.
    recipients: u64,
    gist: Gist<Blocks<DefaultHasher>>,
}

/// A hasher of one stream: it hashes block by block, whatever the pieces in which octets come. A
/// [`Hasher`] promises the same hash only for the same writes.
#[derive(Clone)]
struct Blocks<H> {
    hasher: H,
    block: [u8; BLOCK_OCTETS],
    filled: usize,
}

impl Fingerprinter {
    /// If the entry, or the credential, bounds how often a message may come.
    pub(crate) fn for_session(session: &Session, sender: &ReversePathBuf) -> Option<Box<Self>> {
        let is_wanted = session.terms().any(|terms| terms.duplicate_rate.is_some());
        is_wanted.then(|| Box::new(Self::new(&session.service.fingerprint_key, sender.octets())))
    }

    fn new(key: &RandomState, reverse_path: &[u8]) -> Self {
        let mut hasher = Blocks::new(key.build_hasher());
        hasher.write(reverse_path);
        // No path has it in itself, so what is behind it cannot be taken for a part of the path.
        hasher.write(b"\r\n");
        Self { key: key.clone(), recipients: 0, gist: Gist::new(hasher) }
    }

    /// A recipient stands.
    pub(crate) fn recipient(&mut self, forward_path: &[u8]) {
        let hash = self.key.hash_one(forward_path);
        self.recipients = self.recipients.wrapping_add(hash);
    }

    /// From here on, content comes in another way.
    pub(crate) const fn turn(&mut self, transparency: Transparency) {
        self.gist.turn(transparency);
    }

    /// The next piece of content.
    pub(crate) fn content(&mut self, content: &[u8]) {
        self.gist.scan(content);
    }

    /// The content has ended.
    pub(crate) fn end(self) -> Fingerprint {
        let mut hasher = self.gist.end();
        hasher.write(&self.recipients.to_le_bytes());
        Fingerprint::new(hasher.finish())
    }
}

impl<H> Blocks<H> {
    const fn new(hasher: H) -> Self {
        Self { hasher, block: [0; BLOCK_OCTETS], filled: 0 }
    }
}

impl<H: Hasher + Clone> Hasher for Blocks<H> {
    fn write(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let room = &mut self.block[self.filled..];
            let (now, later) = octets.split_at(room.len().min(octets.len()));
            room[..now.len()].copy_from_slice(now);
            self.filled += now.len();
            octets = later;
            if self.filled == BLOCK_OCTETS {
                self.hasher.write(&self.block);
                self.filled = 0;
            }
        }
    }

    fn finish(&self) -> u64 {
        let mut hasher = self.hasher.clone();
        hasher.write(&self.block[..self.filled]);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MESSAGE: &[u8] = b"Message-ID: <1@a>\r\nSubject: disk full\r\n\r\non a\r\n";

    fn fingerprint(key: &RandomState, recipients: &[&str], pieces: &[&[u8]]) -> Fingerprint {
        let mut fingerprinter = Fingerprinter::new(key, b"a@app.test");
        for path in recipients {
            fingerprinter.recipient(path.as_bytes());
        }
        for piece in pieces {
            fingerprinter.content(piece);
        }
        fingerprinter.end()
    }

    #[test]
    fn a_copy_is_known() {
        let key = RandomState::new();
        let of = |recipients: &[&str], content: &[u8]| fingerprint(&key, recipients, &[content]);
        let first = of(&["b@b.test", "c@b.test"], MESSAGE);
        let anew = b"Message-ID: <2@a>\r\nDate: today\r\nSubject: disk full\r\n\r\non a\r\n";
        assert_eq!(of(&["c@b.test", "b@b.test"], anew), first);
        for (recipients, content) in [
            (&["b@b.test"][..], MESSAGE),
            (&["b@b.test", "d@b.test"], MESSAGE),
            (&["b@b.testc@b.test"], MESSAGE),
            (&["b@b.test", "c@b.test"], b"Subject: disk empty\r\n\r\non a\r\n"),
            (&["b@b.test", "c@b.test"], b"Subject: disk full\r\n\r\non b\r\n"),
            (&["b@b.test", "c@b.test"], b"Subject: disk full\r\n\r\non a\r\n\r\n"),
        ] {
            assert_ne!(of(recipients, content), first, "{}", content.escape_ascii());
        }
        let other_sender = Fingerprinter::new(&key, b"b@app.test");
        assert_ne!(other_sender.end(), Fingerprinter::new(&key, b"a@app.test").end());
        let other = fingerprint(&RandomState::new(), &["b@b.test", "c@b.test"], &[MESSAGE]);
        assert_ne!(other, first, "another process has another key");
    }

    /// Counts writes: as particular as a hasher may be.
    #[derive(Clone, Default)]
    struct Writes(u64);

    impl Hasher for Writes {
        fn write(&mut self, octets: &[u8]) {
            self.0 = self.0 * 1000 + octets.len() as u64;
        }

        fn finish(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn a_hasher_gets_the_same_writes_whatever_the_pieces() {
        let octets = [7; 2 * BLOCK_OCTETS + 3];
        for piece_octets in 1..=octets.len() {
            let mut blocks = Blocks::new(Writes::default());
            octets.chunks(piece_octets).for_each(|piece| blocks.write(piece));
            assert_eq!(blocks.finish(), 64_064_003, "pieces of {piece_octets}");
        }
    }

    proptest! {
        /// However content is cut, also across the blocks in which it is hashed.
        #[test]
        fn pieces_do_not_matter(
            lines in prop::collection::vec("[a-c:. -]{0,90}", 0..12),
            cuts in prop::collection::vec(0..1000_usize, 0..12),
        ) {
            let key = RandomState::new();
            let content = [MESSAGE, (lines.join("\r\n") + "\r\n").as_bytes()].concat();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut % (content.len() + 1)).collect();
            cuts.extend([0, content.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &content[cut[0]..cut[1]]).collect();
            prop_assert_eq!(fingerprint(&key, &[], &pieces), fingerprint(&key, &[], &[&content]));
        }
    }
}
