//! The running gateway looks at itself, once a minute: do clients still come by addresses of their own?
//!
//! Policy can be right and useless: whoever allows the address of a NAT, a node or a proxy has allowed
//! everybody behind it, perhaps the internet. Two things are told in the operations log: addresses that
//! many clients are seen to share, and entries that let a gateway in, seen or not.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gatepost_inbound::{AddressClients, Listener, OnHiddenClients, Survey};
use gatepost_policy::snapshot::Snapshot;

use crate::policy;
use crate::surroundings::{Covered, Surroundings};

/// How often it looks.
const INTERVAL: Duration = Duration::from_mins(1);
/// How often an address is told of: often enough to be found in today's log.
const TELL_INTERVAL: Duration = Duration::from_hours(1);

/// Looks at the listeners and the policy of a gateway.
pub struct SelfTest {
    listeners: Vec<Arc<Listener>>,
    policy: Arc<Snapshot>,
    started: Instant,
    told: Mutex<Told>,
}

/// What was told already.
#[derive(Default)]
struct Told {
    /// When each address was told of last, by listener.
    addresses: HashMap<(usize, IpAddr), Instant>,
    covered: Vec<Covered>,
}

impl SelfTest {
    /// One that has not looked yet.
    pub fn new(listeners: Vec<Arc<Listener>>, policy: Arc<Snapshot>) -> Arc<Self> {
        Arc::new(Self { listeners, policy, started: Instant::now(), told: Mutex::default() })
    }

    /// Looks now and then, for as long as the task is let run.
    pub async fn run(self: Arc<Self>) {
        loop {
            let test = Arc::clone(&self);
            let look = tokio::task::spawn_blocking(move || drop(test.look()));
            if let Err(bug) = look.await {
                tracing::error!("the self-test has failed: {bug}");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Looks: each listener, and what was seen there. Reads files, so it must not be called where mail
    /// is carried.
    pub fn look(&self) -> Vec<(&Arc<Listener>, Survey)> {
        let surroundings = Surroundings::read();
        // One look after the other, so that nothing is told twice.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        self.tell_covered(&mut told, &surroundings);
        told.addresses.retain(|_, at| at.elapsed() < TELL_INTERVAL);
        let uptime = self.started.elapsed();
        let mut surveys = Vec::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            let is_gateway = |address| surroundings.place(address).is_some();
            let survey = listener.hidden_clients().judge(uptime, is_gateway);
            for found in survey.found() {
                if let Entry::Vacant(news) = told.addresses.entry((index, found.address)) {
                    news.insert(Instant::now());
                    tell_found(listener, found, &surroundings);
                }
            }
            surveys.push((listener, survey));
        }
        surveys
    }

    fn tell_covered(&self, told: &mut Told, surroundings: &Surroundings) {
        let covered = surroundings.covered(&self.policy.load(), policy::now());
        for news in covered.iter().filter(|it| !told.covered.contains(it)) {
            tracing::warn!(
                "{news}: if clients are behind it, whoever they are, they are let in as well; deny \
                 that address in an entry of its own; see `gatepost doctor`"
            );
        }
        told.covered = covered;
    }
}

fn tell_found(listener: &Listener, found: &AddressClients, surroundings: &Surroundings) {
    let AddressClients { address, names, senders, .. } = found;
    let shown = match surroundings.place(*address) {
        Some(place) => place.to_string(),
        None => address.to_string(),
    };
    let refused = match listener.hidden_clients().mode() {
        OnHiddenClients::Refuse => "; new sessions from it are refused",
        OnHiddenClients::Off | OnHiddenClients::Warn => "",
    };
    tracing::warn!(
        listener = &**listener.name(),
        names,
        senders,
        "MANY CLIENTS COME BY ONE ADDRESS: {shown}. It is that of a NAT, a node or a proxy, and an \
         entry that lets it in lets in everybody behind it, perhaps the internet{refused}; see \
         `gatepost doctor`"
    );
}
