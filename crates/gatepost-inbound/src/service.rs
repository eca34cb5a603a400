//! What all sessions share.

use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use gatepost_policy::date::Moment;
use gatepost_policy::snapshot::Snapshot;
use gatepost_relay::Relay;
use gatepost_smtp::extension::{Offer, ehlo_reply};
use gatepost_smtp::reply::Reply;
use gatepost_stream::Clock;
use metrics::Gauge;
use tokio::time::Instant;

use crate::admission::Seats;
use crate::auth::Authenticator;
use crate::config::SessionConfig;
use crate::denied::Denied;
use crate::drain::Drain;
use crate::rejections::Rejections;
use crate::shadow::ShadowTap;
use crate::tls::Gate;

/// The handles that a session works with. It has no others: everything is passed in from here.
pub struct Service {
    pub(crate) config: SessionConfig,
    pub(crate) policy: Arc<Snapshot>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) clock: Clock,
    pub(crate) drain: Arc<Drain>,
    pub(crate) rejections: Rejections,
    /// Under which messages have fingerprints: of this process, so that nobody can choose one.
    pub(crate) fingerprint_key: RandomState,
    /// Where envelopes go that a candidate policy may be asked about.
    pub(crate) shadow: Option<ShadowTap>,
    pub(crate) denied: Arc<Denied>,
    /// Connections of all listeners.
    pub(crate) seats: Arc<Seats>,
    /// Handshakes of all listeners.
    pub(crate) handshakes: Gate,
    /// Passwords of all listeners.
    pub(crate) authenticator: Authenticator,
    /// The moment from which policy counts the time of rates.
    started: Instant,
    /// Worded once: every session says them.
    pub(crate) greeting: Reply,
    pub(crate) ehlo: Reply,
    pub(crate) ehlo_starttls: Reply,
    pub(crate) ehlo_auth: Reply,
    pub(crate) helo: Reply,
}

impl Service {
    /// A service that asks `policy`, hands over to `relay` and ends with `drain`.
    pub fn new(
        config: SessionConfig,
        policy: Arc<Snapshot>,
        relay: Arc<Relay>,
        clock: Clock,
        drain: Arc<Drain>,
    ) -> Self {
        let (hostname, size_octets_max) = (&*config.hostname, config.max_message_size);
        let usual = Offer { size_octets_max, ..Offer::default() };
        Self {
            seats: Seats::new(config.max_connections, Gauge::noop()),
            handshakes: Gate::new(),
            authenticator: Authenticator::new(),
            started: Instant::now(),
            greeting: Reply::plain(220, format!("{hostname} ESMTP Gatepost")),
            ehlo: ehlo_reply(hostname, usual),
            ehlo_starttls: ehlo_reply(hostname, Offer { starttls: true, ..usual }),
            ehlo_auth: ehlo_reply(hostname, Offer { auth: true, ..usual }),
            helo: Reply::plain(250, hostname.to_owned()),
            config,
            policy,
            relay,
            clock,
            drain,
            rejections: Rejections::default(),
            fingerprint_key: RandomState::new(),
            denied: Denied::new(),
            shadow: None,
        }
    }

    /// The same service, with a tap for a candidate policy.
    #[must_use]
    pub fn with_shadow(self, tap: ShadowTap) -> Self {
        Self { shadow: Some(tap), ..self }
    }

    /// Clients that were not let in.
    pub const fn denied(&self) -> &Arc<Denied> {
        &self.denied
    }

    /// A moment as policy knows it.
    pub(crate) fn moment(&self, now: Instant, today: jiff::Timestamp) -> Moment {
        Moment { unix_seconds: today.as_second(), uptime: now.duration_since(self.started) }
    }

    /// For rates, which know no date.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}
