//! Relaying through Microsoft 365 by an inbound connector of type OnPremises that requires TLS.
//!
//! Known from Microsoft's pages: port 25, attribution by certificate or IPv4 address together with
//! an accepted domain, no null reverse-path by address alone, 5.7.64, 4.7.500, mail to accepted
//! domains for everybody. Seen by others: the session of at most 20:55 minutes. Not confirmed: at
//! which command a client is refused (here RCPT), 500 recipients a message here, and the reply to a
//! client that a connector with `RequireTls` sees in plain text.

use super::m365::{GREETING, HELLO, OFFERED_PLAIN, TIMES, WORDS};
use super::{Admission, Description, DomainMatch, ImplicitTls, PlainText, Words};
use crate::simulate::limit::{Bound, Excess, Limit, Stage};

pub(super) const DESCRIPTION: Description = Description {
    hostname: "example-com.mail.protection.outlook.com",
    greeting: GREETING,
    hello: HELLO,
    offered_plain: OFFERED_PLAIN,
    offered_tls: &[
        "SIZE {size}",
        "PIPELINING",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "8BITMIME",
        "BINARYMIME",
        "CHUNKING",
        "SMTPUTF8",
    ],
    refused_hellos: &[],
    mechanisms: &[],
    plain_text: PlainText::Mail,
    implicit_tls: ImplicitTls::None,
    admission: Admission::M365Tenant,
    domains: DomainMatch::Exact,
    account: ("", ""),
    times: TIMES,
    bounds: &[
        Bound::connections(None, "421 4.3.2 Service not available, closing transmission channel"),
        Bound::recipients_per_message(500, "452 4.5.3 Too many recipients"),
        Bound::message_octets(157_286_400, WORDS.too_big),
        // "Reasonable limits" is all that Microsoft says.
        Bound::of_all(
            Limit::MessagesPerMinute,
            None,
            Stage::Sender,
            Excess::Refuse(
                "451 4.7.500 Server busy. Please try again later from [{client}]. (S77714)",
            ),
        ),
    ],
    words: Words {
        tls_required: "451 5.7.3 STARTTLS is required to send mail",
        relay_refused: "550 5.7.64 TenantAttribution; Relay Access Denied [SIMULATED.outlook.com]",
        ..WORDS
    },
};
