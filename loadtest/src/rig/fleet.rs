//! Sessions that stand: greeted, EHLO answered, and then nothing.
//!
//! They come from as many addresses as it takes that none of them runs out of ports, and are opened
//! and asked some at a time: a listen queue that overflows would measure the kernel.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::task::JoinSet;

use super::client::{Client, Door};

/// Sessions that one address has: far fewer than its ports.
const SESSIONS_PER_ADDRESS: usize = 500;

/// Opened, or asked, at the same time.
const AT_ONCE: usize = 64;

/// The second of these addresses of loopback is 127.0.1.2, and so on: away from those of the load.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

/// Sessions that stand at the same time.
pub(crate) struct Fleet {
    door: Door,
    clients: Vec<Client>,
    opened: usize,
}

/// The address of loopback that the client of this number comes from.
pub(crate) fn address(number: usize) -> IpAddr {
    let offset = (number / SESSIONS_PER_ADDRESS) as u32;
    Ipv4Addr::from(u32::from(FIRST_ADDRESS) + offset).into()
}

impl Fleet {
    /// Nobody yet.
    pub(crate) fn new(door: Door) -> Self {
        Self { door, clients: Vec::new(), opened: 0 }
    }

    /// Opens sessions until there are `count`; returns how long that took.
    pub(crate) async fn grow_to(&mut self, count: usize) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let mut opening = JoinSet::new();
        let mut begun = self.clients.len();
        while begun < count || !opening.is_empty() {
            while begun < count && opening.len() < AT_ONCE {
                opening.spawn(open(self.door.clone(), address(self.opened)));
                self.opened += 1;
                begun += 1;
            }
            if let Some(opened) = opening.join_next().await {
                self.clients.push(opened??);
            }
        }
        Ok(started.elapsed())
    }

    /// Asks each of them with NOOP; returns how many still stand, and lets go of the others.
    pub(crate) async fn still_standing(&mut self) -> anyhow::Result<usize> {
        let mut waiting = std::mem::take(&mut self.clients).into_iter();
        let mut asking = JoinSet::new();
        loop {
            while asking.len() < AT_ONCE
                && let Some(client) = waiting.next()
            {
                asking.spawn(ask(client));
            }
            match asking.join_next().await {
                Some(asked) => self.clients.extend(asked?),
                None => return Ok(self.clients.len()),
            }
        }
    }

    /// Says goodbye for every other one, as it is done, and hangs up for the rest.
    pub(crate) async fn leave(self) {
        for mut client in self.clients.into_iter().step_by(2) {
            // Whoever is not answered has left as well.
            let _ = client.say("QUIT").await;
        }
    }
}

async fn open(door: Door, from: IpAddr) -> anyhow::Result<Client> {
    let mut client = Client::connect(&door, from).await?;
    let code = client.say("EHLO idle.example.com").await?;
    ensure!(code == 250, "the answer to EHLO is {code}");
    Ok(client)
}

async fn ask(mut client: Client) -> Option<Client> {
    (client.say("NOOP").await.ok()? == 250).then_some(client)
}
