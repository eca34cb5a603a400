//! The queue runner (stub).
use bytes::Bytes;
use gatepost_spool::{LeaseGuard, Spool};
use std::time::Duration;

/// c
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// r
    pub retry: Vec<Duration>,
    /// e
    pub expire_after: Duration,
}
/// q
#[derive(Clone)]
pub struct Queue {
    config: QueueConfig,
    spool: Spool,
}
pub(crate) struct Room;
#[allow(dead_code)]
pub(crate) struct Fresh {
    pub(crate) message: gatepost_spool::Message,
    pub(crate) body: Bytes,
    pub(crate) lease: LeaseGuard,
    pub(crate) room: Room,
}
impl Queue {
    pub(crate) fn new(config: QueueConfig, spool: Spool) -> Self {
        Self { config, spool }
    }
    /// s
    pub fn spool(&self) -> &Spool {
        &self.spool
    }
    /// w
    pub fn wake(&self) {}
    /// f
    pub fn first_retry(&self) -> Duration {
        self.config.retry[0]
    }
    pub(crate) fn room(&self, _octets: u64) -> Option<Room> {
        None
    }
    pub(crate) fn offer(&self, _fresh: Fresh) {}
}
