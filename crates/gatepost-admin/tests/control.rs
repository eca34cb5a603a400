//! The control socket over a real Unix socket: what it shows, and what it refuses.

mod world;

use gatepost_admin::control::{ControlError, EditCause, EditRequest, EntryLive, EntryView, Page};
use gatepost_registry::{
    item::Kind,
    store::{Edit, Operation},
};
use serde_json::json;

use crate::world::{World, policy, ruleset, upstreams};

fn ids(page: &Page<EntryView>) -> Vec<&str> {
    page.items.iter().map(|entry| entry.id.as_str()).collect()
}

#[tokio::test]
async fn entries_are_listed_page_by_page() {
    let world = World::start(&policy(5));
    let client = world.client().await;
    let mut listing = client.entries().with_limit(2);
    for expected in [&["e0", "e1"][..], &["e2", "e3"], &["e4"]] {
        let page = listing.next_page().await.expect("an answer").expect("a page");
        assert_eq!(ids(&page), expected);
        assert_eq!(page.generation, world.snapshot.load().generation().to_string());
        assert_eq!(page.next.is_none(), expected == ["e4"]);
    }
    assert_eq!(listing.next_page().await.expect("no error"), None);

    // The last page may be full.
    let mut listing = client.entries().with_limit(5);
    let page = listing.next_page().await.expect("an answer").expect("a page");
    assert_eq!((page.items.len(), page.next), (5, None));
}

#[tokio::test]
async fn many_entries_come_in_their_order() {
    let world = World::start(&policy(2500));
    let client = world.client().await;
    let all = client.all_entries().await.expect("all");
    let expected: Vec<_> = (0..2500).map(|n| format!("e{n}")).collect();
    assert_eq!(ids(&all), expected);
    assert_eq!(all.generation, client.status().await.expect("a status").generation);
    assert_eq!(all.next, None);
}

#[tokio::test]
async fn a_policy_without_entries_is_one_empty_page() {
    let world = World::start("");
    let all = world.client().await.all_entries().await.expect("all");
    assert!(all.items.is_empty() && !all.generation.is_empty());
}

#[tokio::test]
async fn a_page_of_large_entries_is_short() {
    let large = "x".repeat(3 << 20);
    let text = policy(3).replace("senders", &format!("description = \"{large}\"\nsenders"));
    let world = World::start(&text);
    let client = world.client().await;
    let page = client.entries().next_page().await.expect("an answer").expect("a page");
    assert_eq!(ids(&page), ["e0", "e1"]);
    assert_eq!(ids(&client.all_entries().await.expect("all")), ["e0", "e1", "e2"]);
}

#[tokio::test]
async fn one_entry_is_shown_with_what_is_live() {
    let world = World::start(&policy(3));
    let client = world.client().await;
    let connections = {
        let ruleset = world.snapshot.load();
        let entry = ruleset.entry("e1").expect("exists");
        [entry.connect(), entry.connect()]
    };
    let entry = client.entry("e1").await.expect("an answer").expect("exists");
    assert_eq!((entry.id.as_str(), entry.live), ("e1", Some(EntryLive { connections: 2 })));
    drop(connections);
    let page = client.all_entries().await.expect("all");
    assert_eq!(page.items[1].live, Some(EntryLive { connections: 0 }));

    for unknown in ["e3", "", "../status", "e1?a", "e1/", "é", "E1"] {
        assert_eq!(client.entry(unknown).await.expect("an answer"), None, "{unknown}");
    }
    let answer = world.get("/v1/entries/e3").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.body, json!({ "error": "there is no entry \"e3\"" }));
}

#[tokio::test]
async fn a_listing_never_mixes_two_policies() {
    let world = World::start(&policy(5));
    let client = world.client().await;
    let mut listing = client.entries().with_limit(2);
    let page = listing.next_page().await.expect("an answer").expect("a page");
    world.publish(7, &policy(4));
    for _ in 0..2 {
        let error = listing.next_page().await.expect_err("the policy is another");
        assert!(matches!(error, ControlError::PolicyChanged), "{error}");
    }

    let answer = world.get(&format!("/v1/entries?after={}", page.next.expect("more"))).await;
    assert_eq!(answer.status, 409);
    let told = answer.body["error"].as_str().expect("a reason");
    assert!(told.starts_with("the policy has changed since the page before: it was 0-"), "{told}");
    // One that begins now is of the new policy.
    let all = client.all_entries().await.expect("all");
    assert!(all.generation.starts_with("7-"), "{}", all.generation);
    assert_eq!(all.items.len(), 4);
}

#[tokio::test]
async fn what_the_process_says_of_itself_is_shown() {
    let world = World::start(&policy(1));
    let answer = world.get("/v1/doctor").await;
    let address = json!({"address": "10.0.0.1", "names": 30, "senders": 25, "hides_many": true});
    let clients = json!({
        "listener": "smtp",
        "hidden_clients": "warn",
        "clients": 31,
        "sample": false,
        "addresses": [address],
    });
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, json!({"uid": 990, "listeners": [clients]}));
    assert_eq!(world.client().await.doctor().await.expect("an answer"), world::doctor());
    world.stop().await;
}

#[tokio::test]
async fn status_and_upstreams_are_shown() {
    let world = World::start(&policy(3));
    let client = world.client().await;
    let status = client.status().await.expect("a status");
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(status.pid, std::process::id());
    assert_eq!(status.entries, 3);
    assert_eq!(status.generation, world.snapshot.load().generation().to_string());

    assert_eq!(client.upstreams().await.expect("a list"), upstreams());
    let answer = world.get("/v1/upstreams").await;
    let google = json!({
        "name": "google", "profile": "google-relay", "hosts": ["smtp-relay.gmail.com:587"],
        "default": true,
        "max_connections": 100, "live": {
            "busy": 2, "idle": 1, "waiting": 7, "limit": 2, "breaker": "open", "next_attempt_s": 3,
        },
    });
    assert_eq!(answer.body["items"][0], google);
    assert_eq!(answer.body["items"][1].get("live"), None);
}

#[tokio::test]
async fn what_is_edited_is_edited_by_the_host() {
    let world = World::start(&policy(1));
    let client = world.client().await;
    let body = "id = \"new\"\n".to_owned();
    let edit = Edit {
        operations: vec![Operation::Add { kind: Kind::Entry, body }],
        author: "alice".to_owned(),
        reason: Some("a test".to_owned()),
        if_revision: None,
    };
    let request = EditRequest { edit, dry_run: false };
    let view = client.edit(&request).await.expect("is edited");
    assert_eq!((view.revision, view.added), (7, 1));

    let mut unexplained = request.clone();
    unexplained.edit.reason = None;
    let error = client.edit(&unexplained).await.expect_err("needs a reason");
    let ControlError::Edit(refusal) = error else { panic!("{error}") };
    assert_eq!(
        (refusal.cause, &*refusal.error),
        (EditCause::Policy, "an edit here needs a reason")
    );

    // More than the library takes without being asked to: a long import.
    let mut long = request;
    let one = long.edit.operations[0].clone();
    long.edit.operations = vec![one; 100_000];
    assert_eq!(client.edit(&long).await.expect("is edited").added, 100_000);

    for (body, status) in [("{}", 400), ("nonsense", 400), ("{\"edit\": 1, \"x\": 2}", 400)] {
        let head = "POST /v1/edits HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let answer = world.say(&request).await;
        assert_eq!(answer.status, status, "{body}: {:?}", answer.body);
        assert!(answer.body["error"].is_string(), "{body}: {:?}", answer.body);
    }
    assert_eq!(world.get("/v1/edits").await.status, 405);
}

#[tokio::test]
async fn refused_clients_usage_and_the_shadow_are_the_host_s() {
    let world = World::start(&policy(1));
    let client = world.client().await;
    assert_eq!(client.denied(0).await.expect("an answer"), []);
    assert_eq!(client.denied(5).await.expect("an answer")[0].count, 3);
    assert_eq!(world.get("/v1/denied").await.body["items"][0]["network"], "203.0.113.9/32");
    assert_eq!(world.get("/v1/denied?limit=-1").await.status, 400);
    let known = client.denied_client([203, 0, 113, 9].into()).await.expect("an answer");
    assert_eq!(known.expect("is known").count, 3);
    assert_eq!(client.denied_client([203, 0, 113, 8].into()).await.expect("an answer"), None);
    assert_eq!(client.shadow().await.expect("an answer"), None);
    client.save_usage().await.expect("is saved");
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_a_reason() {
    let world = World::start(&policy(3));
    let generation = world.snapshot.load().generation().to_string();
    let wrong_place = format!("after={generation}.x");
    for (query, reason) in [
        ("limit=0", "limit 0 is not a number from 1 to 1000"),
        ("limit=1001", "limit 1001 is not a number from 1 to 1000"),
        ("limit=-1", "limit: invalid digit"),
        ("limit=", "limit: cannot parse integer"),
        ("limit=1&limit=2", "duplicate field `limit`"),
        ("limits=1", "unknown field `limits`"),
        ("after=", "after \"\" is not what a page has named"),
        ("after=%1b%00", "after \"\\u{1b}\\0\" is not what a page has named"),
        (&wrong_place, "is not what a page has named"),
    ] {
        let answer = world.get(&format!("/v1/entries?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        let told = answer.body["error"].as_str().expect("a reason");
        assert!(told.contains(reason), "{query}: {told}");
    }
    let behind = world.get(&format!("/v1/entries?after={generation}.18446744073709551615")).await;
    assert_eq!((behind.status, &behind.body["items"]), (200, &json!([])));

    for path in ["/", "/v1", "/v1/entries/", "/v1/entries/a/b", "/v2/status", "/metrics"] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        let told = answer.body["error"].as_str().expect("a reason");
        assert!(told.starts_with("there are /v1/status, /v1/entries, "), "{path}: {told}");
    }
    assert_eq!(world.get("/v1/entries/%ff").await.status, 400);
    let post = "POST /v1/status HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    let answer = world.say(post).await;
    assert_eq!(
        (answer.status, answer.body),
        (405, json!({"error": "questions are asked with GET, and edits are made with POST"}))
    );
    assert_eq!(world.say("EHLO relay.example.com\r\n\r\n").await.status, 400);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000));
    assert!(matches!(world.say(&long).await.status, 414 | 431));
}

/// Contract §2, all of it that is built. `enabled` is not shown: what is not does not exist.
const FULL: &str = r#"
[[entry]]
id = "billing"
networks = ["10.20.0.0/16", "2001:db8:20::/48", "10.31.7.4"]
description = "Billing fleet, eu-west"
owner = "team-billing"
enabled = true
action = "allow"
services = ["smtp", "submission"]
senders = ["billing.example.com", "*.example.org", "noreply@example.com", "<>"]
recipients = ["*"]
helo = ["*.billing.internal"]
header_from = "off"
tls = "optional"
client_certificate = ["billing.internal"]
authentication = "bypass"
upstream = "google"
mode = "sync"
max_message_size = "25 MiB"
max_recipients = 100
max_connections = 200
message_rate = "600/min"
recipient_rate = "5000/h"
duplicate_rate = "10/min"
bare_newlines = "reject"
add_missing_headers = ["message-id", "date"]
not_before = 2026-01-01T00:00:00Z
expires = 2027-01-01T00:00:00Z
expiry = "reject"
acknowledge = "why a wide network is right here"
"#;

#[test]
fn an_entry_reads_like_the_policy_file() {
    let ruleset = ruleset(FULL);
    let view = EntryView::new(&ruleset.entries()[0], ruleset.site());
    let shown = serde_json::to_value(&view).expect("plain data");
    let expected = json!({
        "id": "billing",
        "networks": ["10.20.0.0/16", "2001:db8:20::/48", "10.31.7.4/32"],
        "description": "Billing fleet, eu-west",
        "owner": "team-billing",
        "action": "allow",
        "services": ["smtp", "submission"],
        "senders": ["billing.example.com", "*.example.org", "noreply@example.com", "<>"],
        "recipients": ["*"],
        "helo": ["*.billing.internal"],
        "header_from": "off",
        "tls": "optional",
        "client_certificate": ["billing.internal"],
        "authentication": "bypass",
        "upstream": "google",
        "mode": "sync",
        "max_message_size": "25 MiB",
        "max_recipients": 100,
        "max_connections": 200,
        "message_rate": "600/min",
        "recipient_rate": "5000/h",
        "duplicate_rate": "10/min",
        "bare_newlines": "reject",
        "add_missing_headers": ["message-id", "date"],
        "not_before": "2026-01-01T00:00:00Z",
        "expires": "2027-01-01T00:00:00Z",
        "expiry": "reject",
        "acknowledge": "why a wide network is right here",
    });
    assert_eq!(shown, expected);
    let read: EntryView = serde_json::from_value(shown).expect("what was shown is read");
    assert_eq!(read, view);
}

#[test]
fn what_is_not_set_has_no_key() {
    let text = "[[entry]]\nid = \"a\"\nnetworks = [\"10.0.0.1\"]\nsenders = []\n\
                [[entry]]\nid = \"b\"\nnetworks = [\"10.0.0.2\"]\naction = \"deny\"\n";
    let ruleset = ruleset(text);
    let shown = |index: usize| {
        let view = EntryView::new(&ruleset.entries()[index], ruleset.site());
        serde_json::to_value(view).expect("plain data")
    };
    let expected = json!({
        "id": "a", "networks": ["10.0.0.1/32"], "action": "allow", "senders": [],
        "header_from": "off", "tls": "optional", "authentication": "bypass",
        "max_message_size": "50 MiB", "max_recipients": 1000,
        "bare_newlines": "reject", "add_missing_headers": [],
    });
    assert_eq!(shown(0), expected);
    let expected = json!({ "id": "b", "networks": ["10.0.0.2/32"], "action": "deny" });
    assert_eq!(shown(1), expected);
}
