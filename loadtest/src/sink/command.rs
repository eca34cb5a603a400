//! Command lines of SMTP clients (RFC 5321 §4.1), as far as a sink has to understand them.
//!
//! A line comes framed, without its CRLF. What cannot be parsed is an error that already is the
//! reply: nothing here knows the state of the session.

/// A command that is well-formed, in whatever state it may come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Data,
    Ehlo,
    Helo,
    /// The reverse-path without brackets, and the octets declared with SIZE= (RFC 1870).
    Mail {
        reverse_path: &'a str,
        size: Option<u64>,
    },
    Noop,
    Quit,
    /// The forward-path without brackets.
    Rcpt {
        forward_path: &'a str,
    },
    Rset,
    Vrfy,
}

const UNKNOWN_COMMAND: &str = "500 5.5.2 Command unrecognized\r\n";
const LINE_SYNTAX: &str = "500 5.5.2 Line holds a bare CR, a bare LF, NUL or no UTF-8\r\n";
const ARGUMENTS: &str = "501 5.5.4 Syntax error in arguments\r\n";
const MAIL_PARAMETER: &str = "555 5.5.4 Parameter of MAIL not recognized\r\n";
const RCPT_PARAMETER: &str = "555 5.5.4 Parameter of RCPT not recognized\r\n";

/// Parses one line, or says which reply it deserves.
pub(super) fn parse(line: &[u8]) -> Result<Command<'_>, &'static str> {
    if line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
        return Err(LINE_SYNTAX);
    }
    let line = str::from_utf8(line).map_err(|_| LINE_SYNTAX)?;
    let (verb, arguments) = line.split_once(' ').unwrap_or((line, ""));
    let is = |name| verb.eq_ignore_ascii_case(name);
    if is("MAIL") {
        parse_mail(arguments)
    } else if is("RCPT") {
        parse_rcpt(arguments)
    } else if is("DATA") {
        alone(Command::Data, arguments)
    } else if is("EHLO") {
        with_argument(Command::Ehlo, arguments)
    } else if is("HELO") {
        with_argument(Command::Helo, arguments)
    } else if is("QUIT") {
        alone(Command::Quit, arguments)
    } else if is("RSET") {
        alone(Command::Rset, arguments)
    } else if is("NOOP") {
        Ok(Command::Noop)
    } else if is("VRFY") {
        with_argument(Command::Vrfy, arguments)
    } else {
        Err(UNKNOWN_COMMAND)
    }
}

fn alone<'a>(command: Command<'a>, arguments: &str) -> Result<Command<'a>, &'static str> {
    // Trailing white space should be tolerated (RFC 5321 §4.1.1).
    if arguments.trim_ascii_end().is_empty() { Ok(command) } else { Err(ARGUMENTS) }
}

fn with_argument<'a>(command: Command<'a>, arguments: &str) -> Result<Command<'a>, &'static str> {
    if arguments.trim_ascii().is_empty() { Err(ARGUMENTS) } else { Ok(command) }
}

fn parse_mail(arguments: &str) -> Result<Command<'_>, &'static str> {
    let path = strip_keyword(arguments, "FROM:").ok_or(ARGUMENTS)?;
    let (reverse_path, parameters) = split_path(path).ok_or(ARGUMENTS)?;
    let mut size = None;
    for parameter in parameters.split_ascii_whitespace() {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.eq_ignore_ascii_case("SIZE") {
            size = Some(value.parse().map_err(|_| ARGUMENTS)?);
        } else if name.eq_ignore_ascii_case("BODY") {
            let known = ["7BIT", "8BITMIME"];
            known.iter().find(|known| value.eq_ignore_ascii_case(known)).ok_or(ARGUMENTS)?;
        } else if !parameter.eq_ignore_ascii_case("SMTPUTF8") {
            return Err(MAIL_PARAMETER);
        }
    }
    Ok(Command::Mail { reverse_path, size })
}

fn parse_rcpt(arguments: &str) -> Result<Command<'_>, &'static str> {
    let path = strip_keyword(arguments, "TO:").ok_or(ARGUMENTS)?;
    let (forward_path, parameters) = split_path(path).ok_or(ARGUMENTS)?;
    if forward_path.is_empty() {
        return Err(ARGUMENTS);
    }
    if !parameters.trim_ascii().is_empty() {
        return Err(RCPT_PARAMETER);
    }
    Ok(Command::Rcpt { forward_path })
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
        let mail = |reverse_path, size| Ok(Command::Mail { reverse_path, size });
        assert_eq!(parse(b"mail from:<>"), mail("", None));
        assert_eq!(
            parse(b"MAIL FROM:<a@b.test> SIZE=42 body=8bitmime"),
            mail("a@b.test", Some(42))
        );
        assert_eq!(parse("MAIL FROM:<ä@b.test> SMTPUTF8".as_bytes()), mail("ä@b.test", None));
        assert_eq!(parse(b"MAIL FROM:<\"a>\\\"b\"@c.test>"), mail("\"a>\\\"b\"@c.test", None));
        assert_eq!(parse(b"RCPT TO:<a@b.test>"), Ok(Command::Rcpt { forward_path: "a@b.test" }));
        assert_eq!(parse(b"data  "), Ok(Command::Data));
        assert_eq!(parse(b"NOOP anything"), Ok(Command::Noop));
        assert_eq!(parse(b"EHLO client.test"), Ok(Command::Ehlo));
    }

    #[test]
    fn refuses_what_is_malformed() {
        let cases: [(&[u8], &str); 13] = [
            (b"", UNKNOWN_COMMAND),
            (b"STARTTLS", UNKNOWN_COMMAND),
            (b"NOOP\nQUIT", LINE_SYNTAX),
            (b"NOOP \xff", LINE_SYNTAX),
            (b"EHLO", ARGUMENTS),
            (b"DATA now", ARGUMENTS),
            (b"MAIL FROM: <a@b.test>", ARGUMENTS),
            (b"MAIL FROM:a@b.test", ARGUMENTS),
            (b"MAIL FROM:<a@b.test>SIZE=1", ARGUMENTS),
            (b"MAIL FROM:<a@b.test> SIZE=x", ARGUMENTS),
            (b"MAIL FROM:<a@b.test> XYZ=1", MAIL_PARAMETER),
            (b"RCPT TO:<>", ARGUMENTS),
            (b"RCPT TO:<a@b.test> NOTIFY=NEVER", RCPT_PARAMETER),
        ];
        for (line, reply) in cases {
            assert_eq!(parse(line), Err(reply), "{}", line.escape_ascii());
        }
    }
}
