//! Read buffers of large messages, for the next large message.
//!
//! Whoever holds slices of a message until its end, as the copy of mode `hybrid` does, has them in
//! blocks that are not free while it is read. An allocator takes such blocks back from the system
//! and gives them back again with every message, and each costs a page fault for 4 KiB. So filled blocks
//! stand here in line, by a handle that has none of their octets: one is free when the last slice of it
//! is gone, and nobody has to say so.
//!
//! At most [`SPARE_OCTETS_MAX`] stand in line, in use or not, and what is not needed any more goes
//! back to the allocator within seconds: see [`Spare::shrink`]. Nothing here waits.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;

/// Octets that are read into a block. With 64 KiB a message of 1 MiB takes half as many system calls again;
/// with 256 KiB hardly fewer, and what is held is less near to what is counted.
pub(crate) const BLOCK_OCTETS: usize = 128 * 1024;
/// Octets at the front of a block for what was read before and is not taken: the one or two of which it
/// is not known whether they end the data, and a short line.
pub(crate) const FRONT_OCTETS: usize = 64;
/// Octets of all blocks in line: 32 messages of 1 MiB that are on their way at the same time. With more
/// of them, some blocks are the allocator's every time.
const SPARE_OCTETS_MAX: usize = 32 * 1024 * 1024;
const BLOCKS_MAX: usize = SPARE_OCTETS_MAX / BLOCK_OCTETS;
/// Blocks in use that are looked at before a new one is made: the one that is longest in line is in
/// use where its message is slow, and must not hide those behind it.
const LOOKS_MAX: usize = 4;
/// Of the blocks that nobody needed for a tick, one in so many goes.
const SHRINK_BY: usize = 8;

/// Blocks of all streams of one clock.
#[derive(Debug, Default)]
pub(crate) struct Spare(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    blocks: VecDeque<BytesMut>,
    /// Blocks that were asked for since the last tick.
    asked: usize,
}

impl Spare {
    /// An empty block: one that is free, or a new one.
    pub(crate) fn take(&self) -> BytesMut {
        let free = self.line().take_free();
        free.unwrap_or_else(|| BytesMut::with_capacity(BLOCK_OCTETS + FRONT_OCTETS))
    }

    /// Takes a block that is full, and whose slices are in use.
    pub(crate) fn put(&self, mut block: BytesMut) {
        block.clear();
        let mut line = self.line();
        if line.blocks.len() < BLOCKS_MAX {
            line.blocks.push_back(block);
        }
    }

    /// Takes a block that is likely to be free: it is the next one that is given, while it is still
    /// in the caches.
    pub(crate) fn put_first(&self, mut block: BytesMut) {
        block.clear();
        let mut line = self.line();
        if line.blocks.len() < BLOCKS_MAX {
            line.blocks.push_front(block);
        }
    }

    /// Once a tick: lets some blocks go that were not needed since the last one.
    pub(crate) fn shrink(&self) {
        let mut line = self.line();
        let needless = line.blocks.len().saturating_sub(mem::take(&mut line.asked));
        let kept = line.blocks.len() - needless.div_ceil(SHRINK_BY);
        let gone = line.blocks.split_off(kept);
        drop(line);
        // Given back to the allocator while nobody waits for the lock.
        drop(gone);
    }

    /// Blocks in line, in use or not.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.line().blocks.len()
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // A line is whole whatever panicked beside it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn take_free(&mut self) -> Option<BytesMut> {
        self.asked += 1;
        for _ in 0..LOOKS_MAX.min(self.blocks.len()) {
            let mut block = self.blocks.pop_front()?;
            if block.try_reclaim(BLOCK_OCTETS + FRONT_OCTETS) {
                return Some(block);
            }
            self.blocks.push_back(block);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block that was read full, and a slice of it that somebody holds.
    fn filled(spare: &Spare) -> (BytesMut, bytes::Bytes) {
        let mut block = spare.take();
        block.resize(BLOCK_OCTETS, b'x');
        let slice = block.split_to(BLOCK_OCTETS).freeze();
        (block, slice)
    }

    #[test]
    fn a_block_comes_back_when_its_last_slice_is_gone() {
        let spare = Spare::default();
        let (block, slice) = filled(&spare);
        let place = slice.as_ptr();
        spare.put(block);
        let other = spare.take();
        assert_ne!(other.as_ptr(), place, "it is in use");
        let rest = slice.slice(BLOCK_OCTETS - 1..);
        drop(slice);
        assert_ne!(spare.take().as_ptr(), place, "a part of it is in use");
        drop(rest);
        let block = spare.take();
        assert_eq!((block.as_ptr(), block.len()), (place, 0));
        assert!(block.capacity() >= BLOCK_OCTETS, "all of it is free");
    }

    #[test]
    fn slices_outlive_the_line() {
        let spare = Spare::default();
        let (block, slice) = filled(&spare);
        spare.put(block);
        drop(spare);
        assert!(slice.iter().all(|&octet| octet == b'x'));
    }

    #[test]
    fn the_line_is_bounded() {
        let spare = Spare::default();
        let held: Vec<_> = (0..BLOCKS_MAX + 2).map(|_| filled(&spare)).collect();
        let (blocks, slices): (Vec<_>, Vec<_>) = held.into_iter().unzip();
        for block in blocks {
            spare.put(block);
        }
        assert_eq!(spare.len(), BLOCKS_MAX);
        spare.put_first(BytesMut::new());
        assert_eq!(spare.len(), BLOCKS_MAX);
        drop(slices);
    }

    #[test]
    fn a_block_in_use_does_not_hide_those_behind_it() {
        let spare = Spare::default();
        let held: Vec<_> = (0..LOOKS_MAX).map(|_| filled(&spare)).collect();
        let (blocks, mut slices): (Vec<_>, Vec<_>) = held.into_iter().unzip();
        for block in blocks {
            spare.put(block);
        }
        let last = slices.pop().expect("there are some");
        let place = last.as_ptr();
        drop(last);
        assert_eq!(spare.take().as_ptr(), place);
        assert_eq!(spare.len(), LOOKS_MAX - 1, "the others stay in line");
    }

    #[test]
    fn what_nobody_needs_is_given_back_and_what_is_needed_stays() {
        let spare = Spare::default();
        let blocks: Vec<_> = (0..100).map(|_| spare.take()).collect();
        for block in blocks {
            spare.put(block);
        }
        spare.shrink();
        assert_eq!(spare.len(), 100, "all of them were asked for");
        for _ in 0..20 {
            spare.put(spare.take());
        }
        spare.shrink();
        assert_eq!(spare.len(), 90);
        let ticks = (1..1000).find(|_| {
            spare.shrink();
            spare.len() == 0
        });
        assert!(ticks.is_some_and(|ticks| ticks < 40), "within ten seconds: {ticks:?} ticks");
    }
}
