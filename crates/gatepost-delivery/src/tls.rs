//! TLS to an upstream: whom we believe, and what we show.
//!
//! Where the certificate is verified, it is so against the roots of this machine or those of a file,
//! for the name of the host or the one that is configured; an address is a name too (RFC 5280
//! §4.2.1.6). Opportunistic TLS verifies nothing: whoever could show a wrong certificate could take
//! STARTTLS out of the offer as well, and mail would go on in plain text. ALPN is not used.
//!
//! Keys are agreed on with X25519MLKEM768 where the upstream can: mail that is recorded today must not
//! be read when there are quantum computers. It costs 40 µs more, for each connection and not for each
//! message. A plain X25519 share goes with it, so an upstream that cannot costs no round trip more.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768;
use rustls::crypto::aws_lc_rs::{DEFAULT_KX_GROUPS, default_provider};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

/// Sessions that are remembered for each upstream: one for each of its names, and some to spare.
const SESSIONS_MAX: usize = 64;

/// Whom we believe.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Whoever answers. What is said is hidden from those who listen, and from nobody else.
    Anybody,
    /// Whoever has the name, by the word of one of these.
    Roots(Roots),
}

/// Roots that sign certificates of upstreams.
#[derive(Clone, Debug)]
pub struct Roots {
    store: Arc<RootCertStore>,
    fingerprint: Fingerprint,
}

/// A certificate of ours with those that lead from it to a root, and its key.
#[derive(Clone, Debug)]
pub struct ClientCertificate(Arc<CertifiedKey>);

/// SHA-256 of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// Why there are no roots.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// Not a certificate.
    #[error("a certificate in it cannot be read: {0}")]
    Certificate(String),
    /// No certificate.
    #[error("no certificate is in it; it must be PEM with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// This machine has none.
    #[error(
        "this machine has no root certificates; install them (the package is ca-certificates), or name a ca_file"
    )]
    NoneHere,
    /// Not a root.
    #[error("not a certificate that can sign others: {0}")]
    Root(String),
}

impl Roots {
    /// Those that this machine trusts. Looked for where OpenSSL looks, `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` included.
    pub fn of_platform() -> Result<Self, RootsError> {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!("a root certificate of this machine cannot be read: {error}");
        }
        let mut store = RootCertStore::empty();
        // An authority that rustls cannot read signs nothing that it could verify.
        let (usable, _) = store.add_parsable_certificates(found.certs.iter().cloned());
        if usable == 0 {
            return Err(RootsError::NoneHere);
        }
        Ok(Self { store: Arc::new(store), fingerprint: Fingerprint::of(&found.certs) })
    }

    /// Reads PEM with one root or more.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RootsError> {
        let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let roots = read.map_err(|error| RootsError::Certificate(error.to_string()))?;
        if roots.is_empty() {
            return Err(RootsError::NoCertificate);
        }
        let mut store = RootCertStore::empty();
        for root in &roots {
            store.add(root.clone()).map_err(|error| RootsError::Root(error.to_string()))?;
        }
        Ok(Self { store: Arc::new(store), fingerprint: Fingerprint::of(&roots) })
    }

    /// These, and those that this machine trusts, if it has any.
    #[must_use]
    pub fn and_platform(&self) -> Self {
        let Ok(platform) = Self::of_platform() else { return self.clone() };
        let mut store = RootCertStore::clone(&platform.store);
        store.roots.extend(self.store.roots.iter().cloned());
        let mut hash = Sha256::new();
        hash.update(platform.fingerprint.0);
        hash.update(self.fingerprint.0);
        Self { store: Arc::new(store), fingerprint: Fingerprint(hash.finalize().into()) }
    }

    /// The roots themselves, for other connections that trust the same.
    pub const fn store(&self) -> &Arc<RootCertStore> {
        &self.store
    }
}

impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Roots {}

impl Trust {
    pub(crate) const fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Self::Anybody => None,
            Self::Roots(roots) => Some(roots.fingerprint),
        }
    }
}

impl ClientCertificate {
    /// The chain that is shown, and the key of its first certificate.
    pub const fn new(pair: Arc<CertifiedKey>) -> Self {
        Self(pair)
    }

    /// That of the whole chain: a new intermediate is a new certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0.cert)
    }
}

impl Fingerprint {
    fn of(certificates: &[CertificateDer<'_>]) -> Self {
        let mut hash = Sha256::new();
        for certificate in certificates {
            hash.update((certificate.len() as u64).to_be_bytes());
            hash.update(certificate);
        }
        Self(hash.finalize().into())
    }
}

/// Whether a certificate may have this name: that of a host, or an address.
pub fn is_server_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

/// What handshakes are made with. Sessions that can be resumed are remembered with it, and with it
/// alone.
pub(crate) fn client_config(
    trust: &Trust,
    shown: Option<&ClientCertificate>,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = match trust {
        Trust::Anybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(BelievesAnybody { provider })),
        Trust::Roots(roots) => {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(roots.store.clone(), provider)
                    .build()
                    .map_err(|error| Error::General(error.to_string()))?;
            builder.with_webpki_verifier(verifier)
        }
    };
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(ClientCertificate(pair)) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair.clone())))
        }
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    Ok(config)
}

/// The groups of every day, and in front of them the one for mail that is read tomorrow.
fn provider() -> CryptoProvider {
    let others = DEFAULT_KX_GROUPS.iter().filter(|group| group.name() != X25519MLKEM768.name());
    let kx_groups = [X25519MLKEM768].into_iter().chain(others.copied()).collect();
    CryptoProvider { kx_groups, ..default_provider() }
}

/// Takes every certificate. That the other side has its key is still verified.
#[derive(Debug)]
struct BelievesAnybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for BelievesAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use gatepost_testkit::ThrowAwayCa;

    use super::*;

    #[test]
    fn roots_are_pem_and_can_sign() {
        let (one, other) = (ThrowAwayCa::new(), ThrowAwayCa::new());
        let roots = |pem: &str| Roots::from_pem(pem.as_bytes());
        assert_eq!(roots(&one.pem()), roots(&one.pem()));
        assert_ne!(roots(&one.pem()), roots(&other.pem()));
        assert_ne!(roots(&one.pem()), roots(&(one.pem() + &other.pem())));
        assert_eq!(roots("ca"), Err(RootsError::NoCertificate));
        let broken = one.pem().replace("MII", "MI!");
        assert!(matches!(roots(&broken), Err(RootsError::Certificate(_))));
        let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(roots(text), Err(RootsError::Root(_))));
    }
}
