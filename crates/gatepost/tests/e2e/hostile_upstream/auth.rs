//! AUTH that comes to nothing: questions without an end, a yes before everything was said, refusals
//! that say too much. Who is refused for good has to look at the set-up: 451 4.3.5. In every other
//! case there was no connection: 451 4.4.1.
//!
//! Nobody's name is said in plain text, and no password is written down: `play` looks at that too.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use gatepost_testkit::ByteClient;
use gatepost_testkit::upstream::Move;

use super::State::Auth;
use super::wire::{PASSWORD, secret_in};
use super::{CLOSED, NO_REPLY, RESET, Row, STRAY, TOO_SLOW, TWO_CODES, UNENDED, Wire, play};
use crate::harness::{converse, fleet};
use crate::program::Program;
use crate::upstream_tls::World;

const REFUSED: &str = "AUTH refused: ";
const NO_CONNECTION: &str = "RCPT 451 4.4.1 no connection to the upstream";
const SETUP_FAULT: &str = "RCPT 451 4.3.5 the relay's upstream is not set up right";
const BUSY: &str = "RCPT 451 4.3.2 the upstream is busy";
const TAKEN: &str = ". 250 2.0.0 queued";
const QUESTION: &str = "334 VXNlcm5hbWU6\r\n";

/// These replies, each to something that is said; then `behind`.
fn after(replies: &[&str], behind: &[Move]) -> Vec<Move> {
    let mut moves = Vec::new();
    for (place, reply) in replies.iter().enumerate() {
        if place > 0 {
            moves.push(Move::Hear);
        }
        moves.push(Move::say(reply));
    }
    [&moves[..], behind].concat()
}

fn row(what: &str, moves: Vec<Move>, reason: &'static str) -> Row {
    Row::new(Auth, what, moves, NO_CONNECTION).because(reason)
}

fn for_good(what: &str, moves: Vec<Move>) -> Row {
    Row::new(Auth, what, moves, SETUP_FAULT).because(REFUSED).last()
}

/// What may be answered to the last that there is to say, after `before`.
fn endings(before: &[&str]) -> Vec<Row> {
    let to_the_last = |reply: &str, behind: &[Move]| {
        after(&[before, &[&format!("{reply}\r\n")[..]]].concat(), behind)
    };
    let silence = |moves: &[Move]| {
        // Something has to be heard first.
        let hear: &[Move] = if before.is_empty() { &[] } else { &[Move::Hear] };
        after(before, &[hear, moves].concat())
    };
    let mut rows = vec![
        Row::new(Auth, "250", to_the_last("250 ok", &[]), TAKEN).kept(),
        Row::new(Auth, "235 in lines", to_the_last("235-you\r\n235 are in", &[]), TAKEN).kept(),
        row("235 and more", to_the_last("235 in\r\n250 ok", &[]), STRAY),
        row("334 and 235", to_the_last("334 \r\n235 in", &[]), STRAY),
        row("334 and 334", to_the_last("334 \r\n334 ", &[]), STRAY),
        row("235 or 535", to_the_last("235-you\r\n535 are out", &[]), TWO_CODES),
        row("354", to_the_last("354 go on", &[]), REFUSED),
        row("432", to_the_last("432 4.7.12 another password first", &[]), REFUSED),
        row("432, and closes", to_the_last("432 4.7.12 later", &[Move::Close]), REFUSED),
        Row::new(Auth, "454", to_the_last("454 4.7.0 not now", &[]), BUSY).because(REFUSED),
        Row::new(Auth, "421", to_the_last("421 4.3.0 bye", &[]), BUSY).because("AUTH refused: 421"),
        Row::new(Auth, "421, and closes", to_the_last("421 4.3.0 bye", &[Move::Close]), BUSY),
        row("nonsense", to_the_last("yes", &[]), NO_REPLY),
        row("nothing", silence(&[Move::Silence]), TOO_SLOW),
        row("the end", silence(&[Move::Close]), CLOSED),
        row("the end, not said", silence(&[Move::Fin]), CLOSED),
        row("a reset", silence(&[Move::Reset]), RESET),
        row("an alert", silence(&[Move::Alert(b"235 2.7.".to_vec())]), "TLS: received fatal alert"),
        row("plain text", silence(&[Move::Beneath(b"235 in\r\n".to_vec())]), "TLS: "),
        for_good("535, and fails", silence(&[Move::Alert(b"535 5.7.8 no\r\n".to_vec())])),
    ];
    for reply in ["500", "501", "503", "504", "530", "534", "535", "538", "550", "554"] {
        rows.push(for_good(reply, to_the_last(&format!("{reply} 5.7.8 no"), &[])));
    }
    for (then, moves) in [
        ("and closes", Move::Close),
        ("and is cut off", Move::Fin),
        ("and goes on", Move::say("250 ok\r\n")),
        ("and stays", Move::Silence),
    ] {
        rows.push(for_good(&format!("535, {then}"), to_the_last("535 5.7.8 no", &[moves])));
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_said_to_a_login_it_is_one_or_it_is_not() {
    let plain = endings(&[]).into_iter().map(|row| row.over(Wire::Login("plain")));
    let login =
        endings(&[QUESTION, QUESTION]).into_iter().map(|row| row.over(Wire::Login("login")));
    play(plain.chain(login).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_that_have_no_answer_are_not_answered() {
    let long = format!("334 {}\r\n", "A".repeat(12_288));
    let too_long = format!("334 {}\r\n", "A".repeat(20_000));
    let endless = [QUESTION; 50];
    let plain = [
        row("asks for more", after(&endless, &[Move::Silence]), REFUSED),
        // RFC 4954 §4: what is cancelled is refused with 501; for us it is refused for good.
        for_good("asks, and hears", after(&[QUESTION, "501 5.7.0 cancelled\r\n"], &[])),
        row("asks, and takes it", after(&[QUESTION, "235 in\r\n"], &[]), REFUSED),
        row("asks, and is gone", after(&[QUESTION], &[Move::Hear, Move::Close]), CLOSED),
        row("asks, and stays", after(&[QUESTION], &[Move::Hear, Move::Silence]), TOO_SLOW),
        row("asks much", after(&[&long[..], &long], &[Move::Silence]), REFUSED),
        row("asks too much", after(&[&too_long[..]], &[Move::Silence]), UNENDED),
    ]
    .map(|row| row.over(Wire::Login("plain")));
    let login = [
        row("takes nobody", after(&["235 in\r\n"], &[]), REFUSED),
        row("takes a name", after(&[QUESTION, "235 in\r\n"], &[]), REFUSED),
        for_good("refuses a name", after(&[QUESTION, "535 5.7.8 no\r\n"], &[])),
        for_good("refuses LOGIN", after(&["504 5.5.4 what?\r\n"], &[])),
        row("a name, not now", after(&[QUESTION, "451 4.3.0 not now\r\n"], &[]), REFUSED),
        Row::new(Auth, "a name, 421", after(&[QUESTION, "421 4.3.0 bye\r\n"], &[]), BUSY),
        row("a name, silence", after(&[QUESTION], &[Move::Hear, Move::Silence]), TOO_SLOW),
        row("a name, the end", after(&[QUESTION], &[Move::Hear, Move::Close]), CLOSED),
        row("asks for more", after(&endless, &[Move::Silence]), REFUSED),
        row("asks twice at once", after(&[&QUESTION.repeat(2)], &[]), STRAY),
        row("asks a lot", after(&[&long[..], &long, &long, &long], &[Move::Silence]), REFUSED),
        Row::new(Auth, "asks oddly", after(&["334\r\n", &long, "235 in\r\n"], &[]), TAKEN).kept(),
    ]
    .map(|row| row.over(Wire::Login("login")));
    play(plain.into_iter().chain(login)).await;
}

/// The real program with its log as loud as can be: wherever an upstream repeats what we have said, it
/// is not written down.
#[tokio::test]
async fn an_upstream_that_repeats_what_it_hears_is_not_quoted() {
    let response = BASE64.encode(format!("\0tim\0{PASSWORD}"));
    for reply in [
        format!("535 5.7.8 {response}"),
        format!("535-5.7.8 no\n535-5.7.8 {PASSWORD} is wrong\n535 5.7.8 {response}"),
        format!("454 4.7.0 {response}"),
        format!("421 4.7.0 {response}"),
        format!("334 {response}"),
        format!("354 {response}"),
        format!("2 {response}"),
    ] {
        let world = World::new();
        world.put("password", PASSWORD);
        let upstream = world.upstream().account("tim", PASSWORD).on("AUTH", &reply[..]).start();
        let directory = Arc::new(tempfile::tempdir().expect("a directory"));
        let config = Wire::Login("plain").config(&upstream, Some(&world));
        let config = config.replace("[log]\n", "[log]\nlevel = \"trace\"\n");
        std::fs::write(directory.path().join("gatepost.toml"), config).expect("writes");
        std::fs::write(directory.path().join("policy.toml"), fleet("")).expect("writes");
        let mut program = Program::start_in(&directory);
        let mut client = ByteClient::connect(program.addr).await;
        client.expect("220").await;
        converse(&mut client, &[("EHLO app.test", "250"), ("MAIL FROM:<a@app.test>", "250")]).await;
        client.send_line("RCPT TO:<b@b.test>").await;
        let heard = client.read_reply().await;
        assert!(heard.starts_with("451 4."), "{heard}");
        client.close();
        program.signal("TERM");
        assert_eq!(program.exit_code(), Some(0));
        let mail_log =
            std::fs::read_to_string(directory.path().join("mail.jsonl")).expect("a mail log");
        assert!(mail_log.contains("4."), "{mail_log}");
        let all = program.lines().join("") + &mail_log + &heard;
        assert_eq!(secret_in(all.as_bytes()), None, "{reply}: {all}");
        let said = upstream.lines().iter().any(|line| line.contains(&response));
        assert!(said, "there was something to repeat");
        upstream.stop().await;
    }
}
