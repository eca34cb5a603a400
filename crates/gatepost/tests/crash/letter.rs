//! One message of the load: whom it is for, what is odd about it, and how its octets are known again.
//!
//! Its number stands in each of its paths and in its header, and its header has a digest of the rest:
//! whoever receives it can tell whether envelope and content belong together and are whole, without
//! asking anybody.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::OnceLock;

use fastrand::Rng;

use crate::chance::permille;

/// Bodies above this size are files of the spool.
const LARGE_OCTETS: usize = 64 * 1024;
const RECIPIENTS_MAX: usize = 5;
const NOISE_LINES: usize = 1000;
const NUMBER: &str = "X-Crash-Number: ";
const DIGEST: &str = "X-Crash-Digest: ";

/// A message of the load.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) number: u64,
    pub(crate) nature: Nature,
    pub(crate) recipients: Vec<Whom>,
    /// How long its content is, about.
    octets: usize,
}

/// What is odd about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Nothing.
    Sound,
    /// The upstream refuses it for good when it has all of it.
    Unwelcome,
    /// Policy does not allow its sender.
    Foreign,
    /// There is a bare LF in it.
    BareLineFeed,
    /// The client goes away in the middle of it.
    Cut,
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Somebody whom the upstream knows.
    Known,
    /// The same, and the way to it is another one: the spool keeps it as a message of its own.
    Apart,
    /// Somebody whom the upstream refuses for good.
    Unknown,
    /// Somebody whom policy does not allow.
    Forbidden,
}

impl Letter {
    /// Some message.
    pub(crate) fn by_chance(number: u64, rng: &mut Rng) -> Self {
        let nature = match rng.u32(0..1000) {
            0..20 => Nature::Unwelcome,
            20..30 => Nature::Foreign,
            30..45 => Nature::BareLineFeed,
            45..65 => Nature::Cut,
            _ => Nature::Sound,
        };
        let octets = match rng.u32(0..1000) {
            0..10 => rng.usize(1 << 20..4 << 20),
            10..70 => rng.usize(LARGE_OCTETS..8 * LARGE_OCTETS),
            70..250 => rng.usize(LARGE_OCTETS / 8..LARGE_OCTETS),
            _ => rng.usize(200..LARGE_OCTETS / 8),
        };
        let several = permille(rng, 300);
        let count = if several { rng.usize(2..=RECIPIENTS_MAX) } else { 1 };
        let recipients = (0..count).map(|_| Whom::by_chance(rng)).collect();
        Self { number, nature, recipients, octets }
    }

    /// The least there can be of a message that was told to have arrived.
    pub(crate) fn made_up(number: u64) -> Self {
        Self { number, nature: Nature::Sound, recipients: vec![Whom::Known], octets: 0 }
    }

    /// Without brackets.
    pub(crate) fn reverse_path(&self) -> String {
        let (word, domain) = match self.nature {
            Nature::Unwelcome => (UNWELCOME, "app.test"),
            Nature::Foreign => ("from", "other.test"),
            _ => ("from", "app.test"),
        };
        format!("{word}.{}@{domain}", self.number)
    }

    /// Without brackets.
    pub(crate) fn forward_path(&self, place: usize) -> String {
        let (word, domain) = match self.recipients[place] {
            Whom::Known => ("known", "sink.test"),
            Whom::Apart => ("known", "apart.test"),
            Whom::Unknown => (UNKNOWN, "sink.test"),
            Whom::Forbidden => ("known", "forbidden.test"),
        };
        format!("{word}-{place}.{}@{domain}", self.number)
    }

    /// Whether an upstream that is asked for this recipient accepts the message for it some time.
    pub(crate) fn is_welcome(&self, place: usize) -> bool {
        self.nature != Nature::Unwelcome
            && matches!(self.recipients[place], Whom::Apart | Whom::Known)
    }

    /// Header and body, dots not stuffed, without an end of data.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut rest = self.header().into_bytes();
        // Each message begins somewhere else.
        let skipped = self.number as usize % NOISE_LINES;
        let lines = noise().split_inclusive(|&octet| octet == b'\n').cycle().skip(skipped);
        for line in lines {
            if rest.len() >= self.octets {
                break;
            }
            rest.extend_from_slice(line);
        }
        if self.nature == Nature::BareLineFeed {
            rest.extend_from_slice(b"this line does not end\nas a line of SMTP ends\r\n");
        }
        let mut content = format!("{NUMBER}{}\r\n{DIGEST}{:016x}\r\n", self.number, digest(&rest));
        content.reserve(rest.len());
        let mut content = content.into_bytes();
        content.append(&mut rest);
        content
    }

    fn header(&self) -> String {
        let mut header = format!("From: <{}>\r\nTo: ", self.reverse_path());
        for place in 0..self.recipients.len() {
            let comma = if place == 0 { "" } else { ",\r\n " };
            // Writing to a string cannot fail.
            let _ = write!(header, "{comma}<{}>", self.forward_path(place));
        }
        header
            + "\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nSubject: a message of the load\r\n\r\n"
    }
}

/// The local-part of a reverse-path that the upstream refuses at the end of data.
pub(crate) const UNWELCOME: &str = "unwelcome";
/// The local-part of a forward-path that the upstream refuses.
pub(crate) const UNKNOWN: &str = "unknown";

impl Whom {
    fn by_chance(rng: &mut Rng) -> Self {
        match rng.u32(0..1000) {
            0..40 => Self::Unknown,
            40..60 => Self::Forbidden,
            60..180 => Self::Apart,
            _ => Self::Known,
        }
    }
}

/// The number of the message that a path belongs to.
pub(crate) fn number_of(path: &str) -> Option<u64> {
    path.split_once('@')?.0.split_once('.')?.1.parse().ok()
}

/// Number and place of the recipient that a forward-path is.
pub(crate) fn place_of(path: &str) -> Option<(u64, usize)> {
    let (word, number) = path.split_once('@')?.0.split_once('.')?;
    Some((number.parse().ok()?, word.split_once('-')?.1.parse().ok()?))
}

/// The number of a message, if its content is as its client has sent it, behind fields that relays
/// have put in front.
pub(crate) fn number_if_whole(content: &[u8]) -> Option<u64> {
    let mut rest = content;
    while rest.starts_with(b"Received: ") {
        rest = behind_field(rest)?;
    }
    let (number, rest) = field(rest, NUMBER)?;
    let (told, rest) = field(rest, DIGEST)?;
    let told = u64::from_str_radix(told, 16).ok()?;
    if told == digest(rest) { number.parse().ok() } else { None }
}

fn behind_field(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        rest = behind_line(rest)?;
        if !rest.starts_with(b" ") && !rest.starts_with(b"\t") {
            return Some(rest);
        }
    }
}

fn behind_line(rest: &[u8]) -> Option<&[u8]> {
    let end = rest.iter().position(|&octet| octet == b'\n')?;
    Some(&rest[end + 1..])
}

fn field<'a>(rest: &'a [u8], name: &str) -> Option<(&'a str, &'a [u8])> {
    let behind = behind_line(rest)?;
    let line = str::from_utf8(&rest[..rest.len() - behind.len()]).ok()?;
    Some((line.strip_prefix(name)?.strip_suffix("\r\n")?, behind))
}

/// Finds what is damaged by accident. It has no key, so it is the same in each process of a run.
fn digest(octets: &[u8]) -> u64 {
    let mut digest = DefaultHasher::new();
    digest.write(octets);
    digest.finish()
}

/// Lines of all lengths, many of them with dots at their begin.
fn noise() -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut rng = Rng::with_seed(0);
        let mut noise = Vec::new();
        for _ in 0..NOISE_LINES {
            let dots = if permille(&mut rng, 150) { rng.usize(1..4) } else { 0 };
            noise.extend((0..dots).map(|_| b'.'));
            noise.extend((0..rng.usize(0..120)).map(|_| rng.alphanumeric() as u8));
            noise.extend_from_slice(b"\r\n");
        }
        noise
    })
}
