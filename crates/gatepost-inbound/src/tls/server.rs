//! What handshakes of one listener are made with, and how it is replaced: sessions that are open keep
//! what they began with.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{
    ClientHello, NoClientAuth, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, ServerConfig};

use super::HandshakeMetrics;
use super::identity::{ClientCa, Identity, KeyPair};

/// TLS of one listener.
#[derive(Debug)]
pub struct ServerTls {
    current: ArcSwap<Current>,
    metrics: HandshakeMetrics,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    client_ca: Option<ClientCa>,
}

/// The certificate for the name that a client asks for (RFC 6066 §3).
#[derive(Debug)]
struct ByName {
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// `*.example.com`, without its first label, which stands for exactly one (RFC 9525 §6.3).
    below: HashMap<Box<str>, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl ServerTls {
    /// TLS of the listener of this name. It fails only for want of random numbers.
    pub fn new(listener: &str, identity: &Identity) -> Result<Self, Error> {
        let current = Current::new(identity, Ticketer::new()?);
        let metrics = HandshakeMetrics::new(listener);
        Ok(Self { current: ArcSwap::from_pointee(current), metrics })
    }

    /// Handshakes that begin from now on are made with this. Earlier sessions can be resumed, unless
    /// others sign the certificates of clients now: a resumed session brings the client it had.
    pub fn replace(&self, identity: &Identity) -> Result<(), Error> {
        let current = self.current.load();
        let same_ca = match (&current.client_ca, &identity.client_ca) {
            (None, None) => true,
            (Some(old), Some(new)) => old.is_same(new),
            _ => false,
        };
        let ticketer =
            if same_ca { Arc::clone(&current.config.ticketer) } else { Ticketer::new()? };
        self.current.store(Arc::new(Current::new(identity, ticketer)));
        Ok(())
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    pub(super) const fn metrics(&self) -> &HandshakeMetrics {
        &self.metrics
    }
}

impl Current {
    fn new(identity: &Identity, ticketer: Arc<dyn ProducesTickets>) -> Self {
        let verifier = match &identity.client_ca {
            Some(ca) => ca.verifier(),
            None => Arc::new(NoClientAuth),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            // The provider is a constant, and has suites for both.
            .expect("versions that the provider has")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(ByName::new(identity)));
        // A ticket is sealed with a key of this listener: it is worth nothing on another one, and
        // nothing is kept here for clients that may come back.
        config.ticketer = ticketer;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Self { config: Arc::new(config), client_ca: identity.client_ca.clone() }
    }
}

impl ByName {
    fn new(Identity { certificate, sni, .. }: &Identity) -> Self {
        let default = Arc::clone(certificate.key());
        let mut by_name = Self { exact: HashMap::new(), below: HashMap::new(), default };
        // The first that has a name keeps it.
        for pair in sni.iter().chain([certificate]) {
            by_name.add(pair);
        }
        by_name
    }

    fn add(&mut self, pair: &KeyPair) {
        for name in pair.names() {
            let (names, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.below, parent),
                None => (&mut self.exact, &**name),
            };
            names.entry(name.into()).or_insert_with(|| Arc::clone(pair.key()));
        }
    }

    fn find(&self, name: &str) -> &Arc<CertifiedKey> {
        let name = name.to_ascii_lowercase();
        let below = || self.below.get(name.split_once('.')?.1);
        self.exact.get(&*name).or_else(below).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let key = hello.server_name().map_or(&self.default, |name| self.find(name));
        Some(Arc::clone(key))
    }
}
