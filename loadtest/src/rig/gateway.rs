//! A gateway of one's own, as one process, which takes no root: its throw-away folder, its ports, its end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::TempDir;

use super::client::Door;
use super::gatepost::{Encryption, GatepostSetup, Ports};
use crate::process::{Measured, Opening, Usage, write_certificate};
use crate::tls::{Resumption, TlsClient, Trust};

/// A million entries are read within some seconds; on a machine that does other things within more.
const START_TIME: Duration = Duration::from_mins(5);

/// A gateway that runs.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// Without TLS.
    pub(crate) plain: SocketAddr,
    /// With TLS from the first octet on.
    tls: Option<Door>,
    /// From its start to its first greeting.
    pub(crate) started_in: Duration,
    name: String,
    // Ends before its folder goes.
    measured: Measured,
    _folder: TempDir,
}

impl Gateway {
    /// Starts it and waits for its greeting.
    pub(crate) async fn start(setup: &GatepostSetup) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("gatepost-loadtest-").tempdir()?;
        let ports = Ports::free()?;
        let program = setup.prepare(folder.path(), &ports)?;
        let tls = match setup.encryption {
            Encryption::SecondListener => {
                let trust = Trust::Roots(write_certificate(folder.path())?);
                let server = ports.smtps;
                // Thousands of clients that come for the first time have full handshakes.
                let tls = TlsClient::new(&trust, &server.ip().to_string(), Resumption::Off)?;
                Some(Door { server, tls: Some(tls) })
            }
            Encryption::None | Encryption::Starttls => None,
        };
        let started = Instant::now();
        let mut measured = Measured::start_alone(&program)?;
        measured.running.ready(ports.smtp, Opening::Greeting, START_TIME).await?;
        let started_in = started.elapsed();
        let name = program.name;
        Ok(Self { plain: ports.smtp, tls, started_in, name, measured, _folder: folder })
    }

    /// For clients without TLS.
    pub(crate) fn plain_door(&self) -> Door {
        Door { server: self.plain, tls: None }
    }

    /// For clients with TLS.
    pub(crate) fn tls_door(&self) -> Option<Door> {
        self.tls.clone()
    }

    /// Its number, while it runs.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.measured.running.pid().with_context(|| format!("{} has ended", self.name))
    }

    /// What it has and has used.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        self.measured.usage().with_context(|| format!("{} cannot be measured", self.name))
    }

    /// Ends it; an error if it does not end well.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.measured.drain().await
    }
}
