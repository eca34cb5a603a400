//! Whose addresses arrive: many clients behind one address are found out, told and refused; and what
//! else the doctor looks at.

use std::net::SocketAddr;

use gatepost::surroundings::{PlaceKind, Surroundings};
use gatepost_testkit::{ByteClient, ScriptedUpstream, ThrowAwayCa};
use serde_json::Value;

use crate::harness::{converse, get};
use crate::place::{Answer, Place};
use crate::program::Program;

/// What stands between the clients and their addresses.
const NAT: &str = "10.244.0.1";

const POLICY: &str = r#"
[[entry]]
id = "fleet"
networks = ["10.0.0.0/8"]
senders = ["app.test", "<>"]
"#;

/// A place whose clients come by a proxy on 127.0.0.5, with further lines of its listener.
fn place(upstream: SocketAddr, listener: &str) -> Place {
    let place = Place::with_file(upstream);
    let config = std::fs::read_to_string(place.path("gatepost.toml")).expect("readable");
    let proxied = format!(
        "tls = \"none\"\nproxy_protocol = \"required\"\ntrusted_proxies = [\"127.0.0.5\"]\n{listener}\n"
    );
    place.write("gatepost.toml", &config.replacen("tls = \"none\"\n", &proxied, 1));
    place.write("policy.toml", POLICY);
    place
}

/// A session as it would be from an address. The first reply, and that to MAIL if it was greeted.
async fn session(program: &Program, from: &str, name: &str, sender: &str) -> (String, String) {
    let mut client = ByteClient::connect_from([127, 0, 0, 5].into(), program.addr).await;
    client.send_line(&format!("PROXY TCP4 {from} 127.0.0.1 40000 25")).await;
    let greeting = client.read_reply().await;
    if !greeting.starts_with("220") {
        return (greeting, String::new());
    }
    converse(&mut client, &[(&format!("EHLO {name}"), "250")]).await;
    client.send_line(&format!("MAIL FROM:<{sender}>")).await;
    let reply = client.read_reply().await;
    converse(&mut client, &[("QUIT", "221")]).await;
    (greeting, reply)
}

/// Clients behind one address, each with a name and a sender of its own; the sender of every other is
/// refused, which makes it no less a client.
async fn many(program: &Program, from: &str, count: usize) {
    for number in 0..count {
        let domain = if number % 2 == 0 { "app.test" } else { "stranger.test" };
        let (name, sender) = (format!("host{number}.test"), format!("a{number}@{domain}"));
        let (_, reply) = session(program, from, &name, &sender).await;
        assert!(reply.starts_with(if number % 2 == 0 { "250" } else { "550" }), "{reply}");
    }
}

fn metrics_address(program: &mut Program) -> SocketAddr {
    let line = program.wait_for_line("metrics and health");
    let address = line.split(['=', ' ']).find_map(|word| word.trim().parse().ok());
    address.expect("an address")
}

/// A check by its name, as programs read it.
#[track_caller]
fn check<'v>(report: &'v Value, name: &str) -> &'v Value {
    let checks = report["checks"].as_array().expect("checks");
    let found = checks.iter().find(|it| it["name"] == name);
    found.unwrap_or_else(|| panic!("no check {name} in {report:#}"))
}

#[track_caller]
fn assert_line(answer: &Answer, status: &str, name: &str) {
    let is_meant = |line: &str| {
        let mut words = line.split_whitespace();
        words.next() == Some(status) && words.next() == Some(name)
    };
    assert!(answer.stdout.lines().any(is_meant), "{status} {name} in {answer:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_behind_one_address_are_found_out_and_told_of() {
    let upstream = ScriptedUpstream::start();
    let place = place(upstream.addr(), "");
    let mut program = place.run();
    let metrics = metrics_address(&mut program);
    // One program with many senders, and a few hosts of a fleet, are what is usual.
    for number in 0..40 {
        session(&program, "10.1.0.1", "app.test", &format!("user{number}@app.test")).await;
    }
    let usual = place.gatepost(&["doctor"]);
    assert_eq!(usual.code, Some(0), "{usual:#?}");
    assert_line(&usual, "ok", "clients");
    assert!(usual.stdout.contains("\n10.1.0.1  1           1\n"), "{usual:#?}");

    many(&program, NAT, 24).await;
    let answer = place.gatepost(&["doctor"]);
    assert_eq!(answer.code, Some(1), "{answer:#?}");
    assert!(answer.stdout.starts_with("STATUS   CHECK "), "{answer:#?}");
    assert_line(&answer, "problem", "clients");
    for told in [
        "\nproblem: clients: listener smtp: 24 HELO names with 24 senders come by 10.244.0.1, which \
         entry fleet lets in\n    mend: ",
        "\nClients of smtp in the last hour:\n\nADDRESS     HELO NAMES  SENDERS\n10.244.0.1  24          \
         24       stands for many clients\n10.1.0.1    1           1\n",
    ] {
        assert!(answer.stdout.contains(told), "{told} in {}", answer.stdout);
    }
    let report = place.json(&["doctor"]);
    assert_eq!(
        (&report["status"], &check(&report, "clients")["status"]),
        (&"problem".into(), &"problem".into())
    );
    let address = &report["gateway"]["listeners"][0]["addresses"][0];
    let seen = (&address["address"], &address["names"], &address["hides_many"]);
    assert_eq!(seen, (&NAT.into(), &24.into(), &true.into()));

    assert!(
        get(metrics, "/metrics").await.contains("gatepost_hidden_clients{listener=\"smtp\"} 1\n")
    );
    let told = program.wait_for_line("MANY CLIENTS COME BY ONE ADDRESS");
    assert!(told.contains(": 10.244.0.1. ") && told.contains("names=24"), "{told}");
    assert!(!told.contains("refused"), "{told}");
    let (greeting, _) = session(&program, NAT, "more.test", "a@app.test").await;
    assert!(greeting.starts_with("220"), "it is told, and no more: {greeting}");
    program.end();
    upstream.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_behind_one_address_are_refused_where_that_is_wanted() {
    let upstream = ScriptedUpstream::start();
    let place = place(upstream.addr(), "hidden_clients = \"refuse\"");
    let mut program = place.run();
    let metrics = metrics_address(&mut program);
    many(&program, NAT, 19).await;
    assert_line(&place.gatepost(&["doctor"]), "ok", "clients");
    assert!(session(&program, NAT, "host19.test", "a19@app.test").await.0.starts_with("220"));
    assert_line(&place.gatepost(&["doctor"]), "problem", "clients");
    let told = program.wait_for_line("MANY CLIENTS COME BY ONE ADDRESS");
    assert!(told.contains("new sessions from it are refused"), "{told}");

    let (greeting, _) = session(&program, NAT, "host.test", "a@app.test").await;
    assert!(
        greeting.starts_with(
            "554 5.7.1 relay.test: 10.244.0.1 stands for many clients (a NAT or a proxy)"
        ),
        "{greeting}"
    );
    assert!(session(&program, "10.244.0.2", "host.test", "a@app.test").await.0.starts_with("220"));
    let denied = place.done(&["denied"]);
    assert!(
        denied.contains("10.244.0.1  1 ") && denied.contains("hidden_clients of entry fleet"),
        "{denied}"
    );
    let connections = "gatepost_connections_total{listener=\"smtp\",result=\"hidden\"} 1\n";
    assert!(get(metrics, "/metrics").await.contains(connections));
    program.end();

    // It is forgotten with the process.
    let program = place.run();
    assert!(session(&program, NAT, "host.test", "a@app.test").await.0.starts_with("220"));
    program.end();
    upstream.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_looks_where_it_is_off() {
    let upstream = ScriptedUpstream::start();
    let place = place(upstream.addr(), "hidden_clients = \"off\"");
    let program = place.run();
    many(&program, NAT, 30).await;
    let answer = place.gatepost(&["doctor"]);
    assert_line(&answer, "ok", "clients");
    assert!(answer.stdout.contains("smtp: not looked at"), "{answer:#?}");
    program.end();
    upstream.stop().await;
}

/// Only on a machine that has a gateway; where there is none, there is nothing to be told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_lets_a_gateway_in_is_told_of_before_anybody_comes() {
    let surroundings = Surroundings::read();
    let mut places = surroundings.places().iter().filter(|it| it.kind != PlaceKind::Own);
    let Some(gateway) = places.find(|it| it.address.is_ipv4()) else { return };
    let upstream = ScriptedUpstream::start();
    let place = place(upstream.addr(), "");
    let address = gateway.address;
    let mut program = place.run();
    place.write("policy.toml", &POLICY.replace("10.0.0.0/8", &address.to_string()));
    program.signal("HUP");
    program.wait_for_line("policy reloaded");
    assert_line(&place.gatepost(&["doctor"]), "warning", "gateways");
    program.wait_for_line(&format!("entry fleet lets in {gateway}, by its network {address}/32"));
    // Clients that come by it are found out sooner.
    many(&program, &address.to_string(), 6).await;
    let answer = place.gatepost(&["doctor"]);
    assert_line(&answer, "warning", "gateways");
    assert_line(&answer, "problem", "clients");
    assert!(
        answer.stdout.contains(&format!("come by {gateway}, which entry fleet")),
        "{answer:#?}"
    );

    // Refused, it is what somebody will want to allow.
    place.write("policy.toml", POLICY);
    program.signal("HUP");
    program.wait_for_line("policy reloaded");
    assert!(
        session(&program, &address.to_string(), "x.test", "a@app.test").await.0.starts_with("554")
    );
    let answer = place.gatepost(&["doctor"]);
    assert_line(&answer, "warning", "refused");
    assert!(answer.stdout.contains("was refused once: clients are behind it"), "{answer:#?}");
    program.end();
    upstream.stop().await;
}

#[tokio::test]
async fn files_and_the_machine_are_looked_at_without_a_gateway() {
    let upstream = ScriptedUpstream::start();
    let place = Place::with_file(upstream.addr());
    let answer = place.gatepost(&["doctor"]);
    assert_eq!((answer.code, &*answer.stderr), (Some(0), ""), "{answer:#?}");
    for (status, name) in [
        ("warning", "gateway"),
        ("ok", "config"),
        ("ok", "policy"),
        ("ok", "certificates"),
        ("ok", "state_dir"),
        ("warning", "hostname"),
        ("ok", "upstreams"),
        ("ok", "metrics"),
        ("ok", "ports"),
        ("ok", "clock"),
    ] {
        assert_line(&answer, status, name);
    }
    let report = place.json(&["doctor"]);
    assert_eq!((&report["status"], &report["gateway"]), (&"warning".into(), &Value::Null));
    let finding = &check(&report, "hostname")["findings"][0];
    assert_eq!(finding["found"], "hostname relay.test is a name of examples, which nobody has");
    assert!(finding["mend"].as_str().is_some_and(|mend| mend.contains("DNS")), "{report:#}");
    upstream.stop().await;
}

/// What an entry asks for and nobody has; a policy that is not in use; a directory that others write to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_together_is_told() {
    let upstream = ScriptedUpstream::start();
    let place = Place::with_file(upstream.addr());
    let program = place.run();
    assert_line(&place.gatepost(&["doctor"]), "ok", "policy");
    let strict = "networks = [\"127.0.0.9\"]\nsenders = [\"app.test\"]\ntls = \"required\"\n";
    place.write("policy.toml", &format!("[[entry]]\nid = \"strict\"\n{strict}"));
    let mode = std::os::unix::fs::PermissionsExt::from_mode;
    std::fs::set_permissions(place.path("state"), mode(0o750)).expect("is ours");
    let answer = place.gatepost(&["doctor"]);
    assert_line(&answer, "ok", "gateway");
    assert_line(&answer, "warning", "listeners");
    assert_line(&answer, "warning", "state_dir");
    for told in ["entry strict must use TLS, and no listener", "can be entered by others"] {
        assert!(answer.stdout.contains(told), "{told} in {answer:#?}");
    }
    std::fs::set_permissions(place.path("state"), mode(0o777)).expect("is ours");
    let answer = place.gatepost(&["doctor"]);
    assert_line(&answer, "problem", "state_dir");
    assert!(answer.stdout.contains("    mend: chmod 0700 "), "{answer:#?}");
    program.end();
    // What is on the disk is not what is in use, and will not be: nobody may send by it.
    let program = place.run();
    place.write("policy.toml", "# nobody\n");
    let answer = place.gatepost(&["doctor"]);
    assert!(
        answer.stdout.contains("the gateway has another policy in use, generation 1-"),
        "{answer:#?}"
    );
    assert!(answer.stdout.contains("there is no enabled allow entry"), "{answer:#?}");
    program.end();
    upstream.stop().await;
}

/// Each of them ends the command with 1, and none keeps the others from being looked at.
#[tokio::test]
async fn problems_are_told_with_the_mend() {
    let upstream = ScriptedUpstream::start();
    let place = Place::with_file(upstream.addr());
    let good = std::fs::read_to_string(place.path("gatepost.toml")).expect("readable");
    let issued = ThrowAwayCa::new().issue_until(&["relay.test"], 2025);
    place.write("relay.pem", &issued.certificate);
    place.write("relay.key", &issued.key);
    let host = upstream.addr().to_string();
    let tls = "tls = \"starttls\"\ncertificate = \"relay.pem\"\nprivate_key = \"relay.key\"";
    let here = good.replace("127.0.0.1:0\"]", &format!("{host}\"]"));
    for (config, name, told) in [
        (
            good.replacen("tls = \"none\"", tls, 1),
            "certificates",
            "relay.pem has expired at 2025-01-01",
        ),
        (
            good.replacen("tls = \"none\"", &tls.replace("relay.key", "relay.pem"), 1),
            "certificates",
            "relay.pem: no private key is in it",
        ),
        (here, "upstreams", "where this gateway listens: mail would go round in circles"),
        (good.replace("\"state\"", "\"policy.toml\""), "state_dir", "is no directory"),
    ] {
        place.write("gatepost.toml", &config);
        let answer = place.gatepost(&["doctor"]);
        assert_eq!(answer.code, Some(1), "{answer:#?}");
        assert_line(&answer, "problem", name);
        assert_line(&answer, "ok", "clock");
        let line =
            answer.stdout.lines().find(|line| line.starts_with(&format!("problem: {name}: ")));
        assert!(line.is_some_and(|line| line.contains(told)), "{told} in {}", answer.stdout);
    }
    // Names that lead nowhere are no reason to stop: they may lead somewhere tomorrow.
    place.write("gatepost.toml", &good.replace(&host, "nowhere.invalid:25"));
    let answer = place.gatepost(&["doctor"]);
    assert_eq!(answer.code, Some(0), "{answer:#?}");
    assert_line(&answer, "warning", "upstreams");
    upstream.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_ends_the_doctor_as_it_ends_a_start() {
    let upstream = ScriptedUpstream::start();
    let place = Place::with_file(upstream.addr());
    let good = std::fs::read_to_string(place.path("gatepost.toml")).expect("readable");
    place.write("policy.toml", "nonsense");
    place.refused(78, &place.path("policy.toml").display().to_string(), &["doctor"]);
    place.write("gatepost.toml", &good.replace("hostname", "hostnam"));
    place.refused(78, &place.path("gatepost.toml").display().to_string(), &["doctor"]);
    upstream.stop().await;
}
