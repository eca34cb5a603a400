//! The queue by the control socket, with a real spool behind it.

mod world;

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gatepost_admin::control::{
    ChangedView, Chosen, Client, ControlError, CountView, QueueCause, QueueChange, QueueQuery,
    QueueView, Rests, TotalsView, UnchangedView,
};
use gatepost_smtp::reply::Reply;
use gatepost_spool::{
    After, Attempt, Entrance, Envelope, Message, Mode, Origin, Outcome, QueueId, Recipient, Spool,
    SpoolOptions, Standing,
};
use hyper::body::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::World;

const RECEIVED: u64 = 1_800_000_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(RECEIVED + seconds)
}

fn id(number: u64) -> QueueId {
    QueueId::new(number).expect("is small")
}

/// A control socket before a spool in a directory of its own.
struct Queue {
    world: World,
    spool: Spool,
    directory: TempDir,
}

impl Queue {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let options = SpoolOptions { free_space_floor: 0, ..SpoolOptions::default() };
        let path = directory.path().join("spool");
        let (spool, _) = Spool::open(&path, options, at(0)).expect("opens");
        let world = World::start_with("", Some(spool.clone()));
        Self { world, spool, directory }
    }

    /// A queue with messages of these numbers, the even ones of another entry at another upstream.
    async fn with(numbers: impl IntoIterator<Item = u64>) -> Self {
        let queue = Self::start();
        let mut tasks = Vec::new();
        for number in numbers {
            tasks.push(tokio::spawn(commit(
                queue.spool.clone(),
                number,
                b"Subject: x\r\n\r\n..\r\n",
            )));
        }
        for task in tasks {
            task.await.expect("is taken");
        }
        queue
    }

    async fn client(&self) -> Client {
        self.world.client().await
    }

    fn woken(&self) -> Vec<Rests> {
        std::mem::take(&mut *self.world.woken.lock().expect("no panic"))
    }

    async fn standing(&self, number: u64) -> Option<Standing> {
        self.spool.show(id(number)).await.expect("reads").map(|message| message.standing)
    }

    async fn kill(&self, number: u64) {
        self.spool.lease(vec![id(number)]).await.expect("writes");
        let reply = Some(Reply::new(550, (5, 1, 1), "un\u{1b}known"));
        let attempts = [(0, Outcome::Failed(After::Keep)), (1, Outcome::Delivered(After::Forget))];
        let attempts =
            attempts.map(|(place, outcome)| Attempt { place, outcome, reply: reply.clone() });
        let stands = self.spool.record(id(number), attempts.into(), at(60)).await.expect("writes");
        assert_eq!(stands, Some(Standing::Dead));
    }

    /// What is answered to JSON that is posted.
    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let head = "HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
        let length = body.len();
        let request = format!("POST {path} {head}Content-Length: {length}\r\n\r\n{body}");
        let answer = self.world.say(&request).await;
        (answer.status, answer.body)
    }
}

async fn commit(spool: Spool, number: u64, content: &[u8]) {
    let (upstream, entry) =
        if number.is_multiple_of(2) { ("ses", "crm") } else { ("google", "billing") };
    let recipient = |path: &[u8], dsn: &[u8]| Recipient { path: path.into(), dsn: dsn.into() };
    let message = Message {
        envelope: Envelope {
            id: id(number),
            received_at: at(number),
            expires_at: at(number + 432_000),
            reverse_path: b"bounces@a.example"[..].into(),
            sender: b"\x1b[2J\xff@a.example"[..].into(),
            dsn: b" RET=HDRS ENVID=x"[..].into(),
            body: Some(gatepost_smtp::command::Body::EightBitMime),
            smtputf8: true,
            mode: Mode::Hybrid,
            upstream: upstream.into(),
            origin: Origin {
                session_id: "s1".into(),
                listener: "smtp".into(),
                entry: entry.into(),
                credential: None,
                generation: "41-abcdef".into(),
                client: [10, 20, 0, 7].into(),
                helo: Some("app".into()),
                tls: Some("1.3".into()),
            },
        },
        recipients: vec![
            recipient(b"b@b.example", b" NOTIFY=FAILURE"),
            recipient(b"c@b.example", b""),
        ],
        entrance: Entrance::Due(at(60)),
        about: None,
    };
    let mut body = spool.body(id(number));
    for chunk in content.chunks(100_000) {
        body.append(Bytes::copy_from_slice(chunk)).await.expect("is taken");
    }
    spool.commit(message, body).await.expect("is taken");
}

fn named(numbers: &[u64]) -> QueueChange {
    let ids = numbers.iter().map(|&number| id(number).to_string()).collect();
    QueueChange { messages: Chosen::Ids(ids), upstream: None }
}

fn all(query: QueueQuery) -> QueueChange {
    QueueChange { messages: Chosen::All(query), upstream: None }
}

fn standing(standing: Standing) -> QueueQuery {
    QueueQuery { standing: Some(standing.name().to_owned()), ..QueueQuery::default() }
}

fn left(number: u64, standing: Option<Standing>) -> UnchangedView {
    UnchangedView { id: id(number).to_string(), standing: standing.map(|it| it.name().to_owned()) }
}

fn changed(changed: u64, unchanged: Vec<UnchangedView>) -> ChangedView {
    ChangedView { changed, unchanged, next: None }
}

fn refusal(error: ControlError) -> (QueueCause, String) {
    match error {
        ControlError::Queue(refusal) => (refusal.cause, refusal.error),
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_gateway_that_keeps_nothing_has_an_empty_queue() {
    let world = World::start("");
    let client = world.client().await;
    let empty = client.queue(&QueueQuery::default()).await.expect("an answer");
    assert_eq!(empty, QueueView::default());
    assert_eq!(client.queue_totals().await.expect("an answer"), TotalsView::default());
    assert_eq!(client.queued(id(1)).await.expect("an answer"), None);
    assert!(!client.message(id(1), &mut |_| Ok(())).await.expect("an answer"));
    let done = client.remove(&named(&[1])).await.expect("an answer");
    assert_eq!(done, changed(0, vec![left(1, None)]));
    let done = client.retry(&all(QueueQuery::default())).await.expect("an answer");
    assert_eq!(done, changed(0, vec![]));
}

#[tokio::test]
async fn the_queue_is_listed_page_by_page() {
    let queue = Queue::with(1..=5).await;
    let client = queue.client().await;
    let mut query = QueueQuery { limit: Some(2), ..QueueQuery::default() };
    let mut numbers = Vec::new();
    loop {
        let page = client.queue(&query).await.expect("an answer");
        assert!(page.items.len() <= 2);
        assert_eq!((page.queue.messages, page.matching), (5, page.queue));
        assert_eq!(page.oldest.map(|it| it.as_second().cast_unsigned()), Some(RECEIVED + 1));
        numbers.extend(page.items.into_iter().map(|message| message.id));
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(numbers, (1..=5).map(|number| id(number).to_string()).collect::<Vec<_>>());

    queue.spool.hold(vec![id(3)]).await.expect("writes");
    for (query, expected) in [
        (standing(Standing::Held), &[3][..]),
        (QueueQuery { upstream: Some("ses".to_owned()), ..standing(Standing::Queued) }, &[2, 4]),
        (QueueQuery { entry: Some("billing".to_owned()), ..QueueQuery::default() }, &[1, 3, 5]),
        (QueueQuery { upstream: Some("a&b=c\u{1b}".to_owned()), ..QueueQuery::default() }, &[]),
    ] {
        let page = client.queue(&query).await.expect("an answer");
        let ids: Vec<_> = page.items.iter().map(|message| message.id.parse()).collect();
        assert_eq!(ids, expected.iter().map(|&number| Ok(id(number))).collect::<Vec<_>>());
        assert_eq!(page.matching.messages, expected.len() as u64, "{query:?}");
        assert_eq!(page.queue.messages, 5);
    }

    for (query, reason) in [
        ("limit=0", "limit 0 is not a number from 1 to 1000"),
        ("limit=1001", "limit 1001 is not a number from 1 to 1000"),
        ("standing=gone", "known are dead, held, in_doubt, leased, owing, queued"),
        ("after=..%2fx", "a queue id is 11 digits and lower-case letters"),
        ("state=held", "unknown field `state`"),
    ] {
        let answer = queue.world.get(&format!("/v1/queue?{query}")).await;
        assert_eq!((answer.status, &answer.body["cause"]), (400, &json!("wrong")), "{query}");
        let told = answer.body["error"].as_str().expect("a reason");
        assert!(told.contains(reason), "{query}: {told}");
    }
}

#[tokio::test]
async fn what_is_in_the_queue_is_counted() {
    let queue = Queue::with(1..=3).await;
    queue.spool.hold(vec![id(2)]).await.expect("writes");
    let answer = queue.world.get("/v1/queue/totals").await;
    let expected = json!({
        "queue": {"messages": 3, "size": 54},
        "oldest": "2027-01-15T08:00:01Z",
        "items": [
            {"upstream": "google", "entry": "billing", "standing": "queued", "messages": 2, "size": 36},
            {"upstream": "ses", "entry": "crm", "standing": "held", "messages": 1, "size": 18},
        ],
    });
    assert_eq!(answer.body, expected);
    let totals = queue.client().await.queue_totals().await.expect("an answer");
    assert_eq!(totals.items[0].count, CountView { messages: 2, size: 36 });
}

#[tokio::test]
async fn all_of_a_message_is_shown() {
    let queue = Queue::with([1]).await;
    queue.kill(1).await;
    let answer = queue.world.get(&format!("/v1/queue/{}", id(1))).await;
    let expected = json!({
        "id": "00000000001",
        "standing": "dead",
        "upstream": "google",
        "entry": "billing",
        "sender": "\u{1b}[2J\u{fffd}@a.example",
        "received_at": "2027-01-15T08:00:01Z",
        "due_at": "2027-01-15T08:01:00Z",
        "expires_at": "2027-01-20T08:00:01Z",
        "attempts": 1,
        "size": 18,
        "recipients_pending": 0,
        "recipients_total": 2,
        "reply": "550 5.1.1 un?known",
        "reverse_path": "bounces@a.example",
        "mode": "hybrid",
        "parameters": "BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x",
        "session_id": "s1",
        "listener": "smtp",
        "generation": "41-abcdef",
        "client": "10.20.0.7",
        "helo": "app",
        "tls": "1.3",
        "recipients": [
            {
                "recipient": "b@b.example", "state": "failed", "after": "keep", "attempts": 1,
                "delay_told": false, "parameters": "NOTIFY=FAILURE", "reply": "550 5.1.1 un?known",
            },
            {
                "recipient": "c@b.example", "state": "delivered", "attempts": 1,
                "delay_told": false, "reply": "550 5.1.1 un?known",
            },
        ],
    });
    assert_eq!(answer.body, expected);
    let client = queue.client().await;
    let shown = client.queued(id(1)).await.expect("an answer").expect("is there");
    assert_eq!(serde_json::to_value(&shown).expect("plain data"), expected);
    let page = client.queue(&QueueQuery::default()).await.expect("an answer");
    assert_eq!(page.items, [shown.summary]);

    let answer = queue.world.get(&format!("/v1/queue/{}", id(2))).await;
    let error = json!({"error": "there is no message 00000000002 in the queue"});
    assert_eq!((answer.status, answer.body), (404, error));
    assert_eq!(queue.world.get("/v1/queue/..%2f..%2fetc").await.status, 400);
}

async fn content(client: &Client, number: u64) -> Result<Option<Vec<u8>>, ControlError> {
    let mut octets = Vec::new();
    let mut take = |piece: &[u8]| {
        octets.extend_from_slice(piece);
        Ok(())
    };
    let is_there = client.message(id(number), &mut take).await?;
    Ok(is_there.then_some(octets))
}

#[tokio::test]
async fn a_message_comes_as_a_file_has_it() {
    let queue = Queue::with([1]).await;
    let client = queue.client().await;
    let whole = content(&client, 1).await.expect("an answer").expect("is there");
    assert_eq!(whole, b"Return-Path: <bounces@a.example>\r\nSubject: x\r\n\r\n.\r\n");
    assert_eq!(content(&client, 9).await.expect("an answer"), None);

    // One that is a file, and that is damaged before it is asked for again.
    let lines = "..a line with a dot in front\r\n".repeat(100_000);
    commit(queue.spool.clone(), 2, lines.as_bytes()).await;
    let whole = content(&client, 2).await.expect("an answer").expect("is there");
    let plain = format!("Return-Path: <bounces@a.example>\r\n{}", lines.replace("..a", ".a"));
    assert!(whole == plain.as_bytes());
    let file = queue.directory.path().join(format!("spool/bodies/{}", id(2)));
    fs::write(&file, lines.replace("a line", "a lime")).expect("writes");
    let error = content(&client, 2).await.expect_err("is damaged");
    assert!(matches!(error, ControlError::Body(_) | ControlError::Exchange(_)), "{error}");
    fs::remove_file(file).expect("was there");
    let (cause, told) = refusal(content(&client, 2).await.expect_err("is gone"));
    assert_eq!(cause, QueueCause::Spool);
    assert!(told.contains("its body is damaged"), "{told}");

    let full = || Err(std::io::ErrorKind::StorageFull.into());
    let error = client.message(id(1), &mut |_| full()).await.expect_err("no room");
    assert!(matches!(error, ControlError::Sink(_)), "{error}");
}

#[tokio::test]
async fn messages_that_are_named_are_held_retried_and_removed() {
    let queue = Queue::with(1..=5).await;
    let client = queue.client().await;
    queue.spool.lease(vec![id(2)]).await.expect("writes");
    queue.kill(3).await;

    let done = client.hold(&named(&[1, 3, 9, 1])).await.expect("an answer");
    assert_eq!(done, changed(1, vec![left(3, Some(Standing::Dead)), left(9, None)]));
    assert_eq!(queue.standing(1).await, Some(Standing::Held));
    assert_eq!(queue.woken(), []);

    // What is held is put back, and what is dead is tried again; by another upstream if one is named.
    let retry = QueueChange { upstream: Some("ses".to_owned()), ..named(&[1, 2, 3]) };
    let done = client.retry(&retry).await.expect("an answer");
    assert_eq!(done, changed(2, vec![left(2, Some(Standing::Leased))]));
    for number in [1, 3] {
        let shown = queue.spool.show(id(number)).await.expect("reads").expect("is there");
        assert_eq!((shown.standing, &*shown.envelope.upstream), (Standing::Queued, "ses"));
        assert!(shown.due_at <= SystemTime::now());
    }
    assert_eq!(queue.woken(), [Rests::Kept]);

    let done = client.remove(&named(&[1, 2])).await.expect("an answer");
    assert_eq!(done, changed(1, vec![left(2, Some(Standing::Leased))]));
    assert_eq!(queue.standing(1).await, None);
}

#[tokio::test]
async fn all_messages_that_are_meant_are_changed() {
    let queue = Queue::with(1..=6).await;
    let client = queue.client().await;
    queue.spool.lease(vec![id(2)]).await.expect("writes");
    queue.kill(3).await;
    let of_entry = QueueQuery { entry: Some("crm".to_owned()), ..QueueQuery::default() };
    let done = client.hold(&all(of_entry.clone())).await.expect("an answer");
    assert_eq!(done, changed(3, vec![]));

    // Everything is due; but what was put aside stays there, and what is dead, until that is meant.
    let done = client.retry(&all(QueueQuery::default())).await.expect("an answer");
    assert_eq!(done, changed(2, vec![]));
    assert_eq!(queue.woken(), [Rests::Forgotten]);
    let dead = QueueChange { upstream: Some("ses".to_owned()), ..all(QueueQuery::default()) };
    assert_eq!(client.retry(&dead).await.expect("an answer"), changed(2, vec![]));
    assert_eq!(queue.standing(3).await, Some(Standing::Dead));
    let done = client.retry(&all(standing(Standing::Dead))).await.expect("an answer");
    assert_eq!(done, changed(1, vec![]));
    assert_eq!(queue.standing(3).await, Some(Standing::Queued));
    let done = client.retry(&all(standing(Standing::Held))).await.expect("an answer");
    assert_eq!((done.changed, queue.standing(4).await), (2, Some(Standing::Queued)));

    let done = client.remove(&all(of_entry)).await.expect("an answer");
    assert_eq!(done, changed(2, vec![left(2, Some(Standing::Leased))]));
    assert_eq!(queue.spool.stats(at(0)).await.expect("reads").messages, 4);
}

#[tokio::test]
async fn a_retry_of_one_upstream_leaves_the_others_alone() {
    let queue = Queue::with(1..=4).await;
    let client = queue.client().await;
    let later = SystemTime::now() + Duration::from_hours(1);
    for number in 1..=4 {
        queue.spool.reschedule(id(number), later).await.expect("writes");
    }
    let google = QueueQuery { upstream: Some("google".to_owned()), ..QueueQuery::default() };
    assert_eq!(client.retry(&all(google)).await.expect("an answer").changed, 2);
    let due = queue.spool.due(SystemTime::now(), 10, &[]).await.expect("reads");
    assert_eq!(due.iter().map(|it| it.id).collect::<Vec<_>>(), [id(1), id(3)]);
}

/// Whoever changes much does so page by page, and wakes the runner for each.
#[tokio::test]
async fn a_large_queue_is_changed_page_by_page() {
    let queue = Queue::with(1..=1100).await;
    let client = queue.client().await;
    let mut pages = Vec::new();
    let mut query = standing(Standing::Queued);
    loop {
        let done = client.retry(&all(query.clone())).await.expect("an answer");
        pages.push(done.changed);
        query.after = done.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [1000, 100]);
    assert_eq!(queue.woken(), [Rests::Kept, Rests::Forgotten]);
    let many: Vec<_> = (1..=1001).collect();
    let (cause, told) = refusal(client.remove(&named(&many)).await.expect_err("are too many"));
    assert_eq!((cause, &*told), (QueueCause::Wrong, "at most 1000 ids at once"));
}

#[tokio::test]
async fn what_makes_no_sense_changes_nothing() {
    let queue = Queue::with([1]).await;
    let client = queue.client().await;
    let elsewhere = QueueChange { upstream: Some("sse".to_owned()), ..all(QueueQuery::default()) };
    let (cause, told) = refusal(client.retry(&elsewhere).await.expect_err("is unknown"));
    let expected = "there is no upstream \"sse\"; known are google, ses";
    assert_eq!((cause, &*told), (QueueCause::Wrong, expected));
    let change = QueueChange { upstream: Some("ses".to_owned()), ..named(&[1]) };
    let (_, told) = refusal(client.remove(&change).await.expect_err("names an upstream"));
    assert_eq!(told, "only a retry names an upstream to go to");
    let ids = json!({"messages": {"ids": ["x"]}});
    for (path, body) in [
        ("/v1/queue/remove", &json!({})),
        ("/v1/queue/remove", &json!({"messages": "all"})),
        ("/v1/queue/remove", &json!({"messages": {"all": {"standing": "gone"}}})),
        ("/v1/queue/retry", &ids),
        ("/v1/queue/hold", &json!({"messages": {"ids": []}, "yes": true})),
    ] {
        let (status, answer) = queue.post(path, body).await;
        assert!((400..500).contains(&status), "{path} {body}: {status} {answer}");
        assert!(answer["error"].is_string(), "{path} {body}: {answer}");
    }
    assert_eq!(queue.world.get("/v1/queue/remove").await.status, 405);
    assert_eq!(queue.standing(1).await, Some(Standing::Queued));
    assert_eq!(queue.woken(), []);
}

/// A spool that has stopped is told as one, with what it says.
#[tokio::test]
async fn a_spool_that_is_closed_is_told_of() {
    let queue = Queue::with([1]).await;
    let client = queue.client().await;
    queue.spool.close().await;
    let (cause, told) = refusal(client.hold(&named(&[1])).await.expect_err("is closed"));
    assert_eq!((cause, &*told), (QueueCause::Spool, "the spool is closed"));
}
