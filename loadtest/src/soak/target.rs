//! The gateway that is soaked, its sink, and its end.

use std::net::SocketAddr;

use super::SoakedGateway;
use crate::rig::client::Door;
use crate::rig::gatepost::{Encryption, GatepostSetup, Span};
use crate::rig::gateway::Gateway;
use crate::rig::sink::{ANY_PORT, SinkProcess};

/// Entries of a gateway that is started for the soak.
const ENTRIES: u32 = 1000;

/// A gateway under load.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) pid: u32,
    plain: SocketAddr,
    tls: Option<SocketAddr>,
    /// One of our own.
    started: Option<Gateway>,
}

impl Target {
    /// Starts what has to be started: the gateway, and the sink unless the upstream is somebody else's.
    pub(super) async fn start(
        gateway: &SoakedGateway,
    ) -> anyhow::Result<(Self, Option<SinkProcess>)> {
        match gateway {
            SoakedGateway::Program { path, mode, tls } => {
                let sink = SinkProcess::start(ANY_PORT, &[], &[]).await?;
                let encryption = if *tls { Encryption::SecondListener } else { Encryption::None };
                let gateway = Gateway::start(&GatepostSetup {
                    program: path.clone(),
                    name: "gatepost".to_owned(),
                    mode: *mode,
                    entries: ENTRIES,
                    upstream: sink.address,
                    encryption,
                    span: Span::Hours,
                    cpus: Vec::new(),
                })
                .await?;
                let tls = gateway.tls_door().map(|door| door.server);
                let (pid, plain) = (gateway.pid()?, gateway.plain);
                Ok((Self { pid, plain, tls, started: Some(gateway) }, Some(sink)))
            }
            &SoakedGateway::Running { pid, target, tls_target, sink } => {
                let sink = match sink {
                    Some(address) => Some(SinkProcess::start(address, &[], &[]).await?),
                    None => None,
                };
                Ok((Self { pid, plain: target, tls: tls_target, started: None }, sink))
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
        self.started.as_ref()?.tls_door()
    }

    /// Ends what was started.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        match self.started {
            None => Ok(()),
            Some(gateway) => gateway.stop().await,
        }
    }
}
