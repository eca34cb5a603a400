//! An upstream that says whatever it likes, whenever it likes.
//!
//! Replies are those that a plain reader finds, in whatever pieces they come, and take a bounded
//! amount of memory. Each is given to the command that has waited longest, and a reply that answers
//! nothing is believed nothing: a model that is a queue of commands knows as much. A connection is
//! ready for another transaction only when nothing is owed. And what is passed on to a client is
//! something that a client can read, whoever has written it.
//!
//! The first line of the input, behind the two octets that say how long the pieces are, is what is
//! asked: `m` MAIL, `r` RCPT, `d` DATA, `b` content and its end, `l` a lone dot, `s` RSET, `w` a
//! reply is waited for. `z` lets the upstream repeat itself. The other lines are what it says.
#![no_main]

use std::collections::VecDeque;

use bytes::BytesMut;
use gatepost_fuzz::{Pieces, replies};
use gatepost_smtp::{
    client::{
        Answer, Body, Envelope, Final, MailParameters, Opened, Opening, Ready, ReplyFault,
        Resetting, next_reply,
    },
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

/// A command that has no answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Greeting,
    Ehlo,
    Helo,
    Mail,
    Recipient,
    Data,
    End,
    Reset,
}

/// What is known of a transaction without the machine.
#[derive(Debug, Default)]
struct Model {
    owed: VecDeque<Asked>,
    mail_granted: bool,
    data_granted: bool,
    standing: u32,
}

enum Machine {
    Opening(Opening),
    Ready(Ready),
    Envelope(Envelope),
    Body(Body),
    Final(Final),
    Resetting(Resetting),
}

/// Asks and hears, until something goes wrong or nothing is left to do.
fn converse(asks: &[u8], mut replies: VecDeque<Reply>) {
    let mut machine = Machine::Opening(Opening::default());
    let mut model = Model { owed: [Asked::Greeting].into(), ..Model::default() };
    let mut out = BytesMut::new();
    for ask in asks {
        out.clear();
        let next = match ask {
            b'w' => {
                replies.pop_front().and_then(|reply| hears(machine, &reply, &mut model, &mut out))
            }
            b'm' | b'r' | b'd' | b'b' | b'l' | b's' => asked(*ask, machine, &mut model, &mut out),
            _ => Some(machine),
        };
        let Some(next) = next else { return };
        machine = next;
        model.agrees_with(&machine);
    }
}

/// `None`: the connection is closed.
fn asked(ask: u8, machine: Machine, model: &mut Model, out: &mut BytesMut) -> Option<Machine> {
    let may_ask = !model.owed.contains(&Asked::Data) && !model.data_granted;
    Some(match (ask, machine) {
        (b'm', Machine::Ready(ready)) => {
            *model = Model { owed: [Asked::Mail].into(), ..Model::default() };
            let mail =
                MailParameters { reverse_path: b"a@b", size: Some(1), body: None, smtputf8: true };
            let envelope = ready.mail(&mail, out);
            assert!(out.starts_with(b"MAIL FROM:<a@b>") && is_a_line(out));
            Machine::Envelope(envelope)
        }
        (b'r', Machine::Envelope(mut envelope)) if may_ask => {
            envelope.recipient(b"c@d", out);
            assert_eq!(&out[..], b"RCPT TO:<c@d>\r\n");
            model.owed.push_back(Asked::Recipient);
            Machine::Envelope(envelope)
        }
        (b'd', Machine::Envelope(mut envelope)) if may_ask => {
            envelope.data(out);
            model.owed.push_back(Asked::Data);
            Machine::Envelope(envelope)
        }
        (b'b' | b'l', Machine::Envelope(envelope)) => match envelope.into_body() {
            Ok(body) => {
                assert!(model.data_granted && model.owed.is_empty(), "{model:?}");
                assert_eq!(body.standing(), model.standing);
                Machine::Body(body)
            }
            Err(envelope) => {
                assert!(!model.data_granted || !model.owed.is_empty(), "{model:?}");
                Machine::Envelope(envelope)
            }
        },
        (b'b', Machine::Body(body)) => {
            model.owed.push_back(Asked::End);
            Machine::Final(body.finish())
        }
        (b'l', Machine::Body(body)) => {
            model.owed.push_back(Asked::End);
            let last = body.lone_dot(out);
            assert_eq!(&out[..], b".\r\n");
            Machine::Final(last)
        }
        (b's', Machine::Envelope(envelope)) => {
            let is_free = model.owed.is_empty() && !model.data_granted;
            let resetting = envelope.reset(out);
            assert_eq!(resetting.is_ok(), is_free, "{model:?}");
            model.owed.push_back(Asked::Reset);
            Machine::Resetting(resetting.ok()?)
        }
        (_, machine) => machine,
    })
}

/// Gives a reply to the machine, and to the command that has waited longest. `None`: the connection
/// is closed, because it was refused or because what it says answers nothing.
fn hears(
    machine: Machine,
    reply: &Reply,
    model: &mut Model,
    out: &mut BytesMut,
) -> Option<Machine> {
    let code = reply.code().as_u16();
    let asked = model.owed.pop_front();
    Some(match machine {
        Machine::Opening(opening) => match (opening.handle(reply, "relay.test", out), asked) {
            (Opened::More(opening), Some(Asked::Greeting)) => {
                assert_eq!((code, &out[..]), (220, &b"EHLO relay.test\r\n"[..]));
                model.owed.push_back(Asked::Ehlo);
                Machine::Opening(opening)
            }
            (Opened::More(opening), Some(Asked::Ehlo)) => {
                assert_eq!((code / 100, &out[..]), (5, &b"HELO relay.test\r\n"[..]));
                model.owed.push_back(Asked::Helo);
                Machine::Opening(opening)
            }
            (Opened::Ready(ready), Some(Asked::Ehlo | Asked::Helo)) => {
                assert_eq!(code, 250);
                Machine::Ready(ready)
            }
            (Opened::Refused(said), Some(Asked::Greeting)) => {
                assert!(code != 220 && said == *reply);
                return None;
            }
            (Opened::Refused(said), Some(Asked::Ehlo | Asked::Helo)) => {
                assert!(code != 250 && said == *reply);
                return None;
            }
            (opened, asked) => panic!("{opened:?} after {asked:?}"),
        },
        Machine::Envelope(mut envelope) => {
            let answer = envelope.handle(reply.clone());
            model.answered(asked, answer.ok(), reply)?;
            Machine::Envelope(envelope)
        }
        Machine::Final(last) => {
            assert_eq!(asked, Some(Asked::End));
            let ready = last.handle(reply);
            assert_eq!(ready.is_err(), code / 100 == 3, "3yz decides nothing");
            Machine::Ready(ready.ok()?)
        }
        Machine::Resetting(resetting) => {
            assert_eq!(asked, Some(Asked::Reset));
            let ready = resetting.handle(reply);
            assert_eq!(ready.is_ok(), code == 250);
            Machine::Ready(ready.ok()?)
        }
        // Nothing was asked: whoever holds the connection closes it.
        Machine::Ready(_) | Machine::Body(_) => {
            assert_eq!(asked, None);
            return None;
        }
    })
}

impl Model {
    /// A reply was given to a command of an envelope, or to none.
    fn answered(
        &mut self,
        asked: Option<Asked>,
        answer: Option<Answer>,
        reply: &Reply,
    ) -> Option<()> {
        let is_yes = reply.is_positive();
        let is_no_answer = asked.is_none() || asked == Some(Asked::Data) && is_yes;
        assert_eq!(answer.is_none(), is_no_answer, "{reply:?} to {asked:?}");
        match (asked, answer?) {
            (Some(Asked::Mail), Answer::Mail(said)) => {
                assert_eq!(said, *reply);
                self.mail_granted = is_yes;
            }
            (Some(Asked::Recipient), Answer::Recipient(said)) => {
                assert_eq!(said, *reply);
                self.standing += u32::from(is_yes && self.mail_granted);
            }
            (Some(Asked::Data), Answer::Data(said)) => {
                assert_eq!(said, *reply);
                assert!(!is_yes, "2yz is no answer to DATA");
                self.data_granted = reply.code().as_u16() == 354;
            }
            (asked, answer) => panic!("{answer:?} for {asked:?}"),
        }
        Some(())
    }

    fn agrees_with(&self, machine: &Machine) {
        match machine {
            Machine::Envelope(envelope) => {
                assert_eq!(envelope.owed(), !self.owed.is_empty());
                assert_eq!(envelope.data_owed(), self.owed.contains(&Asked::Data));
                assert_eq!(envelope.standing(), self.standing);
            }
            Machine::Ready(_) | Machine::Body(_) => {
                assert!(self.owed.is_empty(), "ready while a reply is owed: {self:?}");
            }
            Machine::Opening(_) | Machine::Final(_) | Machine::Resetting(_) => {
                assert_eq!(self.owed.len(), 1, "one at a time");
            }
        }
    }
}

/// One command and nothing behind it.
fn is_a_line(octets: &[u8]) -> bool {
    octets.ends_with(b"\r\n") && !octets[..octets.len() - 2].iter().any(u8::is_ascii_control)
}
