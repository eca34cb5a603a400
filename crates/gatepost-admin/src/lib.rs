//! How the gateway is seen from outside: metrics and health on a page for machines, and a socket
//! for commands.
//!
//! A [`Recorder`] keeps the numbers, [`Readiness`] keeps what `/readyz` depends on, and [`serve`]
//! shows both. [`control`] answers commands about the running gateway. The crate holds handles only:
//! it knows no listener and no upstream, and whoever counts something makes its own metrics inside
//! [`Recorder::with`].
#![forbid(unsafe_code)]

pub mod control;
mod pages;
mod readiness;
mod recorder;
mod server;

pub use pages::{Pages, serve};
pub use readiness::{Check, Readiness};
pub use recorder::{MetricsHandle, Recorder};
