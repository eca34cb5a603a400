//! What all sessions share.

use std::borrow::Cow;
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
    pub(crate) helo: Reply,
    /// By what is offered beside the usual: see [`Service::ehlo`].
    ehlo: [Reply; 8],
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
        let ehlo = std::array::from_fn(|bits| {
            let (starttls, auth, dsn) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
            let offer = Offer { size_octets_max, starttls, auth, dsn, recipients_max: None };
            ehlo_reply(hostname, offer)
        });
        Self {
            seats: Seats::new(config.max_connections, Gauge::noop()),
            handshakes: Gate::new(),
            authenticator: Authenticator::new(),
            started: Instant::now(),
            greeting: Reply::plain(220, format!("{hostname} ESMTP Gatepost")),
            ehlo,
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

    /// The answer to EHLO: worded already, unless the entry or the credential has limits of its own.
    pub(crate) fn ehlo(&self, offer: Offer) -> Cow<'_, Reply> {
        let is_usual = offer.size_octets_max == self.config.max_message_size;
        if !is_usual || offer.recipients_max.is_some() {
            return Cow::Owned(ehlo_reply(&self.config.hostname, offer));
        }
        let bits = [offer.starttls, offer.auth, offer.dsn].map(usize::from);
        Cow::Borrowed(&self.ehlo[bits[0] | bits[1] << 1 | bits[2] << 2])
    }

    /// What a prober of a load balancer is told: nothing that depends on who it is.
    pub(crate) const fn ehlo_to_prober(&self) -> &Reply {
        &self.ehlo[0]
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
