//! The gateway that runs on the state_dir of a configuration, if one does.

use std::path::Path;

use gatepost_admin::control::{Client, ControlError, EditCause, EditRefusal, QueueCause};

use crate::{
    errors::{Failure, tell_note},
    exit::Exit,
};

/// Finds it. If there is none, the command can answer from the files; whoever asks is told.
pub(super) async fn find(state_dir: &Path) -> Result<Option<Client>, Failure> {
    match Client::connect(state_dir).await {
        Ok(client) => Ok(Some(client)),
        Err(ControlError::NotRunning(_)) => {
            tell_note("the gateway is not running: shown is what is in its files");
            Ok(None)
        }
        Err(error) => Err(failure(error)),
    }
}

/// Why it did not answer, and the exit code for it.
pub(super) fn failure(error: ControlError) -> Failure {
    let exit = match &error {
        ControlError::NotRunning(_) => Exit::NotRunning,
        ControlError::Permission(_) => Exit::Permission,
        ControlError::Edit(refusal) => edit_exit(refusal),
        ControlError::Queue(refusal) => match refusal.cause {
            QueueCause::Spool => Exit::Spool,
            QueueCause::Wrong => Exit::Usage,
        },
        _ => Exit::Failure,
    };
    Failure::new(exit, format_args!("{:#}", anyhow::Error::new(error)))
}

/// The exit code of an edit that was refused.
pub(super) const fn edit_exit(refusal: &EditRefusal) -> Exit {
    match refusal.cause {
        EditCause::Busy => Exit::TryLater,
        EditCause::File | EditCause::Permission => Exit::Permission,
        EditCause::Policy => Exit::Config,
        EditCause::Stale | EditCause::Store | EditCause::Wrong => Exit::Failure,
    }
}

/// Runs a command that asks: its only task, so one thread is enough.
pub(super) fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}
