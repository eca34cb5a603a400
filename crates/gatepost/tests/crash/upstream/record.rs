//! What the upstream has accepted, in a file that outlives it.
//!
//! A line is written before the reply to which it belongs. It is in the page cache then, which is enough:
//! processes are killed here, machines are not. A line has a line end in front of it as well as behind, and
//! a mark at its end: one that a kill has cut off is known, and does not spoil the next. No reply has followed it.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;

use crate::chance::now;

const ACCEPTED: &str = "accepted";
const TOLD: &str = "told";
const GONE: &str = "gone";
/// The end of a line that is whole.
const END: &str = " .";

/// Writes the record of one incarnation.
pub(crate) struct Recorder {
    file: File,
    incarnation: u32,
    next: AtomicU64,
}

/// A message as the upstream has accepted it.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// Incarnation of the upstream.
    pub(crate) upstream: u32,
    /// Incarnation of the gateway, as it has named itself.
    pub(crate) gateway: u32,
    pub(crate) whole: Wholeness,
    /// Whether a reply was planned at all.
    pub(crate) plan: Plan,
    /// When it was written down.
    pub(crate) at: u64,
    /// When the reply had been sent, if it was.
    pub(crate) told: Option<u64>,
    /// When the gateway was found to have gone away before that.
    pub(crate) gone: Option<u64>,
    /// Forward-paths.
    pub(crate) recipients: Vec<String>,
}

/// Whether envelope and content are what a client has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wholeness {
    Whole,
    Damaged,
}

/// Whether the gateway is to hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    Reply,
    HangUp,
}

impl Recorder {
    pub(crate) fn open(path: &Path, incarnation: u32) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self { file, incarnation, next: AtomicU64::new(0) })
    }

    /// Writes down that a message is accepted; answers its number in this record.
    pub(crate) fn accepted(
        &self,
        gateway: u32,
        whole: Wholeness,
        plan: Plan,
        recipients: &[String],
    ) -> io::Result<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let whole = if whole == Wholeness::Whole { "whole" } else { "damaged" };
        let plan = if plan == Plan::Reply { "reply" } else { "hang-up" };
        let recipients = recipients.join(",");
        self.write(ACCEPTED, number, &format!("{gateway} {whole} {plan} {recipients}"))?;
        Ok(number)
    }

    /// Writes down that the reply to it was sent.
    pub(crate) fn told(&self, number: u64) -> io::Result<()> {
        self.write(TOLD, number, "-")
    }

    /// Writes down that the gateway did not wait for it.
    pub(crate) fn gone(&self, number: u64) -> io::Result<()> {
        self.write(GONE, number, "-")
    }

    /// One call, so that lines are not mixed.
    fn write(&self, word: &str, number: u64, rest: &str) -> io::Result<()> {
        let line = format!("\n{} {word} {} {number} {rest}{END}\n", now(), self.incarnation);
        (&self.file).write_all(line.as_bytes())
    }
}

/// Everything that all incarnations have accepted, the earliest first.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Delivery>> {
    let text = std::fs::read_to_string(path).context("cannot read the upstream's record")?;
    let mut deliveries = Vec::new();
    let mut places = HashMap::new();
    let (mut cut, mut incarnations) = (0, HashSet::new());
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        let Some(read) = line.strip_suffix(END).and_then(Line::parse) else {
            cut += 1;
            continue;
        };
        incarnations.insert(read.upstream);
        let key = (read.upstream, read.number);
        let what = match read.what {
            What::Accepted(delivery) => {
                places.insert(key, deliveries.len());
                deliveries.push(delivery);
                continue;
            }
            what => what,
        };
        let place = *places.get(&key).context("the record tells of nothing it has")?;
        let delivery: &mut Delivery = &mut deliveries[place];
        let moment =
            if matches!(what, What::Told) { &mut delivery.told } else { &mut delivery.gone };
        *moment = Some(read.at);
    }
    // Each kill cuts off one line, if any.
    anyhow::ensure!(cut <= incarnations.len(), "the upstream's record is spoiled: {cut} lines");
    Ok(deliveries)
}

/// A line of the record.
struct Line {
    at: u64,
    upstream: u32,
    number: u64,
    what: What,
}

enum What {
    Accepted(Delivery),
    Gone,
    Told,
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let at = words.next()?.parse().ok()?;
        let word = words.next()?;
        let upstream = words.next()?.parse().ok()?;
        let number = words.next()?.parse().ok()?;
        let what = match word {
            ACCEPTED => What::Accepted(Delivery {
                upstream,
                gateway: words.next()?.parse().ok()?,
                whole: match words.next()? {
                    "whole" => Wholeness::Whole,
                    _ => Wholeness::Damaged,
                },
                plan: match words.next()? {
                    "reply" => Plan::Reply,
                    _ => Plan::HangUp,
                },
                at,
                told: None,
                gone: None,
                recipients: words.next()?.split(',').map(str::to_owned).collect(),
            }),
            GONE => What::Gone,
            TOLD => What::Told,
            _ => return None,
        };
        Some(Self { at, upstream, number, what })
    }
}
