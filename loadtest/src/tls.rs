//! The client's side of TLS: whom it believes, and whether it resumes sessions.
//!
//! One configuration for all connections of a run. A load test against a certificate that the tester has
//! made needs its CA, or [`Trust::Anyone`], which measures the same and protects nobody.

use std::fmt;
use std::io;
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::client::Resumption as Store;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, HandshakeKind, RootCertStore,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Servers whose sessions are kept for resumption: a source has one.
const SERVERS_MAX: usize = 8;

/// Whom the client believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Any certificate for any name.
    Anyone,
    /// Those whom the roots of this PEM text vouch for.
    Roots(String),
    /// Those whom this machine believes.
    System,
}

/// Whether connections resume TLS sessions of those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// Each handshake is a full one.
    Off,
    /// As many as the server has given tickets for are resumed.
    On,
}

/// A client that is ready for handshakes with one server.
#[derive(Clone)]
pub struct TlsClient {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl TlsClient {
    /// `name` is what the certificate must be for, a DNS name or an IP address.
    pub fn new(trust: &Trust, name: &str, resumption: Resumption) -> anyhow::Result<Self> {
        let provider = Arc::new(default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match trust {
            Trust::Anyone => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Credulous(provider)))
            }
            Trust::Roots(pem) => builder.with_root_certificates(roots_of(pem)?),
            Trust::System => builder.with_root_certificates(system_roots()?),
        };
        let mut config = builder.with_no_client_auth();
        config.resumption = match resumption {
            Resumption::Off => Store::disabled(),
            Resumption::On => Store::in_memory_sessions(SERVERS_MAX),
        };
        let name = ServerName::try_from(name.to_owned())
            .with_context(|| format!("{name:?} is neither a DNS name nor an IP address"))?;
        Ok(Self { connector: Arc::new(config).into(), name })
    }

    /// The handshake.
    pub(crate) async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), stream).await
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How a handshake went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    Full,
    Resumed,
}

impl Handshake {
    pub(crate) fn of(stream: &TlsStream<TcpStream>) -> Self {
        match stream.get_ref().1.handshake_kind() {
            Some(HandshakeKind::Resumed) => Self::Resumed,
            _ => Self::Full,
        }
    }
}

fn roots_of(pem: &str) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.context("the roots are no PEM")?)?;
    }
    ensure!(!roots.is_empty(), "no certificate among the roots");
    Ok(roots)
}

fn system_roots() -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // Some file of this machine may be broken; the others are as good as ever.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    ensure!(!roots.is_empty(), "this machine has no roots (--ca FILE, or --insecure)");
    Ok(roots)
}

/// Believes every certificate, but not every signature: that costs what it costs others.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_roots_are_looked_at_before_the_first_connection() {
        let new = |trust, name| TlsClient::new(&trust, name, Resumption::Off).map(drop);
        new(Trust::Anyone, "127.0.0.1").unwrap();
        new(Trust::Anyone, "mx.example.com").unwrap();
        let error = new(Trust::Anyone, "not a name").unwrap_err();
        assert!(error.to_string().contains("neither a DNS name"), "{error}");
        let error = new(Trust::Roots("nothing".to_owned()), "localhost").unwrap_err();
        assert!(error.to_string().contains("no certificate"), "{error}");
    }
}
