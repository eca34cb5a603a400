//! The list of messages, a page at a time: for people, who choose by where a message stands.

use std::sync::Arc;
use std::time::SystemTime;

use gatepost_smtp::reply::Reply;

use super::Reader;
use crate::columns::Columns;
use crate::id::QueueId;
use crate::message::Standing;

/// Messages of one page of a list.
pub const LIST_MAX: usize = 1000;
/// Messages that are looked at for one page: a filter that lets nothing through must not read
/// everything at once.
const SCAN_MAX: u32 = 10_000;

/// Which messages are listed. What is not said, does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Where they stand.
    pub standing: Option<Standing>,
    /// Name of their upstream.
    pub upstream: Option<Arc<str>>,
    /// Id of their entry.
    pub entry: Option<Arc<str>>,
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Messages, the oldest first.
    pub messages: Vec<Summary>,
    /// Where the list goes on, if it does: a page can be short, and even empty, before its end.
    pub next: Option<QueueId>,
}

/// A message in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Which.
    pub id: QueueId,
    /// Where it stands.
    pub standing: Standing,
    /// Name of its upstream.
    pub upstream: Arc<str>,
    /// Id of its entry.
    pub entry: Arc<str>,
    /// The reverse-path as the client has sent it.
    pub sender: Box<[u8]>,
    /// When it was accepted.
    pub received_at: SystemTime,
    /// When it is tried again.
    pub due_at: SystemTime,
    /// When it is given up.
    pub expires_at: SystemTime,
    /// Attempts that were recorded.
    pub attempts: u32,
    /// Octets of its body.
    pub octets: u64,
    /// Recipients for whom nothing is decided.
    pub pending: u64,
    /// Recipients.
    pub recipients: u64,
    /// The last reply about one of them, about a pending one if there is any.
    pub reply: Option<Reply>,
}

/// What was recorded about the recipients of a message.
struct Recorded {
    decided: u64,
    reply: Option<Reply>,
}

impl Reader {
    /// A part of the list of messages, from behind `after` on.
    pub(crate) fn list(
        &self,
        filter: &Filter,
        after: Option<QueueId>,
        limit: usize,
    ) -> rusqlite::Result<Page> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, lease, held, phase, upstream, entry, sender, received_at, due_at, expires_at,
                    attempts, octets, recipients
             FROM message JOIN lane ON lane.number = message.lane
             WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        let mut page = Page::default();
        let after = after.map_or(-1, QueueId::to_sql);
        let mut rows = statement.query((after, SCAN_MAX))?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            seen += 1;
            let mut columns = Columns::of(row);
            let (id, standing) = (columns.id()?, columns.standing()?);
            let (upstream, entry) = (columns.text()?, columns.text()?);
            page.next = Some(id);
            if filter.lets_through(standing, &upstream, &entry) {
                let recorded = self.recorded(id)?;
                let summary = Summary {
                    id,
                    standing,
                    upstream,
                    entry,
                    sender: columns.blob()?.into(),
                    received_at: columns.time()?,
                    due_at: columns.time()?,
                    expires_at: columns.time()?,
                    attempts: columns.plain()?,
                    octets: columns.octets()?,
                    recipients: columns.octets()?,
                    pending: 0,
                    reply: recorded.reply,
                };
                let pending = summary.recipients.saturating_sub(recorded.decided);
                page.messages.push(Summary { pending, ..summary });
                if page.messages.len() == limit.min(LIST_MAX) {
                    return Ok(page);
                }
            }
        }
        if seen < SCAN_MAX {
            page.next = None;
        }
        Ok(page)
    }

    /// What a list says of recipients: asked for a message that is listed, and for no other.
    fn recorded(&self, id: QueueId) -> rusqlite::Result<Recorded> {
        self.connection
            .prepare_cached(
                "SELECT count(*) FILTER (WHERE state <> 0),
                        (SELECT reply FROM recipient WHERE message = ?1 AND reply IS NOT NULL
                         ORDER BY state <> 0, place LIMIT 1)
                 FROM recipient WHERE message = ?1",
            )?
            .query_row([id.to_sql()], |row| {
                let mut columns = Columns::of(row);
                Ok(Recorded { decided: columns.octets()?, reply: columns.reply()? })
            })
    }
}

impl Filter {
    fn lets_through(&self, standing: Standing, upstream: &str, entry: &str) -> bool {
        self.standing.is_none_or(|wanted| wanted == standing)
            && self.upstream.as_deref().is_none_or(|wanted| wanted == upstream)
            && self.entry.as_deref().is_none_or(|wanted| wanted == entry)
    }
}
