//! What is shown, with a running gateway and without one: plain data, made from the policy.
//!
//! Keys are those of the policy file (contract §2), and what is not set has no key, so that an entry
//! reads like the file it came from. Where silence means a default of the gateway, the default is
//! shown: it is what holds. A reader ignores keys that it does not know.

use std::net::IpAddr;

use gatepost_policy::{
    entry::{Action, Entry, MissingHeaders, Terms},
    pattern::Pattern,
    site::Site,
    units::ByteSize,
};
use serde::{Deserialize, Serialize};

/// An entry, as it holds.
///
/// A deny entry has networks and services only: nothing else on it means anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryView {
    /// The unique name.
    pub id: String,
    /// Where its clients are.
    pub networks: Vec<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whom to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// `allow` or `deny`.
    pub action: String,
    /// The listeners it exists for; none is every listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
    /// The reverse-paths its clients may use. Empty: they may connect, and send nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub senders: Option<Vec<String>>,
    /// Forward-paths that may be named; none is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipients: Option<Vec<String>>,
    /// Names that may be given in EHLO or HELO; none is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helo: Option<Vec<String>>,
    /// `off` or `allowed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_from: Option<String>,
    /// `optional`, `required` or `required-1.3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// A name that the client's certificate must have; none asks for no certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<Vec<String>>,
    /// `bypass`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<String>,
    /// Where its messages go, before any route is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// How they are handed over, before any route is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Size of a message, like `25 MiB`: the entry's own limit, or the gateway's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_message_size: Option<String>,
    /// Recipients of a message: the entry's own limit, or the gateway's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_recipients: Option<u32>,
    /// Connections at once; none is as many as the listener takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Messages, like `600/min`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_rate: Option<String>,
    /// Recipients, like `5000/h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient_rate: Option<String>,
    /// The same message again and again, like `10/min`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_rate: Option<String>,
    /// `reject` or `normalize`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bare_newlines: Option<String>,
    /// Of `message-id` and `date`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_missing_headers: Option<Vec<String>>,
    /// Before it nobody is let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// After it, what `expiry` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// `reject`, `defer` or `warn`, if it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiry: Option<String>,
    /// Why a wide or public network is right here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledge: Option<String>,
    /// What only a running gateway knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<EntryLive>,
}

/// What a running gateway knows of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryLive {
    /// Connections that its clients have open.
    pub connections: u32,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamView {
    /// Its name in configuration and policy.
    pub name: String,
    /// What is known of its provider.
    pub profile: String,
    /// Hosts and ports, in the order in which they are tried.
    pub hosts: Vec<String>,
    /// Whether messages go there that neither entry nor route sends elsewhere.
    pub default: bool,
    /// Connections at once.
    pub max_connections: usize,
    /// What only a running gateway knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<UpstreamLive>,
}

/// What a running gateway knows of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamLive {
    /// Connections that a transaction has.
    pub busy: usize,
    /// Connections that wait for one.
    pub idle: usize,
    /// Transactions that wait for a connection.
    pub waiting: usize,
    /// Connections that may be busy at once: less than is configured while the upstream throttles.
    pub limit: usize,
    /// Whether anything is sent there at all.
    pub breaker: BreakerView,
    /// While the breaker is open: in how many seconds the next attempt may be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_s: Option<u64>,
}

/// Whether anything is sent to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerView {
    /// Everything is.
    Closed,
    /// One transaction is, to find out.
    HalfOpen,
    /// Nothing is, for a while.
    Open,
}

/// A client that was refused with the greeting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedView {
    /// What is counted as one: an IPv4 address, or the /64 of an IPv6 one.
    pub network: String,
    /// The address of it that came last.
    pub address: IpAddr,
    /// How often, at most.
    pub count: u64,
    /// By how much that may be too many: more addresses came than are remembered.
    pub error: u64,
    /// Since when it is remembered, in RFC 3339.
    pub first_seen: String,
    /// The last time.
    pub last_seen: String,
    /// The listeners that it came to.
    pub listeners: Vec<String>,
    /// The name it gave last, if it gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helo: Option<String>,
    /// Domains of senders it named.
    pub sender_domains: Vec<String>,
    /// The check that refused it last.
    pub reason: String,
    /// The entry that did, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
}

/// What a running process says of its own health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorView {
    /// The number of its user, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// How many files it may have open, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptors: Option<DescriptorsView>,
    /// Who has come to its listeners, in the order of the configuration.
    pub listeners: Vec<ClientsView>,
}

/// Limits of open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorsView {
    /// The one that holds.
    pub soft: u64,
    /// The one that it can be raised to.
    pub hard: u64,
}

/// The clients of a listener, by what they call themselves, of the last half an hour to an hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientsView {
    /// The listener.
    pub listener: String,
    /// What is done about addresses that stand for many: `off`, `warn` or `refuse`.
    pub hidden_clients: String,
    /// How many were told apart, by address and name.
    pub clients: usize,
    /// Whether there were more, so that these are a sample.
    pub sample: bool,
    /// The addresses with most of them, the one with most first.
    pub addresses: Vec<AddressView>,
}

/// Who comes from an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressView {
    /// The address.
    pub address: IpAddr,
    /// Distinct names in EHLO.
    pub names: usize,
    /// Distinct senders of sessions with different names.
    pub senders: usize,
    /// Whether it stands for many clients.
    pub hides_many: bool,
}

/// What has come of an edit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditView {
    /// The revision that holds now; of an edit that is only tried, the one that it would have made.
    pub revision: u64,
    /// The policy that is in use, if a gateway runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// How many items were added.
    pub added: usize,
    /// How many were changed.
    pub changed: usize,
    /// How many were removed.
    pub removed: usize,
    /// What was done to the first hundred items, like `added entry billing`.
    pub items: Vec<String>,
    /// What the author should know.
    pub warnings: Vec<String>,
}

/// The gateway that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// The version of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Which policy it has.
    pub generation: String,
    /// How many enabled entries that policy has.
    pub entries: usize,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The policy that is listed: the same on all pages.
    pub generation: String,
    /// The items of this page.
    pub items: Vec<T>,
    /// What to ask the next page with. None: this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl EditView {
    /// Whether it has changed nothing.
    pub const fn is_nothing(&self) -> bool {
        self.added == 0 && self.changed == 0 && self.removed == 0
    }
}

impl EntryView {
    /// What an entry says, for the gateway that it was compiled for.
    pub fn new(entry: &Entry, site: &Site) -> Self {
        let view = Self {
            id: entry.id().to_string(),
            networks: shown(entry.networks()),
            description: entry.description().map(str::to_owned),
            owner: entry.owner().map(str::to_owned),
            action: entry.action().name().to_owned(),
            services: entry.services().map(shown),
            acknowledge: entry.acknowledge().map(str::to_owned),
            ..Self::default()
        };
        match entry.action() {
            Action::Allow => Self {
                senders: Some(shown(entry.senders())),
                ..view.with_terms(entry.terms(), site)
            },
            Action::Deny => view,
        }
    }

    /// Adds what is counted in the entry.
    #[must_use]
    pub fn with_live(self, entry: &Entry) -> Self {
        Self { live: Some(EntryLive { connections: entry.state().connections() }), ..self }
    }

    fn with_terms(self, terms: &Terms, site: &Site) -> Self {
        let patterns = |list: &Option<_>| list.as_deref().map(shown::<Pattern>);
        let upstream = terms.upstream.and_then(|upstream| site.upstream_name(upstream));
        Self {
            recipients: patterns(&terms.recipients),
            helo: patterns(&terms.helo),
            header_from: Some(terms.header_from.name().to_owned()),
            tls: Some(terms.tls.name().to_owned()),
            client_certificate: patterns(&terms.client_certificate),
            // The compiler takes no other yet, so an entry does not remember it.
            authentication: Some("bypass".to_owned()),
            upstream: upstream.map(ToString::to_string),
            mode: terms.mode.map(|mode| mode.name().to_owned()),
            max_message_size: Some(ByteSize::new(terms.max_message_size).to_string()),
            max_recipients: Some(terms.max_recipients),
            max_connections: terms.max_connections,
            message_rate: terms.message_rate.map(|rate| rate.to_string()),
            recipient_rate: terms.recipient_rate.map(|rate| rate.to_string()),
            duplicate_rate: terms.duplicate_rate.map(|rate| rate.to_string()),
            bare_newlines: Some(terms.bare_newlines.name().to_owned()),
            add_missing_headers: Some(header_names(terms.add_missing_headers)),
            not_before: terms.not_before.as_ref().map(ToString::to_string),
            expires: terms.expires.as_ref().map(ToString::to_string),
            expiry: terms.expires.as_ref().map(|_| terms.expiry.name().to_owned()),
            ..self
        }
    }
}

fn shown<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn header_names(headers: MissingHeaders) -> Vec<String> {
    let names = [(headers.message_id, "message-id"), (headers.date, "date")];
    names.into_iter().filter(|(added, _)| *added).map(|(_, name)| name.to_owned()).collect()
}
