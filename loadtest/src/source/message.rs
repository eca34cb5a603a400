//! The messages that are sent, and the commands around them: built once, sent as they are.
//!
//! Valid RFC 5322 messages of exact sizes. The body is the character generator's pattern (RFC 864),
//! in which every 94th line begins with a dot and so exercises transparency (RFC 5321 §4.5.2). The
//! messages of a run differ in their number alone, which goes out as a slice of its own between the
//! others: nothing of a body is copied per message. A sink finds the number, the run and the digest of
//! the body in the header section.

use std::fmt::Write as _;
use std::io::IoSlice;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{array, process};

use anyhow::ensure;
use sha2::{Digest as _, Sha256};

use super::date::format_date;
use super::mailbox::ReversePath;
use super::options::{Framing, SourceOptions};

/// Printable characters of a body line; RFC 5322 §2.1.1 recommends at most 78.
const LINE_CHARACTERS: usize = 72;
const CRLF: &[u8] = b"\r\n";

/// Digits of the number of a message: every u64 fits, so that the header section has one length.
pub(super) const NUMBER_DIGITS: usize = 20;

/// Slices of a content: three that are built once, and the number between them, twice.
const PARTS: usize = 5;

/// The messages are built in memory.
const BODIES_OCTETS_MAX: usize = 1024 * 1024 * 1024;

/// All messages of a run: a few sizes, each with its probability.
#[derive(Debug)]
pub(super) struct Messages {
    /// With the sum of the probabilities up to and with each.
    messages: Vec<(f64, Message)>,
}

impl Messages {
    pub(super) fn build(options: &SourceOptions) -> anyhow::Result<Self> {
        let header = Header::new(options);
        // The smallest body is one empty line, because a line is at least its CRLF.
        let bands = options.sizes.bands(header.octets() + CRLF.len())?;
        let octets = bands.iter().fold(0, |sum: usize, &(size, _)| sum.saturating_add(size));
        ensure!(
            octets <= BODIES_OCTETS_MAX,
            "bodies of all sizes together are more than {BODIES_OCTETS_MAX} octets"
        );
        let mut sum = 0.0;
        let build = |(size, probability)| {
            sum += probability;
            (sum, Message::build(options, &header, size))
        };
        Ok(Self { messages: bands.into_iter().map(build).collect() })
    }

    /// By a number from 0 up to, but not including, 1.
    pub(super) fn pick(&self, chance: f64) -> &Message {
        let place = self.messages.partition_point(|&(sum, _)| sum <= chance);
        // There is one at least, and the last sum may be a hair below 1.
        &self.messages[place.min(self.messages.len() - 1)].1
    }
}

/// Content and MAIL command of one size, ready to be written.
#[derive(Debug)]
pub(super) struct Message {
    octets: usize,
    /// For servers without and with SIZE (RFC 1870).
    mail: Vec<u8>,
    mail_with_size: Vec<u8>,
    /// Before, between and behind the two places of the number.
    pieces: [Vec<u8>; 3],
}

impl Message {
    fn build(options: &SourceOptions, header: &Header, size: usize) -> Self {
        let mut body = Vec::with_capacity(size - header.octets());
        append_body(&mut body, size - header.octets());
        let mut digest = String::with_capacity(2 * 32);
        for octet in Sha256::digest(&body) {
            // Writing to a String cannot fail.
            write!(digest, "{octet:02x}").unwrap();
        }
        let [before, between, behind] = header.pieces(&digest);
        let wire = match options.framing {
            Framing::Data => encode(&body),
            Framing::Bdat { .. } => body,
        };
        let pieces =
            [before.into_bytes(), between.into_bytes(), [behind.as_bytes(), &wire].concat()];
        let mail = mail_command(&options.from, None);
        let mail_with_size = mail_command(&options.from, Some(size));
        Self { octets: size, mail, mail_with_size, pieces }
    }

    /// Octets of content before dot-stuffing: what SIZE declares (RFC 1870 §5).
    pub(super) fn octets(&self) -> u64 {
        self.octets as u64
    }

    /// MAIL, with SIZE if the server offered it.
    pub(super) fn mail(&self, takes_size: bool) -> &[u8] {
        if takes_size { &self.mail_with_size } else { &self.mail }
    }

    /// The content: with DATA dot-stuffed and with the final `.CRLF`, for BDAT as it is.
    pub(super) fn content<'a>(&'a self, number: &'a [u8; NUMBER_DIGITS]) -> Content<'a> {
        let [before, between, behind] = &self.pieces;
        Content([before, number, between, number, behind])
    }
}

/// The content of one message, in slices.
#[derive(Debug)]
pub(super) struct Content<'a>([&'a [u8]; PARTS]);

impl<'a> Content<'a> {
    pub(super) fn octets(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }

    /// All of it.
    pub(super) fn slices(&self) -> [IoSlice<'a>; PARTS] {
        self.0.map(IoSlice::new)
    }

    /// `length` octets from `start` on, behind a command.
    pub(super) fn chunk(
        &self,
        command: &'a [u8],
        start: usize,
        length: usize,
    ) -> [IoSlice<'a>; PARTS + 1] {
        let (mut skip, mut left) = (start, length);
        let mut parts = self.0.iter();
        array::from_fn(|place| {
            let Some(part) = (if place == 0 { Some(&command) } else { parts.next() }) else {
                return IoSlice::new(&[]);
            };
            if place == 0 {
                return IoSlice::new(part);
            }
            let from = skip.min(part.len());
            let to = part.len().min(from + left);
            skip -= from;
            left -= to - from;
            IoSlice::new(&part[from..to])
        })
    }
}

/// The header section of all messages, without the digest, the number and the body that follow.
struct Header {
    fields: String,
    run: u64,
    domain: String,
}

impl Header {
    fn new(options: &SourceOptions) -> Self {
        let from = match &options.from {
            ReversePath::Mailbox(mailbox) => mailbox,
            ReversePath::Null => &options.to,
        };
        let fields = format!(
            "Date: {date}\r\nFrom: <{from}>\r\nTo: <{to}>\r\nSubject: Load test message\r\n",
            date = format_date(SystemTime::now()),
            to = options.to,
        );
        Self { fields, run: run_id(), domain: from.domain().to_owned() }
    }

    fn pieces(&self, digest: &str) -> [String; 3] {
        let Self { fields, run, domain } = self;
        [
            format!(
                "{fields}X-Loadtest-Run: {run:016x}\r\nX-Loadtest-Digest: {digest}\r\n\
                 Message-ID: <{run:016x}."
            ),
            format!("@{domain}>\r\nX-Loadtest-Number: "),
            "\r\n\r\n".to_owned(),
        ]
    }

    /// Digest and numbers have one length each, so the section has too.
    fn octets(&self) -> usize {
        let digest = "0".repeat(2 * Sha256::output_size());
        let pieces: usize = self.pieces(&digest).iter().map(String::len).sum();
        pieces + 2 * NUMBER_DIGITS
    }
}

/// Different for each run, here or on another machine: the clock and the process are.
fn run_id() -> u64 {
    let nanoseconds =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    // The low half of the nanoseconds turns over once in 584 years.
    (nanoseconds as u64) ^ (u64::from(process::id()) << 40)
}

fn mail_command(from: &ReversePath, size: Option<usize>) -> Vec<u8> {
    let reverse_path = match from {
        ReversePath::Mailbox(mailbox) => mailbox.as_str(),
        ReversePath::Null => "",
    };
    let size = size.map(|octets| format!(" SIZE={octets}")).unwrap_or_default();
    format!("MAIL FROM:<{reverse_path}>{size}\r\n").into_bytes()
}

/// The number of a message in its header section, always as long.
pub(super) fn number_field(number: u64) -> [u8; NUMBER_DIGITS] {
    let mut digits = [b'0'; NUMBER_DIGITS];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

/// The RCPT commands of all recipients, one behind the other: fewer of them are its beginning.
#[derive(Debug)]
pub(super) struct Recipients {
    commands: Vec<u8>,
    /// Where each command ends.
    ends: Vec<usize>,
}

impl Recipients {
    pub(super) fn new(options: &SourceOptions) -> Self {
        let (mut commands, mut ends) = (Vec::new(), Vec::new());
        for number in 1..=options.recipients.most() {
            let command = format!("RCPT TO:<{}>\r\n", options.to.numbered(number));
            commands.extend_from_slice(command.as_bytes());
            ends.push(commands.len());
        }
        Self { commands, ends }
    }

    /// The first `count` of them.
    pub(super) fn group(&self, count: u32) -> &[u8] {
        &self.commands[..self.ends[count as usize - 1]]
    }

    /// The first `count` of them, one by one.
    pub(super) fn each(&self, count: u32) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        let commands = starts.zip(&self.ends).map(|(&start, &end)| &self.commands[start..end]);
        commands.take(count as usize)
    }
}

/// Appends lines until the body has `size` octets.
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

    fn options() -> SourceOptions {
        let mut options = SourceOptions::new("127.0.0.1:25".parse().unwrap());
        options.recipients = "1-3".parse().unwrap();
        options
    }

    fn text(slices: &[IoSlice<'_>]) -> String {
        String::from_utf8(slices.iter().flat_map(|slice| slice.to_vec()).collect()).unwrap()
    }

    #[test]
    fn number_and_digest_stand_in_the_header_section() {
        for framing in [Framing::Data, Framing::Bdat { chunk_octets: 10 }] {
            let options = SourceOptions { framing, ..options() };
            let messages = Messages::build(&options).unwrap();
            let number = number_field(42);
            let content = text(&messages.pick(0.5).content(&number).slices());
            let content = content
                .strip_suffix("\r\n.\r\n")
                .map_or(content.clone(), |content| content.replace("\r\n..", "\r\n.") + "\r\n");
            assert_eq!(content.len(), 4096);
            let (header, body) = content.split_once("\r\n\r\n").unwrap();
            let field = |name: &str| {
                header.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
            };
            assert_eq!(field("X-Loadtest-Number: "), "00000000000000000042");
            let run = field("X-Loadtest-Run: ");
            assert_eq!(run.len(), 16);
            assert_eq!(field("Message-ID: "), format!("<{run}.00000000000000000042@example.com>"));
            let digest = field("X-Loadtest-Digest: ");
            let octets = (0..64).step_by(2).map(|at| u8::from_str_radix(&digest[at..at + 2], 16));
            let octets: Vec<u8> = octets.collect::<Result<_, _>>().unwrap();
            assert_eq!(octets, Sha256::digest(body).to_vec());
        }
        assert_eq!(&number_field(u64::MAX), b"18446744073709551615");
    }

    #[test]
    fn chunks_are_the_content() {
        let options = SourceOptions { framing: Framing::Bdat { chunk_octets: 10 }, ..options() };
        let messages = Messages::build(&options).unwrap();
        let number = number_field(7);
        let content = messages.pick(0.0).content(&number);
        let whole = text(&content.slices());
        assert_eq!(content.octets(), 4096);
        for length in [1, 7, 100, 1000, 4096] {
            let chunks: String = (0..content.octets())
                .step_by(length)
                .map(|start| text(&content.chunk(b"", start, length)))
                .collect();
            assert_eq!(chunks, whole);
        }
        assert!(text(&content.chunk(b"BDAT 5\r\n", 3, 5)) == format!("BDAT 5\r\n{}", &whole[3..8]));
    }

    #[test]
    fn sizes_come_as_often_as_they_should() {
        let sizes = "1k*90,2k*9,4k*1".parse().unwrap();
        let messages = Messages::build(&SourceOptions { sizes, ..options() }).unwrap();
        let picked = [0.0, 0.89, 0.91, 0.98, 0.995, 0.999_999].map(|at| messages.pick(at).octets());
        assert_eq!(picked, [1024, 1024, 2048, 2048, 4096, 4096]);
        let huge = "512m,513m".parse().unwrap();
        Messages::build(&SourceOptions { sizes: huge, ..options() }).unwrap_err();
    }

    #[test]
    fn fewer_recipients_are_the_first_ones() {
        let recipients = Recipients::new(&options());
        let two = "RCPT TO:<user@example.net>\r\nRCPT TO:<user-2@example.net>\r\n";
        assert_eq!(recipients.group(2), two.as_bytes());
        for count in 1..=3 {
            assert_eq!(
                recipients.each(count).collect::<Vec<_>>().concat(),
                recipients.group(count)
            );
        }
    }
}
