//! How many instructions a row takes, counted by callgrind, and how many it may take.
//!
//! Unlike time, that number is the same on a machine that others use as well: it is what a change is
//! held against before it is merged. It does not know a cache miss, a branch that was guessed wrong or a
//! system call; those are seen by the benches that take time, and by the load test.
//!
//! - [`counter`] runs rows, inside callgrind and outside of it;
//! - [`callgrind`] starts it on the program that runs, and reads what it has counted;
//! - [`budgets`] holds that against what is checked in.

pub mod budgets;
pub mod callgrind;
pub mod counter;
