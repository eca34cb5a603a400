//! Whether many clients come by one address: a NAT, a node or a proxy has put its own in the place of
//! theirs, and an entry that allows it allows everybody behind it.
//!
//! Each session that was let in shows once who it is of: by its name in EHLO and its first sender. A
//! client is an address with a name. They are kept as a sample of bounded size ([`window`]), and now
//! and then somebody has it judged ([`judge`]): an address is found out if it has many names that send
//! as many different senders, and if together with its like it has nearly all clients of the listener.
//! One program with a thousand senders has one name, and a fleet has an address for each.
//! Clients that authenticate, or have to, are not among them: they prove who they are.
//!
//! Nothing of this is policy: an address that is judged so is told, and refused if the listener says
//! so. It is forgotten with the process.

mod judge;
mod window;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use gatepost_smtp::path::ReversePath;
use metrics::{Gauge, describe_gauge, gauge};

pub use self::judge::{AddressClients, Survey};
use self::window::{Client, Window};
use crate::config::OnHiddenClients;

/// The clients of one listener, as far as their addresses tell them apart.
#[derive(Debug)]
pub struct HiddenClients {
    mode: OnHiddenClients,
    window: Mutex<Window>,
    /// Addresses that were found out. Read with every connection, so it is not behind the lock.
    found: ArcSwap<Vec<IpAddr>>,
    /// Its key is the process's own: nobody can choose names that fill the sample.
    hashes: RandomState,
    gauge: Gauge,
}

impl HiddenClients {
    pub(crate) fn new(listener: &str, mode: OnHiddenClients) -> Self {
        describe_gauge!(
            "gatepost_hidden_clients",
            "Whether an address of a client stands for many (a NAT, a node or a proxy)"
        );
        let gauge = gauge!("gatepost_hidden_clients", "listener" => listener.to_owned());
        gauge.set(0);
        Self {
            mode,
            window: Mutex::new(match mode {
                OnHiddenClients::Off => Window::default(),
                OnHiddenClients::Warn | OnHiddenClients::Refuse => Window::with_room(),
            }),
            found: ArcSwap::default(),
            hashes: RandomState::new(),
            gauge,
        }
    }

    /// What is done about addresses that are found out.
    pub const fn mode(&self) -> OnHiddenClients {
        self.mode
    }

    /// Looks at the clients of the last half an hour to an hour, and takes the result into use.
    /// `uptime` goes on from look to look; `is_gateway` says which addresses are likely to be those
    /// of a NAT, so that little has to be seen.
    pub fn judge(&self, uptime: Duration, is_gateway: impl Fn(IpAddr) -> bool) -> Survey {
        let clients = {
            let mut window = self.window();
            window.turn(uptime);
            window.halves()
        };
        let survey = Survey::of(&window::merged(clients), is_gateway);
        let found = survey.found().map(|it| it.address).collect::<Vec<_>>();
        self.gauge.set(u8::from(!found.is_empty()));
        self.found.store(found.into());
        survey
    }

    /// A session has named its first sender.
    pub(crate) fn see(&self, address: IpAddr, name: &str, sender: ReversePath<'_>) {
        if self.mode == OnHiddenClients::Off {
            return;
        }
        let mut key = self.hashes.build_hasher();
        match address {
            IpAddr::V4(address) => key.write_u32(address.to_bits()),
            IpAddr::V6(address) => key.write_u128(address.to_bits()),
        }
        write_folded(&mut key, name.as_bytes());
        let sender = match sender {
            // Everybody has it, so it tells nobody from others.
            ReversePath::Null => None,
            ReversePath::Mailbox(_) => {
                let mut hash = self.hashes.build_hasher();
                write_folded(&mut hash, sender.as_bytes());
                Some(NonZeroU64::MIN | hash.finish())
            }
        };
        self.window().see(Client { key: key.finish(), address, sender });
    }

    /// Whether a new session from an address is refused. Who asks goes on coming, so that what is
    /// known of the address stays known: a refusal that ends because of itself would let everybody in
    /// again, once an hour.
    pub(crate) fn refuses(&self, address: IpAddr) -> bool {
        if self.mode != OnHiddenClients::Refuse || !self.found.load().contains(&address) {
            return false;
        }
        self.window().renew(address);
        true
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        // A sample is put in order before anything else can panic.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names and domains are the same in either case, and local-parts nearly always.
fn write_folded(hasher: &mut impl Hasher, octets: &[u8]) {
    for octet in octets {
        hasher.write_u8(octet.to_ascii_lowercase());
    }
}

#[cfg(test)]
mod tests;
