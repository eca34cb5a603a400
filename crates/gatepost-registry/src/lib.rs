//! The editable allow-list: a policy that is kept in a store instead of a file.
//!
//! A policy is a list of [`item`]s, each the TOML text of one table. The [`store`] keeps them in
//! SQLite, with a revision for every edit: who made it, when, why, and what was there before.
//! [`exchange`] reads and writes the lists of other programs. [`usage`] keeps how much each entry is
//! used, and reports what the list could do without.
//!
//! Whether a policy is right is decided by gatepost-policy and nowhere else: the store puts items
//! together to the text of a policy, and asks its caller to judge that text before it commits.
#![forbid(unsafe_code)]

pub mod exchange;
pub mod item;
pub mod store;
pub mod usage;
