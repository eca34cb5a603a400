//! The gateway that a policy is for: what the policy names and does not define.

use std::{net::IpAddr, sync::Arc};

use crate::{entry::Mode, listener::ListenerId, network::Network};

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
    /// For each listener, in their order, who is offered AUTH; nobody on the rest.
    pub auth: Vec<AuthOffer>,
    /// The upstreams.
    pub upstreams: Vec<Arc<str>>,
    /// The upstream of what neither entry nor route sends elsewhere. `None`: there is no default,
    /// and the policy must name one for all that it allows.
    pub default_upstream: Option<UpstreamId>,
    /// The mode of what neither entry nor route hands over in another.
    pub default_mode: Mode,
    /// Octets of a message, where the entry does not say otherwise.
    pub max_message_size: u64,
    /// Recipients of a message, where the entry does not say otherwise.
    pub max_recipients: u32,
}

/// Who is offered AUTH on a listener, once there is TLS (RFC 4954 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthOffer {
    /// Everybody: who is not on the allow-list is let in by a credential.
    Everybody,
    /// Nobody: the listener has no TLS, and passwords are not sent in plain text.
    #[default]
    Nobody,
    /// Clients whose entry requires it.
    Required,
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

    /// Who is offered AUTH on a listener.
    pub fn auth(&self, listener: ListenerId) -> AuthOffer {
        self.auth.get(listener.index()).copied().unwrap_or_default()
    }

    /// Listeners of services, and who is offered AUTH there; `None` is every listener.
    pub(crate) fn auth_at<'s>(
        &'s self,
        services: Option<&'s [Box<str>]>,
    ) -> impl Iterator<Item = (&'s str, AuthOffer)> {
        let listeners = self.listeners.iter().map(|name| &**name).enumerate();
        listeners
            .filter(move |(_, name)| services.is_none_or(|services| names(services, name)))
            .map(|(index, name)| (name, self.auth(ListenerId::new(index))))
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

/// Whether a list of services has a listener.
pub(crate) fn names(services: &[Box<str>], listener: &str) -> bool {
    services.iter().any(|service| **service == *listener)
}
