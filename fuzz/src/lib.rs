//! What the targets share: how an input is cut into pieces, and readers to compare with.
//!
//! The readers are other ways to the same answer, as plain as possible and slow. They share no code
//! with what they judge, or both would be wrong alike.
#![forbid(unsafe_code)]

mod pieces;
mod receiver;

pub use self::pieces::Pieces;
pub use self::receiver::{Received, received_lines, shown_mailboxes};
