//! A message as a file: what a final delivery would leave of it.
//!
//! A `Return-Path:` field is put in front (RFC 5321 §4.4), the dots of transparency are taken off,
//! and nothing else is changed. It passes through in pieces, whatever its size.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use gatepost_smtp::bdat::Unstuffer;
use gatepost_spool::{BodyReader, SpoolError};
use hyper::body::{Body, Bytes, Frame};

use crate::control::host::Work;

/// Makes a message out of stored content.
#[derive(Debug, Default)]
pub struct Eml {
    unstuffer: Unstuffer,
}

/// A message on its way out of the spool.
pub(super) struct Outgoing {
    /// The field in front, until it has gone.
    head: Option<Bytes>,
    eml: Eml,
    /// None behind the end.
    reading: Option<Work<Read>>,
}

/// What was read, and what the next is read with.
type Read = (BodyReader, Result<Option<Bytes>, SpoolError>);

impl Eml {
    /// What stands in front.
    pub fn head(reverse_path: &[u8]) -> Vec<u8> {
        [b"Return-Path: <", reverse_path, b">\r\n"].concat()
    }

    /// What becomes of the next piece of stored content.
    pub fn piece(&mut self, stored: &[u8]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(stored.len());
        self.unstuffer.append(stored, &mut plain);
        plain
    }
}

impl Outgoing {
    pub(super) fn new(reverse_path: &[u8], body: BodyReader) -> Self {
        let head = Some(Eml::head(reverse_path).into());
        Self { head, eml: Eml::default(), reading: Some(next(body)) }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = SpoolError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SpoolError>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let (body, read) = ready!(reading.as_mut().poll(context));
        self.reading = None;
        Poll::Ready(match read {
            Ok(None) => None,
            Ok(Some(stored)) => {
                self.reading = Some(next(body));
                Some(Ok(Frame::data(self.eml.piece(&stored).into())))
            }
            Err(error) => {
                // The connection is cut, so that nobody takes a part for the whole.
                tracing::error!(%error, "a message cannot be exported");
                Some(Err(error))
            }
        })
    }
}

fn next(mut body: BodyReader) -> Work<Read> {
    Box::pin(async {
        let read = body.next().await;
        (body, read)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_was_sent_behind_its_return_path() {
        assert_eq!(Eml::head(b"a@b.example"), b"Return-Path: <a@b.example>\r\n");
        assert_eq!(Eml::head(b""), b"Return-Path: <>\r\n");
        let mut eml = Eml::default();
        let pieces = [&b"Subject: x\r"[..], b"\n\r\n.", b".\r\n..a.\r\n"];
        let plain = pieces.map(|piece| eml.piece(piece)).concat();
        assert_eq!(plain, b"Subject: x\r\n\r\n.\r\n.a.\r\n");
    }
}
