//! The lock of the turnstile: `tests/shuttle.rs` compiles its modules once more, with a lock whose
//! interleavings it can try.

pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};
