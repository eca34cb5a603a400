//! What one simulator goes by: its provider's description, with the options applied.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::SimulatorError;
use super::limit::{Bound, Limit, Stage};
use super::options::{Account, SimulatorOptions};
use super::provider::{Description, DomainMatch};

/// A provider as it is played.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) description: &'static Description,
    limits: HashMap<Limit, u64>,
    accounts: Vec<Account>,
    addresses: Vec<IpNet>,
    domains: Vec<String>,
    certificate_names: Vec<String>,
    hurry: u32,
}

impl Plan {
    pub(super) fn new(options: &SimulatorOptions) -> Result<Self, SimulatorError> {
        let provider = options.provider;
        let description = provider.description();
        let defaults = description.bounds.iter();
        let mut limits: HashMap<_, _> =
            defaults.filter_map(|bound| Some((bound.limit, bound.default?))).collect();
        for &(limit, most) in &options.limits {
            if !description.bounds.iter().any(|bound| bound.limit == limit) {
                let known: Vec<_> =
                    description.bounds.iter().map(|bound| bound.limit.name()).collect();
                return Err(SimulatorError::Limit { provider, limit, known: known.join(", ") });
            }
            match most {
                Some(most) => limits.insert(limit, most),
                None => limits.remove(&limit),
            };
        }
        let accounts = match options.accounts.as_slice() {
            [] => vec![Account::default_of(provider)],
            accounts => accounts.to_vec(),
        };
        Ok(Self {
            description,
            limits,
            accounts,
            addresses: options.addresses.clone(),
            domains: options.domains.clone(),
            certificate_names: options.certificate_names.clone(),
            hurry: options.hurry.max(1),
        })
    }

    pub(super) fn hurry(&self) -> u32 {
        self.hurry
    }

    /// A time of the provider, as it passes here.
    pub(super) fn hurried(&self, time: Duration) -> Duration {
        time / self.hurry
    }

    /// The limits that are looked at in one place, with their figures.
    pub(super) fn bounds(&self, stage: Stage) -> impl Iterator<Item = (&'static Bound, u64)> {
        let bounds = self.description.bounds.iter().filter(move |bound| bound.stage == stage);
        bounds.filter_map(|bound| Some((bound, self.limit(bound.limit)?)))
    }

    pub(super) fn limit(&self, limit: Limit) -> Option<u64> {
        self.limits.get(&limit).copied()
    }

    /// Whether a user name has this password.
    pub(super) fn opens(&self, username: &str, password: &str) -> bool {
        let mut accounts = self.accounts.iter();
        accounts.any(|account| account.username == username && account.password == password)
    }

    /// Whether there is such a user name at all.
    pub(super) fn has_account(&self, username: &str) -> bool {
        self.accounts.iter().any(|account| account.username.eq_ignore_ascii_case(username))
    }

    /// Whether the customer has put an address on the provider's list.
    pub(super) fn lists(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|network| network.contains(&address))
    }

    /// Whether an address is of the customer: itself registered, or its domain.
    pub(super) fn is_registered(&self, address: &str) -> bool {
        let Some((_, domain)) = address.rsplit_once('@') else { return false };
        self.domains.iter().any(|registered| registered.eq_ignore_ascii_case(address))
            || self.covers(domain, self.description.domains)
    }

    /// Whether a domain is a registered one, to the letter.
    pub(super) fn is_domain(&self, name: &str) -> bool {
        self.covers(name, DomainMatch::Exact)
    }

    /// Whether a name is that of a registered domain, or of something below it.
    pub(super) fn is_in_domain(&self, name: &str) -> bool {
        self.covers(name, DomainMatch::WithSubdomains)
    }

    /// Whether a certificate of this name was named to the provider.
    pub(super) fn expects_certificate(&self, name: &str) -> bool {
        self.certificate_names.iter().any(|expected| {
            expected.eq_ignore_ascii_case(name)
                || expected.strip_prefix('*').is_some_and(|suffix| ends_with(name, suffix))
        })
    }

    fn covers(&self, domain: &str, how: DomainMatch) -> bool {
        self.domains.iter().any(|registered| {
            registered.eq_ignore_ascii_case(domain)
                || how == DomainMatch::WithSubdomains
                    && ends_with(domain, &format!(".{registered}"))
        })
    }
}

/// Whether a name has this end, in any case, and something before it.
fn ends_with(name: &str, end: &str) -> bool {
    name.len() > end.len()
        && name
            .split_at_checked(name.len() - end.len())
            .is_some_and(|(_, found)| found.eq_ignore_ascii_case(end))
}
