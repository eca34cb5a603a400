//! The providers as data: what each offers, says, limits and refuses.
//!
//! One file per provider holds a [`Description`]; the engine beside this module plays whichever it
//! is given. Texts are the documented ones where there are any. `{client}`, `{hello}`, `{sender}`
//! and `{size}` in a text stand for the client's address, its EHLO name, the reverse-path and the
//! limit announced with SIZE.

mod google_relay;
mod m365;
mod m365_auth;
mod m365_connector;
mod sendgrid;
mod ses;
mod smartermail;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::SimulatorError;
use super::limit::Bound;

/// A provider that can be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// The SMTP relay service of Google Workspace, `smtp-relay.gmail.com`.
    GoogleRelay,
    /// SMTP AUTH client submission of Microsoft 365, `smtp.office365.com`.
    M365Auth,
    /// A connector of Microsoft 365, `….mail.protection.outlook.com`.
    M365Connector,
    /// Twilio SendGrid, `smtp.sendgrid.net`.
    Sendgrid,
    /// The SMTP interface of Amazon SES, `email-smtp.….amazonaws.com`.
    Ses,
    /// A SmarterMail server.
    Smartermail,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::GoogleRelay,
        Self::M365Auth,
        Self::M365Connector,
        Self::Sendgrid,
        Self::Ses,
        Self::Smartermail,
    ];

    /// The name of the provider's profile in Gatepost.
    pub fn name(self) -> &'static str {
        match self {
            Self::GoogleRelay => "google-relay",
            Self::M365Auth => "m365-auth",
            Self::M365Connector => "m365-connector",
            Self::Sendgrid => "sendgrid",
            Self::Ses => "ses",
            Self::Smartermail => "smartermail",
        }
    }

    pub(super) fn description(self) -> &'static Description {
        match self {
            Self::GoogleRelay => &google_relay::DESCRIPTION,
            Self::M365Auth => &m365_auth::DESCRIPTION,
            Self::M365Connector => &m365_connector::DESCRIPTION,
            Self::Sendgrid => &sendgrid::DESCRIPTION,
            Self::Ses => &ses::DESCRIPTION,
            Self::Smartermail => &smartermail::DESCRIPTION,
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Provider {
    type Err = SimulatorError;

    fn from_str(name: &str) -> Result<Self, SimulatorError> {
        let found = Self::ALL.into_iter().find(|provider| provider.name() == name);
        found.ok_or_else(|| SimulatorError::Provider { name: name.to_owned() })
    }
}

/// Everything that makes one provider different from the next.
#[derive(Debug)]
pub(super) struct Description {
    /// The name that clients connect to, which the throw-away certificate is for.
    pub(super) hostname: &'static str,
    pub(super) greeting: &'static str,
    /// The first line of the reply to EHLO, without its code.
    pub(super) hello: &'static str,
    /// The other lines of that reply, before TLS and behind it, in the provider's order.
    pub(super) offered_plain: &'static [&'static str],
    pub(super) offered_tls: &'static [&'static str],
    /// Names in EHLO that are refused, and the connection with them.
    pub(super) refused_hellos: &'static [&'static str],
    pub(super) mechanisms: &'static [Mechanism],
    /// What is open to a session without TLS, whatever is offered there.
    pub(super) plain_text: PlainText,
    pub(super) implicit_tls: ImplicitTls,
    pub(super) admission: Admission,
    /// Whether a registered domain stands for those below it, too.
    pub(super) domains: DomainMatch,
    /// The user name and password that open an account, unless options say otherwise.
    pub(super) account: (&'static str, &'static str),
    pub(super) times: Times,
    pub(super) bounds: &'static [Bound],
    pub(super) words: Words,
}

/// A SASL mechanism, and what is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    Login,
    Plain,
    Xoauth2,
}

impl Mechanism {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [("LOGIN", Self::Login), ("PLAIN", Self::Plain), ("XOAUTH2", Self::Xoauth2)]
            .into_iter()
            .find_map(|(known, found)| name.eq_ignore_ascii_case(known).then_some(found))
    }
}

/// What a session without TLS may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlainText {
    /// Everything, AUTH too.
    All,
    /// Mail, but no AUTH.
    Mail,
    /// EHLO, STARTTLS, NOOP, RSET and QUIT.
    Nothing,
}

/// Whether there is a second port, where TLS begins at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ImplicitTls {
    None,
    Offered,
}

/// How the provider finds out whose mail it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// By AUTH, or by an address on the list of those that need none.
    AddressOrLogin,
    /// By AUTH, or by an address on the list together with a registered domain in MAIL or EHLO.
    GoogleTenant,
    /// By AUTH alone. The reverse-path is the mailbox that has logged in.
    LoginAsSender,
    /// By AUTH alone, from an address on the list. The reverse-path is a registered sender.
    LoginFromAddress,
    /// By AUTH alone. Reverse-path and From are verified identities, which is told after the data.
    LoginWithIdentity,
    /// By the name in a client certificate, or by an address on the list with a registered domain.
    M365Tenant,
}

/// What a registered domain covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DomainMatch {
    Exact,
    WithSubdomains,
}

/// How long a connection may last.
#[derive(Debug)]
pub(super) struct Times {
    /// Without a single octet from the client.
    pub(super) idle: Duration,
    pub(super) idle_reply: &'static str,
    /// From the first to the last, if there is a limit.
    pub(super) age: Option<Duration>,
    pub(super) age_reply: &'static str,
}

/// The replies, without their last CRLF.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    pub(super) ok: &'static str,
    pub(super) start_tls: &'static str,
    pub(super) logged_in: &'static str,
    pub(super) sender_ok: &'static str,
    pub(super) recipient_ok: &'static str,
    pub(super) start_data: &'static str,
    pub(super) queued: &'static str,
    pub(super) bye: &'static str,
    pub(super) cannot_verify: &'static str,
    /// To a verb that is not known, or not offered.
    pub(super) unknown: &'static str,
    pub(super) line_too_long: &'static str,
    pub(super) arguments: &'static str,
    pub(super) parameter: &'static str,
    pub(super) sequence: &'static str,
    pub(super) too_big: &'static str,
    pub(super) tls_required: &'static str,
    /// To commands that came in clear behind STARTTLS. Without it they are dropped.
    pub(super) tls_pipelined: Option<&'static str>,
    pub(super) login_required: &'static str,
    pub(super) login_failed: &'static str,
    /// To a mechanism that is offered to nobody any more, or not known.
    pub(super) mechanism_refused: &'static str,
    /// To a password where the account has one but the address is not on the list.
    pub(super) address_refused: &'static str,
    pub(super) hello_refused: &'static str,
    /// To a client that belongs to nobody.
    pub(super) relay_refused: &'static str,
    /// To a sender that the client may not use.
    pub(super) sender_refused: &'static str,
    /// To the null reverse-path, where it is refused whoever sends it.
    pub(super) null_refused: Option<&'static str>,
}

/// Words with enhanced status codes (RFC 3463); providers change those that are known.
const ENHANCED: Words = Words {
    ok: "250 2.0.0 OK",
    start_tls: "220 2.0.0 Ready to start TLS",
    logged_in: "235 2.7.0 Accepted",
    sender_ok: "250 2.1.0 Sender OK",
    recipient_ok: "250 2.1.5 Recipient OK",
    start_data: "354 Start mail input; end with <CRLF>.<CRLF>",
    queued: "250 2.0.0 OK",
    bye: "221 2.0.0 Closing connection",
    cannot_verify: "252 2.1.5 Cannot verify user",
    unknown: "500 5.5.1 Unrecognized command",
    line_too_long: "500 5.5.2 Line too long",
    arguments: "501 5.5.4 Invalid arguments",
    parameter: "555 5.5.4 Unsupported parameter",
    sequence: "503 5.5.1 Bad sequence of commands",
    too_big: "552 5.3.4 Message size exceeds fixed maximum message size",
    tls_required: "530 5.7.0 Must issue a STARTTLS command first",
    tls_pipelined: None,
    login_required: "530 5.7.0 Authentication required",
    login_failed: "535 5.7.8 Authentication failed",
    mechanism_refused: "504 5.7.4 Unrecognized authentication type",
    address_refused: "535 5.7.8 Authentication failed",
    hello_refused: "421 4.7.0 Try again later, closing connection. (EHLO)",
    relay_refused: "550 5.7.1 Relaying denied",
    sender_refused: "550 5.7.1 Sender denied",
    null_refused: None,
};

/// Words without them.
const BASIC: Words = Words {
    ok: "250 Ok",
    start_tls: "220 Ready to start TLS",
    logged_in: "235 Authentication successful.",
    sender_ok: "250 Ok",
    recipient_ok: "250 Ok",
    start_data: "354 End data with <CR><LF>.<CR><LF>",
    queued: "250 Ok",
    bye: "221 Bye",
    cannot_verify: "252 Cannot verify user",
    unknown: "502 Command not implemented",
    line_too_long: "500 Line too long",
    arguments: "501 Syntax error in arguments",
    parameter: "555 Unsupported parameter",
    sequence: "503 Bad sequence of commands",
    too_big: "552 Message is too long.",
    tls_required: "530 Must issue a STARTTLS command first",
    tls_pipelined: None,
    login_required: "530 Authentication required",
    login_failed: "535 Authentication failed",
    mechanism_refused: "504 Unrecognized authentication type",
    address_refused: "535 Authentication failed",
    hello_refused: "421 Try again later",
    relay_refused: "550 Relaying denied",
    sender_refused: "550 Sender denied",
    null_refused: None,
};
