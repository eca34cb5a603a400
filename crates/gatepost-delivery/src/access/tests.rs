//! What a change of keys changes, and what stays.

use zeroize::Zeroizing;

use super::*;
use crate::auth::Secret;
use crate::token::TokenConfig;

fn secret(text: &str) -> Arc<Secret> {
    Arc::new(Secret::new(Zeroizing::new(text.as_bytes().to_vec())).expect("a secret"))
}

fn plain(password: &str) -> Keys {
    let credentials = Credentials::Plain { username: "tim".into(), password: secret(password) };
    Keys { trust: Trust::Anybody, client_certificate: None, credentials: Some(credentials) }
}

#[test]
fn what_has_not_changed_stays() {
    let access = Access::default();
    assert!(access.current().is_none(), "nothing was read");
    assert!(access.replace(plain("one")).expect("good"));
    let first = access.current().expect("keys");
    assert!(!access.replace(plain("one")).expect("good"), "the same");
    assert!(access.replace(plain("two")).expect("good"));
    let second = access.current().expect("keys");
    assert!(Arc::ptr_eq(&first.tls, &second.tls), "sessions can be resumed");
    assert_ne!(first.identity, second.identity);
    // Back to what it was is a change as well: nobody knows what happened meanwhile.
    assert!(access.replace(plain("one")).expect("good"));
    assert_ne!(access.current().expect("keys").identity, first.identity);
    let none = Keys { credentials: None, ..plain("one") };
    assert!(access.replace(none).expect("good"));
    assert_eq!(access.current().expect("keys").identity, Identity::Anonymous);
}

#[test]
fn tokens_stay_while_their_grant_does() {
    let ca = gatepost_testkit::ThrowAwayCa::new();
    let roots = crate::tls::Roots::from_pem(ca.pem().as_bytes()).expect("roots");
    let keys = |client_secret: &str| {
        let grant = TokenConfig {
            upstream: "a".into(),
            endpoint: "https://login.test/token".parse().expect("an endpoint"),
            client_id: "gatepost".into(),
            client_secret: secret(client_secret),
            scope: None,
            roots: roots.clone(),
        };
        let credentials = Some(Credentials::bearer("a@b.test".into(), grant));
        Keys { trust: Trust::Anybody, client_certificate: None, credentials }
    };
    let access = Access::default();
    assert!(access.replace(keys("one")).expect("good"));
    assert!(!access.replace(keys("one")).expect("good"));
    assert!(access.replace(keys("two")).expect("good"));
}
