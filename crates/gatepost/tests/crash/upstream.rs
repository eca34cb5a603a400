//! The upstream of a run: an SMTP server in a process of its own, so that it can be killed.
//!
//! It writes down what it accepts *before* it says 250 ([`record`]), and it has [moods](mood): it is slow, it puts
//! off, it hangs up before or behind the final dot. Recipients and messages that are marked it refuses
//! for good, always. It shares no code with Gatepost: it speaks bytes.

pub(crate) mod mood;
pub(crate) mod record;
mod session;

use std::io::{self, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpListener;

use self::mood::Moods;
use self::record::Recorder;
use crate::chance::rng;
use crate::options::{Sabotage, UpstreamOptions};

/// What all sessions of the upstream share.
struct Shared {
    incarnation: u32,
    moods: Moods,
    recorder: Recorder,
    /// Whether chunks are taken: not every incarnation does.
    chunking: bool,
    sabotage: Option<Sabotage>,
    seed: u64,
    sessions: AtomicU64,
}

/// The process of the upstream.
pub(crate) async fn main(options: UpstreamOptions) -> anyhow::Result<ExitCode> {
    end_with_the_run();
    let recorder = Recorder::open(&options.record, options.incarnation)?;
    let moods = Moods::new(options.seed, options.healthy);
    let chunking = rng(options.seed, "chunking", options.incarnation.into()).bool();
    let shared = Arc::new(Shared {
        incarnation: options.incarnation,
        moods,
        recorder,
        chunking,
        sabotage: options.sabotage,
        seed: options.seed,
        sessions: AtomicU64::new(0),
    });
    let listener = TcpListener::bind(options.listen).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        let shared = shared.clone();
        tokio::spawn(async move {
            let number = shared.sessions.fetch_add(1, Ordering::Relaxed);
            let rng = rng(shared.seed, "session", number << 32 | u64::from(shared.incarnation));
            // A gateway that is killed is what this is about.
            let _ = session::serve(socket, &shared, rng).await;
        });
    }
}

/// The run holds the other end of standard input; it is closed when the run ends, however it ends.
fn end_with_the_run() {
    std::thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
}

/// An upstream that runs; it is killed when this is dropped.
pub(crate) struct Upstream {
    child: Child,
    incarnation: u32,
}

/// That an upstream was killed, and when: not before the one, and not after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Killed {
    pub(crate) incarnation: u32,
    pub(crate) after: u64,
    pub(crate) before: u64,
}

/// How an upstream is started.
pub(crate) struct Setting {
    pub(crate) listen: std::net::SocketAddr,
    pub(crate) record: PathBuf,
    pub(crate) seed: u64,
    pub(crate) sabotage: Option<Sabotage>,
}

impl Upstream {
    /// Starts one, and waits until it listens.
    pub(crate) async fn start(
        setting: &Setting,
        incarnation: u32,
        healthy: bool,
    ) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("upstream").arg("--record").arg(&setting.record);
        command.args(["--listen", &setting.listen.to_string()]);
        command.args(["--incarnation", &incarnation.to_string()]);
        command.args(["--seed", &setting.seed.to_string()]);
        if healthy {
            command.arg("--healthy");
        }
        if let Some(sabotage) = setting.sabotage {
            command.args(["--sabotage", &sabotage.name()]);
        }
        let child = command.stdin(Stdio::piped()).spawn()?;
        let mut upstream = Self { child, incarnation };
        crate::run::wait_until_it_listens(&mut upstream.child, setting.listen).await?;
        Ok(upstream)
    }

    /// Kills it.
    pub(crate) fn kill(mut self) -> Killed {
        let after = crate::chance::now();
        crate::run::kill(&mut self.child);
        Killed { incarnation: self.incarnation, after, before: crate::chance::now() }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        crate::run::kill(&mut self.child);
    }
}
