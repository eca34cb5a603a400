//! Greeted with 554: a client that is not on the allow-list (RFC 5321 §3.1).

use crate::command::{self, Command, Greeting};
use crate::reply::Reply;
use crate::server::{Step, replies};

/// Commands after which a refused client is let go without QUIT.
const COMMANDS_MAX: u32 = 5;
const REFUSED: Reply =
    Reply::fixed(503, (5, 5, 1), "this client was refused: only QUIT is answered");

/// A session that was refused in its greeting.
#[derive(Debug, Default)]
pub struct Refused {
    commands: u32,
}

impl Refused {
    /// Takes one line.
    pub fn handle(&mut self, line: &[u8]) -> Step<std::convert::Infallible> {
        self.commands += 1;
        match command::parse(line, Greeting::Ehlo) {
            Ok(Command::Quit) => Step::Close(replies::BYE),
            _ if self.commands >= COMMANDS_MAX => Step::Close(REFUSED),
            _ => Step::Fault(REFUSED),
        }
    }
}
