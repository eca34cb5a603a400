//! RFC 5321 without I/O, clock or runtime.
//!
//! Octets come in, events and octets come out; whoever calls owns sockets and time. Everything
//! here is framed first and parsed second, and nothing is rewritten: what was judged is what goes
//! on. (One exception is asked for by name: [`data::DataScanner::normalizing`].) Both roles of a
//! relay live here:
//!
//! - [`server`]: the side that clients talk to, one struct per state of a session;
//! - [`client`]: the side that talks to an upstream, likewise;
//! - [`mod@line`], [`command`], [`path`], [`reply`], [`data`], [`bdat`], [`dsn`], [`header`], [`extension`]: the words
//!   that both are made of, and [`ascii`], in which they are written;
//! - [`sasl`]: how a client says who it is;
//! - [`proxy`]: what a load balancer says in front of a session.
//!
//! This crate must never depend on a runtime, a socket, TLS or a clock.

pub mod ascii;
pub mod bdat;
pub mod client;
pub mod command;
pub mod data;
pub mod dsn;
pub mod extension;
pub mod header;
pub mod line;
pub mod path;
pub mod proxy;
pub mod reply;
pub mod sasl;
pub mod server;
