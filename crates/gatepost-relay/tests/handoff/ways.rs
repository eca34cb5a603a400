//! Recipients that do not all go the same way, or not all at once.

use gatepost_delivery::{RatePeriod, RecipientRate};
use gatepost_relay::MailLogTarget;
use gatepost_relay::Mode::{Hybrid, Sync};
use gatepost_smtp::reply::Reply;
use gatepost_testkit::ScriptedUpstream;

use crate::client::{Grouping, Mail, Way, send};
use crate::play::{A, B, C, KEPT, Play, judge, told};
use crate::world::{Due, Room, Setting, Store, World, delivered};

const OK: &str = "250 2.1.5";

fn for_three(mail: &mut Mail) {
    mail.recipients = Mail::to(mail.mode, &[A, B, C]).recipients;
}

fn for_three_at_once(mail: &mut Mail) {
    for_three(mail);
    mail.grouping = Grouping::Pipelined;
}

#[tokio::test]
async fn past_the_cap_of_the_provider() {
    for mail in [for_three, for_three_at_once] {
        let expected = [
            (Sync, told(&[OK, OK, "452 4.5.3"], "250").upstream(&[A, B])),
            // It was never asked about the third one, and can be at once.
            (Hybrid, told(&[OK, OK, KEPT], "250").upstream(&[A, B]).spool(&[C], Due::Now)),
        ];
        let ours = Play::of("max_recipients").mail(mail).setting(|it| it.max_recipients = Some(2));
        ours.runs(|it| it, &expected).await;
        let theirs = Play::of("RCPTMAX").mail(mail);
        theirs.runs(|it| it.extensions(&["PIPELINING", "LIMITS RCPTMAX=2"]), &expected).await;
    }
}

#[tokio::test]
async fn past_the_rate_of_the_upstream() {
    for mail in [for_three, for_three_at_once] {
        let rate = RecipientRate { count: 2, period: RatePeriod::Minute };
        let play = Play::of("a rate").mail(mail).setting(|it| it.rates = vec![rate]);
        let expected = [
            (Sync, told(&[OK, OK, "450 4.7.1"], "250").upstream(&[A, B])),
            (Hybrid, told(&[OK, OK, KEPT], "250").upstream(&[A, B]).spool(&[C], Due::Later)),
        ];
        play.runs(|it| it, &expected).await;
    }
}

/// Whom the upstream was not asked for, because they are too many or too fast, hears its word on the
/// sender, too: the next attempt would hear the same.
#[tokio::test]
async fn nobody_is_kept_of_a_sender_who_is_refused() {
    const NO: &str = "550 5.1.8 not from there";
    let rate = RecipientRate { count: 2, period: RatePeriod::Minute };
    for mail in [for_three, for_three_at_once] {
        let expected = [(Hybrid, told(&[NO, NO, NO], ""))];
        let cap = Play::of("max_recipients").mail(mail).setting(|it| it.max_recipients = Some(2));
        cap.runs(|it| it.on("MAIL", NO), &expected).await;
        let fast = Play::of("a rate").mail(mail).setting(|it| it.rates = vec![rate]);
        fast.runs(|it| it.on("MAIL", NO), &expected).await;
    }
}

/// Its client was told 250: what the upstream has said of a recipient stands in the log.
#[tokio::test]
async fn the_log_has_the_word_by_which_somebody_is_owed() {
    let upstream = ScriptedUpstream::builder().on("RCPT TO:<b@", "450 4.2.1 busy").start();
    let store = Store::open(Room::Plenty);
    let file = store.directory.path().join("mail.jsonl");
    let setting = Setting { mail_log: MailLogTarget::File(file.clone()), ..Setting::default() };
    let world = World::new(upstream.addr(), &setting, Some(&store.spool));
    send(&world, &Mail::to(Hybrid, &[A, B])).await;
    drop(world.log);
    let log = std::fs::read_to_string(file).expect("is written");
    let events: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect();
    let told = |event: &serde_json::Value| (event["type"].clone(), event["reason"].clone());
    let expected = [("Reception".into(), "450 4.2.1 busy".into()), ("Delivery".into(), ().into())];
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected, "{log}");
}

/// Two other upstreams, and another reverse-path at the first one: four rows would be one message.
#[tokio::test]
async fn each_way_is_a_row() {
    for (mode, reply) in
        [(Sync, "250"), (Hybrid, "250"), (Sync, "451"), (Hybrid, "451"), (Hybrid, "550")]
    {
        let upstream = ScriptedUpstream::builder().end_of_data(format!("{reply} word")).start();
        let store = Store::open(Room::Plenty);
        let world = World::new(upstream.addr(), &Setting::default(), Some(&store.spool));
        let mut mail = Mail::to(mode, &[A, B, C, "d@b.test", "e@b.test"]);
        let ways = [Way::First, Way::Other(0), Way::Other(1), Way::Renamed, Way::Other(0)];
        mail.recipients.iter_mut().zip(ways).for_each(|(rcpt, way)| rcpt.way = way);
        let heard = send(&world, &mail).await;
        assert!(heard.recipients.iter().flatten().all(Reply::is_positive), "{heard:?}");
        let rows = world.rows().await;
        judge(&mail, &heard, (&rows, &delivered(&upstream)), 0)
            .unwrap_or_else(|wrong| panic!("{mode:?}, {reply}: {wrong}"));
        let shown: Vec<_> = rows
            .iter()
            .map(|row| {
                (&*row.upstream, &*row.reverse_path, row.pending().collect::<Vec<_>>(), row.due)
            })
            .collect();
        let others = [
            ("other-0", "s@app.test", vec![B, "e@b.test"], Due::Now),
            ("other-1", "s@app.test", vec![C], Due::Now),
            ("sink", "other@app.test", vec!["d@b.test"], Due::Now),
        ];
        match (mode, reply) {
            (_, "250") => assert_eq!(shown, others, "{mode:?}"),
            (Hybrid, "451") => {
                let first = ("sink", "s@app.test", vec![A], Due::Later);
                assert_eq!(shown[0], first);
                assert_eq!(shown[1..], others);
            }
            _ => assert!(
                shown.is_empty() && !heard.end_is_positive(),
                "{mode:?}, {reply}: {shown:?}"
            ),
        }
        assert!(
            rows.iter().all(|row| row.standing == gatepost_spool::Standing::Queued),
            "{rows:?}"
        );
        upstream.stop().await;
    }
}

#[tokio::test]
async fn more_ways_than_one_message_may_take() {
    /// More than eight.
    const OTHERS: usize = 10;
    let upstream = ScriptedUpstream::start();
    let store = Store::open(Room::Plenty);
    let setting = Setting { others: OTHERS, ..Setting::default() };
    let world = World::new(upstream.addr(), &setting, Some(&store.spool));
    let paths: Vec<_> = (0..=OTHERS).map(|number| format!("r{number}@b.test")).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let mut mail = Mail::to(Hybrid, &paths);
    for (number, rcpt) in mail.recipients.iter_mut().skip(1).enumerate() {
        rcpt.way = Way::Other(number);
    }
    let heard = send(&world, &mail).await;
    let replies: Vec<_> = heard.recipients.iter().flatten().map(ToString::to_string).collect();
    assert!(replies[..=8].iter().all(|reply| reply.starts_with("250")), "{replies:?}");
    assert!(replies[9..].iter().all(|reply| reply.starts_with("452 4.5.3")), "{replies:?}");
    let rows = world.rows().await;
    assert_eq!(rows.len(), 8);
    judge(&mail, &heard, (&rows, &delivered(&upstream)), 0).expect("one place each");
    upstream.stop().await;
}
