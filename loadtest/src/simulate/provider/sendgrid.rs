//! Twilio SendGrid.
//!
//! Known from SendGrid's pages: ports, user `apikey`, 5,000 messages a connection, 10,000
//! connections, 1,000 recipients a message, and the wording of 403, 451 and 452. From transcripts:
//! greeting, EHLO reply (AUTH stands there before TLS too, STARTTLS behind it too, and no enhanced
//! status codes), 535, and that 451 closes the connection. A reporter has mended `451 Authentication
//! failed: Could not authenticate` with an address on the list of IP Access Management, which is
//! when it is said here. Not confirmed: the words for too many messages or connections, and for mail without
//! AUTH.

use std::time::Duration;

use super::{Admission, BASIC, Description, DomainMatch, ImplicitTls, Mechanism};
use super::{PlainText, Times, Words};
use crate::simulate::limit::{Bound, Excess, Limit, Stage};

const OFFERED: &[&str] =
    &["8BITMIME", "PIPELINING", "SIZE {size}", "STARTTLS", "AUTH PLAIN LOGIN", "AUTH=PLAIN LOGIN"];

pub(super) const DESCRIPTION: Description = Description {
    hostname: "smtp.sendgrid.net",
    greeting: "220 SG ESMTP service ready at simulated.sendgrid.net",
    hello: "smtp.sendgrid.net",
    offered_plain: OFFERED,
    offered_tls: OFFERED,
    refused_hellos: &[],
    mechanisms: &[Mechanism::Plain, Mechanism::Login],
    plain_text: PlainText::All,
    implicit_tls: ImplicitTls::Offered,
    admission: Admission::LoginFromAddress,
    domains: DomainMatch::Exact,
    account: ("apikey", "SG.simulated"),
    times: Times {
        // Not documented; RFC 5321 §4.5.3.2.7 asks for five minutes.
        idle: Duration::from_mins(5),
        idle_reply: "421 Timeout, closing connection",
        age: None,
        age_reply: "",
    },
    bounds: &[
        Bound::connections(Some(10_000), "421 Too many concurrent connections"),
        Bound::of_all(
            Limit::MessagesPerConnection,
            Some(5_000),
            Stage::Sender,
            Excess::Close("421 Too many messages on this connection"),
        ),
        Bound::recipients_per_message(1_000, "452 Too many recipients"),
        Bound::of_all(
            Limit::RecipientsPerHour,
            None,
            Stage::Recipient,
            Excess::Refuse("452 Too many recipients received this hour"),
        ),
        Bound::message_octets(31_457_280, "552 Message size exceeds limit"),
        // The credits of an account.
        Bound::of_all(
            Limit::RecipientsPerDay,
            None,
            Stage::Login,
            Excess::Close("451 Authentication failed: Maximum credits exceeded"),
        ),
    ],
    words: Words {
        start_tls: "220 Begin TLS negotiation now",
        sender_ok: "250 Sender address accepted",
        recipient_ok: "250 Recipient address accepted",
        start_data: "354 Continue",
        queued: "250 Ok: queued as simulated",
        bye: "221 See you later. Yours truly, SendGrid",
        logged_in: "235 Authentication successful",
        login_required: "550 Unauthenticated senders not allowed",
        login_failed: "535 Authentication failed: Bad username / password",
        address_refused: "451 Authentication failed: Could not authenticate",
        sender_refused: "403 You are not authorized to send from that email address",
        ..BASIC
    },
};
