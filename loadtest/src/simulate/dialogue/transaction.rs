//! From MAIL to the end of data (RFC 5321 §3.3), as a provider sees it.

use std::time::Duration;

use tokio::time::Instant;

use super::{Accepted, Dialogue, Hello, Phase, Step};
use crate::Received;
use crate::command;
use crate::end_of_data::{EndOfData, FINAL_DOT_OCTETS};
use crate::simulate::content::Content;
use crate::simulate::judge::{Refusal, Then};
use crate::simulate::limit::{Bound, Excess, Limit, Share, Stage};
use crate::simulate::record::{Rule, ViolationKind};

/// One transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    reverse_path: String,
    forward_paths: Vec<String>,
    smtputf8: bool,
    /// The content can come in chunks only: BODY=BINARYMIME, or a chunk has come (RFC 3030 §2).
    chunked: bool,
    content: Content,
}

impl Transaction {
    pub(super) fn reverse_path(&self) -> &str {
        &self.reverse_path
    }
}

/// The rest of a BDAT chunk.
#[derive(Debug)]
pub(super) struct Chunk {
    remaining: u64,
    last: bool,
    /// What is said at its end, if it belongs to no transaction.
    refused: bool,
}

impl Dialogue<'_> {
    pub(super) fn take_mail(
        &mut self,
        line: &[u8],
        (reverse_path, parameters): (&str, &str),
        output: &mut Vec<u8>,
        now: Instant,
    ) -> Step {
        if self.transaction.is_some() || !matches!(self.hello, Hello::Helo | Hello::Ehlo) {
            let kind = match self.hello {
                Hello::Forgotten => ViolationKind::NoHelloAfterTls,
                _ => ViolationKind::OutOfSequence,
            };
            self.violate(kind, line);
            self.refuse(Rule::Syntax, self.words().sequence, output);
            return Step::Continue;
        }
        self.excused = false;
        let mut transaction = Transaction {
            reverse_path: reverse_path.to_owned(),
            forward_paths: Vec::new(),
            smtputf8: false,
            chunked: false,
            content: Content::new(self.shared.deliver.is_some()),
        };
        let judged = self
            .judge_parameters(&mut transaction, line, parameters)
            .and_then(|()| self.shared.plan.judge_sender(&self.client, reverse_path));
        let granted = judged.and_then(|()| self.grant(Stage::Sender, (0, reverse_path, 0), now));
        if let Err(refusal) = granted {
            if refusal.rule == Rule::MessagesPerConnection {
                self.violate(ViolationKind::TooManyMessages, line);
            }
            return self.refuse_in_group(refusal, output);
        }
        self.transaction = Some(transaction);
        self.say(output, self.words().sender_ok);
        Step::Continue
    }

    /// Parameters of MAIL: each needs an extension that is offered.
    fn judge_parameters(
        &self,
        transaction: &mut Transaction,
        line: &[u8],
        parameters: &str,
    ) -> Result<(), Refusal> {
        for (name, value) in command::parameters(parameters) {
            let (name, value) = (name.to_ascii_uppercase(), value.to_ascii_uppercase());
            let extension = match (name.as_str(), value.as_str()) {
                ("SIZE", _) => "SIZE",
                ("BODY", "BINARYMIME") => "BINARYMIME",
                ("BODY", _) => "8BITMIME",
                ("SMTPUTF8", "") => "SMTPUTF8",
                ("RET" | "ENVID", _) => "DSN",
                ("AUTH", _) => "AUTH",
                _ => "",
            };
            if !self.offers(extension) {
                self.violate(ViolationKind::ExtensionNotOffered, line);
                return Err(Refusal::new(Rule::Syntax, self.words().parameter));
            }
            transaction.smtputf8 |= extension == "SMTPUTF8";
            transaction.chunked |= extension == "BINARYMIME";
            let size = value.parse().unwrap_or(0);
            let most = self.shared.plan.limit(Limit::MessageOctets).unwrap_or(u64::MAX);
            if extension == "SIZE" && size > most {
                return Err(Refusal::new(Rule::MessageOctets, self.words().too_big));
            }
        }
        self.judge_octets(transaction, &transaction.reverse_path, line)
    }

    /// A path beyond ASCII needs SMTPUTF8 (RFC 6531 §3.4).
    fn judge_octets(
        &self,
        transaction: &Transaction,
        path: &str,
        line: &[u8],
    ) -> Result<(), Refusal> {
        if path.is_ascii() || transaction.smtputf8 {
            return Ok(());
        }
        self.violate(ViolationKind::ExtensionNotOffered, line);
        Err(Refusal::new(Rule::Syntax, self.words().arguments))
    }

    pub(super) fn take_rcpt(
        &mut self,
        line: &[u8],
        (forward_path, parameters): (&str, &str),
        output: &mut Vec<u8>,
        now: Instant,
    ) -> Step {
        let Some(transaction) = self.transaction.take() else {
            self.refuse_sequence(line, output);
            return Step::Continue;
        };
        let is_dsn =
            |name: &str| name.eq_ignore_ascii_case("NOTIFY") || name.eq_ignore_ascii_case("ORCPT");
        let dsn = self.offers("DSN");
        if command::parameters(parameters).any(|(name, _)| !dsn || !is_dsn(name)) {
            self.violate(ViolationKind::ExtensionNotOffered, line);
            self.transaction = Some(transaction);
            self.refuse_in_group(Refusal::new(Rule::Syntax, self.words().parameter), output)
        } else {
            self.take_recipient(transaction, (line, forward_path), output, now)
        }
    }

    fn take_recipient(
        &mut self,
        mut transaction: Transaction,
        (line, forward_path): (&[u8], &str),
        output: &mut Vec<u8>,
        now: Instant,
    ) -> Step {
        let recipients = transaction.forward_paths.len() as u64;
        let reverse_path = transaction.reverse_path.clone();
        let granted = self
            .judge_octets(&transaction, forward_path, line)
            .and_then(|()| {
                self.shared.plan.judge_recipient(&self.client, &reverse_path, forward_path)
            })
            .and_then(|()| self.grant(Stage::Recipient, (recipients, &reverse_path, 0), now));
        if granted.is_ok() {
            transaction.forward_paths.push(forward_path.to_owned());
        }
        self.transaction = Some(transaction);
        match granted {
            Ok(_) => {
                self.say(output, self.words().recipient_ok);
                Step::Continue
            }
            Err(refusal) => self.refuse_in_group(refusal, output),
        }
    }

    pub(super) fn take_data_command(&mut self, line: &[u8], output: &mut Vec<u8>) {
        match &self.transaction {
            Some(transaction) if !transaction.forward_paths.is_empty() && !transaction.chunked => {
                self.phase = Phase::Data(EndOfData::new());
                self.say(output, self.words().start_data);
            }
            _ => self.refuse_sequence(line, output),
        }
    }

    pub(super) fn take_data(
        &mut self,
        mut end: EndOfData,
        input: &[u8],
        output: &mut Vec<u8>,
        now: Instant,
    ) -> (usize, Step) {
        if input.is_empty() {
            self.phase = Phase::Data(end);
            return (0, Step::ReadMore);
        }
        let ended = end.scan(input);
        let used = ended.unwrap_or(input.len());
        self.take_content(&input[..used], FINAL_DOT_OCTETS as u64);
        if ended.is_none() {
            self.phase = Phase::Data(end);
            return (used, Step::ReadMore);
        }
        if used < input.len() && !self.offers("PIPELINING") {
            self.violate(ViolationKind::Pipelined, b".");
        }
        (used, self.finish_message(FINAL_DOT_OCTETS, output, now))
    }

    pub(super) fn take_bdat(
        &mut self,
        line: &[u8],
        (remaining, last): (u64, bool),
        output: &mut Vec<u8>,
    ) -> Step {
        if !self.offers("CHUNKING") {
            // Its content would be taken for commands.
            self.violate(ViolationKind::ExtensionNotOffered, line);
            self.refuse(Rule::Syntax, self.words().unknown, output);
            return Step::Close;
        }
        let refused = match &mut self.transaction {
            Some(transaction) if !transaction.forward_paths.is_empty() => {
                transaction.chunked = true;
                false
            }
            _ => true,
        };
        if refused && !self.excused {
            self.violate(ViolationKind::OutOfSequence, line);
        }
        self.phase = Phase::Chunk(Chunk { remaining, last, refused });
        Step::Continue
    }

    pub(super) fn take_chunk(
        &mut self,
        mut chunk: Chunk,
        input: &[u8],
        output: &mut Vec<u8>,
        now: Instant,
    ) -> (usize, Step) {
        let used = usize::try_from(chunk.remaining).unwrap_or(usize::MAX).min(input.len());
        chunk.remaining -= used as u64;
        if !chunk.refused {
            self.take_content(&input[..used], 0);
        }
        if chunk.remaining > 0 {
            self.phase = Phase::Chunk(chunk);
            return (used, Step::ReadMore);
        }
        if chunk.refused {
            self.refuse(Rule::Syntax, self.words().sequence, output);
        } else if chunk.last {
            return (used, self.finish_message(0, output, now));
        } else {
            self.say(output, self.words().ok);
        }
        (used, Step::Continue)
    }

    fn take_content(&mut self, piece: &[u8], extra: u64) {
        let most = self.shared.plan.limit(Limit::MessageOctets).unwrap_or(u64::MAX);
        if let Some(transaction) = &mut self.transaction {
            transaction.content.take(piece, most.saturating_add(extra));
        }
    }

    /// Judges a whole message; its last `dot` octets are not part of it.
    fn finish_message(&mut self, dot: usize, output: &mut Vec<u8>, now: Instant) -> Step {
        // Data and chunks are read within a transaction alone.
        let Some(transaction) = self.transaction.take() else { return Step::Close };
        for &kind in transaction.content.faults() {
            self.violate(kind, transaction.reverse_path.as_bytes());
        }
        let octets = transaction.content.octets() - dot as u64;
        let recipients = transaction.forward_paths.len() as u64;
        let from = transaction.content.sender();
        let judged = self.shared.plan.judge_content(&transaction.reverse_path, from.as_deref());
        if let Err((refusal, identity)) = judged {
            let words = refusal.words.replace("{sender}", identity);
            self.refuse(refusal.rule, &words, output);
            return Step::Continue;
        }
        let key = (recipients, transaction.reverse_path.as_str(), octets);
        let delay = match self.grant(Stage::Content, key, now) {
            Ok(delay) => delay,
            Err(refusal) => return self.refuse_in_group(refusal, output),
        };
        self.use_up(recipients, now);
        let Transaction { reverse_path, forward_paths, content, .. } = transaction;
        let received = content.into_kept().map(|mut content| {
            content.truncate(octets as usize);
            Received { reverse_path, forward_paths, content }
        });
        Step::Deliver(Accepted { delay, received, recipients, octets })
    }

    /// Notes a message in the record. Whoever is handed it sees it counted.
    pub(in crate::simulate) fn count(&mut self, accepted: &Accepted) {
        self.messages += 1;
        self.shared.notebook.note(|record| {
            record.messages += 1;
            record.recipients += accepted.recipients;
            record.octets += accepted.octets;
            record.messages_on_one_connection =
                record.messages_on_one_connection.max(self.messages);
        });
    }

    /// Says that a message was taken.
    pub(in crate::simulate) fn accept(&self, output: &mut Vec<u8>) {
        self.say(output, self.words().queued);
    }

    fn refuse_sequence(&self, line: &[u8], output: &mut Vec<u8>) {
        if !self.excused {
            self.violate(ViolationKind::OutOfSequence, line);
        }
        self.refuse(Rule::Syntax, self.words().sequence, output);
    }

    /// Takes what a stage costs from the provider's limits. `recipients` are those of the message,
    /// at RCPT without the one that is asked for.
    fn grant(
        &self,
        stage: Stage,
        (recipients, reverse_path, octets): (u64, &str, u64),
        now: Instant,
    ) -> Result<Duration, Refusal> {
        let mut delay = Duration::ZERO;
        for (bound, most) in self.shared.plan.bounds(stage) {
            let key = match bound.share {
                Share::Account => self.client.account.as_deref().unwrap_or_default(),
                Share::All => "",
                Share::ReversePath => reverse_path,
            };
            let room = match bound.limit {
                Limit::Connections => self.shared.ledger().has_place(key, self.number, most),
                Limit::MessageOctets => octets <= most,
                Limit::MessagesPerConnection => self.messages < most,
                Limit::RecipientsPerMessage => recipients < most,
                limit => {
                    let count = match (limit, stage) {
                        (Limit::MessagesPerMinute, _) | (_, Stage::Recipient) => 1,
                        _ => recipients,
                    };
                    let taken = self.shared.ledger().take((limit, key), count, most, now);
                    match (taken, bound.excess) {
                        (Err(wait), Excess::Delay) => {
                            self.shared.notebook.refuse(limit.into());
                            delay = delay.max(wait);
                            true
                        }
                        (taken, _) => taken.is_ok(),
                    }
                }
            };
            if !room {
                return Err(excess_of(bound));
            }
        }
        Ok(delay)
    }

    /// Takes an accepted message from what AUTH will look at: the credits of an account.
    fn use_up(&self, recipients: u64, now: Instant) {
        for (bound, _) in self.shared.plan.bounds(Stage::Login) {
            let all = (bound.limit, "");
            // There is no most: what is used is counted, and looked at elsewhere.
            let _ = self.shared.ledger().take(all, recipients, u64::MAX, now);
        }
    }
}

fn excess_of(bound: &Bound) -> Refusal {
    let rule = bound.limit.into();
    match bound.excess {
        Excess::Close(words) => Refusal { rule, words, then: Then::Close },
        Excess::Refuse(words) => Refusal::new(rule, words),
        // What can be waited for is a rate, and that is granted.
        Excess::Delay => Refusal::new(rule, "451 Try again later"),
    }
}
