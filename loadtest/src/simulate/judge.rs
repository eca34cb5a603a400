//! Whose mail is it, and may it be sent? The behaviours in which providers differ.
//!
//! Pure: what is known of the client goes in, a refusal or nothing comes out.

use std::net::IpAddr;

use super::plan::Plan;
use super::provider::Admission;
use super::record::Rule;

/// What is known of a client.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) address: IpAddr,
    pub(super) security: Security,
    /// The DNS names in its certificate, if that was verified.
    pub(super) certificate_names: Vec<String>,
    /// What it said in EHLO or HELO.
    pub(super) hello: String,
    /// Whom it has logged in as.
    pub(super) account: Option<String>,
}

/// Whether a connection is behind TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    Plain,
    Tls,
}

/// Why something is refused, and in which words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) rule: Rule,
    pub(super) words: &'static str,
    pub(super) then: Then,
}

/// What becomes of the connection after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Close,
    Stay,
}

impl Refusal {
    /// A refusal after which the session goes on.
    pub(super) fn new(rule: Rule, words: &'static str) -> Self {
        Self { rule, words, then: Then::Stay }
    }
}

impl Plan {
    /// Judges MAIL. An empty reverse-path is the null one.
    pub(super) fn judge_sender(&self, client: &Client, reverse_path: &str) -> Result<(), Refusal> {
        let words = &self.description.words;
        let refuse = |rule, words| Err(Refusal::new(rule, words));
        let needs_login = matches!(
            self.description.admission,
            Admission::LoginAsSender | Admission::LoginFromAddress | Admission::LoginWithIdentity
        );
        if needs_login && client.account.is_none() {
            return refuse(Rule::AuthenticationRequired, words.login_required);
        }
        if let Some(words) = words.null_refused
            && reverse_path.is_empty()
        {
            return refuse(Rule::NullReversePath, words);
        }
        match (self.description.admission, &client.account) {
            (Admission::LoginAsSender, Some(account))
                if !account.eq_ignore_ascii_case(reverse_path) =>
            {
                refuse(Rule::Sender, words.sender_refused)
            }
            (Admission::LoginFromAddress, _) if !self.is_registered(reverse_path) => {
                refuse(Rule::Sender, words.sender_refused)
            }
            (Admission::AddressOrLogin, Some(account))
                if !reverse_path.is_empty() && domain(account) != domain(reverse_path) =>
            {
                refuse(Rule::Sender, words.sender_refused)
            }
            (Admission::GoogleTenant, None) if !self.is_tenant(client, reverse_path) => {
                refuse(Rule::Relay, words.relay_refused)
            }
            _ => Ok(()),
        }
    }

    /// Judges RCPT.
    pub(super) fn judge_recipient(
        &self,
        client: &Client,
        reverse_path: &str,
        forward_path: &str,
    ) -> Result<(), Refusal> {
        let words = &self.description.words;
        let local = domain(forward_path).is_some_and(|domain| self.is_domain(&domain));
        let refused = Err(Refusal::new(Rule::Relay, words.relay_refused));
        match self.description.admission {
            _ if local => Ok(()),
            Admission::AddressOrLogin => {
                if client.account.is_some() || self.lists(client.address) {
                    Ok(())
                } else {
                    refused
                }
            }
            Admission::M365Tenant => {
                if self.has_certificate(client, reverse_path) {
                    return Ok(());
                }
                // A connector by address takes IPv4 alone, and a registered sender: not the null one.
                let listed = client.address.is_ipv4() && self.lists(client.address);
                if !listed || !self.is_registered(reverse_path) {
                    return refused;
                }
                if client.security == Security::Plain {
                    return Err(Refusal::new(Rule::Tls, words.tls_required));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Judges the whole message. The refusal comes with the identity that failed.
    pub(super) fn judge_content<'a>(
        &self,
        reverse_path: &'a str,
        from: Option<&'a str>,
    ) -> Result<(), (Refusal, &'a str)> {
        if self.description.admission != Admission::LoginWithIdentity {
            return Ok(());
        }
        let mut identities = [Some(reverse_path), from].into_iter().flatten();
        match identities.find(|identity| !self.is_registered(identity)) {
            None => Ok(()),
            Some(identity) => {
                let words = self.description.words.sender_refused;
                Err((Refusal::new(Rule::Sender, words), identity))
            }
        }
    }

    /// Google: the address is on the list, and the domain of MAIL or the name in EHLO says whose.
    fn is_tenant(&self, client: &Client, reverse_path: &str) -> bool {
        self.lists(client.address)
            && (self.is_registered(reverse_path) || self.is_domain(&client.hello))
    }

    /// Microsoft: the certificate has a name that a connector expects, and it or MAIL says whose.
    fn has_certificate(&self, client: &Client, reverse_path: &str) -> bool {
        client.certificate_names.iter().any(|name| {
            self.expects_certificate(name)
                && (self.is_in_domain(name.trim_start_matches("*."))
                    || self.is_registered(reverse_path))
        })
    }
}

/// The domain of an address, in lower case.
fn domain(address: &str) -> Option<String> {
    address.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{Provider, SimulatorOptions};

    fn plan(provider: Provider) -> Plan {
        let options = SimulatorOptions {
            addresses: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            ..SimulatorOptions::new(provider)
        };
        Plan::new(&options).unwrap()
    }

    fn client(address: &str) -> Client {
        Client {
            address: address.parse().unwrap(),
            security: Security::Tls,
            certificate_names: Vec::new(),
            hello: "relay.example.com".to_owned(),
            account: None,
        }
    }

    #[test]
    fn google_knows_its_tenants_by_address_and_domain() {
        let plan = plan(Provider::GoogleRelay);
        let rule = |client: &Client, sender| plan.judge_sender(client, sender).map_err(|r| r.rule);
        let listed = client("192.0.2.1");
        assert_eq!(rule(&listed, "a@example.com"), Ok(()));
        assert_eq!(rule(&listed, "a@sub.example.com"), Ok(()));
        assert_eq!(rule(&listed, "a@other.example"), Err(Rule::Relay));
        assert_eq!(rule(&listed, ""), Err(Rule::Relay), "the host's name is not the domain's");
        let apex = Client { hello: "EXAMPLE.com".to_owned(), ..listed };
        assert_eq!(rule(&apex, ""), Ok(()));
        assert_eq!(rule(&apex, "a@other.example"), Ok(()));
        let stranger = client("198.51.100.1");
        assert_eq!(rule(&stranger, "a@example.com"), Err(Rule::Relay));
        let known = Client { account: Some("relay@example.com".to_owned()), ..stranger };
        assert_eq!(rule(&known, ""), Ok(()));
    }

    #[test]
    fn microsoft_attributes_by_certificate_or_address() {
        let plan = plan(Provider::M365Connector);
        let rule = |client: &Client, sender| {
            plan.judge_recipient(client, sender, "x@other.example").map_err(|r| r.rule)
        };
        let listed = client("192.0.2.1");
        assert_eq!(rule(&listed, "a@example.com"), Ok(()));
        assert_eq!(rule(&listed, ""), Err(Rule::Relay), "no null reverse-path by address alone");
        assert_eq!(rule(&listed, "a@sub.example.com"), Err(Rule::Relay));
        assert_eq!(rule(&client("2001:db8::1"), "a@example.com"), Err(Rule::Relay), "IPv4 only");
        let in_clear = Client { security: Security::Plain, ..listed };
        assert_eq!(rule(&in_clear, "a@example.com"), Err(Rule::Tls));
        let certified = |name: &str| Client {
            certificate_names: vec![name.to_owned()],
            ..client("198.51.100.1")
        };
        assert_eq!(rule(&certified("relay.example.com"), ""), Ok(()));
        assert_eq!(rule(&certified("relay.example.com"), "a@other.example"), Ok(()));
        assert_eq!(rule(&certified("relay.other.example"), "a@example.com"), Err(Rule::Relay));
        let stranger = client("198.51.100.1");
        assert_eq!(rule(&stranger, "a@example.com"), Err(Rule::Relay));
        assert_eq!(plan.judge_recipient(&stranger, "a@b.example", "x@example.com"), Ok(()));
    }

    #[test]
    fn those_that_want_a_login_bind_the_sender() {
        let known =
            |account: &str| Client { account: Some(account.to_owned()), ..client("192.0.2.1") };
        for (provider, account, good, bad) in [
            (Provider::M365Auth, "Relay@example.com", "relay@example.com", "a@example.com"),
            (Provider::Sendgrid, "apikey", "a@example.com", "a@sub.example.com"),
            (Provider::Smartermail, "relay@example.com", "a@example.com", "a@other.example"),
        ] {
            let plan = plan(provider);
            assert_eq!(plan.judge_sender(&known(account), good), Ok(()), "{provider}");
            let refusal = plan.judge_sender(&known(account), bad).unwrap_err();
            assert_eq!(refusal.rule, Rule::Sender, "{provider}");
        }
        for provider in [Provider::M365Auth, Provider::Sendgrid, Provider::Ses] {
            let refusal = plan(provider).judge_sender(&client("192.0.2.1"), "a@example.com");
            assert_eq!(refusal.unwrap_err().rule, Rule::AuthenticationRequired, "{provider}");
        }
    }

    #[test]
    fn amazon_looks_at_both_senders_after_the_data() {
        let plan = plan(Provider::Ses);
        assert!(plan.judge_content("a@sub.example.com", Some("b@example.com")).is_ok());
        assert!(plan.judge_content("a@example.com", None).is_ok());
        let (_, failed) = plan.judge_content("a@example.com", Some("b@c.example")).unwrap_err();
        assert_eq!(failed, "b@c.example");
    }
}
