//! The promise: what becomes of a message, and who may say so.
//!
//! A [`Handoff`] carries one transaction from a client to its upstream and decides what the client
//! hears. It is the only place that grants the 250 after data ([`Grant`]), and it grants it on the
//! upstream's own word: in mode `sync` nothing is stored, and whatever goes wrong is said. Which
//! trouble leads to which reply stands in one table, [`trouble`].
//!
//! Modes `spool` and `hybrid` will live here too; the crate knows upstreams, not clients.

mod alarm;
mod canary;
mod handoff;
mod mail_log;
mod metrics;
mod outlet;
mod relay;
pub mod trouble;

pub use canary::{Canary, CanaryConfig, content as canary_content};
pub use handoff::{DataReply, Grant, Handoff, Last};
pub use mail_log::{
    Event, EventType, MailLog, MailLogTarget, MailLogWriter, Octets, Origin, PathList,
};
pub use relay::{Message, Relay, RelayConfig};
// What a caller of `Handoff::ask` must say; defined by whoever speaks to the upstream.
pub use gatepost_delivery::DataFollows;
