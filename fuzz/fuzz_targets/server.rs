//! A session of any lines in any order, and of any decisions about them.
//!
//! The order of commands is that of RFC 5321 §4.1.4, which a model of a few flags knows as well: no
//! recipient without a sender, no data without a recipient that stands, and nothing is known of a
//! transaction that has ended. Every reply is one that a client can read, with an enhanced status
//! code.
//!
//! Lines are those of the input; the octets of a chunk are not in it, because the machine never sees
//! them. Where there is something to decide about a line, it is yes, or no if a `-` stands in front.
#![no_main]

use bytes::BytesMut;
use gatepost_fuzz::{grammar, replies};
use gatepost_smtp::{
    bdat::Chunk,
    command::Greeting,
    data::{Scan, TERMINATOR},
    dsn::{MailDsn, RcptDsn},
    reply::Reply,
    server::{
        Chunking, ChunkingEvent, Connected, Hello, Open, OpenEvent, Ready, ReadyEvent, Receiving,
        Step,
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (mut state, mut model) = (State::Connected(Connected), Model::default());
    for line in input.split(|octet| *octet == b'\n') {
        let (yes, line) = match line {
            [b'-', line @ ..] => (false, line),
            line => (true, line),
        };
        // Framing has let nothing else through.
        if line.iter().any(u8::is_ascii_control) {
            continue;
        }
        let Some(next) = state.hear(line, yes, &mut model) else { return };
        state = next;
        model.agrees_with(&state);
    }
});

/// All that a strict server has to remember of a session.
#[derive(Debug, Default)]
struct Model {
    greeting: Option<(Greeting, String)>,
    /// MAIL was accepted.
    has_sender: bool,
    /// RCPTs of this transaction, and those of them that were accepted.
    named: u32,
    standing: u32,
    /// 354 was said.
    is_receiving: bool,
    /// BDAT was said, and LAST was not.
    is_chunking: bool,
}

enum State {
    Connected(Connected),
    Ready(Ready),
    Open(Open),
    Chunking(Chunking),
    Receiving(Box<Receiving>),
}

impl State {
    /// Gives a line to the machine and to the model. `None`: the session is over.
    fn hear(self, line: &[u8], yes: bool, model: &mut Model) -> Option<Self> {
        match self {
            Self::Connected(state) => Some(match said(line, state.handle(line)) {
                Said::Last => return None,
                Said::Nothing => Self::Connected(state),
                Said::Decide(hello) => Self::Ready(model.greet(hello, |hello| state.greet(hello))),
            }),
            Self::Ready(state) => Some(match said(line, state.handle(line)) {
                Said::Last => return None,
                Said::Nothing => Self::Ready(state),
                Said::Decide(ReadyEvent::Hello(hello)) => {
                    Self::Ready(model.greet(hello, |hello| state.greet(hello)))
                }
                Said::Decide(ReadyEvent::Mail(mail)) => {
                    model.expects(line, "MAIL");
                    assert!(model.greeting.is_some() && !model.has_sender, "{model:?}");
                    let has_parameter = mail.size.is_some()
                        || mail.body.is_some()
                        || mail.smtputf8
                        || mail.auth
                        || mail.dsn != MailDsn::default();
                    let is_ehlo = matches!(model.greeting, Some((Greeting::Ehlo, _)));
                    assert!(is_ehlo || !has_parameter, "parameters in a HELO session");
                    model.has_sender = yes;
                    if yes { Self::Open(state.open()) } else { Self::Ready(state) }
                }
                Said::Decide(ReadyEvent::Chunk(chunk)) => {
                    model.announces(line, chunk);
                    Self::Ready(state)
                }
                // Whatever comes of it, no transaction begins.
                Said::Decide(ReadyEvent::Auth(_)) => {
                    model.expects(line, "AUTH");
                    Self::Ready(state)
                }
                Said::Decide(ReadyEvent::StartTls) => {
                    model.expects(line, "STARTTLS");
                    if yes {
                        *model = Model::default();
                        Self::Connected(state.start_tls())
                    } else {
                        Self::Ready(state)
                    }
                }
            }),
            Self::Open(state) => Self::in_transaction(state, line, yes, model),
            Self::Chunking(state) => Self::between_chunks(state, line, model),
            Self::Receiving(state) => Some(Self::in_data(state, line, model)),
        }
    }

    fn in_transaction(mut state: Open, line: &[u8], yes: bool, model: &mut Model) -> Option<Self> {
        Some(match said(line, state.handle(line)) {
            Said::Last => return None,
            Said::Nothing => Self::Open(state),
            Said::Decide(OpenEvent::Rcpt(rcpt)) => {
                model.expects(line, "RCPT");
                let is_ehlo = matches!(model.greeting, Some((Greeting::Ehlo, _)));
                assert!(is_ehlo || rcpt.dsn == RcptDsn::default(), "parameters in a HELO session");
                assert!(model.has_sender, "a recipient without a sender");
                model.named += 1;
                model.standing += u32::from(yes);
                state.count_recipient(yes);
                Self::Open(state)
            }
            Said::Decide(OpenEvent::Chunk(chunk)) => {
                model.announces(line, chunk);
                let (state, standing) = state.chunks();
                match standing {
                    Ok(()) => assert!(model.has_sender && model.standing > 0, "{model:?}"),
                    Err(reply) => model.is_for_nobody(&reply),
                }
                model.is_chunking = true;
                Self::behind_chunk(state, chunk, model)
            }
            Said::Decide(OpenEvent::Data) => {
                model.expects(line, "DATA");
                match state.receive() {
                    Ok(receiving) => {
                        assert!(model.has_sender && model.standing > 0, "{model:?}");
                        model.is_receiving = true;
                        Self::Receiving(Box::new(receiving))
                    }
                    Err((open, reply)) => {
                        model.is_for_nobody(&reply);
                        Self::Open(open)
                    }
                }
            }
            Said::Decide(OpenEvent::Hello(hello)) => {
                Self::Ready(model.greet(hello, |hello| state.end().greet(hello)))
            }
            Said::Decide(OpenEvent::Reset) => {
                model.expects(line, "RSET");
                model.forget();
                Self::Ready(state.end())
            }
        })
    }

    /// Whatever was said to a chunk: there is another, or it was the last.
    fn behind_chunk(state: Chunking, chunk: Chunk, model: &mut Model) -> Self {
        if !chunk.last {
            return Self::Chunking(state);
        }
        model.forget();
        Self::Ready(state.end())
    }

    fn between_chunks(state: Chunking, line: &[u8], model: &mut Model) -> Option<Self> {
        Some(match said(line, state.handle(line)) {
            Said::Last => return None,
            Said::Nothing => Self::Chunking(state),
            Said::Decide(ChunkingEvent::Chunk(chunk)) => {
                model.announces(line, chunk);
                Self::behind_chunk(state, chunk, model)
            }
            Said::Decide(ChunkingEvent::Hello(hello)) => {
                Self::Ready(model.greet(hello, |hello| state.end().greet(hello)))
            }
            Said::Decide(ChunkingEvent::Reset) => {
                model.expects(line, "RSET");
                model.forget();
                Self::Ready(state.end())
            }
        })
    }

    /// A line is data until a lone dot, which is an end if a line is never anything else.
    fn in_data(mut state: Box<Receiving>, line: &[u8], model: &mut Model) -> Self {
        let octets = [line, b"\r\n"].concat();
        let mut rest = &octets[..];
        loop {
            match state.scan(rest) {
                Scan::End(at) => {
                    assert_eq!((at, &rest[at..]), (0, TERMINATOR), "the end is a line of its own");
                    assert_eq!(line, b".");
                    model.forget();
                    return Self::Ready(state.end());
                }
                Scan::Fault(at, _) => rest = &rest[at..],
                Scan::More(at) => {
                    assert!(at == rest.len() && line != b".", "a whole line is left");
                    return Self::Receiving(state);
                }
                Scan::Replace { .. } => panic!("nobody has asked for it"),
            }
        }
    }
}

impl Model {
    /// Who says who it is has no transaction any more (RFC 5321 §4.1.4).
    fn greet(&mut self, hello: Hello, next: impl FnOnce(Hello) -> Ready) -> Ready {
        self.forget();
        self.greeting = Some((hello.greeting, hello.name.to_string()));
        next(hello)
    }

    fn forget(&mut self) {
        *self = Self { greeting: self.greeting.take(), ..Self::default() };
    }

    /// An event is that of the verb that the line begins with.
    fn expects(&self, line: &[u8], verb: &str) {
        let begins =
            line.get(..verb.len()).is_some_and(|word| word.eq_ignore_ascii_case(verb.as_bytes()));
        assert!(begins && !self.is_receiving, "{} as {verb}", line.escape_ascii());
    }

    /// BDAT says how many octets are no commands: as many as it says to anybody.
    fn announces(&self, line: &[u8], chunk: Chunk) {
        self.expects(line, "BDAT");
        assert!(self.greeting.is_some(), "octets of a stranger");
        assert_eq!(grammar::chunk(line), Some((chunk.octets, chunk.last)));
    }

    /// A message is refused for want of a recipient.
    fn is_for_nobody(&self, reply: &Reply) {
        assert_eq!(self.standing, 0, "{reply:?}");
        assert_eq!(reply.code().as_u16(), if self.named == 0 { 503 } else { 554 });
        is_sayable(reply);
    }

    /// The machine knows no more and no less.
    fn agrees_with(&self, state: &State) {
        let hello = match state {
            State::Connected(_) => None,
            State::Ready(ready) => Some(ready.hello()),
            State::Open(open) => {
                assert_eq!(open.standing(), self.standing);
                Some(open.hello())
            }
            State::Chunking(chunking) => Some(chunking.hello()),
            State::Receiving(receiving) => Some(receiving.hello()),
        };
        let hello = hello.map(|hello| (hello.greeting, hello.name.to_string()));
        assert_eq!(hello, self.greeting);
        let is_between = matches!(state, State::Connected(_) | State::Ready(_));
        assert_eq!(self.has_sender, !is_between);
        assert_eq!(self.is_receiving, matches!(state, State::Receiving(_)));
        assert_eq!(self.is_chunking, matches!(state, State::Chunking(_)));
        if is_between {
            assert_eq!((self.named, self.standing), (0, 0), "something is left of a transaction");
        }
    }
}

/// What a line has led to.
enum Said<T> {
    /// There is something to decide.
    Decide(T),
    /// The machine has said its last word.
    Last,
    /// It has said something, and nothing has changed.
    Nothing,
}

/// What the machine says itself can be said. Behind BDAT come octets: somebody has to decide about
/// them, or nothing is heard any more.
fn said<T>(line: &[u8], step: Step<T>) -> Said<T> {
    let is_nothing = matches!(step, Step::Fault(_) | Step::Reply(_));
    assert!(!is_nothing || *grammar::verb(line).0 != *b"BDAT", "{}", line.escape_ascii());
    match step {
        Step::Close(reply) => {
            assert!(matches!(reply.code().as_u16(), 221 | 421 | 500..600));
            is_sayable(&reply);
            Said::Last
        }
        Step::Fault(reply) => {
            assert!(!reply.is_positive(), "a fault is not a success");
            is_sayable(&reply);
            Said::Nothing
        }
        Step::Reply(reply) => {
            assert!(reply.is_positive());
            is_sayable(&reply);
            Said::Nothing
        }
        Step::Take(decision) => Said::Decide(decision),
    }
}

/// One reply of one line, with a status.
fn is_sayable(reply: &Reply) {
    let mut octets = BytesMut::new();
    reply.encode(&mut octets);
    let heard = replies::read(&octets);
    let [heard] = &heard[..] else { panic!("{heard:?}") };
    assert!(heard.lines.len() == 1 && heard.has_status(), "{heard:?}");
    assert_eq!(heard.code, reply.code().as_u16());
}
