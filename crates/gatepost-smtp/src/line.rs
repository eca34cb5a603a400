//! Command lines: where one ends, and whether it may be looked at (RFC 5321 §2.3.8, §4.5.3.1.4).
//!
//! A line ends with CRLF and with nothing else. A bare LF is not taken as an end, and not skipped
//! either: two programs that disagree about it is how commands are smuggled, so the session ends
//! there. Framing looks at no word of a line but AUTH, whose lines are longer, and parsing never looks
//! past a line.

/// Octets of a command line, CRLF included. RFC 5321 asks for 512 and its extensions for more;
/// this holds the longest path (1,000 octets) with every parameter we know, four times over.
pub const COMMAND_OCTETS_MAX: usize = 4096;

/// Octets of AUTH and of the lines that answer to it, CRLF included (RFC 4954 §4).
pub const AUTH_OCTETS_MAX: usize = 12_288;

/// Octets in which a line end must come: past them there is nothing to keep in step with.
pub const UNENDED_OCTETS_MAX: usize = 64 * 1024;

/// What stands at the start of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A line of this many octets, CRLF included.
    Line(usize),
    /// A line that ends but must not be parsed: it is dropped and answered with a fault.
    Faulty(usize, LineFault),
    /// No line end yet.
    Incomplete,
    /// No way to go on: the session is over.
    Lost(LineFault),
}

/// Why a line is not parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// LF without CR before it.
    #[error("bare LF: a line ends with CRLF")]
    BareLf,
    /// CR without LF, NUL, TAB or another control character inside a line.
    #[error("control character in a command line")]
    Control,
    /// Longer than [`COMMAND_OCTETS_MAX`] or [`AUTH_OCTETS_MAX`], or unended after [`UNENDED_OCTETS_MAX`].
    #[error("line too long")]
    TooLong,
}

/// Finds the command line at the start of `input`.
pub fn frame(input: &[u8]) -> Frame {
    let is_auth = input.get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"AUTH "));
    frame_within(input, if is_auth { AUTH_OCTETS_MAX } else { COMMAND_OCTETS_MAX })
}

/// Finds the line at the start of `input` that answers to a challenge of AUTH (RFC 4954 §4).
pub fn frame_response(input: &[u8]) -> Frame {
    frame_within(input, AUTH_OCTETS_MAX)
}

fn frame_within(input: &[u8], octets_max: usize) -> Frame {
    let Some(feed) = memchr::memchr(b'\n', input) else {
        return if input.len() >= UNENDED_OCTETS_MAX {
            Frame::Lost(LineFault::TooLong)
        } else {
            Frame::Incomplete
        };
    };
    if feed == 0 || input[feed - 1] != b'\r' {
        return Frame::Lost(LineFault::BareLf);
    }
    let octets = feed + 1;
    if octets > octets_max {
        return Frame::Faulty(octets, LineFault::TooLong);
    }
    // To the end, whatever is found: many octets at a time take less than to stop at the first.
    let is_control = |found: bool, octet: &u8| found | octet.is_ascii_control();
    if input[..feed - 1].iter().fold(false, is_control) {
        return Frame::Faulty(octets, LineFault::Control);
    }
    Frame::Line(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crlf_ends_a_line() {
        assert_eq!(frame(b"NOOP\r\nRSET\r\n"), Frame::Line(6));
        assert_eq!(frame(b"NOOP\r"), Frame::Incomplete);
        assert_eq!(frame(b""), Frame::Incomplete);
        assert_eq!(frame(b"NOOP\n"), Frame::Lost(LineFault::BareLf));
        assert_eq!(frame(b"\n"), Frame::Lost(LineFault::BareLf));
        assert_eq!(frame(b"NOOP x\nRCPT TO:<v@w>\r\n"), Frame::Lost(LineFault::BareLf));
        assert_eq!(frame(b"\r\n"), Frame::Line(2));
    }

    #[test]
    fn control_characters_are_not_parsed() {
        for line in [
            &b"MAIL FROM:<a\rb@c.d>\r\n"[..],
            b"NOOP\0\r\n",
            b"MAIL\tFROM:<>\r\n",
            b"NOOP\x7f\r\n",
            b"X\r\r\n",
        ] {
            assert_eq!(frame(line), Frame::Faulty(line.len(), LineFault::Control));
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let mut line = vec![b'x'; COMMAND_OCTETS_MAX - 2];
        line.extend(b"\r\n");
        assert_eq!(frame(&line), Frame::Line(COMMAND_OCTETS_MAX));
        line.insert(0, b'x');
        assert_eq!(frame(&line), Frame::Faulty(line.len(), LineFault::TooLong));
        for (length, expected) in [
            (AUTH_OCTETS_MAX, Frame::Line(AUTH_OCTETS_MAX)),
            (AUTH_OCTETS_MAX + 1, Frame::Faulty(AUTH_OCTETS_MAX + 1, LineFault::TooLong)),
        ] {
            let mut line = b"auth plain ".to_vec();
            line.resize(length - 2, b'x');
            line.extend(b"\r\n");
            assert_eq!(frame(&line), expected);
            line[4] = b'x';
            assert_eq!(frame_response(&line), expected);
            assert_eq!(frame(&line), Frame::Faulty(length, LineFault::TooLong), "no AUTH");
        }
        assert_eq!(frame(&vec![b'x'; UNENDED_OCTETS_MAX]), Frame::Lost(LineFault::TooLong));
        assert_eq!(frame(&vec![b'x'; UNENDED_OCTETS_MAX - 1]), Frame::Incomplete);
    }
}
