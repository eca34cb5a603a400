//! What the clients were told: of every message that one of them has begun, and of each of its
//! recipients.
//!
//! A word is written down when it is read, before anything else is done. The harness is never killed,
//! so the ledger is in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::letter::Letter;

/// What a client was told about a message, or about one of its recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Nothing; whatever happens is right.
    None,
    /// 2yz.
    Accepted,
    /// 4yz.
    Deferred,
    /// 5yz.
    Refused,
}

/// A message, and what its client was told about it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) letter: Letter,
    /// By their places. None: not even named.
    pub(crate) recipients: Vec<Option<Word>>,
    /// What decided about the whole: a refusal of MAIL or of DATA, or the reply to the end of data.
    pub(crate) whole: Word,
}

/// All of them, by number.
pub(crate) struct Ledger {
    kept: Mutex<Kept>,
    /// How many were acknowledged.
    acknowledged: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    entries: Vec<Entry>,
    /// Replies to the end of data, by code.
    replies: BTreeMap<u16, u64>,
}

impl Word {
    const fn of(code: u16) -> Self {
        match code {
            200..400 => Self::Accepted,
            500..600 => Self::Refused,
            // Nothing that is not understood counts as a refusal for good.
            _ => Self::Deferred,
        }
    }
}

impl Entry {
    /// Whether the client may forget this recipient: somebody else answers for it.
    pub(crate) fn is_acknowledged(&self, place: usize) -> bool {
        self.whole == Word::Accepted && self.recipients[place] == Some(Word::Accepted)
    }

    /// Whether the client knows that this recipient will never have the message.
    pub(crate) fn is_refused(&self, place: usize) -> bool {
        self.whole == Word::Refused || self.recipients[place] == Some(Word::Refused)
    }

    /// Whether the client was told to try again with this recipient.
    pub(crate) fn is_deferred(&self, place: usize) -> bool {
        !self.is_refused(place)
            && (self.whole == Word::Deferred || self.recipients[place] == Some(Word::Deferred))
    }
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { kept: Mutex::default(), acknowledged: watch::Sender::new(0) }
    }

    /// Begins a message.
    pub(crate) fn begin(&self, make: impl FnOnce(u64) -> Letter) -> Letter {
        let mut kept = self.kept();
        let letter = make(kept.entries.len() as u64);
        let recipients = vec![None; letter.recipients.len()];
        kept.entries.push(Entry { letter: letter.clone(), recipients, whole: Word::None });
        letter
    }

    /// Recipients are named.
    pub(crate) fn name(&self, number: u64) {
        self.kept().entries[number as usize].recipients.fill(Some(Word::None));
    }

    /// There is a reply to a RCPT.
    pub(crate) fn recipient(&self, number: u64, place: usize, code: u16) {
        self.kept().entries[number as usize].recipients[place] = Some(Word::of(code));
    }

    /// MAIL or DATA was refused.
    pub(crate) fn refused(&self, number: u64, code: u16) {
        self.kept().entries[number as usize].whole = Word::of(code);
    }

    /// There is a reply to the end of data.
    pub(crate) fn end(&self, number: u64, code: u16) {
        let mut kept = self.kept();
        kept.entries[number as usize].whole = Word::of(code);
        *kept.replies.entry(code).or_default() += 1;
        drop(kept);
        if Word::of(code) == Word::Accepted {
            self.acknowledged.send_modify(|count| *count += 1);
        }
    }

    /// How many were acknowledged, now and later.
    pub(crate) fn acknowledged(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    /// How many were begun.
    pub(crate) fn begun(&self) -> usize {
        self.kept().entries.len()
    }

    /// Everything that is known in the end.
    pub(crate) fn close(&self) -> (Vec<Entry>, BTreeMap<u16, u64>) {
        let kept = std::mem::take(&mut *self.kept());
        (kept.entries, kept.replies)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic while it is held ends the run anyway.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
