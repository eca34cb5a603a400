//! `gatepost doctor`: what is wrong with a gateway and its surroundings, or will be, and the mend.
//!
//! The first question is whether clients come by addresses of their own: everything rests on that, and
//! the network can change it without anybody here being asked. A gateway that runs tells what it sees.
//! Nothing is changed, and no upstream is connected to.

mod check;
mod clients;
mod files;
mod machine;
mod network;
mod spool;

use gatepost_admin::control::{Client, ControlError, DeniedView, DoctorView, StatusView};
use gatepost_policy::ruleset::Compiled;
use serde::Serialize;

use self::check::{Checked, Status};
use super::print;
use crate::{
    cli::{ListArguments, OutputForm},
    config::Config,
    exit::Exit,
    policy,
    surroundings::Surroundings,
};

/// Refused clients that are asked for: all that the gateway shows at once.
const DENIED_ASKED: usize = 1000;

/// Everything that is looked at.
struct Patient {
    config: Config,
    policy: Compiled,
    surroundings: Surroundings,
    gateway: Gateway,
}

/// The gateway that runs on the configuration.
enum Gateway {
    Running(Box<Running>),
    Down,
    /// It does not answer us.
    Mute(ControlError),
}

/// What it says.
struct Running {
    status: StatusView,
    doctor: DoctorView,
    denied: Vec<DeniedView>,
}

/// What programs read.
#[derive(Serialize)]
struct Report<'a> {
    /// The gravest status of all.
    status: Status,
    checks: &'a [Checked],
    /// What the running gateway sees, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<&'a DoctorView>,
}

/// Looks, and tells. A problem is a failure of the command; a warning is not.
pub fn doctor(arguments: &ListArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    let policy = policy::load(&config.policy, &config.site)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let surroundings = Surroundings::read();
    let (patient, upstreams) = runtime.block_on(async {
        let gateway = Gateway::ask(&config).await;
        let patient = Patient { config, policy, surroundings, gateway };
        let upstreams = network::upstreams(&patient).await;
        (patient, upstreams)
    });
    // A look-up that hangs in the resolver must not keep the command from ending.
    runtime.shutdown_background();
    let mut checks = clients::checks(&patient);
    checks.extend(files::checks(&patient, &arguments.config.config));
    checks.extend(spool::checks(&patient));
    checks.extend(network::checks(&patient));
    checks.push(upstreams);
    checks.extend(machine::checks(&patient, &arguments.config.config));
    let status = checks.iter().map(Checked::status).max().unwrap_or(Status::Ok);
    let gateway = patient.running().map(|running| &running.doctor);
    match arguments.output {
        OutputForm::Json => {
            let report = Report { status, checks: &checks, gateway };
            print(&(serde_json::to_string_pretty(&report)? + "\n"))?;
        }
        OutputForm::Table => {
            print(&(check::table(&checks) + &clients::table(gateway)))?;
        }
    }
    Ok(if status == Status::Problem { Exit::Failure } else { Exit::Ok })
}

impl Patient {
    fn running(&self) -> Option<&Running> {
        match &self.gateway {
            Gateway::Running(running) => Some(running),
            Gateway::Down | Gateway::Mute(_) => None,
        }
    }
}

impl Gateway {
    async fn ask(config: &Config) -> Self {
        match Self::answers(config).await {
            Ok(running) => Self::Running(Box::new(running)),
            Err(ControlError::NotRunning(_)) => Self::Down,
            Err(error) => Self::Mute(error),
        }
    }

    async fn answers(config: &Config) -> Result<Running, ControlError> {
        let client = Client::connect(&config.state_dir).await?;
        Ok(Running {
            status: client.status().await?,
            doctor: client.doctor().await?,
            denied: client.denied(DENIED_ASKED).await?,
        })
    }
}
