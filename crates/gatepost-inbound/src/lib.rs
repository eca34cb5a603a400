//! From the network to the relay: one file per step of a connection.
//!
//! ```text
//! listener ─► peer ─► admission ─► session ─► transaction ─► body ─► answer
//! accepts     who      may it?     EHLO,      RCPT, DATA     data    what the
//!             is it                MAIL                              client hears
//! ```
//!
//! A connection is one task from here to the upstream's reply. Policy is asked through an atomic
//! snapshot, the message goes through a [`gatepost_relay::Handoff`], and no upstream is known here.
//! What a stranger sends costs a bounded amount of everything: octets, time, log lines.

mod admission;
mod answer;
mod auth;
mod body;
mod config;
mod conn;
mod denied;
mod drain;
mod fingerprint;
mod header;
mod health;
mod hidden;
mod listener;
mod metrics;
mod peer;
mod received;
mod rejections;
mod service;
mod session;
mod shadow;
mod tls;
mod transaction;

pub use config::{ListenerConfig, OnHiddenClients, ProxyProtocol, ReceivedStyle, SessionConfig};
pub use denied::{Denied, DeniedClient};
pub use drain::Drain;
pub use hidden::{AddressClients, HiddenClients, Survey};
pub use listener::{Listener, bind};
pub use service::Service;
pub use shadow::{ShadowReceiver, ShadowSwitch, ShadowTap};
pub use tls::{
    CertificateChain, ChainFault, ClientCa, Identity, IdentityError, KeyPair, ListenerTls,
    ServerTls,
};
