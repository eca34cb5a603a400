//! Command lines of SMTP clients (RFC 5321 §4.1), as far as a server that takes mail needs them.
//!
//! A line comes framed, without its CRLF. Nothing here knows the state of the session, which
//! extensions are offered, or how a refusal is worded: a server has its own words for a [`Fault`].

/// A command that is well-formed, in whatever state it may come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    Auth {
        mechanism: &'a str,
        /// As it was sent: base64, or `=` for an empty one (RFC 4954 §4).
        initial_response: Option<&'a str>,
    },
    Bdat {
        octets: u64,
        last: bool,
    },
    Data,
    Ehlo {
        name: &'a str,
    },
    Helo {
        name: &'a str,
    },
    /// The reverse-path without brackets; the parameters are not looked at.
    Mail {
        reverse_path: &'a str,
        parameters: &'a str,
    },
    Noop,
    Quit,
    /// The forward-path without brackets; the parameters are not looked at.
    Rcpt {
        forward_path: &'a str,
        parameters: &'a str,
    },
    Rset,
    Starttls,
    Vrfy,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The verb is known, the rest is not what follows it.
    Arguments,
    /// A bare CR, a bare LF, NUL, or not UTF-8.
    Line,
    /// The verb is not known.
    Unknown,
}

/// Parses one line.
pub(crate) fn parse(line: &[u8]) -> Result<Command<'_>, Fault> {
    if line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
        return Err(Fault::Line);
    }
    let line = str::from_utf8(line).map_err(|_| Fault::Line)?;
    let (verb, arguments) = line.split_once(' ').unwrap_or((line, ""));
    let is = |name| verb.eq_ignore_ascii_case(name);
    if is("MAIL") {
        parse_mail(arguments)
    } else if is("RCPT") {
        parse_rcpt(arguments)
    } else if is("DATA") {
        alone(Command::Data, arguments)
    } else if is("BDAT") {
        parse_bdat(arguments)
    } else if is("EHLO") {
        word(arguments).map(|name| Command::Ehlo { name })
    } else if is("HELO") {
        word(arguments).map(|name| Command::Helo { name })
    } else if is("AUTH") {
        parse_auth(arguments)
    } else if is("STARTTLS") {
        alone(Command::Starttls, arguments)
    } else if is("QUIT") {
        alone(Command::Quit, arguments)
    } else if is("RSET") {
        alone(Command::Rset, arguments)
    } else if is("NOOP") {
        Ok(Command::Noop)
    } else if is("VRFY") {
        word(arguments).map(|_| Command::Vrfy)
    } else {
        Err(Fault::Unknown)
    }
}

/// The parameters of MAIL or RCPT by name, each with its value or an empty one.
pub(crate) fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split_ascii_whitespace()
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
}

fn alone<'a>(command: Command<'a>, arguments: &str) -> Result<Command<'a>, Fault> {
    // Trailing white space should be tolerated (RFC 5321 §4.1.1).
    if arguments.trim_ascii_end().is_empty() { Ok(command) } else { Err(Fault::Arguments) }
}

fn word(arguments: &str) -> Result<&str, Fault> {
    let word = arguments.trim_ascii();
    if word.is_empty() { Err(Fault::Arguments) } else { Ok(word) }
}

fn parse_mail(arguments: &str) -> Result<Command<'_>, Fault> {
    let path = strip_keyword(arguments, "FROM:").ok_or(Fault::Arguments)?;
    let (reverse_path, parameters) = split_path(path).ok_or(Fault::Arguments)?;
    Ok(Command::Mail { reverse_path, parameters })
}

fn parse_rcpt(arguments: &str) -> Result<Command<'_>, Fault> {
    let path = strip_keyword(arguments, "TO:").ok_or(Fault::Arguments)?;
    let (forward_path, parameters) = split_path(path).ok_or(Fault::Arguments)?;
    if forward_path.is_empty() {
        return Err(Fault::Arguments);
    }
    Ok(Command::Rcpt { forward_path, parameters })
}

/// `BDAT octets [LAST]` (RFC 3030 §2). The size is digits alone: a sign or a wrapped number would
/// make commands of content.
fn parse_bdat(arguments: &str) -> Result<Command<'_>, Fault> {
    let mut words = arguments.split_ascii_whitespace();
    let size = words.next().ok_or(Fault::Arguments)?;
    if !size.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(Fault::Arguments);
    }
    let octets = size.parse().map_err(|_| Fault::Arguments)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(Fault::Arguments),
    };
    if words.next().is_some() {
        return Err(Fault::Arguments);
    }
    Ok(Command::Bdat { octets, last })
}

fn parse_auth(arguments: &str) -> Result<Command<'_>, Fault> {
    let mut words = arguments.split_ascii_whitespace();
    let mechanism = words.next().ok_or(Fault::Arguments)?;
    let initial_response = words.next();
    if words.next().is_some() {
        return Err(Fault::Arguments);
    }
    Ok(Command::Auth { mechanism, initial_response })
}

fn strip_keyword<'a>(arguments: &'a str, keyword: &str) -> Option<&'a str> {
    let (start, rest) = arguments.split_at_checked(keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then_some(rest)
}

/// Splits `<path> parameters` at the bracket that closes the path: not at one in a quoted
/// local-part, which is how a second address could be smuggled in.
fn split_path(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('<')?;
    let mut quoted = false;
    let mut escaped = false;
    for (position, octet) in text.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => {
                let parameters = &text[position + 1..];
                let separated = parameters.is_empty() || parameters.starts_with(' ');
                return separated.then_some((&text[..position], parameters));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_clients_say() {
        let mail = |reverse_path, parameters| Ok(Command::Mail { reverse_path, parameters });
        assert_eq!(parse(b"mail from:<>"), mail("", ""));
        assert_eq!(
            parse(b"MAIL FROM:<a@b.test> SIZE=42 body=8bitmime"),
            mail("a@b.test", " SIZE=42 body=8bitmime")
        );
        assert_eq!(parse("MAIL FROM:<ä@b.test> X".as_bytes()), mail("ä@b.test", " X"));
        assert_eq!(parse(b"MAIL FROM:<\"a>\\\"b\"@c.test>"), mail("\"a>\\\"b\"@c.test", ""));
        let forward_path = "a@b.test";
        assert_eq!(
            parse(b"RCPT TO:<a@b.test>"),
            Ok(Command::Rcpt { forward_path, parameters: "" })
        );
        assert_eq!(parse(b"data  "), Ok(Command::Data));
        assert_eq!(parse(b"NOOP anything"), Ok(Command::Noop));
        assert_eq!(parse(b"EHLO client.test "), Ok(Command::Ehlo { name: "client.test" }));
        assert_eq!(parse(b"BDAT 5"), Ok(Command::Bdat { octets: 5, last: false }));
        assert_eq!(parse(b"bdat 0 last"), Ok(Command::Bdat { octets: 0, last: true }));
        assert_eq!(parse(b"starttls"), Ok(Command::Starttls));
        let auth = |mechanism, initial_response| Ok(Command::Auth { mechanism, initial_response });
        assert_eq!(parse(b"AUTH LOGIN"), auth("LOGIN", None));
        assert_eq!(parse(b"AUTH PLAIN AGEAYg=="), auth("PLAIN", Some("AGEAYg==")));
    }

    #[test]
    fn refuses_what_is_malformed() {
        let cases: [(&[u8], Fault); 19] = [
            (b"", Fault::Unknown),
            (b"EXPN x", Fault::Unknown),
            (b"NOOP\nQUIT", Fault::Line),
            (b"NOOP \xff", Fault::Line),
            (b"EHLO", Fault::Arguments),
            (b"DATA now", Fault::Arguments),
            (b"STARTTLS now", Fault::Arguments),
            (b"AUTH", Fault::Arguments),
            (b"AUTH PLAIN a b", Fault::Arguments),
            (b"BDAT", Fault::Arguments),
            (b"BDAT +5", Fault::Arguments),
            (b"BDAT 0x10", Fault::Arguments),
            (b"BDAT 18446744073709551616 LAST", Fault::Arguments),
            (b"BDAT 5 LAST x", Fault::Arguments),
            (b"BDAT 5 FIRST", Fault::Arguments),
            (b"MAIL FROM: <a@b.test>", Fault::Arguments),
            (b"MAIL FROM:a@b.test", Fault::Arguments),
            (b"MAIL FROM:<a@b.test>SIZE=1", Fault::Arguments),
            (b"RCPT TO:<>", Fault::Arguments),
        ];
        for (line, fault) in cases {
            assert_eq!(parse(line), Err(fault), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn parameters_come_by_name() {
        let found: Vec<_> = parameters(" SIZE=42 SMTPUTF8  X=a=b").collect();
        assert_eq!(found, [("SIZE", "42"), ("SMTPUTF8", ""), ("X", "a=b")]);
    }
}
