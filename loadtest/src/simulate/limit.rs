//! How much a provider takes: its limits as data, and the ledger of what has been used of them.
//!
//! The ledger knows no socket, and time is a parameter. A window slides: what was taken counts until
//! its whole length has passed.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

use super::SimulatorError;

/// Senders, or accounts, whose use is remembered; one more makes room of those that are idle.
const KEYS_MAX: usize = 10_000;

/// What a window remembers is exact to this part of its length, and bounded by it.
const GRAINS: u32 = 1_000;

/// Something that providers limit.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Limit {
    /// Connections at the same time.
    Connections,
    /// Octets of a message.
    MessageOctets,
    /// Messages on one connection.
    MessagesPerConnection,
    /// Messages in a minute.
    MessagesPerMinute,
    /// Recipients in 24 hours.
    RecipientsPerDay,
    /// Recipients in an hour.
    RecipientsPerHour,
    /// Recipients of one message.
    RecipientsPerMessage,
    /// Recipients in a second.
    RecipientsPerSecond,
    /// Recipients in ten minutes.
    RecipientsPerTenMinutes,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Connections,
        Self::MessageOctets,
        Self::MessagesPerConnection,
        Self::MessagesPerMinute,
        Self::RecipientsPerDay,
        Self::RecipientsPerHour,
        Self::RecipientsPerMessage,
        Self::RecipientsPerSecond,
        Self::RecipientsPerTenMinutes,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::MessageOctets => "message-octets",
            Self::MessagesPerConnection => "messages-per-connection",
            Self::MessagesPerMinute => "messages-per-minute",
            Self::RecipientsPerDay => "recipients-per-day",
            Self::RecipientsPerHour => "recipients-per-hour",
            Self::RecipientsPerMessage => "recipients-per-message",
            Self::RecipientsPerSecond => "recipients-per-second",
            Self::RecipientsPerTenMinutes => "recipients-per-ten-minutes",
        }
    }

    /// The length of its window, if it is a rate.
    fn window(self) -> Option<Duration> {
        match self {
            Self::RecipientsPerSecond => Some(Duration::from_secs(1)),
            Self::MessagesPerMinute => Some(Duration::from_mins(1)),
            Self::RecipientsPerTenMinutes => Some(Duration::from_mins(10)),
            Self::RecipientsPerHour => Some(Duration::from_hours(1)),
            Self::RecipientsPerDay => Some(Duration::from_hours(24)),
            Self::Connections
            | Self::MessageOctets
            | Self::MessagesPerConnection
            | Self::RecipientsPerMessage => None,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Limit {
    type Err = SimulatorError;

    fn from_str(name: &str) -> Result<Self, SimulatorError> {
        let found = Self::ALL.into_iter().find(|limit| limit.name() == name);
        found.ok_or_else(|| SimulatorError::LimitName { name: name.to_owned() })
    }
}

/// One limit of one provider.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) limit: Limit,
    /// Its figure, unless options say otherwise; `None` where the provider names none.
    pub(super) default: Option<u64>,
    pub(super) stage: Stage,
    pub(super) share: Share,
    pub(super) excess: Excess,
}

impl Bound {
    /// Connections at the same time, whoever they are of.
    pub(super) const fn connections(default: Option<u64>, words: &'static str) -> Self {
        let excess = Excess::Close(words);
        Self::of_all(Limit::Connections, default, Stage::Connect, excess)
    }

    /// Octets of a message.
    pub(super) const fn message_octets(most: u64, words: &'static str) -> Self {
        Self::of_all(Limit::MessageOctets, Some(most), Stage::Content, Excess::Refuse(words))
    }

    /// Recipients of a message.
    pub(super) const fn recipients_per_message(most: u64, words: &'static str) -> Self {
        let excess = Excess::Refuse(words);
        Self::of_all(Limit::RecipientsPerMessage, Some(most), Stage::Recipient, excess)
    }

    /// Something that all clients share.
    pub(super) const fn of_all(
        limit: Limit,
        default: Option<u64>,
        stage: Stage,
        excess: Excess,
    ) -> Self {
        Self { limit, default, stage, share: Share::All, excess }
    }
}

/// Where a limit is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// In place of the greeting.
    Connect,
    /// At AUTH, instead of looking at the password.
    Login,
    /// At MAIL.
    Sender,
    /// At each RCPT.
    Recipient,
    /// After the final dot.
    Content,
}

/// Who has a limit to himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// Whoever has logged in.
    Account,
    /// All clients of the simulator together.
    All,
    /// A reverse-path.
    ReversePath,
}

/// What happens beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// A reply, and the end of the connection.
    Close(&'static str),
    /// The reply comes when there is room again.
    Delay,
    /// A reply.
    Refuse(&'static str),
}

/// What has been used of the limits that have to do with more than one connection.
#[derive(Debug)]
pub(super) struct Ledger {
    hurry: u32,
    windows: HashMap<(Limit, String), Window>,
    open: u64,
    /// The sessions of each account, by number: the eldest are within a limit of connections.
    logged_in: HashMap<String, BTreeSet<u64>>,
    accounts: HashMap<u64, String>,
}

impl Ledger {
    /// Windows are shorter by the factor `hurry`.
    pub(super) fn new(hurry: u32) -> Self {
        Self {
            hurry,
            windows: HashMap::new(),
            open: 0,
            logged_in: HashMap::new(),
            accounts: HashMap::new(),
        }
    }

    /// Counts one more connection, and says how many there are.
    pub(super) fn open(&mut self) -> u64 {
        self.open += 1;
        self.open
    }

    pub(super) fn log_in(&mut self, account: &str, session: u64) {
        self.logged_in.entry(account.to_owned()).or_default().insert(session);
        self.accounts.insert(session, account.to_owned());
    }

    /// Forgets a connection, and says how many are left.
    pub(super) fn close(&mut self, session: u64) -> u64 {
        self.open -= 1;
        if let Some(account) = self.accounts.remove(&session)
            && let Some(sessions) = self.logged_in.get_mut(&account)
        {
            sessions.remove(&session);
            if sessions.is_empty() {
                self.logged_in.remove(&account);
            }
        }
        self.open
    }

    /// Whether a session is among the first `connections` of its account.
    pub(super) fn has_place(&self, account: &str, session: u64, connections: u64) -> bool {
        let Some(sessions) = self.logged_in.get(account) else { return true };
        let ahead = sessions.range(..session).count();
        (ahead as u64) < connections
    }

    /// Takes `count` from a rate, all or nothing. An error is how long there will be no room.
    ///
    /// More than the limit at once is granted when nothing else is in the window: short bursts are
    /// what providers let pass, and a message that is never let through would test nothing.
    pub(super) fn take(
        &mut self,
        (limit, key): (Limit, &str),
        count: u64,
        most: u64,
        now: Instant,
    ) -> Result<(), Duration> {
        let Some(length) = limit.window().map(|length| length / self.hurry) else { return Ok(()) };
        if self.windows.len() >= KEYS_MAX {
            self.windows.retain(|_, window| !window.taken.is_empty());
        }
        let window = self.windows.entry((limit, key.to_owned())).or_default();
        window.take(count, most, length, now)
    }

    /// Whether a rate has nothing left, without taking any of it.
    pub(super) fn is_used_up(&mut self, limit: Limit, most: u64, now: Instant) -> bool {
        let Some(length) = limit.window().map(|length| length / self.hurry) else { return false };
        let window = self.windows.entry((limit, String::new())).or_default();
        window.forget(length, now);
        window.sum >= most
    }
}

/// What was taken in the last stretch of time.
#[derive(Debug, Default)]
struct Window {
    taken: VecDeque<(Instant, u64)>,
    sum: u64,
}

impl Window {
    fn take(
        &mut self,
        count: u64,
        most: u64,
        length: Duration,
        now: Instant,
    ) -> Result<(), Duration> {
        self.forget(length, now);
        if self.sum > 0 && self.sum + count > most {
            let first = self.taken.front().map_or(now, |&(when, _)| when);
            return Err((first + length).saturating_duration_since(now));
        }
        self.sum += count;
        match self.taken.back_mut() {
            Some((when, taken)) if now.duration_since(*when) < length / GRAINS => *taken += count,
            _ => self.taken.push_back((now, count)),
        }
        Ok(())
    }

    fn forget(&mut self, length: Duration, now: Instant) {
        while let Some(&(when, taken)) = self.taken.front()
            && now.duration_since(when) >= length
        {
            self.sum -= taken;
            self.taken.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_window_slides() {
        let mut ledger = Ledger::new(1);
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let rate = (Limit::RecipientsPerSecond, "");
        assert_eq!(ledger.take(rate, 8, 14, at(0)), Ok(()));
        assert_eq!(ledger.take(rate, 6, 14, at(500)), Ok(()));
        assert_eq!(ledger.take(rate, 1, 14, at(900)), Err(Duration::from_millis(100)));
        assert_eq!(ledger.take(rate, 8, 14, at(1000)), Ok(()));
        assert_eq!(ledger.take(rate, 1, 14, at(1000)), Err(Duration::from_millis(500)));
        // Somebody else's.
        assert_eq!(ledger.take((Limit::RecipientsPerSecond, "x"), 14, 14, at(1000)), Ok(()));
    }

    #[test]
    fn a_batch_beyond_the_limit_needs_an_empty_window() {
        let mut ledger = Ledger::new(1);
        let start = Instant::now();
        let rate = (Limit::RecipientsPerSecond, "");
        assert_eq!(ledger.take(rate, 50, 14, start), Ok(()));
        assert_eq!(ledger.take(rate, 1, 14, start), Err(SECOND));
        assert_eq!(ledger.take(rate, 50, 14, start + SECOND), Ok(()));
    }

    #[test]
    fn hurry_makes_windows_shorter() {
        let mut ledger = Ledger::new(60);
        let start = Instant::now();
        let rate = (Limit::MessagesPerMinute, "a");
        assert_eq!(ledger.take(rate, 1, 1, start), Ok(()));
        assert_eq!(ledger.take(rate, 1, 1, start), Err(SECOND));
        assert_eq!(ledger.take(rate, 1, 1, start + SECOND), Ok(()));
    }

    #[test]
    fn what_a_window_remembers_is_bounded() {
        let mut window = Window::default();
        let start = Instant::now();
        for step in 0..100_000 {
            let _ = window.take(1, u64::MAX, SECOND, start + Duration::from_micros(step * 20));
        }
        assert!(window.taken.len() <= GRAINS as usize + 1, "{}", window.taken.len());
    }

    #[test]
    fn the_eldest_sessions_of_an_account_have_a_place() {
        let mut ledger = Ledger::new(1);
        for session in [5, 7, 9] {
            ledger.open();
            ledger.log_in("a", session);
        }
        assert!(ledger.has_place("a", 7, 2));
        assert!(!ledger.has_place("a", 9, 2));
        ledger.close(5);
        assert!(ledger.has_place("a", 9, 2));
        assert_eq!(ledger.open(), 3);
    }

    #[test]
    fn names_of_limits_are_read() {
        for limit in Limit::ALL {
            assert_eq!(limit.name().parse::<Limit>().unwrap(), limit);
        }
        assert!("messages".parse::<Limit>().is_err());
    }
}
