//! Mail data: where it ends, and what must not be in it (RFC 5321 §4.1.1.4, §4.5.2).
//!
//! Data ends with CRLF.CRLF and with nothing else (or with `.CRLF` right after the 354). Octets
//! are scanned once and stay where they are: transparency (dot-stuffing) is left in place, because
//! the upstream wants it too. A bare CR, a bare LF or a NUL makes the message one that two servers
//! may see differently ("SMTP smuggling"); from there on nothing is forwarded, but the data is still
//! read to its true end, so that its rest can never be read as commands.
//!
//! For applications that cannot be mended, a scanner may normalise: each bare LF is replaced by
//! CRLF. That makes line starts which the client did not send, and a dot there must never become
//! what it was not: with [`TERMINATOR`] put behind it, what comes out has one end, at its end.

/// The octets that end mail data at the start of a line.
pub const TERMINATOR: &[u8] = b".\r\n";
/// What a bare LF is replaced by.
pub(crate) const NEWLINE: &[u8] = b"\r\n";
/// What is put in front of a dot that would otherwise begin a line.
pub(crate) const STUFFING: &[u8] = b".";

/// Octets that are worth a look at all of them together.
const PLAIN_OCTETS_MIN: usize = 256;
/// Octets that are looked at together: they are in the nearest cache when they are looked at again.
const PLAIN_OCTETS: usize = 1024;

/// Why mail data must not be relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataFault {
    /// CR without LF after it.
    #[error("bare CR in message data")]
    BareCr,
    /// LF without CR before it.
    #[error("bare LF in message data")]
    BareLf,
    /// The first line would continue the header field that is put in front of it.
    #[error("message begins with white space")]
    LeadingSpace,
    /// NUL.
    #[error("NUL in message data")]
    Nul,
}

/// What the start of the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// This many octets are content, then the [`TERMINATOR`] stands.
    End(usize),
    /// This many octets are content; at the next one the message is spoilt. Reported once, and
    /// from then on [`Scan::More`] and [`Scan::End`] count what is to be thrown away.
    Fault(usize, DataFault),
    /// This many octets are content. What is left, two at the most, may belong to the end and must
    /// be scanned again together with what follows.
    More(usize),
    /// `octets` octets are content, then `replaced` octets of the input are to be replaced by
    /// `with`; what is behind them is to be scanned next. Only a scanner that normalises says it.
    Replace {
        /// Octets of content.
        octets: usize,
        /// Octets of input behind the content. None, if something is to be put in.
        replaced: usize,
        /// What goes on instead of them.
        with: &'static [u8],
    },
}

/// Finds the end of mail data in input that comes in pieces.
#[derive(Clone, Debug)]
pub struct DataScanner {
    position: Position,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Nothing was scanned yet.
    Start,
    /// After CRLF.
    LineStart,
    /// After CRLF that stands for a bare LF: a line starts for the upstream, not for the client.
    NewLineStart,
    /// Anywhere else.
    InLine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A bare LF is a fault.
    Strict,
    /// A bare LF is replaced.
    Normalizing,
    /// A fault was reported: look for the end only.
    Spoilt,
}

impl Default for DataScanner {
    fn default() -> Self {
        Self { position: Position::Start, mode: Mode::Strict }
    }
}

impl DataScanner {
    /// A scanner at the first octet after the 354.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, but a bare LF is no fault: [`Scan::Replace`] makes it CRLF.
    pub fn normalizing() -> Self {
        Self { mode: Mode::Normalizing, ..Self::default() }
    }

    /// Scans `input`, which begins where the last call's octets ended.
    pub fn scan(&mut self, input: &[u8]) -> Scan {
        if self.position != Position::InLine
            && let Some(scan) = self.scan_line_start(input, 0)
        {
            return scan;
        }
        let mut at = self.skip_plain(input);
        loop {
            if self.position != Position::InLine
                && let Some(scan) = self.scan_line_start(input, at)
            {
                return scan;
            }
            let Some(found) = self.find_special(&input[at..]) else {
                return Scan::More(input.len());
            };
            at += found;
            match &input[at..] {
                [b'\r', b'\n', ..] => {
                    at += 2;
                    self.position = Position::LineStart;
                }
                [b'\r'] => return Scan::More(at),
                _ if self.mode == Mode::Spoilt => at += 1,
                [b'\r', ..] => return self.fault(at, DataFault::BareCr),
                [b'\n', ..] => return self.bare_lf(at),
                _ => return self.fault(at, DataFault::Nul),
            }
        }
    }

    /// Passes over octets in which nothing is found, many at a time: what most mail data is all of. It
    /// begins inside a line.
    fn skip_plain(&mut self, input: &[u8]) -> usize {
        // One that normalises is called again for each line: it would look at the rest as often.
        let pays = input.len() >= PLAIN_OCTETS_MIN && self.mode != Mode::Normalizing;
        if !pays || input[0] == b'\n' {
            return 0;
        }
        let plain = plain_octets(input);
        if plain > 0 && input[plain - 1] == b'\n' {
            self.position = Position::LineStart;
        }
        plain
    }

    /// Looks at what begins a line; `None` if the line is like any other.
    #[inline]
    fn scan_line_start(&mut self, input: &[u8], at: usize) -> Option<Scan> {
        match &input[at..] {
            // Whatever follows, this dot is content, and the upstream takes one off.
            [b'.', ..] if self.position == Position::NewLineStart => {
                self.position = Position::InLine;
                return Some(Scan::Replace { octets: at, replaced: 0, with: STUFFING });
            }
            [] | [b'.'] | [b'.', b'\r'] => return Some(Scan::More(at)),
            [b'.', b'\r', b'\n', ..] => return Some(Scan::End(at)),
            // With CRLF for its LF this line would be the terminator. Without its dot, which no
            // receiver would have kept (RFC 5321 §4.5.2), it is the empty line that it says.
            [b'.', b'\n', ..] if self.mode == Mode::Normalizing => {
                return Some(self.replace(at, b".\n".len()));
            }
            // The receiver takes a dot off: white space behind it begins the line all the same.
            [b' ' | b'\t', ..] | [b'.', b' ' | b'\t', ..]
                if self.position == Position::Start && self.mode != Mode::Spoilt =>
            {
                return Some(self.fault(at, DataFault::LeadingSpace));
            }
            _ => self.position = Position::InLine,
        }
        None
    }

    fn find_special(&self, input: &[u8]) -> Option<usize> {
        if self.mode == Mode::Spoilt {
            memchr::memchr(b'\r', input)
        } else {
            memchr::memchr3(b'\r', b'\n', 0, input)
        }
    }

    fn bare_lf(&mut self, at: usize) -> Scan {
        if self.mode == Mode::Normalizing {
            self.replace(at, 1)
        } else {
            self.fault(at, DataFault::BareLf)
        }
    }

    /// A line ends with LF, the last of `replaced` octets.
    fn replace(&mut self, octets: usize, replaced: usize) -> Scan {
        self.position = Position::NewLineStart;
        Scan::Replace { octets, replaced, with: NEWLINE }
    }

    fn fault(&mut self, at: usize, fault: DataFault) -> Scan {
        self.mode = Mode::Spoilt;
        // The octet at `at` is no line start any more: a dot that follows it ends nothing.
        self.position = Position::InLine;
        Scan::Fault(at, fault)
    }
}

/// How many octets at the start, which is inside a line, hold neither a fault nor the end. It is less where
/// that cannot be told without looking closer, and never parts CR from LF.
fn plain_octets(input: &[u8]) -> usize {
    // Nothing but this can be the end; where it is not, it is a fault. The last octet is not known to be
    // plain before the one behind it is.
    let end = memchr::memmem::find(input, b"\n.\r").map_or(input.len() - 1, |feed| feed + 1);
    let mut plain = 0;
    while plain < end {
        let next = (plain + PLAIN_OCTETS).min(end);
        if !is_plain(&input[plain..=next]) {
            break;
        }
        plain = next;
    }
    let splits_crlf = plain > 0 && input[plain - 1] == b'\r';
    if splits_crlf { plain - 1 } else { plain }
}

/// Whether CR and LF stand only together, and NUL nowhere; of the last octet, whether it is LF if it must be.
/// It looks at all of them, so that the compiler can take many at a time.
fn is_plain(octets: &[u8]) -> bool {
    let (mut is_parted, mut least) = (false, u8::MAX);
    for (&octet, &next) in octets.iter().zip(&octets[1..]) {
        is_parted |= (octet == b'\r') != (next == b'\n');
        least = least.min(octet);
    }
    !is_parted && least > 0
}

#[cfg(test)]
mod tests;
