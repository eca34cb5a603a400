//! Whom we take for an upstream, and who we are to it: what files say at present.
//!
//! The files may change under a running gateway. [`Access::replace`] takes what is new into use for
//! connections that are opened from then on; those that are open keep what they began with, and their
//! [`ReuseKey`](crate::ReuseKey) differs, so that none is used again. What has not changed stays: TLS
//! sessions that can be resumed, and tokens that are still good.
//!
//! An access that has nothing yet opens no connection that would need it: an upstream whose password
//! was never read is not spoken to without one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};
use rustls::ClientConfig;

use crate::auth::Credentials;
use crate::reuse_key::Identity;
use crate::tls::{self, ClientCertificate, Fingerprint, Trust};

/// Tells one set of credentials from the next, all upstreams considered.
static EPOCHS: AtomicU64 = AtomicU64::new(1);

/// The keys of an upstream that are in use.
#[derive(Default)]
pub struct Access {
    current: ArcSwapOption<Current>,
    /// How often they were replaced.
    version: AtomicU64,
}

/// What an upstream with TLS is spoken to with.
#[derive(Debug)]
pub struct Keys {
    /// Whom we believe.
    pub trust: Trust,
    /// What we show.
    pub client_certificate: Option<ClientCertificate>,
    /// Whom we log in as.
    pub credentials: Option<Credentials>,
}

#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) fingerprints: Arc<Fingerprints>,
    pub(crate) identity: Identity,
}

/// What TLS of a connection was begun with.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprints {
    /// None: anybody is believed.
    trust: Option<Fingerprint>,
    client_certificate: Option<Fingerprint>,
}

impl Access {
    /// Takes keys into use, and says whether they are others than before.
    pub fn replace(&self, keys: Keys) -> Result<bool, rustls::Error> {
        let before = self.current.load_full();
        let Keys { trust, client_certificate, credentials } = keys;
        let fingerprints = Fingerprints {
            trust: trust.fingerprint(),
            client_certificate: client_certificate.as_ref().map(ClientCertificate::fingerprint),
        };
        let same_tls = before.as_ref().filter(|before| *before.fingerprints == fingerprints);
        let same_login = before.as_ref().filter(|before| before.credentials == credentials);
        if same_tls.is_some() && same_login.is_some() {
            return Ok(false);
        }
        let (tls, fingerprints) = if let Some(before) = same_tls {
            (before.tls.clone(), before.fingerprints.clone())
        } else {
            let tls = tls::client_config(&trust, client_certificate.as_ref())?;
            (Arc::new(tls), Arc::new(fingerprints))
        };
        let (credentials, identity) = if let Some(before) = same_login {
            (before.credentials.clone(), before.identity.clone())
        } else {
            let identity = identity_of(credentials.as_ref());
            let earlier = before.as_ref().and_then(|before| before.credentials.as_ref());
            (credentials.map(|it| it.in_place_of(earlier)), identity)
        };
        self.current.store(Some(Arc::new(Current { tls, credentials, fingerprints, identity })));
        // Relaxed: whoever sees it later only waits longer.
        self.version.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    /// Tells the keys of now from those of before.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    pub(crate) fn current(&self) -> Option<Arc<Current>> {
        self.current.load_full()
    }

    /// The same, for a look that is over at once.
    pub(crate) fn peek(&self) -> Guard<Option<Arc<Current>>> {
        self.current.load()
    }
}

/// One that nobody has had before.
fn identity_of(credentials: Option<&Credentials>) -> Identity {
    let Some(credentials) = credentials else { return Identity::Anonymous };
    Identity::Login {
        mechanism: credentials.mechanism(),
        username: credentials.username().clone(),
        // Relaxed: the number orders nothing, it only has to be another one.
        epoch: EPOCHS.fetch_add(1, Ordering::Relaxed),
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
