//! Whatever tells two identities apart tells their connections apart.

use gatepost_testkit::ThrowAwayCa;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::*;
use crate::access::{Access, Keys};
use crate::auth::{Credentials, Secret};
use crate::tls::{ClientCertificate, Roots, Trust};

const HOST: &str = "smtp.test";

fn config() -> UpstreamConfig {
    UpstreamConfig::of_test()
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 25))
}

fn key(config: &UpstreamConfig) -> ReuseKey {
    ReuseKey::new(config, HOST, address())
}

fn certificate(ca: &ThrowAwayCa) -> ClientCertificate {
    let issued = ca.issue(&["relay.test"]);
    let chain = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("PEM");
    let pem = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
    let pair = CertifiedKey::from_der(vec![chain], pem, &default_provider()).expect("a pair");
    ClientCertificate::new(Arc::new(pair))
}

fn plain(username: &str, password: &str) -> Credentials {
    let password = Secret::new(Zeroizing::new(password.as_bytes().to_vec())).expect("a secret");
    Credentials::Plain { username: username.into(), password: Arc::new(password) }
}

/// An upstream with TLS and these keys.
fn with(
    trust: Trust,
    shown: Option<ClientCertificate>,
    login: Option<Credentials>,
) -> UpstreamConfig {
    let access = Arc::new(Access::default());
    let keys = Keys { trust, client_certificate: shown, credentials: login };
    assert!(access.replace(keys).expect("good keys"));
    UpstreamConfig { tls: TlsPolicy::Required, access, ..config() }
}

#[test]
fn every_part_of_an_identity_tells_connections_apart() {
    let one = key(&config());
    assert_eq!(one, key(&UpstreamConfig { max_connections: 9, ..config() }));
    assert!(one.is_current(&config()));
    for other in [
        UpstreamConfig { name: "b".into(), ..config() },
        UpstreamConfig { ehlo_name: "other.test".into(), ..config() },
        UpstreamConfig { source_address: Some([127, 0, 0, 2].into()), ..config() },
        UpstreamConfig { tls: TlsPolicy::Opportunistic, ..config() },
    ] {
        assert_ne!(one, key(&other));
        assert!(!one.is_current(&other));
    }
    assert_ne!(one, ReuseKey::new(&config(), HOST, SocketAddr::from(([127, 0, 0, 1], 26))));
}

#[test]
fn every_part_of_tls_and_of_a_login_does_so_too() {
    let (ca, stranger) = (ThrowAwayCa::new(), ThrowAwayCa::new());
    let roots =
        |ca: &ThrowAwayCa| Trust::Roots(Roots::from_pem(ca.pem().as_bytes()).expect("roots"));
    let shown = certificate(&ca);
    let base = with(roots(&ca), Some(shown.clone()), Some(plain("tim", "one")));
    let one = key(&base);
    assert_eq!(one, key(&base.clone()));
    assert!(one.is_current(&base));
    for (what, other) in [
        ("the roots", with(roots(&stranger), Some(shown.clone()), Some(plain("tim", "one")))),
        ("no roots", with(Trust::Anybody, Some(shown.clone()), Some(plain("tim", "one")))),
        (
            "another certificate",
            with(roots(&ca), Some(certificate(&ca)), Some(plain("tim", "one"))),
        ),
        ("no certificate", with(roots(&ca), None, Some(plain("tim", "one")))),
        ("the name", with(roots(&ca), Some(shown.clone()), Some(plain("tom", "one")))),
        ("the password", with(roots(&ca), Some(shown.clone()), Some(plain("tim", "two")))),
        ("no login", with(roots(&ca), Some(shown.clone()), None)),
        ("the policy", UpstreamConfig { tls: TlsPolicy::Implicit, ..base.clone() }),
        (
            "the server's name",
            UpstreamConfig { server_name: Some("x.test".into()), ..base.clone() },
        ),
    ] {
        assert_ne!(one, key(&other), "{what}");
        assert!(!one.is_current(&other), "{what}");
    }
    // One address may be that of two hosts.
    assert_ne!(one, ReuseKey::new(&base, "other.test", address()));
    let named = UpstreamConfig { server_name: Some("x.test".into()), ..base };
    assert!(key(&named).is_current(&named));
}
