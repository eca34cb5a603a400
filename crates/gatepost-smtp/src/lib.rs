//! RFC 5321 without I/O, clock or runtime.
#![forbid(unsafe_code)]

pub mod path;
pub mod reply;
