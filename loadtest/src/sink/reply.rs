//! The words of a sink.
//!
//! Whole replies with their CRLF, in the order of their codes; the ones that end a connection say so.

use crate::command::Fault;

pub(super) const READY_FOR_TLS: &str = "220 2.0.0 Ready to start TLS\r\n";
pub(super) const BYE: &str = "221 2.0.0 Bye\r\n";
pub(super) const OK: &str = "250 2.0.0 OK\r\n";
pub(super) const SENDER_OK: &str = "250 2.1.0 Sender OK\r\n";
pub(super) const RECIPIENT_OK: &str = "250 2.1.5 Recipient OK\r\n";
pub(super) const CANNOT_VERIFY: &str = "252 2.5.0 Cannot verify, send some mail\r\n";
pub(super) const SEND_DATA: &str = "354 End data with <CR><LF>.<CR><LF>\r\n";
pub(super) const IDLE: &str = "421 4.4.2 Idle for too long, closing connection\r\n";
pub(super) const TOO_MANY_MESSAGES: &str =
    "421 4.7.0 Too many messages on this connection, closing it\r\n";
pub(super) const NOT_DELIVERED: &str =
    "451 4.3.0 Nobody takes messages from this sink any more\r\n";
pub(super) const TOO_MANY_RECIPIENTS: &str = "452 4.5.3 Too many recipients\r\n";
pub(super) const LINE_SYNTAX: &str =
    "500 5.5.2 Line holds a bare CR, a bare LF, NUL or no UTF-8\r\n";
pub(super) const LINE_TOO_LONG: &str = "500 5.5.2 Line too long, closing connection\r\n";
pub(super) const UNKNOWN_COMMAND: &str = "500 5.5.2 Command unrecognized\r\n";
pub(super) const ARGUMENTS: &str = "501 5.5.4 Syntax error in arguments\r\n";
pub(super) const BAD_SEQUENCE: &str = "503 5.5.1 Bad sequence of commands\r\n";
pub(super) const TOO_BIG: &str = "552 5.3.4 Message too big\r\n";
pub(super) const MAIL_PARAMETER: &str = "555 5.5.4 Parameter of MAIL not recognized\r\n";
pub(super) const RCPT_PARAMETER: &str = "555 5.5.4 Parameter of RCPT not recognized\r\n";

/// What no client can take for a reply: no code, and octets that are no UTF-8.
pub(super) const GARBAGE: &[u8] = b"\xff\xfe no reply, on purpose \x00\r\n";

/// The reply to a line that is no command.
pub(super) fn to_fault(fault: Fault) -> &'static str {
    match fault {
        Fault::Arguments => ARGUMENTS,
        Fault::Line => LINE_SYNTAX,
        Fault::Unknown => UNKNOWN_COMMAND,
    }
}
