//! Messages that come in chunks and go on in chunks: the spool has them as DATA would carry them.

use gatepost_relay::Mode::{Hybrid, Spool, Sync};
use gatepost_testkit::Action;
use gatepost_testkit::upstream::{Builder, Move};

use crate::client::{Form, Interlude, Mail};
use crate::play::{A, B, KEPT, Play, QUEUED, told};
use crate::world::Due;

const OK: &str = "250 2.1.5";

/// Dots where lines begin, behind the end of a chunk and in front of one; no CRLF at the end.
fn dots(mail: &mut Mail) {
    mail.body = b".\r\n..\r\nx.\r\n.y\r\n.\r\n.z".to_vec();
    mail.piece = 2;
}

const MAILS: [fn(&mut Mail); 5] = [
    |mail| mail.form = Form::Chunks(1),
    |mail| mail.form = Form::Chunks(4),
    |mail| {
        dots(mail);
        mail.form = Form::Chunks(1);
    },
    // Every octet is a chunk: lines are broken between CR and LF.
    |mail| {
        dots(mail);
        mail.form = Form::Chunks(mail.body.len());
    },
    |mail| {
        mail.body = b".line\r\n".repeat(4_000);
        mail.form = Form::Chunks(7);
        mail.piece = 1_000;
    },
];

fn chunking(builder: Builder) -> Builder {
    builder.extensions(&["PIPELINING", "8BITMIME", "CHUNKING"])
}

#[tokio::test]
async fn chunks_end_in_the_upstream_or_in_the_spool() {
    for mail in MAILS {
        let play = Play::of("chunks").mail(mail);
        let all = [Sync, Hybrid].map(|mode| (mode, told(&[OK, OK], "250").upstream(&[A, B])));
        play.runs(chunking, &all).await;
        let spool = [(Spool, told(&[KEPT, KEPT], QUEUED).spool(&[A, B], Due::Now))];
        play.runs(chunking, &spool).await;
        // One of them is owed to the spool, whatever becomes of the other.
        let some = [(Hybrid, told(&[OK, KEPT], "250").upstream(&[A]).spool(&[B], Due::Later))];
        play.runs(|it| chunking(it).on("RCPT TO:<b@", "450 4.2.1 busy"), &some).await;
        // The upstream takes no chunks, or nobody.
        let some = [(Hybrid, told(&[KEPT, KEPT], QUEUED).spool(&[A, B], Due::Later))];
        play.runs(|it| chunking(it).on("RCPT", "450 4.2.1 busy"), &some).await;
        let all = [Sync, Hybrid].map(|mode| (mode, told(&[OK, OK], "250").upstream(&[A, B])));
        play.runs(|it| it, &all).await;
    }
}

#[tokio::test]
async fn chunks_are_refused() {
    for mail in MAILS {
        for event in ["BDAT", "."] {
            for (reply, sync, is_kept) in [
                ("451 4.3.0 later", "451 4.3.0 later", true),
                ("421 4.3.2 leaving", "451 4.3.2", true),
                ("503 5.5.1 what", "451 4.3.5", true),
                ("554 5.7.1 spam", "554 5.7.1 spam", false),
            ] {
                let hybrid = told(&[OK, OK], if is_kept { QUEUED } else { sync });
                let hybrid = if is_kept { hybrid.spool(&[A, B], Due::Later) } else { hybrid };
                let expected = [(Sync, told(&[OK, OK], sync)), (Hybrid, hybrid)];
                let play = Play::of("chunks").mail(mail);
                play.runs(|it| chunking(it).on(event, reply), &expected).await;
            }
        }
    }
}

/// The second of four.
#[tokio::test]
async fn a_chunk_in_the_middle_is_refused_or_lost() {
    for (action, sync, is_kept) in [
        (Action::from("452 4.3.1 full"), "452 4.3.1 full", true),
        ("554 5.7.1 spam".into(), "554 5.7.1 spam", false),
        (Action::Close, "451 4.4.2", true),
        (Action::PlayInData(2, vec![Move::Reset]), "451 4.4.2", true),
    ] {
        let play = Play::of("a chunk in the middle").mail(MAILS[1]);
        let hybrid = told(&[OK, OK], if is_kept { QUEUED } else { sync });
        let hybrid = if is_kept { hybrid.spool(&[A, B], Due::Later) } else { hybrid };
        let expected = [(Sync, told(&[OK, OK], sync)), (Hybrid, hybrid)];
        play.runs(|it| chunking(it).on_nth("BDAT", 2, action.clone()), &expected).await;
        let play = Play::of("one is owed").mail(MAILS[1]);
        let owed = told(&[OK, KEPT], if is_kept { QUEUED } else { sync });
        let owed = if is_kept { owed.spool(&[B, A], Due::Later) } else { owed };
        let build = |it: Builder| {
            let it = chunking(it).on_nth("BDAT", 2, action.clone());
            it.on("RCPT TO:<b@", "450 4.2.1 busy")
        };
        play.runs(build, &[(Hybrid, owed)]).await;
    }
}

#[tokio::test]
async fn the_last_chunk_has_no_answer() {
    let play = Play::of("no answer").mail(MAILS[3]);
    let expected = [
        (Sync, told(&[OK, OK], "451 4.4.2").ambiguous()),
        (Hybrid, told(&[OK, OK], QUEUED).spool(&[A, B], Due::Later).ambiguous()),
    ];
    play.runs(|it| chunking(it).end_of_data(Action::Close), &expected).await;
}

#[tokio::test]
async fn a_client_stalls_between_chunks() {
    let play = Play::of("a stall").mail(|mail| {
        MAILS[4](mail);
        mail.interlude = Interlude::StallsInData;
    });
    let expected = [
        (Sync, told(&[OK, OK], "451 4.4.2")),
        (Hybrid, told(&[OK, OK], QUEUED).spool(&[A, B], Due::Later)),
    ];
    play.runs(chunking, &expected).await;
}
