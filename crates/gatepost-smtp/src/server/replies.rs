//! What the server machine says by itself (RFC 5321 §4.2.3, enhanced status codes of RFC 3463).

use crate::reply::Reply;

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
/// STARTTLS where it is not offered.
pub const NO_STARTTLS: Reply = Reply::fixed(502, (5, 5, 1), "command not offered");
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
