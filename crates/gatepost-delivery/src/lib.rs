//! To the upstream: who it is, connections to it, and the upstream's side of one transaction.
//!
//! An [`Upstream`] is a smart host with its limits. Its pool keeps connections between
//! transactions and shares them only under an equal [`ReuseKey`]. A [`Transaction`] drives the
//! client machine of `gatepost-smtp` over one of them and reports what the upstream said, or in
//! what way it said nothing ([`Trouble`]); a [`Profile`] knows what this provider means by it. What
//! follows for a client, and whether to try again, is not decided here.
//!
//! What files say about an upstream — whom to take for it, and who we are to it — is its [`Access`]:
//! replaced under a running gateway, and part of the key. Reading the files is left to others.

mod access;
mod auth;
mod connection;
mod hosts;
mod metrics;
mod offer;
mod paths;
mod patience;
mod pool;
mod probe;
pub mod profile;
mod quota;
mod rate;
mod resolver;
mod reuse_key;
mod signal;
mod sync;
#[cfg(test)]
mod test_dns;
mod tls;
mod token;
mod transaction;
mod transcript;
mod trouble;
mod upstream;

pub use access::{Access, Keys};
pub use auth::{Credentials, Secret, SecretError};
/// How a connection is protected, and how we say who we are.
pub use gatepost_smtp::client::{Mechanism, TlsPolicy};
pub use offer::{Drift, KnownOffers, Offer};
pub use paths::Paths;
pub use patience::Patience;
pub use pool::{BreakerStatus, FairSlots, Lease, LineFull, PoolStatus, Slot};
pub use probe::{Connected, Probe, ProbeMail, TlsFacts, probe};
pub use profile::Profile;
pub use rate::{DayCount, RatePeriod, RateUsage, RecipientRate, RecipientRates};
pub use resolver::{LookupError, NameServers, resolve};
pub use reuse_key::{Identity, ReuseKey, Security};
pub use signal::Signal;
pub use tls::{ClientCertificate, Fingerprint, Roots, RootsError, Trust, is_server_name};
pub use token::{TokenConfig, TokenEndpoint, TokenEndpointError, TokenError, TokenSource};
pub use transaction::{Answers, DataFollows, GoAhead, Sent, Transaction, Unfinished};
pub use transcript::{Line, Transcript, Voice};
pub use trouble::Trouble;
pub use upstream::{HostMeans, HostPort, IpVersion, Upstream, UpstreamConfig};
