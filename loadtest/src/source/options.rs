//! What a source is told to do, and what it refuses to do.
//!
//! Combinations that make no sense, and targets that somebody else may own, are refused before the
//! first packet. Everything has a limit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::mailbox::{Mailbox, ReversePath};

/// A task and a socket each; past this the ephemeral ports of one address run out.
const SESSIONS_MAX: u32 = 50_000;

/// RFC 5321 §4.5.3.1.8 asks servers for 100. All replies to a group of this size fit into a socket
/// buffer, so that a pipelined group cannot deadlock (RFC 2920 §3.1).
const RECIPIENTS_MAX: u32 = 1000;

/// The message is built in memory.
const SIZE_MAX: usize = 1024 * 1024 * 1024;

/// How a [`Source`](super::Source) behaves.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// The server.
    pub target: SocketAddr,
    /// Which targets are allowed at all.
    pub scope: TargetScope,
    /// Sessions at the same time.
    pub sessions: u32,
    /// Messages in all, shared out as sessions become free.
    pub messages: u64,
    /// Octets of a message with its header, before dot-stuffing.
    pub size: usize,
    /// Recipients of each message.
    pub recipients: u32,
    /// When a connection ends.
    pub connection: ConnectionUse,
    /// How commands are sent.
    pub pipelining: Pipelining,
    /// How the client says hello.
    pub hello: Hello,
    /// The reverse-path.
    pub from: ReversePath,
    /// The forward-path; further recipients are `local-part-2@domain` and so on.
    pub to: Mailbox,
    /// Where connections come from; the kernel's choice if not set.
    pub source_addresses: Option<SourceAddresses>,
    /// The time that connecting, each write and each reply may take.
    pub reply_timeout: Duration,
}

/// Which targets are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetScope {
    /// Whatever is asked for.
    Any,
    /// This machine only.
    Loopback,
}

/// When a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionUse {
    /// When its session has no more messages to send.
    Kept,
    /// After one message.
    PerMessage,
}

/// How the commands of a transaction are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipelining {
    /// Each one after the reply to the one before.
    Off,
    /// MAIL, RCPT and DATA in one group (RFC 2920).
    On,
}

/// How the client says hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// With extensions.
    Ehlo,
    /// Without.
    Helo,
}

/// A run of addresses that connections are spread over, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceAddresses {
    base: IpAddr,
    count: u32,
}

impl SourceAddresses {
    /// `count` addresses from `base` on.
    pub fn new(base: IpAddr, count: u32) -> anyhow::Result<Self> {
        ensure!(count > 0, "at least one source address is needed");
        let last = count - 1;
        let fits = match base {
            IpAddr::V4(base) => u32::from(base).checked_add(last).is_some(),
            IpAddr::V6(base) => u128::from(base).checked_add(last.into()).is_some(),
        };
        ensure!(fits, "there are no {count} addresses from {base} on");
        Ok(Self { base, count })
    }

    /// The address of a connection, by its number.
    pub(super) fn pick(&self, connection: u64) -> IpAddr {
        let offset = (connection % u64::from(self.count)) as u32;
        match self.base {
            IpAddr::V4(base) => Ipv4Addr::from(u32::from(base) + offset).into(),
            IpAddr::V6(base) => Ipv6Addr::from(u128::from(base) + u128::from(offset)).into(),
        }
    }
}

impl SourceOptions {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.check_target()?;
        let within = |what, value: u64, max: u64| {
            ensure!((1..=max).contains(&value), "{what} must be from 1 to {max}, not {value}");
            Ok(())
        };
        within("sessions", self.sessions.into(), SESSIONS_MAX.into())?;
        within("messages", self.messages, u64::MAX / 2)?;
        within("recipients", self.recipients.into(), RECIPIENTS_MAX.into())?;
        within("size", self.size as u64, SIZE_MAX as u64)?;
        if (self.pipelining, self.hello) == (Pipelining::On, Hello::Helo) {
            bail!("pipelining needs EHLO: without it the server cannot offer PIPELINING");
        }
        Ok(())
    }

    fn check_target(&self) -> anyhow::Result<()> {
        let target = self.target;
        if self.scope == TargetScope::Loopback && !target.ip().to_canonical().is_loopback() {
            bail!(
                "{target} is not this machine: a load generator must not hit a stranger by a typo \
                 (--allow-any-target if it is yours)"
            );
        }
        if let Some(addresses) = &self.source_addresses {
            let base = addresses.base;
            (base.is_ipv4() == target.is_ipv4())
                .then_some(())
                .with_context(|| format!("source address {base} cannot reach {target}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_addresses_wrap_around() {
        let addresses = SourceAddresses::new("127.0.0.250".parse().unwrap(), 10).unwrap();
        let picked = [0, 5, 6, 9, 10].map(|connection| addresses.pick(connection).to_string());
        assert_eq!(picked, ["127.0.0.250", "127.0.0.255", "127.0.1.0", "127.0.1.3", "127.0.0.250"]);
    }

    #[test]
    fn source_addresses_end_where_addresses_end() {
        SourceAddresses::new("255.255.255.255".parse().unwrap(), 1).unwrap();
        SourceAddresses::new("255.255.255.255".parse().unwrap(), 2).unwrap_err();
        SourceAddresses::new("127.0.0.1".parse().unwrap(), 0).unwrap_err();
    }
}
