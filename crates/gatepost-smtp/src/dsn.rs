//! What a client asks to be told about its message (RFC 3461 §4): RET and ENVID at MAIL, NOTIFY and
//! ORCPT at RCPT.
//!
//! They are understood so that nothing can be hidden in them, and passed on as they stand: a value
//! that was decoded is never written down again. An xtext that stands for a control character is
//! no value (RFC 3461 §4: what it encodes is printable).
//!
//! Whoever answers for a message later reads them again as they were kept ([`MailDsn::kept`],
//! [`RcptDsn::kept`]): what they ask for, and what they stand for.

use crate::command::CommandError;

/// Octets of an ENVID (RFC 3461 §4.4).
pub const ENVID_OCTETS_MAX: usize = 100;
/// Octets of an ORCPT (RFC 3461 §4.2).
pub const ORCPT_OCTETS_MAX: usize = 500;

/// What MAIL asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailDsn<'a> {
    /// The whole of `RET=FULL` or `RET=HDRS`: how much of the message comes back.
    pub ret: Option<&'a [u8]>,
    /// The whole of `ENVID=xtext`: what the client calls this envelope.
    pub envid: Option<&'a [u8]>,
}

/// What RCPT asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RcptDsn<'a> {
    /// The whole of `NOTIFY=…`: when a notification is sent.
    pub notify: Option<&'a [u8]>,
    /// The whole of `ORCPT=type;xtext`: who the recipient was at first.
    pub orcpt: Option<&'a [u8]>,
}

/// How much of a message comes back with a notification of failure (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// All of it.
    Full,
    /// Its header section.
    Headers,
}

/// What a sender can want to be told about a recipient (RFC 3461 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Nothing is decided for long.
    Delay,
    /// It was not delivered, and will not be.
    Failure,
    /// It was delivered, or relayed to where nothing more is told.
    Success,
}

impl<'a> MailDsn<'a> {
    /// Reads parameters that were kept as they stood, each with a space in front. What is none of
    /// these is passed over: it was judged when it came.
    pub fn kept(parameters: &'a [u8]) -> Self {
        let mut read = Self::default();
        for parameter in each(parameters) {
            let _ = read.set(parameter);
        }
        read
    }

    /// How much comes back, if the client has said so.
    pub fn ret(self) -> Option<Ret> {
        let (_, value) = split(self.ret?);
        Some(if value.eq_ignore_ascii_case(b"FULL") { Ret::Full } else { Ret::Headers })
    }

    /// What the client calls this envelope, decoded.
    pub fn envelope_id(self) -> Option<Vec<u8>> {
        Some(decode_xtext(split(self.envid?).1))
    }

    /// The parameters as they stood, in the order of the RFC.
    pub fn parameters(self) -> impl Iterator<Item = &'a [u8]> {
        self.ret.into_iter().chain(self.envid)
    }

    /// Takes a parameter with its value. False if it is none of these.
    pub(crate) fn set(
        &mut self,
        (parameter, keyword, value): (&'a [u8], &[u8], &[u8]),
    ) -> Result<bool, CommandError> {
        if keyword.eq_ignore_ascii_case(b"RET") {
            let known = value.eq_ignore_ascii_case(b"FULL") || value.eq_ignore_ascii_case(b"HDRS");
            once(&mut self.ret, parameter, known.then_some(()).ok_or("RET is FULL or HDRS"))
        } else if keyword.eq_ignore_ascii_case(b"ENVID") {
            // Nothing is xtext, too, but no value of a parameter (RFC 5321 §4.1.2, esmtp-value).
            let known = (1..=ENVID_OCTETS_MAX).contains(&value.len()) && is_xtext(value);
            let known = known.then_some(()).ok_or("ENVID is 1 to 100 octets of xtext");
            once(&mut self.envid, parameter, known)
        } else {
            Ok(false)
        }
    }
}

impl<'a> RcptDsn<'a> {
    /// Reads parameters that were kept as they stood, each with a space in front. What is none of
    /// these is passed over: it was judged when it came.
    pub fn kept(parameters: &'a [u8]) -> Self {
        let mut read = Self::default();
        for parameter in each(parameters) {
            let _ = read.set(parameter);
        }
        read
    }

    /// Whether the sender is to be told on this occasion. Who has not said when is told of failure
    /// only: RFC 3461 §4.1 leaves open whether of delay, too, and that is for whoever asks.
    pub fn wants(self, occasion: Occasion) -> bool {
        let word: &[u8] = match occasion {
            Occasion::Delay => b"DELAY",
            Occasion::Failure => b"FAILURE",
            Occasion::Success => b"SUCCESS",
        };
        let Some(notify) = self.notify else { return occasion == Occasion::Failure };
        split(notify).1.split(|&octet| octet == b',').any(|it| it.eq_ignore_ascii_case(word))
    }

    /// Who the recipient was at first: the type of the address, and the address, decoded.
    pub fn original_recipient(self) -> Option<(&'a [u8], Vec<u8>)> {
        let (_, value) = split(self.orcpt?);
        let semicolon = value.iter().position(|&octet| octet == b';')?;
        Some((&value[..semicolon], decode_xtext(&value[semicolon + 1..])))
    }

    /// The parameters as they stood, in the order of the RFC.
    pub fn parameters(self) -> impl Iterator<Item = &'a [u8]> {
        self.notify.into_iter().chain(self.orcpt)
    }

    /// Takes a parameter with its value. False if it is none of these.
    pub(crate) fn set(
        &mut self,
        (parameter, keyword, value): (&'a [u8], &[u8], &[u8]),
    ) -> Result<bool, CommandError> {
        if keyword.eq_ignore_ascii_case(b"NOTIFY") {
            let known = is_notify(value).then_some(());
            let known = known.ok_or("NOTIFY is NEVER, or some of SUCCESS,FAILURE,DELAY");
            once(&mut self.notify, parameter, known)
        } else if keyword.eq_ignore_ascii_case(b"ORCPT") {
            let known = value.len() <= ORCPT_OCTETS_MAX && is_orcpt(value);
            let known =
                known.then_some(()).ok_or("ORCPT is an address type, a semicolon and xtext");
            once(&mut self.orcpt, parameter, known)
        } else {
            Ok(false)
        }
    }
}

/// Parameters that were kept: each whole, its keyword, its value.
fn each(parameters: &[u8]) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
    parameters.split(|&octet| octet == b' ').filter(|parameter| !parameter.is_empty()).map(
        |parameter| {
            let (keyword, value) = split(parameter);
            (parameter, keyword, value)
        },
    )
}

/// Keyword and value of a parameter.
fn split(parameter: &[u8]) -> (&[u8], &[u8]) {
    let sign = parameter.iter().position(|&octet| octet == b'=').unwrap_or(parameter.len());
    (&parameter[..sign], parameter.get(sign + 1..).unwrap_or_default())
}

fn once<'a>(
    slot: &mut Option<&'a [u8]>,
    parameter: &'a [u8],
    known: Result<(), &'static str>,
) -> Result<bool, CommandError> {
    known.map_err(CommandError::Argument)?;
    match slot.replace(parameter) {
        None => Ok(true),
        Some(_) => Err(CommandError::Duplicate),
    }
}

/// `"NEVER" / 1#( "SUCCESS" / "FAILURE" / "DELAY" )` (RFC 3461 §4.1).
fn is_notify(value: &[u8]) -> bool {
    const WORDS: [&[u8]; 3] = [b"SUCCESS", b"FAILURE", b"DELAY"];
    if value.eq_ignore_ascii_case(b"NEVER") {
        return true;
    }
    let mut seen = [false; WORDS.len()];
    value.split(|&octet| octet == b',').all(|word| {
        let known = WORDS.iter().position(|known| word.eq_ignore_ascii_case(known));
        known.is_some_and(|index| !std::mem::replace(&mut seen[index], true))
    })
}

/// `addr-type ";" xtext` (RFC 3461 §4.2).
fn is_orcpt(value: &[u8]) -> bool {
    let Some(semicolon) = value.iter().position(|&octet| octet == b';') else { return false };
    let (kind, address) = (&value[..semicolon], &value[semicolon + 1..]);
    let named = !kind.is_empty()
        && kind.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
    named && !address.is_empty() && is_xtext(address)
}

/// `xtext = *( xchar / "+" 2HEXDIG )` (RFC 3461 §4), the digits in upper case, and what they stand
/// for printable.
fn is_xtext(value: &[u8]) -> bool {
    let mut octets = value.iter().copied();
    while let Some(octet) = octets.next() {
        let printable = match octet {
            b'+' => match (octets.next().and_then(hex), octets.next().and_then(hex)) {
                (Some(high), Some(low)) => (b' '..=b'~').contains(&(high * 16 + low)),
                _ => false,
            },
            b'=' => false,
            octet => octet.is_ascii_graphic(),
        };
        if !printable {
            return false;
        }
    }
    true
}

/// What an xtext stands for. What is none stands for itself.
fn decode_xtext(value: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, behind @ ..] = rest {
        let encoded = match (first, behind) {
            (b'+', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        decoded.push(encoded.map_or(*first, |(high, low)| high * 16 + low));
        rest = if encoded.is_some() { &behind[2..] } else { behind };
    }
    decoded
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_hides_nothing() {
        for (value, expected) in [
            (&b""[..], true),
            (b"QQ314159", true),
            (b"a+2Bb+3D", true),
            (b"a+20b", true),
            (b"a+0D+0ARCPT+20TO:<v@w>", false),
            (b"a+00", false),
            (b"a+0d", false),
            (b"a+2", false),
            (b"a+", false),
            (b"a=b", false),
            (b"a b", false),
            (b"\xc3\xa9", false),
            (b"a+C3+A9", false),
        ] {
            assert_eq!(is_xtext(value), expected, "{}", value.escape_ascii());
        }
    }

    /// A keyword alone would go upstream as it stands, and no server knows it.
    #[test]
    fn a_keyword_alone_asks_for_nothing() {
        for keyword in [&b"RET"[..], b"ENVID"] {
            assert!(MailDsn::default().set((keyword, keyword, b"")).is_err());
        }
        for keyword in [&b"NOTIFY"[..], b"ORCPT"] {
            assert!(RcptDsn::default().set((keyword, keyword, b"")).is_err());
        }
        assert!(MailDsn::default().set((b"ENVID=", b"ENVID", b"")).is_err());
    }

    #[test]
    fn notify_is_never_or_a_list() {
        for (value, expected) in [
            (&b"NEVER"[..], true),
            (b"never", true),
            (b"SUCCESS,FAILURE,DELAY", true),
            (b"failure", true),
            (b"NEVER,FAILURE", false),
            (b"SUCCESS,SUCCESS", false),
            (b"SUCCESS,", false),
            (b"", false),
            (b"ALWAYS", false),
        ] {
            assert_eq!(is_notify(value), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn orcpt_names_a_type_and_an_address() {
        for (value, expected) in [
            (&b"rfc822;a@b.example"[..], true),
            (b"rfc822;a+2Bb@c", true),
            (b"x-app;1", true),
            (b"rfc822", false),
            (b"rfc822;", false),
            (b";a@b", false),
            (b"rfc 822;a@b", false),
            (b"rfc822;a@b+0D+0A", false),
        ] {
            assert_eq!(is_orcpt(value), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn what_was_kept_is_read_again() {
        let mail = MailDsn::kept(b" RET=hdrs ENVID=a+2Bb+20c");
        assert_eq!(mail.ret(), Some(Ret::Headers));
        assert_eq!(mail.envelope_id().as_deref(), Some(&b"a+b c"[..]));
        assert_eq!(MailDsn::kept(b" RET=FULL").ret(), Some(Ret::Full));
        for nothing in [&b""[..], b" ", b" X=y", b" RET=some", b" ENVID=a+0D+0Ab"] {
            assert_eq!(MailDsn::kept(nothing), MailDsn::default(), "{}", nothing.escape_ascii());
        }
        let rcpt = RcptDsn::kept(b" NOTIFY=failure,DELAY ORCPT=rfc822;a+2Bb@c.example");
        let original = (&b"rfc822"[..], b"a+b@c.example".to_vec());
        assert_eq!(rcpt.original_recipient(), Some(original));
        assert_eq!(RcptDsn::kept(b" ORCPT=rfc822").original_recipient(), None);
    }

    #[test]
    fn a_sender_is_told_when_it_wants_to_be() {
        use Occasion::{Delay, Failure, Success};
        for (kept, expected) in [
            (&b""[..], [false, true, false]),
            (b" NOTIFY=NEVER", [false, false, false]),
            (b" NOTIFY=never", [false, false, false]),
            (b" NOTIFY=SUCCESS", [false, false, true]),
            (b" NOTIFY=delay,failure", [true, true, false]),
            (b" NOTIFY=SUCCESS,FAILURE,DELAY", [true, true, true]),
            // It could not have been accepted: as if nothing had been said.
            (b" NOTIFY=NEVER,FAILURE", [false, true, false]),
        ] {
            let rcpt = RcptDsn::kept(kept);
            let wanted = [Delay, Failure, Success].map(|occasion| rcpt.wants(occasion));
            assert_eq!(wanted, expected, "{}", kept.escape_ascii());
        }
    }
}
