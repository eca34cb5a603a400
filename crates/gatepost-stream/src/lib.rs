//! The byte stream under both sides of the relay: a socket, its buffers and its deadline.
//!
//! A [`Stream`] is driven by exactly one task. It reads into a buffer that exists only while
//! there is something in it, so that an idle session is small (buffers of large messages go from one
//! stream to the next); it writes what was gathered in one
//! system call; and it gives up at a deadline that costs nothing to move (see [`Clock`]).
//!
//! This crate knows no SMTP. A stream may be protected with TLS, once and for good: see
//! [`Stream::secure`]. Who is trusted, and with which certificate, is decided elsewhere.

mod clock;
mod deadline;
mod spare;
mod stream;
mod tls;

pub use clock::Clock;
pub use deadline::Mark;
pub use stream::{Flushed, Stream, StreamError};
