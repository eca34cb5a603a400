//! What an upstream may say, and what is made of it.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::bdat::Chunk;
use crate::command::Body as BodyType;
use crate::reply::{Reply, ReplyCode};

fn heard(octets: &[u8]) -> Result<Option<Reply>, ReplyFault> {
    next_reply(&mut BytesMut::from(octets))
}

fn say(code: u16) -> Reply {
    Reply::plain(code, "text")
}

fn open(ehlo: &Reply) -> Ready {
    let mut out = BytesMut::new();
    let opening = Opening::new(Plan::plain("relay.test"));
    let Opened::More(opening) = opening.handle(&say(220), &mut out) else {
        panic!("EHLO follows 220")
    };
    match opening.handle(ehlo, &mut out) {
        Opened::Ready(ready) => ready,
        other => panic!("not ready: {other:?}"),
    }
}

const BARE: MailParameters<'_> =
    MailParameters { reverse_path: b"a@b", size: None, body: None, smtputf8: false, dsn: b"" };

#[test]
fn replies_of_one_line_and_of_many() {
    assert_eq!(heard(b"250 2.0.0 Ok\r\n"), Ok(Some(Reply::fixed(250, (2, 0, 0), "Ok"))));
    assert_eq!(heard(b"250\r\n"), Ok(Some(Reply::plain(250, ""))));
    assert_eq!(heard(b"250-a\r\n250-b\r\n250 c\r\n"), Ok(Some(Reply::plain(250, "a\nb\nc"))));
    assert_eq!(heard(b"250-a\r\n250 "), Ok(None));
    assert_eq!(heard(b""), Ok(None));
}

#[test]
fn what_is_no_reply() {
    assert_eq!(heard(b"250 ok\n"), Err(ReplyFault::Malformed));
    assert_eq!(heard(b"25 ok\r\n"), Err(ReplyFault::Malformed));
    assert_eq!(heard(b"250_ok\r\n"), Err(ReplyFault::Malformed));
    assert_eq!(heard(b"650 ok\r\n"), Err(ReplyFault::Malformed));
    assert_eq!(heard(b"\r\n"), Err(ReplyFault::Malformed));
    assert_eq!(heard(b"250-a\r\n550 b\r\n"), Err(ReplyFault::CodeChanged));
    assert_eq!(heard(&b"250-a\r\n".repeat(10_000)), Err(ReplyFault::TooLong));
    assert_eq!(heard(&b"2".repeat(20_000)), Err(ReplyFault::TooLong));
}

#[test]
fn one_reply_at_a_time() {
    let mut input = BytesMut::from(&b"250 a\r\n354 b\r\n"[..]);
    assert_eq!(next_reply(&mut input), Ok(Some(Reply::plain(250, "a"))));
    assert_eq!(next_reply(&mut input), Ok(Some(Reply::plain(354, "b"))));
    assert!(input.is_empty());
}

#[test]
fn parameters_go_only_where_they_are_offered() {
    let full = MailParameters {
        reverse_path: b"a@b",
        size: Some(10),
        body: Some(BodyType::EightBitMime),
        smtputf8: true,
        dsn: b" RET=HDRS ENVID=QQ+2B1",
    };
    let mut out = BytesMut::new();
    let _ = open(&Reply::plain(250, "x\nSIZE\n8BITMIME\nSMTPUTF8")).mail(&full, &mut out);
    assert_eq!(out.split(), "MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME SMTPUTF8\r\n");
    let _ = open(&say(250)).mail(&full, &mut out);
    assert_eq!(out.split(), "MAIL FROM:<a@b>\r\n");
    let mut envelope = open(&Reply::plain(250, "x\nDSN")).mail(&full, &mut out);
    envelope.recipient(b"c@d", b" NOTIFY=NEVER", &mut out);
    assert_eq!(
        out.split(),
        "MAIL FROM:<a@b> RET=HDRS ENVID=QQ+2B1\r\nRCPT TO:<c@d> NOTIFY=NEVER\r\n"
    );
    let mut envelope = open(&say(250)).mail(&BARE, &mut out);
    envelope.recipient(b"c@d", b" NOTIFY=NEVER", &mut out);
    assert_eq!(out, "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
}

/// RFC 3030 §2, the client's side.
#[test]
fn a_message_may_go_out_in_chunks() {
    let mut out = BytesMut::new();
    let envelope = open(&say(250)).mail(&BARE, &mut out);
    let mut envelope = envelope.into_chunks().expect_err("MAIL has no answer yet");
    envelope.recipient(b"c@d", b"", &mut out);
    envelope.handle(say(250)).expect("MAIL");
    envelope.handle(say(250)).expect("RCPT");
    out.clear();
    let chunks = envelope.into_chunks().expect("nothing is owed");
    assert_eq!(chunks.standing(), 1);
    let sent = chunks.chunk(Chunk { octets: 6, last: false }, &mut out);
    let Ok(Chunked::More(chunks)) = sent.handle(&say(250)) else { panic!("more may come") };
    let sent = chunks.chunk(Chunk { octets: 0, last: true }, &mut out);
    assert_eq!(out.split(), "BDAT 6\r\nBDAT 0 LAST\r\n");
    assert!(matches!(sent.handle(&say(250)), Ok(Chunked::Ready(_))));
}

#[test]
fn a_refused_chunk_leaves_an_envelope_to_reset() {
    let mut out = BytesMut::new();
    for last in [false, true] {
        let mut envelope = open(&say(250)).mail(&BARE, &mut out);
        envelope.handle(say(250)).expect("MAIL");
        let chunks = envelope.into_chunks().expect("nothing is owed");
        let sent = chunks.chunk(Chunk { octets: 6, last }, &mut out);
        let Ok(Chunked::More(chunks)) = sent.handle(&say(552)) else { panic!("it is not over") };
        out.clear();
        let resetting = chunks.reset(&mut out);
        assert_eq!(out, "RSET\r\n");
        assert!(resetting.handle(&say(250)).is_ok());
    }
    let mut envelope = open(&say(250)).mail(&BARE, &mut out);
    envelope.handle(say(250)).expect("MAIL");
    let chunks = envelope.into_chunks().expect("nothing is owed");
    let sent = chunks.chunk(Chunk { octets: 6, last: true }, &mut out);
    assert!(sent.handle(&say(354)).is_err(), "354 decides nothing");
}

#[test]
fn replies_go_to_the_commands_they_answer() {
    let mut out = BytesMut::new();
    let mut envelope = open(&say(250)).mail(&BARE, &mut out);
    envelope.recipient(b"c@d", b"", &mut out);
    envelope.recipient(b"e@f", b"", &mut out);
    envelope.data(&mut out);
    assert_eq!(out, "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n");
    assert_eq!(envelope.handle(say(250)), Ok(Answer::Mail(say(250))));
    assert_eq!(envelope.handle(say(550)), Ok(Answer::Recipient(say(550))));
    assert_eq!(envelope.handle(say(250)), Ok(Answer::Recipient(say(250))));
    assert_eq!(envelope.handle(say(354)), Ok(Answer::Data(say(354))));
    assert_eq!(envelope.handle(say(250)), Err(Desync));
    let body = envelope.into_body().expect("354 was said");
    assert_eq!(body.standing(), 1);
    assert!(body.finish().handle(&say(250)).is_ok());
}

#[test]
fn a_reply_too_many_is_never_believed() {
    let mut out = BytesMut::new();
    let mut envelope = open(&say(250)).mail(&BARE, &mut out);
    assert!(envelope.handle(say(250)).is_ok());
    assert_eq!(envelope.handle(say(250)), Err(Desync));
    envelope.data(&mut out);
    assert_eq!(envelope.handle(say(250)), Err(Desync), "DATA is never answered with 2yz");
}

/// RFC 5321 §4.2.1: a 3yz asks for more, and only DATA has more to give.
#[test]
fn a_reply_that_is_neither_yes_nor_no_is_never_believed() {
    let mut out = BytesMut::new();
    for code in [334, 354] {
        let mut envelope = open(&say(250)).mail(&BARE, &mut out);
        envelope.recipient(b"c@d", b"", &mut out);
        assert_eq!(envelope.handle(say(code)), Err(Desync), "{code} to MAIL");
        let mut envelope = open(&say(250)).mail(&BARE, &mut out);
        envelope.recipient(b"c@d", b"", &mut out);
        envelope.handle(say(250)).expect("MAIL");
        assert_eq!(envelope.handle(say(code)), Err(Desync), "{code} to RCPT");
    }
    let mut envelope = open(&say(250)).mail(&BARE, &mut out);
    envelope.handle(say(250)).expect("MAIL");
    envelope.data(&mut out);
    assert_eq!(envelope.handle(say(334)), Err(Desync), "334 to DATA");
}

#[test]
fn there_is_no_reset_while_replies_are_owed_or_data_is_awaited() {
    let mut out = BytesMut::new();
    let envelope = open(&say(250)).mail(&BARE, &mut out);
    assert!(envelope.reset(&mut out).is_err());
    let mut envelope = open(&say(250)).mail(&BARE, &mut out);
    envelope.data(&mut out);
    envelope.handle(say(550)).expect("MAIL");
    envelope.handle(say(354)).expect("DATA");
    let body = envelope.into_body().expect("354 was said");
    assert_eq!(body.standing(), 0);
    out.clear();
    let last = body.lone_dot(&mut out);
    assert_eq!(out, ".\r\n");
    assert!(last.handle(&say(554)).is_ok());
}

proptest! {
    #[test]
    fn no_upstream_makes_us_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut input = BytesMut::from(&octets[..]);
        while let Ok(Some(_)) = next_reply(&mut input) {}
    }

    /// decode ∘ encode is identity, line by line.
    #[test]
    fn an_encoded_reply_is_heard_as_it_was(
        code in 200_u16..600,
        lines in proptest::collection::vec("[a-zA-Z][ -~]{0,60}[a-z]", 1..5),
    ) {
        let reply = Reply::heard(ReplyCode::new(code), Bytes::from(lines.join("\n"))).with_status();
        let mut wire = BytesMut::new();
        reply.encode(&mut wire);
        let again = next_reply(&mut wire).expect("a reply").expect("complete");
        prop_assert_eq!(again.code(), reply.code());
        // Without an agreeing class the status stays part of the text.
        if !(300..400).contains(&code) {
            prop_assert_eq!(again.enhanced(), reply.enhanced());
        }
    }
}
