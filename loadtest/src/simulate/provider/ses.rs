//! Amazon SES, its SMTP interface.
//!
//! Known from AWS's documentation: ports, TLS and AUTH as a must, 50 recipients a message, 40 MB,
//! quotas that count recipients, and the wording of 421, 451, 454, 530, 535, 552 and 554. From
//! transcripts of clients: the EHLO reply, which names no PIPELINING, SIZE, CHUNKING, DSN, SMTPUTF8
//! or enhanced status codes, and the ten seconds of idleness. Not confirmed: the replies to the
//! 51st recipient and to the null reverse-path, and what becomes of commands that are pipelined all
//! the same: here they are answered in order, and held against the client.

use std::time::Duration;

use super::{Admission, BASIC, Description, DomainMatch, ImplicitTls, Mechanism};
use super::{PlainText, Times, Words};
use crate::simulate::limit::{Bound, Excess, Limit, Stage};

pub(super) const DESCRIPTION: Description = Description {
    hostname: "email-smtp.us-east-1.amazonaws.com",
    greeting: "220 email-smtp.amazonaws.com ESMTP SimpleEmailService simulated",
    hello: "email-smtp.amazonaws.com",
    offered_plain: &["8BITMIME", "STARTTLS", "AUTH PLAIN LOGIN", "Ok"],
    offered_tls: &["8BITMIME", "AUTH PLAIN LOGIN", "Ok"],
    refused_hellos: &[],
    mechanisms: &[Mechanism::Plain, Mechanism::Login],
    plain_text: PlainText::Nothing,
    implicit_tls: ImplicitTls::Offered,
    admission: Admission::LoginWithIdentity,
    domains: DomainMatch::WithSubdomains,
    account: ("AKIASIMULATED", "simulated"),
    times: Times {
        idle: Duration::from_secs(10),
        idle_reply: "451 4.4.2 Timeout waiting for data from client.",
        age: None,
        age_reply: "",
    },
    bounds: &[
        // AWS gives no figure.
        Bound::connections(None, "421 Too many concurrent SMTP connections"),
        Bound::recipients_per_message(50, "452 Too many recipients"),
        Bound::message_octets(40 * 1024 * 1024, "552 Message is too long."),
        // A usual figure once an account has left the sandbox, where it is 1.
        Bound::of_all(
            Limit::RecipientsPerSecond,
            Some(14),
            Stage::Content,
            Excess::Refuse("454 Throttling failure: Maximum sending rate exceeded"),
        ),
        // As above; 200 in the sandbox.
        Bound::of_all(
            Limit::RecipientsPerDay,
            Some(50_000),
            Stage::Content,
            Excess::Refuse("454 Throttling failure: Daily message quota exceeded"),
        ),
    ],
    words: Words {
        queued: "250 Ok 0100018f00000000-simulated-000000",
        login_failed: "535 Authentication Credentials Invalid",
        sender_refused: "554 Message rejected: Email address is not verified. The following \
                         identities failed the check in region US-EAST-1: {sender}",
        null_refused: Some("501 Invalid MAIL FROM address provided"),
        ..BASIC
    },
};
