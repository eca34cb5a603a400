//! How the gateway is seen from outside: metrics and health, on a page for machines.
//!
//! A [`Recorder`] keeps the numbers, [`Readiness`] keeps what `/readyz` depends on, and [`serve`]
//! shows both. The crate holds handles only: it knows no listener, no policy and no upstream, and
//! whoever counts something makes its own metrics inside [`Recorder::with`].
#![forbid(unsafe_code)]

mod pages;
mod readiness;
mod recorder;
mod server;

pub use pages::Pages;
pub use readiness::{Check, Readiness};
pub use recorder::{MetricsHandle, Recorder};
pub use server::serve;
