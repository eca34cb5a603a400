//! The gateway that a policy is for: what the policy names and does not define.

use std::{net::IpAddr, sync::Arc};

use crate::{listener::ListenerId, network::Network};

/// Names and defaults of the configuration. A ruleset is compiled for one site; names become
/// indexes into these lists.
#[derive(Clone, Debug)]
pub struct Site {
    /// Our own name, for refusals.
    pub hostname: Arc<str>,
    /// The listeners, which policy calls services.
    pub listeners: Vec<Arc<str>>,
    /// For each listener, in their order, where the proxies are that tell it who its clients are;
    /// none for the rest. What a proxy does for itself is nobody's mail.
    pub proxies: Vec<Box<[Network]>>,
    /// The upstreams.
    pub upstreams: Vec<Arc<str>>,
    /// The upstream of what neither entry nor route sends elsewhere. `None`: there is no default,
    /// and the policy must name one for all that it allows.
    pub default_upstream: Option<UpstreamId>,
    /// Octets of a message, where the entry does not say otherwise.
    pub max_message_size: u64,
    /// Recipients of a message, where the entry does not say otherwise.
    pub max_recipients: u32,
}

/// An upstream, by its place in [`Site::upstreams`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamId(usize);

impl UpstreamId {
    /// The upstream at `index`.
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The place in the list.
    pub const fn index(self) -> usize {
        self.0
    }
}

impl Site {
    /// The proxies in front of a listener.
    pub fn proxies(&self, listener: ListenerId) -> &[Network] {
        self.proxies.get(listener.index()).map_or(&[], |proxies| proxies)
    }

    /// Whether an address is that of a proxy in front of the listener, and so never a client's.
    pub fn is_proxy(&self, listener: ListenerId, address: IpAddr) -> bool {
        self.proxies(listener).iter().any(|proxy| proxy.contains(address))
    }

    /// The upstream with a name.
    pub fn upstream(&self, name: &str) -> Option<UpstreamId> {
        self.upstreams.iter().position(|known| **known == *name).map(UpstreamId)
    }

    /// The name of an upstream.
    pub fn upstream_name(&self, upstream: UpstreamId) -> Option<&Arc<str>> {
        self.upstreams.get(upstream.0)
    }
}
