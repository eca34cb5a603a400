//! The upstream's side of one transaction.
//!
//! ```text
//! begin ─► exchange (MAIL, RCPT…, perhaps DATA) ─► go_ahead (354) ─► send … ─► finish
//!              ├──► begin_chunk ─► send … ─► end_chunk, or finish
//!              └────────────────────────────────────► abandon
//! ```
//!
//! Commands are sent as one group where the upstream offers PIPELINING and one by one where it
//! does not. Dropping a transaction at any point closes its connection: nothing that was begun and
//! not brought to an end is ever reused.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatepost_smtp::bdat::Chunk;
use gatepost_smtp::client::{
    Answer, Body, Chunked, Chunks, Desync, Envelope, Final, MailParameters, SentChunk,
};
use gatepost_smtp::extension::Capabilities;
use gatepost_smtp::reply::{Reply, Severity};
use gatepost_stream::{Flushed, StreamError};

use crate::paths::Paths;
use crate::pool::Lease;
use crate::trouble::Trouble;

/// How long an upstream may take to answer MAIL, RCPT, DATA or RSET, or to take octets. RFC 5321
/// §4.5.3.2 gives a queueing client five minutes; here an application is waiting, and most give up
/// after one.
const REPLY_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a reused connection may take for its first reply. One that died unseen, behind a NAT
/// that forgot it, says nothing; nothing was accepted on it, so another can be tried.
const REUSED_REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an upstream may take to end what nobody waits for: RSET, a lone dot, the reason for a
/// refusal in the middle of the data.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(5);

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
}

/// An open transaction on a leased connection.
pub struct Transaction {
    lease: Lease,
    state: State,
}

enum State {
    Envelope(Envelope),
    Body(Body),
    Chunks(Chunks),
    SentChunk(SentChunk),
    /// Something failed: the connection will be closed.
    Broken,
}

/// The upstream's word on DATA.
#[derive(Debug)]
pub enum GoAhead {
    /// 354.
    Data,
    /// Anything else; the transaction is still open.
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
        Self { lease, state }
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
            State::Broken => 0,
        }
    }

    /// Asks for recipients, and sends DATA behind them if `data` says that it follows.
    ///
    /// `answers` holds what was said even if trouble came after it. The answer to DATA is not
    /// waited for: see [`Transaction::go_ahead`].
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
        self.lease.connection.stream.within(REPLY_TIMEOUT);
        self.lease.connection.stream.flush().await?;
        while envelope.envelope_owed() {
            let first = self.lease.is_reused() && answers.mail.is_none();
            let patience = if first { REUSED_REPLY_TIMEOUT } else { REPLY_TIMEOUT };
            self.lease.connection.stream.within(patience);
            match envelope.handle(self.lease.connection.reply().await?)? {
                Answer::Mail(reply) => answers.mail = Some(reply),
                Answer::Recipient(reply) => answers.recipients.push(reply),
                Answer::Data(_) => return Err(Trouble::Desync("DATA was answered before RCPT")),
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
        connection.stream.within(REPLY_TIMEOUT);
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
        let mut envelope = match std::mem::replace(&mut self.state, State::Broken) {
            State::Envelope(envelope) => envelope,
            State::Body(body) => {
                self.state = State::Body(body);
                return Ok(GoAhead::Data);
            }
            State::Chunks(_) | State::SentChunk(_) | State::Broken => {
                return Err(Trouble::Desync("DATA was not sent"));
            }
        };
        self.lease.connection.stream.within(REPLY_TIMEOUT);
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
                self.state = State::Envelope(envelope);
                Ok(GoAhead::Refused(reply))
            }
        }
    }

    /// Announces a chunk: with the next [`Transaction::send`], BDAT goes out in front. As many octets
    /// have to follow as it says.
    pub fn begin_chunk(&mut self, chunk: Chunk) -> Result<(), Trouble> {
        let chunks = match std::mem::replace(&mut self.state, State::Broken) {
            State::Envelope(envelope) => {
                envelope.into_chunks().map_err(|_| Trouble::Desync("a reply is owed"))?
            }
            State::Chunks(chunks) => chunks,
            State::Body(_) | State::SentChunk(_) | State::Broken => {
                return Err(Trouble::Desync("no chunk was awaited"));
            }
        };
        let sent = chunks.chunk(chunk, self.lease.connection.stream.output());
        self.state = State::SentChunk(sent);
        Ok(())
    }

    /// Whether a chunk was begun that has no answer yet.
    pub const fn owes_chunk(&self) -> bool {
        matches!(self.state, State::SentChunk(_))
    }

    /// Waits for the upstream's word on a chunk that is not the last. It was sent whole.
    pub async fn end_chunk(&mut self) -> Result<Reply, Trouble> {
        let State::SentChunk(chunk) = std::mem::replace(&mut self.state, State::Broken) else {
            return Err(Trouble::Desync("no chunk was sent"));
        };
        let stream = &mut self.lease.connection.stream;
        stream.within(REPLY_TIMEOUT);
        stream.flush().await?;
        let reply = self.lease.connection.reply().await?;
        match chunk.handle(&reply)? {
            Chunked::More(_) if is_beyond_reset(&reply) => {}
            Chunked::More(chunks) => self.state = State::Chunks(chunks),
            Chunked::Ready(_) => return Err(Desync.into()),
        }
        Ok(reply)
    }

    /// What goes out in front of the next [`Transaction::send`] or [`Transaction::finish`].
    pub fn prefix(&mut self) -> &mut BytesMut {
        self.lease.connection.stream.output()
    }

    /// Sends content as it came. An upstream that speaks before the end has refused it.
    pub async fn send(&mut self, content: Bytes) -> Result<Sent, Trouble> {
        let stream = &mut self.lease.connection.stream;
        if !stream.is_quiet() {
            return self.interrupted().await;
        }
        stream.within(REPLY_TIMEOUT);
        match stream.flush_listening(content).await {
            Ok(Flushed::All) => Ok(Sent::All),
            Ok(Flushed::Interrupted) => self.interrupted().await,
            // It may have said why before it closed.
            Err(error @ (StreamError::Closed | StreamError::Io(_))) => {
                self.interrupted().await.map_err(|_| error.into())
            }
            Err(error) => {
                self.state = State::Broken;
                Err(error.into())
            }
        }
    }

    /// Sends the last content, and waits for the upstream's word. With DATA the terminator is in it;
    /// in a chunk it is the rest of what the last BDAT has announced.
    ///
    /// An `Err` of [`Unfinished::BeforeDot`] means that the upstream cannot have the message;
    /// [`Unfinished::AfterDot`] that nobody knows.
    pub async fn finish(mut self, last: Bytes, within: Duration) -> Result<Reply, Unfinished> {
        match self.send(last).await {
            Ok(Sent::All) => {}
            Ok(Sent::Interrupted(reply)) => return Ok(reply),
            Err(trouble) => return Err(Unfinished::BeforeDot(trouble)),
        }
        let last = match std::mem::replace(&mut self.state, State::Broken) {
            State::Body(body) => Last::Dot(body.finish()),
            State::SentChunk(chunk) => Last::Chunk(chunk),
            State::Envelope(_) | State::Chunks(_) | State::Broken => {
                return Err(Unfinished::BeforeDot(Trouble::Desync("no data was awaited")));
            }
        };
        self.lease.connection.stream.within(within);
        let reply = self.lease.connection.reply().await.map_err(Unfinished::AfterDot)?;
        let ended = last.handle(&reply).map_err(|desync| Unfinished::AfterDot(desync.into()))?;
        match ended {
            Chunked::Ready(ready) => keep(self.lease, ready, &reply),
            Chunked::More(_) if is_beyond_reset(&reply) => {}
            Chunked::More(chunks) => {
                self.state = State::Chunks(chunks);
                self.abandon();
            }
        }
        Ok(reply)
    }

    /// Gives the transaction up before its data, and the connection back if it is in order. That
    /// takes a round trip which nobody has to wait for: it is a task of its own.
    pub fn abandon(self) {
        tokio::spawn(self.end());
    }

    /// Nothing was accepted on this connection and it is dead: the same transaction can have
    /// another, in the same slot.
    pub async fn reopen(self) -> Result<Lease, Trouble> {
        self.lease.reopen().await
    }

    async fn end(mut self) {
        // With a recipient, a 354 leaves no way back but the data: it is not waited for.
        if let State::Envelope(envelope) = &self.state
            && envelope.data_owed()
            && (envelope.standing() > 0 || self.go_ahead().await.is_err())
        {
            return;
        }
        let mut lease = self.lease;
        let stream = &mut lease.connection.stream;
        stream.within(CLOSING_TIMEOUT);
        let resetting = match self.state {
            State::Envelope(envelope) => match envelope.reset(stream.output()) {
                Ok(resetting) => resetting,
                Err(_) => return,
            },
            State::Chunks(chunks) => chunks.reset(stream.output()),
            // RFC 2920 §3.1: 354 after every recipient was refused is answered with a lone dot.
            State::Body(body) if body.standing() == 0 => {
                let last = body.lone_dot(stream.output());
                let Some(reply) = ask(&mut lease).await else { return };
                if let Ok(ready) = last.handle(&reply) {
                    keep(lease, ready, &reply);
                }
                return;
            }
            State::Body(_) | State::SentChunk(_) | State::Broken => return,
        };
        let Some(reply) = ask(&mut lease).await else { return };
        if let Ok(ready) = resetting.handle(&reply) {
            keep(lease, ready, &reply);
        }
    }

    async fn interrupted(&mut self) -> Result<Sent, Trouble> {
        self.state = State::Broken;
        self.lease.connection.stream.within(CLOSING_TIMEOUT);
        let reply = self.lease.connection.reply().await?;
        match reply.severity() {
            Severity::Transient | Severity::Permanent => Ok(Sent::Interrupted(reply)),
            // A yes to a message that has no end yet is a yes to nothing.
            _ => Err(Trouble::Desync("a reply before the end of data")),
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

/// What became of content.
#[derive(Debug)]
pub enum Sent {
    /// It is on its way.
    All,
    /// The upstream has refused the message in the middle.
    Interrupted(Reply),
}

/// What the last octets of a message were: the next reply decides about it.
enum Last {
    Chunk(SentChunk),
    Dot(Final),
}

impl Last {
    fn handle(self, reply: &Reply) -> Result<Chunked, Desync> {
        match self {
            Self::Chunk(chunk) => chunk.handle(reply),
            Self::Dot(last) => last.handle(reply).map(Chunked::Ready),
        }
    }
}

/// How the end of a message failed.
#[derive(Debug)]
pub enum Unfinished {
    /// The final dot was not sent.
    BeforeDot(Trouble),
    /// It was sent; what the upstream did with it is not known (RFC 1047).
    AfterDot(Trouble),
}

async fn ask(lease: &mut Lease) -> Option<Reply> {
    lease.connection.expect_quiet().ok()?;
    lease.connection.stream.flush().await.ok()?;
    lease.connection.reply().await.ok()
}

/// Whether the upstream has said that it will close the connection (RFC 5321 §3.8).
fn is_leaving(reply: &Reply) -> bool {
    reply.code().as_u16() == 421
}

/// Whether an upstream that has refused a chunk is not even asked to forget the message: it is
/// leaving, or it did not understand BDAT. Then it may have read the octets behind it as commands,
/// and what it says to them is not the answer to RSET.
fn is_beyond_reset(reply: &Reply) -> bool {
    is_leaving(reply) || (500..=504).contains(&reply.code().as_u16())
}

/// Back into the pool, unless the upstream is leaving.
fn keep(lease: Lease, ready: gatepost_smtp::client::Ready, last: &Reply) {
    if !is_leaving(last) {
        lease.give_back(ready);
    }
}
