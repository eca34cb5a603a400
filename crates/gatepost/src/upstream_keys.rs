//! The keys of the upstreams: who is believed, what is shown, and what is logged in with. Read,
//! watched, and replaced under a running gateway.
//!
//! The keys of one upstream are one identity: they are taken over together or not at all. One file
//! that cannot be used is told loudly, and what was there before stays; other upstreams go on.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use gatepost_delivery::{
    Access, ClientCertificate, Credentials, Keys, Mechanism, Roots, RootsError, Secret,
    SecretError, TlsPolicy, TokenConfig, Trust, UpstreamConfig,
};
use gatepost_inbound::KeyPair;
use metrics::Gauge;

use crate::certificates::{self, FILE_OCTETS_MAX};
use crate::config::{Auth, Proof, UpstreamFiles};
use crate::load::{self, LoadError};
use crate::watch;

/// The keys of all upstreams that have any.
pub struct UpstreamKeys {
    held: Vec<Held>,
    /// Held from the first file to the last, where blocking is allowed: reloads come one by one, and
    /// what was read first is not taken over last.
    reloading: Mutex<()>,
}

/// The keys of one upstream, as they were read.
pub struct LoadedKeys {
    keys: Keys,
    client: Option<KeyPair>,
}

struct Held {
    upstream: Arc<str>,
    policy: TlsPolicy,
    files: UpstreamFiles,
    access: Arc<Access>,
    /// When our certificate ends to be valid.
    expiry: Option<Gauge>,
}

/// Reads the files of every upstream; none for those that are spoken to in plain text.
pub fn load(
    upstreams: &[UpstreamConfig],
    files: &[UpstreamFiles],
) -> Result<Vec<Option<LoadedKeys>>, LoadError> {
    let load = |(upstream, files): (&UpstreamConfig, &UpstreamFiles)| match upstream.tls {
        TlsPolicy::None => Ok(None),
        policy => LoadedKeys::read(&upstream.name, policy, files).map(Some),
    };
    upstreams.iter().zip(files).map(load).collect()
}

/// What should be known about keys that are used all the same.
pub fn warnings(files: &[UpstreamFiles], keys: &[Option<LoadedKeys>]) -> Vec<String> {
    let of_one = |(files, keys): (&UpstreamFiles, &Option<LoadedKeys>)| {
        keys.as_ref().map(|keys| keys.warnings(files)).unwrap_or_default()
    };
    files.iter().zip(keys).flat_map(of_one).collect()
}

impl UpstreamKeys {
    /// Takes what was read into use.
    pub fn begin(
        upstreams: &[UpstreamConfig],
        files: Vec<UpstreamFiles>,
        keys: Vec<Option<LoadedKeys>>,
    ) -> anyhow::Result<Arc<Self>> {
        let mut held = Vec::new();
        for ((upstream, files), keys) in upstreams.iter().zip(files).zip(keys) {
            let Some(keys) = keys else { continue };
            let pair = files.client.as_ref();
            let one = Held {
                expiry: pair.map(|it| certificates::expiry_gauge("upstream", &upstream.name, it)),
                upstream: upstream.name.clone(),
                policy: upstream.tls,
                access: upstream.access.clone(),
                files,
            };
            one.take(keys).with_context(|| format!("upstream {}: TLS", upstream.name))?;
            held.push(one);
        }
        Ok(Arc::new(Self { held, reloading: Mutex::default() }))
    }

    /// Reads all files once more, and takes over what is good.
    pub async fn reload(self: Arc<Self>) {
        let reload = move || {
            let _one_by_one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
            self.held.iter().for_each(Held::reload);
        };
        if let Err(bug) = tokio::task::spawn_blocking(reload).await {
            tracing::error!("reloading keys of upstreams failed: {bug}");
        }
    }

    /// Reloads whenever a file has changed, for as long as the task is let run.
    pub async fn watch(self: Arc<Self>) {
        let files: Arc<[PathBuf]> =
            self.held.iter().flat_map(|it| it.files.all()).map(Path::to_owned).collect();
        watch::follow(files, || self.clone().reload()).await;
    }
}

impl Held {
    fn reload(&self) {
        let upstream = &*self.upstream;
        let taken = LoadedKeys::read(&self.upstream, self.policy, &self.files)
            .map_err(anyhow::Error::from)
            .and_then(|keys| self.take(keys));
        match taken {
            Ok(false) => {}
            Ok(true) => tracing::info!(upstream, "keys reloaded"),
            Err(error) => {
                tracing::error!(upstream, "keys not reloaded, the old ones stay: {error:#}");
            }
        }
    }

    /// Whether they are others than before.
    fn take(&self, loaded: LoadedKeys) -> anyhow::Result<bool> {
        let warnings = loaded.warnings(&self.files);
        let LoadedKeys { keys, client } = loaded;
        let is_changed = self.access.replace(keys)?;
        if is_changed {
            if let (Some(gauge), Some(pair)) = (&self.expiry, &client) {
                certificates::show_expiry(gauge, pair);
            }
            for warning in warnings {
                tracing::warn!(upstream = &*self.upstream, "{warning}");
            }
        }
        Ok(is_changed)
    }
}

impl LoadedKeys {
    fn read(
        upstream: &Arc<str>,
        policy: TlsPolicy,
        files: &UpstreamFiles,
    ) -> Result<Self, LoadError> {
        let ca = files.ca.as_deref();
        let trust = match policy {
            TlsPolicy::Opportunistic | TlsPolicy::None => Trust::Anybody,
            TlsPolicy::Required | TlsPolicy::Implicit => Trust::Roots(roots(ca)?),
        };
        let pair = |files| certificates::key_pair(files, false);
        let client = files.client.as_ref().map(pair).transpose()?;
        let client_certificate =
            client.as_ref().map(|pair| ClientCertificate::new(pair.key().clone()));
        let credentials =
            files.auth.as_ref().map(|auth| credentials(upstream, auth, ca)).transpose()?;
        Ok(Self { keys: Keys { trust, client_certificate, credentials }, client })
    }

    fn warnings(&self, files: &UpstreamFiles) -> Vec<String> {
        let pair = self.client.as_ref().filter(|pair| pair.is_out_of_date());
        let out_of_date = pair.zip(files.client.as_ref()).map(|(_, files)| {
            let file = files.certificate.display();
            format!("{file}: the certificate is not valid today; an upstream that looks refuses it: renew it")
        });
        let key = files.client.as_ref().map(|pair| pair.private_key.as_path());
        let exposed =
            files.secret().into_iter().chain(key).filter(|file| is_exposed(file)).map(|file| {
                let file = file.display();
                format!(
                    "{file}: everybody on this machine can read the secret in it: chmod o= {file}"
                )
            });
        out_of_date.into_iter().chain(exposed).collect()
    }
}

fn roots(ca: Option<&Path>) -> Result<Roots, LoadError> {
    let refused = |error: RootsError| LoadError::Roots { path: ca.map(Path::to_owned), error };
    match ca {
        None => Roots::of_platform().map_err(refused),
        Some(file) => {
            let pem = load::text(file, FILE_OCTETS_MAX)?;
            Roots::from_pem(pem.as_bytes()).map_err(refused)
        }
    }
}

fn credentials(
    upstream: &Arc<str>,
    auth: &Auth,
    ca: Option<&Path>,
) -> Result<Credentials, LoadError> {
    let username = auth.username.clone();
    Ok(match &auth.proof {
        Proof::Password { mechanism, file } => {
            let password = Arc::new(load::secret(file)?);
            match mechanism {
                Mechanism::Login => Credentials::Login { username, password },
                _ => Credentials::Plain { username, password },
            }
        }
        Proof::Token { endpoint, client_id, client_secret, scope } => {
            let grant = TokenConfig {
                upstream: Arc::clone(upstream),
                endpoint: endpoint.clone(),
                client_id: client_id.clone(),
                client_secret: Arc::new(text_secret(client_secret)?),
                scope: scope.clone(),
                // A provider of tokens may be the upstream's, with roots of its own, or anybody's.
                roots: match ca {
                    None => roots(None)?,
                    Some(_) => roots(ca)?.and_platform(),
                },
            };
            Credentials::bearer(username, grant)
        }
    })
}

/// A secret that goes into a form.
fn text_secret(file: &Path) -> Result<Secret, LoadError> {
    let secret = load::secret(file)?;
    match std::str::from_utf8(secret.expose()) {
        Ok(_) => Ok(secret),
        Err(_) => Err(LoadError::Secret { path: file.to_owned(), error: SecretError::NotText }),
    }
}

/// Whether others than its owner and its group may read a file.
fn is_exposed(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|found| found.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests;
