//! TLS of the outside world: a throw-away CA, and clients and servers that are not written by us.
//!
//! The certificates are made anew for every test and are worth nothing to anybody.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

/// A certificate authority that lives as long as a test.
pub struct ThrowAwayCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Versions of TLS that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// 1.2 and 1.3.
    Both,
    /// 1.2 alone.
    Only12,
    /// 1.3 alone.
    Only13,
}

/// How a client begins TLS. Clones remember the same sessions, and go on with them where the server
/// lets them.
#[derive(Clone, Debug)]
pub struct ClientTls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) server_name: ServerName<'static>,
}

/// How a server begins TLS. Clones know the same sessions.
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
}

impl ThrowAwayCa {
    /// One that nobody has heard of.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        // Not the name that certificates have by default: nobody is to take one of them for a root.
        params.distinguished_name.push(DnType::CommonName, "Gatepost throw-away root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("a root") }
    }

    /// Another one, which this one vouches for.
    #[must_use]
    pub fn intermediate(&self) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Gatepost throw-away intermediate");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer).expect("a certificate");
        Self { issuer }
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate with these DNS names, for servers and for clients.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(names, 2999)
    }

    /// One that was valid until the first day of a year.
    pub fn issue_until(&self, names: &[&str], year: i32) -> Issued {
        let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_after = date_time_ymd(year, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Default for ThrowAwayCa {
    fn default() -> Self {
        Self::new()
    }
}

impl Issued {
    /// The certificate as it stands in a handshake.
    pub fn der(&self) -> Vec<u8> {
        chain(&self.certificate)[0].to_vec()
    }
}

impl ServerTls {
    /// Shows a certificate, and asks clients for theirs: they may show none, or one that leads to
    /// this CA.
    pub fn new(ca: &ThrowAwayCa, shown: &Issued, versions: Versions) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(chain(&ca.pem()).remove(0)).expect("a root");
        let provider = Arc::new(default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .allow_unauthenticated()
            .build()
            .expect("there is a root");
        let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).expect("a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions.list())
            .expect("versions that there are")
            .with_client_cert_verifier(clients)
            .with_single_cert(chain(&shown.certificate), key)
            .expect("a pair");
        Self { config: Arc::new(config) }
    }
}

impl Versions {
    fn list(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Both => vec![&TLS12, &TLS13],
            Self::Only12 => vec![&TLS12],
            Self::Only13 => vec![&TLS13],
        }
    }
}

impl ClientTls {
    /// Trusts this CA alone, expects the server `relay.test`, and shows a certificate if it has one.
    pub fn new(ca: &ThrowAwayCa, shown: Option<&Issued>, versions: Versions) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(chain(&ca.pem()).remove(0)).expect("a root");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&versions.list())
            .expect("versions that there are")
            .with_root_certificates(roots);
        let config = match shown {
            None => config.with_no_client_auth(),
            Some(Issued { certificate, key }) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                config.with_client_auth_cert(chain(certificate), key).expect("a pair")
            }
        };
        Self { config: Arc::new(config), server_name: name("relay.test") }
    }

    /// What it is made of, for a client of the test's own.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The same client, asking for another server.
    #[must_use]
    pub fn asking_for(&self, server_name: &str) -> Self {
        Self { config: Arc::clone(&self.config), server_name: name(server_name) }
    }
}

fn name(server_name: &str) -> ServerName<'static> {
    ServerName::try_from(server_name.to_owned()).expect("a name")
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("PEM")
}
