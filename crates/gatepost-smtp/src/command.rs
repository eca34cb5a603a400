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

/// The verbs, once: what they are called, and what is done with them.
const VERBS: [(&[u8], Verb); 24] = [
    (b"AUTH", Verb::Auth),
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
        assert!(ehlo(b"POST / HTTP/1.1").expect_err("not SMTP").ends_session());
    }

    #[test]
    fn auth_names_a_mechanism() {
        let auth = |line| match ehlo(line) {
            Ok(Command::Auth(Auth { mechanism, initial_response })) => {
                (mechanism, initial_response)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(auth(b"AUTH PLAIN"), (Some(Mechanism::Plain), None));
        assert_eq!(auth(b"auth login AGE="), (Some(Mechanism::Login), Some(&b"AGE="[..])));
        assert_eq!(auth(b"AUTH plain ="), (Some(Mechanism::Plain), Some(&b"="[..])));
        assert_eq!(auth(b"AUTH CRAM-MD5"), (None, None));
        assert_eq!((code(b"AUTH"), code(b"AUTH PLAIN a b")), (501, 501));
        let shown = format!("{:?}", ehlo(b"AUTH PLAIN c2VjcmV0"));
        assert!(!shown.contains("c2VjcmV0") && !shown.contains("115"), "{shown}");
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
        for (line, auth) in [
            (&b"MAIL FROM:<a@b>"[..], false),
            (b"MAIL FROM:<a@b> AUTH=<>", true),
            (b"MAIL FROM:<a@b> auth=e+3Dmc2@example.com", true),
        ] {
            let Ok(Command::Mail(mail)) = ehlo(line) else { panic!("a MAIL command") };
            assert_eq!(mail.auth, auth, "{}", line.escape_ascii());
        }
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
            (b"MAIL FROM:<a@b> AUTH", 501),
            (b"MAIL FROM:<a@b> AUTH=", 501),
            (b"MAIL FROM:<a@b> AUTH=<a@b>", 501),
            (b"MAIL FROM:<a@b> AUTH=a+zz@b", 501),
            (b"MAIL FROM:<a@b> AUTH=<> AUTH=<>", 501),
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
        assert_eq!(code(b"RCPT TO:<a@b> X=1"), 555);
        assert_eq!(code(b"RCPT TO:<a@b> NOTIFY"), 501);
        assert_eq!(code(b"RCPT TO:<\"a@evil.example> X <b\"@ok.example>"), 501);
    }

    /// The sizes of the research on CHUNKING: one that wraps in some server is no size here.
    #[test]
    fn a_chunk_has_a_size_that_can_be_believed() {
        let chunk = |octets, last| Ok(Command::Bdat(Chunk { octets, last }));
        assert_eq!(ehlo(b"BDAT 6"), chunk(6, false));
        assert_eq!(ehlo(b"bdat 0 last"), chunk(0, true));
        assert_eq!(ehlo(b"BDAT 4294967297 LAST "), chunk(4_294_967_297, true));
        assert_eq!(ehlo(b"BDAT 18446744073709551617 LAST"), chunk(u64::MAX, true));
        for line in [
            &b"BDAT"[..],
            b"BDAT ",
            b"BDAT LAST",
            b"BDAT  6",
            b"BDAT -1",
            b"BDAT +5",
            b"BDAT 0x10",
            b"BDAT 5 LAST x",
            b"BDAT 5  LAST",
            b"BDAT 5 FIRST",
            b"BDAT 5LAST",
            b"BDAT 5.0",
            b"BDAT \xd9\xa3",
            b"BDAT 000000000000000000001",
        ] {
            assert_eq!(code(line), 501, "{}", line.escape_ascii());
            assert!(ehlo(line).expect_err("no size").ends_session());
        }
    }

    #[test]
    fn what_a_client_wants_to_be_told_is_kept_as_it_stands() {
        let Ok(Command::Mail(mail)) = ehlo(b"MAIL FROM:<a@b> ret=hdrs SIZE=1 ENVID=QQ+2B1") else {
            panic!("a MAIL command")
        };
        let parameters: Vec<_> = mail.dsn.parameters().collect();
        assert_eq!(parameters, [&b"ret=hdrs"[..], b"ENVID=QQ+2B1"]);
        let Ok(Command::Rcpt(rcpt)) = ehlo(b"RCPT TO:<c@d> ORCPT=rfc822;e@f NOTIFY=success,DELAY")
        else {
            panic!("a RCPT command")
        };
        let parameters: Vec<_> = rcpt.dsn.parameters().collect();
        assert_eq!(parameters, [&b"NOTIFY=success,DELAY"[..], b"ORCPT=rfc822;e@f"]);
        for line in [
            &b"MAIL FROM:<a@b> RET=ALL"[..],
            b"MAIL FROM:<a@b> RET=FULL RET=FULL",
            b"MAIL FROM:<a@b> ENVID=a+0D+0ARCPT",
            b"MAIL FROM:<a@b> ENVID=",
            b"MAIL FROM:<a@b> ENVID",
            b"RCPT TO:<a@b> NOTIFY=NEVER,DELAY",
            b"RCPT TO:<a@b> NOTIFY=NEVER NOTIFY=NEVER",
            b"RCPT TO:<a@b> ORCPT=a@b",
        ] {
            assert_eq!(code(line), 501, "{}", line.escape_ascii());
        }
        for line in [&b"MAIL FROM:<a@b> RET=FULL"[..], b"RCPT TO:<a@b> NOTIFY=NEVER"] {
            assert_eq!(parse(line, Greeting::Helo), Err(CommandError::Parameter));
        }
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
