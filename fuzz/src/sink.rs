//! The upstream of the `transaction` target: a strict receiver that keeps what it was sent.
//!
//! It panics at whatever Gatepost must never say: a command it does not know or that is out of
//! order, a line without CRLF, an octet in a message that two servers may see differently. What it
//! answers is in [`crate::upstream`].

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    grammar,
    strict::Newlines,
    upstream::{self, Offer, OnChunk, OnData, OnEnd},
};

/// Octets of a command that Gatepost may need: a path with every parameter.
const LINE_OCTETS_MAX: usize = 2048;

/// A message that came with its final dot or its last chunk, whatever was answered to it.
#[derive(Debug)]
pub struct Arrival {
    /// What stood behind MAIL FROM.
    pub mail: Vec<u8>,
    /// What stood between the brackets, of those that were accepted.
    pub forward_paths: Vec<Vec<u8>>,
    /// The very octets.
    pub content: Content,
}

/// How a message came.
#[derive(Debug)]
pub enum Content {
    /// Chunk by chunk.
    Chunks(Vec<Vec<u8>>),
    /// As DATA, without the final dot.
    Data(Vec<u8>),
}

/// What all connections of all upstreams have come to.
#[derive(Debug, Default)]
pub struct Record {
    arrivals: Mutex<Vec<Arrival>>,
    /// Grows with all that happens.
    events: AtomicUsize,
}

impl Record {
    /// All that has arrived since this was asked last.
    pub fn take(&self) -> Vec<Arrival> {
        mem::take(&mut *self.arrivals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How much has happened so far.
    pub fn events(&self) -> usize {
        self.events.load(Ordering::Relaxed)
    }

    fn keep(&self, arrival: Arrival) {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
    }

    fn happened(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }
}

/// Accepts connections for ever.
pub async fn serve(listener: TcpListener, offer: Offer, record: Arc<Record>) {
    loop {
        let (socket, _) = listener.accept().await.expect("loopback accepts");
        socket.set_nodelay(true).expect("a fresh socket");
        tokio::spawn(Receiver::new(offer, record.clone()).run(socket));
    }
}

/// One connection.
struct Receiver {
    offer: Offer,
    record: Arc<Record>,
    replies: Vec<u8>,
    state: State,
    /// Something was said that answers nothing: nobody may use this connection any more.
    is_spoilt: bool,
}

enum State {
    Connected,
    Ready,
    Open(Envelope),
    Data(Envelope),
    /// BDAT was said; its octets come.
    Chunk(Chunk),
    /// A chunk was accepted: there is another.
    Chunks(Envelope),
    /// A chunk was refused: there is nothing left to say but RSET.
    Refused,
    Closed,
}

struct Chunk {
    envelope: Envelope,
    octets: usize,
    last: bool,
    /// The answer is given already.
    is_refused: bool,
}

struct Envelope {
    mail: Vec<u8>,
    is_granted: bool,
    forward_paths: Vec<Vec<u8>>,
    chunks: Vec<Vec<u8>>,
}

impl Receiver {
    const fn new(offer: Offer, record: Arc<Record>) -> Self {
        Self { offer, record, replies: Vec::new(), state: State::Connected, is_spoilt: false }
    }

    async fn run(mut self, mut socket: TcpStream) {
        let mut input = Vec::new();
        self.say("220 sink");
        loop {
            self.record.happened();
            if socket.write_all(&mem::take(&mut self.replies)).await.is_err() {
                return;
            }
            if matches!(self.state, State::Closed) {
                return;
            }
            match socket.read_buf(&mut input).await {
                Ok(0) | Err(_) => return,
                Ok(_) => while self.take(&mut input) {},
            }
        }
    }

    /// Takes a command or a message from the front of what was read, if all of it is there.
    fn take(&mut self, input: &mut Vec<u8>) -> bool {
        match mem::replace(&mut self.state, State::Closed) {
            State::Closed => false,
            State::Data(envelope) => {
                let since_command = [b"\r\n", &input[..]].concat();
                let end = since_command.windows(5).position(|octets| octets == b"\r\n.\r\n");
                let Some(end) = end else {
                    self.state = State::Data(envelope);
                    return false;
                };
                let mut content: Vec<u8> = input.drain(..end + b".\r\n".len()).collect();
                content.truncate(end);
                let octets = content.clone();
                (self.state, _) = self.message(&octets, Content::Data(content), envelope);
                true
            }
            State::Chunk(chunk) if input.len() < chunk.octets => {
                if !drops(own(&chunk.envelope, input)) {
                    self.state = State::Chunk(chunk);
                }
                false
            }
            State::Chunk(chunk) => {
                let content = input.drain(..chunk.octets).collect();
                self.state = self.chunk(content, chunk);
                true
            }
            state => {
                let Some(feed) = input.iter().position(|octet| *octet == b'\n') else {
                    assert!(input.len() < LINE_OCTETS_MAX, "a command without an end");
                    self.state = state;
                    return false;
                };
                let line: Vec<u8> = input.drain(..=feed).collect();
                let line = line.strip_suffix(b"\r\n").expect("a command ends with CRLF");
                let controls = line.iter().any(u8::is_ascii_control);
                assert!(!controls && line.len() < LINE_OCTETS_MAX, "{}", line.escape_ascii());
                self.state = self.command(line, state);
                true
            }
        }
    }

    fn command(&mut self, line: &[u8], state: State) -> State {
        assert!(
            !self.is_spoilt || line == b"QUIT",
            "{}: on a connection in doubt",
            line.escape_ascii()
        );
        let rest = |verb: &str| line.strip_prefix(verb.as_bytes());
        match state {
            _ if line == b"QUIT" => State::Closed,
            State::Connected if line == b"EHLO relay.test" => {
                self.say(match self.offer {
                    Offer::Everything => {
                        "250-sink\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
                         250 CHUNKING"
                    }
                    Offer::Nothing => "250 sink",
                });
                State::Ready
            }
            State::Ready => {
                let mail = rest("MAIL FROM:").expect("nothing but MAIL").to_vec();
                let is_granted = !upstream::refuses_sender(&mail[1..]);
                self.say(if is_granted { "250 2.1.0 sender" } else { "550 5.1.0 sender" });
                State::Open(Envelope {
                    mail,
                    is_granted,
                    forward_paths: Vec::new(),
                    chunks: Vec::new(),
                })
            }
            State::Open(_) | State::Chunks(_) | State::Refused if line == b"RSET" => {
                self.say("250 2.0.0 forgotten");
                State::Ready
            }
            State::Open(envelope) | State::Chunks(envelope) if line.starts_with(b"BDAT ") => {
                self.on_bdat(line, envelope)
            }
            State::Open(mut envelope) => {
                if line == b"DATA" {
                    return self.on_data(envelope);
                }
                let path = rest("RCPT TO:<").and_then(|path| path.strip_suffix(b">"));
                let path =
                    path.unwrap_or_else(|| panic!("in a transaction: {}", line.escape_ascii()));
                if !envelope.is_granted {
                    self.say("503 5.5.1 no sender");
                } else if upstream::refuses_recipient(path) {
                    self.say("550 5.1.1 nobody");
                } else {
                    self.say("250 2.1.5 recipient");
                    envelope.forward_paths.push(path.to_vec());
                }
                State::Open(envelope)
            }
            _ => panic!("out of order: {}", line.escape_ascii()),
        }
    }

    fn on_data(&mut self, envelope: Envelope) -> State {
        match upstream::on_data(&envelope.mail[1..]) {
            _ if !envelope.is_granted => self.say("503 5.5.1 no sender"),
            // RFC 2920 §3.1: it may say so even where nobody stands.
            OnData::GoAhead => {
                self.say("354 go ahead");
                return State::Data(envelope);
            }
            OnData::HangUp => return State::Closed,
            OnData::Refuse => self.say("554 5.6.0 no data"),
        }
        State::Open(envelope)
    }

    fn on_bdat(&mut self, line: &[u8], envelope: Envelope) -> State {
        assert_eq!(self.offer, Offer::Everything, "CHUNKING is not offered");
        assert!(!envelope.forward_paths.is_empty(), "a chunk for nobody");
        let (octets, last) = grammar::chunk(line).expect("a size");
        let octets = usize::try_from(octets).expect("what was sent had a limit");
        let mut chunk = Chunk { envelope, octets, last, is_refused: false };
        match upstream::on_data(&chunk.envelope.mail[1..]) {
            OnData::GoAhead => {}
            OnData::HangUp => return State::Closed,
            OnData::Refuse => {
                self.say("554 5.6.0 no data");
                chunk.is_refused = true;
            }
        }
        State::Chunk(chunk)
    }

    fn chunk(&mut self, content: Vec<u8>, chunk: Chunk) -> State {
        let Chunk { mut envelope, last, is_refused, .. } = chunk;
        if is_refused {
            return State::Refused;
        }
        assert!(last || !content.is_empty(), "a chunk of nothing");
        let on_chunk = upstream::on_chunk(own(&envelope, &content));
        envelope.chunks.push(content);
        match on_chunk {
            OnChunk::Accept | OnChunk::AcceptTwice if last => {
                let octets = envelope.chunks.concat();
                let chunks = mem::take(&mut envelope.chunks);
                return match self.message(&octets, Content::Chunks(chunks), envelope) {
                    // It may be that the envelope is still there.
                    (State::Ready, false) => State::Refused,
                    (state, _) => state,
                };
            }
            OnChunk::Accept => self.say("250 2.0.0 chunk"),
            OnChunk::AcceptTwice => {
                self.say("250 2.0.0 chunk\r\n250 2.0.0 chunk");
                self.is_spoilt = true;
            }
            OnChunk::HangUp => return State::Closed,
            OnChunk::Refuse => {
                self.say("552 5.2.2 no chunk");
                return State::Refused;
            }
        }
        State::Chunks(envelope)
    }

    /// Answers a message, and says whether it was a yes.
    fn message(&mut self, octets: &[u8], content: Content, envelope: Envelope) -> (State, bool) {
        assert!(!grammar::is_spoilt(octets, Newlines::Reject), "{}", octets.escape_ascii());
        let on_end = upstream::on_end(own(&envelope, octets));
        let Envelope { mail, forward_paths, .. } = envelope;
        if forward_paths.is_empty() {
            assert!(octets.is_empty(), "content for nobody: {}", octets.escape_ascii());
            self.say("554 5.5.1 nobody");
            return (State::Ready, false);
        }
        self.record.keep(Arrival { mail, forward_paths, content });
        match on_end {
            OnEnd::Accept => self.say("250 2.0.0 taken"),
            OnEnd::AcceptTwice => {
                self.say("250 2.0.0 taken\r\n250 2.0.0 taken");
                self.is_spoilt = true;
            }
            OnEnd::Defer => self.say("451 4.0.0 later"),
            OnEnd::HangUp => return (State::Closed, false),
            OnEnd::Refuse => self.say("554 5.0.0 never"),
        }
        (State::Ready, matches!(on_end, OnEnd::Accept | OnEnd::AcceptTwice))
    }

    fn say(&mut self, reply: &str) {
        self.replies.extend([reply.as_bytes(), b"\r\n"].concat());
    }
}

/// Content less the line that Gatepost has put in front of the first.
fn own<'a>(envelope: &Envelope, content: &'a [u8]) -> &'a [u8] {
    if !envelope.chunks.is_empty() {
        return content;
    }
    let feed = content.iter().position(|octet| *octet == b'\n');
    feed.map_or(b"", |feed| &content[feed + 1..])
}

/// Whether the connection is closed in the middle of a chunk.
fn drops(content: &[u8]) -> bool {
    upstream::on_chunk(content) == OnChunk::HangUp
}
