//! The SMTP relay service of Google Workspace, set to "Any addresses" and "Only accept mail from
//! the specified IP addresses" *or* SMTP AUTH, without "Require TLS encryption".
//!
//! Known from Google's pages: 100 recipients a transaction, 10,000 recipients per user and day,
//! 319,444 in ten minutes, and the wording of 421, 450, 452, 454 and 550. From transcripts of
//! Google's other servers: the EHLO reply. Not confirmed: at which command an unknown client is
//! refused (here MAIL), and whether a name below a registered domain will do in EHLO (here it does
//! not, which is the stricter reading).

use std::time::Duration;

use super::{Admission, Description, DomainMatch, ENHANCED, ImplicitTls, Mechanism};
use super::{PlainText, Times, Words};
use crate::simulate::limit::{Bound, Excess, Limit, Share, Stage};

pub(super) const DESCRIPTION: Description = Description {
    hostname: "smtp-relay.gmail.com",
    greeting: "220 smtp-relay.gmail.com ESMTP simulated - gsmtp",
    hello: "smtp-relay.gmail.com at your service, [{client}]",
    offered_plain: &[
        "SIZE {size}",
        "8BITMIME",
        "STARTTLS",
        "ENHANCEDSTATUSCODES",
        "PIPELINING",
        "CHUNKING",
        "SMTPUTF8",
    ],
    offered_tls: &[
        "SIZE {size}",
        "8BITMIME",
        "AUTH LOGIN PLAIN XOAUTH2 PLAIN-CLIENTTOKEN OAUTHBEARER XOAUTH",
        "ENHANCEDSTATUSCODES",
        "PIPELINING",
        "CHUNKING",
        "SMTPUTF8",
    ],
    refused_hellos: &["localhost", "localhost.localdomain", "[127.0.0.1]", "[IPv6:::1]"],
    mechanisms: &[Mechanism::Login, Mechanism::Plain, Mechanism::Xoauth2],
    plain_text: PlainText::Mail,
    implicit_tls: ImplicitTls::Offered,
    admission: Admission::GoogleTenant,
    domains: DomainMatch::WithSubdomains,
    account: ("relay@example.com", "simulated"),
    times: Times {
        // Not documented; RFC 5321 §4.5.3.2.7 asks for five minutes.
        idle: Duration::from_mins(5),
        idle_reply: "451 4.4.2 Timeout - closing connection. simulated - gsmtp",
        age: None,
        age_reply: "",
    },
    bounds: &[
        Bound::connections(None, "421 4.7.0 Try again later, closing connection."),
        Bound::recipients_per_message(100, "452 4.5.3 Your message has too many recipients."),
        Bound::message_octets(
            157_286_400,
            "552 5.3.4 Your message exceeded Google's message size limits.",
        ),
        Bound::of_all(
            Limit::RecipientsPerTenMinutes,
            Some(319_444),
            Stage::Recipient,
            Excess::Refuse("450 4.2.1 Peak SMTP relay limit exceeded for customer."),
        ),
        Bound {
            limit: Limit::RecipientsPerDay,
            default: Some(10_000),
            stage: Stage::Recipient,
            share: Share::ReversePath,
            excess: Excess::Refuse("550 5.4.5 Daily SMTP relay limit exceeded for user."),
        },
    ],
    words: Words {
        sender_ok: "250 2.1.0 OK simulated - gsmtp",
        recipient_ok: "250 2.1.5 OK simulated - gsmtp",
        start_data: "354 Go ahead simulated - gsmtp",
        queued: "250 2.0.0 OK simulated - gsmtp",
        bye: "221 2.0.0 closing connection simulated - gsmtp",
        tls_pipelined: Some("454 4.5.0 no commands allowed to pipeline after STARTTLS"),
        login_failed: "535-5.7.8 Username and Password not accepted. For more information, go to\r\n\
                       535 5.7.8  https://support.google.com/mail/?p=BadCredentials",
        hello_refused: "421-4.7.0 Try again later, closing connection. (EHLO)\r\n\
                        421 4.7.0  https://support.google.com/a/answer/3221692",
        relay_refused: "550-5.7.1 Invalid credentials for relay [{client}]. The IP address you've\r\n\
                        550-5.7.1 registered doesn't match the domain of the account this email\r\n\
                        550-5.7.1 is being sent from. Use SMTP AUTH, or present one of your domain\r\n\
                        550 5.7.1 names in the HELO or EHLO command.",
        ..ENHANCED
    },
};
