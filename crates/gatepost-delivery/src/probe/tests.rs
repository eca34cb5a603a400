use gatepost_testkit::upstream::END_OF_DATA;
use gatepost_testkit::{ScriptedUpstream, ServerTls, ThrowAwayCa, Versions};
use zeroize::Zeroizing;

use super::*;
use crate::TlsPolicy;
use crate::access::{Access, Keys};
use crate::auth::{Credentials, Secret};
use crate::tls::{Roots, Trust};
use crate::transcript::Voice;
use crate::upstream::UpstreamConfig;

fn plain(upstream: &ScriptedUpstream) -> UpstreamConfig {
    let host = upstream.addr().to_string().parse().expect("an address");
    UpstreamConfig { hosts: vec![host], ..UpstreamConfig::of_test() }
}

fn mail() -> ProbeMail {
    ProbeMail {
        from: "a@b.test".into(),
        to: "c@d.test".into(),
        content: Bytes::from_static(b"Subject: x\r\n\r\ny\r\n"),
    }
}

fn lines(probe: &Probe, voice: Voice) -> Vec<&str> {
    let lines = probe.transcript.lines().iter().filter(|line| line.voice == voice);
    lines.map(|line| line.text.as_str()).collect()
}

#[tokio::test]
async fn a_message_is_sent_command_by_command() {
    let upstream = ScriptedUpstream::start();
    let probe = probe(&plain(&upstream), &Clock::start(), Some(&mail())).await;
    assert!(probe.trouble.is_none(), "{:?}", probe.trouble);
    assert_eq!(probe.mail.as_ref().map(Reply::is_positive), Some(true));
    assert_eq!(
        lines(&probe, Voice::Ours),
        ["EHLO relay.test", "MAIL FROM:<a@b.test> SIZE=17", "RCPT TO:<c@d.test>", "DATA"]
    );
    let messages = upstream.messages();
    assert_eq!(messages.len(), 1);
    assert!(probe.connected.expect("connected").offer.lines().any(|line| line == "PIPELINING"));
}

#[tokio::test]
async fn a_refusal_is_the_answer() {
    for (command, reply) in [
        ("MAIL", "550 5.7.1 not you"),
        ("RCPT", "450 4.2.1 later"),
        ("DATA", "554 5.7.0 no"),
        (END_OF_DATA, "554 5.6.0 not that"),
    ] {
        let upstream = ScriptedUpstream::builder().on(command, reply).start();
        let probe = probe(&plain(&upstream), &Clock::start(), Some(&mail())).await;
        assert_eq!(lines(&probe, Voice::Theirs).last(), Some(&reply), "status and all");
        assert_eq!(probe.mail.expect("an answer").to_string(), reply);
        assert!(probe.trouble.is_none());
    }
}

#[tokio::test]
async fn tls_and_the_login_are_shown_and_the_password_is_not() {
    let ca = ThrowAwayCa::new();
    let tls = ServerTls::new(&ca, &ca.issue(&["127.0.0.1"]), Versions::Both);
    let upstream = ScriptedUpstream::builder().starttls(&tls).account("tim", "tanstaaf").start();
    let password = Secret::new(Zeroizing::new(b"tanstaaf".to_vec())).expect("a secret");
    let access = Access::default();
    let keys = Keys {
        trust: Trust::Roots(Roots::from_pem(ca.pem().as_bytes()).expect("roots")),
        client_certificate: None,
        credentials: Some(Credentials::Plain { username: "tim".into(), password: password.into() }),
    };
    access.replace(keys).expect("good keys");
    let config =
        UpstreamConfig { tls: TlsPolicy::Required, access: access.into(), ..plain(&upstream) };
    let probe = probe(&config, &Clock::start(), None).await;
    assert!(probe.trouble.is_none(), "{:?}", probe.trouble);
    assert_eq!(
        lines(&probe, Voice::Ours),
        ["EHLO relay.test", "STARTTLS", "EHLO relay.test", "AUTH PLAIN ********"]
    );
    let connected = probe.connected.expect("connected");
    let tls = connected.tls.expect("TLS");
    assert_eq!((tls.version.as_str(), tls.is_verified), ("TLSv1_3", true));
    assert_eq!(tls.certificates.len(), 1);
    assert_eq!(connected.login, Some((Mechanism::Plain, "tim".into())));
}

#[tokio::test]
async fn what_does_not_work_is_named() {
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        listener.local_addr().expect("is bound").to_string()
    };
    let config = UpstreamConfig {
        hosts: vec![closed.parse().expect("a host")],
        ..UpstreamConfig::of_test()
    };
    let probe = probe(&config, &Clock::start(), Some(&mail())).await;
    let trouble = probe.trouble.as_ref().expect("nobody is there").to_string();
    assert!(trouble.starts_with("cannot connect: "), "{trouble}");
    assert_eq!(lines(&probe, Voice::Note).len(), 2, "where, and what came of it");
    assert!(probe.connected.is_none() && probe.mail.is_none());
}

fn logged_in(upstreams: &[&ScriptedUpstream], ca: &ThrowAwayCa, password: &str) -> UpstreamConfig {
    let password = Secret::new(Zeroizing::new(password.as_bytes().to_vec())).expect("a secret");
    let access = Access::default();
    let keys = Keys {
        trust: Trust::Roots(Roots::from_pem(ca.pem().as_bytes()).expect("roots")),
        client_certificate: None,
        credentials: Some(Credentials::Plain { username: "tim".into(), password: password.into() }),
    };
    access.replace(keys).expect("good keys");
    let hosts = upstreams.iter().map(|it| it.addr().to_string().parse().expect("an address"));
    UpstreamConfig {
        tls: TlsPolicy::Required,
        access: access.into(),
        hosts: hosts.collect(),
        ..UpstreamConfig::of_test()
    }
}

/// A transcript is what people paste into tickets.
#[tokio::test]
async fn an_upstream_that_repeats_the_password_is_not_quoted() {
    let ca = ThrowAwayCa::new();
    let tls = ServerTls::new(&ca, &ca.issue(&["127.0.0.1"]), Versions::Both);
    for reply in [
        "500 5.5.1 unrecognized command: AUTH PLAIN AHRpbQB0YW5zdGFhZg==",
        "421 4.7.0 unrecognized command: AUTH PLAIN AHRpbQB0YW5zdGFhZg==",
        "235 2.7.0 welcome, tanstaaf",
    ] {
        let upstream = ScriptedUpstream::builder()
            .starttls(&tls)
            .account("tim", "x")
            .on("AUTH", reply)
            .start();
        let probe = probe(&logged_in(&[&upstream], &ca, "tanstaaf"), &Clock::start(), None).await;
        let shown = format!("{probe:?}");
        assert!(!shown.contains("tanstaaf") && !shown.contains("AHRpbQB0"), "{shown}");
    }
}

/// Accounts are locked by passwords that are tried at every address.
#[tokio::test]
async fn a_password_that_is_wrong_is_not_tried_everywhere() {
    let ca = ThrowAwayCa::new();
    let tls = ServerTls::new(&ca, &ca.issue(&["127.0.0.1"]), Versions::Both);
    let start = || ScriptedUpstream::builder().starttls(&tls).account("tim", "right").start();
    let upstreams = [start(), start(), start(), start()];
    let config = logged_in(&upstreams.each_ref(), &ca, "wrong");
    let tried = || {
        let lines = upstreams.iter().flat_map(ScriptedUpstream::lines);
        lines.filter(|line| line.starts_with("AUTH")).count()
    };
    assert!(probe(&config, &Clock::start(), None).await.trouble.is_some());
    assert_eq!(tried(), 2, "by a probe");
    let hosts = Hosts::new(&config);
    Connection::open(&config, &hosts, &Clock::start(), None).await.expect_err("is wrong");
    assert_eq!(tried(), 4, "by the pool");
}

/// Logins are what providers count: 421 to one is a failure as every other.
#[tokio::test]
async fn a_login_that_ends_with_421_is_not_tried_all_the_time() {
    let ca = ThrowAwayCa::new();
    let tls = ServerTls::new(&ca, &ca.issue(&["127.0.0.1"]), Versions::Both);
    let upstream = ScriptedUpstream::builder()
        .starttls(&tls)
        .account("tim", "x")
        .on("AUTH", "421 4.7.0 too many login attempts")
        .start();
    let used = crate::Upstream::new(logged_in(&[&upstream], &ca, "x"), Clock::start());
    for _ in 0..30 {
        assert!(used.checkout(&"entry".into()).await.is_err(), "nobody gets in");
    }
    let tried = upstream.lines().iter().filter(|line| line.starts_with("AUTH")).count();
    assert!(tried <= 6, "{tried}");
}
