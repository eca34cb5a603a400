//! The clients of the last while, or a fair sample of them.
//!
//! Each client has a key that is as good as random, and those with the smallest keys are kept: of many
//! clients that is a sample in which each had the same chance, and of few it is all of them (bottom-k:
//! Cohen and Kaplan, 2007). How often a client comes changes nothing. Two halves of half an hour follow
//! each other; both are looked at.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::Duration;

/// Clients of a sample, at 40 octets each. Enough to see that each of twenty nodes of a cluster has
/// more than twenty of them.
pub(super) const CLIENTS_MAX: usize = 1024;
/// How long a client is remembered at least, and half of how long at most: what was mended is
/// forgotten within the hour.
pub(super) const HALF: Duration = Duration::from_mins(30);

/// An address together with a name that was heard from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client {
    /// The hash of both.
    pub(super) key: u64,
    pub(super) address: IpAddr,
    /// The smallest hash of its senders: that of many shows what two clients have in common.
    pub(super) sender: Option<NonZeroU64>,
}

/// What was seen lately, and before that.
#[derive(Debug, Default)]
pub(super) struct Window {
    recent: Vec<Client>,
    before: Vec<Client>,
    begun: Duration,
    /// Addresses that were refused for what is known of them.
    renewed: Vec<IpAddr>,
}

impl Window {
    /// One that never has to allocate for a client.
    pub(super) fn with_room() -> Self {
        Self { recent: Vec::with_capacity(CLIENTS_MAX), ..Self::default() }
    }

    pub(super) fn see(&mut self, client: Client) {
        add(&mut self.recent, client);
    }

    /// Keeps what is known of an address, beyond this half.
    pub(super) fn renew(&mut self, address: IpAddr) {
        if !self.renewed.contains(&address) {
            self.renewed.push(address);
        }
    }

    /// Begins another half if it is time.
    pub(super) fn turn(&mut self, uptime: Duration) {
        let elapsed = uptime.saturating_sub(self.begun);
        if elapsed < HALF {
            return;
        }
        self.begun = uptime;
        let is_renewed = |client: &Client| self.renewed.contains(&client.address);
        self.before.retain(is_renewed);
        // Nobody has looked for so long that both are old.
        if elapsed >= 2 * HALF {
            self.recent.retain(is_renewed);
        }
        let (mut kept, recent) = (std::mem::take(&mut self.before), &mut self.recent);
        recent.drain(..).for_each(|client| add(&mut kept, client));
        self.before = kept;
        self.renewed.clear();
    }

    /// A copy of both halves, to be looked at without the lock.
    pub(super) fn halves(&self) -> [Vec<Client>; 2] {
        [self.recent.clone(), self.before.clone()]
    }
}

/// The sample of what two samples were taken from.
pub(super) fn merged([mut all, others]: [Vec<Client>; 2]) -> Vec<Client> {
    for client in others {
        add(&mut all, client);
    }
    all
}

/// Adds a client to a sample, in the order of the keys. The one with the largest key gives way.
fn add(sample: &mut Vec<Client>, client: Client) {
    match sample.binary_search_by_key(&client.key, |known| known.key) {
        Ok(index) => {
            let known = &mut sample[index].sender;
            *known = [*known, client.sender].into_iter().flatten().min();
        }
        Err(CLIENTS_MAX..) => {}
        Err(index) => {
            sample.truncate(CLIENTS_MAX - 1);
            sample.insert(index, client);
        }
    }
}
