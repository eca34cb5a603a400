//! The header section of a message that passes by (RFC 5322 §2.1, §2.2, §3.6.2).
//!
//! A relay does not parse messages. It counts fields, and where policy asks for it, it reads whom
//! a message claims to be from. Nothing is rewritten or decoded here, and nothing is guessed: what
//! two readers may read differently is not read.
//!
//! Content is looked at as it was sent, in place. A dot that begins a line is therefore not a part
//! of it (RFC 5321 §4.5.2): every reader of this module takes it off, as the receiver will, or
//! `.From:` would be a field that only the receiver can see.
//!
//! - [`HeaderScan`] notes what matters to every message, in whatever pieces it comes;
//! - [`Section`] finds the end of a header section that is held back;
//! - [`fields()`] and [`has_field`] look at what is held;
//! - [`from_mailboxes`] reads the From field;
//! - [`Gist`] hands what the copies of a message have in common to a hasher.

mod fields;
mod from;
mod gist;
mod scan;
mod section;

pub use self::fields::{Field, Fields, Malformed, fields, has_field};
pub use self::from::{COMMENT_DEPTH_MAX, FromFault, Mailboxes, Unreadable, from_mailboxes};
pub use self::gist::Gist;
pub use self::scan::HeaderScan;
pub use self::section::{Progress, Section};
