//! What can be said about a simulator before it starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::mpsc;

use super::limit::Limit;
use super::provider::Provider;
use super::token::ClientCredentials;
use crate::{KeyedCertificate, Received};

/// How a [`Simulator`](super::Simulator) behaves, beside what its provider prescribes.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// Which provider it is.
    pub provider: Provider,
    /// Where it listens; port 0 picks a free one.
    pub bind: SocketAddr,
    /// Where TLS begins at once, for a provider that has such a port; else a free port beside `bind`.
    pub implicit_bind: Option<SocketAddr>,
    /// Where tokens for XOAUTH2 are handed out; else a free port, if the provider takes them.
    pub token_bind: Option<SocketAddr>,
    /// Who gets tokens.
    pub token_client: ClientCredentials,
    /// How long a token is good. `hurry` does not shorten it.
    pub token_lifetime: Duration,
    /// Certificate and key of the server; else a throw-away CA issues one for the provider's name,
    /// `localhost` and the loopback addresses.
    pub certificate: Option<KeyedCertificate>,
    /// Further names in the throw-away certificate.
    pub server_names: Vec<String>,
    /// Roots of client certificates, in PEM; else the throw-away CA.
    pub client_ca: Option<String>,
    /// Who may log in; empty means the provider's default account.
    pub accounts: Vec<Account>,
    /// Addresses that the customer has put on the provider's list.
    pub addresses: Vec<IpNet>,
    /// Domains, or single addresses, that the customer has registered or verified.
    pub domains: Vec<String>,
    /// Names that a client certificate may have; `*.example.com` stands for what is below.
    pub certificate_names: Vec<String>,
    /// Limits that are not the provider's own; `None` lifts one.
    pub limits: Vec<(Limit, Option<u64>)>,
    /// All times of the provider are divided by this.
    pub hurry: u32,
    /// Where each message goes before it is accepted. `None` keeps no content.
    pub deliver: Option<mpsc::Sender<Received>>,
}

impl SimulatorOptions {
    /// A provider as it is, on free ports of loopback, for the customer `example.com`.
    pub fn new(provider: Provider) -> Self {
        let loopback = ["127.0.0.0/8", "::1/128"];
        Self {
            provider,
            bind: (Ipv4Addr::LOCALHOST, 0).into(),
            implicit_bind: None,
            token_bind: None,
            token_client: ClientCredentials::default(),
            token_lifetime: Duration::from_hours(1),
            certificate: None,
            server_names: Vec::new(),
            client_ca: None,
            accounts: Vec::new(),
            // Both are well-formed.
            addresses: loopback.map(|network| network.parse().expect("a network")).to_vec(),
            domains: vec!["example.com".to_owned()],
            certificate_names: vec!["*.example.com".to_owned()],
            limits: Vec::new(),
            hurry: 1,
            deliver: None,
        }
    }
}

/// A user name and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user name; for a provider that binds senders to it, a mailbox.
    pub username: String,
    /// The password. Where only tokens are taken, it opens nothing.
    pub password: String,
}

impl Account {
    /// The account that opens a provider unless options say otherwise.
    pub fn default_of(provider: Provider) -> Self {
        let (username, password) = provider.description().account;
        Self { username: username.to_owned(), password: password.to_owned() }
    }
}
