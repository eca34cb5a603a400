//! The gateway that is soaked, its sink, and its end.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::{Child, Command};
use tokio::time;

use super::SoakedGateway;
use crate::rig::client::Door;
use crate::rig::gateway::{GatewayFiles, GatewaySetup, Listeners};
use crate::rig::{ANY_PORT, RunningSink, poll_until};

/// Entries of a gateway that is started for the soak.
const ENTRIES: u32 = 1000;

/// What was accepted has arrived after this: with a queue between, the sink is a bit behind.
const ARRIVAL_TIME: Duration = Duration::from_mins(1);

/// The gateway may drain.
const STOP_TIME: Duration = Duration::from_secs(30);

/// A gateway under load.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) pid: u32,
    plain: SocketAddr,
    tls: Option<SocketAddr>,
    sink: Option<RunningSink>,
    started: Option<Started>,
}

/// A gateway of our own; the process ends before its folder goes.
#[derive(Debug)]
struct Started {
    child: Child,
    files: GatewayFiles,
}

impl Target {
    /// Starts what has to be started.
    pub(super) async fn start(gateway: &SoakedGateway) -> anyhow::Result<Self> {
        match gateway {
            SoakedGateway::Program { path, mode, tls } => {
                let sink = RunningSink::start(ANY_PORT)?;
                let setup = GatewaySetup {
                    program: path.clone(),
                    name: "gatepost".to_owned(),
                    mode: mode.clone(),
                    entries: ENTRIES,
                    upstream: sink.address,
                    listeners: if *tls { Listeners::PlainAndTls } else { Listeners::Plain },
                    cpus: Vec::new(),
                };
                let (pid, started) = Started::start(&setup).await?;
                let (plain, tls) = (started.files.plain, started.files.tls());
                Ok(Self { pid, plain, tls, sink: Some(sink), started: Some(started) })
            }
            &SoakedGateway::Running { pid, target, tls_target, sink } => {
                let sink = sink.map(RunningSink::start).transpose()?;
                Ok(Self { pid, plain: target, tls: tls_target, sink, started: None })
            }
        }
    }

    /// The listener without TLS.
    pub(super) fn plain(&self) -> SocketAddr {
        self.plain
    }

    /// The listener where TLS begins at once.
    pub(super) fn tls(&self) -> Option<SocketAddr> {
        self.tls
    }

    /// For clients without TLS.
    pub(super) fn door(&self) -> Door {
        Door { server: self.plain, tls: None }
    }

    /// For clients with TLS; nobody knows whom to trust for a gateway that runs already.
    pub(super) fn tls_door(&self) -> Option<Door> {
        self.started.as_ref()?.files.tls_door()
    }

    /// What the sink has, as soon as that is what was expected, or its time is over. `None` if the
    /// upstream is somebody else's.
    pub(super) async fn arrived(&self, expected: u64) -> Option<u64> {
        let sink = self.sink.as_ref()?;
        let look = || async { (sink.messages() >= expected).then_some(()) };
        poll_until(ARRIVAL_TIME, look).await;
        Some(sink.messages())
    }

    /// Ends what was started.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        match self.started {
            None => Ok(()),
            Some(started) => started.stop(self.pid).await,
        }
    }
}

impl Started {
    async fn start(setup: &GatewaySetup) -> anyhow::Result<(u32, Self)> {
        let files = GatewayFiles::write(setup)?;
        let log = File::create(files.folder().join("gatepost.log"))?;
        let mut command = Command::new(files.program());
        command.args(GatewayFiles::arguments()).current_dir(files.folder()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", files.program().display()))?;
        files.greeted(|| matches!(child.try_wait(), Ok(None))).await?;
        let pid = child.id().context("the gateway has ended")?;
        Ok((pid, Self { child, files }))
    }

    async fn stop(mut self, pid: u32) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_some() {
            // That it has ended has been told.
            return Ok(());
        }
        Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        let waited = time::timeout(STOP_TIME, self.child.wait()).await;
        let ended = waited
            .with_context(|| format!("the gateway has not ended {STOP_TIME:?} after SIGTERM"))??;
        ensure!(ended.success(), "the gateway ended after SIGTERM with {ended}");
        Ok(())
    }
}
