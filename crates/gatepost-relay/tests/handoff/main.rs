//! The hand-over as a whole: a client that does what the inbound side does, a relay with a real spool,
//! and a scripted upstream on the other side of a real socket.
//!
//! What each test asks is the same: what did the client hear of each recipient, what does the upstream
//! have, what does the spool have, and is that one place for each.

mod chunks;
mod client;
mod counts;
mod doubt;
mod fuse;
mod happy;
mod play;
mod property;
mod refusals;
mod scenario;
mod table;
mod ways;
mod world;
