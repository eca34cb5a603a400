//! The spool of a gateway: opened before anything is bound, looked at while it runs, and closed when
//! nobody brings or delivers messages any more.
//!
//! A gateway that cannot keep what it acknowledges does not start, and says how that is mended. One
//! that cannot do so any more goes on without it, and says so: on its pages, in its metrics and in
//! its log. What is in the spool is the business of others.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gatepost_relay::{Queue, Relay};
use gatepost_spool::{Recovery, Spool, SpoolError, SpoolOptions};
use metrics::{Gauge, describe_gauge, gauge};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::errors::Failure;
use crate::exit::Exit;

/// How often it is looked at: often enough for an alert, and each time a short read.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How long it may take to write what was asked of it at the end. What it does not manage is no loss:
/// it is as safe from an end as from a crash.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is configured for a spool.
#[derive(Clone, Debug)]
pub struct SpoolConfig {
    /// A directory of its own, within the `state_dir`.
    pub directory: PathBuf,
    /// Its limits.
    pub options: SpoolOptions,
}

/// A spool that is in use, and who delivers what is in it.
pub(crate) struct Keeper {
    spool: Spool,
    relay: Arc<Relay>,
    runner: JoinHandle<()>,
}

impl Keeper {
    /// Begins to deliver what the last gateway has left.
    pub(crate) fn start(relay: &Arc<Relay>, spool: Spool, recovery: Recovery) -> Self {
        Self { spool, relay: relay.clone(), runner: tokio::spawn(relay.run_queue(recovery)) }
    }

    /// What is in it, for commands.
    pub(crate) fn queue(&self) -> Option<Queue> {
        self.relay.queue().cloned()
    }

    /// Shows whether messages can be kept and how old the oldest one is, for as long as anybody looks.
    pub(crate) fn watch(&self) -> impl Future<Output = ()> + use<> {
        describe_gauge!("gatepost_spool_writable", "0 while the spool takes no message");
        // Now: the task that looks knows no recorder.
        watch(self.spool.clone(), gauge!("gatepost_spool_writable"))
    }

    /// The end begins. Whoever still brings a message keeps it for the next gateway: what is being
    /// delivered has the time until then, and not only what sessions have left of it.
    pub(crate) fn begin_end(&self) {
        if let Some(queue) = self.relay.queue() {
            queue.take_no_more();
        }
    }

    /// Nobody brings messages any more. What is being delivered may come to its end until the time is
    /// up; the rest is delivered by the next gateway.
    pub(crate) async fn end(self, end: Instant) {
        let stopped = async {
            if let Some(queue) = self.relay.queue() {
                queue.stop().await;
            }
        };
        let ended = async { tokio::join!(self.relay.stayed(), stopped) };
        if timeout_at(end, ended).await.is_err() {
            tracing::warn!("drain timeout: deliveries from the spool were cut off");
        }
        self.runner.abort();
        if timeout(CLOSE_TIMEOUT, self.spool.close()).await.is_err() {
            tracing::error!("the spool does not end: the disk under it is very slow, or hangs");
        }
    }
}

/// Opens it, and makes it if it is not there.
pub(crate) fn open(config: &SpoolConfig) -> Result<(Spool, Recovery), Failure> {
    if let Some(parent) = config.directory.parent() {
        // Who runs a gateway has it already. Why it cannot be made is told by the next step.
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(parent);
    }
    let opened = Spool::open(&config.directory, config.options.clone(), SystemTime::now());
    let (spool, recovery) = opened.map_err(|error| {
        Failure::new(exit(&error), format_args!("the spool cannot be opened: {}", told(&error)))
    })?;
    if recovery.messages > 0 {
        let Recovery { messages, octets, leases, .. } = recovery;
        tracing::info!(messages, octets, leases, "messages wait in the spool");
    }
    Ok((spool, recovery))
}

async fn watch(spool: Spool, writable: Gauge) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut was_writable = true;
    loop {
        looks.tick().await;
        was_writable = look(&spool, &writable, was_writable);
        if let Err(error) = spool.stats(SystemTime::now()).await {
            tracing::debug!(%error, "the spool cannot be counted");
        }
    }
}

/// Tells once of each change.
fn look(spool: &Spool, gauge: &Gauge, was_writable: bool) -> bool {
    let found = spool.is_writable();
    gauge.set(u32::from(found.is_ok()));
    match &found {
        Ok(()) if !was_writable => tracing::info!("the spool takes messages again"),
        Err(error) if was_writable => {
            tracing::error!("the spool takes no message: {}", told(error));
        }
        _ => {}
    }
    found.is_ok()
}

/// An error with its mend.
pub(crate) fn told(error: &SpoolError) -> String {
    let mend = match error {
        SpoolError::Io { error, .. } => match error.kind() {
            ErrorKind::PermissionDenied => {
                "; state_dir and all that is in it have to belong to the user that runs the gateway"
            }
            ErrorKind::ReadOnlyFilesystem => {
                "; state_dir has to be on a file system that can be written"
            }
            _ => "; look after the disk that state_dir is on",
        },
        SpoolError::Sqlite { .. } => {
            "; state_dir has to be on a local disk that is in order and can be written"
        }
        _ => "",
    };
    format!("{error}{mend}")
}

/// The exit code of a program that cannot go on without it.
pub(crate) fn exit(error: &SpoolError) -> Exit {
    match error {
        SpoolError::Busy(_) | SpoolError::InUse(_) => Exit::TryLater,
        SpoolError::Io { error, .. } if error.kind() == ErrorKind::PermissionDenied => {
            Exit::Permission
        }
        _ => Exit::Spool,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use super::*;

    fn config(directory: &Path) -> SpoolConfig {
        let options = SpoolOptions { free_space_floor: 1, ..SpoolOptions::default() };
        SpoolConfig { directory: directory.join("state/spool"), options }
    }

    /// Why it cannot be opened, and the exit code.
    fn refused(config: &SpoolConfig) -> (String, u8) {
        let failure = open(config).map(drop).expect_err("is not opened");
        (failure.to_string(), failure.exit().code())
    }

    #[tokio::test]
    async fn a_spool_that_cannot_be_used_is_told_with_its_mend() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = config(directory.path());
        let (spool, recovery) = open(&config).expect("opens, and is made");
        assert_eq!(recovery, Recovery::default());
        let (told, code) = refused(&config);
        assert!(told.starts_with("the spool cannot be opened: /"), "{told}");
        assert!(
            told.ends_with(
                "state/spool: in use by another gateway; a gateway needs a spool of its own"
            ),
            "{told}"
        );
        assert_eq!(code, 75);
        spool.close().await;
        drop(spool);

        let database = config.directory.join("spool.db");
        let file = fs::OpenOptions::new().write(true).open(&database).expect("is there");
        // SQLite keeps the version of the schema there, for whoever wants to have one.
        file.write_all_at(&99_u32.to_be_bytes(), 60).expect("writes");
        let (told, code) = refused(&config);
        assert!(
            told.contains("written by a newer version of Gatepost (schema 99); run that"),
            "{told}"
        );
        assert_eq!(code, 74);
        file.write_all_at(b"no database", 0).expect("writes");
        let (told, code) = refused(&config);
        assert!(
            told.contains("spool.db is not a spool of Gatepost, or its head is damaged; move the"),
            "{told}"
        );
        assert_eq!(code, 74);
        assert_eq!(
            &fs::read(&database).expect("is there")[..11],
            b"no database",
            "it is left alone"
        );
    }

    #[test]
    fn what_the_system_refuses_is_told_with_its_mend() {
        let io = |kind: ErrorKind| SpoolError::Io {
            path: "/x".into(),
            error: std::sync::Arc::new(kind.into()),
        };
        for (error, mend, code) in [
            (io(ErrorKind::PermissionDenied), "belong to the user that runs the gateway", 77),
            (io(ErrorKind::ReadOnlyFilesystem), "file system that can be written", 74),
            (io(ErrorKind::NotADirectory), "look after the disk that state_dir is on", 74),
            (SpoolError::Busy("/x".into()), "end what has it open", 75),
        ] {
            assert!(told(&error).ends_with(mend), "{}", told(&error));
            assert_eq!(exit(&error).code(), code, "{error}");
        }
    }

    #[tokio::test]
    async fn a_disk_that_has_too_little_room_is_told_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = config(directory.path());
        config.options.free_space_floor = u64::MAX;
        let (spool, _) = open(&config).expect("opens all the same");
        let gauge = Gauge::noop();
        assert!(!look(&spool, &gauge, true), "it takes nothing");
        let told = spool.is_writable().expect_err("no room").to_string();
        assert!(told.contains("are to stay free); free some space on this disk"), "{told}");
        spool.close().await;
    }
}
