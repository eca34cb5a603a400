//! A run: in each mode a gateway, an upstream and clients; killing; coming to rest; comparing.

mod killer;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use self::killer::Killings;
use crate::chance::{now, rng};
use crate::client::{Client, Pace};
use crate::gateway::{Place, messages_on_their_way};
use crate::ledger::Ledger;
use crate::lies;
use crate::options::{Mode, RunOptions, Sabotage};
use crate::reconcile::{Evidence, reconcile};
use crate::report::{ModeReport, Report};
use crate::upstream::{Setting, record};
use crate::{ledger, letter, spool};

/// How long a program may take until it listens, on a machine that is busy.
const START_MAX: Duration = Duration::from_secs(30);
/// How long clients may take for the last message each of them is at: a reply of an upstream, and a large
/// message.
const CLIENTS_MAX: Duration = Duration::from_secs(70);
/// How long the spool may take until it is empty, once everybody is well.
const REST_MAX: Duration = Duration::from_mins(2);
/// How long one kill may take, with all that belongs to it.
const KILL_MAX: Duration = Duration::from_secs(20);
/// Messages in the spool, at the most, beside those that come until that is seen.
const BACKLOG_MAX: u64 = 1000;
const BACKLOG_LOOK: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What a run in one mode works with.
pub(crate) struct Stage {
    options: RunOptions,
    seed: u64,
    place: Place,
    setting: Setting,
    ledger: Arc<Ledger>,
}

/// All modes that were asked for.
pub(crate) async fn main(options: RunOptions) -> anyhow::Result<ExitCode> {
    let seed = options.seed.unwrap_or_else(now);
    let mut report = Report::new(seed);
    for &mode in options.mode.list() {
        let (done, directory) = one_mode(&options, mode, seed).await?;
        if !done.is_good() {
            eprintln!("crash: everything is kept in {}", directory.keep().display());
        }
        report.modes.push(done);
    }
    println!("{report}");
    if let Some(path) = &options.report {
        report.write(path)?;
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn one_mode(
    options: &RunOptions,
    mode: Mode,
    seed: u64,
) -> anyhow::Result<(ModeReport, TempDir)> {
    let directory = tempfile::Builder::new().prefix("gatepost-crash-").tempdir()?;
    let stage = Stage::new(options, mode, seed, directory.path())?;
    let ended = stage.play().await;
    match ended {
        Ok(report) => Ok((report, directory)),
        Err(error) => {
            let kept = directory.keep();
            Err(error.context(format!("mode {}, seed {seed}, in {}", mode.name(), kept.display())))
        }
    }
}

impl Stage {
    fn new(options: &RunOptions, mode: Mode, seed: u64, directory: &Path) -> anyhow::Result<Self> {
        let [listen, metrics, upstream] = addresses()?;
        let directory = directory.to_owned();
        let record = directory.join("upstream.record");
        let program = options.program.clone();
        let place = Place { directory, program, mode, listen, metrics, upstream };
        place.prepare()?;
        let setting = Setting { listen: upstream, record, seed, sabotage: options.sabotage };
        let ledger = Arc::new(Ledger::new());
        Ok(Self { options: options.clone(), seed, place, setting, ledger })
    }

    async fn play(&self) -> anyhow::Result<ModeReport> {
        let begin = Instant::now();
        let (pace, told) = watch::channel(Pace::Send);
        let mut clients = JoinSet::new();
        for number in 0..self.options.clients {
            clients.spawn(self.client(number, told.clone()).run());
        }
        let enough = KILL_MAX * self.options.kills + 2 * Duration::from_secs(self.options.seconds);
        let killing = timeout(enough + START_MAX, killer::kill(self));
        let killed = tokio::select! {
            killed = killing => killed,
            () = self.hold_back(&pace) => unreachable!("it goes on for ever"),
        };
        let (killings, gateway, upstream) = killed.context("killing takes too long")??;
        let killed_for = begin.elapsed();
        // Everybody is well now.
        pace.send_replace(Pace::End);
        timeout(CLIENTS_MAX, clients.join_all()).await.context("clients do not come to an end")?;
        let resting = Instant::now();
        self.come_to_rest().await?;
        let rested_for = resting.elapsed();
        gateway.end().await?;
        drop(upstream);
        self.compare(killings, killed_for, rested_for)
    }

    fn client(&self, number: u8, pace: watch::Receiver<Pace>) -> Client {
        Client {
            address: Ipv4Addr::new(127, 77, 10 + number % 2, 1 + number / 2),
            gateway: self.place.listen,
            ledger: self.ledger.clone(),
            rng: rng(self.seed, "client", number.into()),
            pace,
        }
    }

    /// Keeps clients from sending more than can be delivered in the end: an upstream that is down half of
    /// the time takes less than they have.
    async fn hold_back(&self, pace: &watch::Sender<Pace>) {
        loop {
            sleep(BACKLOG_LOOK).await;
            // A gateway that was killed tells nothing.
            if let Ok(Some(messages)) = messages_on_their_way(self.place.metrics).await {
                let told = if messages > BACKLOG_MAX { Pace::Wait } else { Pace::Send };
                pace.send_replace(told);
            }
        }
    }

    /// Waits until nothing is on its way any more, or for as long as that may take: what is left then
    /// is found by the comparison.
    async fn come_to_rest(&self) -> anyhow::Result<()> {
        let patience = Instant::now() + REST_MAX;
        while Instant::now() < patience {
            let messages = messages_on_their_way(self.place.metrics).await?;
            ensure!(
                messages.is_some() || self.place.mode == Mode::Sync,
                "the metrics page does not tell how many messages are in the spool"
            );
            if messages.unwrap_or_default() == 0 {
                return Ok(());
            }
            sleep(10 * LOOK_AGAIN).await;
        }
        Ok(())
    }

    fn compare(
        &self,
        killings: Killings,
        killed_for: Duration,
        rested_for: Duration,
    ) -> anyhow::Result<ModeReport> {
        let (mut ledger, replies) = self.ledger.close();
        if self.options.sabotage == Some(Sabotage::MadeUp) {
            let letter = letter::Letter::made_up(ledger.len() as u64);
            let recipients = vec![Some(ledger::Word::Accepted)];
            ledger.push(ledger::Entry { letter, recipients, whole: ledger::Word::Accepted });
        }
        let kept = spool::read(&self.place.spool())?;
        spool::lists_the_same(&self.place, &kept)?;
        let evidence = Evidence {
            mode: self.place.mode,
            ledger,
            deliveries: record::read(&self.setting.record)?,
            kept,
            gateways: killings.gateways,
            upstreams: killings.upstreams,
        };
        let findings = reconcile(&evidence);
        let lies = lies::tell_all(&evidence);
        Ok(ModeReport::new(&evidence, findings, lies)
            .with_kills(killings.moments, killings.ends)
            .with_course(killed_for, rested_for)
            .with_replies(replies))
    }
}

/// Addresses that nobody listens on, of a host that no connection comes from: nobody takes one of these
/// ports in between, and who connects to an upstream that is down is not connected to itself.
pub(crate) fn addresses() -> io::Result<[SocketAddr; 3]> {
    let mut chance = rng(now(), "addresses", std::process::id().into());
    let host = Ipv4Addr::new(127, 77, chance.u8(100..250), chance.u8(1..250));
    // Bound at the same time, so that they differ.
    let listeners = [(); 3].map(|()| TcpListener::bind((host, 0)));
    let [gateway, metrics, upstream] = listeners;
    Ok([gateway?.local_addr()?, metrics?.local_addr()?, upstream?.local_addr()?])
}

/// Waits until a program listens.
pub(crate) async fn wait_until_it_listens(child: &mut Child, addr: SocketAddr) -> io::Result<()> {
    let patience = Instant::now() + START_MAX;
    while TcpStream::connect(addr).await.is_err() {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("it has ended with {status}")));
        }
        if Instant::now() > patience {
            return Err(io::Error::other("it does not listen"));
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Kills a program with SIGKILL, and waits until it is gone.
pub(crate) fn kill(child: &mut Child) {
    // It may be gone already.
    let _ = child.kill();
    let _ = child.wait();
}
