//! Greeted with 220, and no client: a proxy that looks whether service is up.

use crate::command::{Command, Greeting};
use crate::reply::Reply;
use crate::server::{Hello, Step, parse, replies};

const NO_CLIENT: Reply =
    Reply::fixed(554, (5, 7, 1), "this is the proxy itself: its header must name a client");

/// A session of a proxy that names no client. It has no transactions.
#[derive(Clone, Copy, Debug, Default)]
pub struct HealthCheck;

impl HealthCheck {
    /// Takes one line.
    pub fn handle(self, line: &[u8]) -> Step<Hello> {
        match parse(line, Greeting::Ehlo) {
            Ok(Command::Hello(greeting, name)) => Step::Take(Hello { greeting, name: name.into() }),
            Ok(Command::Rset) => Step::Reply(replies::RESET),
            Ok(Command::Mail(_)) => Step::Fault(NO_CLIENT),
            // Octets follow that are no commands.
            Ok(Command::Bdat(_)) => Step::Close(NO_CLIENT),
            Ok(Command::Auth(_)) => Step::Fault(replies::NOT_OFFERED),
            Ok(_) => Step::Fault(replies::NEEDS_MAIL),
            Err(step) => step,
        }
    }
}
