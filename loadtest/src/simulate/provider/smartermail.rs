//! A SmarterMail server that relays for whitelisted addresses ("SMTP Auth Bypass") and for its
//! users.
//!
//! Known from pages of hosts that run it: the two 550. The rest is what such servers usually say:
//! what one offers and limits is up to whoever runs it, and nothing of it is confirmed by the
//! vendor's documentation.

use std::time::Duration;

use super::{Admission, BASIC, Description, DomainMatch, ImplicitTls, Mechanism};
use super::{PlainText, Times, Words};
use crate::simulate::limit::Bound;

pub(super) const DESCRIPTION: Description = Description {
    hostname: "mail.example.com",
    greeting: "220 mail.example.com",
    hello: "mail.example.com Hello [{client}]",
    offered_plain: &["SIZE {size}", "AUTH LOGIN PLAIN CRAM-MD5", "STARTTLS", "8BITMIME", "OK"],
    offered_tls: &["SIZE {size}", "AUTH LOGIN PLAIN CRAM-MD5", "8BITMIME", "OK"],
    refused_hellos: &[],
    mechanisms: &[Mechanism::Login, Mechanism::Plain],
    plain_text: PlainText::All,
    implicit_tls: ImplicitTls::Offered,
    admission: Admission::AddressOrLogin,
    domains: DomainMatch::Exact,
    account: ("relay@example.com", "simulated"),
    times: Times {
        idle: Duration::from_mins(5),
        idle_reply: "421 Command timeout, closing transmission channel",
        age: None,
        age_reply: "",
    },
    bounds: &[
        Bound::connections(None, "421 Too many connections, closing transmission channel"),
        Bound::recipients_per_message(200, "452 Too many recipients"),
        Bound::message_octets(31_457_280, "552 Message size exceeds limit"),
    ],
    words: Words {
        ok: "250 OK",
        start_tls: "220 Start TLS negotiation",
        sender_ok: "250 OK <{sender}> Sender ok",
        recipient_ok: "250 OK Recipient ok",
        start_data: "354 Start mail input; end with <CRLF>.<CRLF>",
        queued: "250 OK",
        bye: "221 Service closing transmission channel",
        logged_in: "235 Authentication successful",
        relay_refused: "550 Authentication is required for relay",
        sender_refused: "550 From domain must match authenticated domain",
        ..BASIC
    },
};
