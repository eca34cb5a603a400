//! What is left to do about a recipient, what is told, and that it is told once.

mod composed;
mod samples;

use std::future::Future;
use std::time::UNIX_EPOCH;

use gatepost_smtp::reply::Reply;
use gatepost_spool::{Attempt, Outcome, SpoolOptions, Standing};
use mail_parser::MessageParser;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn queue_id(number: u64) -> QueueId {
    QueueId::new(number).expect("is small")
}

fn recipient(path: &str, dsn: &str) -> Recipient {
    Recipient { path: path.as_bytes().into(), dsn: dsn.as_bytes().into() }
}

fn envelope(reverse_path: &str, dsn: &str) -> Envelope {
    Envelope {
        id: queue_id(77),
        received_at: at(0),
        expires_at: at(432_000),
        reverse_path: reverse_path.as_bytes().into(),
        sender: b"app@internal.example"[..].into(),
        dsn: dsn.as_bytes().into(),
        body: None,
        smtputf8: false,
        mode: Mode::Hybrid,
        upstream: "google".into(),
        origin: Origin {
            session_id: "s1".into(),
            listener: "smtp".into(),
            entry: "billing".into(),
            credential: Some("crm".into()),
            generation: "41-abcdef".into(),
            client: [10, 20, 0, 7].into(),
            helo: Some("app".into()),
            tls: Some("1.3".into()),
        },
    }
}

fn bouncer(config: BounceConfig) -> Bouncer {
    Bouncer::new(config, "relay.example.com".into(), 120 * HOUR, Arc::new(Ids::new()))
}

fn keeping() -> Bouncer {
    bouncer(BounceConfig { bounces: Bounces::Keep, upstream: None })
}

fn run<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(Duration::from_mins(1), what).await.expect("ends") })
}

#[test]
fn what_is_left_to_do_about_a_recipient() {
    const DELIVERED: Fate = Fate::Delivered { upstream_tells: false };
    const TOLD: Fate = Fate::Delivered { upstream_tells: true };
    use After::{Forget, Keep, Notify};
    let (dsn, keep) = (bouncer(BounceConfig::default()), keeping());
    for (notify, fate, with_sender, null, kept) in [
        ("", Fate::Failed, Notify, Keep, Keep),
        ("", Fate::Expired, Notify, Keep, Keep),
        ("", DELIVERED, Forget, Forget, Forget),
        (" NOTIFY=FAILURE", Fate::Failed, Notify, Keep, Keep),
        (" NOTIFY=NEVER", Fate::Failed, Forget, Keep, Keep),
        (" NOTIFY=NEVER", Fate::Expired, Forget, Keep, Keep),
        (" NOTIFY=DELAY", Fate::Expired, Forget, Keep, Keep),
        (" NOTIFY=SUCCESS", Fate::Failed, Forget, Keep, Keep),
        (" NOTIFY=SUCCESS,FAILURE", Fate::Failed, Notify, Keep, Keep),
        (" NOTIFY=SUCCESS,FAILURE", DELIVERED, Notify, Forget, Forget),
        (" NOTIFY=SUCCESS,FAILURE", TOLD, Forget, Forget, Forget),
        (" NOTIFY=FAILURE", DELIVERED, Forget, Forget, Forget),
    ] {
        let recipient = recipient("b@example.net", notify);
        let (sender, nobody) = (envelope("a@example.com", ""), envelope("", ""));
        let found = [
            dsn.after(&sender, &recipient, fate),
            dsn.after(&nobody, &recipient, fate),
            keep.after(&sender, &recipient, fate),
        ];
        assert_eq!(found, [with_sender, null, kept], "{notify} {fate:?}");
    }
}

#[test]
fn of_a_delay_is_told_who_asks_for_it() {
    let (dsn, keep) = (bouncer(BounceConfig::default()), keeping());
    for (notify, expected) in [
        ("", false),
        (" NOTIFY=DELAY", true),
        (" NOTIFY=FAILURE,DELAY", true),
        (" NOTIFY=FAILURE", false),
        (" NOTIFY=NEVER", false),
    ] {
        let recipient = recipient("b@example.net", notify);
        let sender = envelope("a@example.com", "");
        assert_eq!(dsn.wants_delay(&sender, &recipient), expected, "{notify}");
        assert!(!dsn.wants_delay(&envelope("", ""), &recipient), "{notify}");
        assert!(!keep.wants_delay(&sender, &recipient), "{notify}");
    }
}

/// A spool in a directory of its own.
struct World {
    spool: Spool,
    bouncer: Bouncer,
    directory: tempfile::TempDir,
}

impl World {
    fn new(config: BounceConfig) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let options = SpoolOptions { free_space_floor: 0, ..SpoolOptions::default() };
        let (spool, _) =
            Spool::open(&directory.path().join("spool"), options, at(0)).expect("opens");
        Self { spool, bouncer: bouncer(config), directory }
    }

    /// Commits a message that somebody is at work on.
    async fn commit(&self, envelope: Envelope, recipients: Vec<Recipient>, content: &[u8]) {
        let mut body = self.spool.body(envelope.id);
        body.append(Bytes::copy_from_slice(content)).await.expect("is taken");
        let entrance = Entrance::Leased;
        let message = Message { envelope, recipients, entrance, about: None };
        self.spool.commit(message, body).await.expect("is taken");
    }

    async fn shown(&self, id: QueueId) -> StoredMessage {
        self.spool.show(id).await.expect("reads").expect("is there")
    }

    /// Records fates in the order of the recipients, as the runner does.
    async fn record(&self, id: QueueId, fates: &[(Fate, Reply)]) -> StoredMessage {
        let message = self.shown(id).await;
        let attempts = fates.iter().zip(&message.recipients).map(|((fate, reply), stored)| {
            let after = self.bouncer.after(&message.envelope, &stored.recipient, *fate);
            let outcome = match fate {
                Fate::Delivered { .. } => Outcome::Delivered(after),
                Fate::Expired => Outcome::Expired(after),
                Fate::Failed => Outcome::Failed(after),
            };
            Attempt { place: stored.place, outcome, reply: Some(reply.clone()) }
        });
        self.spool.record(id, attempts.collect(), at(60)).await.expect("writes");
        self.shown(id).await
    }

    async fn notify(&self, message: &StoredMessage, notice: Notice) -> Option<QueueId> {
        self.bouncer.notify(&self.spool, message, notice, at(90)).await.expect("is taken")
    }

    async fn body(&self, id: QueueId) -> Vec<u8> {
        read_start(&self.spool, id, usize::MAX).await.expect("reads").expect("is there")
    }
}

fn refused() -> (Fate, Reply) {
    (Fate::Failed, Reply::new(550, (5, 1, 1), "unknown"))
}

const STORED: &[u8] =
    b"Received: by us\r\nMessage-ID: <1@app.example>\r\nSubject: x\r\n..Dot: y\r\n\r\n..body\r\n";

#[test]
fn a_notification_takes_the_place_of_what_was_owed() {
    run(async {
        let config = BounceConfig { upstream: Some("bounces".into()), ..BounceConfig::default() };
        let world = World::new(config);
        let recipients = vec![
            recipient("gone@example.net", ""),
            recipient("quiet@example.net", " NOTIFY=NEVER"),
            recipient("there@example.net", " NOTIFY=SUCCESS"),
        ];
        let envelope = envelope("a@example.com", " ENVID=QQ");
        world.commit(envelope.clone(), recipients, STORED).await;
        let delivered = Fate::Delivered { upstream_tells: false };
        let fates = [refused(), refused(), (delivered, Reply::new(250, (2, 0, 0), "ok"))];
        let message = world.record(envelope.id, &fates).await;
        assert_eq!(message.standing, Standing::Owing);

        let id = world.notify(&message, Notice::End).await.expect("is told");
        assert!(world.spool.show(envelope.id).await.expect("reads").is_none(), "it is done with");
        let notification = world.shown(id).await;
        let of_it = &notification.envelope;
        assert!(of_it.reverse_path.is_empty() && of_it.sender.is_empty() && of_it.dsn.is_empty());
        assert_eq!((&*of_it.upstream, of_it.mode, of_it.body), ("bounces", Mode::Spool, None));
        assert_eq!((of_it.received_at, of_it.expires_at), (at(90), at(90) + 120 * HOUR));
        assert_eq!((&*of_it.origin.listener, &*of_it.origin.entry), ("bounce", "billing"));
        assert_eq!((&*of_it.origin.session_id, &of_it.origin.credential), ("s1", &None));
        assert_eq!((notification.standing, notification.due_at), (Standing::Queued, at(90)));
        let to: Vec<_> = notification.recipients.into_iter().map(|it| it.recipient).collect();
        assert_eq!(to, [recipient("a@example.com", " NOTIFY=NEVER")]);

        // It is stored as DATA has it.
        let content = world.body(id).await;
        let text = String::from_utf8(bdat::unstuff(&content)).expect("is ASCII");
        assert!(text.contains("gone@example.net") && text.contains("there@example.net"));
        assert!(!text.contains("quiet@example.net"), "NEVER is never");
        let parsed = MessageParser::default().parse(&text).expect("is a message");
        let original = parsed.attachment(1).expect("the header comes back").contents();
        assert!(original.starts_with(b"Received: by us\r\n"));
        assert!(original.ends_with(b"\r\nSubject: x\r\n.Dot: y\r\n"));
    });
}

/// A notification that is not accepted is kept, and nobody is told about it.
#[test]
fn there_is_no_bounce_for_a_bounce() {
    run(async {
        let world = World::new(BounceConfig::default());
        let sender = envelope("a@example.com", "");
        world.commit(sender.clone(), vec![recipient("b@example.net", "")], STORED).await;
        let message = world.record(sender.id, &[refused()]).await;
        let id = world.notify(&message, Notice::End).await.expect("is told");
        assert_eq!(world.spool.lease(vec![id]).await.expect("writes"), [id]);
        let fate = (Fate::Failed, Reply::new(501, (5, 1, 7), "Invalid MAIL FROM"));
        let dead = world.record(id, &[fate]).await;
        assert_eq!(dead.standing, Standing::Dead);
        assert_eq!(world.notify(&dead, Notice::End).await, None);
        assert_eq!(world.shown(id).await.standing, Standing::Dead);

        // Whoever else had said that it is owed: what has a null reverse-path is not answered.
        let nobody = Envelope { id: queue_id(78), ..envelope("", "") };
        world.commit(nobody.clone(), vec![recipient("b@example.net", "")], STORED).await;
        let failed = Outcome::Failed(After::Notify);
        let attempt = Attempt { place: 0, outcome: failed, reply: None };
        world.spool.record(nobody.id, vec![attempt], at(0)).await.expect("writes");
        let message = world.shown(nobody.id).await;
        assert_eq!(world.notify(&message, Notice::End).await, None);
        assert_eq!(world.shown(nobody.id).await.standing, Standing::Dead);
    });
}

/// What was owed when the configuration changed.
#[test]
fn what_is_to_be_kept_now_is_kept() {
    run(async {
        let world = World::new(BounceConfig::default());
        let sender = envelope("a@example.com", "");
        world.commit(sender.clone(), vec![recipient("b@example.net", "")], STORED).await;
        let message = world.record(sender.id, &[refused()]).await;
        assert_eq!(message.standing, Standing::Owing);
        let told = keeping().notify(&world.spool, &message, Notice::End, at(90)).await;
        assert_eq!(told.expect("writes"), None);
        assert_eq!(world.shown(sender.id).await.standing, Standing::Dead);
    });
}

#[test]
fn a_delay_is_told_once_and_to_who_wants_it() {
    run(async {
        let world = World::new(BounceConfig::default());
        let recipients =
            vec![recipient("a@example.net", " NOTIFY=DELAY"), recipient("b@example.net", "")];
        let envelope = envelope("a@example.com", " RET=FULL");
        world.commit(envelope.clone(), recipients, STORED).await;
        let message = world.shown(envelope.id).await;
        let id = world.notify(&message, Notice::Delay).await.expect("is told");
        let text = String::from_utf8(world.body(id).await).expect("is ASCII");
        assert!(text.contains("Action: delayed") && text.contains("Will-Retry-Until:"));
        assert!(text.contains("text/rfc822-headers"), "all of it comes back with failures only");
        assert!(!text.contains("b@example.net"));
        assert_eq!(&*world.shown(id).await.envelope.upstream, "google");

        let message = world.shown(envelope.id).await;
        assert!(message.recipients.iter().all(|it| it.delay_told), "nobody is asked about again");
        assert_eq!(message.standing, Standing::Leased);
        assert_eq!(world.notify(&message, Notice::Delay).await, None);
    });
}

#[test]
fn what_is_over_the_rate_is_kept() {
    run(async {
        let world = World::new(BounceConfig::default());
        while world.bouncer.rate().take(b"example.com", at(90)) {}
        let sender = envelope("a@Example.COM", "");
        world.commit(sender.clone(), vec![recipient("b@example.net", "")], STORED).await;
        let message = world.record(sender.id, &[refused()]).await;
        assert_eq!(world.notify(&message, Notice::End).await, None);
        assert_eq!(world.shown(sender.id).await.standing, Standing::Dead);

        let other = Envelope { id: queue_id(78), ..envelope("a@example.org", "") };
        world.commit(other.clone(), vec![recipient("b@example.net", "")], STORED).await;
        let message = world.record(other.id, &[refused()]).await;
        assert!(world.notify(&message, Notice::End).await.is_some(), "another domain is told");
    });
}

/// As many as a message may have: each of them is told of, in notifications of a limited size.
#[test]
fn many_recipients_take_several_notifications() {
    run(async {
        let world = World::new(BounceConfig::default());
        let recipients: Vec<_> =
            (0..1200).map(|number| recipient(&format!("r{number}@example.net"), "")).collect();
        let envelope = envelope("a@example.com", "");
        world.commit(envelope.clone(), recipients, STORED).await;
        let message = world.record(envelope.id, &vec![refused(); 1200]).await;
        world.notify(&message, Notice::End).await.expect("is told");
        let page = world.spool.list(gatepost_spool::Filter::default(), None, 10).await;
        let mut told = 0;
        for summary in page.expect("reads").messages {
            let text = String::from_utf8(world.body(summary.id).await).expect("is ASCII");
            told += text.matches("\r\nFinal-Recipient: ").count();
            assert!(text.len() < 300_000, "{}", text.len());
        }
        assert_eq!(told, 1200);
    });
}

/// A damaged disk is no reason to tell nobody.
#[test]
fn a_body_that_is_gone_keeps_nobody_from_being_told() {
    run(async {
        let world = World::new(BounceConfig::default());
        let envelope = envelope("a@example.com", " RET=FULL");
        let large = [STORED, &b"x\r\n".repeat(60_000)].concat();
        world.commit(envelope.clone(), vec![recipient("b@example.net", "")], &large).await;
        let message = world.record(envelope.id, &[refused()]).await;
        let bodies = world.directory.path().join("spool/bodies");
        std::fs::remove_file(bodies.join(envelope.id.to_string())).expect("is there");
        let id = world.notify(&message, Notice::End).await.expect("is told");
        let text = String::from_utf8(world.body(id).await).expect("is ASCII");
        assert!(text.contains("message/delivery-status") && !text.contains("message/rfc822"));
    });
}
