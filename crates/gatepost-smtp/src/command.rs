//! Commands and their parameters (RFC 5321 §4.1.1, RFC 1870, RFC 3030, RFC 3461, RFC 4954, RFC 6152,
//! RFC 6531).
//!
//! [`parse`] turns one framed line into a [`Command`] that borrows from it. It knows what a line
//! says, not whether it may be said now: order is the business of [`crate::server`].

use std::fmt;

use crate::bdat::Chunk;
use crate::dsn::{MailDsn, RcptDsn};
use crate::path::{ForwardPath, PathError, ReversePath};
use crate::reply::Reply;
use crate::sasl::{self, Mechanism};

/// Octets of the name a client gives itself; a domain or address literal fits (RFC 5321 §4.1.1.1).
pub const CLIENT_NAME_OCTETS_MAX: usize = 255;

/// The verbs, once: what they are called, and what is done with them. They are tried in this order, so
/// those that every message has come first.
const VERBS: [(&[u8], Verb); 24] = [
    (b"RCPT", Verb::Rcpt),
    (b"MAIL", Verb::Mail),
    (b"DATA", Verb::Data),
    (b"BDAT", Verb::Bdat),
    (b"EHLO", Verb::Ehlo),
    (b"QUIT", Verb::Quit),
    (b"AUTH", Verb::Auth),
    (b"EXPN", Verb::Expn),
    (b"HELO", Verb::Helo),
    (b"HELP", Verb::Help),
    (b"NOOP", Verb::Noop),
    (b"RSET", Verb::Rset),
    (b"STARTTLS", Verb::StartTls),
    (b"VRFY", Verb::Vrfy),
    // A browser that is pointed at the SMTP port says these; what follows them is not SMTP.
    (b"CONNECT", Verb::Http),
    (b"DELETE", Verb::Http),
    (b"GET", Verb::Http),
    (b"HEAD", Verb::Http),
    (b"OPTIONS", Verb::Http),
    (b"PATCH", Verb::Http),
    (b"POST", Verb::Http),
    (b"PRI", Verb::Http),
    (b"PUT", Verb::Http),
    (b"TRACE", Verb::Http),
];

#[derive(Clone, Copy)]
enum Verb {
    Auth,
    Bdat,
    Data,
    Ehlo,
    Expn,
    Helo,
    Help,
    Http,
    Mail,
    Noop,
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
    /// What the client wants to be told. Whether that is offered is not known here.
    pub dsn: MailDsn<'a>,
    /// Whether AUTH= was given (RFC 4954 §5). It is for those who have offered AUTH; whom it names is
    /// of no interest to anybody here.
    pub auth: bool,
}

/// RCPT (RFC 5321 §4.1.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rcpt<'a> {
    /// Whom it is for.
    pub forward_path: ForwardPath<'a>,
    /// What the client wants to be told. Whether that is offered is not known here.
    pub dsn: RcptDsn<'a>,
}

/// AUTH (RFC 4954 §4).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// The mechanism; none if it is not one of ours.
    pub mechanism: Option<Mechanism>,
    /// What was sent along, in base64; `=` is the empty one.
    pub initial_response: Option<&'a [u8]>,
}

/// A password may be in it.
impl fmt::Debug for Auth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// One command line, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// AUTH.
    Auth(Auth<'a>),
    /// BDAT (RFC 3030 §2). Octets follow that are no commands, whatever the answer.
    Bdat(Chunk),
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
    /// BDAT without a size that can be believed: what follows would be read as commands.
    #[error("expected BDAT size, or BDAT size LAST; the size is 1 to 20 digits")]
    ChunkSize,
    /// A parameter twice.
    #[error("parameter given twice")]
    Duplicate,
    /// HTTP.
    #[error("this is an SMTP server")]
    Http,
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
            | Self::ChunkSize
            | Self::Duplicate
            | Self::Sender(PathError::Brackets)
            | Self::Recipient(PathError::Brackets) => (501, (5, 5, 4)),
            Self::Sender(_) => (501, (5, 1, 7)),
            Self::Recipient(_) => (501, (5, 1, 3)),
            Self::Parameter => (555, (5, 5, 4)),
            Self::Http | Self::Unrecognized => (500, (5, 5, 1)),
            Self::Utf8Sender => (550, (5, 6, 7)),
        };
        Reply::new(code, status, self.to_string())
    }

    /// Whether what follows the line cannot be trusted to be commands.
    pub const fn ends_session(self) -> bool {
        matches!(self, Self::ChunkSize | Self::Http)
    }
}

/// Understands one line without its CRLF. `greeting` says whether parameters are spoken.
pub fn parse(line: &[u8], greeting: Greeting) -> Result<Command<'_>, CommandError> {
    let end = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let argument = rest.trim_ascii();
    match verb(word).ok_or(CommandError::Unrecognized)? {
        Verb::Auth => auth(argument).map(Command::Auth),
        Verb::Bdat => chunk(rest).map(Command::Bdat),
        Verb::Data => bare(argument, Command::Data),
        Verb::Ehlo => hello(Greeting::Ehlo, argument),
        Verb::Expn => Ok(Command::Expn),
        Verb::Helo => hello(Greeting::Helo, argument),
        Verb::Help => Ok(Command::Help),
        Verb::Http => Err(CommandError::Http),
        Verb::Mail => mail(argument, greeting).map(Command::Mail),
        Verb::Noop => Ok(Command::Noop),
        Verb::Quit => bare(argument, Command::Quit),
        Verb::Rcpt => rcpt(argument, greeting).map(Command::Rcpt),
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

/// `"BDAT" SP chunk-size [ SP "LAST" ]` (RFC 3030 §2). A size beyond any machine saturates: it is
/// refused, and nothing behind it is believed.
fn chunk(argument: &[u8]) -> Result<Chunk, CommandError> {
    let argument = argument.trim_ascii_end();
    let mut words = argument.strip_prefix(b" ").unwrap_or_default().split(|&b| b == b' ');
    let size = words.next().unwrap_or_default();
    let last = match (words.next(), words.next()) {
        (None, _) => false,
        (Some(word), None) if word.eq_ignore_ascii_case(b"LAST") => true,
        _ => return Err(CommandError::ChunkSize),
    };
    let octets = digits(size).ok_or(CommandError::ChunkSize)?;
    Ok(Chunk { octets, last })
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

/// `"AUTH" SP sasl-mech [SP initial-response]` (RFC 4954 §8). What the response says is read later.
fn auth(argument: &[u8]) -> Result<Auth<'_>, CommandError> {
    let mut words = argument.split(|&b| b == b' ').filter(|word| !word.is_empty());
    let (Some(mechanism), initial_response, None) = (words.next(), words.next(), words.next())
    else {
        return Err(CommandError::Argument("expected AUTH mechanism [initial-response]"));
    };
    Ok(Auth { mechanism: Mechanism::of_name(mechanism), initial_response })
}

/// `"MAIL FROM:" Reverse-path [SP Mail-parameters]`, one space after the colon tolerated.
fn mail(argument: &[u8], greeting: Greeting) -> Result<Mail<'_>, CommandError> {
    let path = after_keyword(argument, b"FROM:")
        .ok_or(CommandError::Argument("expected MAIL FROM:<sender>"))?;
    let (reverse_path, rest) = ReversePath::split_from(path).map_err(CommandError::Sender)?;
    let mut mail = Mail {
        reverse_path,
        size: None,
        body: None,
        smtputf8: false,
        auth: false,
        dsn: MailDsn::default(),
    };
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

impl<'a> Mail<'a> {
    fn set(&mut self, parameter: &'a [u8]) -> Result<(), CommandError> {
        let (keyword, value) = keyword_and_value(parameter);
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
        } else if keyword.eq_ignore_ascii_case(b"AUTH") {
            once(!self.auth)?;
            if !value.is_some_and(sasl::is_mailbox) {
                return Err(CommandError::Argument("AUTH is a mailbox as xtext, or <>"));
            }
            self.auth = true;
        } else if !self.dsn.set((parameter, keyword, value.unwrap_or_default()))? {
            return Err(CommandError::Parameter);
        }
        Ok(())
    }
}

/// `"RCPT TO:" Forward-path [SP Rcpt-parameters]`, one space after the colon tolerated.
fn rcpt(argument: &[u8], greeting: Greeting) -> Result<Rcpt<'_>, CommandError> {
    let path = after_keyword(argument, b"TO:")
        .ok_or(CommandError::Argument("expected RCPT TO:<recipient>"))?;
    let (forward_path, rest) = ForwardPath::split_from(path).map_err(CommandError::Recipient)?;
    let mut dsn = RcptDsn::default();
    for parameter in parameters(rest)? {
        if greeting == Greeting::Helo {
            return Err(CommandError::Parameter);
        }
        let (keyword, value) = keyword_and_value(parameter);
        if !dsn.set((parameter, keyword, value.unwrap_or_default()))? {
            return Err(CommandError::Parameter);
        }
    }
    Ok(Rcpt { forward_path, dsn })
}

fn after_keyword<'a>(argument: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = argument.split_at_checked(keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then(|| rest.strip_prefix(b" ").unwrap_or(rest))
}

fn keyword_and_value(parameter: &[u8]) -> (&[u8], Option<&[u8]>) {
    let equals = parameter.iter().position(|&b| b == b'=').unwrap_or(parameter.len());
    (&parameter[..equals], parameter.get(equals + 1..))
}

/// The words after a path, which must be set off by a space.
fn parameters(rest: &[u8]) -> Result<impl Iterator<Item = &[u8]>, CommandError> {
    if rest.first().is_some_and(|&b| b != b' ') {
        return Err(CommandError::Argument("a space must follow the path"));
    }
    Ok(rest.split(|&b| b == b' ').filter(|word| !word.is_empty()))
}

/// `size-value = 1*20DIGIT` (RFC 1870 §6.1).
fn size(value: &[u8]) -> Result<u64, CommandError> {
    digits(value).ok_or(CommandError::Argument("SIZE is 1 to 20 digits"))
}

/// `1*20DIGIT`. More than 64 bits saturate: no limit is as large.
fn digits(value: &[u8]) -> Option<u64> {
    let digits = (1..=20).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let append =
        |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    digits.then(|| value.iter().fold(0, append))
}

#[cfg(test)]
mod tests;
