//! The runner with a real spool and an upstream that does as it is told.

mod drain;
mod fates;
mod outage;
mod world;
