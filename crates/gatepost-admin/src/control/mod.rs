//! The control socket: how a command finds the gateway that runs, and what it can ask it.
//!
//! `control.sock` is in the gateway's `state_dir`, which nobody but its user can enter, and has mode
//! 0600: whoever may connect may know all that policy says, so nobody is asked for a password. It
//! speaks HTTP/1.1 with JSON, so `curl --unix-socket` is a client too:
//!
//! | path | answer |
//! |---|---|
//! | `/v1/status` | [`StatusView`] |
//! | `/v1/entries?after=…&limit=…` | a [`Page`] of [`EntryView`]s, in the order of the policy |
//! | `/v1/entries/{id}` | one [`EntryView`] |
//! | `/v1/upstreams` | `{"items": […]}`, of [`UpstreamView`]s |
//! | `/v1/denied?limit=…` | `{"items": […]}`, of [`DeniedView`]s, the most frequent first |
//! | `/v1/doctor` | a [`DoctorView`]: who comes by which address, and what the process may use |
//! | `/v1/shadow` | a report on the policy that is tried, 404 if none is |
//! | `/v1/queue?standing=…&upstream=…&entry=…&after=…&limit=…` | a [`QueueView`] |
//! | `/v1/queue/totals` | a [`TotalsView`] |
//! | `/v1/queue/{id}` | a [`MessageView`] |
//! | `/v1/queue/{id}/message` | the message itself, `message/rfc822` |
//! | POST `/v1/queue/retry`, `hold`, `remove`, a [`QueueChange`] | a [`ChangedView`] |
//! | POST `/v1/edits`, an [`EditRequest`] | an [`EditView`], when it is in use |
//! | POST `/v1/usage` | `{}`, when what was counted is on the disk |
//!
//! A page names what `after` is for the next one. A listing is of one ruleset: when the policy has
//! changed in between, the answer is 409. Everything that is refused is `{"error": "…"}`. A key may
//! be added to an answer under `/v1`; one that has a meaning never gets another.
//!
//! [`bind`] and [`serve`] are the gateway's side, [`Client`] is the other. Nothing here decides
//! about mail: questions are answered from a snapshot of the policy and from the spool, which is asked
//! to change what commands want changed, and the rest is the [`Host`]'s.

mod client;
mod error;
mod host;
mod listing;
mod queue;
mod server;
mod socket;
mod views;

pub use client::{Client, Listing};
pub use error::ControlError;
pub use host::{EditCause, EditRefusal, EditRequest, Host, Rests, Work};
pub use queue::{
    ChangedView, Chosen, CountView, Eml, MessageView, QueueCause, QueueChange, QueueQuery,
    QueueRefusal, QueueView, RecipientView, SummaryView, TallyView, TotalsView, UnchangedView,
};
pub use server::{Control, serve};
pub use socket::{ControlSocket, bind, socket_path};
pub use views::{
    AddressView, BreakerView, ClientsView, DeniedView, DescriptorsView, DoctorView, EditView,
    EntryLive, EntryView, Page, StatusView, UpstreamLive, UpstreamView,
};
