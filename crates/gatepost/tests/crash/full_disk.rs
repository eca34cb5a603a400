//! A disk that is filled to the brim while a gateway runs on it: a real one, of tmpfs, mounted for this
//! and so as root. Where it cannot be mounted, this fails.
//!
//! Mode `spool` says `452 4.3.1` and means it, and is not ready; mode `hybrid` does what `sync` does. When
//! there is room again, all is as before.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::{Instant, sleep};

use crate::chance::now;
use crate::gateway::{Gateway, Place, get, messages_on_their_way};
use crate::options::{FullDiskOptions, Mode};
use crate::run::addresses;
use crate::upstream::record::{self, Delivery};
use crate::upstream::{Setting, Upstream};
use crate::wire::Wire;

/// How large the disk is, and whose.
const SIZE: &str = "size=16m,mode=700";
/// How long it may take until something is seen: it is believed for a second how much room there is.
const SEEN_MAX: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A disk of its own; it is gone when this is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir(at)?;
        let mut command = Command::new("mount");
        let status = command.args(["-t", "tmpfs", "-o", SIZE, "crash"]).arg(at).status()?;
        ensure!(
            status.success(),
            "a tmpfs cannot be mounted: this needs to be root, and allowed to"
        );
        Ok(Self(at.to_owned()))
    }

    /// Leaves not one octet.
    fn fill(&self) -> anyhow::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(self.ballast())?;
        for size in [1 << 16, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(())
    }

    fn empty(&self) -> std::io::Result<()> {
        std::fs::remove_file(self.ballast())
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever is still open on it goes with its process.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Both modes, one after the other.
pub(crate) async fn main(options: FullDiskOptions) -> anyhow::Result<ExitCode> {
    for mode in [Mode::Spool, Mode::Hybrid] {
        let directory = tempfile::Builder::new().prefix("gatepost-full-").tempdir()?;
        one_mode(&options, mode, directory.path())
            .await
            .with_context(|| format!("mode {} on a full disk", mode.name()))?;
        println!("{}: a full disk is told as one", mode.name());
    }
    Ok(ExitCode::SUCCESS)
}

async fn one_mode(options: &FullDiskOptions, mode: Mode, directory: &Path) -> anyhow::Result<()> {
    let disk = Disk::mount(&directory.join("state"))?;
    let [listen, metrics, upstream] = addresses()?;
    let program = options.program.clone();
    let place = Place { directory: directory.to_owned(), program, mode, listen, metrics, upstream };
    place.prepare()?;
    let record = directory.join("upstream.record");
    let setting = Setting { listen: upstream, record, seed: now(), sabotage: None };
    let sink = Upstream::start(&setting, 1, true).await?;
    let mut gateway = Gateway::start(&place, 1)?;
    gateway.listens(&place).await?;

    ensure!(send(&place, 1).await? == 250, "with room, a message is accepted");
    let was = arrived(&setting, &place, 1).await?;
    disk.fill()?;
    readiness(&place, 503).await?;
    let code = send(&place, 2).await?;
    let sink = if mode == Mode::Spool {
        ensure!(code == 452, "a message was answered with {code}");
        Some(sink)
    } else {
        ensure!(code == 250, "the upstream has room, and a message was answered with {code}");
        drop(sink);
        let code = send(&place, 3).await?;
        ensure!((400..500).contains(&code), "without an upstream it was answered with {code}");
        None
    };
    disk.empty()?;
    readiness(&place, 200).await?;
    let _sink = match sink {
        Some(sink) => sink,
        None => Upstream::start(&setting, 2, true).await.context("the upstream comes back")?,
    };
    // What was there before is there once.
    ensure!(arrived(&setting, &place, 1).await?.len() == was.len(), "it was sent again");
    ensure!(send(&place, 4).await? == 250, "with room again, a message is accepted");
    arrived(&setting, &place, 4).await?;
    let refused = if mode == Mode::Spool { 2 } else { 3 };
    ensure!(of(&setting, refused)?.is_empty(), "what was refused has arrived");
    gateway.end().await
}

/// The reply that decides about a message.
async fn send(place: &Place, number: u64) -> anyhow::Result<u16> {
    let mut wire = Wire::connect(Ipv4Addr::new(127, 77, 10, 1), place.listen).await?;
    ensure!(wire.reply().await? == 220, "no greeting");
    ensure!(wire.ask("EHLO app.test").await? == 250, "no EHLO");
    let letter = crate::letter::Letter::made_up(number);
    for line in [
        format!("MAIL FROM:<{}>", letter.reverse_path()),
        format!("RCPT TO:<{}>", letter.forward_path(0)),
        "DATA".to_owned(),
    ] {
        let code = wire.ask(&line).await?;
        if code >= 400 {
            return Ok(code);
        }
    }
    wire.send(&letter.content()).await?;
    Ok(wire.ask(".").await?)
}

/// Waits until readyz answers so.
async fn readiness(place: &Place, status: u16) -> anyhow::Result<()> {
    let expected = format!("HTTP/1.1 {status} ");
    let patience = Instant::now() + SEEN_MAX;
    loop {
        let page = get(place.metrics, "/readyz").await?;
        if page.starts_with(&expected) {
            return Ok(());
        }
        ensure!(Instant::now() < patience, "/readyz does not become {status}:\n{page}");
        sleep(LOOK_AGAIN).await;
    }
}

/// Waits until a message has arrived, and nothing is on its way.
async fn arrived(setting: &Setting, place: &Place, number: u64) -> anyhow::Result<Vec<Delivery>> {
    let patience = Instant::now() + SEEN_MAX;
    loop {
        let found = of(setting, number)?;
        let rests = messages_on_their_way(place.metrics).await?.unwrap_or_default() == 0;
        if !found.is_empty() && rests {
            return Ok(found);
        }
        ensure!(Instant::now() < patience, "message {number} does not arrive");
        sleep(LOOK_AGAIN).await;
    }
}

fn of(setting: &Setting, number: u64) -> anyhow::Result<Vec<Delivery>> {
    let path = crate::letter::Letter::made_up(number).forward_path(0);
    let all = record::read(&setting.record)?;
    Ok(all.into_iter().filter(|delivery| delivery.recipients.contains(&path)).collect())
}
