//! The upstream's side of one transaction.
//!
//! ```text
//! begin ─► exchange (MAIL, RCPT…, perhaps DATA) ─► go_ahead (354) ─► send … ─► finish ─► give_back
//!              ├──► begin_chunk ─► send … ─► end_chunk, or finish
//!              └────────────────────────────────────► abandon
//! ```
//!
//! Commands are sent as one group where the upstream offers PIPELINING and one by one where it
//! does not. Dropping a transaction at any point closes its connection: nothing that was begun and
//! not brought to an end is ever reused.

mod content;
mod ending;

use std::time::Duration;

use gatepost_smtp::client::{Answer, Body, Chunks, Envelope, MailParameters, Ready, SentChunk};
use gatepost_smtp::extension::Capabilities;
use gatepost_smtp::reply::Reply;

use crate::paths::Paths;
use crate::patience::Patience;
use crate::pool::Lease;
use crate::trouble::Trouble;

pub use content::{Sent, Unfinished};

use ending::is_leaving;

/// What the upstream said to a group. Reused from group to group.
#[derive(Debug, Default)]
pub struct Answers {
    /// To MAIL, if it was in the group.
    pub mail: Option<Reply>,
    /// To each RCPT, in order; shorter than asked if MAIL was refused or the connection broke.
    pub recipients: Vec<Reply>,
}

impl Answers {
    /// Whether anything was accepted.
    pub fn any_positive(&self) -> bool {
        self.mail.iter().chain(&self.recipients).any(Reply::is_positive)
    }

    /// Forgets them, for the next group.
    pub fn clear(&mut self) {
        self.mail = None;
        self.recipients.clear();
    }
}

/// An open transaction on a leased connection.
pub struct Transaction {
    lease: Lease,
    patience: Patience,
    state: State,
}

enum State {
    Envelope(Envelope),
    Body(Body),
    Chunks(Chunks),
    SentChunk(SentChunk),
    /// It was brought to its end, and the connection can carry another.
    Ready(Ready),
    /// Something failed: the connection will be closed.
    Broken,
}

/// The upstream's word on DATA.
#[derive(Debug)]
pub enum GoAhead {
    /// 354.
    Data,
    /// Anything else; the transaction is still open, unless the upstream is leaving.
    Refused(Reply),
}

impl Transaction {
    /// Begins with MAIL, which is sent with the first [`Transaction::exchange`].
    pub fn begin(mut lease: Lease, mail: &MailParameters<'_>) -> Self {
        let state = match lease.take_ready() {
            Some(ready) => State::Envelope(ready.mail(mail, lease.connection.stream.output())),
            None => State::Broken,
        };
        lease.connection.messages += 1;
        let patience = lease.config().patience;
        Self { lease, patience, state }
    }

    /// Whether the connection has carried a transaction before this one.
    pub const fn is_reused(&self) -> bool {
        self.lease.is_reused()
    }

    /// What the upstream offers on this connection.
    pub fn capabilities(&self) -> Capabilities {
        match &self.state {
            State::Envelope(envelope) => *envelope.capabilities(),
            State::Body(body) => *body.capabilities(),
            State::Chunks(chunks) => *chunks.capabilities(),
            State::SentChunk(chunk) => *chunk.capabilities(),
            State::Ready(ready) => *ready.capabilities(),
            State::Broken => Capabilities::default(),
        }
    }

    /// How many recipients the upstream has accepted.
    pub fn standing(&self) -> u32 {
        match &self.state {
            State::Envelope(envelope) => envelope.standing(),
            State::Body(body) => body.standing(),
            State::Chunks(chunks) => chunks.standing(),
            State::SentChunk(chunk) => chunk.standing(),
            State::Ready(_) | State::Broken => 0,
        }
    }

    /// Asks for recipients, and sends DATA behind them if `data` says that it follows.
    ///
    /// `answers` holds what was said even if trouble came after it; 421 is trouble. The answer to
    /// DATA is not waited for: see [`Transaction::go_ahead`].
    pub async fn exchange(
        &mut self,
        paths: &Paths,
        data: DataFollows,
        answers: &mut Answers,
    ) -> Result<(), Trouble> {
        let State::Envelope(mut envelope) = std::mem::replace(&mut self.state, State::Broken)
        else {
            return Err(Trouble::Desync("the envelope is closed"));
        };
        answers.recipients.reserve(paths.len());
        let pipelining = envelope.capabilities().pipelining;
        if !pipelining {
            self.collect(&mut envelope, answers).await?;
        }
        for (path, dsn) in paths.with_parameters() {
            if !pipelining && answers.mail.as_ref().is_some_and(|mail| !mail.is_positive()) {
                break;
            }
            envelope.recipient(path, dsn, self.lease.connection.stream.output());
            if !pipelining {
                self.collect(&mut envelope, answers).await?;
            }
        }
        if data == DataFollows::Yes && (pipelining || envelope.standing() > 0) {
            envelope.data(self.lease.connection.stream.output());
        }
        self.collect(&mut envelope, answers).await?;
        if answers.any_positive() {
            self.lease.answered();
        }
        self.state = State::Envelope(envelope);
        Ok(())
    }

    /// Sends what was gathered, and waits for every answer but that to DATA.
    async fn collect(
        &mut self,
        envelope: &mut Envelope,
        answers: &mut Answers,
    ) -> Result<(), Trouble> {
        self.lease.connection.expect_quiet()?;
        self.lease.connection.stream.within(self.patience.reply);
        self.lease.connection.stream.flush().await?;
        while envelope.envelope_owed() {
            let first = self.lease.is_reused() && answers.mail.is_none();
            let patience = if first { self.patience.reused_reply } else { self.patience.reply };
            self.lease.connection.stream.within(patience);
            let reply = self.lease.connection.reply().await?;
            let leaving = is_leaving(&reply);
            match envelope.handle(reply)? {
                Answer::Mail(reply) => answers.mail = Some(reply),
                Answer::Recipient(reply) => answers.recipients.push(reply),
                Answer::Data(_) => return Err(Trouble::Desync("DATA was answered before RCPT")),
            }
            // What else is owed may never come, and nothing else may be asked.
            if leaving {
                return Err(Trouble::Lost("the upstream says that it closes".to_owned()));
            }
        }
        Ok(())
    }

    /// Sends DATA without waiting for the answer, unless it was sent already.
    pub async fn data(&mut self) -> Result<(), Trouble> {
        let State::Envelope(envelope) = &mut self.state else { return Ok(()) };
        if envelope.data_owed() {
            return Ok(());
        }
        let connection = &mut self.lease.connection;
        envelope.data(connection.stream.output());
        connection.stream.within(self.patience.reply);
        let sent = match connection.expect_quiet() {
            Ok(()) => connection.stream.flush().await.map_err(Trouble::from),
            Err(trouble) => Err(trouble),
        };
        if sent.is_err() {
            self.state = State::Broken;
        }
        sent
    }

    /// Waits for the answer to DATA. Once it was 354, returns at once.
    pub async fn go_ahead(&mut self) -> Result<GoAhead, Trouble> {
        self.answer_to_data(self.patience.reply).await
    }

    async fn answer_to_data(&mut self, within: Duration) -> Result<GoAhead, Trouble> {
        let mut envelope = match std::mem::replace(&mut self.state, State::Broken) {
            State::Envelope(envelope) => envelope,
            State::Body(body) => {
                self.state = State::Body(body);
                return Ok(GoAhead::Data);
            }
            State::Chunks(_) | State::SentChunk(_) | State::Ready(_) | State::Broken => {
                return Err(Trouble::Desync("DATA was not sent"));
            }
        };
        self.lease.connection.stream.within(within);
        let reply = self.lease.connection.reply().await?;
        let Answer::Data(reply) = envelope.handle(reply)? else {
            return Err(Trouble::Desync("DATA was not answered"));
        };
        match envelope.into_body() {
            Ok(body) => {
                self.state = State::Body(body);
                Ok(GoAhead::Data)
            }
            Err(envelope) => {
                if !is_leaving(&reply) {
                    self.state = State::Envelope(envelope);
                }
                Ok(GoAhead::Refused(reply))
            }
        }
    }
}

/// Whether DATA goes out behind the recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFollows {
    /// The client has sent it already.
    Yes,
    /// There may be more recipients.
    No,
}
