//! Who a client of a simulator is by its certificate.
//!
//! Client certificates are taken whatever they are, as Exchange Online does: one that cannot be
//! verified, for want of its intermediate for instance, is no handshake failure but a client that
//! belongs to nobody.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error as TlsError, RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::SimulatorError;
use crate::certificate::certificates;

/// Who a client is by its certificate.
#[derive(Debug)]
pub(super) struct ClientIdentities(Arc<dyn ClientCertVerifier>);

impl ClientIdentities {
    /// Of those whom the roots of this PEM text vouch for.
    pub(super) fn new(roots_pem: &str) -> Result<Self, SimulatorError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(roots_pem)? {
            roots.add(root).map_err(|error| SimulatorError::Roots { reason: error.to_string() })?;
        }
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| SimulatorError::Roots { reason: error.to_string() })?;
        Ok(Self(verifier))
    }

    /// What asks clients for a certificate in the handshake, and takes any.
    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(AnyCertificate(Arc::clone(&self.0)))
    }

    /// The DNS names in the first certificate, if the rest leads up to a root; none otherwise.
    pub(super) fn names(&self, chain: &[CertificateDer<'_>]) -> Vec<String> {
        let [leaf, intermediates @ ..] = chain else { return Vec::new() };
        if self.0.verify_client_cert(leaf, intermediates, UnixTime::now()).is_err() {
            return Vec::new();
        }
        let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
        let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
        let names = extension.value.general_names.iter();
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        });
        names.collect()
    }
}

/// Asks for a certificate, wants proof of its key, and leaves its chain for later.
#[derive(Debug)]
struct AnyCertificate(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::ThrowAwayCa;

    #[test]
    fn names_need_the_whole_chain() {
        let ca = ThrowAwayCa::new().unwrap();
        let identities = ClientIdentities::new(&ca.pem()).unwrap();
        let client = ca.issue_client("relay.example.com").unwrap();
        let chain = certificates(&client.certificate).unwrap();
        assert_eq!(chain.len(), 2);
        assert_eq!(identities.names(&chain), ["relay.example.com"]);
        assert!(identities.names(&chain[..1]).is_empty(), "without its intermediate");
        assert!(identities.names(&[]).is_empty());
        let other = ClientIdentities::new(&ThrowAwayCa::new().unwrap().pem()).unwrap();
        assert!(other.names(&chain).is_empty(), "of a stranger");
        let server = ca.issue_server(&["relay.example.com".to_owned()]).unwrap();
        let server = certificates(&server.certificate).unwrap();
        assert!(identities.names(&server).is_empty(), "a server's certificate is no client's");
        assert!(ClientIdentities::new("").is_err(), "no roots at all");
    }
}
