//! What nobody is to have, what is taken back, and a spool that takes nothing.

use gatepost_relay::Mode::{Hybrid, Spool, Sync};
use gatepost_testkit::ScriptedUpstream;

use crate::client::{Form, Interlude, Mail, Rcpt, Way, send};
use crate::play::{A, B, C, KEPT, Play, QUEUED, told};
use crate::world::{Due, Room, Setting, Store, World, delivered};

const OK: &str = "250 2.1.5";

fn looping(mail: &mut Mail) {
    mail.body = [b"Received: x\r\n".repeat(6), b"\r\nround and round\r\n".to_vec()].concat();
}

fn looping_in_chunks(mail: &mut Mail) {
    looping(mail);
    mail.form = Form::Chunks(3);
}

#[tokio::test]
async fn a_loop_is_kept_by_nobody() {
    for mail in [looping, looping_in_chunks] {
        let play = Play::of("a loop").mail(mail);
        let extensions = ["PIPELINING", "8BITMIME", "CHUNKING"];
        let expected = [
            (Sync, told(&[OK, OK], "554 5.4.6")),
            (Hybrid, told(&[OK, OK], "554 5.4.6")),
            (Spool, told(&[KEPT, KEPT], "554 5.4.6")),
        ];
        play.runs(|it| it.extensions(&extensions), &expected).await;
        let owed =
            [(Hybrid, told(&[OK, KEPT], "554 5.4.6")), (Sync, told(&[OK, "450"], "554 5.4.6"))];
        play.runs(|it| it.extensions(&extensions).on("RCPT TO:<b@", "450 4.2.1 busy"), &owed).await;
        let owed = [(Hybrid, told(&[KEPT, KEPT], "554 5.4.6"))];
        play.runs(|it| it.extensions(&extensions).on("MAIL", "450 4.2.1 busy"), &owed).await;
    }
    let play = Play::of("DATA put off").mail(looping);
    let expected = [(Hybrid, told(&[OK, OK], "554 5.4.6"))];
    play.runs(|it| it.on("DATA", "450 4.2.1 busy"), &expected).await;
}

#[tokio::test]
async fn eight_bits_that_the_upstream_does_not_take_are_no_matter_of_time() {
    let play = Play::of("8 bits").mail(|mail| mail.body = "Subject: x\r\n\r\nä\r\n".into());
    let build = |it: gatepost_testkit::upstream::Builder| {
        it.extensions(&["PIPELINING"]).on("RCPT TO:<b@", "450 4.2.1 busy")
    };
    let expected = [
        (Sync, told(&[OK, "450"], "554 5.6.3")),
        (Hybrid, told(&[OK, KEPT], "554 5.6.3")),
        (Spool, told(&[KEPT, KEPT], QUEUED).spool(&[A, B], Due::Now)),
    ];
    play.runs(build, &expected).await;
}

/// Small copies, and large ones that are files.
#[tokio::test]
async fn what_is_refused_for_good_is_withdrawn_before_that_is_said() {
    for lines in [2, 3_000, 60_000] {
        let upstream = ScriptedUpstream::builder()
            .on("RCPT TO:<b@", "450 4.2.1 busy")
            .end_of_data("554 5.7.1 spam")
            .start();
        let store = Store::open(Room::Plenty);
        let world = World::new(upstream.addr(), &Setting::default(), Some(&store.spool));
        let mut mail = Mail::to(Hybrid, &[A, B, C]);
        mail.recipients[2].way = Way::Other(0);
        mail.body = b"a line\r\n".repeat(lines);
        mail.piece = 4_000;
        let heard = send(&world, &mail).await;
        // At the moment of the reply.
        let rows = world.rows().await;
        assert!(rows.is_empty(), "{rows:?}");
        let end = heard.end.expect("a reply").to_string();
        assert!(end.starts_with("554 5.7.1 spam"), "{end}");
        let work = store.spool.stats(std::time::SystemTime::now()).await.expect("stats").work;
        assert!(work.operations >= 4, "two rows were committed and withdrawn: {work:?}");
        assert_eq!(upstream.messages().len(), 1, "its end of data was seen");
        let (_copy, _, recovery) = store.crashed();
        assert_eq!(recovery.messages, 0, "it stays withdrawn");
        upstream.stop().await;
    }
}

#[tokio::test]
async fn without_room_hybrid_is_sync() {
    let busy = [Sync, Hybrid].map(|mode| (mode, told(&[OK, "450 4.2.1"], "250").upstream(&[A])));
    let play = Play::of("no room").full();
    play.runs(|it| it.on("RCPT TO:<b@", "450 4.2.1 busy"), &busy).await;
    let refused = [Sync, Hybrid].map(|mode| (mode, told(&["451 4.7.1", "451 4.7.1"], "")));
    play.runs(|it| it.on("MAIL", "451 4.7.1 later"), &refused).await;
    let deferred = [Sync, Hybrid].map(|mode| (mode, told(&[OK, OK], "451 4.3.0 later")));
    for event in ["DATA", "."] {
        play.runs(|it| it.on(event, "451 4.3.0 later"), &deferred).await;
    }
    let stalled = [Sync, Hybrid].map(|mode| (mode, told(&[OK, OK], "451 4.4.2")));
    Play::of("a stall")
        .full()
        .mail(|mail| mail.interlude = Interlude::StallsInData)
        .runs(|it| it, &stalled)
        .await;
    let spool = [(Spool, told(&["452 4.3.1", "452 4.3.1"], ""))];
    play.runs(|it| it, &spool).await;
    // Somebody for another upstream hears what a client hears in mode sync.
    let other =
        Play::of("another upstream").full().mail(|mail| mail.recipients[1].way = Way::Other(0));
    let expected =
        [Sync, Hybrid].map(|mode| (mode, told(&[OK, "452 4.5.3"], "250").upstream(&[A])));
    other.runs(|it| it, &expected).await;
}

/// The spool stops when recipients were told that it will have them.
#[tokio::test]
async fn a_spool_that_stops_in_between_is_no_lie() {
    let stops: fn(&mut Mail) = |mail| mail.interlude = Interlude::SpoolStops;
    let play = Play::of("stops").mail(stops);
    play.runs(|it| it, &[(Spool, told(&[KEPT, KEPT], "452 4.3.1"))]).await;
    play.runs(|it| it, &[(Hybrid, told(&[OK, OK], "250").upstream(&[A, B]))]).await;
    // Nobody gets it where one cannot be kept: the upstream has no final dot.
    let owed = [(Hybrid, told(&[OK, KEPT], "452 4.3.1"))];
    play.runs(|it| it.on("RCPT TO:<b@", "450 4.2.1 busy"), &owed).await;
    let lost = [(Hybrid, told(&[KEPT, KEPT], "451 4.7.1 later"))];
    play.runs(|it| it.on("MAIL", "451 4.7.1 later"), &lost).await;
    let lost = [(Hybrid, told(&[OK, OK], "451 4.3.0 later"))];
    for event in ["DATA", "."] {
        play.runs(|it| it.on(event, "451 4.3.0 later"), &lost).await;
    }
}

/// One upstream has refused its recipient for good; that is no word about the other's.
#[tokio::test]
async fn a_refusal_is_not_told_of_somebody_else() {
    let play = Play::of("stops").mail(|mail| {
        mail.grouping = crate::client::Grouping::Pipelined;
        mail.interlude = Interlude::SpoolStops;
        mail.recipients[1].way = Way::Other(0);
    });
    let expected = [(Hybrid, told(&["550 5.1.8", KEPT], "452 4.3.1"))];
    play.runs(|it| it.on("MAIL", "550 5.1.8 not from there"), &expected).await;
}

/// Nobody would tell the sender of success: whoever takes it from the spool will.
#[tokio::test]
async fn success_that_the_upstream_tells_nobody_of_goes_by_the_spool() {
    let asks: fn(&mut Mail) = |mail| {
        let rcpt = Rcpt { path: B.to_owned(), dsn: " NOTIFY=SUCCESS,FAILURE", way: Way::First };
        mail.recipients[1] = rcpt;
    };
    let play = Play::of("NOTIFY=SUCCESS").mail(asks);
    let without = told(&[OK, KEPT], "250").upstream(&[A]).spool(&[B], Due::Now);
    play.runs(|it| it, &[(Hybrid, without)]).await;
    let with = told(&[OK, OK], "250").upstream(&[A, B]);
    play.runs(|it| it.extensions(&["PIPELINING", "DSN"]), &[(Hybrid, with.clone())]).await;
    let upstream = ScriptedUpstream::builder().extensions(&["DSN"]).start();
    let world = World::new(upstream.addr(), &Setting::default(), None);
    let mut mail = Mail::to(Sync, &[A, B]);
    asks(&mut mail);
    send(&world, &mail).await;
    assert_eq!(delivered(&upstream).len(), 1);
    assert!(upstream.lines().iter().any(|line| line.ends_with("NOTIFY=SUCCESS,FAILURE")));
    upstream.stop().await;
}
