//! TLS with clients: when it begins, how many begin it at once, and what a session keeps of it.
//!
//! A handshake that fails ends the connection: it is counted, and told at debug level only, because
//! anybody can make one fail. The work of a handshake is done on the thread that carries the session,
//! as mail is: a signature takes less than a millisecond, and a second set of threads would only add
//! a wait. What bounds it is [`Gate`].

mod identity;
mod server;

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use gatepost_policy::check::SessionTls;
use gatepost_stream::StreamError;
use metrics::{Counter, counter, describe_counter};
use rustls::{CommonState, HandshakeKind, ProtocolVersion, ServerConnection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::conn::{Conn, End};

pub use self::identity::{
    CertificateChain, ChainFault, ClientCa, Identity, IdentityError, KeyPair,
};
pub use self::server::ServerTls;

/// Handshakes at once, for each core: one costs a core up to a millisecond (RSA) and then waits for
/// the client, most often less than a tenth of a second. So many keep a core busy; with more, when a
/// fleet comes back at once, all would be late and none in time.
const HANDSHAKES_PER_CORE: usize = 128;
/// The same for clients that will be refused: they cannot keep the fleet waiting.
const STRANGERS_PER_CORE: usize = 16;

/// What a listener does about TLS.
#[derive(Clone, Debug)]
pub enum ListenerTls {
    /// Nothing: it speaks plain text.
    None,
    /// Offers STARTTLS (RFC 3207).
    StartTls(Arc<ServerTls>),
    /// Begins with the handshake (RFC 8314 §3.3).
    Implicit(Arc<ServerTls>),
}

/// What a session knows about its TLS.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) version: SessionTls,
    /// For the mail log, like `TLSv1.3 TLS_AES_256_GCM_SHA384`.
    pub(crate) description: Box<str>,
    /// Names in the certificate of the client; none if it has shown none.
    pub(crate) names: Box<[Box<str>]>,
}

/// Who wants a handshake.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    /// A client that is let in.
    Client,
    /// One that will be told that it is not.
    Stranger,
}

/// The places of handshakes.
#[derive(Debug)]
pub(crate) struct Gate {
    clients: Semaphore,
    strangers: Semaphore,
}

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("no place among the handshakes in time")]
    Overload,
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Handshakes of a listener, by how they ended.
#[derive(Debug)]
pub(crate) struct HandshakeMetrics {
    ok: Counter,
    failed: Counter,
    timeout: Counter,
    overload: Counter,
    resumed: Counter,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            clients: Semaphore::new(HANDSHAKES_PER_CORE * cores),
            strangers: Semaphore::new(STRANGERS_PER_CORE * cores),
        }
    }

    async fn enter(&self, caller: Caller, until: Instant) -> Result<SemaphorePermit<'_>, Fault> {
        let places = match caller {
            Caller::Client => &self.clients,
            Caller::Stranger => &self.strangers,
        };
        match tokio::time::timeout_at(until, places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            // It is never closed, so this is the time.
            _ => Err(Fault::Overload),
        }
    }
}

/// Protects a connection, or ends it.
pub(crate) async fn handshake(
    conn: &mut Conn,
    tls: &ServerTls,
    (gate, limit): (&Gate, Duration),
    (caller, client): (Caller, IpAddr),
) -> Result<Box<Secured>, End> {
    let metrics = tls.metrics();
    // Boxed: a handshake is large and soon over, and a session should not idle with room for it.
    let fault = match Box::pin(attempt(conn, tls, (gate, limit), caller)).await {
        Ok(state) => {
            metrics.ok.increment(1);
            if state.handshake_kind() == Some(HandshakeKind::Resumed) {
                metrics.resumed.increment(1);
            }
            return Ok(Box::new(Secured::of(state)));
        }
        Err(fault) => fault,
    };
    match fault {
        Fault::Overload => metrics.overload.increment(1),
        Fault::Stream(StreamError::Elapsed) => metrics.timeout.increment(1),
        Fault::Stream(_) => metrics.failed.increment(1),
    }
    tracing::debug!(%client, "no TLS: {fault}");
    Err(End::Gone)
}

async fn attempt<'c>(
    conn: &'c mut Conn,
    tls: &ServerTls,
    (gate, limit): (&Gate, Duration),
    caller: Caller,
) -> Result<&'c CommonState, Fault> {
    let (mark, until) = (conn.mark(limit), Instant::now() + limit);
    // A client that says nothing takes no place.
    conn.readable(mark).await?;
    let _place = gate.enter(caller, until).await?;
    let connection = ServerConnection::new(tls.config()).map_err(StreamError::from)?;
    Ok(conn.secure(connection.into(), mark).await?)
}

/// How a session is protected.
pub(crate) fn version(secured: Option<&Secured>) -> SessionTls {
    secured.map_or(SessionTls::Plain, |secured| secured.version)
}

impl Secured {
    fn of(state: &CommonState) -> Self {
        let (version, name) = match state.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => (SessionTls::Tls13, "TLSv1.3"),
            _ => (SessionTls::Tls12, "TLSv1.2"),
        };
        let suite = state.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        // rustls marks the suites of TLS 1.3, which have a name without it (RFC 8446 §B.4).
        let suite = suite.unwrap_or_default().replacen("TLS13_", "TLS_", 1);
        let certificate = state.peer_certificates().and_then(<[_]>::first);
        Self {
            version,
            description: format!("{name} {suite}").into(),
            names: certificate.map(identity::client_names).unwrap_or_default(),
        }
    }
}

impl HandshakeMetrics {
    fn new(listener: &str) -> Self {
        describe_counter!("gatepost_tls_handshakes_total", "TLS handshakes, by how they ended");
        describe_counter!(
            "gatepost_tls_resumed_total",
            "TLS handshakes that went on where an earlier session had ended"
        );
        let listener = listener.to_owned();
        let zero = |counter: Counter| {
            counter.increment(0);
            counter
        };
        let handshakes = |result: &'static str| {
            zero(
                counter!("gatepost_tls_handshakes_total", "listener" => listener.clone(), "result" => result),
            )
        };
        Self {
            ok: handshakes("ok"),
            failed: handshakes("failed"),
            timeout: handshakes("timeout"),
            overload: handshakes("overload"),
            resumed: zero(counter!("gatepost_tls_resumed_total", "listener" => listener.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use gatepost_testkit::{Issued, ThrowAwayCa};
    use rustls::pki_types::CertificateDer;

    use super::*;

    #[test]
    fn a_certificate_gives_names_while_it_is_valid_and_not_without_end() {
        let ca = ThrowAwayCa::new();
        let names = |issued: Issued| identity::client_names(&CertificateDer::from(issued.der()));
        assert_eq!(*names(ca.issue(&["App.test", "b.test"])), ["app.test".into(), "b.test".into()]);
        assert!(names(ca.issue_until(&["app.test"], 2001)).is_empty());
        assert!(names(ca.issue(&[])).is_empty(), "no common name");
        let many: Vec<String> = (0..100).map(|n| format!("n{n}.test")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(names(ca.issue(&many)).len(), 64);
        assert!(identity::client_names(&CertificateDer::from(vec![0x30; 100])).is_empty());
    }

    #[tokio::test]
    async fn strangers_wait_for_strangers_only() {
        let gate = Gate { clients: Semaphore::new(2), strangers: Semaphore::new(1) };
        let soon = || Instant::now() + Duration::from_millis(20);
        let _stranger = gate.enter(Caller::Stranger, soon()).await.expect("a place");
        let second = gate.enter(Caller::Stranger, soon()).await;
        assert!(matches!(second, Err(Fault::Overload)), "no second place in time");
        let client = gate.enter(Caller::Client, soon()).await.expect("a place");
        let _other = gate.enter(Caller::Client, soon()).await.expect("another place");
        assert!(gate.enter(Caller::Client, soon()).await.is_err());
        let wait = gate.enter(Caller::Client, Instant::now() + Duration::from_secs(10));
        let (waited, ()) = tokio::join!(wait, async { drop(client) });
        assert!(waited.is_ok(), "the place that was given back");
    }
}
