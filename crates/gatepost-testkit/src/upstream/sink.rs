//! The manners of a polite server: what it answers when no rule says otherwise.
//!
//! It insists on the order of commands, because a gateway that gets it wrong must be found out.
//! No I/O here: a line in, an action out.

use super::script::{Action, CONNECT, END_OF_DATA};

/// What the sink offers unless told otherwise.
pub(super) const EXTENSIONS: [&str; 5] =
    ["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"];

/// The state of one connection.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    extensions: Vec<String>,
    greeted: bool,
    /// CHUNKING was in the answer to EHLO.
    chunking: bool,
    envelope: Envelope,
}

/// The accepted MAIL line and the accepted RCPT lines, as they were received.
#[derive(Clone, Debug, Default)]
pub(super) struct Envelope {
    pub(super) mail: Option<String>,
    pub(super) recipients: Vec<String>,
}

impl Sink {
    pub(super) fn new(extensions: Vec<String>) -> Self {
        Self { extensions, greeted: false, chunking: false, envelope: Envelope::default() }
    }

    /// The polite answer.
    pub(super) fn answer(&self, event: &str) -> Action {
        let reply = match verb(event).as_str() {
            CONNECT => "220 sink.test ESMTP",
            END_OF_DATA if self.envelope.recipients.is_empty() => "554 5.5.1 no valid recipients",
            END_OF_DATA => "250 2.0.0 queued",
            _ if event.contains(['\r', '\n']) => "500 5.5.2 bare CR or LF in a command",
            "EHLO" => return Action::Reply(self.introduction()),
            "HELO" => "250 sink.test",
            "NOOP" | "RSET" => "250 2.0.0 Ok",
            "QUIT" => return Action::ReplyThenClose("221 2.0.0 Bye".to_owned()),
            "MAIL" | "RCPT" | "DATA" if !self.greeted => "503 5.5.1 EHLO first",
            "MAIL" if self.envelope.mail.is_some() => "503 5.5.1 nested MAIL",
            "MAIL" => "250 2.1.0 Ok",
            "RCPT" | "DATA" if self.envelope.mail.is_none() => "503 5.5.1 MAIL first",
            "RCPT" => "250 2.1.5 Ok",
            "DATA" if self.envelope.recipients.is_empty() => "554 5.5.1 no valid recipients",
            "DATA" => "354 go ahead",
            "BDAT" if self.chunk(event).is_none() => "502 5.5.1 not implemented",
            "BDAT" if self.envelope.recipients.is_empty() => "554 5.5.1 no valid recipients",
            "BDAT" => "250 2.0.0 chunk",
            _ => "502 5.5.1 not implemented",
        };
        reply.into()
    }

    /// Learns what was answered in the end, politely or by a rule.
    pub(super) fn note(&mut self, event: &str, reply: Option<&str>) {
        let Some(reply) = reply.filter(|reply| reply.starts_with('2')) else { return };
        match verb(event).as_str() {
            "EHLO" | "HELO" => {
                self.greeted = true;
                self.chunking = reply.lines().any(|line| line.get(4..) == Some("CHUNKING"));
                self.envelope = Envelope::default();
            }
            "RSET" => self.envelope = Envelope::default(),
            "MAIL" => self.envelope.mail = Some(event.to_owned()),
            "RCPT" => self.envelope.recipients.push(event.to_owned()),
            _ => {}
        }
    }

    /// How many octets follow a BDAT, and whether they are the last; nothing, if chunks are not
    /// offered.
    pub(super) fn chunk(&self, line: &str) -> Option<(usize, bool)> {
        let mut words = line.split(' ');
        if !self.chunking || !words.next()?.eq_ignore_ascii_case("BDAT") {
            return None;
        }
        Some((words.next()?.parse().ok()?, words.next() == Some("LAST")))
    }

    /// Mail data ends the transaction, however it is answered (RFC 5321 §4.1.1.4).
    pub(super) fn finish_transaction(&mut self) -> Envelope {
        std::mem::take(&mut self.envelope)
    }

    fn introduction(&self) -> String {
        let lines: Vec<&str> = std::iter::once("sink.test")
            .chain(self.extensions.iter().map(String::as_str))
            .collect();
        let (last, others) = lines.split_last().expect("the name is always there");
        let others = others.iter().map(|line| format!("250-{line}\n"));
        others.chain([format!("250 {last}")]).collect()
    }
}

pub(super) fn verb(event: &str) -> String {
    event.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase()
}
