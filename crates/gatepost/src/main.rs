//! The gatepost program: read the command line, do it, end with the right code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use gatepost::{cli, errors};

fn main() -> ExitCode {
    let exit = match cli::parse(std::env::args_os()) {
        Ok(arguments) => cli::dispatch(arguments).unwrap_or_else(|error| errors::report(&error)),
        Err(exit) => exit,
    };
    exit.into()
}
