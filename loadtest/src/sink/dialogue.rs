//! The server side of an SMTP dialogue (RFC 5321) without a socket: octets in, replies out.
//!
//! Call [`Dialogue::greet`] once, then [`Dialogue::advance`] with whatever input there is until it
//! says [`Step::ReadMore`]. Input is framed before it is parsed; a partial command line stays with
//! the caller (at most [`LINE_OCTETS_MAX`]), content never does.

#[cfg(test)]
mod tests;

use std::mem;

use memchr::memmem;
use tokio::sync::mpsc;

use super::{Received, SinkCounters, SinkOptions};
use crate::command::{self, Command, Fault};
use crate::end_of_data::{EndOfData, FINAL_DOT_OCTETS};

/// A command line with its CRLF: eight times what RFC 5321 §4.5.3.1.4 asks for.
const LINE_OCTETS_MAX: usize = 4096;

/// Recipients of one message; RFC 5321 §4.5.3.1.8 asks for 100.
const RECIPIENTS_MAX: u64 = 1000;

const OK: &str = "250 2.0.0 OK\r\n";
const SENDER_OK: &str = "250 2.1.0 Sender OK\r\n";
const RECIPIENT_OK: &str = "250 2.1.5 Recipient OK\r\n";
const SEND_DATA: &str = "354 End data with <CR><LF>.<CR><LF>\r\n";
const BYE: &str = "221 2.0.0 Bye\r\n";
const CANNOT_VERIFY: &str = "252 2.5.0 Cannot verify, send some mail\r\n";
const NOT_DELIVERED: &str = "451 4.3.0 Nobody takes messages from this sink any more\r\n";
const TOO_MANY_RECIPIENTS: &str = "452 4.5.3 Too many recipients\r\n";
const LINE_SYNTAX: &str = "500 5.5.2 Line holds a bare CR, a bare LF, NUL or no UTF-8\r\n";
const LINE_TOO_LONG: &str = "500 5.5.2 Line too long, closing connection\r\n";
const UNKNOWN_COMMAND: &str = "500 5.5.2 Command unrecognized\r\n";
const ARGUMENTS: &str = "501 5.5.4 Syntax error in arguments\r\n";
const BAD_SEQUENCE: &str = "503 5.5.1 Bad sequence of commands\r\n";
const TOO_BIG: &str = "552 5.3.4 Message too big\r\n";
const MAIL_PARAMETER: &str = "555 5.5.4 Parameter of MAIL not recognized\r\n";
const RCPT_PARAMETER: &str = "555 5.5.4 Parameter of RCPT not recognized\r\n";

/// What the caller does next.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// Write the replies and close.
    Close,
    /// Call again with the rest of the input.
    Continue,
    /// A message is complete, and its reply depends on who takes it.
    Deliver(Delivery<'a>),
    /// Write the replies and read.
    ReadMore,
}

/// A message on its way to the channel of [`SinkOptions::deliver`].
#[derive(Debug)]
pub(super) struct Delivery<'a> {
    counters: &'a SinkCounters,
    channel: &'a mpsc::Sender<Received>,
    received: Received,
}

impl Delivery<'_> {
    /// Waits for room in the channel, then writes the reply to the message.
    pub(super) async fn finish(self, output: &mut Vec<u8>) {
        let Ok(room) = self.channel.reserve().await else {
            output.extend_from_slice(NOT_DELIVERED.as_bytes());
            return;
        };
        let (recipients, octets) = (self.received.forward_paths.len(), self.received.content.len());
        // Counted first: whoever sees the message sees it counted.
        self.counters.count_message(recipients as u64, octets as u64);
        room.send(self.received);
        output.extend_from_slice(OK.as_bytes());
    }
}

/// The state of one session.
#[derive(Debug)]
pub(super) struct Dialogue<'a> {
    options: &'a SinkOptions,
    counters: &'a SinkCounters,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Connected; EHLO or HELO is due.
    Start,
    /// Between transactions.
    Ready,
    /// After MAIL.
    Envelope(Transaction),
    /// After the 354.
    Data(Transaction, EndOfData),
}

/// From MAIL to the end of data (RFC 5321 §3.3).
#[derive(Debug, Default)]
struct Transaction {
    recipients: u64,
    /// Octets of data so far, with the final dot once it came.
    octets: u64,
    /// What is handed on; `None` when nobody asked, so that load costs nothing.
    received: Option<Received>,
}

impl<'a> Dialogue<'a> {
    pub(super) fn new(options: &'a SinkOptions, counters: &'a SinkCounters) -> Self {
        Self { options, counters, phase: Phase::Start }
    }

    /// Writes the greeting.
    pub(super) fn greet(&self, output: &mut Vec<u8>) {
        let greeting = format!("220 {} ESMTP gatepost-loadtest sink\r\n", self.options.hostname);
        output.extend_from_slice(greeting.as_bytes());
    }

    /// Takes one command line, or all the content there is, from the start of the input. Returns
    /// how many octets it used and what is next.
    pub(super) fn advance(&mut self, input: &[u8], output: &mut Vec<u8>) -> (usize, Step<'a>) {
        match mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Data(transaction, end) => self.take_data(transaction, end, input, output),
            phase => {
                self.phase = phase;
                self.take_line(input, output)
            }
        }
    }

    fn take_line(&mut self, input: &[u8], output: &mut Vec<u8>) -> (usize, Step<'a>) {
        let line = memmem::find(input, b"\r\n").map(|end| &input[..end]);
        let used = line.map_or(input.len(), |line| line.len() + b"\r\n".len());
        let unfinished = usize::from(line.is_none());
        if used + unfinished > LINE_OCTETS_MAX {
            output.extend_from_slice(LINE_TOO_LONG.as_bytes());
            return (used, Step::Close);
        }
        let Some(line) = line else { return (0, Step::ReadMore) };
        let command = match command::parse(line) {
            Ok(command) => command,
            Err(fault) => {
                output.extend_from_slice(reply_to(fault).as_bytes());
                return (used, Step::Continue);
            }
        };
        let quits = command == Command::Quit;
        self.take_command(&command, output);
        (used, if quits { Step::Close } else { Step::Continue })
    }

    fn take_command(&mut self, command: &Command<'_>, output: &mut Vec<u8>) {
        let reply = match *command {
            // What needs an extension that a sink does not offer.
            Command::Auth { .. } | Command::Bdat { .. } | Command::Starttls => UNKNOWN_COMMAND,
            Command::Data => self.take_data_command(),
            Command::Ehlo { .. } => return self.take_ehlo(output),
            Command::Helo { .. } => {
                self.phase = Phase::Ready;
                OK
            }
            Command::Mail { reverse_path, parameters } => match declared_size(parameters) {
                Ok(size) => self.take_mail(reverse_path, size),
                Err(reply) => reply,
            },
            Command::Noop => OK,
            Command::Quit => BYE,
            Command::Rcpt { forward_path, parameters } => {
                match command::parameters(parameters).next() {
                    None => self.take_rcpt(forward_path),
                    Some(_) => RCPT_PARAMETER,
                }
            }
            Command::Rset => {
                self.end_transaction();
                OK
            }
            Command::Vrfy => CANNOT_VERIFY,
        };
        output.extend_from_slice(reply.as_bytes());
    }

    fn take_ehlo(&mut self, output: &mut Vec<u8>) {
        self.phase = Phase::Ready;
        let reply = format!(
            "250-{}\r\n250-PIPELINING\r\n250-SIZE {}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
             250 ENHANCEDSTATUSCODES\r\n",
            self.options.hostname, self.options.size_max
        );
        output.extend_from_slice(reply.as_bytes());
    }

    fn take_mail(&mut self, reverse_path: &str, size: Option<u64>) -> &'static str {
        if !matches!(self.phase, Phase::Ready) {
            return BAD_SEQUENCE;
        }
        if size.is_some_and(|size| size > self.options.size_max) {
            return TOO_BIG;
        }
        let received = self.options.deliver.as_ref().map(|_| Received {
            reverse_path: reverse_path.to_owned(),
            forward_paths: Vec::new(),
            content: Vec::new(),
        });
        self.phase = Phase::Envelope(Transaction { received, ..Transaction::default() });
        SENDER_OK
    }

    fn take_rcpt(&mut self, forward_path: &str) -> &'static str {
        let Phase::Envelope(transaction) = &mut self.phase else { return BAD_SEQUENCE };
        if transaction.recipients == RECIPIENTS_MAX {
            return TOO_MANY_RECIPIENTS;
        }
        transaction.recipients += 1;
        if let Some(received) = &mut transaction.received {
            received.forward_paths.push(forward_path.to_owned());
        }
        RECIPIENT_OK
    }

    fn take_data_command(&mut self) -> &'static str {
        match mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Envelope(transaction) if transaction.recipients > 0 => {
                self.phase = Phase::Data(transaction, EndOfData::new());
                SEND_DATA
            }
            phase => {
                self.phase = phase;
                BAD_SEQUENCE
            }
        }
    }

    /// RSET and its like: a session that has not said EHLO still has not.
    fn end_transaction(&mut self) {
        if !matches!(self.phase, Phase::Start) {
            self.phase = Phase::Ready;
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
        transaction.take_content(&input[..used], self.options.size_max);
        if ended.is_some() {
            return (used, self.finish_message(transaction, output));
        }
        self.phase = Phase::Data(transaction, end);
        (used, Step::ReadMore)
    }

    fn finish_message(&self, transaction: Transaction, output: &mut Vec<u8>) -> Step<'a> {
        let octets = transaction.octets - FINAL_DOT_OCTETS as u64;
        if octets > self.options.size_max {
            output.extend_from_slice(TOO_BIG.as_bytes());
            return Step::Continue;
        }
        if let (Some(mut received), Some(channel)) = (transaction.received, &self.options.deliver) {
            received.content.truncate(octets as usize);
            return Step::Deliver(Delivery { counters: self.counters, channel, received });
        }
        self.counters.count_message(transaction.recipients, octets);
        output.extend_from_slice(OK.as_bytes());
        Step::Continue
    }
}

impl Transaction {
    fn take_content(&mut self, piece: &[u8], size_max: u64) {
        self.octets += piece.len() as u64;
        let Some(received) = &mut self.received else { return };
        // What is too big is read to its end, counted and refused, but not held.
        if self.octets <= size_max.saturating_add(FINAL_DOT_OCTETS as u64) {
            received.content.extend_from_slice(piece);
        } else {
            received.content = Vec::new();
        }
    }
}

fn reply_to(fault: Fault) -> &'static str {
    match fault {
        Fault::Arguments => ARGUMENTS,
        Fault::Line => LINE_SYNTAX,
        Fault::Unknown => UNKNOWN_COMMAND,
    }
}

/// The octets declared with SIZE= (RFC 1870), or the reply to parameters that a sink does not offer.
fn declared_size(parameters: &str) -> Result<Option<u64>, &'static str> {
    let mut size = None;
    for (name, value) in command::parameters(parameters) {
        if name.eq_ignore_ascii_case("SIZE") {
            size = Some(value.parse().map_err(|_| ARGUMENTS)?);
        } else if name.eq_ignore_ascii_case("BODY") {
            let known = ["7BIT", "8BITMIME"];
            known.iter().find(|known| value.eq_ignore_ascii_case(known)).ok_or(ARGUMENTS)?;
        } else if !(name.eq_ignore_ascii_case("SMTPUTF8") && value.is_empty()) {
            return Err(MAIL_PARAMETER);
        }
    }
    Ok(size)
}
