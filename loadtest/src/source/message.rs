//! The message that is sent, and the commands around it: built once, sent as they are.
//!
//! A valid RFC 5322 message of an exact size. The body is the character generator's pattern (RFC
//! 864), in which every 94th line begins with a dot and so exercises transparency (RFC 5321 §4.5.2).
//! All messages of a run are the same, Message-ID included.

use std::fmt::Write as _;
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::ensure;

use super::date::format_date;
use super::mailbox::ReversePath;
use super::options::SourceOptions;

/// Printable characters of a body line; RFC 5322 §2.1.1 recommends at most 78.
const LINE_CHARACTERS: usize = 72;
const CRLF: &[u8] = b"\r\n";

/// Mail data, ready to be written.
#[derive(Debug)]
pub(super) struct Message {
    octets: usize,
    wire: Vec<u8>,
}

impl Message {
    pub(super) fn build(options: &SourceOptions) -> anyhow::Result<Self> {
        let mut content = header(options);
        // The smallest body is one empty line, because a line is at least its CRLF.
        let smallest = content.len() + CRLF.len();
        ensure!(
            options.size >= smallest,
            "with this header a message has at least {smallest} octets"
        );
        append_body(&mut content, options.size);
        Ok(Self { octets: content.len(), wire: encode(&content) })
    }

    /// Octets of content before dot-stuffing: what SIZE declares (RFC 1870 §5).
    pub(super) fn octets(&self) -> u64 {
        self.octets as u64
    }

    /// The content, dot-stuffed, with the final `.CRLF`.
    pub(super) fn wire(&self) -> &[u8] {
        &self.wire
    }
}

fn header(options: &SourceOptions) -> Vec<u8> {
    let now = SystemTime::now();
    let nanoseconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let from = match &options.from {
        ReversePath::Mailbox(mailbox) => mailbox,
        ReversePath::Null => &options.to,
    };
    format!(
        "Date: {date}\r\nFrom: <{from}>\r\nTo: <{to}>\r\nSubject: Load test message\r\n\
         Message-ID: <{nanoseconds:x}.{process:x}@{domain}>\r\n\r\n",
        date = format_date(now),
        to = options.to,
        process = process::id(),
        domain = from.domain(),
    )
    .into_bytes()
}

/// Appends lines until the content has `size` octets.
fn append_body(content: &mut Vec<u8>, size: usize) {
    for first in (b'!'..=b'~').cycle() {
        let line = match size - content.len() {
            0 => return,
            // A full line would leave one octet, in which no line fits.
            left if left == LINE_CHARACTERS + CRLF.len() + 1 => LINE_CHARACTERS - 1,
            left => LINE_CHARACTERS.min(left - CRLF.len()),
        };
        content.extend((b'!'..=b'~').cycle().skip((first - b'!').into()).take(line));
        content.extend_from_slice(CRLF);
    }
}

/// Applies transparency (RFC 5321 §4.5.2) and appends the final dot.
fn encode(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + content.len() / LINE_CHARACTERS + 3);
    for line in content.split_inclusive(|&octet| octet == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

/// The commands of a transaction, each with its CRLF.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) mail: Vec<u8>,
    pub(super) recipients: Vec<Vec<u8>>,
    /// MAIL, all RCPT and DATA: what a pipelining client writes at once.
    pub(super) group: Vec<u8>,
}

impl Envelope {
    /// With SIZE if the server offered it.
    pub(super) fn new(options: &SourceOptions, size: Option<u64>) -> Self {
        let reverse_path = match &options.from {
            ReversePath::Mailbox(mailbox) => mailbox.as_str(),
            ReversePath::Null => "",
        };
        let mut mail = format!("MAIL FROM:<{reverse_path}>");
        if let Some(octets) = size {
            // Writing to a String cannot fail.
            write!(mail, " SIZE={octets}").unwrap();
        }
        mail.push_str("\r\n");
        let recipients: Vec<_> = (1..=options.recipients)
            .map(|number| format!("RCPT TO:<{}>\r\n", options.to.numbered(number)).into_bytes())
            .collect();
        let group = [mail.as_bytes(), &recipients.concat(), b"DATA\r\n"].concat();
        Self { mail: mail.into_bytes(), recipients, group }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_fills_every_size_with_short_lines() {
        for size in 2..1000 {
            let mut body = Vec::new();
            append_body(&mut body, size);
            assert_eq!(body.len(), size);
            assert!(body.ends_with(CRLF));
            let text = String::from_utf8(body).unwrap();
            for line in text.split_terminator("\r\n") {
                assert!(line.len() <= 78, "{line}");
                assert!(line.bytes().all(|octet| octet.is_ascii_graphic()), "{line}");
            }
        }
    }

    #[test]
    fn leading_dots_are_doubled_and_no_others() {
        assert_eq!(encode(b"a.\r\n.\r\n..b\r\n\r\n"), b"a.\r\n..\r\n...b\r\n\r\n.\r\n");
        let mut body = Vec::new();
        append_body(&mut body, 94 * (LINE_CHARACTERS + CRLF.len()));
        assert_eq!(encode(&body).len(), body.len() + b".".len() + b".\r\n".len());
    }
}
