//! A client's octets as a strict server reads them: which transactions they are, and no others.
//!
//! Written from RFC 5321 and from the contract of Gatepost, line by line and without a state that is
//! not in the text. It knows the whole stream at once: there are no pieces here, no waiting and no
//! upstream but its known answers ([`crate::upstream`]). It shares nothing with gatepost-smtp, whose
//! answers it is to judge.
//!
//! Where a command is added to Gatepost, [`Reader::command`] gets an arm; where it brings octets
//! that are no commands (AUTH), [`State`] gets a variant and [`Reader::step`] a reader of it. Those of
//! BDAT have a known end and are read with it (`chunks`).

use crate::{
    grammar::{self, Mail},
    received_lines,
    upstream::{self, Offer, OnData, OnEnd},
};

mod chunks;

use self::chunks::Chunks;

/// Octets of a command line (contract §3).
const LINE_OCTETS_MAX: usize = 4096;

/// What a browser says: what follows it is not SMTP.
const HTTP: [&[u8]; 10] = [
    b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PRI", b"PUT", b"TRACE",
];

/// What the strict server is set up to do.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Octets of a message.
    pub size_octets_max: usize,
    /// What a bare LF in a message is.
    pub newlines: Newlines,
    /// What the upstream behind it offers.
    pub offer: Offer,
}

/// What a bare LF in a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newlines {
    /// The end of a line, but never the end of the data.
    Normalize,
    /// A fault.
    Reject,
}

/// What a stream says.
#[derive(Debug, Default)]
pub struct Session {
    /// What the upstream is to get, in this order.
    pub messages: Vec<Message>,
    /// How many replies the client gets, the greeting included.
    pub replies: usize,
    /// The replies that decide about a message: which of all they are, and whether they are a yes.
    pub ends: Vec<(usize, Decision)>,
    /// The replies to BDAT: which of all they are, and the codes that they may have.
    pub chunks: Vec<(usize, Codes)>,
    /// Where DATA was said in a transaction: so many octets, and the replies to them. Who goes on
    /// before the last of these is not believed, granted or not (RFC 2920 §3.1).
    pub pauses: Vec<(usize, usize)>,
}

/// The codes that a reply may have.
pub type Codes = &'static [u16];

/// What the client is told at the end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// 250: the upstream has said so.
    Granted,
    /// Anything else.
    Refused,
}

/// A message with its envelope.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// What stands between the brackets.
    pub reverse_path: Vec<u8>,
    /// Declared octets.
    pub size: Option<u64>,
    /// The words of MAIL, but for SIZE.
    pub words: Vec<&'static str>,
    /// What stands between the brackets, of those that the upstream has accepted.
    pub forward_paths: Vec<Vec<u8>>,
    /// What it says.
    pub content: Content,
}

/// What a message says, in the way in which it goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// Chunk by chunk.
    Chunks(Vec<Vec<u8>>),
    /// As DATA.
    Data {
        /// What a receiver takes it for: lines without what was stuffed.
        lines: Vec<Vec<u8>>,
        /// The very octets, where it is known which they are.
        octets: Option<Vec<u8>>,
    },
}

/// Reads a client's stream to its end.
pub fn read(octets: &[u8], rules: &Rules) -> Session {
    let mut reader = Reader {
        rules,
        octets,
        at: 0,
        helo: false,
        state: State::Connected,
        session: Session { replies: 1, ..Session::default() },
    };
    while reader.step().is_some() {}
    reader.session
}

struct Reader<'a> {
    rules: &'a Rules,
    octets: &'a [u8],
    /// What is read so far.
    at: usize,
    /// The client has said HELO: it may use no parameters.
    helo: bool,
    state: State,
    session: Session,
}

enum State {
    /// Nobody has said EHLO.
    Connected,
    /// No transaction is open.
    Ready,
    /// MAIL was accepted.
    Open(Envelope),
    /// A chunk was read that was not the last.
    Chunks(Box<Chunks>),
    /// 354 was said.
    Data(Envelope),
    /// There is nothing more to read.
    Closed,
}

#[derive(Default)]
struct Envelope {
    reverse_path: Vec<u8>,
    mail: Mail,
    /// Those that the upstream has accepted.
    forward_paths: Vec<Vec<u8>>,
}

impl Reader<'_> {
    /// Reads a line, or a message. `None` at the end.
    fn step(&mut self) -> Option<()> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Closed => None,
            State::Data(envelope) => self.data(envelope),
            state => self.line(state),
        }
    }

    /// RFC 5321 §2.3.8: a line ends with CRLF. Each gets one reply.
    fn line(&mut self, state: State) -> Option<()> {
        let rest = &self.octets[self.at..];
        let feed = rest.iter().position(|octet| *octet == b'\n')?;
        self.at += feed + 1;
        self.session.replies += 1;
        // A bare LF: who reads on may read something else than others do.
        let line = rest[..feed].strip_suffix(b"\r")?;
        let is_faulty = feed >= LINE_OCTETS_MAX || line.iter().any(u8::is_ascii_control);
        self.state = if is_faulty { state } else { self.command(line, state)? };
        Some(())
    }

    /// What state a command leads to; none if it ends the session. Whatever is wrong with it leads
    /// nowhere.
    fn command(&mut self, line: &[u8], state: State) -> Option<State> {
        let (verb, argument) = grammar::verb(line);
        let bare = argument.is_empty();
        let state = match (&*verb, state) {
            (b"BDAT", state) => return self.bdat(line, state),
            (verb, _) if HTTP.contains(&verb) => return None,
            (b"QUIT", _) if bare => return None,
            (b"RSET", State::Open(_) | State::Chunks(_)) if bare => State::Ready,
            (b"EHLO" | b"HELO", _) if grammar::is_client_name(argument) => {
                self.helo = *verb == *b"HELO";
                State::Ready
            }
            (b"MAIL", State::Ready) => self.mail(argument).map_or(State::Ready, State::Open),
            (b"RCPT", State::Open(envelope)) => State::Open(self.rcpt(argument, envelope)),
            (b"DATA", State::Open(envelope)) if bare => {
                self.session.pauses.push((self.at, self.session.replies));
                let stands = !envelope.forward_paths.is_empty();
                if stands { State::Data(envelope) } else { State::Open(envelope) }
            }
            (_, state) => state,
        };
        Some(state)
    }

    fn mail(&self, argument: &[u8]) -> Option<Envelope> {
        let (path, words) = grammar::path(argument, b"FROM:")?;
        let mail = grammar::mail_words(words)?;
        let is_sayable = mail.smtputf8 || path.is_ascii();
        let is_known = path.is_empty() || grammar::is_mailbox(path);
        let fits = mail.size.is_none_or(|size| size <= self.rules.size_octets_max as u64);
        let is_helo_mail = mail == Mail::default();
        let taken = is_sayable && is_known && fits && (is_helo_mail || !self.helo);
        taken.then(|| Envelope { reverse_path: path.into(), mail, ..Envelope::default() })
    }

    fn rcpt(&self, argument: &[u8], mut envelope: Envelope) -> Envelope {
        let Some((path, words)) = grammar::path(argument, b"TO:") else { return envelope };
        let is_known = path.eq_ignore_ascii_case(b"postmaster") || grammar::is_mailbox(path);
        let is_sayable = match self.rules.offer {
            Offer::Everything => envelope.mail.smtputf8 || path.is_ascii(),
            Offer::Nothing => path.is_ascii() && envelope.reverse_path.is_ascii(),
        };
        let refused =
            upstream::refuses_sender(&envelope.reverse_path) || upstream::refuses_recipient(path);
        // No parameter of RCPT is offered.
        if words.is_empty() && is_known && is_sayable && !refused {
            envelope.forward_paths.push(path.into());
        }
        envelope
    }

    /// RFC 5321 §4.1.1.4: data ends with CRLF.CRLF, of which the first may be that of the command.
    fn data(&mut self, envelope: Envelope) -> Option<()> {
        let rest = &self.octets[self.at..];
        let since_command = [b"\r\n", rest].concat();
        let end = since_command.windows(5).position(|octets| octets == b"\r\n.\r\n")?;
        self.at += end + b".\r\n".len();
        let content = &rest[..end];
        let spoilt = grammar::is_spoilt(content, self.rules.newlines);
        // What is wrong from its first octet on is not looked at any further, and has one meaning.
        let goes_on = grammar::begins_with_space(content);
        let decision =
            if spoilt || goes_on { Decision::Refused } else { self.message(content, envelope) };
        self.session.ends.push((self.session.replies, decision));
        self.session.replies += 1;
        self.state = if spoilt && !goes_on { State::Closed } else { State::Ready };
        Some(())
    }

    /// What becomes of a message with which nothing is wrong.
    fn message(&mut self, content: &[u8], envelope: Envelope) -> Decision {
        let is_sayable = self.rules.offer == Offer::Everything || content.is_ascii();
        let fits = content.len() <= self.rules.size_octets_max;
        let on_data = upstream::on_data(&envelope.reverse_path);
        if !is_sayable || !fits || on_data != OnData::GoAhead {
            return Decision::Refused;
        }
        let lines = received_lines(content)
            .into_iter()
            .flat_map(|line| line.split(|octet| *octet == b'\n'))
            .map(<[u8]>::to_vec)
            .collect();
        let content_of = Content::Data {
            lines,
            octets: (self.rules.newlines == Newlines::Reject).then(|| content.to_vec()),
        };
        self.session.messages.push(Message::new(envelope, content_of, self.rules));
        match upstream::on_end(content) {
            OnEnd::Accept | OnEnd::AcceptTwice => Decision::Granted,
            OnEnd::Defer | OnEnd::HangUp | OnEnd::Refuse => Decision::Refused,
        }
    }
}

impl Message {
    /// What an upstream gets that offers what it offers.
    fn new(envelope: Envelope, content: Content, rules: &Rules) -> Self {
        let Envelope { reverse_path, mail, forward_paths } = envelope;
        let words = match rules.offer {
            Offer::Everything => mail.words(),
            Offer::Nothing => Vec::new(),
        };
        let size = mail.size.filter(|_| rules.offer == Offer::Everything);
        Self { reverse_path, size, words, forward_paths, content }
    }
}
