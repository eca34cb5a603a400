//! Lists in and out, through the program.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gatepost_testkit::ScriptedUpstream;

use crate::harness::{converse, send_message};
use crate::place::{Answer, Place};

const CONTENT: &[u8] = b"Subject: x\r\n\r\nbody\r\n";

impl Place {
    /// Imports a text that is written to a file first.
    fn import(&self, format: &str, text: &str, flags: &[&str]) -> Answer {
        let name = format!("list.{format}");
        self.write(&name, text);
        let path = self.path(&name);
        let words = ["entry", "import", "--format", format, &path.to_string_lossy()];
        self.gatepost(&[&words[..], flags].concat())
    }

    /// What a note or an error about a line of the list begins with.
    fn at(&self, kind: &str, format: &str, line: usize) -> String {
        format!("{kind}: {}:{line}: ", self.path(&format!("list.{format}")).display())
    }

    /// A store with one entry that no list of these tests has.
    fn kept(upstream: &ScriptedUpstream) -> Self {
        let place = Self::with_store(upstream.addr());
        place.done(&["entry", "add", "kept", "--network=127.0.0.1", "--sender=app.test"]);
        place
    }
}

/// A list, and what becomes of it.
struct List {
    format: &'static str,
    text: &'static str,
    /// The ids of its entries, sorted.
    ids: &'static [&'static str],
    /// Line and words of what is told about it. Only what other programs write is converted.
    note: Option<(usize, &'static str)>,
}

const LISTS: [List; 6] = [
    List {
        format: "toml",
        text: "[[entry]]\nid = \"web\"\nnetworks = [\"10.0.0.0/24\"]\nsenders = [\"web.test\"]\n",
        ids: &["web"],
        note: None,
    },
    List {
        format: "json",
        text: "{\"entry\": [{\"id\": \"web\", \"networks\": [\"10.0.0.0/24\"], \"senders\": []}]}",
        ids: &["web"],
        note: None,
    },
    List {
        format: "csv",
        text: "id,networks,senders\nweb,10.0.0.0/24,web.test\nprint,10.0.1.1,p.test\n",
        ids: &["print", "web"],
        note: None,
    },
    List {
        format: "postfix",
        text: "mynetworks = 10.0.0.0/24,\n  10.0.0.0/16 !10.0.9.0/24\n",
        ids: &["postfix"],
        note: Some((2, "10.0.9.0/24 is left out")),
    },
    List {
        format: "smartermail",
        text: "10.0.0.1-10.0.0.2,Floor 2 printer\n10.0.3.0/24,\n",
        ids: &["floor-2-printer", "smartermail"],
        note: Some((1, "10.0.0.1-10.0.0.2 became 10.0.0.1/32, 10.0.0.2/32")),
    },
    List {
        format: "sendgrid",
        text: "10.0.0.*\n10.0.7.7\n",
        ids: &["sendgrid"],
        note: Some((1, "10.0.0.* became 10.0.0.0/24")),
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_format_is_taken_over() {
    let upstream = ScriptedUpstream::start();
    for List { format, text, ids, note } in LISTS {
        let place = Place::kept(&upstream);
        let flags: &[&str] = match note {
            // Lists of other programs know nothing of senders.
            Some(_) => &["--sender=app.test", "--owner=team-x", "--reason=moved"],
            None => &["--reason=moved"],
        };
        let before = place.done(&["entry", "export"]);
        let dry = place.import(format, text, &[flags, &["--dry-run"]].concat());
        let count = ids.len();
        assert_eq!(
            (dry.code, first_line(&dry.stdout)),
            (Some(0), &*format!("revision 2 would be made: {count} added")),
            "{dry:?}"
        );
        assert_eq!((place.done(&["entry", "export"]), place.revisions()), (before, vec![1]));

        let made = place.import(format, text, flags);
        assert_eq!(
            (made.code, first_line(&made.stdout)),
            (Some(0), &*format!("revision 2: {count} added")),
            "{made:?}"
        );
        let told: Vec<_> = dry.stdout.lines().skip(1).collect();
        let items: Vec<_> = ids.iter().map(|id| format!("  added entry {id}")).collect();
        assert_eq!(told, items, "{dry:?}");
        if let Some((line, told)) = note {
            let told = place.at("note", format, line) + told;
            for answer in [&dry, &made] {
                assert!(
                    answer.stderr.lines().any(|line| line.starts_with(&told)),
                    "{told} in {answer:?}"
                );
            }
            let shown = place.done(&["entry", "show", ids[0]]);
            assert!(shown.contains("senders = [\"app.test\"]"), "{shown}");
            assert!(shown.contains("owner = \"team-x\""), "{shown}");
        }
        let mut found = place.ids();
        assert_eq!(found.remove(0), "kept");
        found.sort();
        assert_eq!(found, ids, "{format}");
        assert_eq!(place.json(&["history"])["revisions"][0]["reason"], "moved");
        let again = place.import(format, text, flags);
        assert_eq!(again.stdout, "revision 2: nothing has changed\n", "{again:?}");
    }
    upstream.stop().await;
}

/// A list of another program knows nothing of what is here already: it replaces nothing unless it is
/// told to, and one that cannot say all of a policy never replaces it as a whole.
#[tokio::test]
async fn a_list_of_others_does_not_undo_what_is_here() {
    let upstream = ScriptedUpstream::start();
    let place = Place::kept(&upstream);
    place.done(&["entry", "add", "guest-wifi", "--network=10.9.0.0/16", "--action=deny"]);
    let list = "10.9.0.0/16,Guest WiFi\n10.7.0.1,new\n";
    for flags in [&["--sender=*.app.test"][..], &["--sender=*.app.test", "--dry-run"]] {
        let answer = place.import("smartermail", list, flags);
        assert_eq!(answer.code, Some(1), "{answer:?}");
        let told = "the entry \"guest-wifi\" is there already";
        assert!(answer.stderr.contains(told), "{answer:?}");
    }
    assert_eq!(
        (place.revisions(), place.ids()),
        (vec![2, 1], vec!["kept".into(), "guest-wifi".into()])
    );
    let named = place.import(
        "smartermail",
        "10.7.0.2,other\n",
        &["--sender=*.app.test", "--id-prefix=mail"],
    );
    assert_eq!(named.stdout, "revision 3: 1 added\n", "{named:?}");
    let told =
        place.import("smartermail", list, &["--sender=*.app.test", "--overwrite", "--dry-run"]);
    assert!(told.stdout.contains("\n  changed entry guest-wifi\n"), "{told:?}");
    for format in ["csv", "postfix", "smartermail", "sendgrid"] {
        let answer = place.import(format, "10.0.0.1\n", &["--replace"]);
        assert_eq!(answer.code, Some(64), "{answer:?}");
        assert!(answer.stderr.contains("cannot say all of one"), "{answer:?}");
    }
    upstream.stop().await;
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// A list with an error is not taken over in part, and each error names its line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_with_errors_is_not_taken_over() {
    let upstream = ScriptedUpstream::start();
    let place = Place::kept(&upstream);
    let good = "[[entry]]\nid = \"web\"\nnetworks = [\"10.0.0.1\"]\nsenders = []\n";
    for (format, text, line, told) in [
        ("toml", format!("{good}{good}"), 5, "entry \"web\" is in line 1 already"),
        ("json", "{\"entry\": [\n{\"id\": \"x\", ".to_owned(), 2, "EOF while parsing"),
        ("csv", "id,networks,colour\nx,10.0.0.1,red\n".to_owned(), 1, ""),
        ("postfix", "10.0.0.0/24\n10.0.0.1/24\n".to_owned(), 2, ""),
        (
            "smartermail",
            "10.0.0.1,a\n10.0.0.9-10.0.0.1,b\n".to_owned(),
            2,
            "\"10.0.0.9-10.0.0.1\": ",
        ),
        ("sendgrid", "10.0.0.1\n10.*.1\n1.2.3\n".to_owned(), 3, "\"1.2.3\": short forms"),
    ] {
        let is_own = ["toml", "json", "csv"].contains(&format);
        let flags: &[&str] = if is_own { &[] } else { &["--sender=app.test"] };
        let answer = place.import(format, &text, flags);
        let told = place.at("error", format, line) + told;
        assert!(answer.stderr.lines().any(|line| line.starts_with(&told)), "{told} in {answer:?}");
        assert_eq!((answer.code, &*answer.stdout), (Some(78), ""), "{answer:?}");
    }
    // Right as a list, and wrong as a part of this policy.
    let taken = good.replace("10.0.0.1", "127.0.0.1");
    let answer = place.import("toml", &taken, &[]);
    assert!(
        answer.stderr.contains("entry web: network 127.0.0.1/32 on listener smtp belongs to"),
        "{answer:?}"
    );
    assert_eq!(answer.code, Some(78));
    // Who may send is not guessed.
    let answer = place.import("sendgrid", "10.0.0.1\n", &[]);
    assert!(answer.stderr.contains("a SendGrid list says nothing about senders"), "{answer:?}");
    assert_eq!(answer.code, Some(78));
    place.refused(
        1,
        &format!("{}: cannot be read", place.path("none").display()),
        &["entry", "import", "--format=csv", &place.path("none").to_string_lossy()],
    );
    place.refused(
        64,
        "invalid value 'exim' for '--format <FORMAT>'",
        &["entry", "import", "--format=exim", "x"],
    );
    assert_eq!((place.revisions(), place.ids()), (vec![1], vec!["kept".to_owned()]));
    upstream.stop().await;
}

/// With `--replace` the policy is what the list says, also for a session that is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_replaces_the_policy_if_that_is_asked_for() {
    let upstream = ScriptedUpstream::start();
    let place = Place::kept(&upstream);
    place.done(&["entry", "add", "gone", "--network=10.0.0.1", "--sender=app.test"]);
    let program = place.run();
    let mut open = program.client().await;
    let entry = |id: &str, network: &str, more: &str| {
        format!("[[entry]]\nid = \"{id}\"\nnetworks = [\"{network}\"]\n{more}\n")
    };
    let list = entry("kept", "127.0.0.1", "senders = [\"app.test\"]")
        + &entry("web", "10.0.0.0/24", "senders = [\"web.test\"]");
    let dry = place.import("toml", &list, &["--replace", "--dry-run"]);
    let told =
        "revision 3 would be made: 1 added, 1 removed\n  removed entry gone\n  added entry web\n";
    assert_eq!(dry.stdout, told, "{dry:?}");
    assert_eq!(place.ids(), ["kept", "gone"]);
    let made = place.import("toml", &list, &["--replace", "--if-revision=2"]);
    assert_eq!(first_line(&made.stdout), "revision 3: 1 added, 1 removed", "{made:?}");
    assert_eq!(place.ids(), ["kept", "web"]);
    converse(&mut open, &[("MAIL FROM:<a@app.test>", "250"), ("RSET", "250")]).await;
    let deny = entry("no", "10.0.0.0/24", "action = \"deny\"");
    let answer = place.import("toml", &deny, &["--replace"]);
    assert!(answer.stderr.contains("no enabled allow entry is left"), "{answer:?}");
    assert_eq!((answer.code, place.revisions()[0]), (Some(78), 3));
    converse(&mut open, &[("MAIL FROM:<a@app.test>", "250"), ("QUIT", "221")]).await;
    program.end();
    upstream.stop().await;
}

/// A backup is the policy: what is exported and imported elsewhere is exported as the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_a_backup() {
    let upstream = ScriptedUpstream::start();
    let place = Place::kept(&upstream);
    let policy = r#"
[[entry]]
id = "all"
networks = ["10.0.0.0/24", "2001:db8::/48"]
description = "quotes \" and \\ and ü,\n; more"
senders = ["*.app.test", "<>"]
enabled = false
max_connections = 3
expires = 2030-01-01T00:00:00+01:00
[[route]]
id = "r"
entries = ["kept"]
sender_domains = ["app.test"]
upstream = "sink"
[[expect]]
ip = "127.0.0.1"
from = "a@app.test"
result = "accept"
"#;
    assert_eq!(first_line(&place.import("toml", policy, &[]).stdout), "revision 2: 3 added");
    let disabled = place.json(&["entry", "show", "all"]);
    let told = (&disabled["enabled"], &disabled["expires"]);
    assert_eq!(told, (&false.into(), &"2030-01-01T00:00:00+01:00".into()), "{disabled}");
    for format in ["toml", "json"] {
        let exported = place.done(&["entry", "export", "--format", format]);
        let other = Place::with_store(upstream.addr());
        let made = other.import(format, &exported, &[]);
        let told = (made.code, first_line(&made.stdout));
        assert_eq!(told, (Some(0), "revision 1: 4 added"), "{made:?}");
        assert_eq!(other.done(&["entry", "export", "--format", format]), exported);
        assert_eq!(other.done(&["entry", "export"]), place.done(&["entry", "export"]));
    }
    // A table has entries only, and says so.
    let answer = place.gatepost(&["entry", "export", "--format=csv"]);
    assert!(
        answer.stderr.starts_with("warning: 2 routes, credentials and expectations"),
        "{answer:?}"
    );
    let other = Place::with_store(upstream.addr());
    other.import("csv", &answer.stdout, &[]);
    assert_eq!(other.done(&["entry", "export", "--format=csv"]), answer.stdout);
    // A policy file is exported too; so one is moved into a store.
    let file = Place::with_file(upstream.addr());
    let exported = file.done(&["entry", "export", "--format=json"]);
    let other = Place::with_store(upstream.addr());
    let made = other.import("json", &exported, &[]).stdout;
    assert_eq!(first_line(&made), "revision 1: 2 added");
    assert_eq!(other.ids(), file.ids());
    upstream.stop().await;
}

/// While a large list is judged and written, sessions go on as if nothing were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_list_disturbs_no_session() {
    const ENTRIES: usize = 20_000;
    let upstream = ScriptedUpstream::builder().digest_only().start();
    let place = Place::kept(&upstream);
    let mut list = "id,networks,senders\n".to_owned();
    for number in 0..ENTRIES {
        let (high, low) = (number / 256, number % 256);
        writeln!(list, "e{number},10.0.{high}.{low},app.test").expect("a String takes all");
    }
    let program = place.run();
    let over = Arc::new(AtomicBool::new(false));
    let importer = std::thread::spawn({
        let (place, over) = (place.clone(), over.clone());
        move || {
            let answer = place.import("csv", &list, &[]);
            over.store(true, Ordering::SeqCst);
            answer
        }
    });
    let mut client = program.client().await;
    let mut sent = 0;
    while !over.load(Ordering::SeqCst) {
        let reply = send_message(&mut client, CONTENT).await;
        assert!(reply.starts_with("250"), "{reply}");
        sent += 1;
    }
    let answer = importer.join().expect("no panic");
    assert_eq!(answer.stdout, format!("revision 2: {ENTRIES} added\n"), "{answer:?}");
    assert!(sent > 20, "the session stood still: {sent} messages");
    assert_eq!(place.ids().len(), 1 + ENTRIES);
    // The session has the new policy with its next MAIL.
    converse(
        &mut client,
        &[
            (
                "MAIL FROM:<a@b.test>",
                "550 5.7.1 <a@b.test> is not an allowed sender of entry kept (generation 2-",
            ),
            ("QUIT", "221"),
        ],
    )
    .await;
    program.end();
    upstream.stop().await;
}
