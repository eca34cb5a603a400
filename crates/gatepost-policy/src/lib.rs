//! Who may do what: pure decisions on an immutable ruleset.
//!
//! The way of a policy, from text to verdict:
//!
//! 1. [`document`] turns TOML text into a mirror, or says what is wrong with it, and where;
//! 2. [`ruleset`] compiles the mirror into entries and one lookup table per view of a listener;
//! 3. [`snapshot`] publishes the ruleset; readers never wait for it;
//! 4. [`check`] answers a connection and a reverse-path with a [`verdict`];
//! 5. [`explain`] calls the same checks, and tells each step; what the policy expects of itself is
//!    held against that before it is used ([`ruleset::Ruleset::prove`]);
//! 6. [`shadow`] asks them of a candidate, and counts who would be answered otherwise.
//!
//! What clients use up, and how much an entry is used at all, is counted in the [`state`] of its id.
//!
//! This crate does no I/O and knows no clock and no runtime: text, addresses and revisions are
//! parameters, decisions are results. What is unknown, malformed or ambiguous is refused.
#![forbid(unsafe_code)]

mod atomic;
pub mod check;
pub mod choice;
mod compile;
pub mod credential;
pub mod date;
pub mod document;
pub mod duplicate;
pub mod entry;
mod expectation;
pub mod explain;
mod exposure;
mod file;
pub mod gcra;
pub mod generation;
pub mod hosts;
mod ids;
pub mod listener;
pub mod network;
pub mod pattern;
pub mod printable;
mod proxies;
pub mod rate;
pub mod registers;
pub mod report;
pub mod route;
pub mod ruleset;
pub mod shadow;
pub mod site;
pub mod snapshot;
pub mod state;
mod table;
#[cfg(test)]
mod test_policy;
pub mod total;
pub mod units;
pub mod usage;
pub mod verdict;
