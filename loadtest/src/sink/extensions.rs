//! The extensions that a sink offers, and the parameters that come with them.
//!
//! Parameters are checked as far as a client could get them wrong; none of them changes what a sink
//! does, but for a declared size that is too big.

use std::fmt::Write as _;

use super::{Chunking, SinkOptions, reply};
use crate::command;

/// Whether STARTTLS is offered at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Starttls {
    Hidden,
    Offered,
}

/// Writes the reply to EHLO (RFC 5321 §4.1.1.1).
pub(super) fn write_ehlo_reply(options: &SinkOptions, starttls: Starttls, output: &mut Vec<u8>) {
    let mut reply = format!("250-{}\r\n250-PIPELINING\r\n", options.hostname);
    // Writing to a String cannot fail.
    let _ = write!(reply, "250-SIZE {}\r\n", options.size_max);
    reply.push_str("250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n");
    if options.chunking == Chunking::Offered {
        reply.push_str("250-CHUNKING\r\n");
    }
    if starttls == Starttls::Offered {
        reply.push_str("250-STARTTLS\r\n");
    }
    reply.push_str("250 ENHANCEDSTATUSCODES\r\n");
    output.extend_from_slice(reply.as_bytes());
}

/// The octets declared with SIZE= (RFC 1870), or the reply to parameters of MAIL that are wrong.
pub(super) fn declared_size(parameters: &str) -> Result<Option<u64>, &'static str> {
    let mut size = None;
    for (name, value) in command::parameters(parameters) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("SIZE") {
            size = Some(value.parse().map_err(|_| reply::ARGUMENTS)?);
        } else if is("BODY") {
            one_of(value, &["7BIT", "8BITMIME"])?;
        } else if is("RET") {
            one_of(value, &["FULL", "HDRS"])?;
        } else if is("ENVID") {
            not_empty(value)?;
        } else if !(is("SMTPUTF8") && value.is_empty()) {
            return Err(reply::MAIL_PARAMETER);
        }
    }
    Ok(size)
}

/// The reply to parameters of RCPT (RFC 3461 §4) that are wrong.
pub(super) fn check_rcpt(parameters: &str) -> Result<(), &'static str> {
    for (name, value) in command::parameters(parameters) {
        if name.eq_ignore_ascii_case("NOTIFY") {
            if !value.eq_ignore_ascii_case("NEVER") {
                for condition in value.split(',') {
                    one_of(condition, &["SUCCESS", "FAILURE", "DELAY"])?;
                }
            }
        } else if name.eq_ignore_ascii_case("ORCPT") {
            not_empty(value)?;
        } else {
            return Err(reply::RCPT_PARAMETER);
        }
    }
    Ok(())
}

fn one_of(value: &str, known: &[&str]) -> Result<(), &'static str> {
    let found = known.iter().any(|known| value.eq_ignore_ascii_case(known));
    if found { Ok(()) } else { Err(reply::ARGUMENTS) }
}

fn not_empty(value: &str) -> Result<(), &'static str> {
    if value.is_empty() { Err(reply::ARGUMENTS) } else { Ok(()) }
}
