//! A throw-away CA, what it issues, and the server's side of TLS that is made of it.
//!
//! The CA is made anew for each server of a load test and worth nothing to anybody: its key never
//! leaves the process. Who a client is by its certificate is for those who ask for one.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use thiserror::Error;

/// Why a certificate cannot be made or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// It cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// Text that is not PEM, or not what was expected in it.
    #[error("cannot use the PEM text: {reason}")]
    Pem {
        /// Why not.
        reason: String,
    },
    /// A certificate and key that TLS cannot use.
    #[error("cannot use the certificate: {0}")]
    Tls(#[from] rustls::Error),
}

/// A certificate with whatever belongs to its chain, and its key, in PEM.
#[derive(Clone, Debug)]
pub struct KeyedCertificate {
    /// The certificate first, then its intermediates.
    pub certificate: String,
    /// The key of the first one.
    pub private_key: String,
}

/// A root that vouches for a server, and an intermediate below it that vouches for clients.
pub struct ThrowAwayCa {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl ThrowAwayCa {
    /// Makes one.
    pub fn new() -> Result<Self, CertificateError> {
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
    pub fn pem(&self) -> String {
        self.root.pem()
    }

    /// A server's certificate, which needs no intermediate.
    pub fn issue_server(&self, names: &[String]) -> Result<KeyedCertificate, CertificateError> {
        let key = KeyPair::generate()?;
        let params = leaf_params(names, ExtendedKeyUsagePurpose::ServerAuth)?;
        let certificate = params.signed_by(&key, &self.root)?;
        Ok(KeyedCertificate { certificate: certificate.pem(), private_key: key.serialize_pem() })
    }

    /// A client's certificate with its intermediate: half of the chain is not enough.
    pub fn issue_client(&self, name: &str) -> Result<KeyedCertificate, CertificateError> {
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
) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::new(names)?;
    params.extended_key_usages = vec![purpose];
    Ok(params)
}

/// The server's side of TLS. With a verifier, clients are asked for a certificate.
pub(crate) fn server_config(
    pair: &KeyedCertificate,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let chain = certificates(&pair.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(pair.private_key.as_bytes())
        .map_err(|error| CertificateError::Pem { reason: error.to_string() })?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?;
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(verifier) => config.with_client_cert_verifier(verifier),
    };
    Ok(Arc::new(config.with_single_cert(chain, key)?))
}

/// All certificates of a PEM text, and at least one.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(CertificateError::Pem { reason: "there is no certificate in it".to_owned() }),
        Err(error) => Err(CertificateError::Pem { reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pem_is_refused() {
        assert!(certificates("").is_err());
        let pair = KeyedCertificate { certificate: "x".to_owned(), private_key: "x".to_owned() };
        assert!(server_config(&pair, None).is_err());
        let ca = ThrowAwayCa::new().unwrap();
        let good = ca.issue_server(&["localhost".to_owned()]).unwrap();
        assert!(server_config(&good, None).is_ok());
        let other = ca.issue_server(&["localhost".to_owned()]).unwrap();
        let mixed = KeyedCertificate { private_key: other.private_key, ..good };
        assert!(server_config(&mixed, None).is_err(), "the key of another certificate");
    }
}
