//! The parts of the pool alone. Those of the turnstile are here and not in its files, because
//! `tests/shuttle.rs` compiles these too.

mod breaker;
mod connections;
mod governor;
mod line;
mod sharing;
