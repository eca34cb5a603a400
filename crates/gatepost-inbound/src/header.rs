//! The header section of a message, held back while it is looked at.
//!
//! Only entries that ask for it (`header_from`, `add_missing_headers`) pay for it, and only the
//! header section is held, within a bound; the body never is.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use gatepost_policy::check::{self, Check, HEADER_OCTETS_MAX, HEADER_TOO_LARGE, Refusal};
use gatepost_policy::entry::{HeaderFrom, MissingHeaders, Terms};
use gatepost_relay::Id;
use gatepost_smtp::header::{self, Progress, Section};
use jiff::tz::TimeZone;

use crate::session::Session;

/// A header section of which not all has come.
pub(crate) struct HeldHeader {
    octets: BytesMut,
    section: Section,
}

/// What has become of what was held.
pub(crate) enum Examined {
    /// There is more to come.
    Held(HeldHeader),
    /// It may go on, behind the fields that are missing in it.
    Passed {
        missing: Missing,
        content: Bytes,
    },
    Refused(Refusal),
}

/// Fields that a message should have and has not.
pub(crate) struct Missing(MissingHeaders);

impl HeldHeader {
    /// If the entry, or the credential, wants to look at header sections.
    pub(crate) fn for_session(session: &Session) -> Option<Self> {
        let wanted = |terms: &Terms| {
            terms.header_from == HeaderFrom::Allowed || terms.add_missing_headers.any()
        };
        let is_wanted = session.terms().any(wanted);
        is_wanted.then(|| Self { octets: BytesMut::new(), section: Section::new() })
    }

    /// Adds content, which may hold the end of the section and what is behind it.
    pub(crate) fn add(mut self, content: &[u8], session: &Session) -> Examined {
        self.octets.extend_from_slice(content);
        let section_octets = match self.section.advance(&self.octets) {
            Progress::Ended(octets) | Progress::Malformed(octets) => octets,
            Progress::More if self.octets.len() <= HEADER_OCTETS_MAX => {
                return Examined::Held(self);
            }
            Progress::More => self.octets.len(),
        };
        if section_octets > HEADER_OCTETS_MAX {
            let refusal = Refusal { check: Check::HeaderFrom, reply: HEADER_TOO_LARGE };
            return Examined::Refused(refusal);
        }
        self.judge(section_octets, session)
    }

    /// The content has ended: all of it is the header section.
    pub(crate) fn end(self, session: &Session) -> Examined {
        let section_octets = self.octets.len();
        self.judge(section_octets, session)
    }

    fn judge(self, section_octets: usize, session: &Session) -> Examined {
        // All that is held, because behind a line that is no field others may read on.
        let judged = session
            .entries()
            .try_for_each(|entry| check::header_from(entry, session.generation, &self.octets));
        if let Err(refusal) = judged {
            return Examined::Refused(refusal);
        }
        let section = &self.octets[..section_octets];
        let wanted = |field: fn(MissingHeaders) -> bool| {
            session.terms().any(|terms| field(terms.add_missing_headers))
        };
        let missing = Missing(MissingHeaders {
            date: wanted(|fields| fields.date) && !header::has_field(section, b"date"),
            message_id: wanted(|fields| fields.message_id)
                && !header::has_field(section, b"message-id"),
        });
        Examined::Passed { missing, content: self.octets.freeze() }
    }
}

impl Missing {
    pub(crate) const fn is_empty(&self) -> bool {
        !self.0.any()
    }

    /// The fields with their CRLFs. The id is unique, so `id@hostname` is (RFC 5322 §3.6.4).
    pub(crate) fn fields(&self, id: Id, hostname: &str) -> String {
        let mut fields = String::new();
        if self.0.date {
            let now = jiff::Timestamp::now().to_zoned(TimeZone::UTC);
            let date = jiff::fmt::rfc2822::to_string(&now).unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = write!(fields, "Date: {date}\r\n");
        }
        if self.0.message_id {
            let _ = write!(fields, "Message-ID: <{id}@{hostname}>\r\n");
        }
        fields
    }
}
