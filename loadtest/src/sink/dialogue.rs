//! The server side of an SMTP dialogue (RFC 5321) without a socket: octets in, replies out.
//!
//! Call [`Dialogue::advance`] with whatever input there is, none at first, until it says
//! [`Step::ReadMore`]. Input is framed before it is parsed; a partial command line stays with the
//! caller (at most [`LINE_OCTETS_MAX`]), content never does. What goes wrong on purpose is drawn when a reply is due, and only for a command that is in order.

mod chunk;

#[cfg(test)]
mod tests;

use std::mem;
use std::sync::atomic::Ordering;
use std::time::Duration;

use memchr::memmem;

use super::extensions::{self, Starttls, check_rcpt, declared_size};
use super::transaction::{Delivered, Delivery, Transaction};
use super::trouble::{Drawn, FaultKind, SinkPhase};
use super::{Chunking, Shared, reply};
use crate::command::{self, Command};
use crate::end_of_data::EndOfData;

/// A command line with its CRLF: eight times what RFC 5321 §4.5.3.1.4 asks for.
const LINE_OCTETS_MAX: usize = 4096;

/// Recipients of one message; RFC 5321 §4.5.3.1.8 asks for 100.
const RECIPIENTS_MAX: u64 = 1000;

/// What the caller does next.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// Call again with the rest of the input.
    Continue,
    /// A message is complete, and its reply depends on who takes it.
    Deliver(Delivery<'a>),
    /// Write the replies and end the connection.
    End(Ending),
    /// Write the replies, let the time pass, and call again with the rest of the input.
    Pause(Duration),
    /// Write the replies and read.
    ReadMore,
}

/// How a connection ends, or its part before TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// In good order.
    Close,
    /// With a FIN, whatever the client has sent or may still send.
    HangUp,
    /// With a RST.
    Reset,
    /// Without another word, when the client has gone or its time is up.
    Silence,
    /// With a TLS handshake; input that came before it is forgotten (RFC 3207 §6).
    StartTls,
}

/// The state of one session.
#[derive(Debug)]
pub(super) struct Dialogue<'a> {
    shared: &'a Shared,
    state: State,
    /// Messages that were taken.
    messages: u64,
    starttls: Starttls,
    /// Octets of a chunk that nobody wants; what follows it is a command again.
    unwanted: Option<u64>,
    /// What was drawn for the reply that is due, once its delay has begun.
    drawn: Option<Drawn>,
}

#[derive(Debug)]
enum State {
    /// Connected; the greeting is due.
    Connected,
    /// Greeted; EHLO or HELO is due.
    Start,
    /// Between transactions.
    Ready,
    /// After MAIL.
    Envelope(Transaction),
    /// After the 354.
    Data(Transaction, EndOfData),
    /// After BDAT: so many octets of it are to come, and then perhaps another one.
    Chunk(Transaction, u64, More),
    /// Between two chunks.
    Chunks(Transaction),
    /// After the content; its reply is due.
    Whole(Transaction),
}

/// What follows a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    Chunks,
    Nothing,
}

impl<'a> Dialogue<'a> {
    pub(super) fn new(shared: &'a Shared, starttls: Starttls) -> Self {
        let (state, messages, unwanted, drawn) = (State::Connected, 0, None, None);
        Self { shared, state, messages, starttls, unwanted, drawn }
    }

    /// A refusal in place of the greeting ends the connection, as `554` does when the client has said
    /// QUIT (RFC 5321 §3.1).
    fn greet(&mut self, output: &mut Vec<u8>) -> Step<'a> {
        match self.trouble(SinkPhase::Connect, output) {
            Some(Step::Continue) => return Step::End(Ending::Close),
            Some(Step::Pause(delay)) => {
                self.state = State::Connected;
                return Step::Pause(delay);
            }
            Some(step) => return step,
            None => {}
        }
        let greeting =
            format!("220 {} ESMTP gatepost-loadtest sink\r\n", self.shared.options.hostname);
        output.extend_from_slice(greeting.as_bytes());
        self.state = State::Start;
        Step::Continue
    }

    /// TLS has begun: everything starts anew (RFC 3207 §4.2), without STARTTLS.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "no TLS without the feature"))]
    pub(super) fn secure(&mut self) {
        (self.state, self.starttls) = (State::Start, Starttls::Hidden);
    }

    /// Takes one command line, or all the content there is, from the start of the input. Returns
    /// how many octets it used and what is next.
    pub(super) fn advance(&mut self, input: &[u8], output: &mut Vec<u8>) -> (usize, Step<'a>) {
        if let Some(left) = self.unwanted {
            return self.pass_over(left, input, output);
        }
        match mem::replace(&mut self.state, State::Ready) {
            State::Connected => (0, self.greet(output)),
            State::Data(transaction, end) => self.take_data(transaction, end, input, output),
            State::Chunk(transaction, left, more) => {
                self.take_chunk(transaction, (left, more), input, output)
            }
            State::Whole(transaction) => (0, self.finish_message(transaction, output)),
            state => {
                self.state = state;
                self.take_line(input, output)
            }
        }
    }

    /// Answers a message by what came of its delivery.
    pub(super) fn answer_delivery(&mut self, delivered: Delivered, output: &mut Vec<u8>) {
        match delivered {
            Delivered::NotAtAll => self.reply(reply::NOT_DELIVERED, output),
            Delivered::Taken => self.accept(output),
        }
    }

    fn take_line(&mut self, input: &[u8], output: &mut Vec<u8>) -> (usize, Step<'a>) {
        let line = memmem::find(input, b"\r\n").map(|end| &input[..end]);
        let used = line.map_or(input.len(), |line| line.len() + b"\r\n".len());
        let unfinished = usize::from(line.is_none());
        if used + unfinished > LINE_OCTETS_MAX {
            self.reply(reply::LINE_TOO_LONG, output);
            return (used, Step::End(Ending::Close));
        }
        let Some(line) = line else { return (0, Step::ReadMore) };
        match command::parse(line) {
            Ok(command) => match self.take_command(&command, output) {
                // The command is looked at again when the time is over.
                Step::Pause(delay) => (0, Step::Pause(delay)),
                step => (used, step),
            },
            Err(fault) => {
                self.reply(reply::to_fault(fault), output);
                // Nobody knows how much content follows it.
                let bdat = line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"));
                let lost = bdat && self.shared.options.chunking == Chunking::Offered;
                (used, if lost { Step::End(Ending::Close) } else { Step::Continue })
            }
        }
    }

    fn take_command(&mut self, command: &Command<'_>, output: &mut Vec<u8>) -> Step<'a> {
        if let Some(phase) = self.phase_of(command)
            && let Some(step) = self.trouble(phase, output)
        {
            return step;
        }
        let reply = match *command {
            Command::Auth { .. } => reply::UNKNOWN_COMMAND,
            Command::Bdat { octets, last } => return self.take_bdat(octets, last, output),
            Command::Data => self.take_data_command(),
            Command::Ehlo { .. } => {
                self.state = State::Ready;
                extensions::write_ehlo_reply(&self.shared.options, self.starttls, output);
                return Step::Continue;
            }
            Command::Helo { .. } => {
                self.state = State::Ready;
                reply::OK
            }
            Command::Mail { reverse_path, parameters } => match declared_size(parameters) {
                Ok(size) => self.take_mail(reverse_path, size),
                Err(reply) => reply,
            },
            Command::Noop => reply::OK,
            Command::Quit => reply::BYE,
            Command::Rcpt { forward_path, parameters } => match check_rcpt(parameters) {
                Ok(()) => self.take_rcpt(forward_path),
                Err(reply) => reply,
            },
            Command::Rset => {
                self.end_transaction();
                reply::OK
            }
            Command::Starttls => self.take_starttls(),
            Command::Vrfy => reply::CANNOT_VERIFY,
        };
        self.reply(reply, output);
        match reply {
            reply::BYE | reply::TOO_MANY_MESSAGES => Step::End(Ending::Close),
            reply::READY_FOR_TLS => Step::End(Ending::StartTls),
            _ => Step::Continue,
        }
    }

    /// The phase of a command that is in order; none where nothing ever goes wrong on purpose.
    fn phase_of(&self, command: &Command<'_>) -> Option<SinkPhase> {
        self.shared.dice.as_ref()?;
        match (command, &self.state) {
            (Command::Ehlo { .. } | Command::Helo { .. }, _) => Some(SinkPhase::Ehlo),
            (Command::Mail { .. }, State::Ready) => Some(SinkPhase::Mail),
            (Command::Rcpt { .. }, State::Envelope(_)) => Some(SinkPhase::Rcpt),
            (Command::Data, State::Envelope(transaction)) if transaction.recipients() > 0 => {
                Some(SinkPhase::Data)
            }
            _ => None,
        }
    }

    /// What goes wrong on purpose with the reply that is due; nothing, as a rule.
    fn trouble(&mut self, phase: SinkPhase, output: &mut Vec<u8>) -> Option<Step<'a>> {
        let dice = self.shared.dice.as_ref()?;
        let mut drawn = self.drawn.take().unwrap_or_else(|| dice.draw(phase));
        if let Some(delay) = drawn.delay.take() {
            self.drawn = Some(drawn);
            return Some(Step::Pause(delay));
        }
        let kind = dice.play(drawn.fault?);
        self.shared.counters.faulted.fetch_add(1, Ordering::Relaxed);
        if phase == SinkPhase::Data {
            self.end_transaction();
        }
        Some(match kind {
            FaultKind::Close => Step::End(Ending::HangUp),
            FaultKind::Garbage => {
                output.extend_from_slice(reply::GARBAGE);
                Step::Continue
            }
            FaultKind::Refusal(code) => {
                output.extend_from_slice(code.reply().as_bytes());
                if code.closes() { Step::End(Ending::Close) } else { Step::Continue }
            }
            FaultKind::Reset => Step::End(Ending::Reset),
            FaultKind::Silence => Step::End(Ending::Silence),
        })
    }

    fn take_mail(&mut self, reverse_path: &str, size: Option<u64>) -> &'static str {
        let options = &self.shared.options;
        if !matches!(self.state, State::Ready) {
            return reply::BAD_SEQUENCE;
        }
        if options.messages_per_connection_max.is_some_and(|most| self.messages >= most) {
            return reply::TOO_MANY_MESSAGES;
        }
        if size.is_some_and(|size| size > options.size_max) {
            return reply::TOO_BIG;
        }
        self.state = State::Envelope(Transaction::new(options, reverse_path));
        reply::SENDER_OK
    }

    fn take_rcpt(&mut self, forward_path: &str) -> &'static str {
        let State::Envelope(transaction) = &mut self.state else { return reply::BAD_SEQUENCE };
        if transaction.recipients() == RECIPIENTS_MAX {
            return reply::TOO_MANY_RECIPIENTS;
        }
        transaction.add_recipient(forward_path);
        reply::RECIPIENT_OK
    }

    fn take_data_command(&mut self) -> &'static str {
        match mem::replace(&mut self.state, State::Ready) {
            State::Envelope(transaction) if transaction.recipients() > 0 => {
                self.state = State::Data(transaction, EndOfData::new());
                reply::SEND_DATA
            }
            state => {
                self.state = state;
                reply::BAD_SEQUENCE
            }
        }
    }

    fn take_starttls(&self) -> &'static str {
        match (self.starttls, &self.state) {
            (Starttls::Hidden, _) => reply::UNKNOWN_COMMAND,
            (Starttls::Offered, State::Start | State::Ready) => reply::READY_FOR_TLS,
            (Starttls::Offered, _) => reply::BAD_SEQUENCE,
        }
    }

    /// RSET and its like: a session that has not said EHLO still has not.
    fn end_transaction(&mut self) {
        if !matches!(self.state, State::Start) {
            self.state = State::Ready;
        }
    }

    fn take_data(
        &mut self,
        mut transaction: Transaction,
        mut end: EndOfData,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> (usize, Step<'a>) {
        let ended = end.scan(input);
        let used = ended.unwrap_or(input.len());
        transaction.take_data(&input[..used], self.shared.options.size_max);
        if ended.is_some() {
            transaction.end_data();
            return (used, self.finish_message(transaction, output));
        }
        self.state = State::Data(transaction, end);
        (used, Step::ReadMore)
    }

    fn finish_message(&mut self, transaction: Transaction, output: &mut Vec<u8>) -> Step<'a> {
        if transaction.octets() > self.shared.options.size_max {
            self.reply(reply::TOO_BIG, output);
            return Step::Continue;
        }
        match self.trouble(SinkPhase::Dot, output) {
            Some(Step::Pause(delay)) => {
                self.state = State::Whole(transaction);
                return Step::Pause(delay);
            }
            Some(step) => return step,
            None => {}
        }
        if let Some(delivery) = transaction.finish(self.shared) {
            return Step::Deliver(delivery);
        }
        self.accept(output);
        Step::Continue
    }

    fn accept(&mut self, output: &mut Vec<u8>) {
        self.messages += 1;
        self.reply(reply::OK, output);
    }

    fn reply(&self, reply: &str, output: &mut Vec<u8>) {
        if reply.as_bytes()[0] >= b'4' {
            self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        output.extend_from_slice(reply.as_bytes());
    }
}
