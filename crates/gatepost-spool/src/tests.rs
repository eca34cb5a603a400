//! The spool on a disk that fails, and on a real one that is full, damaged or tampered with.

mod cost;
mod faults;
mod flow;
mod world;
