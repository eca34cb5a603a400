//! The decisions, in the order in which a connection meets them.
//!
//! ```text
//! connect ─► greet: allow-list, action, dates ─► hides_clients ─► connect: max_connections
//! AUTH    ─► connect: max_connections of the credential
//! MAIL    ─► mail:  dates, tls, certificate, authentication, helo, sender, size, message_rate
//! RCPT    ─► rcpt:  recipient, max_recipients, route, recipient_rate
//! data    ─► header_from, and the size; at its end duplicate_rate
//! ```
//!
//! Sessions call them to act, `explain` calls them to tell: there is no second place that decides,
//! and none that words a refusal. Orders are lists ([`Check::AT_MAIL`], [`Check::AT_RCPT`]), and
//! both walk the same ones. A check that accepts allocates nothing. Policy refuses with 5yz; rates
//! and limits, which pass by themselves, with 4yz.

mod data;
mod mail;
mod rcpt;

use std::{net::IpAddr, sync::Arc, time::Duration};

use gatepost_smtp::{reply::Reply, sasl::SaslError, server::replies};
use serde::Serialize;

pub use self::{
    data::{
        HEADER_OCTETS_MAX, HEADER_TOO_LARGE, duplicate, header_from, header_mailbox, too_large,
    },
    mail::{Login, MailFacts, SessionTls, mail},
    rcpt::{RcptFacts, rcpt},
};
pub(crate) use self::{mail::judge as judge_mail, rcpt::judge as judge_rcpt};
use crate::{
    credential::Credential,
    date::Moment,
    entry::{Action, Authentication, Entry, Expiry, Standing},
    gcra::Gcra,
    generation::Generation,
    listener::ListenerId,
    network::client_address,
    rate::Rate,
    ruleset::Ruleset,
    site::{AuthOffer, Site},
    state::{Connection, EntryState},
};

/// Octets of a path that a reply repeats: with what stands around it, an entry id of full length
/// included, the line stays within 512 octets (RFC 5321 §4.5.3.1.5), and its end is not lost.
const QUOTED_OCTETS_MAX: usize = 300;

/// What is looked at. The names stand in metrics, in the mail log and in explanations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Whether the client is on the allow-list.
    AllowList,
    /// Whether its entry allows or denies.
    Action,
    /// Whether its entry is valid today.
    Dates,
    /// Whether its address stands for many clients.
    HiddenClients,
    /// How many connections its entry has.
    MaxConnections,
    /// Whether the session has the TLS that is asked for.
    Tls,
    /// Whether the client has shown the certificate that is asked for.
    Certificate,
    /// Whether the client has authenticated where that is asked for.
    Authentication,
    /// What the client calls itself.
    Helo,
    /// The reverse-path.
    Sender,
    /// The size that MAIL declares, and that of the data.
    Size,
    /// How many messages there were.
    MessageRate,
    /// The forward-path.
    Recipient,
    /// How many recipients the message has.
    MaxRecipients,
    /// Whether the recipient goes where the others go.
    Route,
    /// How many recipients there were.
    RecipientRate,
    /// The addresses of the From field.
    HeaderFrom,
    /// How often the same message has come.
    DuplicateRate,
}

/// A refusal, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The check that refused.
    pub check: Check,
    /// What the client hears.
    pub reply: Reply,
}

/// How a connection is answered.
#[derive(Clone, Debug)]
pub enum Greeting {
    /// Greet; this entry says what the client may do.
    Allowed(Arc<Entry>),
    /// Greet; a credential will say what the client may do, and before that it may do nothing.
    Authenticate,
    /// Greet with a refusal; the entry is there if one has matched.
    Refused(Option<Arc<Entry>>, Refusal),
}

/// Whether a check uses up what it counts.
#[derive(Clone, Copy)]
pub(crate) enum Spend {
    /// It only looks what would be if so many others had come before: for explanations.
    Look(u32),
    /// The same, if nothing had been used before those: what is expected of a policy does not depend
    /// on what its clients have done.
    LookAfresh(u32),
    Take,
}

impl Spend {
    fn one_of(self, state: &Gcra, rate: Rate, uptime: Duration) -> Result<(), Duration> {
        match self {
            Self::Look(others) => state.look(rate, uptime, others),
            Self::LookAfresh(others) => Gcra::default().look(rate, uptime, others),
            Self::Take => state.take(rate, uptime),
        }
    }

    /// The connections of an entry that count.
    pub(crate) fn connections(self, state: &EntryState) -> u32 {
        match self {
            Self::LookAfresh(others) => others,
            Self::Look(_) | Self::Take => state.connections(),
        }
    }
}

/// One check of an entry, and of the terms that hold beside it. What counts is used up of neither if
/// one refuses: what one login sends too much of is not taken from the others of the entry.
fn judge_both(
    entry: &Entry,
    beside: Option<&Entry>,
    judge: impl Fn(&Entry, Spend) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let Some(beside) = beside else { return judge(entry, Spend::Take) };
    judge(entry, Spend::Look(0))?;
    judge(beside, Spend::Take)?;
    judge(entry, Spend::Take)
}

impl Check {
    /// The checks at MAIL. That the generation has not changed is seen to before.
    pub const AT_MAIL: [Self; 8] = [
        Self::Dates,
        Self::Tls,
        Self::Certificate,
        Self::Authentication,
        Self::Helo,
        Self::Sender,
        Self::Size,
        Self::MessageRate,
    ];
    /// The checks at RCPT. What is refused for good comes first, and what costs comes last.
    pub const AT_RCPT: [Self; 4] =
        [Self::Recipient, Self::MaxRecipients, Self::Route, Self::RecipientRate];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllowList => "allow_list",
            Self::Action => "action",
            Self::Dates => "dates",
            Self::HiddenClients => "hidden_clients",
            Self::MaxConnections => "max_connections",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::Authentication => "authentication",
            Self::Helo => "helo",
            Self::Sender => "sender",
            Self::Size => "size",
            Self::MessageRate => "message_rate",
            Self::Recipient => "recipient",
            Self::MaxRecipients => "max_recipients",
            Self::Route => "route",
            Self::RecipientRate => "recipient_rate",
            Self::HeaderFrom => "header_from",
            Self::DuplicateRate => "duplicate_rate",
        }
    }

    const fn refuses(self, reply: Reply) -> Refusal {
        Refusal { check: self, reply }
    }
}

/// Decides about a client that connects, and again at MAIL when the generation has changed.
pub fn greet(ruleset: &Ruleset, listener: ListenerId, client: IpAddr, now: Moment) -> Greeting {
    let site = ruleset.site();
    let hostname = &site.hostname;
    // A proxy that says of itself that it is the client is misled, or misleads.
    if site.is_proxy(listener, client) {
        let client = client_address(client);
        let text = format!("{hostname}: {client} is the address of a proxy, and never a client");
        return Greeting::Refused(None, Check::AllowList.refuses(refused(text)));
    }
    let Some(entry) = ruleset.lookup(listener, client) else {
        return match site.auth(listener) {
            AuthOffer::Everybody => Greeting::Authenticate,
            AuthOffer::Nobody | AuthOffer::Required => {
                Greeting::Refused(None, not_listed(site, client))
            }
        };
    };
    let refusal = match (entry.action(), dates(entry, now)) {
        (Action::Deny, _) => {
            let client = client_address(client);
            let text = format!("{hostname}: {client} is blocked by entry {}", entry.id());
            Check::Action.refuses(refused(text))
        }
        (Action::Allow, Err(text)) if is_refused_at_once(entry, now) => {
            Check::Dates.refuses(refused(format!("{hostname}: {text}")))
        }
        (Action::Allow, _) => return Greeting::Allowed(Arc::clone(entry)),
    };
    Greeting::Refused(Some(Arc::clone(entry)), refusal)
}

/// Refuses a client whose address stands for many. Which addresses do is nothing that a policy says:
/// whoever looks at the sessions finds it out.
pub fn hides_clients(hostname: &str, client: IpAddr) -> Refusal {
    let client = client_address(client);
    let text = format!(
        "{hostname}: {client} stands for many clients (a NAT or a proxy); connect directly, or have \
         the address of the client passed on"
    );
    Check::HiddenClients.refuses(refused(text))
}

/// Nothing lets the client in: no entry, or not any more the credential that did.
pub fn not_listed(site: &Site, client: IpAddr) -> Refusal {
    let client = client_address(client);
    let text = format!("{}: {client} is not on the allow-list", site.hostname);
    Check::AllowList.refuses(refused(text))
}

/// Whoever was let in by a credential, or authenticated beside an entry, may not use it any more.
pub fn credential_gone(site: &Site, credential: &Credential) -> Refusal {
    let text = format!("{}: credential {} is not valid any more", site.hostname, credential.id());
    Check::Authentication.refuses(refused(text))
}

/// Whether AUTH may begin. `entry` is what has let the client in, if that was one.
pub fn auth(
    offer: AuthOffer,
    entry: Option<&Entry>,
    tls: Option<SessionTls>,
) -> Result<(), Refusal> {
    let requires = |entry: &Entry| entry.terms().authentication == Authentication::Required;
    let is_offered = match offer {
        AuthOffer::Everybody => true,
        AuthOffer::Nobody => false,
        AuthOffer::Required => entry.is_some_and(requires),
    };
    match (is_offered, tls) {
        (false, _) => Err(Check::Authentication.refuses(replies::NOT_OFFERED)),
        (true, Some(SessionTls::Plain)) => {
            Err(Check::Authentication.refuses(replies::AUTH_NEEDS_TLS))
        }
        (true, _) => Ok(()),
    }
}

/// AUTH has failed: nobody has such a name, or not that password, and nobody is told which.
pub fn auth_failed() -> Refusal {
    Check::Authentication.refuses(SaslError::Refused.reply())
}

/// A message of a client that has to authenticate, and has not.
pub fn unauthenticated() -> Refusal {
    Check::Authentication.refuses(replies::AUTHENTICATION_REQUIRED)
}

/// Decides whether a client that is to be greeted may have one more connection.
pub fn connect(entry: &Entry) -> Result<Connection, Refusal> {
    entry.connect().ok_or_else(|| too_many_connections(entry))
}

/// What [`connect`] would say, without connecting.
pub(crate) fn look_at_connections(entry: &Entry, spend: Spend) -> Result<(), Refusal> {
    let is_full = |most| spend.connections(entry.state()) >= most;
    match entry.terms().max_connections {
        Some(most) if is_full(most) => Err(too_many_connections(entry)),
        _ => Ok(()),
    }
}

fn too_many_connections(entry: &Entry) -> Refusal {
    let most = entry.terms().max_connections.unwrap_or_default();
    let text = format!("entry {} may have {most} connections, try again later", entry.id());
    Check::MaxConnections.refuses(Reply::new(421, (4, 7, 0), text))
}

/// Why an entry is not valid now, in words. `warn` is not a reason.
fn dates(entry: &Entry, now: Moment) -> Result<(), String> {
    let terms = entry.terms();
    match (terms.standing(now), &terms.not_before, &terms.expires) {
        (Standing::NotYet, Some(from), _) => {
            Err(format!("entry {} is not valid before {from}", entry.id()))
        }
        (Standing::Expired, _, Some(until)) if terms.expiry != Expiry::Warn => {
            Err(format!("entry {} has expired at {until}", entry.id()))
        }
        _ => Ok(()),
    }
}

/// Whether a client outside the dates is not even greeted.
fn is_refused_at_once(entry: &Entry, now: Moment) -> bool {
    entry.terms().standing(now) == Standing::NotYet || entry.terms().expiry == Expiry::Reject
}

/// A greeting that lets nobody in.
fn refused(text: String) -> Reply {
    Reply::new(554, (5, 7, 1), text)
}

/// A path that is not among those allowed; `what` is the role it would have.
fn not_allowed(path: &[u8], what: &str, entry: &Entry, generation: Generation) -> Reply {
    let (path, id) = (quoted(path), entry.id());
    let text = format!("<{path}> is not an allowed {what} of entry {id} (generation {generation})");
    Reply::new(550, (5, 7, 1), text)
}

/// More than a rate allows.
fn too_fast(entry: &Entry, noun: &str, rate: Rate, wait: Duration) -> Reply {
    let seconds = whole_seconds(wait);
    let text = format!("entry {} may send {rate} {noun}, retry in {seconds} s", entry.id());
    Reply::new(450, (4, 7, 1), text)
}

/// Rounded up: who waits as long is not early.
const fn whole_seconds(wait: Duration) -> u128 {
    wait.as_nanos().div_ceil(1_000_000_000)
}

/// A path or name as text, shortened in its end if it is very long.
fn quoted(octets: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(octets).into_owned();
    if text.len() > QUOTED_OCTETS_MAX {
        text.truncate(text.floor_char_boundary(QUOTED_OCTETS_MAX));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests;
