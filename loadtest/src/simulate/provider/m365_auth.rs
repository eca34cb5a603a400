//! SMTP AUTH client submission of Microsoft 365, after Basic authentication has been retired.
//!
//! Known from Microsoft's pages: port 587 with STARTTLS, three connections that send at a time, 30
//! messages a minute beyond which mail is delayed, 10,000 recipients a day, 500 a message, 5.7.30 to
//! passwords, 5.7.57 without AUTH, 5.7.60 to other senders. Seen by others: 432 to the content and
//! not to the connection.

use super::m365::{GREETING, HELLO, OFFERED_PLAIN, TIMES, WORDS};
use super::{Admission, Description, DomainMatch, ImplicitTls, Mechanism, PlainText, Words};
use crate::simulate::limit::{Bound, Excess, Limit, Share, Stage};

pub(super) const DESCRIPTION: Description = Description {
    hostname: "smtp.office365.com",
    greeting: GREETING,
    hello: HELLO,
    offered_plain: OFFERED_PLAIN,
    offered_tls: &[
        "SIZE {size}",
        "PIPELINING",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "AUTH LOGIN XOAUTH2",
        "8BITMIME",
        "BINARYMIME",
        "CHUNKING",
        "SMTPUTF8",
    ],
    refused_hellos: &[],
    mechanisms: &[Mechanism::Xoauth2],
    plain_text: PlainText::Nothing,
    implicit_tls: ImplicitTls::None,
    admission: Admission::LoginAsSender,
    domains: DomainMatch::Exact,
    account: ("relay@example.com", "simulated"),
    times: TIMES,
    bounds: &[
        Bound {
            limit: Limit::Connections,
            default: Some(3),
            stage: Stage::Content,
            share: Share::Account,
            excess: Excess::Refuse(
                "432 4.3.2 Concurrent connections limit exceeded. Visit \
                 https://aka.ms/concurrent_sending for more information.",
            ),
        },
        Bound::recipients_per_message(500, "452 4.5.3 Too many recipients"),
        Bound::message_octets(157_286_400, WORDS.too_big),
        Bound {
            limit: Limit::MessagesPerMinute,
            default: Some(30),
            stage: Stage::Content,
            share: Share::Account,
            excess: Excess::Delay,
        },
        Bound {
            limit: Limit::RecipientsPerDay,
            default: Some(10_000),
            stage: Stage::Content,
            share: Share::Account,
            excess: Excess::Refuse(
                "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
            ),
        },
    ],
    words: Words {
        login_required: "530 5.7.57 Client not authenticated to send mail. \
                         [SIMULATED.outlook.com]",
        mechanism_refused: "550 5.7.30 Basic authentication is not supported for Client \
                            Submission.",
        sender_refused: "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
        ..WORDS
    },
};
