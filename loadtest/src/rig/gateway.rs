//! A gateway of one's own: its files in a throw-away folder, its ports, its process.
//!
//! The configuration is a template and not the gateway's own types: what is measured is the program
//! that people install, started as they start it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rcgen::CertifiedKey;
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

use super::child::Running;
use super::client::{Client, Door, connector};
use super::policy::{self, ENTRIES_MAX};
use super::poll_until;
use crate::process::Usage;

/// A million entries are read within some seconds; on a machine that does other things within more.
const START_TIME: Duration = Duration::from_mins(5);

/// The name of the gateway's configuration.
const CONFIGURATION: &str = "gatepost.toml";

/// The name of the gateway in certificates and greetings.
const HOSTNAME: &str = "relay.test";

/// What a gateway is set up for.
#[derive(Clone, Debug)]
pub(crate) struct GatewaySetup {
    /// The binary.
    pub(crate) program: PathBuf,
    /// Its name in errors and logs.
    pub(crate) name: String,
    /// `sync`, `hybrid` or `spool`.
    pub(crate) mode: String,
    /// Entries of its policy.
    pub(crate) entries: u32,
    /// Where its mail goes.
    pub(crate) upstream: SocketAddr,
    /// Whether there is a second listener with TLS from the first octet on.
    pub(crate) listeners: Listeners,
    /// The CPUs it may use; empty for all. It has as many worker threads as these are.
    pub(crate) cpus: Vec<usize>,
}

/// How clients can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listeners {
    /// Without TLS.
    Plain,
    /// Without, and with TLS from the first octet on.
    PlainAndTls,
}

/// The folder of a gateway, ready to start.
#[derive(Debug)]
pub(crate) struct GatewayFiles {
    folder: TempDir,
    program: PathBuf,
    /// Without TLS.
    pub(crate) plain: SocketAddr,
    tls: Option<TlsSide>,
}

/// The listener with TLS.
#[derive(Clone)]
struct TlsSide {
    address: SocketAddr,
    connector: TlsConnector,
}

impl std::fmt::Debug for TlsSide {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TlsSide").field("address", &self.address).finish_non_exhaustive()
    }
}

impl GatewayFiles {
    /// Writes all that it takes.
    pub(crate) fn write(setup: &GatewaySetup) -> anyhow::Result<Self> {
        ensure!(setup.entries <= ENTRIES_MAX, "a policy may have {ENTRIES_MAX} entries here");
        let program = fs::canonicalize(&setup.program)
            .with_context(|| format!("there is no program {}", setup.program.display()))?;
        let folder = tempfile::Builder::new().prefix("gatepost-loadtest-").tempdir()?;
        let path = |name| folder.path().join(name);
        policy::write(&path("policy.toml"), setup.entries)?;
        let plain = free_port()?;
        let tls = match setup.listeners {
            Listeners::Plain => None,
            Listeners::PlainAndTls => Some(TlsSide::write(folder.path())?),
        };
        let text = configuration(setup, plain, tls.as_ref().map(|tls| tls.address));
        fs::write(path(CONFIGURATION), text)?;
        Ok(Self { folder, program, plain, tls })
    }

    /// The folder, which goes with this value.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The binary, wherever it is called from.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// What the binary is called with, in the folder.
    pub(crate) fn arguments() -> [&'static str; 3] {
        ["run", "--config", CONFIGURATION]
    }

    /// Where TLS begins at once.
    pub(crate) fn tls(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(|tls| tls.address)
    }

    /// For clients without TLS.
    pub(crate) fn plain_door(&self) -> Door {
        Door { server: self.plain, tls: None }
    }

    /// For clients with TLS.
    pub(crate) fn tls_door(&self) -> Option<Door> {
        let TlsSide { address, connector } = self.tls.clone()?;
        Some(Door { server: address, tls: Some(connector) })
    }

    /// Waits until it greets; an error that says why it does not.
    pub(crate) async fn greeted(&self, mut alive: impl FnMut() -> bool) -> anyhow::Result<()> {
        let (door, here) = (self.plain_door(), IpAddr::from(Ipv4Addr::LOCALHOST));
        let look = || {
            let (ended, door) = (!alive(), &door);
            async move {
                if ended {
                    return Some(false);
                }
                Client::connect(door, here).await.is_ok().then_some(true)
            }
        };
        match poll_until(START_TIME, look).await {
            Some(true) => Ok(()),
            Some(false) => bail!("{} has ended: {}", self.program.display(), self.judged()),
            None => bail!("{} does not greet within {START_TIME:?}", self.program.display()),
        }
    }

    /// What the gateway itself says of its configuration.
    fn judged(&self) -> String {
        let mut command = Command::new(&self.program);
        command.args(["check", "--config", CONFIGURATION]).current_dir(self.folder.path());
        match command.output() {
            Ok(told) => {
                let told = [told.stdout, told.stderr].concat();
                String::from_utf8_lossy(&told).trim().to_owned()
            }
            Err(error) => error.to_string(),
        }
    }
}

impl TlsSide {
    /// A certificate of its own, which vouches for itself and is worth nothing to anybody else.
    fn write(folder: &Path) -> anyhow::Result<Self> {
        let names = [HOSTNAME.to_owned(), Ipv4Addr::LOCALHOST.to_string()];
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names)?;
        fs::write(folder.join("relay.pem"), cert.pem())?;
        fs::write(folder.join("relay.key"), signing_key.serialize_pem())?;
        Ok(Self { address: free_port()?, connector: connector(cert.der().clone())? })
    }
}

/// A gateway that runs in a group of processes of its own.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// Its ports.
    pub(crate) files: GatewayFiles,
    /// From its start to its first greeting.
    pub(crate) started_in: Duration,
    running: Running,
    name: String,
}

impl Gateway {
    /// Starts it and waits for its greeting.
    pub(crate) async fn start(setup: &GatewaySetup) -> anyhow::Result<Self> {
        let files = GatewayFiles::write(setup)?;
        let started = Instant::now();
        let mut running = Running::start(
            files.program(),
            &GatewayFiles::arguments(),
            files.folder(),
            &setup.cpus,
        )?;
        files.greeted(|| running.alive()).await?;
        Ok(Self { files, started_in: started.elapsed(), running, name: setup.name.clone() })
    }

    /// What it has and has used.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        self.running.usage().with_context(|| format!("{} cannot be measured", self.name))
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.running.stop().await
    }
}

/// A port that nothing listens on. The gateway does not tell which one it got, so it is chosen here;
/// whoever takes it in between makes the gateway end, with a reason.
fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Sessions may stand for as long as a measurement takes. The mail log is written and thrown away:
/// it is part of the cost of a message, and hours of it fill a disk.
fn configuration(setup: &GatewaySetup, plain: SocketAddr, tls: Option<SocketAddr>) -> String {
    let (mode, upstream) = (&setup.mode, setup.upstream);
    let tls = tls.map_or_else(String::new, |address| {
        format!(
            "\
[[listener]]
name = \"smtps\"
bind = [\"{address}\"]
tls = \"implicit\"
certificate = \"relay.pem\"
private_key = \"relay.key\"
max_connections = 15000
"
        )
    });
    format!(
        "\
hostname = \"{HOSTNAME}\"
state_dir = \"state\"
[[listener]]
name = \"smtp\"
bind = [\"{plain}\"]
tls = \"none\"
max_connections = 15000
{tls}\
[[upstream]]
name = \"sink\"
hosts = [\"{upstream}\"]
tls = \"none\"
[policy]
file = \"policy.toml\"
[delivery]
mode = \"{mode}\"
[limits]
free_space_floor = \"1 MiB\"
[timeouts]
command = \"4h\"
session = \"8h\"
drain = \"5s\"
[log]
mail = \"/dev/null\"
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(listeners: Listeners) -> GatewaySetup {
        GatewaySetup {
            // Any file that exists: nothing is started here.
            program: std::env::current_exe().unwrap(),
            name: "gatepost".to_owned(),
            mode: "sync".to_owned(),
            entries: 10,
            upstream: "127.0.0.1:2525".parse().unwrap(),
            listeners,
            cpus: vec![],
        }
    }

    #[test]
    fn the_folder_has_what_the_configuration_names() {
        let files = GatewayFiles::write(&setup(Listeners::PlainAndTls)).unwrap();
        let text = fs::read_to_string(files.folder().join(CONFIGURATION)).unwrap();
        assert!(text.contains(&format!("bind = [\"{}\"]\ntls = \"none\"", files.plain)), "{text}");
        let tls = files.tls_door().unwrap().server;
        assert!(text.contains(&format!("bind = [\"{tls}\"]\ntls = \"implicit\"")), "{text}");
        for name in ["policy.toml", "relay.pem", "relay.key"] {
            assert!(text.contains(name), "{name}");
            assert!(fs::metadata(files.folder().join(name)).unwrap().len() > 100, "{name}");
        }
        let folder = files.folder().to_owned();
        drop(files);
        assert!(!folder.exists(), "it goes with its gateway");
    }

    #[test]
    fn plain_alone_has_no_certificate() {
        let files = GatewayFiles::write(&setup(Listeners::Plain)).unwrap();
        assert!(files.tls_door().is_none() && !files.folder().join("relay.pem").exists());
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        let wrong = GatewaySetup { program: "no/such/gatepost".into(), ..setup(Listeners::Plain) };
        let told = GatewayFiles::write(&wrong).unwrap_err().to_string();
        assert_eq!(told, "there is no program no/such/gatepost");
    }
}
