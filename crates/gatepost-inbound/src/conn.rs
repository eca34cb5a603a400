//! A client's connection as the steps of a session see it: lines in, replies out.
//!
//! Replies are gathered and sent when there is no further complete line to handle, so a pipelining
//! client gets its answers in one segment (RFC 2920 §3.2). What was answered is consumed; a line
//! stays in the buffer while it is being handled, so that nothing of it is copied.

use std::convert::Infallible;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};
use gatepost_smtp::line::{self, Frame, LineFault};
use gatepost_smtp::reply::Reply;
use gatepost_smtp::server::Step;
use gatepost_stream::{Mark, Stream, StreamError};
use rustls::{CommonState, Connection};

use crate::drain::Place;

/// Octets of replies that are gathered before they are sent in any case.
const REPLIES_OCTETS_MAX: usize = 16 * 1024;

/// Octets of the replies to most envelopes, MAIL to DATA: a buffer that is empty grows once for all of them.
const REPLIES_OCTETS_USUAL: usize = 192;
/// Commands in a row that bring no mail (NOOP, RSET, EHLO, VRFY, HELP) before a session is closed.
/// A pool that asks every few seconds whether its connection lives is far below it in the hour that
/// a session lasts; a flood is over before it costs anything.
const IDLE_COMMANDS_MAX: u32 = 1000;

const DRAINING: Reply = Reply::fixed(421, (4, 3, 2), "service is closing, connect again");
const TIMEOUT: Reply = Reply::fixed(421, (4, 4, 2), "waited too long for you");
const TOO_MANY_COMMANDS: Reply = Reply::fixed(421, (4, 7, 0), "too many commands and no mail");
const TOO_MANY_ERRORS: Reply = Reply::fixed(421, (4, 7, 0), "too many errors");

/// How a session ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client is not there any more.
    Gone,
    /// It has said QUIT and was answered: it sends nothing more.
    Left,
    /// It was told; it may still be sending.
    Told,
}

/// What stands at the front of a client's input.
#[derive(Debug)]
pub(crate) enum Buffered {
    /// A line that must not be parsed; it is consumed already, and this is the reply to it.
    Fault(Reply),
    /// A line of this many octets, CRLF included.
    Line(usize),
    /// Nothing that could be followed any further; this is the last reply.
    Lost(Reply),
    /// No complete line.
    Nothing,
}

/// A line, or what is to be said to one that must not be parsed and is consumed already.
#[derive(Debug)]
pub(crate) enum Heard {
    Fault(Reply),
    Line(usize),
}

pub(crate) struct Conn {
    stream: Stream,
    place: Place,
    faults_left: u32,
    /// See [`IDLE_COMMANDS_MAX`].
    idle_left: u32,
    /// When the line that is waited for has to be there, once it is waited for.
    awaited: Option<Mark>,
}

impl Conn {
    pub(crate) const fn new(stream: Stream, place: Place, errors_max: u32) -> Self {
        Self { stream, place, faults_left: errors_max, idle_left: IDLE_COMMANDS_MAX, awaited: None }
    }

    /// Appends a reply, to be sent before the next wait.
    pub(crate) fn say(&mut self, reply: &Reply) {
        let output = self.stream.output();
        if output.is_empty() {
            output.reserve(REPLIES_OCTETS_USUAL);
        }
        reply.encode(output);
    }

    /// Appends a last reply.
    pub(crate) fn say_last(&mut self, reply: &Reply) -> End {
        self.say(reply);
        End::Told
    }

    /// Appends a reply to a fault of the client, and closes if there were too many.
    pub(crate) fn fault(&mut self, reply: &Reply) -> Result<(), End> {
        self.say(reply);
        self.faults_left = self.faults_left.saturating_sub(1);
        if self.faults_left == 0 { Err(self.say_last(&TOO_MANY_ERRORS)) } else { Ok(()) }
    }

    /// Counts a command that was answered and has brought no mail; closes if there were too many.
    pub(crate) fn idled(&mut self) -> Result<(), End> {
        self.idle_left = self.idle_left.saturating_sub(1);
        if self.idle_left == 0 { Err(self.say_last(&TOO_MANY_COMMANDS)) } else { Ok(()) }
    }

    /// A message was accepted: what was said before it had its purpose.
    pub(crate) fn has_brought_mail(&mut self) {
        self.idle_left = IDLE_COMMANDS_MAX;
    }

    /// Does what a step says that is nobody's decision.
    pub(crate) fn perform(&mut self, step: Step<Infallible>) -> Result<(), End> {
        match step {
            Step::Close(reply) => {
                // Only QUIT is answered by a last word that is no refusal. Who has said more behind it would
                // lose its replies to a reset, and with TLS the end is still to be said.
                let has_left =
                    reply.is_positive() && self.stream.tls().is_none() && self.stream.is_quiet();
                let told = self.say_last(&reply);
                Err(if has_left { End::Left } else { told })
            }
            Step::Fault(reply) => self.fault(&reply),
            Step::Reply(reply) => {
                self.say(&reply);
                self.idled()
            }
        }
    }

    /// What stands at the front of the input. Says nothing itself: there may be replies to come
    /// first.
    pub(crate) fn buffered(&mut self) -> Buffered {
        self.buffered_by(line::frame)
    }

    fn buffered_by(&mut self, frame: fn(&[u8]) -> Frame) -> Buffered {
        match frame(self.stream.input()) {
            Frame::Line(octets) => Buffered::Line(octets),
            Frame::Incomplete => Buffered::Nothing,
            Frame::Faulty(octets, fault) => {
                self.consume(octets);
                Buffered::Fault(line_reply(fault))
            }
            Frame::Lost(fault) => Buffered::Lost(line_reply(fault)),
        }
    }

    /// Waits for the next complete line of a session without a transaction, and answers what must
    /// not be parsed.
    pub(crate) async fn idle_line(&mut self, within: Duration) -> Result<usize, End> {
        loop {
            match self.hear(within).await? {
                Heard::Line(octets) => return Ok(octets),
                Heard::Fault(reply) => self.fault(&reply)?,
            }
        }
    }

    /// Waits for the next complete line. This is where a session idles: it holds no buffers, and it
    /// ends here when service does.
    pub(crate) async fn hear(&mut self, within: Duration) -> Result<Heard, End> {
        self.hear_by(line::frame, within).await
    }

    /// The same for a line that answers to a challenge of AUTH, which may be longer.
    pub(crate) async fn hear_response(&mut self, within: Duration) -> Result<Heard, End> {
        self.hear_by(line::frame_response, within).await
    }

    async fn hear_by(&mut self, frame: fn(&[u8]) -> Frame, within: Duration) -> Result<Heard, End> {
        loop {
            match self.buffered_by(frame) {
                Buffered::Line(octets) => {
                    self.relieve(within).await?;
                    return Ok(Heard::Line(octets));
                }
                Buffered::Fault(reply) => return Ok(Heard::Fault(reply)),
                Buffered::Lost(reply) => return Err(self.say_last(&reply)),
                Buffered::Nothing => {}
            }
            let until = self.patience(within);
            self.flush(within).await?;
            self.stream.until(until);
            self.stream.release();
            let filled = poll_fn(|cx| {
                if self.place.is_draining() {
                    return Poll::Ready(None);
                }
                self.stream.poll_fill(cx).map(Some)
            })
            .await;
            match filled {
                None => return Err(self.say_last(&DRAINING)),
                Some(Ok(())) => {}
                Some(Err(error)) => return Err(self.failed(&error)),
            }
        }
    }

    /// Sends what was gathered and reads once. `None` if the client was silent until then.
    pub(crate) async fn fill(&mut self, mark: Mark) -> Result<Option<()>, End> {
        self.stream.until(mark);
        self.stream.flush().await.map_err(|_| End::Gone)?;
        match self.stream.fill().await {
            Ok(()) => Ok(Some(())),
            Err(StreamError::Elapsed) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Sends what was gathered.
    pub(crate) async fn flush(&mut self, within: Duration) -> Result<(), End> {
        self.stream.within(within);
        // A client that does not read its replies cannot be told anything.
        self.stream.flush().await.map_err(|_| End::Gone)
    }

    /// Sends what was gathered if it is much: a client that pipelines without end and does not read
    /// waits here.
    pub(crate) async fn relieve(&mut self, within: Duration) -> Result<(), End> {
        if self.stream.output().len() < REPLIES_OCTETS_MAX {
            return Ok(());
        }
        self.flush(within).await
    }

    /// When the line that is waited for has to be there, whole: an octet now and then buys no time.
    pub(crate) fn patience(&mut self, within: Duration) -> Mark {
        let until = self.awaited.unwrap_or_else(|| self.mark(within));
        self.awaited = Some(until);
        until
    }

    /// Waits until the client has sent anything.
    pub(crate) async fn readable(&mut self, until: Mark) -> Result<(), StreamError> {
        self.stream.until(until);
        self.stream.readable().await
    }

    /// Protects the connection with TLS. What the client has sent before and was not handled is
    /// forgotten.
    pub(crate) async fn secure(
        &mut self,
        connection: Connection,
        until: Mark,
    ) -> Result<&CommonState, StreamError> {
        self.stream.until(until);
        self.stream.secure(connection).await?;
        self.stream.tls().ok_or(StreamError::Closed)
    }

    /// Forgets what the client has sent and was not handled.
    pub(crate) fn forget(&mut self) {
        self.stream.input_mut().clear();
        self.awaited = None;
    }

    /// A moment, `limit` from now.
    pub(crate) fn mark(&self, limit: Duration) -> Mark {
        self.stream.mark(limit)
    }

    /// Ends the connection `lifetime` from now, whatever the client does.
    pub(crate) fn end_after(&mut self, lifetime: Duration) {
        self.stream.end_after(lifetime);
    }

    /// The session is over because the client was silent.
    pub(crate) fn timed_out(&mut self) -> End {
        self.say_last(&TIMEOUT)
    }

    /// A line that [`Conn::buffered`] found, without its CRLF.
    pub(crate) fn line(&self, octets: usize) -> &[u8] {
        &self.stream.input()[..octets - 2]
    }

    /// What was read and not consumed.
    pub(crate) fn input(&self) -> &[u8] {
        self.stream.input()
    }

    /// Drops octets that were handled.
    pub(crate) fn consume(&mut self, octets: usize) {
        self.stream.input_mut().advance(octets);
        self.awaited = None;
    }

    /// Takes octets without copying them.
    pub(crate) fn take(&mut self, octets: usize) -> Bytes {
        self.stream.input_mut().split_to(octets).freeze()
    }

    /// Closes as the end demands. A client that has nothing more to say is not waited for.
    pub(crate) async fn close(mut self, end: End) {
        match end {
            // Best effort: nobody may be there to read it.
            End::Gone => drop(self.stream.flush().await),
            End::Left => self.stream.part().await,
            End::Told => self.stream.linger().await,
        }
    }

    fn failed(&mut self, error: &StreamError) -> End {
        match error {
            StreamError::Elapsed => self.timed_out(),
            StreamError::Closed | StreamError::Io(_) | StreamError::Tls(_) => End::Gone,
        }
    }
}

fn line_reply(fault: LineFault) -> Reply {
    Reply::new(500, (5, 5, 2), fault.to_string())
}

#[cfg(test)]
mod tests;
