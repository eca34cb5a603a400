//! `gatepost queue`: the messages that wait, and what an operator does with them.
//!
//! What is shown comes from the gateway that runs, or from its spool if none does. What is changed is
//! changed by the gateway that runs and by nobody else: it has the spool open, and knows what it is at
//! work on.

mod change;
mod export;
mod list;
mod place;
mod show;
mod shown;

use gatepost_admin::control::QueueQuery;

pub use self::{
    change::{hold, remove, retry},
    export::export,
    list::list,
    show::show,
};
use crate::cli::ChosenArguments;

/// What `--all` and its filters mean.
fn meant(chosen: &ChosenArguments, upstream: Option<&String>) -> QueueQuery {
    QueueQuery {
        standing: chosen.standing.clone(),
        upstream: upstream.cloned(),
        entry: chosen.entry.clone(),
        ..QueueQuery::default()
    }
}
