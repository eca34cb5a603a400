//! Which addresses stand for many clients.
//!
//! An application calls itself by one name, whomever it sends for; a NAT has the names of all that are
//! behind it, and each of them has senders of its own. So an address is suspect if it has many names
//! and as many senders. It is found out if the suspects together have nearly all clients: where most
//! clients show an address each, one of them may well be the NAT of a branch office that somebody has
//! allowed. There may be several, because each node of a cluster has the clients of all.
//!
//! An address that is a gateway anyhow needs less: nobody expects an application there.

use std::collections::HashMap;
use std::net::IpAddr;

use super::window::{CLIENTS_MAX, Client};

/// What has to be seen.
struct Threshold {
    /// Names, and senders, of each suspect.
    clients: usize,
    /// Percent of all clients that the suspects have together.
    share: usize,
}

/// More applications than are on any one host, and fewer than are behind any NAT that matters.
const ANY: Threshold = Threshold { clients: 20, share: 90 };
/// Even a host of many applications is none of the gateways.
const GATEWAY: Threshold = Threshold { clients: 5, share: 50 };

/// What was seen at a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Clients: addresses with a name. Of many they are a sample.
    pub clients: usize,
    /// The addresses that they come from, the one with most clients first.
    pub addresses: Vec<AddressClients>,
}

/// Who comes from an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressClients {
    /// The address.
    pub address: IpAddr,
    /// Distinct names in EHLO.
    pub names: usize,
    /// Distinct senders of sessions with different names.
    pub senders: usize,
    /// Whether it stands for many clients.
    pub hides_many: bool,
}

impl Survey {
    pub(super) fn of(clients: &[Client], is_gateway: impl Fn(IpAddr) -> bool) -> Self {
        let mut by_address = HashMap::<IpAddr, Vec<&Client>>::new();
        for client in clients {
            by_address.entry(client.address).or_default().push(client);
        }
        let mut addresses: Vec<_> = by_address.into_iter().map(AddressClients::of).collect();
        addresses.sort_by_key(|it| (std::cmp::Reverse(it.names), it.address));
        for (threshold, is_meant) in [
            (ANY, &(|_| true) as &dyn Fn(IpAddr) -> bool),
            (GATEWAY, &is_gateway as &dyn Fn(IpAddr) -> bool),
        ] {
            let is_suspect =
                |it: &AddressClients| is_meant(it.address) && it.clients() >= threshold.clients;
            let theirs: usize =
                addresses.iter().filter(|it| is_suspect(it)).map(|it| it.names).sum();
            if theirs * 100 >= clients.len() * threshold.share {
                let suspects = addresses.iter_mut().filter(|it| is_suspect(it));
                suspects.for_each(|it| it.hides_many = true);
            }
        }
        Self { clients: clients.len(), addresses }
    }

    /// Whether there were more clients than are remembered, so that these are a sample.
    pub const fn is_sample(&self) -> bool {
        self.clients >= CLIENTS_MAX
    }

    /// The addresses that stand for many clients.
    pub fn found(&self) -> impl Iterator<Item = &AddressClients> {
        self.addresses.iter().filter(|it| it.hides_many)
    }
}

impl AddressClients {
    fn of((address, clients): (IpAddr, Vec<&Client>)) -> Self {
        let mut senders: Vec<_> = clients.iter().filter_map(|client| client.sender).collect();
        senders.sort_unstable();
        senders.dedup();
        Self { address, names: clients.len(), senders: senders.len(), hides_many: false }
    }

    /// How many are told apart by both.
    fn clients(&self) -> usize {
        self.names.min(self.senders)
    }
}
