//! The server's side of a dialogue with a provider, without a socket: octets in, replies out.
//!
//! Call [`Dialogue::greet`] once, then [`Dialogue::advance`] with whatever input there is until it
//! says [`Step::ReadMore`]; call [`Dialogue::secure`] when TLS has begun. What the provider refuses
//! and what the client does wrong goes into the record on the way. AUTH is in [`authentication`], the
//! commands of a transaction are in [`transaction`].

mod authentication;
mod transaction;

use std::mem;
use std::net::IpAddr;
use std::time::Duration;

use memchr::memmem;
use tokio::time::Instant;

use super::Shared;
use super::judge::{Client, Refusal, Security, Then};
use super::limit::{Excess, Limit, Stage};
use super::login::Exchange;
use super::provider::{PlainText, Words};
use super::record::{Rule, ViolationKind};
use crate::Received;
use crate::command::{self, Command, Fault};
use crate::end_of_data::EndOfData;

use self::transaction::{Chunk, Transaction};

/// A command line with its CRLF: the 512 octets of RFC 5321 §4.5.3.1.4, and what extensions add to
/// MAIL and RCPT (RFC 1870, 3461, 6152, 6531).
const LINE_OCTETS_MAX: usize = 1024;

/// A line of AUTH (RFC 4954 §4).
const AUTH_OCTETS_MAX: usize = 12_288;

/// What the caller does next.
#[derive(Debug)]
pub(super) enum Step {
    /// Write the replies and close.
    Close,
    /// Call again with the rest of the input.
    Continue,
    /// A message is complete; hand it on, then [`Dialogue::count`] and [`Dialogue::accept`] it.
    Deliver(Accepted),
    /// Write the replies and read.
    ReadMore,
    /// Write the replies, drop the rest of the input, and begin TLS.
    StartTls,
}

/// A message that the provider takes.
#[derive(Debug)]
pub(super) struct Accepted {
    /// How long the provider keeps the client waiting.
    pub(super) delay: Duration,
    /// The message, if somebody wants it.
    pub(super) received: Option<Received>,
    recipients: u64,
    octets: u64,
}

/// The state of one session.
#[derive(Debug)]
pub(super) struct Dialogue<'a> {
    shared: &'a Shared,
    number: u64,
    client: Client,
    hello: Hello,
    phase: Phase,
    transaction: Option<Transaction>,
    /// Messages that were accepted on this connection.
    messages: u64,
    /// A command was refused that others may have been pipelined behind: these are not out of
    /// sequence by the client's fault.
    excused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hello {
    None,
    /// Said before TLS, and worth nothing since.
    Forgotten,
    Helo,
    Ehlo,
}

/// What the next octets are.
#[derive(Debug, Default)]
enum Phase {
    #[default]
    Command,
    Login(Exchange),
    Data(EndOfData),
    Chunk(Chunk),
}

/// A line, if there is one.
enum Framed<'i> {
    Line(&'i [u8], usize),
    Partial,
    TooLong,
}

impl<'a> Dialogue<'a> {
    pub(super) fn new(shared: &'a Shared, number: u64, address: IpAddr) -> Self {
        let client = Client {
            address: address.to_canonical(),
            security: Security::Plain,
            certificate_names: Vec::new(),
            hello: String::new(),
            account: None,
        };
        Self {
            shared,
            number,
            client,
            hello: Hello::None,
            phase: Phase::Command,
            transaction: None,
            messages: 0,
            excused: false,
        }
    }

    /// TLS has begun, with a client that has these names. What was said before is forgotten
    /// (RFC 3207 §4.2).
    pub(super) fn secure(&mut self, certificate_names: Vec<String>) {
        if self.hello != Hello::None {
            self.hello = Hello::Forgotten;
        }
        self.client.security = Security::Tls;
        self.client.certificate_names = certificate_names;
        self.transaction = None;
    }

    /// Writes the greeting, or the refusal of one connection too many.
    pub(super) fn greet(&self, open: u64, output: &mut Vec<u8>) -> Step {
        for (bound, most) in self.shared.plan.bounds(Stage::Connect) {
            if open > most
                && let Excess::Close(words) | Excess::Refuse(words) = bound.excess
            {
                self.shared.notebook.refuse(Rule::Connections);
                self.say(output, words);
                return Step::Close;
            }
        }
        self.say(output, self.shared.plan.description.greeting);
        Step::Continue
    }

    /// Takes one line, or all the content there is, from the start of the input. Returns how many
    /// octets it used and what is next.
    pub(super) fn advance(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
        now: Instant,
    ) -> (usize, Step) {
        match mem::take(&mut self.phase) {
            Phase::Command => self.take_line(input, output, now),
            Phase::Login(exchange) => self.take_response(exchange, input, output),
            Phase::Data(end) => self.take_data(end, input, output, now),
            Phase::Chunk(chunk) => self.take_chunk(chunk, input, output, now),
        }
    }

    fn words(&self) -> &'static Words {
        &self.shared.plan.description.words
    }

    /// The extensions that the last EHLO was answered with.
    fn offered(&self) -> &'static [&'static str] {
        match (self.hello, self.client.security) {
            (Hello::Ehlo, Security::Plain) => self.shared.plan.description.offered_plain,
            (Hello::Ehlo, Security::Tls) => self.shared.plan.description.offered_tls,
            _ => &[],
        }
    }

    fn offers(&self, keyword: &str) -> bool {
        let keywords = self.offered().iter().filter_map(|line| line.split(' ').next());
        keywords.into_iter().any(|offered| offered == keyword)
    }

    fn violate(&self, kind: ViolationKind, line: &[u8]) {
        // Credentials are not for the record.
        let is_auth = line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH"));
        let shown = if is_auth { b"AUTH".as_slice() } else { line };
        self.shared.notebook.violate(kind, self.number, shown);
    }

    fn take_line(&mut self, input: &[u8], output: &mut Vec<u8>, now: Instant) -> (usize, Step) {
        let (line, used) = match frame(input) {
            Framed::Partial => return (0, Step::ReadMore),
            Framed::TooLong => return (input.len(), self.refuse_endless(input, output)),
            Framed::Line(line, used) => (line, used),
        };
        let is_auth = line.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
        if used > if is_auth { AUTH_OCTETS_MAX } else { LINE_OCTETS_MAX } {
            self.violate(ViolationKind::LineTooLong, line);
            self.refuse(Rule::Syntax, self.words().line_too_long, output);
            return (used, Step::Continue);
        }
        let command = match command::parse(line) {
            Ok(command) => command,
            Err(fault) => {
                self.violate(ViolationKind::Malformed, line);
                let unknown = fault == Fault::Unknown;
                let words = if unknown { self.words().unknown } else { self.words().arguments };
                self.refuse(Rule::Syntax, words, output);
                // What follows a BDAT that nobody understood is content, not commands.
                let bdat = line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"));
                return (used, if bdat { Step::Close } else { Step::Continue });
            }
        };
        let behind = &input[used..];
        self.watch_pipelining(&command, line, behind);
        (used, self.take_command(&command, (line, behind), output, now))
    }

    /// A command that was sent behind this one did not wait for its reply.
    fn watch_pipelining(&self, command: &Command<'_>, line: &[u8], behind: &[u8]) {
        let behind = match *command {
            Command::Bdat { octets, .. } => {
                behind.get(usize::try_from(octets).unwrap_or(usize::MAX)..).unwrap_or_default()
            }
            _ => behind,
        };
        if behind.is_empty() {
            return;
        }
        let ends_group = matches!(
            command,
            Command::Auth { .. }
                | Command::Data
                | Command::Ehlo { .. }
                | Command::Helo { .. }
                | Command::Noop
                | Command::Quit
                | Command::Vrfy
        );
        if *command == Command::Starttls {
            self.violate(ViolationKind::PipelinedBehindStarttls, behind);
        } else if ends_group || !self.offers("PIPELINING") {
            self.violate(ViolationKind::Pipelined, line);
        }
    }

    fn take_command(
        &mut self,
        command: &Command<'_>,
        (line, behind): (&[u8], &[u8]),
        output: &mut Vec<u8>,
        now: Instant,
    ) -> Step {
        let words = self.words();
        if self.must_start_tls(command) {
            if matches!(command, Command::Auth { .. }) {
                self.violate(ViolationKind::CredentialsInClear, line);
            }
            self.refuse(Rule::Tls, words.tls_required, output);
            return Step::Continue;
        }
        match *command {
            Command::Ehlo { name } => return self.take_hello(Hello::Ehlo, name, output),
            Command::Helo { name } => return self.take_hello(Hello::Helo, name, output),
            Command::Starttls => return self.take_starttls(line, behind, output),
            Command::Auth { mechanism, initial_response } => {
                return self.take_auth(line, (mechanism, initial_response), output, now);
            }
            Command::Mail { reverse_path, parameters } => {
                return self.take_mail(line, (reverse_path, parameters), output, now);
            }
            Command::Rcpt { forward_path, parameters } => {
                return self.take_rcpt(line, (forward_path, parameters), output, now);
            }
            Command::Data => self.take_data_command(line, output),
            Command::Bdat { octets, last } => {
                return self.take_bdat(line, (octets, last), output);
            }
            Command::Rset => {
                self.transaction = None;
                self.excused = false;
                self.say(output, words.ok);
            }
            Command::Noop => self.say(output, words.ok),
            Command::Vrfy => self.say(output, words.cannot_verify),
            Command::Quit => {
                self.say(output, words.bye);
                return Step::Close;
            }
        }
        Step::Continue
    }

    /// Whether a command has to wait for TLS.
    fn must_start_tls(&self, command: &Command<'_>) -> bool {
        let open = matches!(
            command,
            Command::Ehlo { .. }
                | Command::Helo { .. }
                | Command::Starttls
                | Command::Noop
                | Command::Rset
                | Command::Quit
        );
        let is_auth = matches!(command, Command::Auth { .. });
        self.client.security == Security::Plain
            && match self.shared.plan.description.plain_text {
                PlainText::All => false,
                PlainText::Mail => is_auth,
                PlainText::Nothing => !open,
            }
    }

    fn take_hello(&mut self, hello: Hello, name: &str, output: &mut Vec<u8>) -> Step {
        let description = self.shared.plan.description;
        name.clone_into(&mut self.client.hello);
        if description.refused_hellos.iter().any(|refused| refused.eq_ignore_ascii_case(name)) {
            self.refuse(Rule::Hello, description.words.hello_refused, output);
            return Step::Close;
        }
        self.hello = hello;
        self.transaction = None;
        self.excused = false;
        let lines = [description.hello].into_iter().chain(self.offered().iter().copied());
        let last = self.offered().len();
        for (position, line) in lines.enumerate() {
            let separator = if position == last { ' ' } else { '-' };
            self.say(output, &format!("250{separator}{line}"));
        }
        Step::Continue
    }

    fn take_starttls(&mut self, line: &[u8], behind: &[u8], output: &mut Vec<u8>) -> Step {
        if !self.offers("STARTTLS") || self.client.security == Security::Tls {
            self.violate(ViolationKind::ExtensionNotOffered, line);
            self.refuse(Rule::Syntax, self.words().unknown, output);
            return Step::Continue;
        }
        if let Some(words) = self.words().tls_pipelined
            && !behind.is_empty()
        {
            self.refuse(Rule::Syntax, words, output);
            return Step::Continue;
        }
        self.say(output, self.words().start_tls);
        Step::StartTls
    }

    fn refuse_endless(&self, input: &[u8], output: &mut Vec<u8>) -> Step {
        self.violate(ViolationKind::LineTooLong, input);
        self.refuse(Rule::Syntax, self.words().line_too_long, output);
        Step::Close
    }

    fn refuse(&self, rule: Rule, words: &str, output: &mut Vec<u8>) {
        self.shared.notebook.refuse(rule);
        self.say(output, words);
    }

    /// Refuses a command that others may have been pipelined behind.
    fn refuse_in_group(&mut self, refusal: Refusal, output: &mut Vec<u8>) -> Step {
        self.excused |= self.offers("PIPELINING");
        self.refuse(refusal.rule, refusal.words, output);
        match refusal.then {
            Then::Close => Step::Close,
            Then::Stay => Step::Continue,
        }
    }

    /// Writes a reply, with what it says of the client put in.
    fn say(&self, output: &mut Vec<u8>, words: &str) {
        let mut words = words.to_owned();
        if words.contains('{') {
            let sender = self.transaction.as_ref().map_or("", Transaction::reverse_path);
            let size = self.shared.plan.limit(Limit::MessageOctets).unwrap_or(0);
            words = words
                .replace("{client}", &self.client.address.to_string())
                .replace("{hello}", &self.client.hello)
                .replace("{size}", &size.to_string())
                .replace("{sender}", sender);
        }
        output.extend_from_slice(words.as_bytes());
        output.extend_from_slice(b"\r\n");
    }
}

fn frame(input: &[u8]) -> Framed<'_> {
    match memmem::find(input, b"\r\n") {
        Some(end) => Framed::Line(&input[..end], end + b"\r\n".len()),
        None if input.len() >= AUTH_OCTETS_MAX => Framed::TooLong,
        None => Framed::Partial,
    }
}
