//! The header fields with which a source marks its messages.
//!
//! Reads a whole header section. Fields have a fixed width and are never folded; whatever else they
//! look like, somebody has changed them.

use memchr::memmem;

/// Hexadecimal digits of a run.
const RUN_DIGITS: usize = 16;

/// Decimal digits of a number: as many as a `u64` may have.
const NUMBER_DIGITS: usize = 20;

/// Octets of a SHA-256.
const DIGEST_OCTETS: usize = 32;

/// What the fields of one message say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) run: u64,
    pub(super) number: u64,
    pub(super) digest: [u8; DIGEST_OCTETS],
}

/// Whether there are marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marked {
    No,
    /// One is missing, there twice, or not what it should be.
    Partly,
    Wholly(Marks),
}

/// Looks for the marks in a header section.
pub(super) fn find(header: &[u8]) -> Marked {
    let (mut run, mut number, mut digest) = (Vec::new(), Vec::new(), Vec::new());
    let mut start = 0;
    // The header section ends with an empty line, so each of its lines has an end.
    for end in memmem::find_iter(header, b"\r\n") {
        let line = &header[start..end];
        start = end + b"\r\n".len();
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"X-Loadtest-Run") {
            run.push(value);
        } else if name.eq_ignore_ascii_case(b"X-Loadtest-Number") {
            number.push(value);
        } else if name.eq_ignore_ascii_case(b"X-Loadtest-Digest") {
            digest.push(value);
        }
    }
    if run.is_empty() && number.is_empty() && digest.is_empty() {
        return Marked::No;
    }
    read(&run, &number, &digest).map_or(Marked::Partly, Marked::Wholly)
}

/// `None` unless there is exactly one good value of each.
fn read(run: &[&[u8]], number: &[&[u8]], digest: &[&[u8]]) -> Option<Marks> {
    let (&[run], &[number], &[digest]) = (run, number, digest) else { return None };
    if run.len() != RUN_DIGITS
        || number.len() != NUMBER_DIGITS
        || digest.len() != DIGEST_OCTETS * 2
        || !number.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    let run = run.iter().try_fold(0, |run, &digit| Some(run << 4 | u64::from(hexadecimal(digit)?)));
    let mut octets = [0; DIGEST_OCTETS];
    for (octet, digits) in octets.iter_mut().zip(digest.chunks_exact(2)) {
        *octet = hexadecimal(digits[0])? << 4 | hexadecimal(digits[1])?;
    }
    let number = str::from_utf8(number).ok()?.parse().ok()?;
    Some(Marks { run: run?, number, digest: octets })
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}
