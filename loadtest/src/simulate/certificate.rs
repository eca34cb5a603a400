//! The simulator's TLS: a throw-away CA, what it issues, and the names of clients.
//!
//! The CA is made anew for each simulator and worth nothing to anybody. Client certificates are
//! taken whatever they are, as Exchange Online does: one that cannot be verified, for want of its
//! intermediate for instance, is no handshake failure but a client that belongs to nobody.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error as TlsError, RootCertStore, ServerConfig,
    SignatureScheme,
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::SimulatorError;

/// A certificate with whatever belongs to its chain, and its key, in PEM.
#[derive(Clone, Debug)]
pub struct KeyedCertificate {
    /// The certificate first, then its intermediates.
    pub certificate: String,
    /// The key of the first one.
    pub private_key: String,
}

/// A root that vouches for the server, and an intermediate below it that vouches for clients.
pub(super) struct ThrowAwayCa {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl ThrowAwayCa {
    pub(super) fn new() -> Result<Self, SimulatorError> {
        let root = CertifiedIssuer::self_signed(
            issuer_params("gatepost-loadtest throw-away root"),
            KeyPair::generate()?,
        )?;
        let intermediate = CertifiedIssuer::signed_by(
            issuer_params("gatepost-loadtest throw-away intermediate"),
            KeyPair::generate()?,
            &root,
        )?;
        Ok(Self { root, intermediate })
    }

    /// The root's certificate in PEM.
    pub(super) fn pem(&self) -> String {
        self.root.pem()
    }

    /// A server's certificate, which needs no intermediate.
    pub(super) fn issue_server(
        &self,
        names: &[String],
    ) -> Result<KeyedCertificate, SimulatorError> {
        let key = KeyPair::generate()?;
        let params = leaf_params(names, ExtendedKeyUsagePurpose::ServerAuth)?;
        let certificate = params.signed_by(&key, &self.root)?;
        Ok(KeyedCertificate { certificate: certificate.pem(), private_key: key.serialize_pem() })
    }

    /// A client's certificate with its intermediate: half of the chain is not enough.
    pub(super) fn issue_client(&self, name: &str) -> Result<KeyedCertificate, SimulatorError> {
        let key = KeyPair::generate()?;
        let params = leaf_params(&[name.to_owned()], ExtendedKeyUsagePurpose::ClientAuth)?;
        let certificate = params.signed_by(&key, &self.intermediate)?;
        Ok(KeyedCertificate {
            certificate: certificate.pem() + &self.intermediate.pem(),
            private_key: key.serialize_pem(),
        })
    }
}

impl std::fmt::Debug for ThrowAwayCa {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ThrowAwayCa").finish_non_exhaustive()
    }
}

fn issuer_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn leaf_params(
    names: &[String],
    purpose: ExtendedKeyUsagePurpose,
) -> Result<CertificateParams, SimulatorError> {
    let mut params = CertificateParams::new(names)?;
    params.extended_key_usages = vec![purpose];
    Ok(params)
}

/// Who a client is by its certificate.
#[derive(Debug)]
pub(super) struct ClientIdentities(Arc<dyn ClientCertVerifier>);

impl ClientIdentities {
    /// Of those whom the roots of this PEM text vouch for.
    pub(super) fn new(roots_pem: &str) -> Result<Self, SimulatorError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(roots_pem)? {
            roots.add(root)?;
        }
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| SimulatorError::Roots { reason: error.to_string() })?;
        Ok(Self(verifier))
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

/// The server's side of TLS. With identities, clients are asked for a certificate.
pub(super) fn server_config(
    pair: &KeyedCertificate,
    identities: Option<&ClientIdentities>,
) -> Result<Arc<ServerConfig>, SimulatorError> {
    let chain = certificates(&pair.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(pair.private_key.as_bytes())
        .map_err(|error| SimulatorError::Pem { reason: error.to_string() })?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?;
    let config = match identities {
        None => config.with_no_client_auth(),
        Some(identities) => {
            config.with_client_cert_verifier(Arc::new(AnyCertificate(Arc::clone(&identities.0))))
        }
    };
    Ok(Arc::new(config.with_single_cert(chain, key)?))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, SimulatorError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(SimulatorError::Pem { reason: "there is no certificate in it".to_owned() }),
        Err(error) => Err(SimulatorError::Pem { reason: error.to_string() }),
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
    }

    #[test]
    fn what_is_no_pem_is_refused() {
        assert!(ClientIdentities::new("").is_err());
        let pair = KeyedCertificate { certificate: "x".to_owned(), private_key: "x".to_owned() };
        assert!(server_config(&pair, None).is_err());
    }
}
