//! The client machine talks to the server machine, in memory: no socket, no clock, every
//! interleaving of segments that a network could make of it.

use bytes::{Buf, BytesMut};
use gatepost_smtp::client::{
    self, Answer, Body, Envelope, MailParameters, Opened, Opening, Plan, Ready as ClientReady,
};
use gatepost_smtp::data::{Scan, TERMINATOR};
use gatepost_smtp::extension::{Offer, ehlo_reply};
use gatepost_smtp::line::{Frame, frame};
use gatepost_smtp::reply::Reply;
use gatepost_smtp::server::{
    Connected, Open, OpenEvent, Ready, ReadyEvent, Receiving, Step, replies,
};
use proptest::prelude::*;

/// A server that accepts everything but recipients that begin with `bad`, driven by its machine.
struct Server {
    state: State,
    input: BytesMut,
    output: BytesMut,
    envelope: Vec<Vec<u8>>,
    content: Vec<u8>,
    messages: Vec<(Vec<Vec<u8>>, Vec<u8>)>,
}

enum State {
    Connected,
    Ready(Ready),
    Open(Open),
    Receiving(Receiving),
    Closed,
}

impl Server {
    fn new() -> Self {
        let mut output = BytesMut::new();
        Reply::plain(220, "server.test ESMTP").encode(&mut output);
        Self {
            state: State::Connected,
            input: BytesMut::new(),
            output,
            envelope: Vec::new(),
            content: Vec::new(),
            messages: Vec::new(),
        }
    }

    /// Takes a segment and does all that can be done.
    fn receive(&mut self, segment: &[u8]) {
        self.input.extend_from_slice(segment);
        while self.advance() {}
    }

    fn advance(&mut self) -> bool {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Receiving(receiving) => self.data(receiving),
            state => {
                let Frame::Line(octets) = frame(&self.input) else {
                    self.state = state;
                    return false;
                };
                let line = self.input.split_to(octets);
                self.state = self.line(state, &line[..octets - 2]);
                true
            }
        }
    }

    fn line(&mut self, state: State, line: &[u8]) -> State {
        match state {
            State::Connected => match Connected.handle(line) {
                Step::Take(hello) => {
                    ehlo_reply("server.test", Offer { size_octets_max: 1000, ..Offer::default() })
                        .encode(&mut self.output);
                    State::Ready(Connected.greet(hello))
                }
                step => self.say(step, State::Connected),
            },
            State::Ready(ready) => match ready.handle(line) {
                Step::Take(ReadyEvent::Mail(mail)) => {
                    self.envelope = vec![mail.reverse_path.as_bytes().to_vec()];
                    replies::OK.encode(&mut self.output);
                    State::Open(ready.open())
                }
                Step::Take(ReadyEvent::Hello(hello)) => State::Ready(ready.greet(hello)),
                step => self.say(step, State::Ready(ready)),
            },
            State::Open(mut open) => match open.handle(line) {
                Step::Take(OpenEvent::Rcpt(rcpt)) => {
                    let path = rcpt.forward_path.as_bytes();
                    let accepted = !path.starts_with(b"bad");
                    open.count_recipient(accepted);
                    if accepted {
                        self.envelope.push(path.to_vec());
                        replies::OK.encode(&mut self.output);
                    } else {
                        Reply::fixed(550, (5, 1, 1), "no").encode(&mut self.output);
                    }
                    State::Open(open)
                }
                Step::Take(OpenEvent::Data) => match open.receive() {
                    Ok(receiving) => {
                        replies::GO_AHEAD.encode(&mut self.output);
                        State::Receiving(receiving)
                    }
                    Err((open, reply)) => {
                        reply.encode(&mut self.output);
                        State::Open(open)
                    }
                },
                Step::Take(OpenEvent::Reset) => {
                    replies::RESET.encode(&mut self.output);
                    State::Ready(open.end())
                }
                Step::Take(OpenEvent::Hello(hello)) => State::Ready(open.end().greet(hello)),
                step => self.say(step, State::Open(open)),
            },
            state => state,
        }
    }

    fn data(&mut self, mut receiving: Receiving) -> bool {
        match receiving.scan(&self.input) {
            Scan::More(octets) => {
                self.content.extend_from_slice(&self.input.split_to(octets));
                self.state = State::Receiving(receiving);
                false
            }
            Scan::End(octets) => {
                self.content.extend_from_slice(&self.input.split_to(octets));
                self.input.advance(TERMINATOR.len());
                self.messages
                    .push((std::mem::take(&mut self.envelope), std::mem::take(&mut self.content)));
                replies::OK.encode(&mut self.output);
                self.state = State::Ready(receiving.end());
                true
            }
            Scan::Fault(_, fault) => panic!("the client machine sent {fault}"),
            Scan::Replace { .. } => panic!("nobody asked for normalising"),
        }
    }

    fn say<T>(&mut self, step: Step<T>, state: State) -> State {
        let (Step::Close(reply) | Step::Fault(reply) | Step::Reply(reply)) = step else {
            panic!("a decision was not made")
        };
        reply.encode(&mut self.output);
        state
    }
}

/// Both ends, and segments of a size between them.
struct Pair {
    server: Server,
    to_client: BytesMut,
    segment: usize,
}

impl Pair {
    fn new(segment: usize) -> Self {
        Self { server: Server::new(), to_client: BytesMut::new(), segment }
    }

    fn send(&mut self, out: &mut BytesMut) {
        for segment in out.split().chunks(self.segment) {
            self.server.receive(segment);
        }
        self.to_client.unsplit(self.server.output.split());
    }

    fn reply(&mut self) -> Reply {
        client::next_reply(&mut self.to_client).expect("a valid reply").expect("a reply is here")
    }

    fn open(&mut self) -> ClientReady {
        let mut out = BytesMut::new();
        self.send(&mut out);
        let mut opening = Opening::new(Plan::plain("client.test"));
        loop {
            match opening.handle(&self.reply(), &mut out) {
                Opened::More(next) => opening = next,
                Opened::Ready(ready) => return ready,
                other => panic!("not ready: {other:?}"),
            }
            self.send(&mut out);
        }
    }

    /// MAIL, RCPT and DATA as one group; the body if the server wants it.
    fn group(&mut self, ready: ClientReady, recipients: &[String]) -> Result<Body, Envelope> {
        let mut out = BytesMut::new();
        let mail = MailParameters {
            reverse_path: b"a@client.test",
            size: Some(9),
            body: None,
            smtputf8: false,
            dsn: b"",
        };
        let mut envelope = ready.mail(&mail, &mut out);
        for recipient in recipients {
            envelope.recipient(recipient.as_bytes(), b"", &mut out);
        }
        envelope.data(&mut out);
        self.send(&mut out);
        let mut recipients = recipients.iter();
        while envelope.owed() {
            match envelope.handle(self.reply()).expect("in step") {
                Answer::Mail(reply) => assert!(reply.is_positive()),
                Answer::Recipient(reply) => {
                    let recipient = recipients.next().expect("one answer each");
                    assert_eq!(reply.is_positive(), !recipient.starts_with("bad"));
                }
                Answer::Data(_) => {}
            }
        }
        envelope.into_body()
    }
}

proptest! {
    /// Whatever is sent arrives, in whatever segments, message after message.
    #[test]
    fn what_the_client_says_is_what_the_server_hears(
        segment in 1_usize..40,
        messages in proptest::collection::vec((
            proptest::collection::vec("(bad|good)[a-z]{0,5}@x\\.test", 1..5),
            proptest::collection::vec("[ -~]{0,20}", 0..6),
        ), 1..5),
    ) {
        let mut pair = Pair::new(segment);
        let mut ready = pair.open();
        let mut expected = Vec::new();
        for (recipients, lines) in messages {
            match pair.group(ready, &recipients) {
                Ok(body) => {
                    // Stuffed as a client would, and no line that folds into what comes before it.
                    let content: String = lines.iter().map(|line| match line.strip_prefix(['.', ' ']) {
                        Some(rest) if line.starts_with('.') => format!("..{rest}\r\n"),
                        Some(rest) => format!("x{rest}\r\n"),
                        None => format!("{line}\r\n"),
                    }).collect();
                    let mut out = BytesMut::from(content.as_bytes());
                    out.extend_from_slice(TERMINATOR);
                    pair.send(&mut out);
                    ready = body.finish().handle(&pair.reply()).expect("in step");
                    let standing = recipients.iter().filter(|path| !path.starts_with("bad"));
                    let envelope = std::iter::once("a@client.test".to_owned()).chain(standing.cloned());
                    expected.push((envelope.map(String::into_bytes).collect(), content.into_bytes()));
                }
                Err(envelope) => {
                    prop_assert_eq!(envelope.standing(), 0);
                    let mut out = BytesMut::new();
                    let resetting = envelope.reset(&mut out).expect("nothing is owed");
                    pair.send(&mut out);
                    ready = resetting.handle(&pair.reply()).expect("in step");
                }
            }
        }
        prop_assert_eq!(pair.server.messages, expected);
        prop_assert!(pair.to_client.is_empty(), "no reply is left over");
    }
}
