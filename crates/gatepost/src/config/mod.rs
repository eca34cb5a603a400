//! The configuration: from `gatepost.toml` and the environment to what each part is made with.
//!
//! Two stages. `file` mirrors what is written, key by key; `resolve` turns that into types that can
//! no longer be wrong, with defaults in place. `source` knows for both where a value came from, so
//! that an error names file, line and column, or the variable. Contract §1 lists the keys.

mod environment;
mod file;
mod keys;
mod resolve;
mod source;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gatepost_delivery::{Mechanism, TokenEndpoint, UpstreamConfig};
use gatepost_inbound::{ListenerConfig, SessionConfig};
use gatepost_policy::{document::DocumentError, site::Site};
use gatepost_relay::{CanaryConfig, MailLogTarget, RelayConfig};

pub use self::keys::Keys;
use self::source::Source;
use crate::{
    load::{self, LoadError},
    policy,
    spool::SpoolConfig,
};

/// Octets of the file: a hundred upstreams take a few dozen KiB.
const FILE_OCTETS_MAX: u64 = 1024 * 1024;

/// What a gateway is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our name.
    pub hostname: Arc<str>,
    /// The directory that belongs to this gateway alone.
    pub state_dir: PathBuf,
    /// The services, in the order of the file; never empty.
    pub listeners: Vec<Listener>,
    /// The smart hosts, in the order of the file; never empty.
    pub upstreams: Vec<UpstreamConfig>,
    /// The files of each of them, in the same order.
    pub upstream_files: Vec<UpstreamFiles>,
    /// What is sent through each of them now and then, in the same order.
    pub canaries: Vec<Option<CanaryConfig>>,
    /// What the policy is compiled for.
    pub site: Arc<Site>,
    /// Where the policy is.
    pub policy: policy::Source,
    /// A policy that is tried beside it, if there is one.
    pub shadow: Option<PathBuf>,
    /// How messages are handed over.
    pub relay: RelayConfig,
    /// Where messages are kept that are acknowledged and not delivered.
    pub spool: SpoolConfig,
    /// What all sessions have in common.
    pub session: SessionConfig,
    /// From SIGTERM to the end.
    pub drain_timeout: Duration,
    /// Both logs.
    pub log: LogConfig,
    /// Where metrics and health are shown, if they are.
    pub metrics_bind: Option<SocketAddr>,
    /// What is not wrong, and will hardly do what was meant.
    pub warnings: Vec<DocumentError>,
    /// What is written in the file, to be compared with what will be written there later.
    pub keys: Keys,
}

/// A listener, and where it listens.
#[derive(Clone, Debug)]
pub struct Listener {
    /// What it is.
    pub config: ListenerConfig,
    /// Its TLS; none if it speaks plain text.
    pub tls: Option<TlsFiles>,
    /// Its addresses; never empty. `[::]` is IPv6 only.
    pub bind: Vec<SocketAddr>,
}

/// The files that TLS of a listener is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// When it begins.
    pub mode: TlsMode,
    /// What clients get that ask for no name that another pair has.
    pub certificate: PairFiles,
    /// What clients get that ask for a name of theirs.
    pub sni: Vec<PairFiles>,
    /// Who signs certificates of clients.
    pub client_ca: Option<PathBuf>,
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Before anything else.
    Implicit,
    /// When the client asks for it.
    StartTls,
}

/// A certificate chain and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The chain, in PEM.
    pub certificate: PathBuf,
    /// The key, in PEM.
    pub private_key: PathBuf,
}

/// The files that say whom an upstream is taken for, and who we are to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamFiles {
    /// Who signs its certificate; none: the roots of this machine.
    pub ca: Option<PathBuf>,
    /// What we show.
    pub client: Option<PairFiles>,
    /// Whom we log in as.
    pub auth: Option<Auth>,
}

/// Whom we log in as at an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The name.
    pub username: Arc<str>,
    /// What proves it.
    pub proof: Proof,
}

/// What proves a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A password, said with LOGIN or PLAIN.
    Password {
        /// Which of the two.
        mechanism: Mechanism,
        /// Where it is.
        file: PathBuf,
    },
    /// An access token, said with XOAUTH2.
    Token {
        /// URL of the token endpoint.
        endpoint: TokenEndpoint,
        /// Who we are to it.
        client_id: Arc<str>,
        /// Where the secret for it is.
        client_secret: PathBuf,
        /// What the token is for.
        scope: Option<Arc<str>>,
    },
}

impl UpstreamFiles {
    /// Every file.
    pub fn all(&self) -> impl Iterator<Item = &Path> {
        let pair = self.client.iter().flat_map(|pair| [&pair.certificate, &pair.private_key]);
        pair.chain(&self.ca).map(PathBuf::as_path).chain(self.secret())
    }

    /// The one with a secret in it.
    pub fn secret(&self) -> Option<&Path> {
        self.auth.as_ref().map(|auth| match &auth.proof {
            Proof::Password { file, .. } => file.as_path(),
            Proof::Token { client_secret, .. } => client_secret.as_path(),
        })
    }
}

impl TlsFiles {
    /// The pairs, that without a name first.
    pub fn pairs(&self) -> impl Iterator<Item = &PairFiles> {
        std::iter::once(&self.certificate).chain(&self.sni)
    }

    /// Every file.
    pub fn all(&self) -> impl Iterator<Item = &Path> {
        let of_pairs = self.pairs().flat_map(|pair| [&pair.certificate, &pair.private_key]);
        of_pairs.chain(&self.client_ca).map(PathBuf::as_path)
    }
}

/// The operations log and the mail log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The operations log: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    /// The form of the operations log.
    pub format: LogFormat,
    /// The mail log.
    pub mail: MailLogTarget,
}

/// The form of the operations log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For programs.
    Json,
    /// For people.
    #[default]
    Pretty,
}

impl Config {
    /// Reads the file, and the variables of this process.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let text = load::text(path, FILE_OCTETS_MAX)?;
        Self::from_text(&text, path, std::env::vars_os()).map_err(LoadError::Config)
    }

    /// The configuration in a text. `path` is the file it came from: relative paths begin where
    /// that is, and errors name it.
    pub fn from_text(
        text: &str,
        path: &Path,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Vec<DocumentError>> {
        let origin = path.display().to_string();
        let (file, source) = Source::read(text, &origin, environment)?;
        let config = resolve::resolve(file, &source, path.parent().unwrap_or(Path::new("")))?;
        Ok(Self { keys: Keys::of(text), ..config })
    }
}
