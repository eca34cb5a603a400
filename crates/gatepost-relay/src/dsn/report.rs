//! A notification as octets: multipart/report (RFC 6522) of a text for people, the status of each
//! recipient (RFC 3464), and what comes back of the message.
//!
//! Pure: everything is an argument. No octet of an upstream or a client stands outside of a field
//! value or a paragraph, and the boundary is one that occurs in no part.

use std::time::SystemTime;

use gatepost_smtp::dsn::{MailDsn, RcptDsn};
use gatepost_smtp::reply::{EnhancedStatus, Reply, Severity};
use gatepost_spool::{Notice, QueueId, RecipientState, StoredMessage, StoredRecipient};
use jiff::{Timestamp, tz::TimeZone};

use super::fields::{ascii, field, text};
use super::original::{Extent, Original};
use super::text::text_for_people;

/// Octets of a reply that are told: some lines of it.
const REPLY_OCTETS_MAX: usize = 1024;
/// The status of what was not delivered in its time (RFC 3463 §3.5).
const EXPIRED: EnhancedStatus = EnhancedStatus::new(4, 4, 7);

/// What a notification is made of.
#[derive(Clone, Copy)]
pub(super) struct Report<'a> {
    /// Its own id.
    pub(super) id: QueueId,
    /// Our name.
    pub(super) hostname: &'a str,
    pub(super) now: SystemTime,
    /// What it is about.
    pub(super) message: &'a StoredMessage,
    /// Whom it is about. There is at least one.
    pub(super) told: &'a [&'a StoredRecipient],
    pub(super) notice: Notice,
    pub(super) original: &'a Original,
}

/// What is told about a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Delayed,
    Failed,
    Relayed,
}

impl Kind {
    pub(super) const fn of(notice: Notice, state: RecipientState) -> Self {
        match (notice, state) {
            (Notice::Delay, _) => Self::Delayed,
            (Notice::End, RecipientState::Delivered) => Self::Relayed,
            (Notice::End, _) => Self::Failed,
        }
    }

    /// The word of RFC 3464 §2.3.3.
    pub(super) const fn action(self) -> &'static str {
        match self {
            Self::Delayed => "delayed",
            Self::Failed => "failed",
            Self::Relayed => "relayed",
        }
    }
}

/// A part of it.
struct Part {
    content_type: String,
    content: Vec<u8>,
}

impl Report<'_> {
    /// All of it, with lines that end with CRLF. Dots are not stuffed.
    pub(super) fn compose(&self) -> Vec<u8> {
        let mut parts = vec![self.for_people(), self.status()];
        if self.original.extent != Extent::Nothing {
            parts.push(Part {
                content_type: self.original.media_type.to_owned(),
                content: self.original.octets.clone(),
            });
        }
        let boundary = boundary(self.id, &parts);
        let is_eight_bit = parts.iter().any(|part| !part.content.is_ascii());
        let mut out = self.header(&boundary, is_eight_bit).into_bytes();
        for part in &parts {
            let mut header = format!("\r\n--{boundary}\r\n");
            field(&mut header, "Content-Type", &part.content_type);
            field(&mut header, "Content-Transfer-Encoding", encoding(!part.content.is_ascii()));
            header.push_str("\r\n");
            out.extend_from_slice(header.as_bytes());
            out.extend_from_slice(&part.content);
        }
        out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        out
    }

    pub(super) fn kind(&self, recipient: &StoredRecipient) -> Kind {
        Kind::of(self.notice, recipient.state)
    }

    /// The worst that it tells: what stands in its subject.
    fn worst(&self) -> Kind {
        let kinds = || self.told.iter().map(|recipient| self.kind(recipient));
        if kinds().any(|kind| kind == Kind::Failed) {
            return Kind::Failed;
        }
        kinds().next().unwrap_or(Kind::Failed)
    }

    fn header(&self, boundary: &str, is_eight_bit: bool) -> String {
        let mut out = String::new();
        let hostname = self.hostname;
        let subject = match self.worst() {
            Kind::Delayed => "Delivery Status Notification (Delay)",
            Kind::Failed => "Delivery Status Notification (Failure)",
            Kind::Relayed => "Delivery Status Notification (Relayed)",
        };
        field(&mut out, "Date", &date(self.now));
        field(&mut out, "From", &format!("Mail Delivery System <MAILER-DAEMON@{hostname}>"));
        // RFC 3461 §6.2: whom the envelope names.
        field(&mut out, "To", &text(&self.message.envelope.reverse_path));
        field(&mut out, "Subject", subject);
        field(&mut out, "Message-ID", &format!("<{}@{hostname}>", self.id));
        if let Some(about) = &self.original.message_id {
            // RFC 3834 §3.1.5: so that it is shown with what it answers.
            field(&mut out, "In-Reply-To", about);
            field(&mut out, "References", about);
        }
        // RFC 3834 §5: nobody is to answer it.
        field(&mut out, "Auto-Submitted", "auto-replied");
        field(&mut out, "MIME-Version", "1.0");
        let report = "multipart/report; report-type=delivery-status;";
        field(&mut out, "Content-Type", &format!("{report} boundary=\"{boundary}\""));
        field(&mut out, "Content-Transfer-Encoding", encoding(is_eight_bit));
        out
    }

    fn for_people(&self) -> Part {
        let content = text_for_people(self);
        let charset = if content.is_ascii() { "us-ascii" } else { "utf-8" };
        let content_type = format!("text/plain; charset={charset}");
        Part { content_type, content: content.into_bytes() }
    }

    /// What programs read (RFC 3464 §2).
    fn status(&self) -> Part {
        let envelope = &self.message.envelope;
        let mut out = String::new();
        field(&mut out, "Reporting-MTA", &format!("dns; {}", self.hostname));
        if let Some(id) = MailDsn::kept(&envelope.dsn).envelope_id() {
            field(&mut out, "Original-Envelope-Id", &ascii(&id));
        }
        field(&mut out, "Arrival-Date", &date(envelope.received_at));
        field(&mut out, "X-Gatepost-Id", &envelope.id.to_string());
        for recipient in self.told {
            out.push_str("\r\n");
            self.status_of(&mut out, recipient);
        }
        // RFC 6533 §4: addresses as they are.
        let is_global = !out.is_ascii();
        let content_type =
            if is_global { "message/global-delivery-status" } else { "message/delivery-status" };
        Part { content_type: content_type.to_owned(), content: out.into_bytes() }
    }

    fn status_of(&self, out: &mut String, recipient: &StoredRecipient) {
        let kind = self.kind(recipient);
        let asked = RcptDsn::kept(&recipient.recipient.dsn);
        if let Some((of, address)) = asked.original_recipient() {
            field(out, "Original-Recipient", &format!("{}; {}", ascii(of), ascii(&address)));
        }
        let path = &recipient.recipient.path;
        let of = if path.is_ascii() { "rfc822" } else { "utf-8" };
        field(out, "Final-Recipient", &format!("{of}; {}", text(path)));
        field(out, "Action", kind.action());
        field(out, "Status", &status(kind, recipient).to_string());
        if let Some(reply) = &recipient.reply {
            // What the operator calls it: which of its hosts has answered is not known any more.
            let upstream = &self.message.envelope.upstream;
            field(
                out,
                "Remote-MTA",
                &format!("x-gatepost-upstream; {}", ascii(upstream.as_bytes())),
            );
            field(out, "Diagnostic-Code", &format!("smtp; {}", reply_in_a_line(reply)));
        }
        match kind {
            Kind::Delayed => {
                field(out, "Will-Retry-Until", &date(self.message.envelope.expires_at));
            }
            // It is told in the same breath; only if the program has ended in between, this is later.
            _ if recipient.state != RecipientState::Expired => {
                field(out, "Last-Attempt-Date", &date(self.now));
            }
            _ => {}
        }
    }
}

/// The status of RFC 3464 §2.3.4: that of the reply, if it says what is told; otherwise the undefined
/// one of its class.
fn status(kind: Kind, recipient: &StoredRecipient) -> EnhancedStatus {
    if recipient.state == RecipientState::Expired && kind == Kind::Failed {
        return EXPIRED;
    }
    let severity = match kind {
        Kind::Delayed => Severity::Transient,
        Kind::Failed => Severity::Permanent,
        Kind::Relayed => Severity::Positive,
    };
    let reply = recipient.reply.as_ref().filter(|reply| reply.severity() == severity);
    reply.and_then(Reply::enhanced).unwrap_or(EnhancedStatus::undefined(severity))
}

/// Code, status and text of a reply, its lines joined.
pub(super) fn reply_in_a_line(reply: &Reply) -> String {
    let enhanced = reply.enhanced().map(|status| format!(" {status}")).unwrap_or_default();
    let text = &reply.text()[..reply.text().len().min(REPLY_OCTETS_MAX)];
    let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(ascii).collect();
    format!("{}{enhanced} {}", reply.code(), words.join(" ")).trim_end().to_owned()
}

/// A moment as header fields say it (RFC 5322 §3.3).
pub(super) fn date(at: SystemTime) -> String {
    // Only a damaged row has a time that no date can say.
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    jiff::fmt::rfc2822::to_string(&at.to_zoned(TimeZone::UTC)).unwrap_or_default()
}

const fn encoding(is_eight_bit: bool) -> &'static str {
    if is_eight_bit { "8bit" } else { "7bit" }
}

/// A boundary that occurs in no part (RFC 2046 §5.1.1). `_` keeps it apart from what is encoded.
fn boundary(id: QueueId, parts: &[Part]) -> String {
    let mut number = 0_u32;
    loop {
        let boundary = format!("=_{id}.{number}");
        let found =
            |part: &Part| memchr::memmem::find(&part.content, boundary.as_bytes()).is_some();
        if !parts.iter().any(found) {
            return boundary;
        }
        // Each one takes octets of the parts, which have an end.
        number += 1;
    }
}
