//! Command lines that a stranger has made up.
//!
//! A line that is taken says to smtp-proto, a reader of others, what it says to us. What is handed
//! on as a path stands in the line, octet for octet, and can neither end a command nor begin another
//! word. A line that is not taken gets one reply of one line.
//!
//! The two differ where they may: smtp-proto takes much that we refuse, which is not looked at.
//! What we take and it does not, or not alike, stands in [`is_beyond_theirs`].
#![no_main]

use std::borrow::Cow;

use bytes::BytesMut;
use gatepost_fuzz::replies;
use gatepost_smtp::{
    command::{self, Body, Command, CommandError, Greeting, Mail},
    dsn::{MailDsn, RcptDsn},
    line::{AUTH_OCTETS_MAX, COMMAND_OCTETS_MAX, Frame, LineFault, UNENDED_OCTETS_MAX, frame},
    sasl::Mechanism,
};
use libfuzzer_sys::fuzz_target;
use smtp_proto::{
    AUTH_LOGIN, AUTH_PLAIN, MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_RET_FULL, MAIL_RET_HDRS,
    MAIL_SMTPUTF8, MailFrom, RCPT_NOTIFY_DELAY, RCPT_NOTIFY_FAILURE, RCPT_NOTIFY_NEVER,
    RCPT_NOTIFY_SUCCESS, RcptTo, Request,
};

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    loop {
        let framed = frame(rest);
        assert_eq!(framed, plainly(rest));
        let octets = match framed {
            Frame::Line(octets) => {
                understood(&rest[..octets - 2]);
                octets
            }
            Frame::Faulty(octets, _) => octets,
            Frame::Incomplete | Frame::Lost(_) => break,
        };
        rest = &rest[octets..];
    }
});

/// Where a line ends, by searching for each thing on its own.
fn plainly(input: &[u8]) -> Frame {
    let Some(feed) = input.iter().position(|octet| *octet == b'\n') else {
        let is_lost = input.len() >= UNENDED_OCTETS_MAX;
        return if is_lost { Frame::Lost(LineFault::TooLong) } else { Frame::Incomplete };
    };
    let octets = feed + 1;
    let is_auth = input[..feed].to_ascii_uppercase().starts_with(b"AUTH ");
    let octets_max = if is_auth { AUTH_OCTETS_MAX } else { COMMAND_OCTETS_MAX };
    match input[..feed].strip_suffix(b"\r") {
        None => Frame::Lost(LineFault::BareLf),
        Some(_) if octets > octets_max => Frame::Faulty(octets, LineFault::TooLong),
        Some(line) if line.iter().any(|octet| *octet < b' ' || *octet == 0x7f) => {
            Frame::Faulty(octets, LineFault::Control)
        }
        Some(_) => Frame::Line(octets),
    }
}

fn understood(line: &[u8]) {
    let ehlo = command::parse(line, Greeting::Ehlo);
    let helo = command::parse(line, Greeting::Helo);
    match (&ehlo, &helo) {
        (Ok(Command::Mail(mail)), Err(error)) => {
            assert_eq!(*error, CommandError::Parameter);
            let is_dsn = mail.dsn != MailDsn::default();
            let others = mail.body.is_some() || mail.smtputf8 || mail.auth || is_dsn;
            assert!(mail.size.is_some() || others);
        }
        (Ok(Command::Rcpt(rcpt)), Err(error)) => {
            assert_eq!(*error, CommandError::Parameter);
            assert_ne!(rcpt.dsn, RcptDsn::default());
        }
        (Err(_), Err(_)) => {}
        (one, other) => assert_eq!(one, other, "only parameters are for those who say EHLO"),
    }
    for error in [ehlo.err(), helo.err()].into_iter().flatten() {
        refused(error);
    }
    if let Ok(command) = ehlo {
        alike(line, &command);
    }
}

/// One reply of one line, that says no and why.
fn refused(error: CommandError) {
    let mut octets = BytesMut::new();
    error.reply().encode(&mut octets);
    let said = replies::read(&octets);
    let [reply] = &said[..] else { panic!("{said:?}") };
    assert!((500..600).contains(&reply.code) && reply.lines.len() == 1 && reply.has_status());
}

/// What smtp-proto makes of the same command.
fn alike(line: &[u8], command: &Command<'_>) {
    let end = line.iter().position(|octet| *octet == b' ').unwrap_or(line.len());
    let (verb, argument) = (line[..end].to_ascii_uppercase(), line[end..].trim_ascii());
    if is_beyond_theirs(command, argument) {
        return;
    }
    // Ours tolerates spaces around an argument.
    let line = if argument.is_empty() {
        line[..end].to_vec()
    } else {
        [&line[..end], b" ", argument].concat()
    };
    let line = [&line, &b"\r\n"[..]].concat();
    let theirs = Request::parse(&mut line.iter());
    let theirs = theirs.unwrap_or_else(|error| panic!("{}: {error:?}", line.escape_ascii()));
    assert_eq!(theirs.name().as_bytes(), verb);
    match (command, &theirs) {
        (Command::Mail(mail), Request::Mail { from }) => {
            handed_on(mail.reverse_path.as_bytes(), &line);
            assert_eq!(from.address.as_bytes(), unquoted(mail.reverse_path.as_bytes()));
            mail.dsn.parameters().for_each(|word| is_word(word, &line));
            parameters(mail, from);
        }
        (Command::Rcpt(rcpt), Request::Rcpt { to }) => {
            let path = rcpt.forward_path.as_bytes();
            handed_on(path, &line);
            // It has an empty address for `<postmaster>`, which has no domain.
            let is_postmaster = path.eq_ignore_ascii_case(b"postmaster");
            let expected = if is_postmaster { Vec::new() } else { unquoted(path) };
            assert_eq!(to.address.as_bytes(), expected);
            rcpt.dsn.parameters().for_each(|word| is_word(word, &line));
            notifications(&rcpt.dsn, to);
        }
        (Command::Bdat(chunk), Request::Bdat { chunk_size, is_last }) => {
            assert_eq!((chunk.octets, chunk.last), (*chunk_size as u64, *is_last));
        }
        (Command::Hello(Greeting::Ehlo, name), Request::Ehlo { host })
        | (Command::Hello(Greeting::Helo, name), Request::Helo { host }) => {
            // It stops at a space.
            assert_eq!(name.split(' ').next(), Some(&**host));
        }
        (Command::Auth(auth), Request::Auth { mechanism, initial_response }) => {
            let theirs = match *mechanism {
                AUTH_PLAIN => Some(Mechanism::Plain),
                AUTH_LOGIN => Some(Mechanism::Login),
                _ => None,
            };
            assert_eq!(auth.mechanism, theirs);
            let ours = auth.initial_response.unwrap_or_default();
            // It makes text of it; ours is not looked at before it is base64.
            assert_eq!(String::from_utf8_lossy(ours), **initial_response);
        }
        (Command::Data, Request::Data)
        | (Command::Expn, Request::Expn { .. })
        | (Command::Help, Request::Help { .. })
        | (Command::Noop, Request::Noop { .. })
        | (Command::Quit, Request::Quit)
        | (Command::Rset, Request::Rset)
        | (Command::StartTls, Request::StartTls)
        | (Command::Vrfy, Request::Vrfy { .. }) => {}
        (ours, theirs) => panic!("{ours:?} is {theirs:?}"),
    }
}

/// Where smtp-proto 0.2 does not follow us, each for a reason of its own:
///
/// - a path of more than 256 octets (RFC 5321 §4.5.3.1.3; ours may have 1,000);
/// - an address literal, which it does not know;
/// - an empty quoted local-part, `""@example.com`, which RFC 5321 §4.1.2 allows;
/// - a size of twenty digits (RFC 1870 §3, RFC 3030 §2), which it cannot hold and we saturate;
/// - an ORCPT of another type than rfc822, or of an address of more than 256 octets (RFC 3461 §4.2 has
///   500 for both);
/// - AUTH with a mechanism that is not ours, which we look at no further, and AUTH= of more than 256
///   octets (RFC 4954 §5 has 500);
/// - VRFY and EXPN, whose arguments we do not look at.
fn is_beyond_theirs(command: &Command<'_>, argument: &[u8]) -> bool {
    let path = match command {
        Command::Bdat(_) => return argument.split(|octet| *octet == b' ').any(|it| it.len() == 20),
        Command::Mail(mail) => mail.reverse_path.as_bytes(),
        Command::Rcpt(rcpt) if rcpt.dsn.orcpt.is_some_and(is_another_orcpt) => return true,
        Command::Rcpt(rcpt) => rcpt.forward_path.as_bytes(),
        Command::Auth(auth) => return auth.mechanism.is_none(),
        Command::Expn | Command::Vrfy => return true,
        _ => return false,
    };
    let is_size = |word: &[u8]| word.len() == b"SIZE=".len() + 20;
    let is_auth = |word: &[u8]| word.len() > 256 && word[..5].eq_ignore_ascii_case(b"AUTH=");
    path.len() > 256
        || path.ends_with(b"]")
        || path.starts_with(b"\"\"@")
        || argument.split(|octet| *octet == b' ').skip(1).any(|word| is_size(word) || is_auth(word))
}

fn is_another_orcpt(parameter: &[u8]) -> bool {
    const RFC822: &[u8] = b"ORCPT=rfc822;";
    !parameter[..RFC822.len().min(parameter.len())].eq_ignore_ascii_case(RFC822)
        || parameter.len() > RFC822.len() + 256
}

/// The octets of a path are those of the line, and say nothing but a path.
fn handed_on(path: &[u8], line: &[u8]) {
    assert!(path.is_empty() || line.windows(path.len()).any(|octets| octets == path));
    let is_wrong = |octet: &u8| octet.is_ascii_control() || b" <>".contains(octet);
    assert!(!path.iter().any(is_wrong), "{}", path.escape_ascii());
}

fn parameters(mail: &Mail<'_>, from: &MailFrom<Cow<'_, str>>) {
    assert_eq!(mail.size.unwrap_or(0), from.size as u64);
    let body = match mail.body {
        None => 0,
        Some(Body::EightBitMime) => MAIL_BODY_8BITMIME,
        Some(Body::SevenBit) => MAIL_BODY_7BIT,
    };
    let ret = mail.dsn.ret.map_or(0, |ret| match &*ret.to_ascii_uppercase() {
        b"RET=FULL" => MAIL_RET_FULL,
        b"RET=HDRS" => MAIL_RET_HDRS,
        _ => panic!("{}", ret.escape_ascii()),
    });
    assert_eq!(from.flags, body | ret | if mail.smtputf8 { MAIL_SMTPUTF8 } else { 0 });
    let MailFrom { trans_id, env_id, solicit, mtrk, auth, .. } = from;
    assert_eq!(mail.dsn.envid.map(decoded), env_id.as_deref().map(Vec::from));
    assert_eq!(mail.auth, auth.is_some());
    let others = [trans_id, solicit];
    assert!(others.iter().all(|it| it.is_none()) && mtrk.is_none(), "a parameter that is not ours");
}

fn notifications(dsn: &RcptDsn<'_>, to: &RcptTo<Cow<'_, str>>) {
    let value = dsn.notify.map(|notify| value(notify).to_ascii_uppercase()).unwrap_or_default();
    let flag = |word: &[u8]| match word {
        b"NEVER" => RCPT_NOTIFY_NEVER,
        b"SUCCESS" => RCPT_NOTIFY_SUCCESS,
        b"FAILURE" => RCPT_NOTIFY_FAILURE,
        b"DELAY" => RCPT_NOTIFY_DELAY,
        _ => 0,
    };
    let flags = value.split(|octet| *octet == b',').fold(0, |flags, word| flags | flag(word));
    assert_eq!(to.flags, flags);
    let address = |orcpt: &[u8]| decoded(&[b"=", &orcpt[b"ORCPT=rfc822;".len()..]].concat());
    assert_eq!(dsn.orcpt.map(address), to.orcpt.as_deref().map(Vec::from));
}

/// What is handed on is a word of the line, with a value that hides nothing in it.
fn is_word(parameter: &[u8], line: &[u8]) {
    let mut words = line.trim_ascii_end().split(|octet| *octet == b' ');
    assert!(words.any(|word| word == parameter), "{}", parameter.escape_ascii());
    let decoded = decoded(parameter);
    assert!(!decoded.is_empty() && decoded.iter().all(|octet| (b' '..=b'~').contains(octet)));
}

fn value(parameter: &[u8]) -> &[u8] {
    let equals = parameter.iter().position(|octet| *octet == b'=');
    &parameter[equals.expect("a parameter has a value") + 1..]
}

/// The value of a parameter, out of xtext (RFC 3461 §4).
fn decoded(parameter: &[u8]) -> Vec<u8> {
    let mut rest = value(parameter);
    let mut decoded = Vec::new();
    while let Some((octet, behind)) = rest.split_first() {
        rest = behind;
        if *octet == b'+' {
            let digits = std::str::from_utf8(&rest[..2]).expect("two digits");
            decoded.push(u8::from_str_radix(digits, 16).expect("two digits"));
            rest = &rest[2..];
        } else {
            decoded.push(*octet);
        }
    }
    decoded
}

/// A path without its quotes, as smtp-proto hands it on.
fn unquoted(path: &[u8]) -> Vec<u8> {
    let mut octets = path.iter();
    let mut unquoted = Vec::new();
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => {}
            b'\\' => unquoted.extend(octets.next()),
            octet => unquoted.push(*octet),
        }
    }
    unquoted
}
