//! The dialogue as a client sees it, without a socket: octets in, replies and messages out.

use super::*;
use crate::sink::session::answer;

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
        ("MAIL FROM:<a@b>\r\nRCPT TO:<a@b> NOTIFY=NEVER", "250 555"),
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
    let options = SinkOptions { deliver: Some(deliver), ..SinkOptions::default() };
    let counters = SinkCounters::default();
    let mut dialogue = Dialogue::new(&options, &counters);
    let mut output = Vec::new();
    let input = format!("{ENVELOPE}x\r\n.\r\n");
    answer(&mut dialogue, input.as_bytes(), &mut output).await;
    assert_eq!(codes(str::from_utf8(&output).unwrap()), "250 250 250 354 451");
    assert_eq!(counters.messages.into_inner(), 0);
}

/// What a client and the taker of messages saw.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    replies: String,
    messages: Vec<Received>,
}

/// Feeds the pieces as reads would, and keeps what the dialogue leaves.
async fn converse(pieces: &[&[u8]], options: SinkOptions) -> Outcome {
    let (deliver, mut receiver) = mpsc::channel(10);
    let options = SinkOptions { deliver: Some(deliver), ..options };
    let counters = SinkCounters::default();
    let mut dialogue = Dialogue::new(&options, &counters);
    let (mut input, mut output) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        let Some(used) = answer(&mut dialogue, &input, &mut output).await else { break };
        input.drain(..used);
    }
    let mut messages = Vec::new();
    while let Ok(message) = receiver.try_recv() {
        messages.push(message);
    }
    assert_eq!(counters.messages.into_inner(), messages.len() as u64);
    let octets: usize = messages.iter().map(|message| message.content.len()).sum();
    assert_eq!(counters.octets.into_inner(), octets as u64);
    Outcome { replies: String::from_utf8(output).unwrap(), messages }
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
