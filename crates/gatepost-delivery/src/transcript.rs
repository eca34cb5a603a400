//! What was said on a connection and what was heard, for people to read. What would let somebody else
//! in is masked: all that follows the mechanism of AUTH, and every answer to a 334 (RFC 4954 §4).

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gatepost_smtp::reply::Reply;
use tokio::time::Instant;

/// Lines that are kept: a dialogue has some thirty, an answer to EHLO a few dozen.
const LINES_MAX: usize = 400;
/// Characters of a line that are kept.
const LINE_CHARS_MAX: usize = 512;
/// What stands for a secret.
const MASK: &str = "********";

/// A dialogue, line by line.
#[derive(Clone, Debug)]
pub struct Transcript {
    began: Instant,
    lines: Vec<Line>,
    /// The next thing that is said proves who we are.
    is_masked: bool,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Since the beginning.
    pub at: Duration,
    /// Whose it is.
    pub voice: Voice,
    /// Without its end, and without control characters.
    pub text: String,
}

/// Whose line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// Nobody's: something that has happened.
    Note,
    /// Ours.
    Ours,
    /// The upstream's.
    Theirs,
}

impl Transcript {
    /// Begins now.
    pub fn new() -> Self {
        Self { began: Instant::now(), lines: Vec::new(), is_masked: false }
    }

    /// The lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Something has happened.
    pub fn note(&mut self, text: impl fmt::Display) {
        self.push(Voice::Note, &text.to_string());
    }

    /// Commands are sent.
    pub(crate) fn said(&mut self, octets: &[u8]) {
        for line in octets.split(|&octet| octet == b'\n').filter(|line| !line.is_empty()) {
            let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
            let mut words = text.splitn(3, ' ');
            let text = match (words.next(), words.next(), words.next()) {
                (Some(verb), Some(mechanism), rest) if verb.eq_ignore_ascii_case("AUTH") => {
                    let mask = if rest.is_some() { MASK } else { "" };
                    format!("{verb} {mechanism} {mask}").trim_end().to_owned()
                }
                _ if self.is_masked => MASK.to_owned(),
                _ => text.into_owned(),
            };
            self.push(Voice::Ours, &text);
        }
    }

    /// A reply has come.
    pub(crate) fn heard(&mut self, reply: &Reply) {
        self.is_masked = reply.code().as_u16() == 334;
        let text = String::from_utf8_lossy(reply.text()).into_owned();
        let code = reply.code();
        let status = reply.enhanced().map(|status| format!("{status} ")).unwrap_or_default();
        let last = text.matches('\n').count();
        for (index, line) in text.split('\n').enumerate() {
            let separator = if index < last { '-' } else { ' ' };
            self.push(Voice::Theirs, &format!("{code}{separator}{status}{line}"));
        }
    }

    fn push(&mut self, voice: Voice, text: &str) {
        if self.lines.len() < LINES_MAX {
            let printable = |char: char| if char.is_control() { ' ' } else { char };
            let text = text.chars().take(LINE_CHARS_MAX).map(printable).collect();
            self.lines.push(Line { at: self.began.elapsed(), voice, text });
        }
    }
}

/// Locks one that a dialogue is written into. A panic cannot leave half a line behind.
pub(crate) fn lock(transcript: &Mutex<Transcript>) -> MutexGuard<'_, Transcript> {
    transcript.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Transcript {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(transcript: &Transcript) -> Vec<String> {
        let mark = |voice| match voice {
            Voice::Note => '*',
            Voice::Ours => '>',
            Voice::Theirs => '<',
        };
        transcript.lines().iter().map(|it| format!("{} {}", mark(it.voice), it.text)).collect()
    }

    #[test]
    fn what_proves_who_we_are_is_masked() {
        let mut transcript = Transcript::new();
        transcript.heard(&Reply::plain(250, "mx.test\nAUTH PLAIN LOGIN"));
        transcript.said(b"AUTH PLAIN AGFwcABodW50ZXIy\r\n");
        transcript.heard(&Reply::plain(535, "5.7.8 no"));
        transcript.said(b"AUTH LOGIN\r\n");
        transcript.heard(&Reply::plain(334, "VXNlcm5hbWU6"));
        transcript.said(b"YXBw\r\n");
        transcript.heard(&Reply::plain(334, "UGFzc3dvcmQ6"));
        transcript.said(b"aHVudGVyMg==\r\n");
        transcript.heard(&Reply::plain(235, "2.7.0 welcome"));
        transcript.said(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
        assert_eq!(
            texts(&transcript),
            [
                "< 250-mx.test",
                "< 250 AUTH PLAIN LOGIN",
                "> AUTH PLAIN ********",
                "< 535 5.7.8 no",
                "> AUTH LOGIN",
                "< 334 VXNlcm5hbWU6",
                "> ********",
                "< 334 UGFzc3dvcmQ6",
                "> ********",
                "< 235 2.7.0 welcome",
                "> MAIL FROM:<a@b>",
                "> RCPT TO:<c@d>",
            ]
        );
    }

    #[test]
    fn what_an_upstream_says_is_bounded_and_harmless() {
        let mut transcript = Transcript::new();
        transcript.note("TLS \u{1b}[31m");
        transcript
            .heard(&Reply::plain(250, format!("{}\n{}", "x".repeat(9000), "y\n".repeat(900))));
        assert_eq!(transcript.lines().len(), LINES_MAX);
        assert_eq!(transcript.lines()[0].text, "TLS  [31m");
        assert_eq!(transcript.lines()[1].text.len(), LINE_CHARS_MAX);
    }
}
