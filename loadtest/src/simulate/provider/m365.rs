//! What a connector and client submission of Microsoft 365 have in common.
//!
//! From transcripts: the EHLO reply and the usual replies of Exchange Online.

use std::time::Duration;

use super::{ENHANCED, Times, Words};

pub(super) const HELLO: &str = "SIMULATED.outlook.office365.com Hello [{client}]";

pub(super) const GREETING: &str =
    "220 SIMULATED.outlook.office365.com Microsoft ESMTP MAIL Service ready";

pub(super) const OFFERED_PLAIN: &[&str] = &[
    "SIZE {size}",
    "PIPELINING",
    "DSN",
    "ENHANCEDSTATUSCODES",
    "STARTTLS",
    "8BITMIME",
    "BINARYMIME",
    "CHUNKING",
    "SMTPUTF8",
];

pub(super) const TIMES: Times = Times {
    // What Exchange has for its own receive connectors; not documented for Exchange Online.
    idle: Duration::from_mins(5),
    idle_reply: "421 4.4.1 Connection timed out",
    // Seen by others as a little under 21 minutes, whatever the connection is doing.
    age: Some(Duration::from_secs(20 * 60 + 55)),
    age_reply: "421 4.4.1 Connection timed out. Total session duration: 00:20:55.2872355",
};

pub(super) const WORDS: Words = Words {
    start_tls: "220 2.0.0 SMTP server ready",
    logged_in: "235 2.7.0 Authentication successful",
    queued: "250 2.6.0 <simulated> [InternalId=1, Hostname=SIMULATED.outlook.com] Queued mail \
             for delivery",
    bye: "221 2.0.0 Service closing transmission channel",
    unknown: "500 5.3.3 Unrecognized command",
    login_failed: "535 5.7.3 Authentication unsuccessful [SIMULATED.outlook.com]",
    ..ENHANCED
};
