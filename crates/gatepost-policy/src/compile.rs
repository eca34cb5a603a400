//! From the mirror to entries and routes: every key is judged here, alone.
//!
//! What entries do to each other is judged elsewhere (`listener`, `exposure`). A wrong key never
//! hides the next one: all that is wrong with an entry is reported, and then the entry is dropped.
//!
//! [`parts`] goes through the text; [`entry`], [`credential`], [`terms`], [`route`] and [`expect`] judge one table each;
//! [`values`] knows the forms that values have in all of them;
//! [`keepers`] finds out whose messages are kept, which takes entries and routes together.

mod credential;
mod entry;
mod expect;
mod keepers;
mod parts;
mod route;
mod shared;
mod terms;
mod values;

pub(crate) use self::{
    expect::warn_of_dates,
    keepers::find_keepers,
    parts::{PlacedEntry, PlacedExpectation, Tables, both, tables},
    route::refuse_unrouted,
};

#[cfg(test)]
mod tests;
