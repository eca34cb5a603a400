//! Reads replies out of what an upstream sends (RFC 5321 §4.2, §4.2.1).
//!
//! Lines end with CRLF, every line carries the same code, and there is a bound on all of it: an
//! upstream that never comes to an end is a fault, not a reason to allocate.

use bytes::{Buf, Bytes, BytesMut};

use crate::reply::{Reply, ReplyCode};

/// Octets of a whole reply. RFC 5321 §4.5.3.1.5 has 512 a line; an EHLO answer takes 20 of them.
const REPLY_OCTETS_MAX: usize = 16 * 1024;

/// Why what an upstream sent is no reply. The connection cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyFault {
    /// Lines of one reply with different codes.
    #[error("the lines of a reply have different codes")]
    CodeChanged,
    /// Not `code SP text` or `code-text`, or LF without CR.
    #[error("not an SMTP reply")]
    Malformed,
    /// No end within the bound.
    #[error("a reply without an end")]
    TooLong,
}

/// Takes the next complete reply from the front of `input`; `None` if more octets are needed.
pub fn next_reply(input: &mut BytesMut) -> Result<Option<Reply>, ReplyFault> {
    let mut octets = 0;
    let mut first: Option<ReplyCode> = None;
    loop {
        let Some(feed) = memchr::memchr(b'\n', &input[octets..]) else {
            return if input.len() > REPLY_OCTETS_MAX {
                Err(ReplyFault::TooLong)
            } else {
                Ok(None)
            };
        };
        let Line { code, text, is_last } = line(&input[octets..=octets + feed])?;
        octets += feed + 1;
        if octets > REPLY_OCTETS_MAX {
            return Err(ReplyFault::TooLong);
        }
        if first.is_some_and(|first| first != code) {
            return Err(ReplyFault::CodeChanged);
        }
        if is_last {
            let reply = match first {
                None => Reply::heard_line(code, text),
                Some(_) => Reply::heard(code, texts(&input[..octets])),
            };
            input.advance(octets);
            return Ok(Some(reply));
        }
        first = Some(code);
    }
}

/// A line of a reply.
struct Line<'a> {
    code: ReplyCode,
    text: &'a [u8],
    is_last: bool,
}

/// Reads one line with its CRLF.
fn line(line: &[u8]) -> Result<Line<'_>, ReplyFault> {
    let content = line.strip_suffix(b"\r\n").ok_or(ReplyFault::Malformed)?;
    let (digits, rest) = content.split_at_checked(3).ok_or(ReplyFault::Malformed)?;
    let code = ReplyCode::parse(digits).ok_or(ReplyFault::Malformed)?;
    let (text, is_last) = match rest {
        [] => (rest, true),
        [b' ', text @ ..] => (text, true),
        [b'-', text @ ..] => (text, false),
        _ => return Err(ReplyFault::Malformed),
    };
    Ok(Line { code, text, is_last })
}

/// The text of a reply of several lines, separated by LF. Copied, like that of one line.
fn texts(reply: &[u8]) -> Bytes {
    let content = &reply[..reply.len() - 2];
    let texts: Vec<&[u8]> = content
        .split(|&b| b == b'\n')
        .map(|line| line.get(4..).unwrap_or_default().trim_ascii_end())
        .collect();
    Bytes::from(texts.join(&b'\n'))
}
