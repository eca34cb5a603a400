//! Connections that wait for a transaction, and why they are not kept for ever.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gatepost_smtp::client;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::metrics::Discard;
use crate::upstream::UpstreamConfig;

/// The one used last is at the end, and taken first: those which are not needed grow old.
#[derive(Debug, Default)]
pub(super) struct IdleConnections(Mutex<Vec<Idle>>);

#[derive(Debug)]
pub(super) struct Idle {
    /// Boxed once, when it was opened: it moves in and out with every message.
    pub(super) connection: Box<Connection>,
    pub(super) ready: client::Ready,
    since: Instant,
}

impl IdleConnections {
    pub(super) fn len(&self) -> usize {
        self.list().len()
    }

    pub(super) fn pop(&self) -> Option<Idle> {
        self.list().pop()
    }

    pub(super) fn push(&self, idle: Idle) {
        self.list().push(idle);
    }

    /// Takes out what is not to be kept any longer, each with the reason.
    pub(super) fn take_unfit(&self, config: &UpstreamConfig) -> Vec<(Connection, Discard)> {
        let now = Instant::now();
        let mut unfit = Vec::new();
        let mut list = self.list();
        for mut idle in std::mem::take(&mut *list) {
            match idle.unfit(config, now) {
                Some(reason) => unfit.push((*idle.connection, reason)),
                None => list.push(idle),
            }
        }
        unfit
    }

    /// Takes out what has been idle for longest, until so many are left.
    pub(super) fn take_surplus(&self, left: usize) -> Vec<Connection> {
        let mut list = self.list();
        let surplus = list.len().saturating_sub(left);
        list.drain(..surplus).map(|idle| *idle.connection).collect()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Idle>> {
        // A panic cannot leave a half-done push or pop behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    pub(super) const fn new(
        connection: Box<Connection>,
        ready: client::Ready,
        since: Instant,
    ) -> Self {
        Self { connection, ready, since }
    }

    /// Why the connection must not be used again, if there is a reason.
    pub(super) fn unfit(&mut self, config: &UpstreamConfig, now: Instant) -> Option<Discard> {
        if !self.connection.key.is_current(config) {
            Some(Discard::Changed)
        } else if now.saturating_duration_since(self.since) >= config.idle_timeout {
            Some(Discard::IdleTimeout)
        } else {
            self.connection.worn_out(config, &self.ready, now)
        }
    }
}

impl Connection {
    /// Why a connection must not be used again, however busy it is.
    pub(super) fn worn_out(
        &mut self,
        config: &UpstreamConfig,
        ready: &client::Ready,
        now: Instant,
    ) -> Option<Discard> {
        let most = [config.max_messages_per_connection, ready.capabilities().limits.transactions];
        if !self.stream.is_quiet() {
            Some(Discard::Upstream)
        } else if most.into_iter().flatten().any(|most| self.messages >= most) {
            Some(Discard::MaxMessages)
        } else if now.saturating_duration_since(self.opened) >= config.max_age {
            Some(Discard::MaxAge)
        } else {
            None
        }
    }
}
