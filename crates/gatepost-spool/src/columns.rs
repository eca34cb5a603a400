//! How values stand in columns, and how they are read back.
//!
//! What cannot be read back is damage, and is told as such; it is never taken for something else.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use gatepost_smtp::command::Body;
use gatepost_smtp::reply::{Reply, ReplyCode};
use rusqlite::Row;
use rusqlite::types::Type;

use crate::id::QueueId;
use crate::message::{After, Mode, Recipient, RecipientState, Standing};
use crate::recipients;

/// Octets of a reply that are kept: some lines, enough to see what is wrong.
const REPLY_OCTETS_MAX: usize = 2048;

/// A value that stands in a column as a small number: its place in this list.
pub(crate) trait Coded: Copy + PartialEq + 'static {
    const ALL: &'static [Self];

    fn code(self) -> i64 {
        // The list has all of them.
        (0..).zip(Self::ALL).find(|(_, value)| **value == self).map_or(0, |(code, _)| code)
    }

    fn decode(code: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }
}

impl Coded for Mode {
    const ALL: &'static [Self] = &[Self::Hybrid, Self::Spool];
}

impl Coded for Option<Body> {
    const ALL: &'static [Self] = &[None, Some(Body::SevenBit), Some(Body::EightBitMime)];
}

/// Pending is 0: the queries of `settle` say so, too.
impl Coded for RecipientState {
    const ALL: &'static [Self] = &[Self::Pending, Self::Delivered, Self::Failed, Self::Expired];
}

/// In the order of what the whole message waits for: `settle` takes the greatest.
impl Coded for After {
    const ALL: &'static [Self] = &[Self::Forget, Self::Keep, Self::Notify];
}

/// Who is at work on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    None,
    Leased,
    InDoubt,
}

impl Coded for Lease {
    const ALL: &'static [Self] = &[Self::None, Self::Leased, Self::InDoubt];
}

/// What the recipients of a message wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// One of them at least is pending.
    Waiting,
    /// A notification is owed.
    Owing,
    /// A failure is kept.
    Dead,
}

impl Coded for Phase {
    const ALL: &'static [Self] = &[Self::Waiting, Self::Owing, Self::Dead];
}

/// The three columns that say where a message stands, in one.
pub(crate) const fn standing(lease: Lease, held: bool, phase: Phase) -> Standing {
    match (lease, phase, held) {
        (Lease::InDoubt, _, _) => Standing::InDoubt,
        (Lease::Leased, _, _) => Standing::Leased,
        (Lease::None, Phase::Dead, _) => Standing::Dead,
        (Lease::None, Phase::Owing, _) => Standing::Owing,
        (Lease::None, Phase::Waiting, true) => Standing::Held,
        (Lease::None, Phase::Waiting, false) => Standing::Queued,
    }
}

/// Milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> i64 {
    let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    }
}

/// The time of so many milliseconds since 1970.
pub(crate) fn time(millis: i64) -> SystemTime {
    let span = Duration::from_millis(millis.unsigned_abs());
    let time = if millis < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) };
    // Only a damaged row is out of the range of the system's clock.
    time.unwrap_or(UNIX_EPOCH)
}

/// A reply as it was heard: code, status, text.
pub(crate) fn reply_octets(reply: &Reply) -> Vec<u8> {
    let mut octets = reply.code().to_string().into_bytes();
    if let Some(enhanced) = reply.enhanced() {
        octets.extend_from_slice(format!(" {enhanced}").as_bytes());
    }
    octets.push(b' ');
    octets.extend(reply.text().iter().take(REPLY_OCTETS_MAX));
    octets
}

fn read_reply(octets: &[u8]) -> Option<Reply> {
    let (code, text) = octets.split_at_checked(3)?;
    let text = Bytes::copy_from_slice(text.strip_prefix(b" ")?);
    Some(Reply::heard(ReplyCode::parse(code)?, text))
}

/// Reads the columns of a row one after the other.
pub(crate) struct Columns<'a, 'r> {
    row: &'a Row<'r>,
    next: usize,
}

impl<'a, 'r> Columns<'a, 'r> {
    pub(crate) const fn of(row: &'a Row<'r>) -> Self {
        Self { row, next: 0 }
    }

    pub(crate) fn plain<T: rusqlite::types::FromSql>(&mut self) -> rusqlite::Result<T> {
        let column = self.next;
        self.next += 1;
        self.row.get(column)
    }

    pub(crate) fn id(&mut self) -> rusqlite::Result<QueueId> {
        let number = self.plain()?;
        QueueId::from_sql(number).ok_or_else(|| self.damaged("is no queue id"))
    }

    pub(crate) fn time(&mut self) -> rusqlite::Result<SystemTime> {
        self.plain().map(time)
    }

    pub(crate) fn octets(&mut self) -> rusqlite::Result<u64> {
        let octets: i64 = self.plain()?;
        u64::try_from(octets).map_err(|_| self.damaged("is no number of octets"))
    }

    pub(crate) fn coded<T: Coded>(&mut self) -> rusqlite::Result<T> {
        let code = self.plain()?;
        T::decode(code).ok_or_else(|| self.damaged("is no value of this column"))
    }

    /// Lease, held and phase.
    pub(crate) fn standing(&mut self) -> rusqlite::Result<Standing> {
        Ok(standing(self.coded()?, self.plain()?, self.coded()?))
    }

    pub(crate) fn text(&mut self) -> rusqlite::Result<Arc<str>> {
        self.plain::<String>().map(Arc::from)
    }

    pub(crate) fn text_if_any(&mut self) -> rusqlite::Result<Option<Arc<str>>> {
        Ok(self.plain::<Option<String>>()?.map(Arc::from))
    }

    pub(crate) fn blob(&mut self) -> rusqlite::Result<Vec<u8>> {
        self.plain()
    }

    pub(crate) fn address(&mut self) -> rusqlite::Result<IpAddr> {
        let text: String = self.plain()?;
        text.parse().map_err(|_| self.damaged("is no address"))
    }

    pub(crate) fn reply(&mut self) -> rusqlite::Result<Option<Reply>> {
        let Some(octets) = self.plain::<Option<Vec<u8>>>()? else { return Ok(None) };
        read_reply(&octets).map(Some).ok_or_else(|| self.damaged("is no reply"))
    }

    pub(crate) fn recipients(&mut self) -> rusqlite::Result<Vec<Recipient>> {
        let list: Vec<u8> = self.plain()?;
        recipients::read(&list).ok_or_else(|| self.damaged("is no list of recipients"))
    }

    /// What is said of the column that was read last.
    pub(crate) fn damaged(&self, what: &'static str) -> rusqlite::Error {
        let error: Box<dyn Error + Send + Sync> = what.into();
        rusqlite::Error::FromSqlConversionFailure(self.next - 1, Type::Null, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_as_it_was_heard() {
        for (code, text) in
            [(550, "5.1.1 unknown\nreally"), (451, ""), (452, "4.2.2"), (421, "later \u{fffd}")]
        {
            let heard = Reply::heard(ReplyCode::new(code), Bytes::from_static(text.as_bytes()));
            assert_eq!(read_reply(&reply_octets(&heard)), Some(heard));
        }
        assert_eq!(read_reply(b"9"), None);
        assert_eq!(read_reply(b"999 x"), None);
        let long = Reply::new(550, (5, 0, 0), "x".repeat(1 << 20));
        assert!(reply_octets(&long).len() < REPLY_OCTETS_MAX + 20);
    }

    #[test]
    fn times_before_and_after_1970_come_back() {
        for at in [0, 1, -1, 1_800_000_000_000, -1_800_000_000_000] {
            assert_eq!(millis(time(at)), at);
        }
    }
}
