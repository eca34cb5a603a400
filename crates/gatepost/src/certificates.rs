//! The certificates of the listeners: read, watched, and replaced under a running gateway.
//!
//! A pair that cannot be used is refused alone and loudly: the one before it stays, and so does
//! everything else. Two files are rarely replaced in one moment, so they count when all of them have
//! come to rest.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use gatepost_inbound::{
    CertificateChain, ClientCa, Identity, IdentityError, KeyPair, ListenerTls, ServerTls,
};
use metrics::{Gauge, describe_gauge, gauge};

use crate::config::{Listener, PairFiles, TlsFiles, TlsMode};
use crate::load::{self, LoadError};
use crate::watch;

/// Octets of a file: a company's whole list of roots has a few hundred KiB.
pub(crate) const FILE_OCTETS_MAX: u64 = 1024 * 1024;

/// What all listeners show, and whom they believe.
pub struct Certificates {
    served: Vec<Served>,
}

/// What one listener shows.
struct Served {
    listener: Arc<str>,
    files: TlsFiles,
    tls: Arc<ServerTls>,
    /// What is in use. Locked where blocking is allowed: reloads come one by one.
    held: Mutex<Identity>,
    /// When each of its pairs ends to be valid, in the order of the files.
    expiry: Vec<Gauge>,
}

/// Reads the files of every listener; none for those that speak plain text.
pub fn load(listeners: &[Listener]) -> Result<Vec<Option<Identity>>, LoadError> {
    listeners.iter().map(|listener| listener.tls.as_ref().map(identity).transpose()).collect()
}

/// What should be known about certificates that are used all the same.
pub fn warnings(listeners: &[Listener], identities: &[Option<Identity>]) -> Vec<String> {
    let warnings_of = |(listener, identity): (&Listener, &Option<Identity>)| {
        let (files, identity) = listener.tls.as_ref().zip(identity.as_ref())?;
        let out_of_date = files.pairs().zip(pairs(identity)).filter(|(_, it)| it.is_out_of_date());
        Some(out_of_date.map(|(files, _)| out_of_date_warning(files)).collect::<Vec<_>>())
    };
    listeners.iter().zip(identities).filter_map(warnings_of).flatten().collect()
}

impl Certificates {
    /// Takes what was read into use: one [`ListenerTls`] for each listener.
    pub fn begin(
        listeners: &[Listener],
        identities: Vec<Option<Identity>>,
    ) -> anyhow::Result<(Arc<Self>, Vec<ListenerTls>)> {
        let (mut served, mut all) = (Vec::new(), Vec::new());
        for (listener, identity) in listeners.iter().zip(identities) {
            let Some((files, identity)) = listener.tls.as_ref().zip(identity) else {
                all.push(ListenerTls::None);
                continue;
            };
            let one = Served::new(&listener.config.name, files, &identity)
                .with_context(|| format!("listener {}: TLS", listener.config.name))?;
            all.push(match files.mode {
                TlsMode::StartTls => ListenerTls::StartTls(one.tls.clone()),
                TlsMode::Implicit => ListenerTls::Implicit(one.tls.clone()),
            });
            served.push(one);
        }
        Ok((Arc::new(Self { served }), all))
    }

    /// Reads all files once more, and takes over what is good.
    pub async fn reload(self: Arc<Self>) {
        let reload = move || self.served.iter().for_each(Served::reload);
        if let Err(bug) = tokio::task::spawn_blocking(reload).await {
            tracing::error!("reloading certificates failed: {bug}");
        }
    }

    /// Reloads whenever a file has changed, for as long as the task is let run.
    pub async fn watch(self: Arc<Self>) {
        let files: Arc<[PathBuf]> =
            self.served.iter().flat_map(|it| it.files.all()).map(Path::to_owned).collect();
        watch::follow(files, || self.clone().reload()).await;
    }
}

impl Served {
    fn new(listener: &Arc<str>, files: &TlsFiles, identity: &Identity) -> anyhow::Result<Self> {
        let expiry = |files: &PairFiles| expiry_gauge("listener", listener, files);
        let served = Self {
            listener: Arc::clone(listener),
            expiry: files.pairs().map(expiry).collect(),
            files: files.clone(),
            tls: Arc::new(ServerTls::new(listener, identity)?),
            held: Mutex::new(identity.clone()),
        };
        served.show(identity);
        Ok(served)
    }

    fn reload(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = held.clone();
        let mut is_changed = false;
        let is_sni = (0..).map(|index| index > 0);
        for ((pair, files), is_sni) in pairs_mut(&mut next).zip(self.files.pairs()).zip(is_sni) {
            match key_pair(files, is_sni) {
                Ok(new) if new.is_same(pair) => {}
                Ok(new) => {
                    *pair = new;
                    is_changed = true;
                }
                Err(error) => self.refuse(&error),
            }
        }
        if let (Some(ca), Some(file)) = (&mut next.client_ca, &self.files.client_ca) {
            match client_ca(file) {
                Ok(new) if new.is_same(ca) => {}
                Ok(new) => {
                    *ca = new;
                    is_changed = true;
                }
                Err(error) => self.refuse(&error),
            }
        }
        if !is_changed {
            return;
        }
        if let Err(error) = self.tls.replace(&next) {
            tracing::error!(listener = &*self.listener, "certificates not reloaded: {error}");
            return;
        }
        self.show(&next);
        *held = next;
        tracing::info!(listener = &*self.listener, "certificates reloaded");
    }

    fn refuse(&self, error: &LoadError) {
        tracing::error!(
            listener = &*self.listener,
            "certificate not reloaded, the old one stays: {error}"
        );
    }

    fn show(&self, identity: &Identity) {
        for ((pair, files), gauge) in pairs(identity).zip(self.files.pairs()).zip(&self.expiry) {
            show_expiry(gauge, pair);
            if pair.is_out_of_date() {
                tracing::warn!(listener = &*self.listener, "{}", out_of_date_warning(files));
            }
        }
    }
}

/// The pairs of an identity, in the order of its files.
pub(crate) fn pairs(identity: &Identity) -> impl Iterator<Item = &KeyPair> {
    std::iter::once(&identity.certificate).chain(&identity.sni)
}

fn pairs_mut(identity: &mut Identity) -> impl Iterator<Item = &mut KeyPair> {
    std::iter::once(&mut identity.certificate).chain(&mut identity.sni)
}

/// When a certificate that we show ends to be valid. `kind` is who shows it: a listener, an upstream's
/// client.
pub(crate) fn expiry_gauge(kind: &'static str, name: &str, files: &PairFiles) -> Gauge {
    const EXPIRY: &str = "gatepost_tls_cert_expiry_timestamp_seconds";
    describe_gauge!(EXPIRY, "When a certificate ends to be valid, in seconds since 1970");
    let file = files.certificate.display().to_string();
    gauge!(EXPIRY, kind => name.to_owned(), "name" => file)
}

#[allow(clippy::cast_precision_loss)] // a gauge is a float; the year 9999 is exact in one
pub(crate) fn show_expiry(gauge: &Gauge, pair: &KeyPair) {
    gauge.set(pair.not_after() as f64);
}

fn out_of_date_warning(files: &PairFiles) -> String {
    let file = files.certificate.display();
    format!(
        "{file}: the certificate is not valid today; clients that look will not go on: renew it"
    )
}

fn identity(files: &TlsFiles) -> Result<Identity, LoadError> {
    Ok(Identity {
        certificate: key_pair(&files.certificate, false)?,
        sni: files.sni.iter().map(|files| key_pair(files, true)).collect::<Result<_, _>>()?,
        client_ca: files.client_ca.as_deref().map(client_ca).transpose()?,
    })
}

/// A pair for SNI must have a name that can be asked for.
pub(crate) fn key_pair(files: &PairFiles, is_sni: bool) -> Result<KeyPair, LoadError> {
    let PairFiles { certificate, private_key } = files;
    let chain = CertificateChain::from_pem(load::text(certificate, FILE_OCTETS_MAX)?.as_bytes())
        .map_err(|error| refused(certificate, error))?;
    let pair = chain
        .with_key(load::text(private_key, FILE_OCTETS_MAX)?.as_bytes())
        .map_err(|error| refused(private_key, error))?;
    if is_sni { pair.named().map_err(|error| refused(certificate, error)) } else { Ok(pair) }
}

fn client_ca(file: &Path) -> Result<ClientCa, LoadError> {
    let pem = load::text(file, FILE_OCTETS_MAX)?;
    ClientCa::from_pem(pem.as_bytes()).map_err(|error| refused(file, error))
}

fn refused(path: &Path, error: IdentityError) -> LoadError {
    LoadError::Certificate { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests;
