//! What the spool is to have of a message: a copy of its content, and the recipients owed to it.
//!
//! The copy shares the octets that go upstream, and costs neither a flush nor, up to a size, a file:
//! it is dropped once the upstream has taken the message. What is kept is one [`Part`] for each
//! upstream and reverse-path, because that is what a row of the spool is. Parts are committed before
//! the final dot goes upstream, and never without the answer being waited for.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use gatepost_delivery::Paths;
use gatepost_smtp::bdat::{Behind, ChunkScan, ChunkScanner, Transparency};
use gatepost_smtp::data::TERMINATOR;
use gatepost_smtp::reply::Reply;
use gatepost_spool::{BodyWriter, Entrance, Envelope, LeaseGuard, Recipient, Spool, SpoolError};

use super::Last;
use crate::id::Id;
use crate::mail_log::Origin;
use crate::mode::Mode;
use crate::relay::{Message, Relay};

/// Other ways that recipients of one message may take beside the first one's: each has a copy of the
/// content.
const OTHERS_MAX: usize = 8;

const TOO_MANY_WAYS: Reply = Reply::fixed(
    452,
    (4, 5, 3),
    "too many upstreams for one message, send the other recipients separately",
);
/// Somebody goes to another upstream, and there is no spool to part the message.
pub(super) const APART: Reply =
    Reply::fixed(452, (4, 5, 3), "this recipient goes to another upstream, send it separately");
/// The spool cannot take a message: its disk is full, or it has stopped.
pub(super) const NO_ROOM: Reply =
    Reply::fixed(452, (4, 3, 1), "no room to keep the message, try again later");

/// What goes into the spool as one message.
pub(super) struct Part {
    pub(super) id: Id,
    pub(super) upstream: Arc<str>,
    reverse_path: Arc<[u8]>,
    mode: Mode,
    pub(super) recipients: Paths,
    body: Option<BodyWriter>,
}

/// The parts of a message.
pub(super) struct Keep {
    /// By the way of the first recipient.
    pub(super) main: Part,
    others: Vec<Part>,
    /// Puts dots in front of lines that need them, while content comes without them (RFC 3030).
    stuffing: Option<ChunkScanner>,
}

/// A part that is on stable storage, leased to whoever has this.
pub(super) struct Committed {
    pub(super) id: Id,
    pub(super) is_main: bool,
    pub(super) lease: LeaseGuard,
}

impl Part {
    fn new(id: Id, upstream: Arc<str>, reverse_path: Arc<[u8]>, mode: Mode) -> Self {
        Self { id, upstream, reverse_path, mode, recipients: Paths::default(), body: None }
    }

    fn is_owed(&self) -> bool {
        !self.recipients.is_empty()
    }

    async fn append(&mut self, content: Bytes) {
        if let Some(body) = &mut self.body {
            // Whoever commits it hears of a failure: nothing can be done about it here.
            let _ = body.append(content).await;
        }
    }
}

impl Keep {
    pub(super) fn new(message: &Message, upstream: Arc<str>, mode: Mode) -> Self {
        let main = Part::new(message.id, upstream, Arc::clone(&message.reverse_path), mode);
        Self { main, others: Vec::new(), stuffing: None }
    }

    /// Whether the spool is owed anybody.
    pub(super) fn is_owed(&self) -> bool {
        self.parts().any(Part::is_owed)
    }

    /// Whether there is more than one part.
    pub(super) fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    /// Everybody whom it is owed.
    pub(super) fn recipients(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.parts().flat_map(|part| part.recipients.with_parameters())
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.main).chain(&self.others)
    }

    /// Takes a recipient whose way is not the first one's.
    pub(super) fn take_apart(
        &mut self,
        (upstream, reverse_path): (Arc<str>, Arc<[u8]>),
        mode: Mode,
        (path, dsn): (&[u8], &[u8]),
        id: impl FnOnce() -> Id,
    ) -> Result<(), Reply> {
        let same = |part: &&mut Part| {
            part.upstream == upstream && part.reverse_path == reverse_path && part.mode == mode
        };
        if let Some(part) = self.others.iter_mut().find(same) {
            part.recipients.push(path, dsn);
            return Ok(());
        }
        if self.others.len() >= OTHERS_MAX {
            return Err(TOO_MANY_WAYS);
        }
        let mut part = Part::new(id(), upstream, reverse_path, mode);
        part.recipients.push(path, dsn);
        self.others.push(part);
        Ok(())
    }
}

/// The copy.
impl Keep {
    /// Content begins, with what is put in front of it. No part gets a copy later that has none now.
    pub(super) async fn begin(&mut self, spool: &Spool, front: &Bytes) {
        if self.main.mode != Mode::Sync {
            self.main.body = Some(spool.body(self.main.id));
        }
        for part in &mut self.others {
            part.body = Some(spool.body(part.id));
        }
        self.append_all(front.clone()).await;
    }

    /// Content comes without dots in front of dots from here on.
    pub(super) fn turn_plain(&mut self) {
        self.stuffing.get_or_insert_with(|| ChunkScanner::new(Transparency::Stuffed));
    }

    /// Takes content.
    pub(super) async fn append(&mut self, content: Bytes) {
        if self.stuffing.is_none() {
            return self.append_all(content).await;
        }
        self.append_stuffed(content).await;
    }

    /// Takes the last content, without the terminator, and with the line end that it may lack.
    pub(super) async fn end(&mut self, last: &Last) {
        match last {
            Last::Terminated(last) => {
                self.append(last.slice(..last.len() - TERMINATOR.len())).await;
            }
            Last::OfChunk(last) => {
                self.append(last.clone()).await;
                if self.stuffing.as_ref().is_some_and(ChunkScanner::is_in_line) {
                    self.append_all(Bytes::from_static(b"\r\n")).await;
                }
            }
        }
    }

    /// Nobody will ask for the copy any more. Who is owed stays owed: without a copy nothing can be
    /// committed, and so nothing be granted.
    pub(super) fn forget(&mut self) {
        self.main.body = None;
        self.others.iter_mut().for_each(|part| part.body = None);
    }

    async fn append_all(&mut self, content: Bytes) {
        for part in &mut self.others {
            part.append(content.clone()).await;
        }
        self.main.append(content).await;
    }

    async fn append_stuffed(&mut self, mut content: Bytes) {
        while !content.is_empty()
            && let Some(scanner) = &mut self.stuffing
        {
            match scanner.scan(&content, Behind::Chunk) {
                ChunkScan::More(_) => return self.append_all(content).await,
                // What reaches this point was scanned before. If that were ever not so, there is no copy.
                ChunkScan::Fault(..) => return self.forget(),
                ChunkScan::Replace { octets, replaced, with } => {
                    let before = content.split_to(octets);
                    self.append_all(before).await;
                    self.append_all(Bytes::from_static(with)).await;
                    drop(content.split_to(replaced));
                }
            }
        }
    }
}

/// Into the spool.
impl Keep {
    /// Commits everything that is owed, leased. If one part fails, none stays.
    pub(super) async fn commit_owed(
        &mut self,
        (relay, spool): (&Relay, &Spool),
        message: &Message,
        origin: &Origin<'_>,
    ) -> Result<Vec<Committed>, SpoolError> {
        let mut committed = Vec::new();
        let parts = std::iter::once((true, &mut self.main));
        for (is_main, part) in parts.chain(self.others.iter_mut().map(|part| (false, part))) {
            if !part.is_owed() {
                continue;
            }
            match part.commit((relay, spool), message, origin, Entrance::Leased).await {
                Ok(lease) => committed.push(Committed { id: part.id, is_main, lease }),
                Err(error) => {
                    // What could not be withdrawn is delivered: the client sends the rest again.
                    let _ = withdraw(spool, committed).await;
                    return Err(error);
                }
            }
        }
        Ok(committed)
    }
}

impl Part {
    /// Commits it with its recipients, leased in one way or the other. The guard gives back the lease.
    pub(super) async fn commit(
        &mut self,
        context: (&Relay, &Spool),
        message: &Message,
        origin: &Origin<'_>,
        entrance: Entrance,
    ) -> Result<LeaseGuard, SpoolError> {
        // Before the commit: a task that is cut off while it waits leaves a lease behind, too.
        let lease = context.1.guard(self.id);
        match self.put_down(context, message, origin, entrance).await {
            Ok(()) => Ok(lease),
            Err(error) => {
                lease.is_over();
                Err(error)
            }
        }
    }

    /// Commits it with its recipients. There is no guard: what is due at once can be leased by the queue
    /// before this has returned, and that lease is not ours to give back.
    pub(super) async fn put_down(
        &mut self,
        (relay, spool): (&Relay, &Spool),
        message: &Message,
        origin: &Origin<'_>,
        entrance: Entrance,
    ) -> Result<(), SpoolError> {
        let Some(body) = self.body.take() else {
            let reason = "it was not kept from its beginning".into();
            return Err(SpoolError::BodyDamaged { id: self.id, reason });
        };
        let stored = self.message(relay, message, origin, entrance);
        spool.commit(stored, body).await.map(drop)
    }

    /// What the spool is given.
    pub(super) fn message(
        &self,
        relay: &Relay,
        message: &Message,
        origin: &Origin<'_>,
        entrance: Entrance,
    ) -> gatepost_spool::Message {
        let received_at = SystemTime::now();
        gatepost_spool::Message {
            envelope: Envelope {
                id: self.id,
                received_at,
                expires_at: received_at + relay.config.queue.expire_after,
                reverse_path: Arc::clone(&self.reverse_path),
                sender: Arc::clone(&message.sender),
                dsn: Arc::clone(&message.dsn),
                body: message.body,
                smtputf8: message.smtputf8,
                mode: self.mode.stored(),
                upstream: Arc::clone(&self.upstream),
                origin: origin.stored(&message.entry),
            },
            recipients: recipients(&self.recipients),
            entrance,
            about: None,
        }
    }

    /// Octets of the copy.
    pub(super) fn octets(&self) -> u64 {
        self.body.as_ref().map_or(0, BodyWriter::octets)
    }

    /// Its body, for whoever commits it in another way.
    pub(super) const fn take_body(&mut self) -> Option<BodyWriter> {
        self.body.take()
    }
}

/// Whether the client may be told that nobody has its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withdrawn {
    All,
    /// Of some it is not known, or somebody else has them: they may be delivered.
    NotAll,
}

/// Takes parts back that the client is told of in another way. Those that were are gone for good.
pub(super) async fn withdraw(spool: &Spool, parts: Vec<Committed>) -> Withdrawn {
    let mut withdrawn = Withdrawn::All;
    for part in parts {
        match spool.withdraw(part.id).await {
            Ok(true) => part.lease.is_over(),
            Ok(false) => {
                // The lease was ours, and is not any more: it is not ours to give back either.
                part.lease.is_over();
                withdrawn = Withdrawn::NotAll;
            }
            Err(_) => withdrawn = Withdrawn::NotAll,
        }
    }
    withdrawn
}

/// Recipients as the spool has them.
pub(super) fn recipients(paths: &Paths) -> Vec<Recipient> {
    let all = paths.with_parameters();
    all.map(|(path, dsn)| Recipient { path: path.into(), dsn: dsn.into() }).collect()
}

#[cfg(test)]
mod tests;
