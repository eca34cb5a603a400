//! Passwords of clients: whether one is right, and how often an address may be wrong.
//!
//! To look at a password is to hash it, which is costly on purpose: it is done on the threads for
//! work that blocks, by as many at once as cores can be spared, and whoever finds the line before them
//! full is told to come again. A name that nobody has is hashed like one that somebody has, so that
//! time tells nobody which names there are.

mod failures;

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use argon2::{Argon2, PasswordVerifier};
use gatepost_policy::credential::Credential;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

pub(crate) use self::failures::Failures;

/// Passwords that wait for their turn: with hashes of the usual cost that is some two seconds of one
/// core, and more would only be too late.
const WAITING_MAX: usize = 64;

/// How long one may wait. Most clients wait a minute for a reply; mail has to get through meanwhile.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Hashed where a listener has no credential at all: of no password, at the cost that
/// `gatepost hash-password` has.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGtub3dzIA$\
     AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Looks at passwords, for all listeners.
#[derive(Debug)]
pub(crate) struct Authenticator {
    hashes: Arc<Semaphore>,
    /// Places of those that are hashed and of those that wait for it.
    places: Arc<Semaphore>,
    wait_max: Duration,
    pub(crate) failures: Failures,
}

/// What a password is held against.
pub(crate) enum Against {
    Credential(Arc<Credential>),
    /// The name is nobody's. The hash of another stands in; no password is right.
    Nobody(Option<Arc<Credential>>),
}

/// A password could not be looked at in time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overload;

impl Authenticator {
    /// One core is left to mail, if there is more than one.
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self::with(cores.saturating_sub(1).max(1), WAITING_MAX, WAIT_MAX)
    }

    fn with(hashes: usize, waiting: usize, wait_max: Duration) -> Self {
        Self {
            hashes: Arc::new(Semaphore::new(hashes)),
            places: Arc::new(Semaphore::new(hashes + waiting)),
            wait_max,
            failures: Failures::default(),
        }
    }

    /// The credential, if the password is its own.
    pub(crate) async fn verify(
        &self,
        against: Against,
        password: Zeroizing<Vec<u8>>,
    ) -> Result<Option<Arc<Credential>>, Overload> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Overload)?;
        let turn = tokio::time::timeout(self.wait_max, self.hashes.clone().acquire_owned()).await;
        // It is never closed, so it is the time that was up.
        let Ok(Ok(turn)) = turn else { return Err(Overload) };
        let hashed = spawn_blocking(move || {
            // Held here: a client that goes away takes nothing of the work with it.
            let _held = (place, turn);
            against.is_met(&password).then(|| against.into_credential()).flatten()
        });
        // A panic in there is a bug; nobody is let in by it.
        hashed.await.map_err(|_| Overload)
    }
}

impl Against {
    fn is_met(&self, password: &[u8]) -> bool {
        let hash = match self {
            Self::Credential(credential) | Self::Nobody(Some(credential)) => {
                credential.password_hash().as_str()
            }
            Self::Nobody(None) => NOBODYS,
        };
        // Compares in a time that does not depend on where the two differ.
        let is_equal = Argon2::default().verify_password(password, hash).is_ok();
        is_equal && matches!(self, Self::Credential(_))
    }

    fn into_credential(self) -> Option<Arc<Credential>> {
        match self {
            Self::Credential(credential) => Some(credential),
            Self::Nobody(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use gatepost_policy::credential::PasswordHash;
    use gatepost_policy::entry::Mode;
    use gatepost_policy::listener::ListenerId;
    use gatepost_policy::ruleset::Ruleset;
    use gatepost_policy::site::{AuthOffer, Site, UpstreamId};

    use super::*;

    /// Of "secret", at the least cost there is: the tests are not optimised.
    const CHEAP: &str =
        "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$WHwbVkQ5XzAMaltcqwxy+X9v0VxYTVTjS9BRTrowawM";

    fn ruleset() -> Ruleset {
        let site = Site {
            hostname: "relay.test".into(),
            listeners: vec!["submission".into()],
            proxies: Vec::new(),
            auth: vec![AuthOffer::Everybody],
            upstreams: vec!["sink".into()],
            default_upstream: Some(UpstreamId::new(0)),
            default_mode: Mode::Sync,
            max_message_size: 1 << 20,
            max_recipients: 100,
        };
        let text = format!(
            "[[credential]]\nid = \"crm\"\nusername = \"crm\"\nsenders = []\npassword_hash = \"{CHEAP}\"\n"
        );
        Ruleset::compile(&text, "policy.toml", &Arc::new(site)).expect("a good policy").ruleset
    }

    fn password(text: &str) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn only_the_right_password_of_somebody_is_right() {
        let ruleset = ruleset();
        let crm = ruleset.credential_of(ListenerId::new(0), b"crm").expect("there");
        let authenticator = Authenticator::new();
        for (against, text, is_right) in [
            (Against::Credential(crm.clone()), "secret", true),
            (Against::Credential(crm.clone()), "Secret", false),
            (Against::Credential(crm.clone()), "", false),
            (Against::Nobody(Some(crm.clone())), "secret", false),
        ] {
            let verified = authenticator.verify(against, password(text)).await.expect("in time");
            assert_eq!(verified.is_some(), is_right, "{text}");
        }
        assert!(NOBODYS.parse::<PasswordHash>().is_ok());
        let free =
            (authenticator.hashes.available_permits(), authenticator.places.available_permits());
        assert_eq!(free.1, free.0 + WAITING_MAX, "all places come back");
    }

    #[tokio::test]
    async fn the_line_is_bounded_and_nobody_stands_in_it_for_long() {
        let wait_max = Duration::from_millis(300);
        let authenticator = Arc::new(Authenticator::with(1, 2, wait_max));
        let busy = authenticator.hashes.clone().acquire_owned().await.expect("a turn");
        let _place = authenticator.places.clone().acquire_owned().await.expect("a place");
        let verify = || {
            let authenticator = authenticator.clone();
            async move { authenticator.verify(Against::Nobody(None), password("x")).await.err() }
        };
        let begun = tokio::time::Instant::now();
        let waiting = [tokio::spawn(verify()), tokio::spawn(verify())];
        while authenticator.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(verify().await, Some(Overload), "a third is not let into the line");
        assert!(begun.elapsed() < wait_max, "and is told so at once");
        for waited in waiting {
            assert_eq!(waited.await.expect("no panic"), Some(Overload));
        }
        assert!(begun.elapsed() >= wait_max);
        drop(busy);
        assert_eq!(authenticator.places.available_permits(), 2);
    }
}
