//! Commands and their parameters (RFC 5321 §4.1.1, RFC 1870, RFC 6152, RFC 6531).
//!
//! [`parse`] turns one framed line into a [`Command`] that borrows from it. It knows what a line
//! says, not whether it may be said now: order is the business of [`crate::server`].

use crate::path::{ForwardPath, PathError, ReversePath};
use crate::reply::Reply;

/// Octets of the name a client gives itself; a domain or address literal fits (RFC 5321 §4.1.1.1).
pub const CLIENT_NAME_OCTETS_MAX: usize = 255;

/// The verbs, once: what they are called, and what is done with them.
const VERBS: [(&[u8], Verb); 19] = [
    (b"AUTH", Verb::NotOffered),
    (b"BDAT", Verb::Bdat),
    (b"DATA", Verb::Data),
    (b"EHLO", Verb::Ehlo),
    (b"EXPN", Verb::Expn),
    (b"HELO", Verb::Helo),
    (b"HELP", Verb::Help),
    (b"MAIL", Verb::Mail),
    (b"NOOP", Verb::Noop),
    (b"QUIT", Verb::Quit),
    (b"RCPT", Verb::Rcpt),
    (b"RSET", Verb::Rset),
    (b"STARTTLS", Verb::StartTls),
    (b"VRFY", Verb::Vrfy),
    // A browser that is pointed at the SMTP port says these; what follows them is not SMTP.
    (b"CONNECT", Verb::Http),
    (b"GET", Verb::Http),
    (b"HEAD", Verb::Http),
    (b"POST", Verb::Http),
    (b"PUT", Verb::Http),
];

#[derive(Clone, Copy)]
enum Verb {
    Bdat,
    Data,
    Ehlo,
    Expn,
    Helo,
    Help,
    Http,
    Mail,
    Noop,
    NotOffered,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
}

/// How a client greeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// EHLO: extensions are spoken.
    Ehlo,
    /// HELO: no parameters.
    Helo,
}

/// What a client declares its message body to be (RFC 6152 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// `BODY=8BITMIME`.
    EightBitMime,
    /// `BODY=7BIT`.
    SevenBit,
}

/// MAIL (RFC 5321 §4.1.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mail<'a> {
    /// Who it is from.
    pub reverse_path: ReversePath<'a>,
    /// Declared message size in octets (RFC 1870 §6.1); one too large for any machine saturates.
    pub size: Option<u64>,
    /// Declared body type.
    pub body: Option<Body>,
    /// Whether SMTPUTF8 was asked for (RFC 6531 §3.4).
    pub smtputf8: bool,
}

/// RCPT (RFC 5321 §4.1.1.3). No parameter of it is offered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rcpt<'a> {
    /// Whom it is for.
    pub forward_path: ForwardPath<'a>,
}

/// One command line, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// DATA.
    Data,
    /// EXPN.
    Expn,
    /// EHLO or HELO with the client's name for itself.
    Hello(Greeting, &'a str),
    /// HELP.
    Help,
    /// MAIL.
    Mail(Mail<'a>),
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// RCPT.
    Rcpt(Rcpt<'a>),
    /// RSET.
    Rset,
    /// STARTTLS (RFC 3207 §4).
    StartTls,
    /// VRFY.
    Vrfy,
}

/// Why a line is not a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The argument is not what the verb takes.
    #[error("{0}")]
    Argument(&'static str),
    /// BDAT, whose payload would be read as commands.
    #[error("CHUNKING is not offered")]
    Bdat,
    /// A parameter twice.
    #[error("parameter given twice")]
    Duplicate,
    /// HTTP.
    #[error("this is an SMTP server")]
    Http,
    /// A verb we know and do not offer here.
    #[error("command not offered")]
    NotOffered,
    /// A forward-path that is none.
    #[error("recipient: {0}")]
    Recipient(PathError),
    /// A reverse-path that is none.
    #[error("sender: {0}")]
    Sender(PathError),
    /// A parameter that is not offered, or any in a HELO session.
    #[error("parameter not recognized")]
    Parameter,
    /// No verb we know.
    #[error("command not recognized")]
    Unrecognized,
    /// A non-ASCII reverse-path without SMTPUTF8.
    #[error("a non-ASCII sender needs SMTPUTF8")]
    Utf8Sender,
}

impl CommandError {
    /// The reply that says so (contract: every refusal has an enhanced status code).
    pub fn reply(self) -> Reply {
        let (code, status) = match self {
            Self::Argument(_)
            | Self::Duplicate
            | Self::Sender(PathError::Brackets)
            | Self::Recipient(PathError::Brackets) => (501, (5, 5, 4)),
            Self::Sender(_) => (501, (5, 1, 7)),
            Self::Recipient(_) => (501, (5, 1, 3)),
            Self::Bdat | Self::NotOffered => (502, (5, 5, 1)),
            Self::Parameter => (555, (5, 5, 4)),
            Self::Http | Self::Unrecognized => (500, (5, 5, 1)),
            Self::Utf8Sender => (550, (5, 6, 7)),
        };
        Reply::new(code, status, self.to_string())
    }

    /// Whether what follows the line cannot be trusted to be commands.
    pub const fn ends_session(self) -> bool {
        matches!(self, Self::Bdat | Self::Http)
    }
}

/// Understands one line without its CRLF. `greeting` says whether parameters are spoken.
pub fn parse(line: &[u8], greeting: Greeting) -> Result<Command<'_>, CommandError> {
    let end = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let argument = rest.trim_ascii();
    match verb(word).ok_or(CommandError::Unrecognized)? {
        Verb::Bdat => Err(CommandError::Bdat),
        Verb::Data => bare(argument, Command::Data),
        Verb::Ehlo => hello(Greeting::Ehlo, argument),
        Verb::Expn => Ok(Command::Expn),
        Verb::Helo => hello(Greeting::Helo, argument),
        Verb::Help => Ok(Command::Help),
        Verb::Http => Err(CommandError::Http),
        Verb::Mail => mail(argument, greeting).map(Command::Mail),
        Verb::Noop => Ok(Command::Noop),
        Verb::NotOffered => Err(CommandError::NotOffered),
        Verb::Quit => bare(argument, Command::Quit),
        Verb::Rcpt => rcpt(argument).map(Command::Rcpt),
        Verb::Rset => bare(argument, Command::Rset),
        Verb::StartTls => bare(argument, Command::StartTls),
        Verb::Vrfy => Ok(Command::Vrfy),
    }
}

fn verb(word: &[u8]) -> Option<Verb> {
    VERBS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|&(_, verb)| verb)
}

fn bare<'a>(argument: &[u8], command: Command<'a>) -> Result<Command<'a>, CommandError> {
    if argument.is_empty() {
        Ok(command)
    } else {
        Err(CommandError::Argument("this command takes no argument"))
    }
}

fn hello(greeting: Greeting, argument: &[u8]) -> Result<Command<'_>, CommandError> {
    if argument.is_empty() {
        return Err(CommandError::Argument("say who you are: EHLO client.example.com"));
    }
    let printable = argument.len() <= CLIENT_NAME_OCTETS_MAX
        && argument.iter().all(|b| (b' '..=b'~').contains(b));
    match std::str::from_utf8(argument) {
        Ok(name) if printable => Ok(Command::Hello(greeting, name)),
        _ => Err(CommandError::Argument("the name must be 1 to 255 printable octets")),
    }
}

/// `"MAIL FROM:" Reverse-path [SP Mail-parameters]`, one space after the colon tolerated.
fn mail(argument: &[u8], greeting: Greeting) -> Result<Mail<'_>, CommandError> {
    let path = after_keyword(argument, b"FROM:")
        .ok_or(CommandError::Argument("expected MAIL FROM:<sender>"))?;
    let (reverse_path, rest) = ReversePath::split_from(path).map_err(CommandError::Sender)?;
    let mut mail = Mail { reverse_path, size: None, body: None, smtputf8: false };
    for parameter in parameters(rest)? {
        if greeting == Greeting::Helo {
            return Err(CommandError::Parameter);
        }
        mail.set(parameter)?;
    }
    if !mail.smtputf8 && !reverse_path.is_ascii() {
        return Err(CommandError::Utf8Sender);
    }
    Ok(mail)
}

impl Mail<'_> {
    fn set(&mut self, parameter: &[u8]) -> Result<(), CommandError> {
        let equals = parameter.iter().position(|&b| b == b'=').unwrap_or(parameter.len());
        let (keyword, value) = (&parameter[..equals], parameter.get(equals + 1..));
        let once = |first: bool| if first { Ok(()) } else { Err(CommandError::Duplicate) };
        if keyword.eq_ignore_ascii_case(b"SIZE") {
            once(self.size.is_none())?;
            self.size = Some(size(value.unwrap_or_default())?);
        } else if keyword.eq_ignore_ascii_case(b"BODY") {
            once(self.body.is_none())?;
            self.body = Some(match value {
                Some(value) if value.eq_ignore_ascii_case(b"7BIT") => Body::SevenBit,
                Some(value) if value.eq_ignore_ascii_case(b"8BITMIME") => Body::EightBitMime,
                _ => return Err(CommandError::Argument("BODY is 7BIT or 8BITMIME")),
            });
        } else if keyword.eq_ignore_ascii_case(b"SMTPUTF8") {
            once(!self.smtputf8)?;
            if value.is_some() {
                return Err(CommandError::Argument("SMTPUTF8 takes no value"));
            }
            self.smtputf8 = true;
        } else {
            return Err(CommandError::Parameter);
        }
        Ok(())
    }
}

/// `"RCPT TO:" Forward-path`, one space after the colon tolerated.
fn rcpt(argument: &[u8]) -> Result<Rcpt<'_>, CommandError> {
    let path = after_keyword(argument, b"TO:")
        .ok_or(CommandError::Argument("expected RCPT TO:<recipient>"))?;
    let (forward_path, rest) = ForwardPath::split_from(path).map_err(CommandError::Recipient)?;
    match parameters(rest)?.next() {
        Some(_) => Err(CommandError::Parameter),
        None => Ok(Rcpt { forward_path }),
    }
}

fn after_keyword<'a>(argument: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = argument.split_at_checked(keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then(|| rest.strip_prefix(b" ").unwrap_or(rest))
}

/// The words after a path, which must be set off by a space.
fn parameters(rest: &[u8]) -> Result<impl Iterator<Item = &[u8]>, CommandError> {
    if rest.first().is_some_and(|&b| b != b' ') {
        return Err(CommandError::Argument("a space must follow the path"));
    }
    Ok(rest.split(|&b| b == b' ').filter(|word| !word.is_empty()))
}

/// `size-value = 1*20DIGIT` (RFC 1870 §6.1).
fn size(digits: &[u8]) -> Result<u64, CommandError> {
    if digits.is_empty() || digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(CommandError::Argument("SIZE is 1 to 20 digits"));
    }
    Ok(digits
        .iter()
        .fold(0_u64, |sum, &digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ehlo(line: &[u8]) -> Result<Command<'_>, CommandError> {
        parse(line, Greeting::Ehlo)
    }

    fn code(line: &[u8]) -> u16 {
        ehlo(line).expect_err("a fault").reply().code().as_u16()
    }

    #[test]
    fn verbs_in_any_case() {
        assert_eq!(ehlo(b"rset"), Ok(Command::Rset));
        assert_eq!(ehlo(b"RSET "), Ok(Command::Rset));
        assert_eq!(ehlo(b"NoOp whatever"), Ok(Command::Noop));
        assert_eq!(ehlo(b"helo [127.0.0.1]"), Ok(Command::Hello(Greeting::Helo, "[127.0.0.1]")));
        assert_eq!(code(b"RSETT"), 500);
        assert_eq!(code(b""), 500);
        assert_eq!(code(b" RSET"), 500);
        assert_eq!(code(b"DATA x"), 501);
        assert_eq!(code(b"EHLO"), 501);
        assert_eq!(code(b"EHLO \xc3\xa9"), 501);
        assert_eq!(code(&[b"EHLO ".as_slice(), &[b'x'; 256]].concat()), 501);
        assert_eq!(ehlo(b"StartTLS"), Ok(Command::StartTls));
        assert_eq!(code(b"STARTTLS now"), 501);
        assert_eq!(code(b"AUTH PLAIN"), 502);
        assert!(ehlo(b"BDAT 6 LAST").expect_err("not offered").ends_session());
        assert!(ehlo(b"POST / HTTP/1.1").expect_err("not SMTP").ends_session());
    }

    #[test]
    fn mail_with_parameters() {
        let Ok(Command::Mail(mail)) = ehlo(b"MAIL FROM: <a@b> SIZE=12 BODY=8bitmime SMTPUTF8")
        else {
            panic!("a MAIL command")
        };
        assert_eq!(mail.reverse_path.as_bytes(), b"a@b");
        assert_eq!(
            (mail.size, mail.body, mail.smtputf8),
            (Some(12), Some(Body::EightBitMime), true)
        );
        let Ok(Command::Mail(mail)) = ehlo(b"mail from:<> SIZE=99999999999999999999") else {
            panic!("a MAIL command")
        };
        assert_eq!((mail.reverse_path, mail.size), (ReversePath::Null, Some(u64::MAX)));
    }

    #[test]
    fn mail_that_is_none() {
        for (line, expected) in [
            (&b"MAIL"[..], 501),
            (b"MAIL FROM:a@b", 501),
            (b"MAIL FROM:", 501),
            (b"MAIL FROM:  <a@b>", 501),
            (b"MAIL TO:<a@b>", 501),
            (b"MAIL FROM:<a@b>SIZE=1", 501),
            (b"MAIL FROM:<a@b> SIZE=", 501),
            (b"MAIL FROM:<a@b> SIZE=+1", 501),
            (b"MAIL FROM:<a@b> SIZE=1 SIZE=1", 501),
            (b"MAIL FROM:<a@b> BODY=BINARYMIME", 501),
            (b"MAIL FROM:<a@b> SMTPUTF8=1", 501),
            (b"MAIL FROM:<a@b> X=1", 555),
            (b"MAIL FROM:<a@b> AUTH=<>", 555),
            (b"MAIL FROM:<a@b> > X", 555),
            (b"MAIL FROM:<\xc3\xa9@b>", 550),
            (b"MAIL FROM:<\xff@b> SMTPUTF8", 501),
        ] {
            assert_eq!(code(line), expected, "{}", line.escape_ascii());
        }
        assert_eq!(parse(b"MAIL FROM:<a@b> SIZE=1", Greeting::Helo), Err(CommandError::Parameter));
    }

    #[test]
    fn rcpt_keeps_the_octets_it_was_given() {
        let Ok(Command::Rcpt(rcpt)) = ehlo(b"RCPT TO:<\"A\\\"b\"@OK.example>") else {
            panic!("a RCPT command")
        };
        assert_eq!(rcpt.forward_path.as_bytes(), b"\"A\\\"b\"@OK.example");
        let Ok(Command::Rcpt(rcpt)) = ehlo(b"RCPT TO:<postmaster>") else {
            panic!("a RCPT command")
        };
        assert_eq!(rcpt.forward_path, ForwardPath::Postmaster(b"postmaster"));
        assert_eq!(code(b"RCPT TO:<>"), 501);
        assert_eq!(code(b"RCPT TO:<a@b> NOTIFY=NEVER"), 555);
        assert_eq!(code(b"RCPT TO:<\"a@evil.example> X <b\"@ok.example>"), 501);
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ehlo(&line);
        }

        #[test]
        fn no_path_panics(inner in "[ -~\u{80}-\u{fff}]{0,60}", verb in "(MAIL FROM|RCPT TO)") {
            let _ = ehlo(format!("{verb}:<{inner}> SMTPUTF8").as_bytes());
        }

        /// What the parser takes is found in the line octet for octet, and holds no second bracket.
        #[test]
        fn a_path_is_a_slice_of_its_line(inner in "[a-z\"\\\\@.<> :,]{1,30}") {
            let line = format!("RCPT TO:<{inner}>");
            if let Ok(Command::Rcpt(rcpt)) = ehlo(line.as_bytes()) {
                let octets = rcpt.forward_path.as_bytes();
                prop_assert!(memchr::memmem::find(line.as_bytes(), octets).is_some());
                prop_assert!(!octets.iter().any(|b| b" <>".contains(b)));
            }
        }
    }
}
