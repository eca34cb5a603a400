//! What the gateway does for commands, beside showing its policy.

use std::{future::Future, net::IpAddr, pin::Pin};

use gatepost_policy::shadow::ShadowReport;
use gatepost_registry::store::Edit;
use gatepost_spool::Spool;
use serde::{Deserialize, Serialize};

use super::views::{DeniedView, DoctorView, EditView, UpstreamView};

/// Something that takes a while.
pub type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The gateway behind a control socket. What is not [`Work`] must not block.
pub trait Host: Send + Sync + 'static {
    /// The upstreams as they are now.
    fn upstreams(&self) -> Vec<UpstreamView>;

    /// Clients that were refused with the greeting, the most frequent first, so many at most.
    fn denied(&self, limit: usize) -> Vec<DeniedView>;

    /// The one of them with an address, or in the same IPv6 /64.
    fn denied_client(&self, address: IpAddr) -> Option<DeniedView>;

    /// What only the process itself can say of its health. May read files.
    fn doctor(&self) -> DoctorView;

    /// What another policy would have done, if one is tried.
    fn shadow(&self) -> Option<ShadowReport>;

    /// Edits the policy and takes it into use, whole or not at all. The work is done even if nobody
    /// waits for its end.
    fn edit(&self, request: EditRequest) -> Work<Result<EditView, EditRefusal>>;

    /// Writes down what was counted for entries, so that it can be read from the disk.
    fn save_usage(&self) -> Work<Result<(), String>>;

    /// Where messages are kept, if they are.
    fn spool(&self) -> Option<Spool>;

    /// Something in the spool became due.
    fn wake_queue(&self, rests: Rests);
}

/// What becomes of the rests that upstreams are given when they do not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rests {
    /// Back-off begins anew, and breakers are reset: each upstream is tried at once.
    Forgotten,
    /// Whoever rests goes on resting.
    Kept,
}

/// An edit that is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditRequest {
    /// What is edited, by whom, and why.
    pub edit: Edit,
    /// Whether it is only looked at what would come of it.
    #[serde(default)]
    pub dry_run: bool,
}

/// Why nothing was edited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct EditRefusal {
    /// What kind of reason it is.
    pub cause: EditCause,
    /// The reason, and how it is mended; one line or several.
    pub error: String,
}

/// What kind of reason an edit was refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EditCause {
    /// Somebody else is writing.
    Busy,
    /// The policy is in a file.
    File,
    /// The store is not ours to write.
    Permission,
    /// The policy would not be right, or not do what it must.
    Policy,
    /// There was another edit before.
    Stale,
    /// The store cannot write.
    Store,
    /// What is to be edited is not there, or is there already.
    Wrong,
}
