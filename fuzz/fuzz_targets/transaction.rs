//! Whatever a client sends to a whole gateway, through real sockets.
//!
//! What the upstream gets are exactly the transactions that a strict server finds in the client's
//! octets, in whatever pieces these come; and a client is told that a message was accepted where,
//! and only where, the upstream has said so. A polite client waits for the 354. A rude one may be
//! told off for not waiting, and loses what is behind that DATA; but nothing else, and nothing of it
//! is ever taken for something that it is not.
#![no_main]

use std::cell::RefCell;

use gatepost_fuzz::{
    Pieces,
    gateway::{Entry, Gateway, Manners, Outcome},
    received_lines,
    replies::{self, Heard},
    sink::{self, Arrival},
    strict::{self, Content, Decision, Message, Session},
};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static GATEWAY: RefCell<Gateway> = RefCell::new(Gateway::start());
}

fuzz_target!(|input: &[u8]| {
    let [client, input @ ..] = input else { return };
    let Some(pieces) = Pieces::of(input) else { return };
    let (entry, manners) = client_of(*client);
    let session = strict::read(pieces.whole, &entry.rules());
    let outcome = GATEWAY.with_borrow_mut(|gateway| {
        gateway.session((entry, manners), pieces.whole, pieces.ends(), &session.pauses)
    });
    let Outcome { heard, arrivals } = outcome;
    let heard = replies::read(&heard);
    let is_whole = !was_told_to_wait(&heard);
    assert!(is_whole || manners == Manners::Rude, "who waits is not told to: {heard:?}");
    replied(&session, &heard, is_whole);
    let yes = |(at, decision): &&(usize, Decision)| {
        *decision == Decision::Granted && (is_whole || at + 1 < heard.len())
    };
    assert!(session.ends.iter().filter(yes).count() <= arrivals.len(), "acknowledged and lost");
    arrived(&session.messages, arrivals, is_whole);
});

/// The first digit says whose client it is, and from 4 on that it does not wait.
const fn client_of(octet: u8) -> (Entry, Manners) {
    let digit = octet.wrapping_sub(b'0');
    let entry = match digit & 3 {
        1 => Entry::Normalizing,
        2 => Entry::Plain,
        _ => Entry::Strict,
    };
    (entry, if digit & 4 == 0 { Manners::Polite } else { Manners::Rude })
}

/// The only end of a session that depends on pieces: octets behind DATA that came too early.
fn was_told_to_wait(heard: &[Heard]) -> bool {
    heard.last().is_some_and(|last| last.code == 503 && last.lines[0].starts_with("5.5.0 "))
}

/// One reply to each command, to each chunk and to each message; a yes where the upstream said yes.
fn replied(session: &Session, heard: &[Heard], is_whole: bool) {
    assert_eq!(heard[0].code, 220, "{heard:?}");
    if is_whole {
        assert_eq!(heard.len(), session.replies, "{heard:?}");
    } else {
        assert!(heard.len() <= session.replies, "{heard:?}");
    }
    for (at, decision) in &session.ends {
        // All but the reply that told a rude client off is what anybody would have heard.
        let Some(reply) = heard.get(*at).filter(|_| is_whole || at + 1 < heard.len()) else {
            break;
        };
        assert_eq!(reply.code == 250, *decision == Decision::Granted, "{at}: {heard:?}");
    }
    for (at, codes) in &session.chunks {
        let Some(reply) = heard.get(*at).filter(|_| is_whole || at + 1 < heard.len()) else {
            break;
        };
        assert!(codes.contains(&reply.code), "{at} is none of {codes:?}: {heard:?}");
    }
    for (at, reply) in heard.iter().enumerate() {
        let is_data = session.pauses.iter().any(|(_, replies)| *replies == at + 1);
        assert!(reply.code != 354 || is_data, "data is awaited for nothing: {heard:?}");
        let is_greeting = reply.code == 220 || reply.lines[0] == "relay.test";
        assert!(is_greeting || reply.code == 354 || reply.has_status(), "{reply:?}");
    }
}

/// The messages that a strict server finds, each with one line in front, and no others.
fn arrived(messages: &[Message], arrivals: Vec<Arrival>, is_whole: bool) {
    assert!(arrivals.len() <= messages.len(), "more than was sent: {arrivals:?}");
    assert!(!is_whole || arrivals.len() == messages.len(), "less than was sent: {arrivals:?}");
    for (message, arrival) in messages.iter().zip(arrivals) {
        let octets = match &arrival.content {
            sink::Content::Chunks(chunks) => &chunks[0],
            sink::Content::Data(octets) => octets,
        };
        let end = octets.windows(2).position(|octets| octets == b"\r\n");
        let (received, first) = octets.split_at(end.expect("a line in front") + 2);
        assert!(received.starts_with(b"Received: from "), "{}", received.escape_ascii());
        assert_eq!(mail(message, received.len()), arrival.mail, "what stood behind MAIL FROM");
        assert_eq!(message.forward_paths, arrival.forward_paths);
        match (&message.content, &arrival.content) {
            (Content::Chunks(expected), sink::Content::Chunks(chunks)) => {
                let chunks: Vec<&[u8]> =
                    [first].into_iter().chain(chunks[1..].iter().map(|it| &**it)).collect();
                assert_eq!(*expected, chunks, "a chunk is a chunk");
            }
            (Content::Data { lines, octets }, sink::Content::Data(_)) => {
                assert_eq!(*lines, received_lines(first));
                assert!(octets.as_ref().is_none_or(|octets| octets == first), "{octets:?}");
            }
            (expected, came) => panic!("{expected:?} came as {came:?}"),
        }
    }
}

/// What MAIL FROM is to say upstream. The size grows with the line in front (RFC 1870 §6.4).
fn mail(message: &Message, received_octets: usize) -> Vec<u8> {
    let size = message.size.map(|octets| format!("SIZE={}", octets + received_octets as u64));
    let path = [b"<", &*message.reverse_path, b">"].concat();
    let words = size.iter().map(String::as_str).chain(message.words.iter().copied());
    words.fold(path, |mail, word| [&*mail, b" ", word.as_bytes()].concat())
}
