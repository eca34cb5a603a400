//! The data of a transaction: chunk by chunk, or up to a dot, and the word that ends it.
//!
//! Whatever an upstream says before it has everything is never taken for a yes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatepost_smtp::bdat::Chunk;
use gatepost_smtp::client::{Chunked, Desync, Final, SentChunk};
use gatepost_smtp::reply::{Reply, Severity};
use gatepost_stream::{Flushed, StreamError};

use super::ending::{is_beyond_reset, is_leaving};
use super::{State, Transaction};
use crate::trouble::Trouble;

impl Transaction {
    /// Announces a chunk: with the next [`Transaction::send`], BDAT goes out in front. As many octets
    /// have to follow as it says.
    pub fn begin_chunk(&mut self, chunk: Chunk) -> Result<(), Trouble> {
        let chunks = match std::mem::replace(&mut self.state, State::Broken) {
            State::Envelope(envelope) => {
                envelope.into_chunks().map_err(|_| Trouble::Desync("a reply is owed"))?
            }
            State::Chunks(chunks) => chunks,
            State::Body(_) | State::SentChunk(_) | State::Ready(_) | State::Broken => {
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
        stream.within(self.patience.reply);
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
        stream.within(self.patience.reply);
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
    /// in a chunk it is the rest of what the last BDAT has announced. What remains is to
    /// [`Transaction::give_back`] the connection.
    ///
    /// An `Err` of [`Unfinished::BeforeDot`] means that the upstream cannot have the message;
    /// [`Unfinished::AfterDot`] that nobody knows.
    pub async fn finish(&mut self, last: Bytes, within: Duration) -> Result<Reply, Unfinished> {
        match self.send(last).await {
            Ok(Sent::All) => {}
            Ok(Sent::Interrupted(reply)) => return Ok(reply),
            Err(trouble) => return Err(Unfinished::BeforeDot(trouble)),
        }
        let last = match std::mem::replace(&mut self.state, State::Broken) {
            State::Body(body) => Last::Dot(body.finish()),
            State::SentChunk(chunk) => Last::Chunk(chunk),
            State::Envelope(_) | State::Chunks(_) | State::Ready(_) | State::Broken => {
                return Err(Unfinished::BeforeDot(Trouble::Desync("no data was awaited")));
            }
        };
        self.lease.connection.stream.within(within);
        let reply = self.lease.connection.reply().await.map_err(Unfinished::AfterDot)?;
        let ended = last.handle(&reply).map_err(|desync| Unfinished::AfterDot(desync.into()))?;
        if reply.is_positive() {
            self.lease.accepted();
        }
        match ended {
            Chunked::Ready(_) if is_leaving(&reply) => {}
            Chunked::Ready(ready) => self.state = State::Ready(ready),
            Chunked::More(_) if is_beyond_reset(&reply) => {}
            Chunked::More(chunks) => self.state = State::Chunks(chunks),
        }
        Ok(reply)
    }

    async fn interrupted(&mut self) -> Result<Sent, Trouble> {
        self.state = State::Broken;
        self.lease.connection.stream.within(self.patience.closing);
        let reply = self.lease.connection.reply().await?;
        match reply.severity() {
            Severity::Transient | Severity::Permanent => Ok(Sent::Interrupted(reply)),
            // A yes to a message that has no end yet is a yes to nothing.
            _ => Err(Trouble::Desync("a reply before the end of data")),
        }
    }
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
