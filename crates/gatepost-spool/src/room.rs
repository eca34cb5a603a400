//! How much room there is on the disk. It is asked for now and then, and what is written in between is
//! taken off: a fast disk can be filled within the time that an answer is believed.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::disk::Disk;
use crate::error::SpoolError;

/// How long it is believed how much room a disk has.
const ROOM_BELIEVED: Duration = Duration::from_secs(1);

/// How much room there is on the disk, as far as it is known.
pub(crate) struct Room {
    floor: u64,
    found: Mutex<Option<(Instant, u64)>>,
}

impl Room {
    pub(crate) const fn new(floor: u64) -> Self {
        Self { floor, found: Mutex::new(None) }
    }

    /// Whether there is room for another message.
    pub(crate) fn check(&self, disk: &dyn Disk, path: &Path) -> Result<(), SpoolError> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        // That there is too little is not believed without having looked.
        let known = found.filter(|&(at, free)| at.elapsed() < ROOM_BELIEVED && free >= self.floor);
        let free = if let Some((_, free)) = known {
            free
        } else {
            // A file system that does not tell is one that says so when it is full.
            let free = disk.free_octets(path).unwrap_or(u64::MAX);
            *found = Some((Instant::now(), free));
            free
        };
        if free >= self.floor {
            return Ok(());
        }
        let reason = format!("{free} octets are free, and {} are to stay free", self.floor);
        Err(SpoolError::Full { path: path.to_owned(), reason: reason.into() })
    }

    /// Notes that so much was written: much can be, before somebody looks again.
    pub(crate) fn spend(&self, octets: u64) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, free)) = &mut *found {
            *free = free.saturating_sub(octets);
        }
    }
}
