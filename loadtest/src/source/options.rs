//! What a source is told to do, and what it refuses to do.
//!
//! Combinations that make no sense, and targets that somebody else may own, are refused before the
//! first packet. Everything has a limit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::mailbox::{Mailbox, ReversePath};
use super::schedule::{Arrivals, Rate};
use super::sizes::{RecipientCount, SizeDistribution};
#[cfg(feature = "tls")]
use crate::tls::TlsClient;

/// A task and a socket each; past this the ephemeral ports of one address run out.
const SESSIONS_MAX: u32 = 50_000;

/// RFC 5321 §4.5.3.1.8 asks servers for 100. All replies to a group of this size fit into a socket
/// buffer, so that a pipelined group cannot deadlock (RFC 2920 §3.1).
const RECIPIENTS_MAX: u32 = 1000;

/// Connections that only stand, the descriptors of a large machine. Each is a socket on both sides.
const IDLE_MAX: u32 = 1_000_000;

/// Messages of an open loop that wait for a session; 16 octets each.
const BACKLOG_MAX: usize = 10_000_000;

/// Smaller chunks are mostly their own command, of at most 22 octets and a reply.
const CHUNK_OCTETS_MIN: usize = 64;

/// A month: past it the clock of a schedule loses nanoseconds.
const DURATION_MAX: Duration = Duration::from_hours(31 * 24);

/// Connections that one source address can open to one target: the ephemeral ports, 32768 to 60999,
/// with a few left.
pub(super) const PORTS_PER_ADDRESS: u32 = 28_000;

/// Idle connections from the kernel's own choice of address, which leave enough of its ports to the
/// sessions that send.
const IDLE_FROM_KERNELS_CHOICE: u32 = 20_000;

/// Where idle connections come from next, if the target is this machine: 127.0.0.1 is the kernel's
/// choice.
const NEXT_LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// How a [`Source`](super::Source) behaves.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// The server.
    pub target: SocketAddr,
    /// Which targets are allowed at all.
    pub scope: TargetScope,
    /// Sessions at the same time.
    pub sessions: u32,
    /// What makes a session send its next message.
    pub pace: Pace,
    /// Messages in all, shared out as sessions become free; without, `duration` is the end.
    pub messages: Option<u64>,
    /// How long messages are begun; those under way are finished.
    pub duration: Option<Duration>,
    /// Connections beside the sessions that are opened first and then stand silent to the end.
    pub idle: u32,
    /// Octets of a message with its header, before dot-stuffing.
    pub sizes: SizeDistribution,
    /// Recipients of each message.
    pub recipients: RecipientCount,
    /// When a connection ends.
    pub connection: ConnectionUse,
    /// How commands are sent.
    pub pipelining: Pipelining,
    /// How content is sent.
    pub framing: Framing,
    /// How the client says hello.
    pub hello: Hello,
    /// Whether, and when, the session is encrypted.
    pub security: Security,
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

/// What makes a session send its next message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// The answer to the one before (closed loop).
    Answers,
    /// The clock, whatever the server does (open loop).
    Clock {
        /// How often.
        rate: Rate,
        /// In which rhythm.
        arrivals: Arrivals,
        /// Messages that may be due and wait for a session; what comes on top is not sent.
        backlog: NonZeroUsize,
    },
}

/// When a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionUse {
    /// When its session has no more messages to send.
    Kept,
    /// After one message.
    PerMessage,
    /// After some messages.
    PerMessages(NonZeroU32),
}

impl ConnectionUse {
    /// How many messages a connection takes.
    pub(super) fn messages_max(self) -> u32 {
        match self {
            Self::Kept => u32::MAX,
            Self::PerMessage => 1,
            Self::PerMessages(messages) => messages.get(),
        }
    }
}

/// How content is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// With BDAT (RFC 3030), in chunks.
    Bdat {
        /// Octets of each chunk but the last.
        chunk_octets: usize,
    },
    /// With DATA and a final dot.
    Data,
}

/// Whether, and when, a session is encrypted.
#[derive(Clone, Debug)]
pub enum Security {
    /// TLS before the greeting (RFC 8314 §3).
    #[cfg(feature = "tls")]
    Implicit(TlsClient),
    /// Plain text.
    None,
    /// TLS behind STARTTLS (RFC 3207).
    #[cfg(feature = "tls")]
    StartTls(TlsClient),
}

/// How the commands of a transaction are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipelining {
    /// Each one after the reply to the one before.
    Off,
    /// MAIL, RCPT and DATA in one group (RFC 2920).
    On,
}

impl Security {
    /// Its name in a summary, if there is anything to tell.
    pub(super) fn name(&self) -> Option<&'static str> {
        match self {
            #[cfg(feature = "tls")]
            Self::Implicit(_) => Some("implicit"),
            Self::None => None,
            #[cfg(feature = "tls")]
            Self::StartTls(_) => Some("starttls"),
        }
    }
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
        let fits = advance(base, count - 1).is_some();
        ensure!(fits, "there are no {count} addresses from {base} on");
        Ok(Self { base, count })
    }

    /// The address of a connection, by its number.
    pub(super) fn pick(&self, connection: u64) -> IpAddr {
        let offset = (connection % u64::from(self.count)) as u32;
        // `new` has made sure that all of them exist.
        advance(self.base, offset).unwrap()
    }
}

/// The address this far behind another one, if there is one.
fn advance(base: IpAddr, offset: u32) -> Option<IpAddr> {
    match base {
        IpAddr::V4(base) => {
            u32::from(base).checked_add(offset).map(|address| Ipv4Addr::from(address).into())
        }
        IpAddr::V6(base) => {
            let address = u128::from(base).checked_add(offset.into());
            address.map(|address| Ipv6Addr::from(address).into())
        }
    }
}

impl SourceOptions {
    /// A thousand messages of 4 KiB to one recipient, in a closed loop over 20 kept sessions to this
    /// machine.
    pub fn new(target: SocketAddr) -> Self {
        let mailbox = Mailbox::from_parts;
        Self {
            target,
            scope: TargetScope::Loopback,
            sessions: 20,
            pace: Pace::Answers,
            messages: Some(1000),
            duration: None,
            idle: 0,
            sizes: SizeDistribution::Same(4096),
            recipients: RecipientCount::from(1),
            connection: ConnectionUse::Kept,
            pipelining: Pipelining::Off,
            framing: Framing::Data,
            hello: Hello::Ehlo,
            security: Security::None,
            from: ReversePath::Mailbox(mailbox("app", "example.com")),
            to: mailbox("user", "example.net"),
            source_addresses: None,
            reply_timeout: Duration::from_mins(1),
        }
    }

    /// Where an idle connection comes from: addresses behind those of the sessions, so that they do
    /// not take their ports.
    pub(super) fn idle_address(&self, index: u32) -> Option<IpAddr> {
        let (first, index) = match &self.source_addresses {
            Some(addresses) => {
                (addresses.pick(u64::from(addresses.count) - 1), index + PORTS_PER_ADDRESS)
            }
            None if index < IDLE_FROM_KERNELS_CHOICE => return None,
            None => (NEXT_LOOPBACK.into(), index - IDLE_FROM_KERNELS_CHOICE),
        };
        advance(first, index / PORTS_PER_ADDRESS)
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.check_target()?;
        let within = |what, value: u64, max: u64| {
            ensure!((1..=max).contains(&value), "{what} must be from 1 to {max}, not {value}");
            Ok(())
        };
        within("sessions", self.sessions.into(), SESSIONS_MAX.into())?;
        within("recipients", self.recipients.least().into(), RECIPIENTS_MAX.into())?;
        within("recipients", self.recipients.most().into(), RECIPIENTS_MAX.into())?;
        if let Framing::Bdat { chunk_octets } = self.framing {
            ensure!(
                chunk_octets >= CHUNK_OCTETS_MIN,
                "a chunk has at least {CHUNK_OCTETS_MIN} octets"
            );
        }
        if let Pace::Clock { backlog, .. } = self.pace {
            within("backlog", backlog.get() as u64, BACKLOG_MAX as u64)?;
        }
        self.check_end()?;
        self.check_idle()?;
        self.check_hello()
    }

    fn check_end(&self) -> anyhow::Result<()> {
        match self.messages {
            None => ensure!(self.duration.is_some(), "a run needs an end: messages or a duration"),
            Some(0) => ensure!(
                self.idle > 0 && self.duration.is_some(),
                "no messages make sense only with idle connections and a duration"
            ),
            Some(messages) => ensure!(messages <= u64::MAX / 2, "too many messages"),
        }
        let duration = self.duration.unwrap_or(DURATION_MAX);
        ensure!(!duration.is_zero() && duration <= DURATION_MAX, "a run takes up to 31 days");
        Ok(())
    }

    fn check_idle(&self) -> anyhow::Result<()> {
        ensure!(self.idle <= IDLE_MAX, "more than {IDLE_MAX} idle connections");
        let Some(last) = self.idle.checked_sub(1) else { return Ok(()) };
        if self.source_addresses.is_some() {
            self.idle_address(last)
                .context("no addresses are left for so many idle connections")?;
        } else if let Some(address) = self.idle_address(last) {
            ensure!(
                self.target.is_ipv4() && self.target.ip().is_loopback() && address.is_loopback(),
                "more than {IDLE_FROM_KERNELS_CHOICE} idle connections need source addresses"
            );
        }
        Ok(())
    }

    fn check_hello(&self) -> anyhow::Result<()> {
        if self.hello == Hello::Ehlo {
            return Ok(());
        }
        if self.pipelining == Pipelining::On {
            bail!("pipelining needs EHLO: without it the server cannot offer PIPELINING");
        }
        if let Framing::Bdat { .. } = self.framing {
            bail!("BDAT needs EHLO: without it the server cannot offer CHUNKING");
        }
        #[cfg(feature = "tls")]
        if let Security::StartTls(_) = self.security {
            bail!("STARTTLS needs EHLO: without it the server cannot offer it");
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

    #[test]
    fn idle_connections_do_not_take_the_ports_of_sessions() {
        let options = SourceOptions::new("127.0.0.1:25".parse().unwrap());
        let from = |options: &SourceOptions, index| {
            options.idle_address(index).map(|address| address.to_string())
        };
        assert_eq!(from(&options, 19_999), None);
        assert_eq!(from(&options, 20_000).as_deref(), Some("127.0.0.2"));
        assert_eq!(from(&options, 47_999).as_deref(), Some("127.0.0.2"));
        assert_eq!(from(&options, 48_000).as_deref(), Some("127.0.0.3"));
        let addresses = SourceAddresses::new("127.0.1.0".parse().unwrap(), 10).unwrap();
        let fleet = SourceOptions { source_addresses: Some(addresses), ..options };
        assert_eq!(from(&fleet, 0).as_deref(), Some("127.0.1.10"));
        assert_eq!(from(&fleet, 28_000).as_deref(), Some("127.0.1.11"));
    }

    #[test]
    fn idle_connections_end_where_addresses_end() {
        let target = "[::1]:25".parse().unwrap();
        let options = SourceOptions { idle: 20_000, ..SourceOptions::new(target) };
        options.check().unwrap();
        SourceOptions { idle: 20_001, ..options }.check().unwrap_err();
    }
}
