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
    upstream::{self, Offer, OnData, OnEnd},
};

/// Octets of a command that Gatepost may need: a path with every parameter.
const LINE_OCTETS_MAX: usize = 2048;

/// A message that came with its final dot, whatever was answered to it.
#[derive(Debug)]
pub struct Arrival {
    /// What stood behind MAIL FROM.
    pub mail: Vec<u8>,
    /// What stood between the brackets, of those that were accepted.
    pub forward_paths: Vec<Vec<u8>>,
    /// The very octets, without the final dot.
    pub content: Vec<u8>,
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
    Closed,
}

struct Envelope {
    mail: Vec<u8>,
    is_granted: bool,
    forward_paths: Vec<Vec<u8>>,
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
                self.state = self.message(content, envelope);
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
                        "250-sink\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250 SMTPUTF8"
                    }
                    Offer::Nothing => "250 sink",
                });
                State::Ready
            }
            State::Ready => {
                let mail = rest("MAIL FROM:").expect("nothing but MAIL").to_vec();
                let is_granted = !upstream::refuses_sender(&mail[1..]);
                self.say(if is_granted { "250 2.1.0 sender" } else { "550 5.1.0 sender" });
                State::Open(Envelope { mail, is_granted, forward_paths: Vec::new() })
            }
            State::Open(mut envelope) => {
                if line == b"RSET" {
                    self.say("250 2.0.0 forgotten");
                    return State::Ready;
                }
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

    fn message(&mut self, content: Vec<u8>, envelope: Envelope) -> State {
        assert!(!grammar::is_spoilt(&content, Newlines::Reject), "{}", content.escape_ascii());
        let Envelope { mail, forward_paths, .. } = envelope;
        if forward_paths.is_empty() {
            assert!(content.is_empty(), "content for nobody: {}", content.escape_ascii());
            self.say("554 5.5.1 nobody");
            return State::Ready;
        }
        let own = content.split_inclusive(|octet| *octet == b'\n').skip(1);
        let on_end = upstream::on_end(&own.collect::<Vec<_>>().concat());
        self.record.keep(Arrival { mail, forward_paths, content });
        match on_end {
            OnEnd::Accept => self.say("250 2.0.0 taken"),
            OnEnd::AcceptTwice => {
                self.say("250 2.0.0 taken\r\n250 2.0.0 taken");
                self.is_spoilt = true;
            }
            OnEnd::Defer => self.say("451 4.0.0 later"),
            OnEnd::HangUp => return State::Closed,
            OnEnd::Refuse => self.say("554 5.0.0 never"),
        }
        State::Ready
    }

    fn say(&mut self, reply: &str) {
        self.replies.extend([reply.as_bytes(), b"\r\n"].concat());
    }
}
