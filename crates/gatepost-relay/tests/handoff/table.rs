//! The table of the design, row by row: what the upstream does, and what becomes of each recipient.

use std::time::Duration;

use gatepost_relay::Mode::{Hybrid, Spool, Sync};
use gatepost_testkit::Action;

use crate::client::{Grouping, Interlude, Mail};
use crate::play::{A, B, C, KEPT, Play, QUEUED, told};
use crate::world::{Due, Room, Setting, Store, World, delivered, unreachable_addr};

/// Long enough for a polite reply, short enough to be waited for.
const SHORT: Duration = Duration::from_millis(300);

/// What a client hears of a recipient that the upstream has accepted.
const OK: &str = "250 2.1.5";

fn all_at_once(mail: &mut Mail) {
    mail.grouping = Grouping::Pipelined;
}

fn for_three(mail: &mut Mail) {
    mail.recipients = Mail::to(mail.mode, &[A, B, C]).recipients;
}

#[tokio::test]
async fn nobody_is_there() {
    for mode in [Sync, Hybrid] {
        let store = Store::open(Room::Plenty);
        let world = World::new(unreachable_addr(), &Setting::default(), Some(&store.spool));
        // The last ones find the breaker open.
        for number in 0..8 {
            let heard = crate::client::send(&world, &Mail::to(mode, &[A, B])).await;
            let recipients: Vec<_> =
                heard.recipients.iter().flatten().map(ToString::to_string).collect();
            let rows = world.rows().await;
            if mode == Sync {
                assert!(recipients.iter().all(|reply| reply.starts_with("451 4.4.1")), "{number}");
                assert!(heard.end.is_none() && rows.is_empty(), "{number}");
            } else {
                assert!(recipients.iter().all(|reply| reply == KEPT), "{recipients:?}");
                assert!(heard.end_is_positive(), "{number}");
                assert_eq!(rows.len(), number + 1);
                assert!(
                    rows.iter().all(|row| row.due == Due::Now && row.attempts == 0),
                    "{rows:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn no_connection_becomes_ready() {
    for (event, action, sync) in [
        ("CONNECT", Action::from("554 5.7.1 go away"), "451 4.4.1"),
        ("CONNECT", "450 4.7.1 not now".into(), "451 4.3.2"),
        ("CONNECT", "530 5.7.0 who are you".into(), "451 4.3.5"),
        ("CONNECT", Action::Close, "451 4.4.1"),
        ("EHLO", "421 4.3.2 leaving".into(), "451 4.3.2"),
        ("EHLO", Action::Reset, "451 4.4.1"),
    ] {
        let build =
            |builder: gatepost_testkit::upstream::Builder| builder.on(event, action.clone());
        let hybrid = told(&[KEPT, KEPT], QUEUED).spool(&[A, B], Due::Now);
        let expected = [(Sync, told(&[sync, sync], "")), (Hybrid, hybrid)];
        Play::of("no connection").runs(build, &expected).await;
        Play::of("no connection, pipelined").mail(all_at_once).runs(build, &expected).await;
    }
}

#[tokio::test]
async fn mail_is_refused() {
    for (reply, sync, due) in [
        ("451 4.7.1 later", "451 4.7.1 later", Some(Due::Later)),
        ("421 4.3.2 leaving", "451 4.3.2", Some(Due::Later)),
        ("503 5.5.1 what", "451 4.3.5", Some(Due::Later)),
        ("535 5.7.8 who", "451 4.3.5", Some(Due::Later)),
        ("550 5.1.8 not from there", "550 5.1.8 not from there", None),
        ("552 5.2.2 too much", "552 5.2.2 too much", None),
    ] {
        let hybrid = match due {
            Some(due) => told(&[KEPT, KEPT], QUEUED).spool(&[A, B], due),
            None => told(&[sync, sync], ""),
        };
        let expected = [(Sync, told(&[sync, sync], "")), (Hybrid, hybrid)];
        Play::of("MAIL").runs(|it| it.on("MAIL", reply), &expected).await;
        Play::of("MAIL").mail(all_at_once).runs(|it| it.on("MAIL", reply), &expected).await;
    }
}

#[tokio::test]
async fn recipients_are_refused() {
    for grouping in [|_: &mut Mail| {}, all_at_once] {
        let play = Play::of("RCPT").mail(grouping);
        // 552 is an old word for too many recipients.
        for (reply, sync) in [("450 4.2.1 busy", "450 4.2.1 busy"), ("552 5.2.2 full", "452 4.5.3")]
        {
            let expected = [
                (Sync, told(&[OK, sync], "250").upstream(&[A])),
                (Hybrid, told(&[OK, KEPT], "250").upstream(&[A]).spool(&[B], Due::Later)),
            ];
            play.runs(|it| it.on("RCPT TO:<b@", reply), &expected).await;
            let expected = [
                (Sync, told(&[sync, sync], "")),
                (Hybrid, told(&[KEPT, KEPT], QUEUED).spool(&[A, B], Due::Later)),
            ];
            play.runs(|it| it.on("RCPT", reply), &expected).await;
        }
        let expected =
            [Sync, Hybrid].map(|mode| (mode, told(&[OK, "550 5.1.1"], "250").upstream(&[A])));
        play.runs(|it| it.on("RCPT TO:<b@", "550 5.1.1 nobody"), &expected).await;
        let expected = [Sync, Hybrid].map(|mode| (mode, told(&["550 5.1.1", "550 5.1.1"], "")));
        play.runs(|it| it.on("RCPT", "550 5.1.1 nobody"), &expected).await;
    }
    let mixed = Play::of("a mix").mail(for_three);
    let expected = [
        (Sync, told(&[OK, "451 4.1.0", "550 5.1.1"], "250").upstream(&[A])),
        (Hybrid, told(&[OK, KEPT, "550 5.1.1"], "250").upstream(&[A]).spool(&[B], Due::Later)),
    ];
    mixed
        .runs(
            |it| it.on("RCPT TO:<b@", "451 4.1.0 later").on("RCPT TO:<c@", "550 5.1.1 nobody"),
            &expected,
        )
        .await;
}

#[tokio::test]
async fn data_is_refused() {
    for event in ["DATA", "."] {
        for (reply, sync, is_kept) in [
            ("451 4.3.0 later", "451 4.3.0 later", true),
            ("421 4.3.2 leaving", "451 4.3.2", true),
            ("503 5.5.1 what", "451 4.3.5", true),
            ("554 5.7.1 spam", "554 5.7.1 spam", false),
        ] {
            for grouping in [|_: &mut Mail| {}, all_at_once] {
                let play = Play::of(event).mail(grouping);
                let hybrid = |recipients: &[&'static str]| {
                    if is_kept {
                        told(recipients, QUEUED).spool(&[A, B], Due::Later)
                    } else {
                        told(recipients, sync)
                    }
                };
                let expected = [(Sync, told(&[OK, OK], sync)), (Hybrid, hybrid(&[OK, OK]))];
                play.runs(|it| it.on(event, reply), &expected).await;
                // A copy of whom it is owed to is in the spool by then, and taken back.
                let owes_one = hybrid(&[KEPT, OK]);
                let owes_one = if is_kept { owes_one.spool(&[A, B], Due::Later) } else { owes_one };
                play.runs(
                    |it| it.on(event, reply).on("RCPT TO:<a@", "450 4.2.1 busy"),
                    &[(Hybrid, owes_one)],
                )
                .await;
            }
        }
    }
}

#[tokio::test]
async fn the_upstream_is_lost_before_the_final_dot() {
    for action in
        [Action::Close, Action::Reset, Action::CloseAfterData(0), Action::CloseAfterData(30)]
    {
        let expected = [
            (Sync, told(&[OK, OK], "451 4.4.2")),
            (Hybrid, told(&[OK, OK], QUEUED).spool(&[A, B], Due::Later)),
        ];
        let play = Play::of("DATA").mail(|mail| mail.body = b"x\r\n".repeat(100_000));
        play.runs(|it| it.on("DATA", action.clone()), &expected).await;
    }
    for event in ["MAIL", "RCPT TO:<a@"] {
        let expected = [
            (Sync, told(&["451 4.4.2", "451 4.4.2"], "")),
            (Hybrid, told(&[KEPT, KEPT], QUEUED).spool(&[A, B], Due::Later)),
        ];
        Play::of(event).runs(|it| it.on(event, Action::Close), &expected).await;
    }
    let expected = [
        (Sync, told(&[OK, "451 4.4.2"], "451 4.4.2")),
        // Whom it had accepted before has not got it, either.
        (Hybrid, told(&[OK, KEPT], QUEUED).spool(&[B, A], Due::Later)),
    ];
    Play::of("the second RCPT").runs(|it| it.on("RCPT TO:<b@", Action::Close), &expected).await;
}

#[tokio::test]
async fn the_upstream_is_lost_after_the_final_dot() {
    for (action, mail) in [
        (Action::Close, (|_| {}) as fn(&mut Mail)),
        (Action::Reset, all_at_once),
        (Action::Silence, |_| {}),
        (Action::Raw(b"250 not a whole re".to_vec()), |_| {}),
        (Action::Raw(b"nonsense\r\n".to_vec()), |_| {}),
    ] {
        let play = Play::of("lost after the dot").mail(mail);
        let play = play.setting(|it| it.final_reply_timeout = SHORT);
        // What it is ambiguous about is told by nobody: this upstream never says that it has it.
        let expected = [
            (Sync, told(&[OK, OK], "451 4.4.2").ambiguous()),
            (Hybrid, told(&[OK, OK], QUEUED).spool(&[A, B], Due::Later).ambiguous()),
        ];
        let build = |it: gatepost_testkit::upstream::Builder| it.end_of_data(action.clone());
        if matches!(&action, Action::Raw(said) if said.starts_with(b"250")) {
            // The test kit takes it for its word; the relay must not.
            let expected = expected.map(|(mode, told)| (mode, told.upstream(&[A, B])));
            play.runs(build, &expected).await;
        } else {
            play.runs(build, &expected).await;
        }
    }
}

#[tokio::test]
async fn the_upstream_is_silent() {
    for event in ["MAIL", "RCPT TO:<a@"] {
        let play = Play::of("silence").setting(|it| it.reply = SHORT);
        let expected = [
            (Sync, told(&["451 4.4.2", "451 4.4.2"], "")),
            (Hybrid, told(&[KEPT, KEPT], QUEUED).spool(&[A, B], Due::Later)),
        ];
        play.runs(|it| it.on(event, Action::Silence), &expected).await;
    }
    for action in [Action::Silence, Action::StallAfterData(10)] {
        let play = Play::of("silence in the data").setting(|it| it.reply = SHORT);
        let play = play.mail(|mail| {
            mail.body = b"0123456789\r\n".repeat(1_000_000);
            mail.piece = 65_536;
        });
        let expected = [
            (Sync, told(&[OK, OK], "451 4.4.2")),
            (Hybrid, told(&[OK, OK], QUEUED).spool(&[A, B], Due::Later)),
        ];
        play.runs(|it| it.on("DATA", action.clone()), &expected).await;
    }
}

#[tokio::test]
async fn a_client_stalls() {
    for interlude in [Interlude::StallsBeforeData, Interlude::StallsInData] {
        let mail = match interlude {
            Interlude::StallsInData => |mail: &mut Mail| mail.interlude = Interlude::StallsInData,
            _ => |mail: &mut Mail| mail.interlude = Interlude::StallsBeforeData,
        };
        let expected = [
            (Sync, told(&[OK, OK], "451 4.4.2 waited too long")),
            (Hybrid, told(&[OK, OK], QUEUED).spool(&[A, B], Due::Later)),
            (Spool, told(&[KEPT, KEPT], QUEUED).spool(&[A, B], Due::Now)),
        ];
        Play::of("a stall").mail(mail).runs(|it| it, &expected).await;
    }
}

#[tokio::test]
async fn in_mode_spool_the_upstream_is_not_asked() {
    let store = Store::open(Room::Plenty);
    let upstream = gatepost_testkit::ScriptedUpstream::start();
    let world = World::new(upstream.addr(), &Setting::default(), Some(&store.spool));
    let mail = Mail::to(Spool, &[A, B]);
    let heard = crate::client::send(&world, &mail).await;
    assert!(heard.end.as_ref().is_some_and(|end| end.to_string().starts_with(QUEUED)), "{heard:?}");
    let rows = world.rows().await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((rows[0].id, &*rows[0].upstream, rows[0].due), (heard.id, "sink", Due::Now));
    assert_eq!(rows[0].reverse_path, mail.sender);
    crate::play::judge(&mail, &heard, (&rows, &delivered(&upstream)), 0).expect("one place each");
    assert_eq!(upstream.connections_opened(), 0);
    upstream.stop().await;
}
