//! Upstreams that do not keep to the rules, in every state of a connection, over real sockets.
//!
//! A [`Row`] is one upstream that misbehaves once, in one state, and what the client hears of it.
//! Whatever the row, [`play`] sees to the rest of the promise: the reply comes in time; the connection
//! is closed, and the client's next message goes out on another; the upstream has all that the client
//! was told it has; what is written down is short and printable.
//!
//! - `silence`: nothing, or too little, or an end, where a reply is due. One table for all states.
//! - `nonsense`: what is no reply. One table for all states.
//! - `turns`: replies that are none of these, and are wrong where they are said.
//! - `body`: what is said before everything was sent.
//! - `tolerated`: what looks odd and is allowed.
//! - `bounds`: how much of it is kept, shown and written down.
//! - `tls`: what is wrong with TLS, in every state; `handshake`: what stands in its way.
//! - `auth`: what is wrong with our login.

mod auth;
mod body;
mod bounds;
mod handshake;
mod nonsense;
mod play;
mod silence;
mod tls;
mod tolerated;
mod turns;
mod wire;

use std::time::Duration;

use gatepost_testkit::upstream::{Action, CONNECT, END_OF_DATA, Move};

use play::play;
use wire::Wire;

/// Between octets that come slowly: not one of them is late, and all of them together are.
const SLOW: Duration = Duration::from_millis(100);
/// As often as the upstream can.
const FLOOD: Duration = Duration::ZERO;

const TOO_SLOW: &str = "no reply in time";
const CLOSED: &str = "connection lost: the peer closed the connection";
/// Before or behind what it said: the kernel's words.
const RESET: &str = "";
const UNENDED: &str = "protocol fault: a reply without an end";
const NO_REPLY: &str = "protocol fault: what came is not an SMTP reply";
const TWO_CODES: &str = "protocol fault: the lines of a reply have different codes";
const STRAY: &str = "protocol fault: a reply that answers nothing";
const EARLY: &str = "protocol fault: a reply before the end of data";

/// Where the upstream misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    /// Where TLS is begun.
    StartTls,
    /// Behind TLS, if there is TLS.
    Ehlo,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// In the middle of the content.
    Body,
    Dot,
    /// In the middle of a chunk that is not the last.
    InChunk,
    Chunk,
    LastChunk,
    /// The client has given a transaction up.
    Rset,
    /// Behind a message that was taken.
    Idle,
    /// At the first command behind one: that it was given to a connection in use costs the client
    /// nothing.
    Reused,
}

impl State {
    /// Those that there are in plain text.
    const ALL: [Self; 13] = [
        Self::Greeting,
        Self::Ehlo,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::Body,
        Self::Dot,
        Self::InChunk,
        Self::Chunk,
        Self::LastChunk,
        Self::Rset,
        Self::Idle,
        Self::Reused,
    ];

    /// The event at which the upstream acts, and which one of them.
    const fn event(self) -> (&'static str, usize) {
        match self {
            Self::Greeting => (CONNECT, 1),
            Self::StartTls => ("STARTTLS", 1),
            Self::Ehlo => ("EHLO", 1),
            Self::Auth => ("AUTH", 1),
            Self::Mail => ("MAIL", 1),
            Self::Rcpt => ("RCPT", 1),
            Self::Data | Self::Body => ("DATA", 1),
            Self::Dot | Self::LastChunk | Self::Idle => (END_OF_DATA, 1),
            Self::InChunk | Self::Chunk => ("BDAT", 1),
            Self::Rset => ("RSET", 1),
            Self::Reused => ("MAIL", 2),
        }
    }

    fn action(self, mut moves: Vec<Move>) -> Action {
        match self {
            Self::Body | Self::InChunk => Action::PlayInData(1, moves),
            Self::Idle => {
                moves.insert(0, Move::say("250 2.0.0 queued\r\n"));
                Action::Play(moves)
            }
            _ => Action::Play(moves),
        }
    }

    /// What the client hears of an upstream that gives no usable reply here, and at which command.
    const fn hears(self) -> &'static str {
        match self {
            Self::Greeting | Self::StartTls | Self::Ehlo | Self::Auth => {
                "RCPT 451 4.4.1 no connection to the upstream"
            }
            Self::Mail | Self::Rcpt => "RCPT 451 4.4.2 lost the upstream",
            Self::Data | Self::Body | Self::Dot => ". 451 4.4.2 lost the upstream",
            Self::InChunk | Self::Chunk => "BDAT 451 4.4.2 lost the upstream",
            Self::LastChunk => "LAST 451 4.4.2 lost the upstream",
            Self::Rset => "RCPT 250",
            Self::Idle | Self::Reused => ". 250 2.0.0 queued",
        }
    }

    /// Whether the client has all it wants by then: what goes wrong is not its business.
    const fn is_behind(self) -> bool {
        matches!(self, Self::Rset | Self::Idle | Self::Reused)
    }

    /// Whether it matters that commands are sent in groups.
    const fn is_in_a_group(self) -> bool {
        matches!(self, Self::Mail | Self::Rcpt | Self::Data)
    }

    const fn is_in_chunks(self) -> bool {
        matches!(self, Self::InChunk | Self::Chunk | Self::LastChunk)
    }
}

/// One upstream that misbehaves.
struct Row {
    what: String,
    state: State,
    wire: Wire,
    grouping: Grouping,
    moves: Vec<Move>,
    /// The command and the beginning of its reply. Where it is a matter of microseconds which
    /// command hears it, all that may be.
    hears: Vec<&'static str>,
    /// In the log, if anything is.
    reason: Option<&'static str>,
    /// Whether the upstream may have the message although the client was told that it has not.
    is_ambiguous: bool,
    /// What becomes of the connection.
    fate: Fate,
}

/// How commands go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grouping {
    OneByOne,
    Pipelining,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Closed,
    Kept,
    /// Closed, and somebody has to mend our set-up before there is another.
    Last,
}

impl Row {
    /// A line of a table for all states: a row for each.
    fn everywhere(what: &'static str, moves: &[Move], reason: &'static str) -> Vec<Self> {
        let in_groups = State::ALL.map(|state| Self::anywhere(state, what, moves.to_vec(), reason));
        let one_by_one =
            State::ALL.into_iter().filter(|state| state.is_in_a_group()).map(|state| {
                let row = Self::anywhere(state, what, moves.to_vec(), reason);
                Self { grouping: Grouping::OneByOne, ..row }
            });
        in_groups.into_iter().chain(one_by_one).collect()
    }

    fn anywhere(state: State, what: &str, moves: Vec<Move>, reason: &'static str) -> Self {
        let row = Self::new(state, what, moves, state.hears());
        if state.is_behind() { row } else { row.because(reason) }
    }

    fn new(state: State, what: &str, moves: Vec<Move>, hears: &'static str) -> Self {
        // In the middle of a message, who says nothing gets the dot and keeps its answer.
        let says_nothing = matches!(moves[..], [Move::Silence | Move::Deaf]);
        let has_everything = match state {
            State::Dot | State::LastChunk => true,
            State::Body => says_nothing,
            _ => false,
        };
        Self {
            what: what.to_owned(),
            state,
            wire: Wire::Plain,
            grouping: Grouping::Pipelining,
            moves,
            hears: vec![hears],
            reason: None,
            is_ambiguous: has_everything && hears.contains(" 451 4.4.2 "),
            fate: Fate::Closed,
        }
    }

    fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    fn or(mut self, hears: &'static str) -> Self {
        self.hears.push(hears);
        self
    }

    fn kept(mut self) -> Self {
        self.fate = Fate::Kept;
        self
    }

    fn last(mut self) -> Self {
        self.fate = Fate::Last;
        self
    }

    fn over(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }

    /// The event at which the upstream acts, and which one of them.
    const fn event(&self) -> (&'static str, usize) {
        match (self.state, self.wire) {
            // The first is in front of TLS.
            (State::Ehlo, Wire::StartTls(_) | Wire::Login(_)) => ("EHLO", 2),
            (state, _) => state.event(),
        }
    }

    fn name(&self) -> String {
        format!("{:?}, {:?}, {:?}: {}", self.wire, self.state, self.grouping, self.what)
    }
}

fn say(reply: &str) -> Vec<Move> {
    vec![Move::say(reply)]
}
