//! The tap for a candidate policy: what sessions knew and what policy said, in a bounded queue.
//!
//! While no candidate is loaded it is off: one relaxed load for a connection that is refused and
//! one for a message, and nothing is copied. While it is on, a session copies what the candidate
//! will be asked about, and puts it into the queue when the message is over. It never waits: what
//! finds no room is counted and forgotten. Who reads the queue is not known here.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gatepost_policy::check::{Check, MailFacts, RcptFacts, Refusal};
use gatepost_policy::date::Moment;
use gatepost_policy::entry::Entry;
use gatepost_policy::gcra::Gcra;
use gatepost_policy::listener::ListenerId;
use gatepost_policy::rate::Rate;
use gatepost_policy::route::Way;
use gatepost_policy::shadow::{Envelope, is_counted};
use metrics::{Counter, counter, describe_counter};
use tokio::sync::mpsc;

use crate::listener::Listener;
use crate::service::Service;
use crate::session::Stranger;

/// Envelopes that wait: a tenth of a second of ten thousand messages, some 500 octets each, and
/// 20 KiB at most.
const QUEUE_MAX: usize = 1024;

/// Refused connections that are looked at, of clients with an entry and of those without: an attack
/// has more, and all its connections are alike. The queue is for the fleet.
const REFUSED_RATE: &str = "50/s";

/// Where a session puts its envelopes.
pub struct ShadowTap {
    switch: ShadowSwitch,
    envelopes: mpsc::Sender<Box<Envelope>>,
    refused_rate: Rate,
    /// Refused connections of clients that have an entry, and of those that have none.
    known: Gcra,
    unknown: Gcra,
    /// How many found no room in the queue, and how many had too many like them.
    full: Counter,
    flood: Counter,
}

/// Where the envelopes come out.
pub struct ShadowReceiver {
    switch: ShadowSwitch,
    envelopes: mpsc::Receiver<Box<Envelope>>,
}

/// Turns a tap on and off. Clones are of the same tap.
#[derive(Clone, Default)]
pub struct ShadowSwitch(Arc<Switch>);

#[derive(Default)]
struct Switch {
    is_on: AtomicBool,
    dropped: AtomicU64,
}

/// What is kept of one message while it goes on; sent when it is dropped. Nothing, if the tap is
/// off.
pub(crate) struct Record<'s>(Option<(&'s ShadowTap, Box<Envelope>)>);

impl ShadowTap {
    /// A tap that is off, and its other end.
    pub fn new() -> (Self, ShadowReceiver) {
        describe_counter!(
            "gatepost_shadow_dropped_total",
            "Envelopes that the candidate policy was not asked about, by why"
        );
        let dropped = |reason: &'static str| {
            let counter = counter!("gatepost_shadow_dropped_total", "reason" => reason);
            counter.increment(0);
            counter
        };
        let switch = ShadowSwitch::default();
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let tap = Self {
            switch: switch.clone(),
            envelopes: sender,
            // The constant above is a rate.
            refused_rate: REFUSED_RATE.parse().expect("a rate"),
            known: Gcra::default(),
            unknown: Gcra::default(),
            full: dropped("full"),
            flood: dropped("flood"),
        };
        (tap, ShadowReceiver { switch, envelopes: receiver })
    }

    fn is_on(&self) -> bool {
        self.switch.0.is_on.load(Ordering::Relaxed)
    }

    /// A client was refused with the greeting, or its entry was gone at MAIL. `envelope` is made
    /// only if it is wanted.
    fn refused(
        &self,
        entry: Option<&Entry>,
        check: Check,
        uptime: Duration,
        envelope: impl FnOnce() -> Envelope,
    ) {
        if !self.is_on() || is_counted(check) {
            return;
        }
        let gcra = if entry.is_some() { &self.known } else { &self.unknown };
        match gcra.take(self.refused_rate, uptime) {
            Ok(()) => self.send(Box::new(envelope())),
            Err(_) => self.drop_one(&self.flood),
        }
    }

    fn send(&self, envelope: Box<Envelope>) {
        if envelope.is_comparable() && self.envelopes.try_send(envelope).is_err() {
            self.drop_one(&self.full);
        }
    }

    fn drop_one(&self, counter: &Counter) {
        self.switch.0.dropped.fetch_add(1, Ordering::Relaxed);
        counter.increment(1);
    }
}

impl ShadowReceiver {
    /// Waits for envelopes, and appends what there is, up to `most`. How many that were; zero if
    /// the tap is gone.
    pub async fn receive(&mut self, envelopes: &mut Vec<Box<Envelope>>, most: usize) -> usize {
        self.envelopes.recv_many(envelopes, most).await
    }

    /// What turns the tap on.
    pub fn switch(&self) -> ShadowSwitch {
        self.switch.clone()
    }
}

impl ShadowSwitch {
    /// From now on messages leave envelopes.
    pub fn turn_on(&self) {
        self.0.is_on.store(true, Ordering::Relaxed);
    }

    /// From now on they do not. What is in the queue stays there.
    pub fn turn_off(&self) {
        self.0.is_on.store(false, Ordering::Relaxed);
    }

    /// How many envelopes were lost so far, because there were too many.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

/// A client was not let in, or is not any more.
pub(crate) fn record_stranger(
    service: &Service,
    listener: &Listener,
    stranger: &Stranger,
    now: Moment,
) {
    let Some(tap) = &service.shadow else { return };
    let refused = &stranger.refused;
    let entry = refused.entry.as_deref();
    tap.refused(entry, refused.refusal.check, now.uptime, || {
        let (listener, client) = (listener.config.id, stranger.client);
        Envelope::at_greeting(listener, client, now, entry, refused.generation, &refused.refusal)
    });
}

impl<'s> Record<'s> {
    /// Begins with MAIL.
    pub(crate) fn begin(
        tap: Option<&'s ShadowTap>,
        listener: ListenerId,
        client: IpAddr,
        entry: &Entry,
        facts: &MailFacts<'_>,
    ) -> Self {
        let tap = tap.filter(|tap| tap.is_on());
        Self(tap.map(|tap| (tap, Box::new(Envelope::at_mail(listener, client, entry, facts)))))
    }

    /// MAIL is refused.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        if let Some((_, envelope)) = &mut self.0 {
            envelope.refuse(refusal);
        }
    }

    /// A recipient is named, and policy has judged it.
    pub(crate) fn name(&mut self, facts: &RcptFacts<'_>, judged: &Result<Way, Refusal>) {
        if let Some((_, envelope)) = &mut self.0 {
            envelope.name(facts, judged);
        }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if let Some((tap, envelope)) = self.0.take() {
            tap.send(envelope);
        }
    }
}

#[cfg(test)]
mod tests;
