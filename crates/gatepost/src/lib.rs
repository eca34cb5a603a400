//! The program: configuration → parts → run → drain, and the commands around it.
//!
//! It is the only crate that knows all the others, and the only one that reads files, variables and
//! signals of its process. [`cli`] reads the command line, [`config`] and [`policy`] read the files,
//! [`gateway`] is a gateway that runs, [`run`] drives one by signals.
#![forbid(unsafe_code)]

pub mod certificates;
pub mod cli;
pub mod commands;
pub mod config;
pub mod demo;
pub mod errors;
pub mod exit;
pub mod gateway;
pub mod host;
pub mod load;
pub mod offers;
pub mod policy;
pub mod rates;
pub mod run;
pub mod self_test;
pub mod spool;
pub mod state_dir;
pub mod surroundings;
pub mod upstream_keys;
mod watch;
