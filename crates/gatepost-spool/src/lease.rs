//! What sees to it that a lease ends: a task that panics or is cancelled must not keep a message from
//! being delivered until the next restart.

use crate::id::QueueId;
use crate::spool::Spool;

/// Gives a lease back when it is dropped, unless it was told that the lease has ended. A message that
/// is in doubt is due again then, too: it may arrive twice.
#[must_use = "dropping it gives the lease back"]
pub struct LeaseGuard {
    spool: Spool,
    id: QueueId,
    is_over: bool,
}

impl LeaseGuard {
    pub(crate) const fn new(spool: Spool, id: QueueId) -> Self {
        Self { spool, id, is_over: false }
    }

    /// The message.
    pub const fn id(&self) -> QueueId {
        self.id
    }

    /// The lease has ended: by a record, a release, a withdrawal. Only who has heard that says so.
    pub fn is_over(mut self) {
        self.is_over = true;
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        if !self.is_over {
            self.spool.abandon(self.id);
        }
    }
}
