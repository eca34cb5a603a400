//! TLS over a socket: a rustls connection, fed and drained where the plain socket is read and
//! written.
//!
//! Nothing here waits by itself and nothing is kept that was handed over: plain text that has come is
//! taken at once, and text to send is sealed only while the records before it are gone. So a peer that
//! does not read holds [`SEALED_OCTETS_MAX`] and a peer that sends holds one record; room for more to
//! be read at once belongs to the thread. Sealing, opening and the signature of a handshake are done on
//! the thread that polls.

use std::cell::RefCell;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use rustls::{CommonState, Connection, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::stream::StreamError;

/// Octets that are sealed ahead of the socket: four full records (RFC 8446 §5.1), so that a large
/// message goes out in a few system calls.
const SEALED_OCTETS_MAX: usize = 4 * 16 * 1024;

/// Octets of one read: four full records of TLS 1.3 with what surrounds each, so that a large message
/// comes in as few system calls as it leaves in. rustls by itself reads 4 KiB.
const READ_OCTETS: usize = 4 * (16 * 1024 + 22);

/// Reads, of 4 KiB each, that may bring no text when a stream is asked whether it is quiet: tickets and
/// keys take one or two. A peer that never comes to an end would keep the thread.
const READS_WITHOUT_TEXT_MAX: usize = 8;

thread_local! {
    /// What a read brings, before it is opened. Nothing stays here between two reads, and nothing but
    /// sealed records ever comes here, so all streams of a thread can share it.
    static SEALED: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_OCTETS].into());
}

#[derive(Debug)]
pub(crate) struct Tls {
    connection: Connection,
    /// Why nothing more can be opened. What was opened before it still counts.
    failure: Option<rustls::Error>,
    /// Whether all that is sealed are tickets for later sessions. Nobody waits for them: they go with
    /// the first text, and cost no system call and no segment of their own.
    holds_tickets: bool,
    /// Whether the end is to be said behind what is sent next.
    is_closing: bool,
}

impl Tls {
    pub(crate) fn new(mut connection: Connection) -> Self {
        connection.set_buffer_limit(Some(SEALED_OCTETS_MAX));
        Self { connection, failure: None, holds_tickets: false, is_closing: false }
    }

    /// What the two sides have agreed on.
    pub(crate) fn state(&self) -> &CommonState {
        &self.connection
    }

    /// Goes on until both sides have finished, and everything about it is sent that the peer waits for.
    pub(crate) fn poll_handshake(
        &mut self,
        socket: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), StreamError>> {
        loop {
            // All that a server of TLS 1.3 has to say after a handshake (RFC 8446 §4.6.1).
            self.holds_tickets = !self.connection.is_handshaking()
                && self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
                && matches!(self.connection, Connection::Server(_));
            if !self.holds_tickets {
                ready!(self.poll_send(socket, cx))?;
            }
            if !self.connection.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_receive(socket, cx))? == 0 {
                return Poll::Ready(Err(StreamError::Closed));
            }
        }
    }

    /// Appends what has come to `input`, and says how much: 0 is the end.
    pub(crate) fn poll_read(
        &mut self,
        socket: &mut TcpStream,
        input: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, StreamError>> {
        loop {
            let octets = self.take(input);
            if octets > 0 {
                return Poll::Ready(Ok(octets));
            }
            // An answer to the peer's TLS itself, like new keys. If it does not go now, it goes
            // before whatever is sent next.
            if !self.holds_tickets {
                let _ = self.poll_send(socket, cx)?;
            }
            let before = input.len();
            let received = ready!(self.receive_text(&mut Polled { socket, cx }, input));
            match (input.len() - before, received) {
                (0, Ok(1..)) => {}
                (0, end) => return Poll::Ready(end),
                (octets, _) => return Poll::Ready(Ok(octets)),
            }
        }
    }

    /// Sends `output`, and `tail` after it: ready when the socket has taken all of it.
    pub(crate) fn poll_write(
        &mut self,
        socket: &mut TcpStream,
        (output, tail): (&mut BytesMut, &mut Bytes),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.holds_tickets {
                ready!(self.poll_send(socket, cx))?;
            }
            if output.is_empty() && tail.is_empty() && !self.is_closing {
                return Poll::Ready(Ok(()));
            }
            self.holds_tickets = false;
            self.seal(output, tail)?;
        }
    }

    /// Seals text as far as there is room for it, and says the close behind the last of it.
    fn seal(&mut self, output: &mut BytesMut, tail: &mut Bytes) -> io::Result<()> {
        if !(output.is_empty() && tail.is_empty()) {
            let slices = [IoSlice::new(output), IoSlice::new(tail)];
            let sealed = self.connection.writer().write_vectored(&slices)?;
            if sealed == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let from_output = sealed.min(output.len());
            output.advance(from_output);
            tail.advance(sealed - from_output);
        }
        if output.is_empty() && tail.is_empty() && std::mem::take(&mut self.is_closing) {
            self.connection.send_close_notify();
        }
        Ok(())
    }

    /// Whether no text has come, nor the end. What TLS says to TLS, like a ticket for the next
    /// session, is neither, as long as there is little of it.
    pub(crate) fn is_quiet(&mut self, socket: &TcpStream) -> bool {
        for _ in 0..READS_WITHOUT_TEXT_MAX {
            let has_text_or_end = self.connection.reader().fill_buf().is_ok();
            if has_text_or_end {
                return false;
            }
            match self.receive(&mut Tried(socket)) {
                Poll::Pending => return true,
                Poll::Ready(Ok(octets)) if octets > 0 => {}
                Poll::Ready(_) => return false,
            }
        }
        false
    }

    /// Says that nothing more will be sent (RFC 8446 §6.1), behind the next write.
    pub(crate) const fn say_close(&mut self) {
        self.is_closing = true;
    }

    /// Moves opened plain text over.
    fn take(&mut self, input: &mut BytesMut) -> usize {
        let before = input.len();
        let mut reader = self.connection.reader();
        // An error is that there is nothing, or the end, which the socket tells as well.
        while let Ok(text) = reader.fill_buf() {
            let octets = text.len();
            if octets == 0 {
                break;
            }
            input.extend_from_slice(text);
            reader.consume(octets);
        }
        input.len() - before
    }

    fn poll_receive(
        &mut self,
        socket: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, StreamError>> {
        self.receive(&mut Polled { socket, cx })
    }

    /// Reads once and opens what is whole, for the peer's TLS itself: text stays where it is. 0 is the
    /// end: after it, no octet is looked at.
    fn receive(&mut self, socket: &mut (impl Read + Write)) -> Poll<Result<usize, StreamError>> {
        if !self.may_receive()? {
            return Poll::Ready(Ok(0));
        }
        let octets = ready!(pending_if_blocked(self.connection.read_tls(socket)))?;
        self.open(socket)?;
        Poll::Ready(Ok(octets))
    }

    /// Reads once, but much, and appends the text of what is whole to `input`. 0 is the end.
    fn receive_text(
        &mut self,
        socket: &mut (impl Read + Write),
        input: &mut BytesMut,
    ) -> Poll<Result<usize, StreamError>> {
        if !self.may_receive()? {
            return Poll::Ready(Ok(0));
        }
        SEALED.with_borrow_mut(|sealed| {
            let octets = ready!(pending_if_blocked(socket.read(sealed)))?;
            let mut sealed = &sealed[..octets];
            input.reserve(octets);
            // rustls takes it in pieces, and nothing of what follows the end.
            while !sealed.is_empty() && self.connection.wants_read() {
                self.connection.read_tls(&mut sealed)?;
                let opened = self.open(socket);
                // A record may have come in front of the one that is wrong.
                self.take(input);
                opened?;
            }
            Poll::Ready(Ok(octets))
        })
    }

    fn may_receive(&self) -> Result<bool, StreamError> {
        match &self.failure {
            Some(failure) => Err(failure.clone().into()),
            None => Ok(self.connection.wants_read()),
        }
    }

    /// Opens what was read and is whole.
    fn open(&mut self, socket: &mut impl Write) -> Result<(), StreamError> {
        let Err(error) = self.connection.process_new_packets() else { return Ok(()) };
        // The alert that says why, if there is room for it.
        let _ = self.connection.write_tls(socket);
        self.failure = Some(error.clone());
        Err(error.into())
    }

    /// Sends records that are sealed.
    fn poll_send(&mut self, socket: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            let written = self.connection.write_tls(&mut Polled { socket, cx });
            if ready!(pending_if_blocked(written))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn pending_if_blocked(done: io::Result<usize>) -> Poll<io::Result<usize>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}

/// A socket in the form rustls takes: what would wait wakes the task instead.
struct Polled<'a, 'b> {
    socket: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

impl Read for Polled<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut *self.socket).poll_read(self.cx, &mut buffer)? {
            Poll::Ready(()) => Ok(buffer.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Polled<'_, '_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut *self.socket).poll_write(self.cx, octets)? {
            Poll::Ready(octets) => Ok(octets),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // A vector of one costs the kernel more than a plain write, and most often it is one.
        if let [octets] = slices {
            return self.write(octets);
        }
        match Pin::new(&mut *self.socket).poll_write_vectored(self.cx, slices)? {
            Poll::Ready(octets) => Ok(octets),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket that is tried and not waited for.
struct Tried<'a>(&'a TcpStream);

impl Read for Tried<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Tried<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.try_write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
