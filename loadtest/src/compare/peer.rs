//! Who is compared: what each one is, what it needs to be here, and what it cannot do.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use super::load::Load;
use crate::process::find_program;

/// A relay, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// HAProxy, octets in and out
    Haproxy,
    /// HAProxy that ends TLS on both sides; takes part in `tls` alone
    HaproxyTls,
    /// nginx as a mail proxy
    Nginx,
    /// Postfix, which hands each message on before it answers
    PostfixProxy,
    /// Postfix with its queue
    Postfix,
    /// Exim with its queue
    Exim,
    /// OpenSMTPD with its queue
    Opensmtpd,
    /// Haraka with its queue
    Haraka,
    /// Gatepost, mode sync
    Gatepost,
    /// Gatepost, mode hybrid
    GatepostHybrid,
    /// Gatepost, mode spool
    GatepostSpool,
    /// No relay: the limit of source and sink
    Direct,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    /// Plain text.
    None,
    /// STARTTLS (RFC 3207).
    Starttls,
    /// TLS from the first octet (RFC 8314 §3).
    Implicit,
}

/// How a relay is reached, and how it reaches the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sides {
    pub(super) client: Protection,
    pub(super) sink: Protection,
}

impl Protection {
    /// The value of `--tls`, of the source and of the sink.
    pub(super) fn flag(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Starttls => Some("--tls=starttls"),
            Self::Implicit => Some("--tls=implicit"),
        }
    }
}

impl Peer {
    /// In the order in which they are shown.
    pub const ALL: &'static [Self] = &[
        Self::Haproxy,
        Self::HaproxyTls,
        Self::Nginx,
        Self::PostfixProxy,
        Self::Postfix,
        Self::Exim,
        Self::Opensmtpd,
        Self::Haraka,
        Self::Gatepost,
        Self::GatepostHybrid,
        Self::GatepostSpool,
        Self::Direct,
    ];

    /// Whether its `250` means that the message is on a disk.
    pub(super) fn is_durable(self) -> bool {
        matches!(
            self,
            Self::Postfix | Self::Exim | Self::Opensmtpd | Self::Haraka | Self::GatepostSpool
        )
    }

    /// Whom its figures are divided by.
    pub(super) fn base(self, load: Load) -> Option<Self> {
        match self {
            Self::Direct => None,
            _ if self.is_durable() => Some(Self::Postfix),
            _ if load == Load::Tls => Some(Self::HaproxyTls),
            _ => Some(Self::Haproxy),
        }
    }

    /// Whether it has a part in a load.
    pub(super) fn takes(self, load: Load) -> bool {
        match self {
            Self::Haproxy => load != Load::Tls,
            Self::HaproxyTls => load == Load::Tls,
            // It does not offer it.
            Self::Opensmtpd => load != Load::Pipelining,
            _ => true,
        }
    }

    /// How both of its sides are protected.
    pub(super) fn sides(self, load: Load) -> Sides {
        let same = |protection| Sides { client: protection, sink: protection };
        match self {
            _ if load != Load::Tls => same(Protection::None),
            Self::HaproxyTls => same(Protection::Implicit),
            Self::Nginx | Self::PostfixProxy => {
                Sides { client: Protection::Starttls, sink: Protection::None }
            }
            _ => same(Protection::Starttls),
        }
    }

    /// What a reader must know of its figures.
    pub(super) fn note(self, load: Load) -> Option<&'static str> {
        match (self, load) {
            (Self::Haproxy, _) => Some("passes octets on and knows no SMTP"),
            (Self::HaproxyTls, _) => {
                Some("cannot do STARTTLS: TLS from the first octet on both sides")
            }
            (Self::Nginx, Load::Tls) => {
                Some("STARTTLS with clients; cannot do TLS to a server: plain text to the sink")
            }
            (Self::Nginx, _) => Some("asks its own HTTP server for each session, as it must"),
            (Self::PostfixProxy, Load::Tls) => Some(
                "STARTTLS with clients; smtpd_proxy_filter knows no TLS: plain text to the sink",
            ),
            (Self::PostfixProxy, _) => Some("a connection to the sink for each message"),
            (Self::Opensmtpd, _) => Some(
                "its listen queue is short: sessions that begin at once wait for TCP to try again, \
                 seconds later",
            ),
            (Self::Direct, _) => Some("source and sink alone: no rate can be higher"),
            _ => None,
        }
    }

    /// Why it cannot take part.
    pub(super) fn missing(self, has_gatepost: bool) -> Option<String> {
        let program = match self {
            Self::Direct => return None,
            Self::Gatepost | Self::GatepostHybrid | Self::GatepostSpool => {
                return (!has_gatepost).then(|| "no --gatepost".to_owned());
            }
            _ => self.program(),
        };
        find_program(program).is_none().then(|| "not installed".to_owned())
    }

    /// The name of its program; of those that are found by name.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Haproxy | Self::HaproxyTls => "haproxy",
            Self::Nginx => "nginx",
            Self::PostfixProxy | Self::Postfix => "postfix",
            Self::Exim => "exim4",
            Self::Opensmtpd => "smtpd",
            Self::Haraka => "haraka",
            Self::Gatepost | Self::GatepostHybrid | Self::GatepostSpool => "gatepost",
            Self::Direct => "",
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_all() {
        assert_eq!(Peer::ALL, Peer::value_variants());
    }

    #[test]
    fn each_has_its_measure() {
        assert_eq!(Peer::Gatepost.base(Load::Reused), Some(Peer::Haproxy));
        assert_eq!(Peer::GatepostHybrid.base(Load::Tls), Some(Peer::HaproxyTls));
        assert_eq!(Peer::GatepostSpool.base(Load::Tls), Some(Peer::Postfix));
        assert_eq!(Peer::Direct.base(Load::Reused), None);
        // A base that has no part in a load would leave everybody without a ratio.
        for load in Load::value_variants() {
            for peer in Peer::ALL {
                assert!(peer.base(*load).is_none_or(|base| base.takes(*load)), "{peer} {load}");
            }
        }
    }

    #[test]
    fn a_side_that_is_not_protected_is_told() {
        for peer in Peer::ALL {
            let sides = peer.sides(Load::Tls);
            if sides.client != sides.sink {
                assert!(peer.note(Load::Tls).unwrap().contains("plain text to the sink"));
            }
            assert_eq!(peer.sides(Load::Reused).client, Protection::None);
        }
    }

    #[test]
    fn gatepost_is_where_its_path_says() {
        assert_eq!(Peer::GatepostSpool.missing(false).as_deref(), Some("no --gatepost"));
        assert_eq!(Peer::GatepostSpool.missing(true), None);
    }
}
