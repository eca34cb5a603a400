//! MAIL was accepted; recipients are being named (RFC 5321 §3.3).

use crate::bdat::Chunk;
use crate::command::{Command, Rcpt};
use crate::reply::Reply;
use crate::server::{Chunking, Hello, Ready, Receiving, Step, parse, replies};

/// A session with an open transaction, before its data.
#[derive(Clone, Debug)]
pub struct Open {
    ready: Ready,
    named: u32,
    standing: u32,
}

/// What an open transaction asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenEvent<'a> {
    /// Here is the first chunk of the message. See [`Open::chunks`].
    Chunk(Chunk),
    /// May the data begin? See [`Open::receive`].
    Data,
    /// Who the client is, said again: the transaction ends (RFC 5321 §4.1.4).
    Hello(Hello),
    /// Is this recipient accepted? Answer with [`Open::count_recipient`].
    Rcpt(Rcpt<'a>),
    /// The transaction ends (RFC 5321 §4.1.1.5).
    Reset,
}

impl Open {
    pub(super) const fn new(ready: Ready) -> Self {
        Self { ready, named: 0, standing: 0 }
    }

    /// Who the client says it is.
    pub const fn hello(&self) -> &Hello {
        self.ready.hello()
    }

    /// How many recipients were accepted.
    pub const fn standing(&self) -> u32 {
        self.standing
    }

    /// Takes one line.
    pub fn handle<'a>(&self, line: &'a [u8]) -> Step<OpenEvent<'a>> {
        match parse(line, self.ready.hello().greeting) {
            Ok(Command::Rcpt(rcpt)) => Step::Take(OpenEvent::Rcpt(rcpt)),
            Ok(Command::Data) => Step::Take(OpenEvent::Data),
            Ok(Command::Bdat(chunk)) => Step::Take(OpenEvent::Chunk(chunk)),
            Ok(Command::Rset) => Step::Take(OpenEvent::Reset),
            Ok(Command::Hello(greeting, name)) => {
                Step::Take(OpenEvent::Hello(Hello { greeting, name: name.into() }))
            }
            Ok(Command::Auth(_)) => Step::Fault(replies::AUTH_IN_TRANSACTION),
            // RFC 3207 §4: between transactions only.
            Ok(Command::StartTls) => Step::Fault(replies::STARTTLS_IN_TRANSACTION),
            Ok(_) => Step::Fault(replies::NESTED_MAIL),
            Err(step) => step,
        }
    }

    /// A recipient was named, and accepted or not.
    pub fn count_recipient(&mut self, accepted: bool) {
        self.named += 1;
        self.standing += u32::from(accepted);
    }

    /// Data may begin if a recipient stands; otherwise the transaction stays open.
    pub fn receive(self) -> Result<Receiving, (Self, Reply)> {
        match self.refusal() {
            Some(reply) => Err((self, reply)),
            None => Ok(Receiving::new(self.ready)),
        }
    }

    /// Chunks may be believed if a recipient stands. If none does, they are read and refused.
    pub fn chunks(self) -> (Chunking, Result<(), Reply>) {
        let refusal = self.refusal();
        (Chunking::new(self.ready), refusal.map_or(Ok(()), Err))
    }

    const fn refusal(&self) -> Option<Reply> {
        match (self.named, self.standing) {
            (0, _) => Some(replies::DATA_NEEDS_RCPT),
            (_, 0) => Some(replies::NO_VALID_RECIPIENTS),
            _ => None,
        }
    }

    /// The transaction ends without data.
    pub fn end(self) -> Ready {
        self.ready
    }
}
