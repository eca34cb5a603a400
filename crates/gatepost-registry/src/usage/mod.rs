//! How entries are used, over months: what is counted is added up in a file, and a report says what
//! of the allow-list is not needed, too wide, or about to end.
//!
//! It is apart from the policy: nothing here decides about a client, and a file that is lost costs
//! knowledge and no mail.

pub mod report;
mod store;

pub use store::{UNKNOWN_KEPT, UsageError, UsageStore};
