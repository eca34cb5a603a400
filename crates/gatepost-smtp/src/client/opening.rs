//! From the connection to the first transaction: greeting, EHLO, STARTTLS, AUTH (RFC 5321 §3.1, §3.2,
//! RFC 3207, RFC 4954).
//!
//! ```text
//! Greeting ─220─► Ehlo ─250─► StartTls ─220─► Handshake ──► Ehlo ─250─► Login ─235─► Ready
//!                  │  └─────────┴── not wanted, or not to be had and not needed ──────►┘
//!                  └─5yz─► Helo ─250─► Ready, where nothing is needed that HELO cannot ask for
//! ```
//!
//! What was offered in plain text is forgotten at the handshake: [`Handshake`] keeps none of it.
//! Nobody says who we are in plain text, whatever the plan is; TLS that is required and not to be had
//! ends the opening, and so does a login that is refused. What is appended to `out` may hold a
//! password: the caller wipes it.

use bytes::{BufMut, BytesMut};

use crate::client::login::{Login, Mechanism, Step};
use crate::client::{Ready, TlsPolicy};
use crate::extension::Capabilities;
use crate::reply::{Reply, Severity};

/// What has to happen before mail is sent.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// What we say we are.
    pub ehlo_name: &'a str,
    /// Whether the connection has to be protected. With [`TlsPolicy::Implicit`] it is already when
    /// the opening begins.
    pub tls: TlsPolicy,
    /// Who we are, if that is asked for. It is said behind TLS only.
    pub login: Option<Login<'a>>,
}

/// A connection that is not ready for mail yet.
#[derive(Debug)]
pub struct Opening<'a> {
    plan: Plan<'a>,
    channel: Channel,
    awaited: Awaited,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Plain,
    Tls,
}

#[derive(Clone, Copy, Debug)]
enum Awaited {
    Greeting,
    Ehlo,
    Helo,
    /// What was offered goes on to count if TLS is refused and can be done without.
    StartTls(Capabilities),
    Login(Step, Capabilities),
}

/// The upstream has said 220 to STARTTLS: not an octet may be unread, and the next are TLS.
#[derive(Debug)]
pub struct Handshake<'a> {
    plan: Plan<'a>,
}

/// Where a reply has led.
#[derive(Debug)]
pub enum Opened<'a> {
    /// There is a command to send, and a reply to wait for.
    More(Opening<'a>),
    /// TLS begins now.
    Handshake(Handshake<'a>),
    /// Mail may be sent.
    Ready(Ready),
    /// It ends here.
    Failed(OpeningFault),
}

/// Why a connection never became ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpeningFault {
    /// The upstream does not want us, and said why.
    Refused(Reply),
    /// TLS is needed; it is not offered, or was refused like this.
    NoTls(Option<Reply>),
    /// The upstream does not offer the mechanism of the login.
    NoMechanism(Mechanism),
    /// It does not take the login.
    LoginRefused(Reply),
}

impl<'a> Plan<'a> {
    /// Plain text and no login.
    pub const fn plain(ehlo_name: &'a str) -> Self {
        Self { ehlo_name, tls: TlsPolicy::None, login: None }
    }

    const fn needs_tls(&self) -> bool {
        matches!(self.tls, TlsPolicy::Required | TlsPolicy::Implicit) || self.login.is_some()
    }

    /// A reply as it may go to logs: what repeats the secret does not.
    pub fn quotable(&self, reply: &Reply) -> Reply {
        self.login.map_or_else(|| reply.clone(), |login| login.without(reply))
    }

    const fn wants_tls(&self) -> bool {
        self.needs_tls() || matches!(self.tls, TlsPolicy::Opportunistic)
    }
}

impl<'a> Opening<'a> {
    /// The greeting is awaited.
    pub const fn new(plan: Plan<'a>) -> Self {
        let channel = match plan.tls {
            TlsPolicy::Implicit => Channel::Tls,
            TlsPolicy::None | TlsPolicy::Opportunistic | TlsPolicy::Required => Channel::Plain,
        };
        Self { plan, channel, awaited: Awaited::Greeting }
    }

    /// Whether the reply that is waited for says what is offered.
    pub const fn awaits_offer(&self) -> bool {
        matches!(self.awaited, Awaited::Ehlo)
    }

    /// Takes the reply that was waited for; appends the next command to `out` if there is one.
    pub fn handle(self, reply: &Reply, out: &mut BytesMut) -> Opened<'a> {
        let code = reply.code().as_u16();
        match (self.awaited, code, reply.severity()) {
            // 421 as well: who leaves over a login does not want the same one at once again.
            (Awaited::Login(step, capabilities), ..) => {
                self.login_answered(step, capabilities, reply, out)
            }
            // RFC 5321 §3.8: it is leaving, whatever else it was asked.
            (_, 421, _) => Opened::Failed(OpeningFault::Refused(self.plan.quotable(reply))),
            (Awaited::Greeting, 220, _) => self.say(b"EHLO ", Awaited::Ehlo, out),
            (Awaited::Ehlo, 250, _) => self.offered(Capabilities::from_ehlo(reply), out),
            (Awaited::Ehlo, _, Severity::Permanent) => self.ehlo_refused(reply, out),
            (Awaited::Helo, 250, _) => {
                Opened::Ready(Ready { capabilities: Capabilities::default() })
            }
            (Awaited::StartTls(_), 220, _) => Opened::Handshake(Handshake { plan: self.plan }),
            (Awaited::StartTls(plain), _, Severity::Transient | Severity::Permanent) => {
                self.tls_refused(plain, reply)
            }
            _ => Opened::Failed(OpeningFault::Refused(self.plan.quotable(reply))),
        }
    }

    /// RFC 5321 §3.2: HELO only where EHLO is refused for good, and only if nothing is needed that
    /// is an extension.
    fn ehlo_refused(self, reply: &Reply, out: &mut BytesMut) -> Opened<'a> {
        let Plan { login, .. } = self.plan;
        if self.channel == Channel::Plain && self.plan.needs_tls() {
            Opened::Failed(OpeningFault::NoTls(Some(self.plan.quotable(reply))))
        } else if login.is_some() {
            Opened::Failed(OpeningFault::Refused(self.plan.quotable(reply)))
        } else {
            self.say(b"HELO ", Awaited::Helo, out)
        }
    }

    fn offered(self, capabilities: Capabilities, out: &mut BytesMut) -> Opened<'a> {
        if self.channel == Channel::Plain && self.plan.wants_tls() {
            if capabilities.starttls {
                out.put_slice(b"STARTTLS\r\n");
                return self.awaiting(Awaited::StartTls(capabilities));
            }
            if self.plan.needs_tls() {
                return Opened::Failed(OpeningFault::NoTls(None));
            }
        }
        match self.plan.login {
            None => Opened::Ready(Ready { capabilities }),
            Some(login) if capabilities.auth.offers(login.mechanism) => {
                let step = login.begin(out);
                self.awaiting(Awaited::Login(step, capabilities))
            }
            Some(login) => Opened::Failed(OpeningFault::NoMechanism(login.mechanism)),
        }
    }

    /// RFC 3207 §4: the session goes on as it was, if it may.
    fn tls_refused(self, plain: Capabilities, reply: &Reply) -> Opened<'a> {
        if self.plan.needs_tls() {
            Opened::Failed(OpeningFault::NoTls(Some(self.plan.quotable(reply))))
        } else {
            Opened::Ready(Ready { capabilities: plain })
        }
    }

    fn login_answered(
        self,
        step: Step,
        capabilities: Capabilities,
        reply: &Reply,
        out: &mut BytesMut,
    ) -> Opened<'a> {
        let Some(login) = self.plan.login else {
            // A step is made by a login only.
            return Opened::Failed(OpeningFault::LoginRefused(reply.clone()));
        };
        match reply.severity() {
            // Before all is said, a yes is one to somebody else.
            Severity::Positive if step == Step::Complete => Opened::Ready(Ready { capabilities }),
            Severity::Intermediate if reply.code().as_u16() == 334 => {
                match login.answer(step, out) {
                    Some(next) => self.awaiting(Awaited::Login(next, capabilities)),
                    None => Opened::Failed(OpeningFault::LoginRefused(login.without(reply))),
                }
            }
            _ => Opened::Failed(OpeningFault::LoginRefused(login.without(reply))),
        }
    }

    fn say(self, verb: &[u8], awaited: Awaited, out: &mut BytesMut) -> Opened<'a> {
        for part in [verb, self.plan.ehlo_name.as_bytes(), b"\r\n"] {
            out.put_slice(part);
        }
        self.awaiting(awaited)
    }

    const fn awaiting(self, awaited: Awaited) -> Opened<'a> {
        Opened::More(Self { awaited, ..self })
    }
}

impl<'a> Handshake<'a> {
    /// TLS is there: begins anew with EHLO (RFC 3207 §4.2).
    pub fn done(self, out: &mut BytesMut) -> Opening<'a> {
        let Self { plan } = self;
        for part in [b"EHLO ", plan.ehlo_name.as_bytes(), b"\r\n"] {
            out.put_slice(part);
        }
        Opening { plan, channel: Channel::Tls, awaited: Awaited::Ehlo }
    }
}

#[cfg(test)]
mod tests;
