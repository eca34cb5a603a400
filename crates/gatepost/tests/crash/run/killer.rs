//! Who kills: the gateway at moments of three kinds, the upstream between and with it. Now and then the
//! gateway is ended in good order instead: then it has no excuse.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, sleep, timeout};

use super::Stage;
use crate::chance::{millis, permille, rng};
use crate::gateway::Gateway;
use crate::upstream::{Killed, Upstream};

/// How often it is told how far this is.
const PROGRESS: Duration = Duration::from_secs(5);
/// How long one waits for somebody to be acknowledged before one kills anyway.
const ACKNOWLEDGEMENT_MAX: Duration = Duration::from_secs(3);

/// Who was killed.
#[derive(Default)]
pub(crate) struct Killings {
    pub(crate) gateways: Vec<Killed>,
    pub(crate) upstreams: Vec<Killed>,
    /// How often the gateway was ended in good order.
    pub(crate) ends: u64,
    /// Kills of the gateway, by the kind of the moment.
    pub(crate) moments: BTreeMap<&'static str, u64>,
}

/// When a gateway is killed.
#[derive(Clone, Copy)]
enum Moment {
    /// While it starts, or has just begun.
    Starting,
    /// Some time while it works.
    Working,
    /// When a client has just been told that its message was accepted.
    Acknowledged,
}

impl Moment {
    fn by_chance(rng: &mut Rng) -> Self {
        match rng.u32(0..10) {
            0 | 1 => Self::Starting,
            2..=5 => Self::Working,
            _ => Self::Acknowledged,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Working => "working",
            Self::Acknowledged => "acknowledged",
        }
    }
}

/// Kills both until it is enough. In the end both are there, and well.
pub(super) async fn kill(stage: &Stage) -> anyhow::Result<(Killings, Gateway, Upstream)> {
    let (both, with_gateway) = mpsc::channel(1);
    let (enough, is_enough) = watch::channel(false);
    let gateways = kill_gateways(stage, both, &enough);
    let upstreams = kill_upstreams(stage, with_gateway, is_enough.clone());
    let (killed, (upstreams, upstream)) = tokio::select! {
        killed = async { tokio::try_join!(gateways, upstreams) } => killed?,
        () = tell_progress(stage) => unreachable!("it is told for ever"),
    };
    let (mut killings, last) = killed;
    killings.upstreams = upstreams;
    let mut gateway = Gateway::start(&stage.place, last + 1)?;
    gateway.listens(&stage.place).await?;
    Ok((killings, gateway, upstream))
}

/// Answers whom it has killed, and the number of the last incarnation.
async fn kill_gateways(
    stage: &Stage,
    both: mpsc::Sender<()>,
    enough: &watch::Sender<bool>,
) -> anyhow::Result<(Killings, u32)> {
    let mut rng = rng(stage.seed, "gateways", stage.place.mode as u64);
    let end = Instant::now() + Duration::from_secs(stage.options.seconds);
    let mut killings = Killings::default();
    let mut incarnation = 0;
    while killings.gateways.len() < stage.options.kills as usize || Instant::now() < end {
        incarnation += 1;
        let mut gateway = Gateway::start(&stage.place, incarnation)?;
        let moment = Moment::by_chance(&mut rng);
        wait_for(moment, stage, &mut gateway, &mut rng).await?;
        if permille(&mut rng, 150) {
            // As if the power had failed for both.
            let _ = both.try_send(());
        }
        if matches!(moment, Moment::Working) && permille(&mut rng, 200) {
            gateway.end().await?;
            killings.ends += 1;
            continue;
        }
        killings.gateways.push(gateway.kill());
        *killings.moments.entry(moment.name()).or_default() += 1;
        if permille(&mut rng, 300) {
            sleep(millis(&mut rng, 0..300)).await;
        }
    }
    enough.send_replace(true);
    Ok((killings, incarnation))
}

async fn wait_for(
    moment: Moment,
    stage: &Stage,
    gateway: &mut Gateway,
    rng: &mut Rng,
) -> anyhow::Result<()> {
    if matches!(moment, Moment::Starting) {
        sleep(millis(rng, 0..200)).await;
        return Ok(());
    }
    gateway.listens(&stage.place).await?;
    sleep(millis(rng, 0..1500)).await;
    if matches!(moment, Moment::Acknowledged) {
        let mut acknowledged = stage.ledger.acknowledged();
        acknowledged.mark_unchanged();
        // While the upstream is down, nobody may be acknowledged.
        let _ = timeout(ACKNOWLEDGEMENT_MAX, acknowledged.changed()).await;
        sleep(Duration::from_micros(rng.u64(0..2000))).await;
    }
    Ok(())
}

/// Answers whom it has killed, and an upstream that is well.
async fn kill_upstreams(
    stage: &Stage,
    mut with_gateway: mpsc::Receiver<()>,
    mut enough: watch::Receiver<bool>,
) -> anyhow::Result<(Vec<Killed>, Upstream)> {
    let mut rng = rng(stage.seed, "upstreams", stage.place.mode as u64);
    let mut killed = Vec::new();
    loop {
        let incarnation = killed.len() as u32 + 1;
        let upstream = Upstream::start(&stage.setting, incarnation, false).await?;
        tokio::select! {
            () = sleep(millis(&mut rng, 500..5000)) => {}
            Some(()) = with_gateway.recv() => {}
            _ = enough.wait_for(|enough| *enough) => {}
        }
        killed.push(upstream.kill());
        if *enough.borrow() {
            let upstream = Upstream::start(&stage.setting, incarnation + 1, true).await?;
            return Ok((killed, upstream));
        }
        if permille(&mut rng, 600) {
            sleep(millis(&mut rng, 0..2500)).await;
        }
    }
}

async fn tell_progress(stage: &Stage) {
    let started = Instant::now();
    let mut ticks = interval(PROGRESS);
    let acknowledged = stage.ledger.acknowledged();
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let (mode, seconds) = (stage.place.mode.name(), started.elapsed().as_secs());
        let (begun, acknowledged) = (stage.ledger.begun(), *acknowledged.borrow());
        eprintln!("{mode} {seconds} s: {begun} messages begun, {acknowledged} acknowledged");
    }
}
