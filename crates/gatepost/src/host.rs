//! What the gateway lends to its control socket.

use std::{net::IpAddr, os::unix::fs::MetadataExt, sync::Arc};

use gatepost_admin::control::{
    AddressView, BreakerView, ClientsView, DeniedView, DescriptorsView, DoctorView, EditRefusal,
    EditRequest, EditView, Host, Rests, UpstreamLive, UpstreamView, Work,
};
use gatepost_delivery::{BreakerStatus, PoolStatus, Upstream, UpstreamConfig};
use gatepost_inbound::{AddressClients, Denied, DeniedClient, Listener, OnHiddenClients, Survey};
use gatepost_policy::{shadow::ShadowReport, site::UpstreamId};
use gatepost_relay::Queue;
use gatepost_spool::Spool;
use jiff::Timestamp;

use crate::{
    policy::{Live, Shadow, UsageKeeper},
    self_test::SelfTest,
};

/// Addresses of a listener that are shown, beside those that are found out.
const ADDRESSES_SHOWN_MAX: usize = 10;

/// The parts that commands ask for.
pub struct Lent {
    pub(crate) policy: Arc<Live>,
    pub(crate) shadow: Arc<Shadow>,
    pub(crate) usage: Option<Arc<UsageKeeper>>,
    pub(crate) upstreams: Arc<[Arc<Upstream>]>,
    pub(crate) denied: Arc<Denied>,
    pub(crate) self_test: Arc<SelfTest>,
    /// None if no message is kept.
    pub(crate) queue: Option<Queue>,
}

impl Host for Lent {
    fn upstreams(&self) -> Vec<UpstreamView> {
        let default = self.policy.snapshot().load().site().default_upstream;
        let view = |(index, upstream): (usize, &Arc<Upstream>)| {
            let is_default = default == Some(UpstreamId::new(index));
            let view = upstream_view(upstream.config(), is_default);
            UpstreamView { live: Some(upstream_live(upstream.status())), ..view }
        };
        self.upstreams.iter().enumerate().map(view).collect()
    }

    fn denied(&self, limit: usize) -> Vec<DeniedView> {
        self.denied.clients(limit).into_iter().map(denied_view).collect()
    }

    fn denied_client(&self, address: IpAddr) -> Option<DeniedView> {
        self.denied.client(address).map(denied_view)
    }

    fn doctor(&self) -> DoctorView {
        let limits = rlimit::Resource::NOFILE.get().ok();
        let looked = self.self_test.look();
        DoctorView {
            uid: process_user(),
            descriptors: limits.map(|(soft, hard)| DescriptorsView { soft, hard }),
            listeners: looked.iter().map(|(listener, it)| clients_view(listener, it)).collect(),
        }
    }

    fn shadow(&self) -> Option<ShadowReport> {
        self.shadow.report()
    }

    fn edit(&self, request: EditRequest) -> Work<Result<EditView, EditRefusal>> {
        Box::pin(self.policy.clone().edit(request))
    }

    fn save_usage(&self) -> Work<Result<(), String>> {
        let usage = self.usage.clone();
        Box::pin(async {
            let usage = usage.ok_or("this gateway does not keep what it counts; see its log")?;
            usage.save().await.map_err(|error| error.to_string())
        })
    }

    fn spool(&self) -> Option<Spool> {
        self.queue.as_ref().map(|queue| queue.spool().clone())
    }

    fn wake_queue(&self, rests: Rests) {
        let Some(queue) = &self.queue else { return };
        if rests == Rests::Forgotten {
            queue.forget_rests();
        }
        queue.wake();
    }
}

/// What is shown of an upstream without asking it.
pub fn upstream_view(config: &UpstreamConfig, is_default: bool) -> UpstreamView {
    UpstreamView {
        name: config.name.to_string(),
        profile: config.profile.name.to_string(),
        hosts: config.hosts.iter().map(ToString::to_string).collect(),
        default: is_default,
        max_connections: config.max_connections,
        live: None,
    }
}

fn upstream_live(status: PoolStatus) -> UpstreamLive {
    let PoolStatus { busy, idle, waiting, limit, breaker } = status;
    let (breaker, next_attempt_s) = match breaker {
        BreakerStatus::Closed => (BreakerView::Closed, None),
        BreakerStatus::HalfOpen => (BreakerView::HalfOpen, None),
        BreakerStatus::Open(next) => (BreakerView::Open, Some(next.as_secs())),
    };
    UpstreamLive { busy, idle, waiting, limit, breaker, next_attempt_s }
}

/// The number of the user that this process runs as; /proc names it without a system call of our own.
pub(crate) fn process_user() -> Option<u32> {
    std::fs::metadata("/proc/self").ok().map(|process| process.uid())
}

fn clients_view(listener: &Listener, survey: &Survey) -> ClientsView {
    let address_view = |it: &AddressClients| AddressView {
        address: it.address,
        names: it.names,
        senders: it.senders,
        hides_many: it.hides_many,
    };
    let is_shown =
        |(index, it): &(usize, &AddressClients)| *index < ADDRESSES_SHOWN_MAX || it.hides_many;
    let addresses = survey.addresses.iter().enumerate().filter(is_shown).map(|(_, it)| it);
    ClientsView {
        listener: listener.name().to_string(),
        hidden_clients: match listener.hidden_clients().mode() {
            OnHiddenClients::Off => "off",
            OnHiddenClients::Warn => "warn",
            OnHiddenClients::Refuse => "refuse",
        }
        .to_owned(),
        clients: survey.clients,
        sample: survey.is_sample(),
        addresses: addresses.map(address_view).collect(),
    }
}

fn denied_view(client: DeniedClient) -> DeniedView {
    let texts = |list: Vec<Box<str>>| list.into_iter().map(String::from).collect();
    DeniedView {
        network: client.network.to_string(),
        address: client.address,
        count: client.count,
        error: client.error,
        first_seen: date(client.first_seen),
        last_seen: date(client.last_seen),
        listeners: texts(client.listeners),
        helo: client.helo.map(String::from),
        sender_domains: texts(client.sender_domains),
        reason: client.check.name().to_owned(),
        entry: client.entry.map(String::from),
    }
}

/// Seconds since 1970, in RFC 3339.
pub(crate) fn date(unix_seconds: i64) -> String {
    Timestamp::from_second(unix_seconds).unwrap_or_default().to_string()
}
