//! The promise: what becomes of a message, and who may say so.
//!
//! A [`Handoff`] carries one transaction from a client to its upstream, to the spool, or to either as
//! it turns out ([`Mode`]), and decides what the client hears. It is the only place that grants the 250
//! after data ([`Grant`]): on the upstream's own word, or when the spool has the message on stable
//! storage. What is in the spool, the [`Queue`] brings to its upstream. Which trouble leads to which
//! reply stands in one table, [`trouble`].
//!
//! The crate knows upstreams, not clients.

mod alarm;
mod canary;
mod dsn;
mod handoff;
mod id;
mod leg;
mod mail_log;
mod metrics;
mod mode;
mod outlet;
mod queue;
mod relay;
pub mod trouble;

pub use canary::{Canary, CanaryConfig, content as canary_content};
pub use dsn::{BounceConfig, Bounces};
pub use handoff::{DataReply, Grant, Handoff, Last, Named};
pub use id::{Id, Ids};
pub use mail_log::{Event, EventType, MailLog, MailLogTarget, MailLogWriter, Origin};
pub use mode::Mode;
pub use queue::{Queue, QueueConfig};
pub use relay::{Message, Relay, RelayConfig};
// What a caller of `Handoff::ask` must say; defined by whoever speaks to the upstream.
pub use gatepost_delivery::DataFollows;
