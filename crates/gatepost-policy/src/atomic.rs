//! The atomics of this crate, in one place: `tests/shuttle.rs` compiles the modules that use them
//! once more, with atomics whose every interleaving it can try.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
