//! The configuration file as it is written: a mirror of contract §1 and nothing else.
//!
//! Every key of the contract is here. Those whose step has not come are [`NotBuilt`] and refused by
//! name; the step that builds one gives it a type. Nothing is required, nothing has a default and
//! nothing is judged here: the resolver does that, because it can say how to mend it.

use gatepost_policy::document::NotBuilt;
use serde::Deserialize;
use toml::Spanned;

/// A key with text in it, and where the text is.
pub(crate) type Text = Option<Spanned<String>>;
/// A key with a number in it, and where the number is.
pub(crate) type Number = Option<Spanned<u32>>;
/// A list of certificates, and where each is.
pub(crate) type SniFiles = Option<Spanned<Vec<Spanned<SniFile>>>>;
/// A key with a list of texts in it, and where each is.
pub(crate) type Texts = Option<Spanned<Vec<Spanned<String>>>>;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "keys that are not built have no value to read")]
pub(crate) struct ConfigFile {
    pub(crate) hostname: Text,
    pub(crate) state_dir: Text,
    #[serde(default)]
    pub(crate) listener: Vec<Spanned<ListenerFile>>,
    #[serde(default)]
    pub(crate) upstream: Vec<Spanned<UpstreamFile>>,
    #[serde(default)]
    pub(crate) policy: PolicyFile,
    #[serde(default)]
    pub(crate) delivery: DeliveryFile,
    #[serde(default)]
    pub(crate) limits: LimitsFile,
    #[serde(default)]
    pub(crate) timeouts: TimeoutsFile,
    #[serde(default)]
    pub(crate) log: LogFile,
    pub(crate) metrics: Option<Spanned<MetricsFile>>,
    admin: Option<NotBuilt>,
}

/// One `[[listener]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerFile {
    pub(crate) name: Text,
    pub(crate) bind: Texts,
    pub(crate) tls: Text,
    pub(crate) certificate: Text,
    pub(crate) private_key: Text,
    pub(crate) sni: SniFiles,
    pub(crate) client_ca: Text,
    pub(crate) proxy_protocol: Text,
    pub(crate) trusted_proxies: Texts,
    pub(crate) hidden_clients: Text,
    pub(crate) unknown_clients: Text,
    pub(crate) max_connections: Number,
    pub(crate) max_connections_per_address: Number,
}

/// One of `sni` of a listener.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SniFile {
    pub(crate) certificate: Text,
    pub(crate) private_key: Text,
}

/// One `[[upstream]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamFile {
    pub(crate) name: Text,
    pub(crate) profile: Text,
    pub(crate) hosts: Texts,
    pub(crate) ip: Text,
    pub(crate) tls: Text,
    pub(crate) ca_file: Text,
    pub(crate) server_name: Text,
    pub(crate) client_certificate: Text,
    pub(crate) client_key: Text,
    pub(crate) auth: Option<Spanned<AuthFile>>,
    pub(crate) ehlo_name: Text,
    pub(crate) source_address: Text,
    pub(crate) max_connections: Number,
    pub(crate) max_messages_per_connection: Number,
    pub(crate) idle_timeout: Text,
    pub(crate) max_age: Text,
    pub(crate) max_recipients: Number,
    pub(crate) recipient_rate: Texts,
    pub(crate) connect_timeout: Text,
    pub(crate) client_stall: Text,
    pub(crate) canary: Option<Spanned<CanaryFile>>,
}

/// `canary` of an upstream.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CanaryFile {
    pub(crate) from: Text,
    pub(crate) to: Text,
    pub(crate) every: Text,
}

/// `auth` of an upstream.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthFile {
    pub(crate) mechanism: Text,
    pub(crate) username: Text,
    pub(crate) password_file: Text,
    pub(crate) token_endpoint: Text,
    pub(crate) client_id: Text,
    pub(crate) client_secret_file: Text,
    pub(crate) scope: Text,
}

/// `[policy]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyFile {
    pub(crate) file: Text,
    pub(crate) store: Option<Spanned<bool>>,
    pub(crate) shadow: Text,
}

/// `[delivery]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeliveryFile {
    pub(crate) mode: Text,
    pub(crate) upstream: Text,
    pub(crate) answer_within: Text,
    pub(crate) final_reply_timeout: Text,
    pub(crate) retry: Texts,
    pub(crate) expire_after: Text,
    pub(crate) bounces: Text,
    pub(crate) bounce_upstream: Text,
    pub(crate) received: Text,
}

/// `[limits]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsFile {
    pub(crate) max_message_size: Text,
    pub(crate) max_recipients: Number,
    pub(crate) message_memory: Text,
    pub(crate) free_space_floor: Text,
    pub(crate) received_max: Number,
    pub(crate) errors_max: Number,
}

/// `[timeouts]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimeoutsFile {
    pub(crate) command: Text,
    pub(crate) data: Text,
    pub(crate) proxy: Text,
    pub(crate) session: Text,
    pub(crate) drain: Text,
    pub(crate) tls: Text,
}

/// `[log]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogFile {
    pub(crate) level: Text,
    pub(crate) format: Text,
    pub(crate) mail: Text,
}

/// `[metrics]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetricsFile {
    pub(crate) bind: Text,
}
