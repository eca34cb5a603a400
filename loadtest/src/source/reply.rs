//! Replies of a server (RFC 5321 §4.2), read from the input as far as it goes.
//!
//! Strict, because a client that guesses where a reply ends is out of step from then on: lines end
//! with CRLF and all lines of a reply carry the same code.

use memchr::memmem;

/// A reply with all its lines: twice 100 lines of EHLO would fit.
const REPLY_OCTETS_MAX: usize = 16 * 1024;

/// A complete reply, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply<'a> {
    pub(super) code: u16,
    /// All lines with their CRLF.
    lines: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Of lines that [`frame`] has measured.
    pub(super) fn new(code: u16, lines: &'a [u8]) -> Self {
        Self { code, lines }
    }

    pub(super) fn is_refusal(&self) -> bool {
        self.code >= 400
    }

    /// True if the reply to EHLO offers this extension. The first line is the server's name.
    pub(super) fn offers(&self, extension: &str) -> bool {
        self.texts().skip(1).any(|line| {
            let keyword = line.split(|&octet| octet == b' ').next().unwrap_or_default();
            keyword.eq_ignore_ascii_case(extension.as_bytes())
        })
    }

    /// The texts of all lines as one.
    pub(super) fn text(&self) -> String {
        let texts: Vec<_> = self.texts().map(String::from_utf8_lossy).collect();
        texts.join(" ")
    }

    fn texts(&self) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.lines.split_inclusive(|&octet| octet == b'\n');
        lines.filter_map(|line| parse_line(line.strip_suffix(b"\r\n")?)).map(|(_, _, text)| text)
    }
}

/// Measures the reply at the start of the input. Returns its code and its octets, nothing if it is
/// not complete yet, or what is wrong with it.
pub(super) fn frame(input: &[u8]) -> Result<Option<(u16, usize)>, &'static str> {
    let mut code = None;
    let mut used = 0;
    while let Some(end) = memmem::find(&input[used..], b"\r\n") {
        let line = &input[used..used + end];
        used += end + b"\r\n".len();
        if used > REPLY_OCTETS_MAX {
            break;
        }
        let (line_code, last, text) = parse_line(line).ok_or("a reply that is not SMTP")?;
        if text.contains(&b'\n') {
            return Err("a reply with a bare LF");
        }
        if *code.get_or_insert(line_code) != line_code {
            return Err("a reply with two different codes");
        }
        if last {
            return Ok(Some((line_code, used)));
        }
    }
    if input.len() > REPLY_OCTETS_MAX { Err("a reply without an end") } else { Ok(None) }
}

/// Code, whether this is the last line, and text. A last line may end right after its code.
fn parse_line(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (code, rest) = line.split_at_checked(3)?;
    let code = str::from_utf8(code).ok().filter(|code| code.bytes().all(|c| c.is_ascii_digit()))?;
    let code = code.parse().ok().filter(|code| (200..600).contains(code))?;
    match rest {
        [] => Some((code, true, rest)),
        [b' ', text @ ..] => Some((code, true, text)),
        [b'-', text @ ..] => Some((code, false, text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &[u8]) -> Option<(Reply<'_>, usize)> {
        frame(input).unwrap().map(|(code, octets)| (Reply::new(code, &input[..octets]), octets))
    }

    #[test]
    fn takes_replies_one_by_one() {
        let input = b"250-sink.test\r\n250-SIZE 100\r\n250 pipelining\r\n354 go\r\n250\r\n25";
        let (ehlo, used) = parse(input).unwrap();
        assert!(ehlo.offers("SIZE") && ehlo.offers("PIPELINING") && !ehlo.offers("sink.test"));
        assert_eq!(ehlo.text(), "sink.test SIZE 100 pipelining");
        let (go, more) = parse(&input[used..]).unwrap();
        assert_eq!((go.code, go.text().as_str(), more), (354, "go", 8));
        let (bare, bare_octets) = parse(&input[used + more..]).unwrap();
        assert_eq!((bare.code, bare.text().as_str(), bare_octets), (250, "", 5));
        assert_eq!(parse(&input[used + more + bare_octets..]), None);
    }

    #[test]
    fn waits_for_the_last_line() {
        let input = b"250-a\r\n250 b\r\n";
        for end in 0..input.len() {
            assert_eq!(frame(&input[..end]), Ok(None));
        }
    }

    #[test]
    fn refuses_what_is_no_reply() {
        for bad in [
            "2x0 OK\r\n",
            "+25 OK\r\n",
            "100 OK\r\n",
            "250_OK\r\n",
            "\r\n",
            "250-a\r\n251 b\r\n",
            "250 a\nb\r\n",
        ] {
            frame(bad.as_bytes()).unwrap_err();
        }
        frame(&b"250-a\r\n".repeat(REPLY_OCTETS_MAX / 7 + 1)).unwrap_err();
        frame(&b"2".repeat(REPLY_OCTETS_MAX + 1)).unwrap_err();
    }
}
