//! An upstream that says whatever it likes, whenever it likes.
//!
//! Replies are those that a plain reader finds, in whatever pieces they come, and take a bounded
//! amount of memory. Each is given to the command that has waited longest, and a reply that answers
//! nothing is believed nothing: a model that is a queue of commands knows as much. A connection is
//! ready for another transaction only when nothing is owed. And what is passed on to a client is
//! something that a client can read, whoever has written it.
//!
//! The first line of the input, behind the two octets that say how long the pieces are, is what is
//! asked (see `src/conversation.rs`). `z` lets the upstream repeat itself. The other lines are what it
//! says.
#![no_main]

use bytes::BytesMut;
use gatepost_fuzz::{Pieces, conversation::converse, replies};
use gatepost_smtp::{
    client::{ReplyFault, next_reply},
    reply::{Reply, Severity},
};
use libfuzzer_sys::fuzz_target;

/// Octets that may be held of a reply that has no end.
const HELD_OCTETS_MAX: usize = 16 * 1024;
/// Octets of a reply that is passed on: as many, with a status code on lines as short as can be.
const PASSED_OCTETS_MAX: usize = 4 * HELD_OCTETS_MAX;
/// Octets that an upstream says which repeats itself: more than is held.
const REPEATED_OCTETS: usize = 20_000;

fuzz_target!(|input: &[u8]| {
    let Some(feed) = input.iter().position(|octet| *octet == b'\n') else { return };
    let (script, said) = (&input[..feed], &input[feed + 1..]);
    let [one, other, asks @ ..] = script else { return };
    let octets = if asks.contains(&b'z') { REPEATED_OCTETS } else { said.len() };
    let said: Vec<u8> = said.iter().copied().cycle().take(octets).collect();
    let said = [&[*one, *other][..], &said].concat();
    let pieces = Pieces::of(&said).expect("how long they are is said");
    let heard = hear(pieces.whole, pieces.ends());
    let at_once = hear(pieces.whole, [pieces.whole.len()]);
    assert_eq!(heard.replies, at_once.replies, "pieces do not matter");
    assert_eq!(heard.fault.is_some(), at_once.fault.is_some(), "{heard:?} {at_once:?}");
    plainly(pieces.whole, &heard);
    heard.replies.iter().for_each(passed_on);
    converse(asks, heard.replies.into());
});

/// What is made of octets.
#[derive(Debug)]
struct Heard {
    replies: Vec<Reply>,
    fault: Option<ReplyFault>,
}

fn hear(octets: &[u8], ends: impl IntoIterator<Item = usize>) -> Heard {
    let (mut input, mut start) = (BytesMut::new(), 0);
    let mut heard = Heard { replies: Vec::new(), fault: None };
    for end in ends {
        input.extend_from_slice(&octets[start..end]);
        start = end;
        loop {
            match next_reply(&mut input) {
                Ok(Some(reply)) => heard.replies.push(reply),
                Ok(None) => {
                    assert!(input.len() <= HELD_OCTETS_MAX, "{} octets are held", input.len());
                    break;
                }
                Err(fault) => return Heard { fault: Some(fault), ..heard },
            }
        }
    }
    heard
}

/// The same, line by line, as long as lines are well-formed (RFC 5321 §4.2).
fn plainly(octets: &[u8], heard: &Heard) {
    let mut found: Vec<(u16, Vec<Vec<u8>>)> = Vec::new();
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let (mut code, mut length) = (None, 0);
    let mut is_malformed = false;
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        length += line.len();
        let well_formed = match line.strip_suffix(b"\r\n") {
            Some([a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..]) => {
                Some(([*a, *b, *c], rest))
            }
            _ => None,
        };
        // A line without its LF may have an end yet, if it is not too long already.
        if !line.ends_with(b"\n") && length <= HELD_OCTETS_MAX {
            break;
        }
        let Some((digits, rest)) = well_formed.filter(|_| length <= HELD_OCTETS_MAX) else {
            is_malformed = true;
            break;
        };
        is_malformed =
            *code.get_or_insert(digits) != digits || !matches!(rest, [] | [b' ' | b'-', ..]);
        if is_malformed {
            break;
        }
        lines.push(rest.get(1..).unwrap_or_default().to_vec());
        if rest.first() != Some(&b'-') {
            let number = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
            found.push((number, std::mem::take(&mut lines)));
            (code, length) = (None, 0);
        }
    }
    assert_eq!(heard.fault.is_some(), is_malformed, "{heard:?}");
    assert_eq!(heard.replies.len(), found.len());
    for (reply, (code, lines)) in heard.replies.iter().zip(found) {
        assert_eq!(reply.code().as_u16(), code);
        assert_eq!(reply.text().split(|octet| *octet == b'\n').count(), lines.len());
        // A status that stands in front is kept apart; the rest is the text.
        let last = lines.last().expect("a reply has a line").trim_ascii_end();
        assert!(
            last.ends_with(
                reply
                    .text()
                    .rsplit(|octet| *octet == b'\n')
                    .next()
                    .unwrap_or_default()
                    .trim_ascii_end()
            )
        );
    }
}

/// Whatever it says, a client that hears it hears one reply, and a log gets one line.
fn passed_on(reply: &Reply) {
    let mut octets = BytesMut::new();
    reply.clone().with_status().encode(&mut octets);
    assert!(octets.len() <= PASSED_OCTETS_MAX);
    let said = replies::read(&octets);
    let [said] = &said[..] else { panic!("{said:?}") };
    assert_eq!(said.code, reply.code().as_u16());
    assert!(said.has_status() || reply.severity() == Severity::Intermediate, "{said:?}");
    let logged = reply.to_string();
    assert!(logged.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{logged:?}");
    assert!(logged.len() < 1024);
}
