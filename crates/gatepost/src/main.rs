//! The gatepost program: read the command line, do it, end with the right code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use gatepost::{cli, errors};
use mimalloc::MiMalloc;

/// One that keeps what belongs together in one place: the C library's scatters a message among what a
/// policy with a million entries has left free, and the message pays for it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let exit = match cli::parse(std::env::args_os()) {
        Ok(arguments) => cli::dispatch(arguments).unwrap_or_else(|error| errors::report(&error)),
        Err(exit) => exit,
    };
    exit.into()
}
