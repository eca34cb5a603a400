//! What the server machine says by itself (RFC 5321 §4.2.3, enhanced status codes of RFC 3463).

use crate::reply::Reply;

/// AUTH in a session that has used it (RFC 4954 §4).
pub const AUTH_ALREADY: Reply = Reply::fixed(503, (5, 5, 1), "authenticated already");
/// AUTH inside a transaction (RFC 4954 §4).
pub const AUTH_IN_TRANSACTION: Reply =
    Reply::fixed(503, (5, 5, 1), "a transaction is open: send RSET before AUTH");
/// AUTH in plain text, where it is offered behind TLS (RFC 4954 §4).
pub const AUTH_NEEDS_TLS: Reply =
    Reply::fixed(538, (5, 7, 11), "AUTH needs encryption: send STARTTLS first");
/// Octets right behind AUTH or a response, which must end a group (RFC 4954 §4): they were sent
/// before anybody knew how it would end, so they are not believed.
pub const AUTH_NOT_AWAITED: Reply =
    Reply::fixed(503, (5, 5, 0), "wait for the reply to AUTH before going on");
/// AUTH with a mechanism that is not ours.
pub const AUTH_MECHANISM: Reply =
    Reply::fixed(504, (5, 5, 4), "mechanism not offered; PLAIN and LOGIN are");
/// Success of AUTH.
pub const AUTHENTICATED: Reply = Reply::fixed(235, (2, 7, 0), "authenticated");
/// Anything that needs AUTH before (RFC 4954 §6).
pub const AUTHENTICATION_REQUIRED: Reply =
    Reply::fixed(530, (5, 7, 0), "authentication required: send AUTH");
/// QUIT.
pub const BYE: Reply = Reply::fixed(221, (2, 0, 0), "bye");
/// BDAT after a chunk of the same message was refused.
pub const CHUNK_REFUSED: Reply =
    Reply::fixed(503, (5, 5, 1), "an earlier chunk was refused: send RSET");
/// Anything but BDAT between two chunks, DATA among it (RFC 3030 §2).
pub const CHUNKS_AWAITED: Reply =
    Reply::fixed(503, (5, 5, 1), "the message comes in chunks: send BDAT or RSET");
/// DATA or BDAT without any RCPT.
pub const DATA_NEEDS_RCPT: Reply =
    Reply::fixed(503, (5, 5, 1), "no recipient was named: send RCPT first");
/// Octets right behind DATA, which must end a group (RFC 2920 §3.1): they might be meant as data
/// or as commands, so neither is believed.
pub const DATA_NOT_AWAITED: Reply =
    Reply::fixed(503, (5, 5, 0), "wait for 354 before sending data");
/// EXPN.
pub const EXPN: Reply = Reply::fixed(502, (5, 5, 1), "EXPN is not offered");
/// DATA, when a recipient stands (RFC 5321 §4.1.1.4; 354 has no enhanced status code).
pub const GO_AHEAD: Reply = Reply::fixed_plain(354, "end data with <CRLF>.<CRLF>");
/// HELP.
pub const HELP: Reply =
    Reply::fixed(214, (2, 0, 0), "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT");
/// MAIL, RCPT or DATA before EHLO.
pub const HELLO_FIRST: Reply = Reply::fixed(503, (5, 5, 1), "send EHLO first");
/// MAIL inside a transaction.
pub const NESTED_MAIL: Reply = Reply::fixed(503, (5, 5, 1), "nested MAIL: a transaction is open");
/// RCPT or DATA outside a transaction.
pub const NEEDS_MAIL: Reply =
    Reply::fixed(503, (5, 5, 1), "no transaction is open: send MAIL first");
/// DATA after every recipient was refused (RFC 5321 §3.3).
pub const NO_VALID_RECIPIENTS: Reply = Reply::fixed(554, (5, 5, 1), "no valid recipients");
/// AUTH or STARTTLS where it is not offered.
pub const NOT_OFFERED: Reply = Reply::fixed(502, (5, 5, 1), "command not offered");
/// Success without more to say.
pub const OK: Reply = Reply::fixed(250, (2, 0, 0), "Ok");
/// RSET.
pub const RESET: Reply = Reply::fixed(250, (2, 0, 0), "reset");
/// STARTTLS, taken: TLS is what comes next, on both sides (RFC 3207 §4).
pub const START_TLS: Reply = Reply::fixed(220, (2, 0, 0), "go ahead with TLS");
/// STARTTLS inside a transaction.
pub const STARTTLS_IN_TRANSACTION: Reply =
    Reply::fixed(503, (5, 5, 1), "a transaction is open: send RSET before STARTTLS");
/// STARTTLS inside TLS.
pub const TLS_ALREADY: Reply = Reply::fixed(503, (5, 5, 1), "TLS is in use already");
/// VRFY (RFC 5321 §3.5.3).
pub const VRFY: Reply = Reply::fixed(252, (2, 1, 5), "send some mail, and see");
