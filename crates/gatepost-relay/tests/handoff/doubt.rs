//! Messages in doubt: the upstream has all of it and takes longer to answer than a client waits.

use std::time::{Duration, Instant};

use gatepost_relay::Bounces;
use gatepost_relay::Mode::Hybrid;
use gatepost_spool::{RecipientState, Standing};
use gatepost_testkit::upstream::Move;
use gatepost_testkit::{Action, ScriptedUpstream};

use crate::client::{Form, Heard, Mail, Way, send};
use crate::play::{A, B, C, QUEUED, judge};
use crate::world::{Due, Room, Row, Setting, Store, World, delivered};

/// How long the client waits.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long the upstream takes.
const SLOW: Duration = Duration::from_millis(600);

struct Doubt {
    upstream: ScriptedUpstream,
    store: Store,
    world: World,
    mail: Mail,
    heard: Heard,
}

impl Doubt {
    /// Sends a message whose end of data is answered like that, and comes back when its client is
    /// answered.
    async fn begin(action: Action, bounces: Bounces, mail: impl FnOnce(&mut Mail)) -> Self {
        let upstream = ScriptedUpstream::builder()
            .extensions(&["PIPELINING", "CHUNKING"])
            .on("RCPT TO:<b@", "450 4.2.1 busy")
            .end_of_data(action)
            .start();
        let store = Store::open(Room::Plenty);
        let setting = Setting { answer_within: PATIENCE, bounces, ..Setting::default() };
        let world = World::new(upstream.addr(), &setting, Some(&store.spool));
        let mut message = Mail::to(Hybrid, &[A]);
        mail(&mut message);
        let began = Instant::now();
        let heard = send(&world, &message).await;
        assert!(began.elapsed() >= PATIENCE, "the upstream had its time");
        let end = heard.end.as_ref().expect("a reply").to_string();
        assert_eq!(end, format!("{QUEUED}{}", heard.id));
        assert_eq!(upstream.wait_for_messages(1).await.len(), 1);
        Self { upstream, store, world, mail: message, heard }
    }

    /// Its row while nobody knows.
    async fn open_row(&self) -> Row {
        let rows = self.world.rows().await;
        let row = rows.into_iter().find(|row| row.id == self.heard.id).expect("is kept");
        assert_eq!(row.standing, Standing::InDoubt, "{row:?}");
        assert_eq!(row.body, self.heard.stored(&self.mail));
        row
    }

    /// What is there when the upstream has said its word.
    async fn end(self) -> (Vec<Row>, u64) {
        self.world.relay.stayed().await;
        let (rows, ambiguous) = (self.world.rows().await, self.world.counts.ambiguous());
        let delivered = delivered(&self.upstream);
        judge(&self.mail, &self.heard, (&rows, &delivered), ambiguous).expect("one place each");
        self.upstream.stop().await;
        (rows, ambiguous)
    }
}

fn late(reply: &str) -> Action {
    Action::Delay(SLOW, reply.to_owned())
}

#[tokio::test]
async fn a_late_yes_is_one_delivery_and_nothing_else() {
    for form in [Form::Data, Form::Chunks(2)] {
        let doubt =
            Doubt::begin(late("250 2.0.0 taken"), Bounces::Dsn, |mail| mail.form = form).await;
        assert_eq!(doubt.open_row().await.pending().collect::<Vec<_>>(), [A]);
        let (relay, counts) = (doubt.world.relay.clone(), doubt.world.counts.clone());
        let (rows, ambiguous) = doubt.end().await;
        assert!(rows.is_empty() && ambiguous == 0, "{rows:?}");
        assert_eq!(counts.get("gatepost_deliveries_total", &[("result", "delivered")]), 1);
        assert_eq!(counts.get("gatepost_handoffs_total", &[("result", "in_doubt")]), 1);
        drop(relay);
    }
}

#[tokio::test]
async fn a_late_yes_leaves_those_who_were_owed_before() {
    let doubt = Doubt::begin(late("250 2.0.0 taken"), Bounces::Dsn, |mail| {
        mail.recipients = Mail::to(Hybrid, &[A, B, C]).recipients;
        mail.recipients[2].way = Way::Other(0);
    })
    .await;
    let row = doubt.open_row().await;
    assert_eq!(row.pending().collect::<Vec<_>>(), [B, A]);
    let others: Vec<_> =
        doubt.world.rows().await.into_iter().filter(|row| row.upstream == "other-0").collect();
    assert_eq!((others.len(), others[0].standing, others[0].due), (1, Standing::Queued, Due::Now));
    let (rows, ambiguous) = doubt.end().await;
    assert_eq!((rows.len(), ambiguous), (2, 0));
    let row = rows.iter().find(|row| row.upstream == "sink").expect("is there");
    assert_eq!(row.of(RecipientState::Delivered).collect::<Vec<_>>(), [A]);
    assert_eq!(row.pending().collect::<Vec<_>>(), [B]);
    assert_eq!((row.standing, row.due), (Standing::Queued, Due::Later));
}

#[tokio::test]
async fn a_late_no_is_a_failure() {
    let doubt = Doubt::begin(late("554 5.7.1 spam"), Bounces::Keep, |_| {}).await;
    doubt.open_row().await;
    let (rows, ambiguous) = doubt.end().await;
    assert_eq!((rows.len(), ambiguous), (1, 0));
    assert_eq!(rows[0].standing, Standing::Dead);
    assert_eq!(rows[0].of(RecipientState::Failed).collect::<Vec<_>>(), [A]);
}

/// The sender is told instead.
#[tokio::test]
async fn a_late_no_is_told() {
    let doubt = Doubt::begin(late("554 5.7.1 spam"), Bounces::Dsn, |_| {}).await;
    doubt.open_row().await;
    doubt.world.relay.stayed().await;
    let rows = doubt.world.rows().await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_ne!(rows[0].id, doubt.heard.id);
    assert_eq!(rows[0].pending().collect::<Vec<_>>(), ["s@app.test"]);
    assert_eq!(rows[0].reverse_path, "");
    let text = String::from_utf8_lossy(&rows[0].body).into_owned();
    assert!(text.contains("554 5.7.1 spam") && text.contains(A), "{text}");
    doubt.upstream.stop().await;
}

#[tokio::test]
async fn a_late_maybe_is_tried_again() {
    let doubt = Doubt::begin(late("451 4.3.0 later"), Bounces::Dsn, |_| {}).await;
    doubt.open_row().await;
    let (rows, ambiguous) = doubt.end().await;
    assert_eq!((rows.len(), ambiguous), (1, 0));
    assert_eq!(
        (rows[0].standing, rows[0].due, rows[0].attempts),
        (Standing::Queued, Due::Later, 1)
    );
}

#[tokio::test]
async fn an_upstream_that_is_lost_in_doubt_is_ambiguous() {
    for last in [Move::Close, Move::Reset] {
        let doubt =
            Doubt::begin(Action::Play(vec![Move::Wait(SLOW), last]), Bounces::Dsn, |_| {}).await;
        doubt.open_row().await;
        let (rows, ambiguous) = doubt.end().await;
        assert_eq!((rows.len(), ambiguous), (1, 1));
        assert_eq!((rows[0].standing, rows[0].due), (Standing::Queued, Due::Later));
    }
}

/// The spool as it is in the middle, opened elsewhere.
#[tokio::test]
async fn a_crash_in_doubt_is_found_and_counted() {
    let doubt = Doubt::begin(late("250 2.0.0 taken"), Bounces::Dsn, |_| {}).await;
    let (_copy, spool, recovery) = doubt.store.crashed();
    assert_eq!((recovery.messages, recovery.leases), (1, 1));
    assert_eq!(recovery.in_doubt, [doubt.heard.id]);
    let rows = crate::world::rows(&spool, gatepost_spool::Filter::default()).await;
    assert_eq!((rows[0].standing, rows[0].due), (Standing::Queued, Due::Now));
    assert_eq!(rows[0].pending().collect::<Vec<_>>(), [A]);
    // The process that was not killed goes on as if nothing had been.
    let (rows, _) = doubt.end().await;
    assert!(rows.is_empty(), "{rows:?}");
}

/// The runtime ends while somebody stays with an upstream.
#[test]
fn who_is_cut_off_in_doubt_counts_it_and_gives_the_message_back() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let first = runtime().expect("a runtime");
    let doubt = first.block_on(Doubt::begin(Action::Silence, Bounces::Dsn, |_| {}));
    let (counts, store, id) = (doubt.world.counts.clone(), doubt.store, doubt.heard.id);
    first.shutdown_timeout(Duration::from_secs(5));
    assert_eq!(counts.ambiguous(), 1);
    runtime().expect("a runtime").block_on(async {
        for _ in 0..500 {
            let message = store.spool.show(id).await.expect("is readable").expect("is there");
            if message.standing == Standing::Queued {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("its lease never ends");
    });
}
