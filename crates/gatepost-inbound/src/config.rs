//! What is configured about sessions and listeners. The contract has keys and defaults.

use std::sync::Arc;
use std::time::Duration;

use gatepost_policy::listener::ListenerId;
use gatepost_policy::network::Network;
use gatepost_policy::site::AuthOffer;

/// What every session of every listener has in common.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Our name: in the greeting, in replies and in `Received:` lines.
    pub hostname: Arc<str>,
    /// Connections of all listeners at once: as many as there are file descriptors for.
    pub max_connections: usize,
    /// Octets of a message that EHLO offers to a client whose entry has no limit of its own.
    pub max_message_size: u64,
    /// Faults after which a session is closed.
    pub errors_max: u32,
    /// How a client is shown in `Received:` lines.
    pub received: ReceivedStyle,
    /// How long a client may take for its next command.
    pub command_timeout: Duration,
    /// How long a client may take for the next piece of a message.
    pub data_timeout: Duration,
    /// How long a proxy may take for the whole of its header.
    pub proxy_timeout: Duration,
    /// How long a client may take for a TLS handshake, its wait for a place among others included.
    pub tls_timeout: Duration,
    /// How long a session may last.
    pub session_timeout: Duration,
    /// How long the answer to the first failed AUTH of an address is held back; the next wait twice as
    /// long each, up to eight times.
    pub auth_pause: Duration,
}

/// How a client is shown in `Received:` lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceivedStyle {
    /// Name and address.
    #[default]
    Full,
    /// Clients with an internal address are not shown.
    Masked,
}

/// Who begins a connection: a client, or a proxy that says who the client is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A client.
    #[default]
    Off,
    /// A proxy with an address in these networks, and nobody else.
    Required(Box<[Network]>),
}

/// What is done when one address is found to stand for many clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnHiddenClients {
    /// Nobody looks.
    Off,
    /// It is told.
    #[default]
    Warn,
    /// It is told, and new sessions from the address are refused.
    Refuse,
}

/// One listener.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Its name, which policy calls a service.
    pub name: Arc<str>,
    /// Where policy finds it.
    pub id: ListenerId,
    /// Who begins its connections.
    pub proxy_protocol: ProxyProtocol,
    /// What is done about addresses that stand for many clients.
    pub hidden_clients: OnHiddenClients,
    /// Who is offered AUTH, once there is TLS.
    pub auth: AuthOffer,
    /// Connections at once; a tenth of them may be clients that are not on the allow-list.
    pub max_connections: usize,
    /// Connections at once of one address that is not on the allow-list, and has not authenticated.
    pub max_connections_per_address: usize,
}
