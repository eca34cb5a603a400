//! Whom a message is for, and what was recorded about them.
//!
//! All recipients of a message are one value in its row, in the order of their places. A recipient has
//! a row of its own only once something was recorded about it: most messages are delivered at the
//! first attempt, and go without one.

use gatepost_smtp::reply::Reply;
use rusqlite::Connection;

use crate::columns::{Coded, Columns, reply_octets};
use crate::id::QueueId;
use crate::message::{After, Attempt, Outcome, Recipient, RecipientState};

/// Octets of a length in the list.
const LENGTH_OCTETS: usize = 4;

/// Adds recipients to a list: of each, path and parameters, both with their length in front.
pub(crate) fn write(list: &mut Vec<u8>, recipients: &[Recipient]) {
    for part in recipients.iter().flat_map(|it| [&it.path, &it.dsn]) {
        // Neither is longer than the line that it came in.
        list.extend_from_slice(&(part.len() as u32).to_le_bytes());
        list.extend_from_slice(part);
    }
}

/// Reads a list. None if it is damaged.
pub(crate) fn read(mut list: &[u8]) -> Option<Vec<Recipient>> {
    let mut recipients = Vec::new();
    while !list.is_empty() {
        recipients.push(Recipient { path: part(&mut list)?, dsn: part(&mut list)? });
    }
    Some(recipients)
}

fn part(list: &mut &[u8]) -> Option<Box<[u8]>> {
    let (length, rest) = list.split_first_chunk::<LENGTH_OCTETS>()?;
    let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *list = rest;
    Some(part.into())
}

/// Where a recipient stands, as far as it decides where its message does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) state: RecipientState,
    pub(crate) after: After,
}

impl Fate {
    /// Nothing is decided.
    pub(crate) const PENDING: Self = Self { state: RecipientState::Pending, after: After::Forget };

    const fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Deferred => Self::PENDING,
            Outcome::Delivered(after) => Self { state: RecipientState::Delivered, after },
            Outcome::Expired(after) => Self { state: RecipientState::Expired, after },
            Outcome::Failed(after) => Self { state: RecipientState::Failed, after },
        }
    }

    const fn is_pending(self) -> bool {
        matches!(self.state, RecipientState::Pending)
    }
}

/// Where all recipients of a message stand, in the order of their places.
pub(crate) fn fates(
    connection: &Connection,
    id: QueueId,
    recipients: u32,
) -> rusqlite::Result<Vec<Fate>> {
    let mut fates = vec![Fate::PENDING; recipients as usize];
    let mut statement = connection
        .prepare_cached("SELECT place, state, after FROM recipient WHERE message = ?1")?;
    let mut rows = statement.query([id.to_sql()])?;
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        let place: u32 = columns.plain()?;
        // A row behind the list is of nobody.
        if let Some(fate) = fates.get_mut(place as usize) {
            *fate = Fate { state: columns.coded()?, after: columns.coded()? };
        }
    }
    Ok(fates)
}

/// Those of some attempts that change something, each with what it makes of its recipient: what was
/// decided stays decided, and who is not there is not tried. `fates` are as they are afterwards.
pub(crate) fn attempted<'a>(
    fates: &mut [Fate],
    attempts: &'a [Attempt],
) -> Vec<(&'a Attempt, Fate)> {
    let mut notes = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        if let Some(fate) = fates.get_mut(attempt.place as usize)
            && fate.is_pending()
        {
            *fate = Fate::of(attempt.outcome);
            notes.push((attempt, *fate));
        }
    }
    notes
}

/// Records what has become of a pending recipient, in so many attempts.
pub(crate) fn note(
    connection: &Connection,
    id: QueueId,
    place: u32,
    fate: Fate,
    (attempts, reply): (u32, Option<&Reply>),
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO recipient (message, place, state, after, delay_told, attempts, reply)
             VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6)
             ON CONFLICT (message, place) DO UPDATE SET state = ?3, after = ?4,
             attempts = attempts + ?5, reply = coalesce(?6, reply)",
        )?
        .execute((
            id.to_sql(),
            place,
            fate.state.code(),
            fate.after.code(),
            attempts,
            reply.map(reply_octets),
        ))?;
    Ok(())
}

/// Notes that a recipient was told of a delay.
pub(crate) fn note_delay(connection: &Connection, id: QueueId, place: u32) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO recipient (message, place, state, after, delay_told, attempts)
             SELECT id, ?2, 0, 0, 1, 0 FROM message WHERE id = ?1 AND ?2 < recipients
             ON CONFLICT (message, place) DO UPDATE SET delay_told = 1",
        )?
        .execute((id.to_sql(), place))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let all: Vec<_> = [("a@b", " NOTIFY=NEVER"), ("", ""), ("\0\0\0\0@\u{fffd}", "")]
            .iter()
            .map(|(path, dsn)| Recipient {
                path: path.as_bytes().into(),
                dsn: dsn.as_bytes().into(),
            })
            .collect();
        let mut list = Vec::new();
        assert_eq!(read(&list), Some(vec![]));
        let (first, joining) = all.split_at(1);
        write(&mut list, first);
        write(&mut list, joining);
        assert_eq!(read(&list).as_deref(), Some(&all[..]));
        for cut in 1..list.len() {
            // Cut between two recipients it is a shorter list; anywhere else it is damage.
            assert!(read(&list[..cut]).is_none_or(|some| all.starts_with(&some)), "{cut}");
        }
        assert_eq!(read(&list[..4]), None);
    }
}
