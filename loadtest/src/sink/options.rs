//! How a sink behaves, and what it hands on.

use std::time::Duration;

use tokio::sync::mpsc;

use super::trouble::Troubles;

/// How a [`Sink`](super::Sink) behaves.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    /// The name in the greeting and in the reply to EHLO.
    pub hostname: String,
    /// Connections at the same time; further ones wait in the listen queue.
    pub connections_max: usize,
    /// Messages that one connection may bring; the MAIL after them is told `421`.
    pub messages_per_connection_max: Option<u64>,
    /// The limit announced with SIZE (RFC 1870): octets of content as they are on the wire.
    pub size_max: u64,
    /// A client that is silent for this long is told `421` and dropped.
    pub idle_timeout: Duration,
    /// Whether messages may come in chunks.
    pub chunking: Chunking,
    /// Whether the digests of messages are looked at.
    pub verification: Verification,
    /// What goes wrong on purpose.
    pub troubles: Troubles,
    /// Whether clients may, or have to, begin TLS.
    #[cfg(feature = "tls")]
    pub tls: super::tls::SinkTls,
    /// Where each message goes before it is answered with `250`. While the channel is full its
    /// session waits; once the receiver is gone the answer is `451`. `None` keeps no content.
    pub deliver: Option<mpsc::Sender<Received>>,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self {
            hostname: "sink.localhost".to_owned(),
            connections_max: 5000,
            messages_per_connection_max: None,
            size_max: 64 * 1024 * 1024,
            idle_timeout: Duration::from_mins(5),
            chunking: Chunking::Hidden,
            verification: Verification::Off,
            troubles: Troubles::default(),
            #[cfg(feature = "tls")]
            tls: super::tls::SinkTls::None,
            deliver: None,
        }
    }
}

/// Whether CHUNKING (RFC 3030) is offered. It is not by default: who takes [`Received`] messages
/// then has them all in one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// BDAT is an unknown command.
    Hidden,
    /// BDAT is taken.
    Offered,
}

/// Whether messages are verified by the marks that a source gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Content is scanned for its end and forgotten.
    Off,
    /// Content is hashed, and the numbers of messages are kept in books.
    On,
}

/// One message as the sink took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The reverse-path without its angle brackets; empty for the null reverse-path.
    pub reverse_path: String,
    /// The forward-paths without their angle brackets, in the order of their RCPT commands.
    pub forward_paths: Vec<String>,
    /// The content as it was on the wire: still dot-stuffed, without the final `.CRLF`. What came in
    /// chunks was never dot-stuffed.
    pub content: Vec<u8>,
}
