//! BDAT as a strict server reads it (RFC 3030 §2, contract §3).
//!
//! What follows the line is so many octets and nothing else, whatever is said to them. Only a line
//! that does not say how many, and one that says too many, end the session at once.

use super::{Codes, Content, Decision, Envelope, Message, Newlines, Reader, Rules, State};
use crate::{
    grammar, received_lines,
    upstream::{self, Offer, OnChunk, OnData, OnEnd},
};

/// Octets of a chunk of no message that are read past.
const DISCARD_OCTETS_MAX: u64 = 64 * 1024 * 1024;

const GRANTED: Codes = &[250];
/// There is no recipient at all, or none that stands.
const FOR_NOBODY: Codes = &[503, 554];
/// It cannot be said now.
const OUT_OF_ORDER: Codes = &[503];
/// No server may see it, or this one cannot.
const SPOILT: Codes = &[554];
/// The same, or its upstream was gone before that was seen.
const SPOILT_OR_LOST: Codes = &[554, 451];

/// A message of which the chunks so far have been read.
pub(super) struct Chunks {
    envelope: Envelope,
    /// The octets of all chunks that were looked at.
    whole: Vec<u8>,
    /// Those that go upstream as chunks.
    parts: Vec<Vec<u8>>,
    /// What all have announced, wanted or not.
    announced_octets: u64,
    /// What the next chunk hears, if nobody looks at it any more.
    refused: Option<Codes>,
    /// Two servers may see two messages in it.
    is_spoilt: bool,
    /// The upstream has said yes twice: what it says next answers nothing.
    in_doubt: bool,
}

impl<'a> Reader<'a> {
    /// What state BDAT leads to; none if it ends the session. Its reply, which is counted already,
    /// comes behind its octets.
    pub(super) fn bdat(&mut self, line: &[u8], state: State) -> Option<State> {
        let Some((octets, last)) = grammar::chunk(line) else {
            self.answered(&[501]);
            return None;
        };
        match state {
            State::Open(envelope) => self.chunk(Chunks::of(envelope), octets, last),
            State::Chunks(chunks) => self.chunk(*chunks, octets, last),
            State::Ready if octets <= DISCARD_OCTETS_MAX => {
                self.content(octets)?;
                self.answered(OUT_OF_ORDER);
                Some(State::Ready)
            }
            _ => {
                self.answered(OUT_OF_ORDER);
                None
            }
        }
    }

    fn chunk(&mut self, mut chunks: Chunks, octets: u64, last: bool) -> Option<State> {
        chunks.announced_octets = chunks.announced_octets.saturating_add(octets);
        if chunks.announced_octets > self.rules.size_octets_max as u64 {
            self.answered(&[552]);
            return None;
        }
        let content = self.content(octets)?;
        let codes = chunks.refused.unwrap_or_else(|| chunks.judge(content, last, self.rules));
        if chunks.is_spoilt {
            self.answered(codes);
            return None;
        }
        if !last {
            self.answered(codes);
            chunks.refused = (codes != GRANTED).then_some(OUT_OF_ORDER);
            return Some(State::Chunks(chunks.into()));
        }
        let codes = if codes == GRANTED { self.whole(chunks) } else { codes };
        let decision = if codes == GRANTED { Decision::Granted } else { Decision::Refused };
        self.session.ends.push((self.session.replies - 1, decision));
        self.answered(codes);
        Some(State::Ready)
    }

    /// The octets of a chunk. Nobody answers one that has no end.
    fn content(&mut self, octets: u64) -> Option<&'a [u8]> {
        let octets = usize::try_from(octets).ok();
        let content = octets.and_then(|octets| self.octets[self.at..].get(..octets));
        match content {
            Some(content) => self.at += content.len(),
            None => self.session.replies -= 1,
        }
        content
    }

    fn answered(&mut self, codes: Codes) {
        self.session.chunks.push((self.session.replies - 1, codes));
    }

    /// The message is whole and nothing is wrong with it: what the upstream says.
    fn whole(&mut self, chunks: Chunks) -> Codes {
        let Chunks { envelope, whole, parts, .. } = chunks;
        let content = if goes_in_chunks(self.rules) {
            Content::Chunks(parts)
        } else {
            let octets = as_data(&whole);
            let lines = received_lines(&octets).into_iter().map(<[u8]>::to_vec).collect();
            Content::Data { lines, octets: Some(octets) }
        };
        self.session.messages.push(Message::new(envelope, content, self.rules));
        match upstream::on_end(&whole) {
            OnEnd::Accept | OnEnd::AcceptTwice => GRANTED,
            OnEnd::Defer | OnEnd::HangUp => &[451],
            OnEnd::Refuse => &[554],
        }
    }
}

impl Chunks {
    fn of(envelope: Envelope) -> Self {
        let refused = envelope.forward_paths.is_empty().then_some(FOR_NOBODY);
        Self {
            envelope,
            whole: Vec::new(),
            parts: Vec::new(),
            announced_octets: 0,
            refused,
            is_spoilt: false,
            in_doubt: false,
        }
    }

    /// What is said to a chunk of a message with which nothing was wrong so far.
    fn judge(&mut self, content: &[u8], last: bool, rules: &Rules) -> Codes {
        self.whole.extend_from_slice(content);
        // The dots of a chunk are its own.
        if matches!(self.whole.first(), Some(b' ' | b'\t')) {
            return SPOILT;
        }
        // A CR may have its LF in the next one.
        let whole = self.whole.strip_suffix(b"\r").filter(|_| !last).unwrap_or(&self.whole);
        self.is_spoilt = grammar::is_spoilt(whole, rules.newlines);
        let is_sayable = rules.offer == Offer::Everything || content.is_ascii();
        if self.is_spoilt || !is_sayable {
            // Its upstream may be gone before that is seen.
            let is_lost = upstream::on_data(&self.envelope.reverse_path) == OnData::HangUp;
            return if is_lost && !self.is_spoilt { SPOILT_OR_LOST } else { SPOILT };
        }
        // Of an empty chunk the upstream does not hear, unless it is the last.
        if content.is_empty() && !last { GRANTED } else { self.upstreams(content, last, rules) }
    }

    /// What the upstream says.
    fn upstreams(&mut self, content: &[u8], last: bool, rules: &Rules) -> Codes {
        let on_data = upstream::on_data(&self.envelope.reverse_path);
        match on_data {
            OnData::GoAhead if self.in_doubt => return &[451],
            OnData::GoAhead => {}
            OnData::HangUp => return &[451],
            OnData::Refuse => return &[554],
        }
        if !goes_in_chunks(rules) {
            return GRANTED;
        }
        self.parts.push(content.to_vec());
        match upstream::on_chunk(content) {
            OnChunk::Accept => GRANTED,
            OnChunk::AcceptTwice => {
                self.in_doubt = !last;
                GRANTED
            }
            OnChunk::HangUp => &[451],
            OnChunk::Refuse => &[552],
        }
    }
}

/// What is mended has a size that nobody knows before.
fn goes_in_chunks(rules: &Rules) -> bool {
    rules.offer == Offer::Everything && rules.newlines == Newlines::Reject
}

/// The same as DATA: each line has an end, and one more dot if it begins with one.
fn as_data(content: &[u8]) -> Vec<u8> {
    let lines = content.split(|octet| *octet == b'\n');
    let mut lines: Vec<&[u8]> = lines.map(|it| it.strip_suffix(b"\r").unwrap_or(it)).collect();
    // Behind the last end of a line there is no other line.
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let stuffing = |line: &[u8]| if line.starts_with(b".") { &b"."[..] } else { b"" };
    lines.iter().flat_map(|line| [stuffing(line), line, b"\r\n"].concat()).collect()
}
