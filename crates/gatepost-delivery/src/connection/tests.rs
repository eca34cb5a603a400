//! Openings over real sockets and real TLS: what is believed, what is resumed, and what is not done.

use gatepost_testkit::upstream::Builder;
use gatepost_testkit::{Action, ScriptedUpstream, ServerTls, ThrowAwayCa, Versions};
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion};
use zeroize::Zeroizing;

use super::*;
use crate::access::{Access, Keys};
use crate::auth::Credentials;
use crate::hosts::Candidate;
use crate::tls::{Roots, Trust};

/// Who certifies, and an upstream that is certified for 127.0.0.1 and `smtp.test`.
struct World {
    ca: ThrowAwayCa,
    tls: ServerTls,
}

impl World {
    fn new(versions: Versions) -> Self {
        let ca = ThrowAwayCa::new();
        let tls = ServerTls::new(&ca, &ca.issue(&["127.0.0.1", "smtp.test"]), versions);
        Self { ca, tls }
    }

    fn upstream(&self) -> Builder {
        ScriptedUpstream::builder().starttls(&self.tls)
    }

    fn trust(&self) -> Trust {
        Trust::Roots(Roots::from_pem(self.ca.pem().as_bytes()).expect("roots"))
    }

    fn config(&self, tls: TlsPolicy, login: Option<Credentials>) -> UpstreamConfig {
        let trust = match tls {
            TlsPolicy::Opportunistic => Trust::Anybody,
            _ => self.trust(),
        };
        let access = Access::default();
        let keys = Keys { trust, client_certificate: None, credentials: login };
        access.replace(keys).expect("good keys");
        UpstreamConfig { access: Arc::new(access), ..config(tls) }
    }
}

fn config(tls: TlsPolicy) -> UpstreamConfig {
    UpstreamConfig { tls, ..UpstreamConfig::of_test() }
}

fn plain(password: &str) -> Credentials {
    let password = Secret::new(Zeroizing::new(password.as_bytes().to_vec())).expect("a secret");
    Credentials::Plain { username: "tim".into(), password: Arc::new(password) }
}

async fn open(
    upstream: &ScriptedUpstream,
    config: &UpstreamConfig,
) -> Result<(Connection, client::Ready), Trouble> {
    let address = upstream.addr();
    let candidate = Candidate { host: 0, name: address.ip().to_string().into(), address };
    let opened = Connection::open_at(&candidate, config, &Clock::start(), None).await?;
    Ok((opened.connection, opened.ready))
}

async fn trouble(upstream: &ScriptedUpstream, config: &UpstreamConfig) -> String {
    open(upstream, config).await.expect_err("no connection").to_string()
}

#[tokio::test]
async fn the_second_connection_goes_on_with_the_session_of_the_first() {
    for versions in [Versions::Only12, Versions::Only13] {
        let world = World::new(versions);
        for (upstream, tls) in [
            (world.upstream().start(), TlsPolicy::Required),
            (ScriptedUpstream::builder().implicit_tls(&world.tls).start(), TlsPolicy::Implicit),
        ] {
            let config = world.config(tls, None);
            for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
                let (connection, _) = open(&upstream, &config).await.expect("TLS");
                let state = connection.stream.tls().expect("TLS");
                assert_eq!(state.handshake_kind(), Some(kind), "{versions:?} {tls:?}");
                if state.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                    let group = state
                        .negotiated_key_exchange_group()
                        .map(rustls::crypto::SupportedKxGroup::name);
                    assert_eq!(group, Some(NamedGroup::X25519MLKEM768), "resumed or not");
                }
            }
            // Other keys begin anew.
            let keys = Keys { trust: Trust::Anybody, client_certificate: None, credentials: None };
            assert!(config.access.replace(keys).expect("good keys"));
            let (connection, _) = open(&upstream, &config).await.expect("TLS");
            let kind = connection.stream.tls().expect("TLS").handshake_kind();
            assert_eq!(kind, Some(HandshakeKind::Full));
            let resumed: Vec<_> = upstream
                .connections()
                .iter()
                .map(|connection| connection.secured.as_ref().expect("TLS").resumed)
                .collect();
            assert_eq!(resumed, [false, true, true, false]);
            upstream.stop().await;
        }
    }
}

#[tokio::test]
async fn a_certificate_is_for_a_name_or_for_an_address() {
    let world = World::new(Versions::Both);
    let upstream = world.upstream().start();
    let by_address = world.config(TlsPolicy::Required, None);
    let by_name = UpstreamConfig { server_name: Some("smtp.test".into()), ..by_address.clone() };
    let other = UpstreamConfig { server_name: Some("other.test".into()), ..by_address.clone() };
    open(&upstream, &by_address).await.expect("the address is in the certificate");
    open(&upstream, &by_name).await.expect("the name is in the certificate");
    let trouble = trouble(&upstream, &other).await;
    assert!(
        trouble.starts_with("TLS: invalid peer certificate: certificate not valid"),
        "{trouble}"
    );
    let asked_for: Vec<_> = upstream
        .connections()
        .iter()
        .map(|connection| connection.secured.as_ref().and_then(|tls| tls.server_name.clone()))
        .collect();
    // An address is not said (RFC 6066 §3).
    assert_eq!(asked_for[..2], [None, Some("smtp.test".to_owned())]);
    upstream.stop().await;
}

#[tokio::test]
async fn nothing_is_said_in_plain_text_that_is_for_tls() {
    let world = World::new(Versions::Both);
    let refusing = world.upstream().on("STARTTLS", "454 4.7.0 not now").account("tim", "x").start();
    let stripped = ScriptedUpstream::builder().account("tim", "x").start();
    let stranger = World::new(Versions::Both);
    let unknown = stranger.upstream().account("tim", "x").start();
    for (upstream, expected) in [
        (refusing, "no TLS: STARTTLS: 454 4.7.0 not now"),
        (stripped, "no TLS: STARTTLS is not offered"),
        (unknown, "TLS: invalid peer certificate: "),
    ] {
        for login in [None, Some(plain("x"))] {
            let trouble = trouble(&upstream, &world.config(TlsPolicy::Required, login)).await;
            assert!(trouble.starts_with(expected), "{trouble}");
        }
        let mut lines = upstream.lines();
        lines.retain(|line| line != "EHLO relay.test" && line != "STARTTLS");
        assert!(lines.is_empty(), "{lines:?}");
        upstream.stop().await;
    }
}

#[tokio::test]
async fn keys_that_nobody_has_read_open_nothing() {
    let world = World::new(Versions::Both);
    let upstream = world.upstream().start();
    for tls in [TlsPolicy::Required, TlsPolicy::Implicit, TlsPolicy::Opportunistic] {
        assert_eq!(trouble(&upstream, &config(tls)).await, "TLS: no keys were read");
    }
    assert_eq!(upstream.connections_opened(), 0);
    open(&upstream, &config(TlsPolicy::None)).await.expect("plain text needs none");
    upstream.stop().await;
}

#[tokio::test]
async fn opportunistic_tls_believes_anybody_and_goes_without() {
    let (world, stranger) = (World::new(Versions::Both), World::new(Versions::Both));
    let config = world.config(TlsPolicy::Opportunistic, None);
    let unknown = stranger.upstream().start();
    let (connection, _) = open(&unknown, &config).await.expect("TLS with anybody");
    assert!(connection.stream.tls().is_some() && connection.key.is_current(&config));
    unknown.stop().await;
    let broken = world.upstream().on("STARTTLS", "220 go").start();
    broken.on("STARTTLS", Action::ReplyThenRaw("220 go".into(), b"not TLS at all\r\n".to_vec()));
    let (connection, _) = open(&broken, &config).await.expect("plain text");
    assert!(connection.stream.tls().is_none() && connection.key.is_current(&config));
    assert_eq!(broken.connections_opened(), 2, "the broken one is given up");
    broken.stop().await;
}

/// RFC 3207 §6 from the other side: whoever sits on the line can say something behind the 220.
#[tokio::test]
async fn what_is_said_behind_220_is_fatal() {
    let world = World::new(Versions::Both);
    let injected = "250-sink.test\n250 CHUNKING".to_owned();
    for (action, expected) in [
        (
            Action::TwoReplies("220 go".into(), injected.clone()),
            "protocol fault: a reply that answers nothing",
        ),
        (Action::Raw(b"220 go\r\n2".to_vec()), "protocol fault: a reply that answers nothing"),
        (
            Action::ReplyThenRaw("220 go".into(), b"250 sink.test\r\n".to_vec()),
            "TLS: received corrupt message of type InvalidContentType",
        ),
    ] {
        let upstream = world.upstream().on("STARTTLS", action).start();
        let trouble = trouble(&upstream, &world.config(TlsPolicy::Required, None)).await;
        assert_eq!(trouble, expected);
        assert_eq!(upstream.lines(), ["EHLO relay.test", "STARTTLS"]);
        upstream.stop().await;
    }
}

#[tokio::test]
async fn what_was_offered_in_plain_text_is_forgotten() {
    let world = World::new(Versions::Both);
    let upstream = world
        .upstream()
        .extensions(&["CHUNKING", "SMTPUTF8", "AUTH PLAIN"])
        .extensions_behind_tls(&["DSN"])
        .start();
    let (_, ready) = open(&upstream, &world.config(TlsPolicy::Required, None)).await.expect("TLS");
    let capabilities = ready.capabilities();
    assert!(capabilities.dsn && !capabilities.chunking && !capabilities.smtputf8);
    let trouble = trouble(&upstream, &world.config(TlsPolicy::Required, Some(plain("x")))).await;
    assert_eq!(trouble, "AUTH PLAIN is not offered");
    upstream.stop().await;
}

#[tokio::test]
async fn a_login_is_part_of_the_connection() {
    let world = World::new(Versions::Both);
    let upstream = world.upstream().account("tim", "right").start();
    let config = world.config(TlsPolicy::Required, Some(plain("right")));
    let (connection, _) = open(&upstream, &config).await.expect("logged in");
    assert!(connection.key.is_current(&config));
    let wrong = world.config(TlsPolicy::Required, Some(plain("wrong")));
    let trouble = trouble(&upstream, &wrong).await;
    assert_eq!(trouble, "AUTH refused: 535 5.7.8 authentication failed");
    // Another password is another identity.
    let credentials = Some(plain("right two"));
    let keys = Keys { trust: world.trust(), client_certificate: None, credentials };
    assert!(config.access.replace(keys).expect("good keys"));
    assert!(!connection.key.is_current(&config));
    let shown = format!("{connection:?} {config:?}");
    assert!(!shown.contains("right") && !shown.contains("wrong"), "{shown}");
    upstream.stop().await;
}

/// What was offered before TLS is not even told.
#[tokio::test]
async fn an_offer_of_before_tls_is_nobodys() {
    let world = World::new(Versions::Both);
    let upstream = world.upstream().on_nth("EHLO", 2, "502 5.5.1 no").start();
    let config = world.config(TlsPolicy::Required, None);
    let address = upstream.addr();
    let candidate = Candidate { host: 0, name: address.ip().to_string().into(), address };
    let opened = Connection::open_at(&candidate, &config, &Clock::start(), None).await;
    assert_eq!(opened.expect("by HELO").offer, Offer::default());
    upstream.stop().await;
}
