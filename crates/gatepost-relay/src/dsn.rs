//! Notifications (stub).
use crate::id::Ids;
use gatepost_spool::{
    After, Envelope, Notice, QueueId, Recipient, Spool, SpoolError, StoredMessage,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
/// b
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounces {
    /// d
    Dsn,
    /// k
    Keep,
}
/// c
#[derive(Clone, Debug)]
pub struct BounceConfig {
    /// b
    pub bounces: Bounces,
    /// u
    pub upstream: Option<Arc<str>>,
}
#[allow(dead_code)]
pub(crate) enum Fate {
    Delivered { upstream_tells: bool },
    Failed,
    Expired,
}
pub(crate) struct Bouncer;
impl Bouncer {
    pub(crate) fn new(_: BounceConfig, _: Arc<str>, _: Duration, _: Arc<Ids>) -> Self {
        Self
    }
    pub(crate) fn after(&self, _: &Envelope, _: &Recipient, fate: Fate) -> After {
        match fate {
            Fate::Delivered { .. } => After::Forget,
            _ => After::Keep,
        }
    }
    pub(crate) async fn notify(
        &self,
        _: &Spool,
        _: &StoredMessage,
        _: Notice,
        _: SystemTime,
    ) -> Result<Option<QueueId>, SpoolError> {
        Ok(None)
    }
}
