//! What the upstream of the `transaction` target is like: what it refuses, and when it goes away.
//!
//! It decides by words in what it is sent and by nothing else. So whoever knows the client's octets
//! knows its answers, too, and the order and the pieces in which they come do not matter.

/// What an upstream offers in its answer to EHLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// PIPELINING, SIZE, 8BITMIME, SMTPUTF8 and CHUNKING.
    Everything,
    /// Nothing: commands one by one, only ASCII, and only DATA.
    Nothing,
}

/// What becomes of DATA, and of the first BDAT before its octets are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnData {
    /// 354, or the octets of the chunk are read.
    GoAhead,
    /// The connection is closed without a word.
    HangUp,
    /// 554.
    Refuse,
}

/// What becomes of a chunk when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChunk {
    /// 250. If it is the last, the message decides: see [`on_end`].
    Accept,
    /// 250, and another 250 that answers nothing.
    AcceptTwice,
    /// The connection is closed without a word.
    HangUp,
    /// 552.
    Refuse,
}

/// What becomes of a message at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEnd {
    /// 250.
    Accept,
    /// 250, and another 250 that answers nothing.
    AcceptTwice,
    /// 451.
    Defer,
    /// The connection is closed without a word: nobody knows what has become of the message.
    HangUp,
    /// 554.
    Refuse,
}

/// Whether MAIL is refused.
pub fn refuses_sender(path: &[u8]) -> bool {
    path.starts_with(b"nosender")
}

/// Whether RCPT is refused.
pub fn refuses_recipient(path: &[u8]) -> bool {
    path.starts_with(b"no")
}

/// What becomes of DATA, or of the first BDAT, in a transaction from `path`.
pub fn on_data(path: &[u8]) -> OnData {
    match path {
        path if path.starts_with(b"nodata") => OnData::Refuse,
        path if path.starts_with(b"lost") => OnData::HangUp,
        _ => OnData::GoAhead,
    }
}

/// What becomes of a chunk, less the line that Gatepost has put in front.
pub fn on_chunk(content: &[u8]) -> OnChunk {
    if says(content, b"drop-chunk") {
        OnChunk::HangUp
    } else if says(content, b"no-chunk") {
        OnChunk::Refuse
    } else if says(content, b"say-twice") {
        OnChunk::AcceptTwice
    } else {
        OnChunk::Accept
    }
}

/// What becomes of a message, less the line that Gatepost has put in front.
pub fn on_end(content: &[u8]) -> OnEnd {
    if says(content, b"hang-up") {
        OnEnd::HangUp
    } else if says(content, b"refuse-me") {
        OnEnd::Refuse
    } else if says(content, b"defer-me") {
        OnEnd::Defer
    } else if says(content, b"say-twice") {
        OnEnd::AcceptTwice
    } else {
        OnEnd::Accept
    }
}

fn says(content: &[u8], words: &[u8]) -> bool {
    content.windows(words.len()).any(|octets| octets == words)
}
