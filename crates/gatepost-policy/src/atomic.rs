//! The atomics of the limiter: `tests/shuttle.rs` compiles its module once more, with atomics whose
//! interleavings it can try.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
