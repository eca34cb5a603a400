//! The client has said who it is; no transaction is open.

use crate::bdat::Chunk;
use crate::command::{Auth, Command, Mail};
use crate::server::{Connected, Hello, Locked, Open, Step, parse, replies};

/// A session between transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    hello: Hello,
}

/// What a session between transactions asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadyEvent<'a> {
    /// A chunk of no message: its octets are to be read past, and refused.
    Chunk(Chunk),
    /// May it say who it is, beyond its name? The machine stays as it is, whatever comes of it.
    Auth(Auth<'a>),
    /// Who the client is, said again.
    Hello(Hello),
    /// May a message from this reverse-path begin?
    Mail(Mail<'a>),
    /// May TLS begin? See [`Ready::start_tls`].
    StartTls,
}

impl Ready {
    pub(super) fn new(hello: Hello) -> Self {
        Self { hello }
    }

    /// Who the client says it is.
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Takes one line.
    pub fn handle<'a>(&self, line: &'a [u8]) -> Step<ReadyEvent<'a>> {
        match parse(line, self.hello.greeting) {
            Ok(Command::Mail(mail)) => Step::Take(ReadyEvent::Mail(mail)),
            Ok(Command::Auth(auth)) => Step::Take(ReadyEvent::Auth(auth)),
            Ok(Command::Hello(greeting, name)) => {
                Step::Take(ReadyEvent::Hello(Hello { greeting, name: name.into() }))
            }
            Ok(Command::Rset) => Step::Reply(replies::RESET),
            Ok(Command::StartTls) => Step::Take(ReadyEvent::StartTls),
            Ok(Command::Bdat(chunk)) => Step::Take(ReadyEvent::Chunk(chunk)),
            Ok(_) => Step::Fault(replies::NEEDS_MAIL),
            Err(step) => step,
        }
    }

    /// The client has said again who it is.
    #[must_use]
    pub fn greet(self, hello: Hello) -> Self {
        Self { hello }
    }

    /// TLS has begun: nothing is known any more that was said before (RFC 3207 §4.2).
    pub fn start_tls(self) -> Connected {
        Connected
    }

    /// Nothing is done before AUTH.
    pub fn lock(self) -> Locked {
        Locked::new(self)
    }

    /// MAIL was accepted.
    pub fn open(self) -> Open {
        Open::new(self)
    }
}
