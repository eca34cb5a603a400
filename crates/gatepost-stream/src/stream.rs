//! A socket with its buffers. See the crate's documentation.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use rustls::{CommonState, Connection};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::clock::Clock;
use crate::deadline::{Deadline, Mark};
use crate::spare::{BLOCK_OCTETS, FRONT_OCTETS};
use crate::tls::Tls;

/// Octets of the first read: a command group, or a message of a few KiB in one system call.
const READ_OCTETS_MIN: usize = 8 * 1024;
/// Octets of a read at which a message is large: from here on, a read fills what is left of a block.
const READ_OCTETS_MAX: usize = 64 * 1024;
/// Octets that a block must have left to be read into once more, while what it holds is in use. A read
/// that fills them does not look like one that has come back short.
const ROOM_OCTETS_MIN: usize = READ_OCTETS_MAX / 4;
/// How much of what a refused peer still sends is thrown away before its socket is closed.
const LINGER_OCTETS_MAX: usize = 64 * 1024;
/// How long that may take.
const LINGER: Duration = Duration::from_secs(2);

/// Why a stream cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The peer has closed its side.
    #[error("the peer closed the connection")]
    Closed,
    /// The deadline has passed.
    #[error("the deadline passed")]
    Elapsed,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer does not speak TLS as it must, or is not accepted.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// What a flush that listens has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Everything is sent.
    All,
    /// The peer spoke before that: see [`Stream::input`]. The rest is not sent.
    Interrupted,
}

/// A socket, what was read and not yet taken, what was gathered and not yet sent, and a deadline.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    /// Between the socket and the buffers, and never taken away again.
    tls: Option<Box<Tls>>,
    input: BytesMut,
    /// Whether the buffer of `input` is a block that others can use after us.
    is_block: bool,
    output: BytesMut,
    deadline: Deadline,
    read_octets: usize,
}

impl Stream {
    /// Takes over a connected socket. Everything on it must be done `within` the given time until
    /// [`Stream::within`] says otherwise.
    pub fn new(socket: TcpStream, clock: Clock, within: Duration) -> Self {
        Self {
            socket,
            tls: None,
            input: BytesMut::new(),
            is_block: false,
            output: BytesMut::new(),
            deadline: Deadline::new(clock, within),
            read_octets: READ_OCTETS_MIN,
        }
    }

    /// Protects everything from here on with TLS, and waits until both sides have agreed on it.
    ///
    /// What was read before and not taken is forgotten: anybody may have put it there (RFC 3207 §6).
    /// A stream on which this has failed carries nothing any more.
    pub async fn secure(&mut self, connection: Connection) -> Result<(), StreamError> {
        self.input = BytesMut::new();
        self.is_block = false;
        self.tls = Some(Box::new(Tls::new(connection)));
        poll_fn(|cx| match &mut self.tls {
            Some(tls) => match tls.poll_handshake(&mut self.socket, cx) {
                Poll::Pending => self.poll_deadline(cx),
                done @ Poll::Ready(_) => done,
            },
            None => Poll::Ready(Ok(())),
        })
        .await
    }

    /// What was agreed on with TLS, if there is TLS.
    pub fn tls(&self) -> Option<&CommonState> {
        self.tls.as_ref().map(|tls| tls.state())
    }

    /// Waits until there is something to read, and reads nothing.
    pub async fn readable(&mut self) -> Result<(), StreamError> {
        poll_fn(|cx| match self.socket.poll_read_ready(cx)? {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => self.poll_deadline(cx),
        })
        .await
    }

    /// What was read and not yet taken.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// The same, to take from its front.
    pub fn input_mut(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Where to append what is to be sent with the next flush.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Moves the deadline: whatever is waited for next ends `limit` from now.
    pub fn within(&mut self, limit: Duration) {
        self.deadline.move_to(limit);
    }

    /// A moment, `limit` from now, for [`Stream::until`].
    pub fn mark(&self, limit: Duration) -> Mark {
        self.deadline.mark(limit)
    }

    /// Moves the deadline: whatever is waited for next ends at `mark`.
    pub fn until(&mut self, mark: Mark) {
        self.deadline.move_to_mark(mark);
    }

    /// Ends the stream `lifetime` from now, wherever [`Stream::within`] moves the deadline.
    pub fn end_after(&mut self, lifetime: Duration) {
        self.deadline.end_after(lifetime);
    }

    /// Reads once, appending to [`Stream::input`]. Its buffer is kept while waiting.
    pub async fn fill(&mut self) -> Result<(), StreamError> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// [`Stream::fill`] for a caller who waits for something else too.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        // A peer that is never silent must not outlive its time either.
        if self.deadline.lifetime_is_over() {
            return Poll::Ready(Err(StreamError::Elapsed));
        }
        if let Some(tls) = &mut self.tls {
            return match tls.poll_read(&mut self.socket, &mut self.input, cx)? {
                Poll::Ready(0) => Poll::Ready(Err(StreamError::Closed)),
                Poll::Ready(_) => Poll::Ready(Ok(())),
                Poll::Pending => self.poll_deadline(cx),
            };
        }
        loop {
            if self.socket.poll_read_ready(cx)?.is_pending() {
                return self.poll_deadline(cx);
            }
            self.make_room();
            let read = pin!(self.socket.read_buf(&mut self.input)).poll(cx)?;
            match read {
                Poll::Ready(0) => return Poll::Ready(Err(StreamError::Closed)),
                Poll::Ready(octets) => {
                    self.adapt(octets);
                    return Poll::Ready(Ok(()));
                }
                // The readiness was stale; the next look registers this task.
                Poll::Pending => {}
            }
        }
    }

    /// Gives back buffers that hold nothing: a session that waits for its client owns none.
    pub fn release(&mut self) {
        if self.input.is_empty() {
            let input = mem::take(&mut self.input);
            if mem::take(&mut self.is_block) {
                self.deadline.clock().spare().put_first(input);
            }
        }
        if self.output.is_empty() {
            self.output = BytesMut::new();
        }
    }

    /// Gives back buffers that hold nothing and have grown. Those that any message needs are kept: for a
    /// peer that waits for the next one, of whom there are few.
    pub fn release_grown(&mut self) {
        // Only what is larger than a first read can make room for more.
        let has_grown = |buffer: &mut BytesMut| buffer.try_reclaim(READ_OCTETS_MIN + 1);
        if self.is_block || has_grown(&mut self.input) || has_grown(&mut self.output) {
            self.release();
        }
    }

    /// Sends everything gathered in [`Stream::output`].
    pub async fn flush(&mut self) -> Result<(), StreamError> {
        self.flush_with(Bytes::new()).await
    }

    /// Sends everything gathered in [`Stream::output`], and `tail` after it without copying it.
    pub async fn flush_with(&mut self, mut tail: Bytes) -> Result<(), StreamError> {
        poll_fn(|cx| self.poll_flush_with(&mut tail, cx)).await
    }

    /// Sends everything gathered and `tail` after it, while listening: a peer that speaks in the
    /// middle may have stopped reading for good.
    pub async fn flush_listening(&mut self, mut tail: Bytes) -> Result<Flushed, StreamError> {
        poll_fn(|cx| match self.poll_flush_with(&mut tail, cx) {
            Poll::Ready(flushed) => Poll::Ready(flushed.map(|()| Flushed::All)),
            Poll::Pending => self.poll_fill(cx).map_ok(|()| Flushed::Interrupted),
        })
        .await
    }

    /// Whether nothing has come that nobody asked for, the end of the stream included.
    ///
    /// Readiness alone is no proof: it may be left over from octets that were read already. So
    /// where there is readiness it is tried, and that is the only case that costs a system call.
    pub fn is_quiet(&mut self) -> bool {
        if !self.input.is_empty() {
            return false;
        }
        let Some(tls) = &mut self.tls else {
            let read = self.socket.try_read_buf(&mut self.input);
            return matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        };
        tls.is_quiet(&self.socket)
    }

    /// Closes in a way that does not destroy what was sent last: a socket that is closed with
    /// unread octets sends a reset, and a reset overtakes the reply that explains it.
    pub async fn linger(mut self) {
        self.within(LINGER);
        if self.say_last().await.is_err() {
            return;
        }
        let shutdown = poll_fn(|cx| Pin::new(&mut self.socket).poll_shutdown(cx)).await;
        let mut discarded = self.input.len();
        self.input.clear();
        while shutdown.is_ok() && discarded < LINGER_OCTETS_MAX && self.fill().await.is_ok() {
            discarded += self.input.len();
            self.input.clear();
        }
    }

    /// Closes behind a peer that was answered and has nothing more to say: nothing of it is unread, so
    /// nothing is destroyed, and it is not waited for.
    pub async fn part(mut self) {
        self.within(LINGER);
        // The peer may have gone with what it wanted to hear.
        let _ = self.say_last().await;
    }

    /// Sends what was gathered, and behind it the end of TLS.
    async fn say_last(&mut self) -> Result<(), StreamError> {
        if let Some(tls) = &mut self.tls {
            tls.say_close();
        }
        self.flush().await
    }

    /// Makes room for a read: where the last one was, if nothing of it is in use any more; else
    /// behind it, or in another buffer.
    fn make_room(&mut self) {
        if self.read_octets < READ_OCTETS_MAX || self.input.len() > FRONT_OCTETS {
            self.is_block &= self.input.try_reclaim(self.read_octets);
            return self.input.reserve(self.read_octets);
        }
        let room = self.input.capacity() - self.input.len();
        if self.is_block && (self.input.try_reclaim(BLOCK_OCTETS) || room >= ROOM_OCTETS_MIN) {
            return;
        }
        let spare = self.deadline.clock().spare();
        let mut block = spare.take();
        block.extend_from_slice(&self.input);
        let filled = mem::replace(&mut self.input, block);
        if mem::replace(&mut self.is_block, true) {
            spare.put(filled);
        }
    }

    /// Reads as much as the last reads brought: 8 KiB for commands, more for a large message.
    fn adapt(&mut self, octets: usize) {
        if octets >= self.read_octets {
            self.read_octets = (self.read_octets * 2).min(READ_OCTETS_MAX);
        } else if octets < self.read_octets / 4 {
            self.read_octets = (self.read_octets / 2).max(READ_OCTETS_MIN);
        }
    }

    fn poll_flush_with(
        &mut self,
        tail: &mut Bytes,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), StreamError>> {
        if let Some(tls) = &mut self.tls {
            return match tls.poll_write(&mut self.socket, (&mut self.output, tail), cx)? {
                Poll::Ready(()) => Poll::Ready(Ok(())),
                Poll::Pending => self.poll_deadline(cx),
            };
        }
        while self.output.has_remaining() || tail.has_remaining() {
            let socket = Pin::new(&mut self.socket);
            // A vector of one costs the kernel more than a plain write.
            let polled = match (self.output.is_empty(), tail.is_empty()) {
                (false, true) => socket.poll_write(cx, &self.output)?,
                (true, false) => socket.poll_write(cx, tail)?,
                _ => socket
                    .poll_write_vectored(cx, &[IoSlice::new(&self.output), IoSlice::new(tail)])?,
            };
            let written = match polled {
                Poll::Ready(0) => {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
                }
                Poll::Ready(written) => written,
                Poll::Pending => return self.poll_deadline(cx),
            };
            let from_output = written.min(self.output.len());
            self.output.advance(from_output);
            tail.advance(written - from_output);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        ready!(self.deadline.poll_passed(cx));
        Poll::Ready(Err(StreamError::Elapsed))
    }
}

#[cfg(test)]
mod tests;
