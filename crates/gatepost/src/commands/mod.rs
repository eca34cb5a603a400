//! The commands, one file each.
//!
//! A command gets its arguments read, prints its answer on standard output, and returns the exit
//! code or the error that ended it.

pub mod check;
pub mod denied;
pub mod doctor;
pub mod edit;
pub mod entry;
pub mod exchange;
pub mod explain;
pub mod hash_password;
pub mod history;
pub mod queue;
pub mod report;
mod running;
pub mod shadow;
mod table;
pub mod upstream;

use std::io::{self, Write};

/// Prints an answer. That a pipe was closed is an error like others, and no panic.
fn print(answer: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(answer.as_bytes())?;
    stdout.flush()
}
