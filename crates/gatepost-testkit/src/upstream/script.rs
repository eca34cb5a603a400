//! What the upstream does instead of being polite: actions, and the rules that choose them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The name in rules of the event that a client connects; its answer is the greeting.
pub const CONNECT: &str = "CONNECT";
/// The name in rules of the event that CRLF.CRLF arrived.
pub const END_OF_DATA: &str = ".";

/// One thing an upstream may do when something happens.
///
/// A reply is text without its last line end; the lines of a multi-line reply are separated by
/// `\n`. Only a reply to DATA that begins with `354` opens the mail data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Replies.
    Reply(String),
    /// Replies and closes cleanly.
    ReplyThenClose(String),
    /// Waits, then replies.
    Delay(Duration, String),
    /// Sends two replies in one write: one too many.
    TwoReplies(String, String),
    /// Replies, waits until the other side says something, and sends these octets beneath whatever
    /// TLS there may be: one who sits on the line.
    ReplyThenRaw(String, Vec<u8>),
    /// Sends these octets, whatever they are.
    Raw(Vec<u8>),
    /// Closes cleanly (FIN) without a reply.
    Close,
    /// Resets the connection (RST).
    Reset,
    /// Never replies again on this connection, but reads on.
    Silence,
    /// Makes these moves, one after the other, where a reply is due. What the first of them say is
    /// the reply, if it is whole.
    Play(Vec<Move>),
    /// To DATA: accepts, reads so many octets of content, makes these moves, and reads on. To BDAT:
    /// the same inside the chunk.
    PlayInData(usize, Vec<Move>),
    /// To DATA: accepts, reads so many octets of content, and is gone, as a process that was killed
    /// is gone (FIN, or RST if octets lie unread).
    CloseAfterData(usize),
    /// To DATA: accepts, reads so many octets of content, then reads no more.
    StallAfterData(usize),
    /// This must never happen: the upstream panics with this reason, and so does its `join`.
    Panic(String),
}

/// One thing of several that an upstream does in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Says this, and behind it in the same segment that TLS has come to grief: a fatal alert. Then
    /// reads on, and understands nothing.
    Alert(Vec<u8>),
    /// Sends these octets past TLS, if there is TLS.
    Beneath(Vec<u8>),
    /// Closes cleanly (FIN), having read what still came.
    Close,
    /// Says with TLS that it will say nothing more, and lets the socket be.
    CloseNotify,
    /// Reads nothing more, until the other side is gone.
    Deaf,
    /// Sends these octets one by one, with a pause after each.
    Drip(Vec<u8>, Duration),
    /// FIN, and no word of TLS about it; reads on.
    Fin,
    /// Says that it will say nothing more (FIN), and reads on.
    HalfClose,
    /// Waits until the other side says something, and forgets it.
    Hear,
    /// Seals with other keys from here on, and asks the other side to do so (RFC 8446 §4.6.3).
    NewKeys,
    /// Sends these octets again and again, with a pause each time, for as long as it can.
    Repeat(Vec<u8>, Duration),
    /// Resets the connection (RST).
    Reset,
    /// Sends these octets, whatever they are.
    Say(Vec<u8>),
    /// Says nothing more, but reads on.
    Silence,
    /// Neither says nor reads anything for so long.
    Wait(Duration),
}

impl Move {
    /// Says a reply that is whole: its lines end with CRLF.
    pub fn say(reply: &str) -> Self {
        Self::Say(reply.as_bytes().to_vec())
    }
}

impl From<&str> for Action {
    fn from(reply: &str) -> Self {
        Self::Reply(reply.to_owned())
    }
}

impl From<String> for Action {
    fn from(reply: String) -> Self {
        Self::Reply(reply)
    }
}

impl Action {
    /// The reply that the other side will take for the answer, if there is one.
    pub(super) fn reply(&self) -> Option<String> {
        match self {
            Self::Reply(reply)
            | Self::ReplyThenClose(reply)
            | Self::Delay(_, reply)
            | Self::TwoReplies(reply, _)
            | Self::ReplyThenRaw(reply, _) => Some(reply.clone()),
            Self::Raw(octets) => Some(String::from_utf8_lossy(octets).trim_end().to_owned()),
            Self::CloseAfterData(_) | Self::StallAfterData(_) | Self::PlayInData(..) => {
                Some("354 go ahead".to_owned())
            }
            Self::Play(moves) => whole_reply(moves),
            Self::Close | Self::Reset | Self::Silence | Self::Panic(_) => None,
        }
    }

    /// How much mail data this answer to DATA lets in.
    pub(super) fn octets_max(&self) -> usize {
        match self {
            Self::CloseAfterData(octets)
            | Self::StallAfterData(octets)
            | Self::PlayInData(octets, _) => *octets,
            _ => usize::MAX,
        }
    }
}

/// What moves say, if it comes to the end of a line.
fn whole_reply(moves: &[Move]) -> Option<String> {
    let mut said = Vec::new();
    for next in moves {
        match next {
            Move::Say(octets) | Move::Drip(octets, _) => said.extend_from_slice(octets),
            Move::Alert(octets) => {
                said.extend_from_slice(octets);
                break;
            }
            Move::Wait(_) | Move::Hear | Move::NewKeys => {}
            _ => break,
        }
    }
    let reply = String::from_utf8_lossy(&said);
    reply.contains("\r\n").then(|| reply.trim_end().to_owned())
}

/// The rules of an upstream, with their counters.
#[derive(Debug, Default)]
pub(super) struct Script {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    prefix: String,
    nth: Option<usize>,
    action: Action,
    /// How many events began with the prefix since the rule was added.
    seen: usize,
}

impl Script {
    pub(super) fn add(&mut self, prefix: &str, nth: Option<usize>, action: Action) {
        self.rules.push(Rule { prefix: prefix.to_owned(), nth, action, seen: 0 });
    }

    /// The action of the most specific rule for this event, which is counted.
    pub(super) fn action_for(&mut self, event: &str) -> Option<Action> {
        for rule in &mut self.rules {
            rule.seen += usize::from(rule.fits(event));
        }
        self.rules
            .iter()
            .filter(|rule| rule.fits(event))
            .filter(|rule| rule.nth.is_none_or(|nth| nth == rule.seen))
            .max_by_key(|rule| (rule.nth.is_some(), rule.prefix.len()))
            .map(|rule| rule.action.clone())
    }
}

impl Rule {
    fn fits(&self, event: &str) -> bool {
        let beginning = event.as_bytes().get(..self.prefix.len());
        beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(self.prefix.as_bytes()))
    }
}

/// The script is a list that no panic can leave half changed.
pub(super) fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}
