//! TLS over a socket: a rustls connection, fed and drained where the plain socket is read and
//! written.
//!
//! Nothing here waits by itself and nothing is kept that was handed over: plain text that has come is
//! taken at once, and text to send is sealed only while the records before it are gone. So a peer that
//! does not read holds [`SEALED_OCTETS_MAX`] and a peer that sends holds one record. Sealing, opening
//! and the signature of a handshake are done on the thread that polls.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use rustls::{CommonState, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::stream::StreamError;

/// Octets that are sealed ahead of the socket: two full records (RFC 8446 §5.1), so that a large
/// message goes out in a few system calls.
const SEALED_OCTETS_MAX: usize = 32 * 1024;

/// Reads, of 4 KiB each, that may bring no text when a stream is asked whether it is quiet: tickets and
/// keys take one or two. A peer that never comes to an end would keep the thread.
const READS_WITHOUT_TEXT_MAX: usize = 8;

#[derive(Debug)]
pub(crate) struct Tls {
    connection: Connection,
    /// Why nothing more can be opened. What was opened before it still counts.
    failure: Option<rustls::Error>,
}

impl Tls {
    pub(crate) fn new(mut connection: Connection) -> Self {
        connection.set_buffer_limit(Some(SEALED_OCTETS_MAX));
        Self { connection, failure: None }
    }

    /// What the two sides have agreed on.
    pub(crate) fn state(&self) -> &CommonState {
        &self.connection
    }

    /// Goes on until both sides have finished, and everything about it is sent.
    pub(crate) fn poll_handshake(
        &mut self,
        socket: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), StreamError>> {
        loop {
            ready!(self.poll_send(socket, cx))?;
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
            let _ = self.poll_send(socket, cx)?;
            match ready!(self.poll_receive(socket, cx)) {
                Ok(0) => return Poll::Ready(Ok(0)),
                Ok(_) => {}
                // A record may have come in front of the one that is wrong, in the same read.
                Err(error) => match self.take(input) {
                    0 => return Poll::Ready(Err(error)),
                    octets => return Poll::Ready(Ok(octets)),
                },
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
            ready!(self.poll_send(socket, cx))?;
            if output.is_empty() && tail.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let slices = [IoSlice::new(output), IoSlice::new(tail)];
            let sealed = self.connection.writer().write_vectored(&slices)?;
            if sealed == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let from_output = sealed.min(output.len());
            output.advance(from_output);
            tail.advance(sealed - from_output);
        }
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

    /// Says that nothing more will be sent (RFC 8446 §6.1), with the next write.
    pub(crate) fn say_close(&mut self) {
        self.connection.send_close_notify();
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

    /// Reads once and opens what is whole. 0 is the end: after it, no octet is looked at.
    fn receive(&mut self, socket: &mut (impl Read + Write)) -> Poll<Result<usize, StreamError>> {
        if let Some(failure) = &self.failure {
            return Poll::Ready(Err(failure.clone().into()));
        }
        if !self.connection.wants_read() {
            return Poll::Ready(Ok(0));
        }
        let octets = ready!(pending_if_blocked(self.connection.read_tls(socket)))?;
        match self.connection.process_new_packets() {
            Ok(_) => Poll::Ready(Ok(octets)),
            Err(error) => {
                // The alert that says why, if there is room for it.
                let _ = self.connection.write_tls(socket);
                self.failure = Some(error.clone());
                Poll::Ready(Err(error.into()))
            }
        }
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
        self.write_vectored(&[IoSlice::new(octets)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
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
