//! What a measurement sets up around a relay: both ends of the load, Gatepost itself, and clients that a
//! load does not have.
//!
//! The relay, the source and the sink are always processes of their own: none shares a runtime with
//! another or with whoever measures. All of them stay on loopback. What is done with them is for
//! `compare`, `scale` and `soak`.

pub(crate) mod client;
pub(crate) mod fleet;
pub(crate) mod gatepost;
pub(crate) mod gateway;
pub(crate) mod load;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod statistics;
pub(crate) mod text;

mod policy;
