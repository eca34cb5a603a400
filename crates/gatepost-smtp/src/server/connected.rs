//! Greeted with 220; the client has not said who it is (RFC 5321 §4.1.4).

use crate::command::{Command, Greeting};
use crate::server::{Hello, Ready, Step, parse, replies};

/// A session before EHLO or HELO.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connected;

impl Connected {
    /// Takes one line.
    pub fn handle(&self, line: &[u8]) -> Step<Hello> {
        match parse(line, Greeting::Ehlo) {
            Ok(Command::Hello(greeting, name)) => Step::Take(Hello { greeting, name: name.into() }),
            Ok(Command::Rset) => Step::Reply(replies::RESET),
            // Octets follow that are no commands.
            Ok(Command::Bdat(_)) => Step::Close(replies::HELLO_FIRST),
            Ok(_) => Step::Fault(replies::HELLO_FIRST),
            Err(step) => step,
        }
    }

    /// The client has said who it is.
    pub fn greet(self, hello: Hello) -> Ready {
        Ready::new(hello)
    }
}
