//! Providers on loopback: SMTP servers that behave as Google, Microsoft, SendGrid, Amazon or
//! SmarterMail document it, and keep a record of what the client did wrong.
//!
//! What makes a provider is data ([`Provider`]); one engine plays all of them. [`Simulator::start`]
//! opens one, [`Simulator::record`] is its judgement: a correct client leaves no violation. It is
//! written from the RFCs and from the providers' documentation, and knows nothing of Gatepost.
//!
//! ```text
//! session (socket, TLS, time) ── dialogue (commands) ─┬─ judge (whose mail is it?)
//!                                                     ├─ limit (how much?)
//!                                                     └─ record (what happened?)
//! ```

mod content;
mod dialogue;
mod identities;
mod judge;
mod limit;
mod login;
mod options;
mod plan;
mod provider;
mod record;
mod session;
mod token;

use std::io;
use std::net::SocketAddr;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time;

pub use self::limit::Limit;
pub use self::options::{Account, SimulatorOptions};
pub use self::provider::Provider;
pub use self::record::{Record, Rule, Violation, ViolationKind};
pub use self::token::ClientCredentials;

use self::identities::ClientIdentities;
use self::limit::Ledger;
use self::plan::Plan;
use self::provider::{Admission, ImplicitTls, Mechanism};
use self::record::Notebook;
use self::session::Entrance;
use self::token::Tokens;
use crate::Received;
use crate::certificate::{CertificateError, KeyedCertificate, ThrowAwayCa, server_config};

/// Pause after a failed accept, which usually means that file descriptors ran out.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

/// Why a simulator cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SimulatorError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A certificate cannot be made or used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A provider without such a limit.
    #[error("{provider} has no limit {limit}; it has {known}")]
    Limit {
        /// The provider.
        provider: Provider,
        /// The limit.
        limit: Limit,
        /// Its limits.
        known: String,
    },
    /// The name of no limit.
    #[error(
        "there is no limit {name:?}; there are {}",
        Limit::ALL.map(Limit::name).join(", ")
    )]
    LimitName {
        /// The name.
        name: String,
    },
    /// The name of no provider.
    #[error(
        "there is no provider {name:?}; there are {}",
        Provider::ALL.map(Provider::name).join(", ")
    )]
    Provider {
        /// The name.
        name: String,
    },
    /// Roots for client certificates that cannot be used.
    #[error("cannot use the roots of client certificates: {reason}")]
    Roots {
        /// Why not.
        reason: String,
    },
    /// A client certificate is wanted of a simulator that has no CA of its own.
    #[error("no throw-away CA: the certificate was given")]
    NoCa,
}

/// A provider that runs. Dropping it stops it, too.
#[derive(Debug)]
pub struct Simulator {
    local_addr: SocketAddr,
    implicit_addr: Option<SocketAddr>,
    token_addr: Option<SocketAddr>,
    ca: Option<ThrowAwayCa>,
    shared: Arc<Shared>,
    stop: watch::Sender<()>,
    tasks: Vec<JoinHandle<()>>,
}

/// What all sessions of one simulator look at.
#[derive(Debug)]
struct Shared {
    plan: Plan,
    notebook: Arc<Notebook>,
    ledger: Mutex<Ledger>,
    tokens: Arc<Tokens>,
    tls: Arc<ServerConfig>,
    identities: Option<ClientIdentities>,
    deliver: Option<mpsc::Sender<Received>>,
    sessions: AtomicU64,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Poisoned only by a panic in one of its additions; that panic is passed on at the end.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Simulator {
    /// Binds, listens and serves; clients can connect from here on. Must be called from within a
    /// tokio runtime.
    pub async fn start(options: SimulatorOptions) -> Result<Self, SimulatorError> {
        let description = options.provider.description();
        let listener = bind(options.bind).await?;
        let implicit = match (description.implicit_tls, options.implicit_bind) {
            (ImplicitTls::None, _) => None,
            (ImplicitTls::Offered, Some(address)) => Some(bind(address).await?),
            (ImplicitTls::Offered, None) => Some(bind((options.bind.ip(), 0).into()).await?),
        };
        let wants_tokens = description.mechanisms.contains(&Mechanism::Xoauth2);
        let token_listener = match options.token_bind {
            Some(address) => Some(bind(address).await?),
            None if wants_tokens => Some(bind((options.bind.ip(), 0).into()).await?),
            None => None,
        };
        let (shared, ca) = prepare(options)?;
        let (stop, stopped) = watch::channel(());
        let mut simulator = Self {
            local_addr: address_of(&listener),
            implicit_addr: implicit.as_ref().map(address_of),
            token_addr: token_listener.as_ref().map(address_of),
            ca,
            shared: Arc::new(shared),
            stop,
            tasks: Vec::new(),
        };
        simulator.serve(listener, Entrance::Plain, stopped.clone());
        if let Some(listener) = implicit {
            simulator.serve(listener, Entrance::Implicit, stopped.clone());
        }
        if let Some(listener) = token_listener {
            simulator.serve_tokens(listener, stopped);
        }
        Ok(simulator)
    }

    /// The address that clients connect to: plain text, with STARTTLS where the provider has it.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The address where TLS begins at once, if the provider has one.
    pub fn implicit_addr(&self) -> Option<SocketAddr> {
        self.implicit_addr
    }

    /// Where tokens for XOAUTH2 come from, if the provider takes them.
    pub fn token_endpoint(&self) -> Option<String> {
        self.token_addr.map(|address| format!("http://{address}/simulated/oauth2/v2.0/token"))
    }

    /// The throw-away CA, in PEM, unless a certificate was given.
    pub fn ca_pem(&self) -> Option<String> {
        self.ca.as_ref().map(ThrowAwayCa::pem)
    }

    /// A client certificate for a DNS name, with the intermediate that has to be shown with it.
    pub fn client_certificate(&self, name: &str) -> Result<KeyedCertificate, SimulatorError> {
        Ok(self.ca.as_ref().ok_or(SimulatorError::NoCa)?.issue_client(name)?)
    }

    /// What it has seen so far.
    pub fn record(&self) -> Record {
        self.shared.notebook.snapshot()
    }

    /// Stops it, and drops all connections where they are. A panic in one of its sessions goes on
    /// here: a judgement with it is worth nothing.
    pub async fn shutdown(mut self) -> Record {
        // Nobody listens any more: then there is nothing to stop.
        let _ = self.stop.send(());
        for task in self.tasks.drain(..) {
            pass_on_panic(task.await);
        }
        self.record()
    }

    fn serve(&mut self, listener: TcpListener, entrance: Entrance, stopped: watch::Receiver<()>) {
        let shared = Arc::clone(&self.shared);
        self.tasks.push(tokio::spawn(accept(listener, entrance, shared, stopped)));
    }

    fn serve_tokens(&mut self, listener: TcpListener, mut stopped: watch::Receiver<()>) {
        let tokens = Arc::clone(&self.shared.tokens);
        let notebook = Arc::clone(&self.shared.notebook);
        self.tasks.push(tokio::spawn(async move {
            tokio::select! {
                _ = token::serve(listener, tokens, notebook) => {}
                _ = stopped.changed() => {}
            }
        }));
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, SimulatorError> {
    TcpListener::bind(address).await.map_err(|source| SimulatorError::Bind { address, source })
}

fn address_of(listener: &TcpListener) -> SocketAddr {
    // A socket that listens has an address.
    listener.local_addr().expect("the address of a listener")
}

fn prepare(options: SimulatorOptions) -> Result<(Shared, Option<ThrowAwayCa>), SimulatorError> {
    let plan = Plan::new(&options)?;
    let description = options.provider.description();
    let (pair, ca) = if let Some(pair) = options.certificate {
        (pair, None)
    } else {
        let ca = ThrowAwayCa::new()?;
        let names = [description.hostname, "localhost", "127.0.0.1", "::1"];
        let names = names.into_iter().map(str::to_owned).chain(options.server_names);
        (ca.issue_server(&names.collect::<Vec<_>>())?, Some(ca))
    };
    let asks = description.admission == Admission::M365Tenant;
    let identities = match options.client_ca.or_else(|| ca.as_ref().map(ThrowAwayCa::pem)) {
        Some(roots) if asks => Some(ClientIdentities::new(&roots)?),
        _ => None,
    };
    let shared = Shared {
        ledger: Mutex::new(Ledger::new(plan.hurry())),
        plan,
        notebook: Arc::default(),
        tokens: Arc::new(Tokens::new(options.token_client, options.token_lifetime)),
        tls: server_config(&pair, identities.as_ref().map(ClientIdentities::verifier))?,
        identities,
        deliver: options.deliver,
        sessions: AtomicU64::new(0),
    };
    Ok((shared, ca))
}

/// Takes connections until it is told to stop, or nobody is left to tell it.
async fn accept(
    listener: TcpListener,
    entrance: Entrance,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<()>,
) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            // The word, or nobody left to say it.
            _ = stopped.changed() => {
                while let Some(ended) = sessions.try_join_next() {
                    pass_on_panic(ended);
                }
                return;
            }
            Some(ended) = sessions.join_next() => pass_on_panic(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    sessions.spawn(serve_one(stream, peer, entrance, Arc::clone(&shared)));
                }
                Err(_) => time::sleep(ACCEPT_BACK_OFF).await,
            },
        }
    }
}

async fn serve_one(stream: TcpStream, peer: SocketAddr, entrance: Entrance, shared: Arc<Shared>) {
    let number = shared.sessions.fetch_add(1, Ordering::Relaxed) + 1;
    if session::serve(stream, peer, (number, entrance), &shared).await.is_err() {
        shared.notebook.note(|record| record.lost_connections += 1);
    }
}

fn pass_on_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        panic::resume_unwind(error.into_panic());
    }
}
