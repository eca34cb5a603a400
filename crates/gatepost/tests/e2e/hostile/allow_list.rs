//! Who claims to be somebody else, and policies that would let anybody in. How networks are written
//! and what is refused there is in the unit tests of `gatepost-policy`.

use gatepost_testkit::{ByteClient, ScriptedUpstream};

use crate::harness::{Harness, Settings, converse, send_message};
use crate::proxy::{PROXY, connect, start, v2};

/// XCLIENT and XFORWARD (Postfix XCLIENT_README): nobody may say who the client is, listed or not,
/// at any moment. They are not offered, and they go to no upstream, even to one that offers them.
#[tokio::test]
async fn xclient_and_xforward_are_nobodys_command() {
    let offers = ["PIPELINING", "XCLIENT NAME ADDR PORT PROTO HELO LOGIN", "XFORWARD NAME ADDR"];
    let upstream = ScriptedUpstream::builder().extensions(&offers).start();
    let harness = Harness::start(upstream.addr());
    let claims = [
        ("XCLIENT ADDR=127.0.0.3 NAME=spike.test", "500 5.5.1"),
        ("xclient LOGIN=admin", "500 5.5.1"),
        ("XFORWARD ADDR=127.0.0.3", "500 5.5.1"),
        ("XFORWARD NAME=[UNAVAILABLE]", "500 5.5.1"),
    ];
    let mut client = ByteClient::connect(harness.addr()).await;
    client.expect("220").await;
    converse(&mut client, &claims).await;
    client.send_line("EHLO app.test").await;
    let offered = client.read_reply().await;
    assert!(!offered.contains("XCLIENT") && !offered.contains("XFORWARD"), "{offered}");
    client.send_line("HELP").await;
    assert!(!client.read_reply().await.contains("XCLIENT"));
    converse(&mut client, &claims).await;
    converse(&mut client, &[("MAIL FROM:<a@app.test>", "250")]).await;
    converse(&mut client, &claims).await;
    converse(&mut client, &[("RSET", "250")]).await;
    assert!(send_message(&mut client, b"x\r\n").await.starts_with("250"));
    let line = upstream.messages()[0].text();
    assert!(line.starts_with("Received: from app.test ([127.0.0.1]) by"), "{line}");
    assert!(!upstream.lines().iter().any(|line| line.starts_with('X')), "{:?}", upstream.lines());

    let mut stranger = ByteClient::connect_from([127, 0, 0, 2].into(), harness.addr()).await;
    stranger.expect("554").await;
    converse(&mut stranger, &[("XCLIENT ADDR=127.0.0.1", "503"), ("EHLO app.test", "503")]).await;
    upstream.stop().await;
}

/// RFC 4291 §2.5.5, RFC 6052, RFC 3056, RFC 4380: an IPv4 address that an attacker has put into an
/// IPv6 address is not the client's. Only the mapped form is, because it is what a socket shows.
#[tokio::test]
async fn an_embedded_ipv4_address_is_not_the_clients() {
    let upstream = ScriptedUpstream::start();
    let harness = start(&upstream, "", "");
    for claimed in [
        "::203.0.113.9",
        "64:ff9b::203.0.113.9",
        "64:ff9b:1::203.0.113.9",
        "2002:cb00:7109::1",
        "2001:0:cb00:7109::1",
        "2001:0:4136:e378:8000:63bf:34ff:8ef6",
        "::ffff:0:203.0.113.9",
        "fe80::5efe:203.0.113.9",
    ] {
        let address: std::net::Ipv6Addr = claimed.parse().expect(claimed);
        let mut client = connect(&harness, PROXY, &v2(claimed, b"")).await;
        let told = format!("554 5.7.1 relay.test: {address} is not on the allow-list");
        client.expect(&told).await;
        client.send_line("QUIT").await;
        client.expect("221").await;
    }
    connect(&harness, PROXY, &v2("::ffff:203.0.113.9", b"")).await.expect("220").await;
    upstream.stop().await;
}

/// The longest prefix decides, in whatever order the entries stand: a deny inside an allow, and an
/// allow inside that.
#[tokio::test]
async fn the_narrowest_entry_decides_over_real_sockets() {
    let upstream = ScriptedUpstream::start();
    let allow = |id: &str, network: &str| {
        format!("[[entry]]\nid = \"{id}\"\nnetworks = [\"{network}\"]\nsenders = [\"app.test\"]\n")
    };
    let deny = "[[entry]]\nid = \"cut\"\nnetworks = [\"127.2.3.0/24\"]\naction = \"deny\"\n";
    let (wide, one) = (allow("wide", "127.2.0.0/16"), allow("one", "127.2.3.4"));
    for policy in [[&*wide, deny, &one], [&*one, deny, &wide], [deny, &one, &wide]] {
        let policy = Some(policy.concat());
        let harness = Harness::with(upstream.addr(), &Settings { policy, ..Settings::default() });
        for (address, greeting) in [
            ([127, 2, 0, 0], "220"),
            ([127, 2, 2, 255], "220"),
            ([127, 2, 3, 0], "554 5.7.1 relay.test: 127.2.3.0 is blocked by entry cut"),
            ([127, 2, 3, 3], "554"),
            ([127, 2, 3, 4], "220"),
            ([127, 2, 3, 5], "554"),
            ([127, 2, 4, 0], "220"),
            ([127, 1, 255, 255], "554 5.7.1 relay.test: 127.1.255.255 is not on the allow-list"),
            ([127, 3, 0, 0], "554"),
        ] {
            let mut client = ByteClient::connect_from(address.into(), harness.addr()).await;
            client.expect(greeting).await;
        }
    }
    upstream.stop().await;
}

/// The open relay by accident: everybody in two halves, nobody at all, or a network that is not one.
/// Each is refused when it is read, and the policy that was stays.
#[tokio::test]
async fn a_policy_that_opens_the_relay_is_never_taken_into_use() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let entry = |networks: &str| {
        format!(
            "[[entry]]\nid = \"all\"\nnetworks = [{networks}]\nsenders = [\"*\"]\n\
             acknowledge = \"i_understand_open_relay\"\n"
        )
    };
    for networks in [
        "\"0.0.0.0/0\"",
        "\"::/0\"",
        "\"::ffff:0:0/96\"",
        "\"0.0.0.0/1\", \"128.0.0.0/1\"",
        "\"0.0.0.0/2\", \"64.0.0.0/2\", \"128.0.0.0/1\"",
        "\"::/1\", \"8000::/1\"",
        "\"10/8\"",
        "\"010.0.0.1\"",
        "\"10.1.2.3/24\"",
    ] {
        let refused = "gatepost_policy_reloads_total{result=\"refused\"}";
        let before = harness.metric(refused).await;
        harness.write_policy(&entry(networks));
        harness.gateway.reload().await.expect("no panic");
        assert!(harness.metric(refused).await > before, "{networks}");
        assert_eq!(harness.metric("gatepost_policy_revision").await, 1, "{networks}");
        let mut stranger = ByteClient::connect_from([127, 0, 0, 2].into(), harness.addr()).await;
        stranger.expect("554 5.7.1").await;
        harness.client().await;
    }
    upstream.stop().await;
}
