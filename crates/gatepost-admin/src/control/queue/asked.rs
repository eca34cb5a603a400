//! What can be asked of the queue: which messages are meant, and what is to become of them.

use gatepost_spool::{Filter, QueueId, SpoolError, Standing};
use serde::{Deserialize, Serialize};

/// Which messages are meant. What is not said, does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueQuery {
    /// Where they stand, like `held`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<String>,
    /// Name of their upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Id of their entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// Only those behind this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Messages of a page; one with fewer is no sign of the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Messages to be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chosen {
    /// A page of those that are meant.
    All(QueueQuery),
    /// These.
    Ids(Vec<String>),
}

/// A change that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueChange {
    /// Which messages.
    pub messages: Chosen,
    /// For `retry`: the upstream they go to from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
}

/// What has come of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedView {
    /// Messages that were changed.
    pub changed: u64,
    /// Those that were asked for, and were not.
    pub unchanged: Vec<UnchangedView>,
    /// Behind which one it goes on, if that was a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A message that was left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnchangedView {
    /// Which.
    pub id: String,
    /// Where it stands; none if it is not in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<String>,
}

/// Why nothing was answered or done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct QueueRefusal {
    /// What kind of reason it is.
    pub cause: QueueCause,
    /// The reason, and how it is mended.
    pub error: String,
}

/// What kind of reason there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueCause {
    /// The spool cannot be read or written.
    Spool,
    /// What was asked for makes no sense.
    Wrong,
}

impl QueueQuery {
    /// The same for the spool.
    pub fn filter(&self) -> Result<Filter, QueueRefusal> {
        let standing = self.standing.as_deref().map(standing).transpose()?;
        let name = |name: &Option<String>| name.as_deref().map(Into::into);
        Ok(Filter { standing, upstream: name(&self.upstream), entry: name(&self.entry) })
    }

    /// Behind which message the page begins.
    pub fn place(&self) -> Result<Option<QueueId>, QueueRefusal> {
        self.after.as_deref().map(queue_id).transpose()
    }
}

impl QueueRefusal {
    /// What was asked for makes no sense.
    pub(super) fn wrong(error: impl Into<String>) -> Self {
        Self { cause: QueueCause::Wrong, error: error.into() }
    }
}

impl From<SpoolError> for QueueRefusal {
    fn from(error: SpoolError) -> Self {
        Self { cause: QueueCause::Spool, error: error.to_string() }
    }
}

/// Reads the id of a message.
pub(super) fn queue_id(text: &str) -> Result<QueueId, QueueRefusal> {
    text.parse().map_err(|error| QueueRefusal::wrong(format!("{text:?}: {error}")))
}

fn standing(name: &str) -> Result<Standing, QueueRefusal> {
    let found = Standing::ALL.into_iter().find(|standing| standing.name() == name);
    found.ok_or_else(|| {
        let known = Standing::ALL.map(Standing::name).join(", ");
        QueueRefusal::wrong(format!("no message stands {name:?}; known are {known}"))
    })
}
