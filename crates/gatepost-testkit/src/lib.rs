//! The outside world for tests: scripted upstream, byte client, dialogue runner, throw-away CA.
//!
//! - [`ScriptedUpstream`] is the smart host behind the gateway: a polite SMTP sink on a loopback
//!   port whose every answer a test may replace, and which remembers what it received.
//! - [`ByteClient`] is the application in front of the gateway: it sends and reads bytes.
//! - [`ThrowAwayCa`] makes certificates; [`ClientTls`] is how a client begins TLS, and [`ServerTls`]
//!   how an upstream does.
//! - [`dialogue`] runs `*.smtp` files, in which a test reads like a chapter about the protocol.
//!
//! Everything here speaks bytes and never a type of the product, so that a mistake in the product
//! cannot hide in the mirror of its own code. Everything binds to loopback and port 0, every wait
//! is bounded, and whatever goes wrong is a panic that shows the conversation so far.
//!
//! ```
//! use gatepost_testkit::{ByteClient, ScriptedUpstream};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let upstream = ScriptedUpstream::builder()
//!     .on("RCPT TO:<bad@", "550 5.1.1 no such user")
//!     .start();
//!
//! // A test connects to a gateway here, and the gateway to the upstream.
//! let mut client = ByteClient::connect(upstream.addr()).await;
//! client.expect("220").await;
//! client.send(b"EHLO app.test\r\nMAIL FROM:<a@app.test>\r\nRCPT TO:<bad@b.test>\r\n").await;
//! client.expect("250").await;
//! client.expect("250 2.1.0").await;
//! client.expect("550 5.1.1").await;
//! client.send_line("QUIT").await;
//! client.expect("221").await;
//! client.expect_closed().await;
//!
//! assert!(upstream.messages().is_empty());
//! upstream.stop().await;
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod client;
pub mod dialogue;
pub mod tls;
mod transcript;
pub mod upstream;

use std::time::Duration;

pub use client::ByteClient;
pub use tls::{ClientTls, Issued, ServerTls, ThrowAwayCa, Versions};
pub use upstream::{Action, ScriptedUpstream};

/// How long anything here waits for the next thing to happen before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(10);
