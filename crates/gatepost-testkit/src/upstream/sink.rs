//! The manners of a polite server: what it answers when no rule says otherwise.
//!
//! It insists on the order of commands, because a gateway that gets it wrong must be found out.
//! No I/O here: a line in, an action out.

use super::login::{Exchange, Login};
use super::script::{Action, CONNECT, END_OF_DATA};

/// What the sink offers unless told otherwise.
pub(super) const EXTENSIONS: [&str; 5] =
    ["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"];

/// The state of one connection.
#[allow(clippy::struct_excessive_bools)] // what was said before, and what there is
#[derive(Clone, Debug)]
pub(super) struct Sink {
    pub(super) extensions: Vec<String>,
    /// If they are others than in front of it.
    pub(super) extensions_behind_tls: Option<Vec<String>>,
    pub(super) starttls: bool,
    /// Names, and what proves them.
    pub(super) accounts: Vec<(String, String)>,
    behind_tls: bool,
    login: Option<Exchange>,
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

impl Default for Sink {
    fn default() -> Self {
        Self {
            extensions: EXTENSIONS.map(str::to_owned).into(),
            extensions_behind_tls: None,
            starttls: false,
            accounts: Vec::new(),
            behind_tls: false,
            login: None,
            greeted: false,
            chunking: false,
            envelope: Envelope::default(),
        }
    }
}

impl Sink {
    /// TLS is there: nothing that was said before counts (RFC 3207 §4.2).
    pub(super) fn begin_tls(&mut self) {
        self.behind_tls = true;
        self.greeted = false;
        self.chunking = false;
        self.login = None;
        self.envelope = Envelope::default();
    }

    /// Whether this line asks for TLS, which there may be.
    pub(super) fn is_starttls(&self, line: &str) -> bool {
        self.starttls && !self.behind_tls && line.eq_ignore_ascii_case("STARTTLS")
    }

    /// Takes the answer to a 334, if one was awaited.
    pub(super) fn login_goes_on(&mut self, line: &str) -> Option<(Action, Option<Login>)> {
        let exchange = self.login.take()?;
        Some(self.attempt(exchange, line))
    }

    /// AUTH, where it is offered and no rule has an answer.
    pub(super) fn login_begins(&mut self, line: &str) -> Option<(Action, Option<Login>)> {
        let mut words = line.split(' ');
        if !words.next()?.eq_ignore_ascii_case("AUTH") || self.accounts.is_empty() {
            return None;
        }
        if !self.behind_tls {
            return Some(("538 5.7.11 encryption required".into(), None));
        }
        let Some(exchange) = Exchange::of_name(words.next()?) else {
            return Some(("504 5.5.4 unknown mechanism".into(), None));
        };
        if let Some(response) = words.next() {
            return Some(self.attempt(exchange, response));
        }
        let challenge = exchange.challenge();
        self.login = Some(exchange);
        Some((challenge.into(), None))
    }

    fn attempt(&mut self, exchange: Exchange, response: &str) -> (Action, Option<Login>) {
        match exchange.take(response) {
            Ok(Err(next)) => {
                let challenge = next.challenge();
                self.login = Some(next);
                (challenge.into(), None)
            }
            Err(refusal) => (refusal.into(), None),
            Ok(Ok(mut login)) => {
                let known = |(name, secret): &(String, String)| {
                    *name == login.username && *secret == login.secret
                };
                login.accepted = self.accounts.iter().any(known);
                let reply = if login.accepted {
                    "235 2.7.0 welcome"
                } else if login.mechanism == "XOAUTH2" {
                    // The reason, in base64; the refusal comes when it was heard.
                    self.login = Some(Exchange::Refused);
                    "334 eyJzdGF0dXMiOiI0MDEifQ=="
                } else {
                    "535 5.7.8 authentication failed"
                };
                (reply.into(), Some(login))
            }
        }
    }

    /// The polite answer.
    pub(super) fn answer(&self, event: &str) -> Action {
        let reply = match verb(event).as_str() {
            CONNECT => "220 sink.test ESMTP",
            END_OF_DATA if self.envelope.recipients.is_empty() => "554 5.5.1 no valid recipients",
            END_OF_DATA => "250 2.0.0 queued",
            _ if event.contains(['\r', '\n']) => "500 5.5.2 bare CR or LF in a command",
            "EHLO" => return Action::Reply(self.introduction()),
            "STARTTLS" if self.is_starttls(event) => "220 2.0.0 go ahead",
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
        let behind_tls = self.extensions_behind_tls.as_ref().filter(|_| self.behind_tls);
        let extensions = behind_tls.unwrap_or(&self.extensions);
        let offers_auth = self.behind_tls && !self.accounts.is_empty();
        let lines: Vec<&str> = std::iter::once("sink.test")
            .chain(extensions.iter().map(String::as_str))
            .chain((self.starttls && !self.behind_tls).then_some("STARTTLS"))
            .chain(offers_auth.then_some("AUTH PLAIN LOGIN XOAUTH2"))
            .collect();
        let (last, others) = lines.split_last().expect("the name is always there");
        let others = others.iter().map(|line| format!("250-{line}\n"));
        others.chain([format!("250 {last}")]).collect()
    }
}

pub(super) fn verb(event: &str) -> String {
    event.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase()
}
