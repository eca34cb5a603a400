//! What the targets share: how an input is cut into pieces, readers to compare with, a conversation
//! with an upstream, and a whole gateway between clients and upstreams that are no part of it.
//!
//! The readers are other ways to the same answer, as plain as possible and slow. They share no code
//! with what they judge, or both would be wrong alike.
#![forbid(unsafe_code)]

pub mod conversation;
pub mod gateway;
pub mod grammar;
mod pieces;
mod receiver;
pub mod replies;
pub mod sink;
pub mod strict;
pub mod upstream;

pub use self::pieces::Pieces;
pub use self::receiver::{Received, received_lines, shown_mailboxes};
