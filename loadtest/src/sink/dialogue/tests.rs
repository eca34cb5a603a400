//! The dialogue as a client sees it, without a socket: octets in, replies and messages out.

use std::sync::atomic::AtomicU64;

use tokio::sync::mpsc;

use super::*;
use crate::sink::session::{Turn, answer};
use crate::sink::{Received, SinkOptions, Troubles};

const ENVELOPE: &str = "EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n";

#[tokio::test]
async fn input_may_be_cut_anywhere() {
    let content = "Subject: x\r\n\r\n..\r\n.dot\r\na\n.\nb\r\n...\r\nc\r.\r\r\n";
    let input = format!(
        "{ENVELOPE}{content}.\r\nMAIL FROM:<>\r\nRCPT TO:<x@y.test>\r\nRCPT TO:<z@y.test>\r\n\
         DATA\r\n.\r\nQUIT\r\n"
    );
    let uncut = converse(&[input.as_bytes()], SinkOptions::default()).await;
    assert_eq!(codes(&uncut.replies), "250 250 250 354 250 250 250 250 354 250 221");
    let messages =
        [("a@b.test", vec!["x@y.test"], content), ("", vec!["x@y.test", "z@y.test"], "")];
    assert_eq!(uncut.messages, messages.map(|(from, to, content)| received(from, &to, content)));
    for cut in 1..input.len() {
        let (first, second) = input.as_bytes().split_at(cut);
        let outcome = converse(&[first, second], SinkOptions::default()).await;
        assert_eq!(outcome, uncut, "cut at {cut}");
    }
    let octets: Vec<_> = input.as_bytes().chunks(1).collect();
    assert_eq!(converse(&octets, SinkOptions::default()).await, uncut);
}

#[tokio::test]
async fn commands_come_in_order() {
    for (input, expected) in [
        ("MAIL FROM:<a@b>\r\nNOOP\r\nRSET\r\nMAIL FROM:<a@b>\r\n", "503 250 250 503"),
        ("HELO c\r\nRCPT TO:<a@b>\r\nDATA\r\n", "250 503 503"),
        ("HELO c\r\nMAIL FROM:<a@b>\r\nDATA\r\nMAIL FROM:<a@b>\r\n", "250 250 503 503"),
        ("HELO c\r\nMAIL FROM:<a@b>\r\nRSET\r\nRCPT TO:<a@b>\r\n", "250 250 250 503"),
        ("HELO c\r\nMAIL FROM:<a@b>\r\nEHLO c\r\nRCPT TO:<a@b>\r\n", "250 250 250 503"),
        ("HELO c\r\nVRFY x\r\nWHAT\r\nQUIT\r\nNOOP\r\n", "250 252 500 221"),
    ] {
        let outcome = converse(&[input.as_bytes()], SinkOptions::default()).await;
        assert_eq!(codes(&outcome.replies), expected, "{input}");
    }
}

#[tokio::test]
async fn line_length_is_bounded() {
    let line = |octets| format!("NOOP {}\r\n", "x".repeat(octets - "NOOP \r\n".len()));
    let longest = converse(&[line(LINE_OCTETS_MAX).as_bytes()], SinkOptions::default()).await;
    assert_eq!(codes(&longest.replies), "250");
    let too_long = line(LINE_OCTETS_MAX + 1);
    let whole = converse(&[too_long.as_bytes(), b"NOOP\r\n"], SinkOptions::default()).await;
    assert_eq!(codes(&whole.replies), "500");
    let endless = &too_long.as_bytes()[..LINE_OCTETS_MAX];
    assert_eq!(codes(&converse(&[endless], SinkOptions::default()).await.replies), "500");
}

#[tokio::test]
async fn size_is_bounded() {
    let options = SinkOptions { size_max: 10, ..SinkOptions::default() };
    let input = format!("{ENVELOPE}12345678\r\n.\r\n");
    let fits = converse(&[input.as_bytes()], options.clone()).await;
    assert_eq!(codes(&fits.replies), "250 250 250 354 250");
    let input = format!("{ENVELOPE}123456789\r\n.\r\nNOOP\r\n");
    let over = converse(&[input.as_bytes()], options.clone()).await;
    assert_eq!((codes(&over.replies).as_str(), over.messages), ("250 250 250 354 552 250", vec![]));
    let declared = b"EHLO c\r\nMAIL FROM:<a@b> SIZE=11\r\nMAIL FROM:<a@b> SIZE=10\r\n";
    assert_eq!(codes(&converse(&[declared], options).await.replies), "250 552 250");
}

#[tokio::test]
async fn only_what_is_offered_is_taken() {
    for (line, expected) in [
        ("MAIL FROM:<a@b> SIZE=x", "501"),
        ("MAIL FROM:<a@b> BODY=BINARYMIME", "501"),
        ("MAIL FROM:<a@b> BODY=7bit SMTPUTF8", "250"),
        ("MAIL FROM:<a@b> XYZ=1", "555"),
        ("MAIL FROM:<a@b> RET=hdrs ENVID=x", "250"),
        ("MAIL FROM:<a@b> RET=SOME", "501"),
        ("MAIL FROM:<a@b> ENVID", "501"),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<a@b> NOTIFY=NEVER ORCPT=rfc822;a@b", "250 250"),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<a@b> notify=success,delay", "250 250"),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<a@b> NOTIFY=NEVER,DELAY", "250 501"),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<a@b> ORCPT=", "250 501"),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<a@b> XYZ=1", "250 555"),
        ("STARTTLS", "500"),
        ("AUTH PLAIN", "500"),
        ("BDAT 0 LAST", "500"),
        ("EHLO", "501"),
    ] {
        let input = format!("EHLO c\r\n{line}\r\n");
        let outcome = converse(&[input.as_bytes()], SinkOptions::default()).await;
        assert_eq!(codes(&outcome.replies), format!("250 {expected}"), "{line}");
    }
}

fn chunking() -> SinkOptions {
    SinkOptions { chunking: Chunking::Offered, ..SinkOptions::default() }
}

#[tokio::test]
async fn chunks_may_be_cut_anywhere() {
    let content = ".\r\n.\r\nQUIT\r\n..";
    let begun = ENVELOPE.trim_end_matches("DATA\r\n");
    let input = format!(
        "{begun}BDAT 6\r\n{}BDAT 0\r\nBDAT {} last\r\n{}MAIL FROM:<>\r\nRCPT TO:<x@y.test>\r\n\
         BDAT 0 LAST\r\nQUIT\r\n",
        &content[..6],
        content.len() - 6,
        &content[6..],
    );
    let uncut = converse(&[input.as_bytes()], chunking()).await;
    assert_eq!(codes(&uncut.replies), "250 250 250 250 250 250 250 250 250 221");
    let messages = [("a@b.test", content), ("", "")];
    let messages = messages.map(|(from, content)| received(from, &["x@y.test"], content));
    assert_eq!(uncut.messages, messages);
    for cut in 1..input.len() {
        let (first, second) = input.as_bytes().split_at(cut);
        assert_eq!(converse(&[first, second], chunking()).await, uncut, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_chunk_that_is_not_in_order_is_no_command() {
    for (input, expected) in [
        ("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", "503 250"),
        ("EHLO c\r\nMAIL FROM:<a@b>\r\nBDAT 6\r\nQUIT\r\nNOOP\r\n", "250 250 503 250"),
        ("EHLO c\r\nBDAT 0 LAST\r\nNOOP\r\n", "250 503 250"),
        ("EHLO c\r\nBDAT x LAST\r\nNOOP\r\n", "250 501"),
        ("EHLO c\r\nBDAT\r\nNOOP\r\n", "250 501"),
    ] {
        let outcome = converse(&[input.as_bytes()], chunking()).await;
        assert_eq!(codes(&outcome.replies), expected, "{input}");
    }
    let begun = ENVELOPE.trim_end_matches("DATA\r\n");
    for (rest, expected) in [
        ("DATA\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 0 LAST\r\n", "503 503 503 250"),
        ("RSET\r\nBDAT 0 LAST\r\n", "250 503"),
    ] {
        let input = format!("{begun}BDAT 2\r\nxx{rest}");
        let outcome = converse(&[input.as_bytes()], chunking()).await;
        assert_eq!(codes(&outcome.replies), format!("250 250 250 250 {expected}"), "{rest}");
    }
}

#[tokio::test]
async fn size_of_chunks_is_bounded() {
    let options = || SinkOptions { size_max: 10, ..chunking() };
    let begun = ENVELOPE.trim_end_matches("DATA\r\n");
    for (chunks, expected) in [
        ("BDAT 10 LAST\r\n1234567890", "250"),
        ("BDAT 5\r\n12345BDAT 5 LAST\r\n12345", "250 250"),
        ("BDAT 11 LAST\r\n12345678901", "552"),
        ("BDAT 11\r\n12345678901BDAT 1 LAST\r\nxNOOP\r\n", "552 503 250"),
    ] {
        let input = format!("{begun}{chunks}");
        let outcome = converse(&[input.as_bytes()], options()).await;
        assert_eq!(codes(&outcome.replies), format!("250 250 250 {expected}"), "{chunks}");
    }
    let endless = format!("{begun}BDAT {}\r\nxxx", u64::MAX);
    assert_eq!(codes(&converse(&[endless.as_bytes()], options()).await.replies), "250 250 250");
}

#[tokio::test]
async fn messages_of_a_connection_are_bounded() {
    let message = "MAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nDATA\r\n.\r\n";
    let input = format!("EHLO c\r\n{message}{message}{message}");
    let options = SinkOptions { messages_per_connection_max: Some(2), ..SinkOptions::default() };
    let outcome = converse(&[input.as_bytes()], options).await;
    assert_eq!(codes(&outcome.replies), "250 250 250 354 250 250 250 354 250 421");
    assert_eq!(outcome.messages.len(), 2);
}

#[tokio::test]
async fn a_delay_is_a_pause_before_its_reply_alone() {
    let delays = ["connect=1ms", "rcpt=2ms", "dot=3ms"].map(|delay| delay.parse().unwrap());
    let troubles = Troubles::new(delays.into(), vec![], 0).unwrap();
    let shared = Shared::new(SinkOptions { troubles, ..SinkOptions::default() });
    let mut dialogue = Dialogue::new(&shared, Starttls::Hidden);
    let (mut input, mut seen) = (format!("{ENVELOPE}x\r\n.\r\nQUIT\r\n").into_bytes(), vec![]);
    loop {
        let mut output = Vec::new();
        let (used, turn) = answer(&mut dialogue, &input, &mut output).await;
        input.drain(..used);
        let said = codes(str::from_utf8(&output).unwrap());
        match turn {
            Turn::Pause(delay) => seen.push((said, delay.as_millis())),
            Turn::End(ending) => {
                break assert_eq!((said.as_str(), ending), ("250 221", Ending::Close));
            }
            Turn::Read => panic!("there is input left"),
        }
    }
    let expected = [("", 1), ("220 250 250", 2), ("250 354", 3)];
    assert_eq!(seen, expected.map(|(said, delay)| (said.to_owned(), delay)));
    assert_eq!(shared.counters.messages.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn recipients_are_bounded() {
    let recipients = "RCPT TO:<x@y.test>\r\n".repeat(RECIPIENTS_MAX as usize + 1);
    let input = format!("EHLO c\r\nMAIL FROM:<a@b>\r\n{recipients}DATA\r\n");
    let replies = codes(&converse(&[input.as_bytes()], SinkOptions::default()).await.replies);
    assert!(replies.ends_with("250 452 354"), "{replies}");
}

#[tokio::test]
async fn a_message_that_nobody_takes_is_not_accepted() {
    let (deliver, receiver) = mpsc::channel(1);
    drop(receiver);
    let shared = Shared::new(SinkOptions { deliver: Some(deliver), ..SinkOptions::default() });
    let mut dialogue = Dialogue::new(&shared, Starttls::Hidden);
    let mut output = Vec::new();
    let input = format!("{ENVELOPE}x\r\n.\r\n");
    answer(&mut dialogue, input.as_bytes(), &mut output).await;
    assert_eq!(codes(str::from_utf8(&output).unwrap()), "220 250 250 250 354 451");
    assert_eq!(shared.counters.messages.load(Ordering::Relaxed), 0);
    assert_eq!(shared.counters.refused.load(Ordering::Relaxed), 1);
}

/// What a client and the taker of messages saw.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    replies: String,
    messages: Vec<Received>,
}

/// Feeds the pieces as reads would, and keeps what the dialogue leaves. Replies without the greeting.
async fn converse(pieces: &[&[u8]], options: SinkOptions) -> Outcome {
    let (deliver, mut receiver) = mpsc::channel(10);
    let shared = Shared::new(SinkOptions { deliver: Some(deliver), ..options });
    let mut dialogue = Dialogue::new(&shared, Starttls::Hidden);
    let (mut input, mut output) = (Vec::new(), Vec::new());
    answer(&mut dialogue, &[], &mut output).await;
    assert!(output.starts_with(b"220 "), "{}", output.escape_ascii());
    output.clear();
    for piece in pieces {
        input.extend_from_slice(piece);
        let (used, turn) = answer(&mut dialogue, &input, &mut output).await;
        input.drain(..used);
        if !matches!(turn, Turn::Read) {
            break;
        }
    }
    let mut messages = Vec::new();
    while let Ok(message) = receiver.try_recv() {
        messages.push(message);
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(count(&shared.counters.messages), messages.len() as u64);
    let octets: usize = messages.iter().map(|message| message.content.len()).sum();
    assert_eq!(count(&shared.counters.octets), octets as u64);
    let replies = String::from_utf8(output).unwrap();
    let refusals = codes(&replies).split(' ').filter(|code| *code >= "4").count();
    assert_eq!(count(&shared.counters.refused), refusals as u64, "{replies}");
    Outcome { replies, messages }
}

/// The code of each reply, without the lines that another one follows.
fn codes(replies: &str) -> String {
    let last_lines = replies.lines().filter(|line| line.as_bytes()[3] == b' ');
    last_lines.map(|line| &line[..3]).collect::<Vec<_>>().join(" ")
}

fn received(from: &str, to: &[&str], content: &str) -> Received {
    Received {
        reverse_path: from.to_owned(),
        forward_paths: to.iter().map(|&path| path.to_owned()).collect(),
        content: content.into(),
    }
}
