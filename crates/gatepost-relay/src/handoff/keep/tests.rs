//! What becomes of parts that are forgotten, committed or withdrawn.

use gatepost_spool::SpoolOptions;
use tokio::time::Instant;

use super::*;
use crate::id::Ids;
use crate::mail_log::{MailLog, MailLogTarget};
use crate::relay::RelayConfig;

fn message(id: Id) -> Message {
    Message {
        id,
        sender: b"a@app.test"[..].into(),
        reverse_path: b"a@app.test"[..].into(),
        entry: "fleet".into(),
        size: None,
        body: None,
        smtputf8: false,
        dsn: Arc::default(),
        received: Bytes::from_static(b"Received: by relay.test\r\n"),
        began: Instant::now(),
    }
}

fn origin() -> Origin<'static> {
    Origin {
        session_id: "s",
        listener: "smtp",
        entry: Some("fleet"),
        credential: None,
        generation: "1",
        client: [127, 0, 0, 1].into(),
        helo: None,
        tls: None,
    }
}

struct World {
    relay: Arc<Relay>,
    spool: Spool,
    _directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let options = SpoolOptions { free_space_floor: 0, ..SpoolOptions::default() };
        let at = directory.path().join("spool");
        let (spool, _) = Spool::open(&at, options, SystemTime::now()).expect("opens");
        let (log, _) = MailLog::start(&MailLogTarget::Off).expect("is off");
        let config = RelayConfig::usual("relay.test".into());
        let ids = Arc::new(Ids::new());
        let relay = Relay::new(config, Vec::new(), log, Some(spool.clone()), ids);
        Self { relay, spool, _directory: directory }
    }

    async fn messages(&self) -> u64 {
        self.spool.stats(SystemTime::now()).await.expect("is readable").messages
    }
}

fn two_parts(world: &World, message: &Message) -> Keep {
    let mut keep = Keep::new(message, "a".into(), Mode::Hybrid);
    let way = ("b".into(), message.reverse_path.clone());
    let taken = keep.take_apart(way, Mode::Hybrid, (b"x@b.test", b""), || world.relay.ids.next());
    taken.expect("there is room");
    keep
}

/// Whoever was told 250 at RCPT is owed to the spool until the message is refused as a whole.
#[tokio::test]
async fn a_copy_that_was_forgotten_leaves_nobody_out() {
    let world = World::new();
    let message = message(world.relay.ids.next());
    let mut keep = two_parts(&world, &message);
    keep.begin(&world.spool, &message.received).await;
    keep.forget();
    keep.append(Bytes::from_static(b"Subject: the rest\r\n")).await;
    assert!(keep.is_owed() && keep.has_others());
    let context = (&*world.relay, &world.spool);
    let committed = keep.commit_owed(context, &message, &origin()).await;
    assert!(matches!(committed, Err(SpoolError::BodyDamaged { .. })));
    assert_eq!(world.messages().await, 0, "half of a message is no message");
}

/// What somebody else has, or had, must not be called refused.
#[tokio::test]
async fn what_is_not_ours_any_more_is_not_withdrawn() {
    let world = World::new();
    let message = message(world.relay.ids.next());
    for is_ours in [true, false] {
        let mut keep = two_parts(&world, &message);
        keep.begin(&world.spool, &message.received).await;
        let context = (&*world.relay, &world.spool);
        let parts = keep.commit_owed(context, &message, &origin()).await.expect("is taken");
        if !is_ours {
            world.spool.release(vec![parts[0].id]).await.expect("is given back");
        }
        let expected = if is_ours { Withdrawn::All } else { Withdrawn::NotAll };
        assert_eq!(withdraw(&world.spool, parts).await, expected);
        assert_eq!(world.messages().await, u64::from(!is_ours));
    }
}
