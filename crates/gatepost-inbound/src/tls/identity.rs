//! Certificates and keys, from PEM to what a handshake uses. Reading files is left to others.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// Names of a client's certificate that are looked at: more than anybody gives one client.
const CLIENT_NAMES_MAX: usize = 64;

/// Who a listener is, and who may say who a client is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What a client gets that asks for no name, or for one that no certificate has.
    pub certificate: KeyPair,
    /// What a client gets that asks for one of their names.
    pub sni: Vec<KeyPair>,
    /// Who signs certificates of clients. Without it, clients are not asked for any.
    pub client_ca: Option<ClientCa>,
}

/// A certificate, with those that lead from it to a root.
#[derive(Debug)]
pub struct CertificateChain {
    chain: Vec<CertificateDer<'static>>,
    facts: Facts,
}

/// A certificate chain and the key that fits it.
#[derive(Clone, Debug)]
pub struct KeyPair {
    key: Arc<CertifiedKey>,
    facts: Arc<Facts>,
}

/// Why a client that knows the root only may not get to it from the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainFault {
    /// Somebody else has signed it, and their certificate is not there.
    Alone,
    /// One of the chain was not signed by the one after it.
    Order,
}

/// What is written in a certificate.
#[derive(Debug)]
struct Facts {
    /// In lower case.
    names: Box<[Box<str>]>,
    not_before: i64,
    not_after: i64,
    chain_fault: Option<ChainFault>,
}

/// Roots that sign certificates of clients.
#[derive(Clone, Debug)]
pub struct ClientCa {
    roots: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not a root.
    #[error("not a certificate that can sign others: {0}")]
    Ca(String),
    /// Not a certificate.
    #[error("a certificate in it cannot be read: {0}")]
    Certificate(String),
    /// A key that rustls cannot use.
    #[error(
        "the key cannot be used: {0}; use an RSA key of 2048 bits or more, or an ECDSA or Ed25519 key"
    )]
    Key(Error),
    /// Key and certificate are not of one pair.
    #[error("the key is not that of the certificate; write both files of one pair")]
    Mismatch,
    /// No certificate.
    #[error("no certificate is in it; it must be PEM with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// No key.
    #[error("no private key is in it; it must be PEM with -----BEGIN PRIVATE KEY-----: {0}")]
    NoKey(String),
    /// No name that a client could ask for.
    #[error("the certificate has no DNS name, so no client could ask for it; leave it out of sni")]
    NoName,
}

impl CertificateChain {
    /// Reads PEM: the certificate itself first, as RFC 8446 §4.4.2 has them.
    pub fn from_pem(pem: &[u8]) -> Result<Self, IdentityError> {
        let chain = certificates(pem)?;
        let facts = Facts::of(&chain[0])?;
        let chain_fault = ChainFault::of(&chain);
        Ok(Self { chain, facts: Facts { chain_fault, ..facts } })
    }

    /// Adds the key, in PEM as well, if it is the right one.
    pub fn with_key(self, pem: &[u8]) -> Result<KeyPair, IdentityError> {
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|error| IdentityError::NoKey(error.to_string()))?;
        let key =
            CertifiedKey::from_der(self.chain, key, &default_provider()).map_err(|error| {
                match error {
                    Error::InconsistentKeys(_) => IdentityError::Mismatch,
                    other => IdentityError::Key(other),
                }
            })?;
        Ok(KeyPair { key: Arc::new(key), facts: Arc::new(self.facts) })
    }
}

impl KeyPair {
    /// The DNS names of the certificate.
    pub fn names(&self) -> &[Box<str>] {
        &self.facts.names
    }

    /// The same, if a client can ask for one of them.
    pub fn named(self) -> Result<Self, IdentityError> {
        if self.names().is_empty() { Err(IdentityError::NoName) } else { Ok(self) }
    }

    /// When it ends to be valid, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.facts.not_after
    }

    /// Whether it is not valid now.
    pub fn is_out_of_date(&self) -> bool {
        !self.facts.are_valid_now()
    }

    /// What is wrong with the chain, as far as names tell. It is used all the same.
    pub fn chain_fault(&self) -> Option<ChainFault> {
        self.facts.chain_fault
    }

    /// Whether the other is the same certificate.
    pub fn is_same(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }

    /// The pair itself, for whoever shows it.
    pub const fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }
}

impl ClientCa {
    /// Reads PEM with one root or more.
    pub fn from_pem(pem: &[u8]) -> Result<Self, IdentityError> {
        let ca = |error: &dyn std::error::Error| IdentityError::Ca(error.to_string());
        let roots = certificates(pem)?;
        let mut store = RootCertStore::empty();
        for root in &roots {
            store.add(root.clone()).map_err(|error| ca(&error))?;
        }
        let provider = Arc::new(default_provider());
        // A client may show none: whether it must is for its entry to say.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|error| ca(&error))?;
        Ok(Self { roots, verifier })
    }

    /// Whether the other trusts the same roots.
    pub fn is_same(&self, other: &Self) -> bool {
        self.roots == other.roots
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }
}

/// The names that a verified certificate gives a client. One that is not valid any more gives none:
/// a session that is resumed has shown it before, and it was not looked at again (RFC 8446 §2.2).
pub(super) fn client_names(certificate: &CertificateDer<'_>) -> Box<[Box<str>]> {
    match Facts::of(certificate) {
        Ok(facts) if facts.are_valid_now() => {
            facts.names.into_iter().take(CLIENT_NAMES_MAX).collect()
        }
        _ => Box::default(),
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = read.map_err(|error| IdentityError::Certificate(error.to_string()))?;
    if found.is_empty() { Err(IdentityError::NoCertificate) } else { Ok(found) }
}

impl ChainFault {
    /// By the names of who was certified and who has signed, as they stand in each.
    fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let names = |der| {
            let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
            let [subject, issuer] = [parsed.subject(), parsed.issuer()];
            Some([subject, issuer].map(|name| name.as_raw().to_vec()))
        };
        let names: Vec<_> = chain.iter().filter_map(|der| names(der)).collect();
        match &names[..] {
            [[subject, issuer]] if subject != issuer => Some(Self::Alone),
            names if names.windows(2).any(|pair| pair[0][1] != pair[1][0]) => Some(Self::Order),
            _ => None,
        }
    }
}

impl Facts {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let wrong = |error: &dyn std::error::Error| IdentityError::Certificate(error.to_string());
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|error| wrong(&error))?;
        let validity = parsed.validity();
        Ok(Self {
            names: dns_names(&parsed).map_err(|error| wrong(&error))?,
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            chain_fault: None,
        })
    }

    fn are_valid_now(&self) -> bool {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (self.not_before..=self.not_after).contains(&since_1970.as_secs().cast_signed())
    }
}

/// The DNS names among the subject alternative names (RFC 5280 §4.2.1.6). The common name is none.
fn dns_names(
    certificate: &X509Certificate<'_>,
) -> Result<Box<[Box<str>]>, x509_parser::error::X509Error> {
    let Some(extension) = certificate.subject_alternative_name()? else {
        return Ok(Box::default());
    };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
        _ => None,
    });
    Ok(names.collect())
}
