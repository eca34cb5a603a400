//! How long an upstream may take for what the contract has no key for.
//!
//! Each limit is for the whole of what is waited for: a reply has to be here to its last line by
//! then, however often an octet of it comes.

use std::time::Duration;

/// Deadlines of an upstream. The defaults are what operators get; tests are less patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the answer to MAIL, RCPT, DATA or a chunk, and for taking octets.
    pub reply: Duration,
    /// For the first answer on a connection that was used before.
    pub reused_reply: Duration,
    /// For what nobody waits for: the answer to RSET or to a lone dot, the reason for a refusal in
    /// the middle of the data.
    pub closing: Duration,
}

/// RFC 5321 §4.5.3.2 gives a queueing client five minutes; here an application is waiting, and most
/// give up after one.
const REPLY: Duration = Duration::from_mins(1);

/// A reused connection that died unseen, behind a NAT that forgot it, says nothing; nothing was
/// accepted on it, so another can be tried.
const REUSED_REPLY: Duration = Duration::from_secs(10);

/// A connection is not worth more than this once the client has its answer.
const CLOSING: Duration = Duration::from_secs(5);

impl Default for Patience {
    fn default() -> Self {
        Self { reply: REPLY, reused_reply: REUSED_REPLY, closing: CLOSING }
    }
}
