//! AUTH: the dialogue (RFC 4954 §4), and what a failure costs.
//!
//! A wrong password is answered late, and after three of them the session is over. A name that
//! nobody has and a password that is wrong are the same to the client, in words and in time. What a
//! client has said is kept no longer than it takes, and written down nowhere: a name that nobody has
//! may well be a password.

use std::net::IpAddr;
use std::sync::Arc;

use gatepost_policy::check;
use gatepost_policy::credential::Credential;
use gatepost_policy::generation::Generation;
use gatepost_smtp::command::Auth;
use gatepost_smtp::reply::Reply;
use gatepost_smtp::sasl::{Advance, Attempt, Exchange, SaslError};
use gatepost_smtp::server::{Hello, Ready, replies};
use tokio::time::Instant;

use super::{LoggedIn, Session};
use crate::answer::{self, FailedLogin};
use crate::auth::Against;
use crate::conn::{Conn, End, Heard};
use crate::listener::Listener;
use crate::service::Service;
use crate::tls::{self, Secured};
use gatepost_relay::Id;

/// Wrong passwords of a session, after which it is closed.
const FAILURES_MAX: u32 = 3;
/// A pause is at most this many times as long as the first.
const PAUSES_MAX: u32 = 8;

const TOO_MANY_FAILURES: Reply =
    Reply::fixed(454, (4, 7, 0), "too many failures of this address, try again later");
const TOO_MANY_LOGINS: Reply = Reply::fixed(454, (4, 7, 0), "too many logins at once, try again");
const LAST_FAILURE: Reply = Reply::fixed(421, (4, 7, 0), "too many failures to authenticate");

/// A client that wants to authenticate.
pub(crate) struct Claim<'s> {
    pub(crate) service: &'s Service,
    pub(crate) listener: &'s Listener,
    pub(crate) id: Id,
    pub(crate) client: IpAddr,
    pub(crate) hello: &'s Hello,
    pub(crate) tls: Option<&'s Secured>,
    /// The entry that has let it in, and where that is from.
    pub(crate) entry: Option<&'s Arc<str>>,
    pub(crate) generation: Generation,
}

/// What AUTH asks for, once it was read: the line it stood in is gone.
pub(super) enum Asked {
    Begun(Advance),
    Mechanism,
}

/// What a client has said until the end of the dialogue.
enum Said {
    Attempt(Attempt),
    /// A name or a password that nobody can have.
    Nonsense,
    /// It was over before that, and the client was told why.
    Nothing,
}

impl Asked {
    pub(super) fn of(auth: &Auth<'_>) -> Self {
        match auth.mechanism {
            Some(mechanism) => Self::Begun(Exchange::begin(mechanism, auth.initial_response)),
            None => Self::Mechanism,
        }
    }
}

impl Session {
    /// AUTH between transactions.
    pub(super) async fn authenticate(
        &mut self,
        conn: &mut Conn,
        ready: Ready,
        asked: Asked,
    ) -> Result<Ready, End> {
        if self.login.is_some() {
            conn.fault(&replies::AUTH_ALREADY)?;
            return Ok(ready);
        }
        let tls = Some(tls::version(self.tls.as_deref()));
        if let Err(refusal) = check::auth(self.listener.config.auth, Some(&self.entry), tls) {
            conn.fault(&refusal.reply)?;
            return Ok(ready);
        }
        let claim = Claim {
            service: &self.service,
            listener: &self.listener,
            id: self.id,
            client: self.client,
            hello: ready.hello(),
            tls: self.tls.as_deref(),
            entry: Some(self.entry.id()),
            generation: self.generation,
        };
        let mut failures = self.auth_failures;
        let proved = claim.run(conn, asked, &mut failures).await;
        self.auth_failures = failures;
        let Some(credential) = proved? else { return Ok(ready) };
        // Its connections are counted beside those of the entry.
        let connection = match check::connect(credential.entry()) {
            Ok(connection) => connection,
            Err(refusal) => return Err(conn.say_last(&refusal.reply)),
        };
        conn.say(&replies::AUTHENTICATED);
        self.login = Some(Box::new(LoggedIn { credential, connection: Some(connection) }));
        Ok(ready)
    }
}

impl Claim<'_> {
    /// Runs AUTH to its end. Success is still to be said; everything else was.
    pub(super) async fn run(
        &self,
        conn: &mut Conn,
        asked: Asked,
        failures: &mut u32,
    ) -> Result<Option<Arc<Credential>>, End> {
        let (metrics, authenticator) = (&self.listener.metrics.auth, &self.service.authenticator);
        let Asked::Begun(begun) = asked else {
            conn.fault(&replies::AUTH_MECHANISM)?;
            return Ok(None);
        };
        if authenticator.failures.are_too_many(self.client, Instant::now()) {
            return self.put_off(conn, &TOO_MANY_FAILURES);
        }
        let said = self.hear(conn, begun).await;
        let attempt = match said.inspect_err(|_| metrics.aborted.increment(1))? {
            Said::Attempt(attempt) => attempt,
            Said::Nonsense => return self.fail(conn, None, failures).await,
            Said::Nothing => {
                metrics.aborted.increment(1);
                return Ok(None);
            }
        };
        let (known, stands_in) = self.look_up(attempt.username());
        let against = known.clone().map_or(Against::Nobody(stands_in), Against::Credential);
        let Ok(verified) = authenticator.verify(against, attempt.into_password()).await else {
            metrics.overload.increment(1);
            conn.say(&TOO_MANY_LOGINS);
            return conn.idled().map(|()| None);
        };
        // Many may have been asked at once: nobody learns from more than are allowed.
        if authenticator.failures.are_too_many(self.client, Instant::now()) {
            return self.put_off(conn, &TOO_MANY_FAILURES);
        }
        match verified {
            Some(credential) => {
                metrics.ok.increment(1);
                Ok(Some(credential))
            }
            None => self.fail(conn, known.as_deref(), failures).await,
        }
    }

    /// Asks until all is said.
    async fn hear(&self, conn: &mut Conn, mut advance: Advance) -> Result<Said, End> {
        loop {
            // RFC 4954 §4: it ends a group, and so does every answer to a challenge.
            if !conn.input().is_empty() {
                return Err(conn.say_last(&replies::AUTH_NOT_AWAITED));
            }
            let exchange = match advance {
                Advance::Attempt(attempt) => return Ok(Said::Attempt(attempt)),
                Advance::Failed(SaslError::Refused) => return Ok(Said::Nonsense),
                Advance::Failed(error) => {
                    conn.fault(&error.reply())?;
                    return Ok(Said::Nothing);
                }
                Advance::Ask(exchange, challenge) => {
                    conn.say(&challenge);
                    exchange
                }
            };
            advance = match conn.hear_response(self.service.config.command_timeout).await? {
                Heard::Line(octets) => {
                    let advance = exchange.respond(conn.line(octets));
                    conn.consume(octets);
                    advance
                }
                Heard::Fault(reply) => {
                    conn.fault(&reply)?;
                    return Ok(Said::Nothing);
                }
            };
        }
    }

    /// The credential of a name, and the one whose hash stands in if there is none.
    fn look_up(&self, username: &[u8]) -> (Option<Arc<Credential>>, Option<Arc<Credential>>) {
        let ruleset = self.service.policy.load();
        let listener = self.listener.config.id;
        // Both are looked for, always.
        let known = ruleset.credential_of(listener, username).cloned();
        (known, ruleset.decoy(listener, username).cloned())
    }

    fn put_off(&self, conn: &mut Conn, reply: &Reply) -> Result<Option<Arc<Credential>>, End> {
        self.listener.metrics.auth.limited.increment(1);
        conn.fault(reply).map(|()| None)
    }

    /// A failure: written down, answered late, and the last of the session if there were others.
    async fn fail(
        &self,
        conn: &mut Conn,
        known: Option<&Credential>,
        failures: &mut u32,
    ) -> Result<Option<Arc<Credential>>, End> {
        let refusal = check::auth_failed();
        self.listener.metrics.auth.failed.increment(1);
        answer::log_login(self, &FailedLogin { refusal: &refusal, known });
        let of_address = self.service.authenticator.failures.count(self.client, Instant::now());
        let pauses = 1 << of_address.saturating_sub(1).min(PAUSES_MAX.ilog2());
        let pause = self.service.config.auth_pause * pauses;
        // It is cut short when service ends: the session is over then, and nothing is guessed in it.
        let _ = tokio::time::timeout(pause, self.service.drain.begun()).await;
        conn.say(&refusal.reply);
        *failures += 1;
        if *failures >= FAILURES_MAX {
            return Err(conn.say_last(&LAST_FAILURE));
        }
        Ok(None)
    }
}
