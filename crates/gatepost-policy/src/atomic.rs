//! The atomics of the limiter and of what is counted: `tests/shuttle.rs` compiles their modules once
//! more, with atomics whose interleavings it can try.

pub(crate) use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};
