//! The client has said who it is, and has to prove it before anything else (RFC 4954 §6).

use crate::command::{self, Auth, Command, Mail};
use crate::server::{Connected, Hello, Ready, Step, fault, replies};

/// A session without transactions, until AUTH has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    ready: Ready,
}

/// What such a session asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockedEvent<'a> {
    /// May it prove who it is? If it has, see [`Locked::unlock`].
    Auth(Auth<'a>),
    /// Who the client is, said again.
    Hello(Hello),
    /// A message, which may not begin: the answer is [`replies::AUTHENTICATION_REQUIRED`].
    Mail(Mail<'a>),
    /// May TLS begin? See [`Locked::start_tls`].
    StartTls,
}

impl Locked {
    pub(super) const fn new(ready: Ready) -> Self {
        Self { ready }
    }

    /// Who the client says it is.
    pub const fn hello(&self) -> &Hello {
        self.ready.hello()
    }

    /// Takes one line.
    pub fn handle<'a>(&self, line: &'a [u8]) -> Step<LockedEvent<'a>> {
        match command::parse(line, self.ready.hello().greeting) {
            Ok(Command::Auth(auth)) => Step::Take(LockedEvent::Auth(auth)),
            Ok(Command::Mail(mail)) => Step::Take(LockedEvent::Mail(mail)),
            Ok(Command::Hello(greeting, name)) => {
                Step::Take(LockedEvent::Hello(Hello { greeting, name: name.into() }))
            }
            Ok(Command::StartTls) => Step::Take(LockedEvent::StartTls),
            Ok(Command::Noop) => Step::Reply(replies::OK),
            Ok(Command::Rset) => Step::Reply(replies::RESET),
            Ok(Command::Quit) => Step::Close(replies::BYE),
            // Octets follow that are no commands.
            Ok(Command::Bdat(_)) => Step::Close(replies::AUTHENTICATION_REQUIRED),
            Ok(_) => Step::Fault(replies::AUTHENTICATION_REQUIRED),
            Err(error) => fault(error),
        }
    }

    /// The client has said again who it is.
    #[must_use]
    pub fn greet(self, hello: Hello) -> Self {
        Self { ready: self.ready.greet(hello) }
    }

    /// TLS has begun: nothing is known any more that was said before (RFC 3207 §4.2).
    pub fn start_tls(self) -> Connected {
        self.ready.start_tls()
    }

    /// The client has proved who it is.
    pub fn unlock(self) -> Ready {
        self.ready
    }
}
