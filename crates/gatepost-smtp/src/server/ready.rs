//! The client has said who it is; no transaction is open.

use crate::command::{Command, Mail};
use crate::server::{Hello, Open, Step, parse, replies};

/// A session between transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    hello: Hello,
}

/// What a session between transactions asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadyEvent<'a> {
    /// Who the client is, said again.
    Hello(Hello),
    /// May a message from this reverse-path begin?
    Mail(Mail<'a>),
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
            Ok(Command::Hello(greeting, name)) => {
                Step::Take(ReadyEvent::Hello(Hello { greeting, name: name.into() }))
            }
            Ok(Command::Rset) => Step::Reply(replies::RESET),
            Ok(_) => Step::Fault(replies::NEEDS_MAIL),
            Err(step) => step,
        }
    }

    /// The client has said again who it is.
    #[must_use]
    pub fn greet(self, hello: Hello) -> Self {
        Self { hello }
    }

    /// MAIL was accepted.
    pub fn open(self) -> Open {
        Open::new(self)
    }
}
