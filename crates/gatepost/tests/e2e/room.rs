//! How much is played at once, by all tests that run beside each other.
//!
//! Tests with tables of hundreds of sessions wait more than they work, and so many of them at once
//! that a machine of two processors is busy. However many tests run at a time, they share this room,
//! so that deadlines mean the same to each.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Sessions at once, each with a gateway and an upstream of its own.
const SESSIONS_MAX: usize = 40;

static ROOM: Semaphore = Semaphore::const_new(SESSIONS_MAX);

/// Room for one session, when there is some. It is taken before anything is timed.
pub(crate) async fn room() -> SemaphorePermit<'static> {
    ROOM.acquire().await.expect("it is never closed")
}
