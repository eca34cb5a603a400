//! Mail data: where it ends, and what must not be in it (RFC 5321 §4.1.1.4, §4.5.2).
//!
//! Data ends with CRLF.CRLF and with nothing else (or with `.CRLF` right after the 354). Octets
//! are scanned once and stay where they are: transparency (dot-stuffing) is left in place, because
//! the upstream wants it too. A bare CR, a bare LF or a NUL makes the message one that two servers
//! may see differently ("SMTP smuggling"); from there on nothing is forwarded, but the data is still
//! read to its true end, so that its rest can never be read as commands.

/// The octets that end mail data at the start of a line.
pub const TERMINATOR: &[u8] = b".\r\n";

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
}

/// Finds the end of mail data in input that comes in pieces.
#[derive(Clone, Debug)]
pub struct DataScanner {
    position: Position,
    /// A fault was reported: look for the end only.
    spoilt: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Nothing was scanned yet.
    Start,
    /// After CRLF.
    LineStart,
    /// Anywhere else.
    InLine,
}

impl Default for DataScanner {
    fn default() -> Self {
        Self { position: Position::Start, spoilt: false }
    }
}

impl DataScanner {
    /// A scanner at the first octet after the 354.
    pub fn new() -> Self {
        Self::default()
    }

    /// Scans `input`, which begins where the last call's octets ended.
    pub fn scan(&mut self, input: &[u8]) -> Scan {
        let mut at = 0;
        loop {
            if self.position != Position::InLine {
                match &input[at..] {
                    [] | [b'.'] | [b'.', b'\r'] => return Scan::More(at),
                    [b'.', b'\r', b'\n', ..] => return Scan::End(at),
                    [b' ' | b'\t', ..] if self.position == Position::Start && !self.spoilt => {
                        return self.fault(at, DataFault::LeadingSpace);
                    }
                    _ => self.position = Position::InLine,
                }
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
                _ if self.spoilt => at += 1,
                [b'\r', ..] => return self.fault(at, DataFault::BareCr),
                [b'\n', ..] => return self.fault(at, DataFault::BareLf),
                _ => return self.fault(at, DataFault::Nul),
            }
        }
    }

    fn find_special(&self, input: &[u8]) -> Option<usize> {
        if self.spoilt {
            memchr::memchr(b'\r', input)
        } else {
            memchr::memchr3(b'\r', b'\n', 0, input)
        }
    }

    fn fault(&mut self, at: usize, fault: DataFault) -> Scan {
        self.spoilt = true;
        // The octet at `at` is no line start any more: a dot that follows it ends nothing.
        self.position = Position::InLine;
        Scan::Fault(at, fault)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `data` in pieces as a reader would, and returns content, fault, and what is left.
    fn run(data: &[u8], pieces: &[usize]) -> (Vec<u8>, Option<DataFault>, Option<Vec<u8>>) {
        let mut scanner = DataScanner::new();
        let (mut content, mut fault) = (Vec::new(), None);
        let mut buffer = Vec::new();
        let mut fed = 0;
        let mut pieces = pieces.iter().copied().chain(std::iter::repeat(data.len().max(1)));
        while fed < data.len() {
            let until = (fed + pieces.next().expect("endless").max(1)).min(data.len());
            buffer.extend_from_slice(&data[fed..until]);
            fed = until;
            loop {
                match scanner.scan(&buffer) {
                    Scan::More(octets) => {
                        let taken: Vec<u8> = buffer.drain(..octets).collect();
                        if fault.is_none() {
                            content.extend(taken);
                        }
                        assert!(buffer.len() <= 2, "at most two octets are held back");
                        break;
                    }
                    Scan::Fault(octets, found) => {
                        assert_eq!(fault, None, "reported once");
                        content.extend(buffer.drain(..octets));
                        fault = Some(found);
                    }
                    Scan::End(octets) => {
                        let taken: Vec<u8> = buffer.drain(..octets).collect();
                        if fault.is_none() {
                            content.extend(taken);
                        }
                        buffer.drain(..TERMINATOR.len());
                        buffer.extend_from_slice(&data[fed..]);
                        return (content, fault, Some(buffer));
                    }
                }
            }
        }
        (content, fault, None)
    }

    #[test]
    fn data_ends_with_crlf_dot_crlf() {
        let (content, fault, rest) = run(b"a\r\n.\r\nNOOP\r\n", &[]);
        assert_eq!(
            (content.as_slice(), fault, rest.as_deref()),
            (&b"a\r\n"[..], None, Some(&b"NOOP\r\n"[..]))
        );
        assert_eq!(run(b".\r\n", &[]), (vec![], None, Some(vec![])));
        assert_eq!(run(b"..\r\n.\r\n", &[]), (b"..\r\n".to_vec(), None, Some(vec![])));
        assert_eq!(run(b"a.\r\nb\r\n", &[]).2, None);
    }

    /// The fake ends of research on SMTP smuggling, each followed by a command.
    #[test]
    fn no_fake_end_ends_the_data() {
        for fake in [
            &b"\n.\n"[..],
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r",
            b"\r.\n",
            b"\n.\r",
            b"\r.\r\n",
            b"\r\n.\r",
            b"\r\n\0.\r\n",
            b"\r\n.\0\r\n",
            b"\r\n.\r\r\n",
            b"\r\r\n.\r\r\n",
            b"\n\n.\r\r\n",
            b"\r\n.\r\0\n",
        ] {
            let data = [b"S: x\r\n\r\nbody", fake, b"MAIL FROM:<evil@x>\r\n.\r\n"].concat();
            for split in 0..data.len() {
                let (content, fault, rest) = run(&data, &[split]);
                assert!(fault.is_some(), "{} must spoil the message", fake.escape_ascii());
                assert_eq!(
                    rest.as_deref(),
                    Some(&b""[..]),
                    "{} must not end it",
                    fake.escape_ascii()
                );
                let clean = content.windows(2).all(|w| (w[0] == b'\r') == (w[1] == b'\n'));
                assert!(clean && content.last() != Some(&b'\r'), "nothing spoilt is forwarded");
            }
        }
    }

    #[test]
    fn a_first_line_that_would_fold_is_refused() {
        assert_eq!(run(b" folded\r\n.\r\n", &[]).1, Some(DataFault::LeadingSpace));
        assert_eq!(run(b"\t\r\n.\r\n", &[1]).1, Some(DataFault::LeadingSpace));
        assert_eq!(run(b"\n\r\n.\r\n", &[]).1, Some(DataFault::BareLf));
        assert_eq!(run(b"a: b\r\n folded\r\n.\r\n", &[]).1, None);
    }

    proptest! {
        /// However the octets are cut into reads, the outcome is the same, and it is that of a
        /// reader who has all of them at once.
        #[test]
        fn pieces_do_not_matter(
            data in proptest::collection::vec(prop_oneof![
                4 => Just(b'\r'), 4 => Just(b'\n'), 4 => Just(b'.'), 1 => Just(0_u8), 4 => Just(b'x'), 1 => Just(b' ')
            ], 0..60),
            pieces in proptest::collection::vec(1_usize..8, 0..40),
        ) {
            let whole = run(&data, &[]);
            prop_assert_eq!(&run(&data, &pieces), &whole);
            let reference = if data.starts_with(TERMINATOR) {
                Some(TERMINATOR.len())
            } else {
                memchr::memmem::find(&data, b"\r\n.\r\n").map(|at| at + 5)
            };
            prop_assert_eq!(whole.2, reference.map(|at| data[at..].to_vec()));
        }
    }
}
