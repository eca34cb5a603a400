//! What is asked of an upstream that says whatever it likes, and what its words are taken for.
//!
//! A script says what is asked: `m` MAIL, `r` RCPT, `d` DATA, `b` content and its end, `l` a lone dot,
//! `c` a chunk, `e` the last one, `s` RSET, `w` a reply is waited for. What the opening has to come to is
//! said by `o` (TLS where it is to be had), `t` (TLS, or nothing) or `i` (TLS from the beginning), and by
//! `p`, `g` or `x` (a login with PLAIN, LOGIN or XOAUTH2), wherever they stand. Beside the machine goes a
//! queue of commands that have no answer yet, and it has to know as much.

use std::collections::VecDeque;

use bytes::BytesMut;
use gatepost_smtp::{
    bdat::Chunk,
    client::{
        Answer, Body, Chunked, Chunks, Envelope, Final, Login, MailParameters, Mechanism, Opened,
        Opening, OpeningFault, Plan, Ready, Resetting, SentChunk, TlsPolicy,
    },
    command::Body as BodyType,
    reply::Reply,
};

/// A command that has no answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Login,
    Mail,
    Recipient,
    Data,
    Chunk,
    LastChunk,
    End,
    Reset,
}

/// What is known of a connection without the machine.
#[allow(clippy::struct_excessive_bools)] // independent facts, not states
#[derive(Debug, Default)]
struct Model {
    owed: VecDeque<Asked>,
    /// The keywords of the last answer to EHLO.
    offered: Vec<Vec<u8>>,
    /// The mechanisms of AUTH in it.
    mechanisms: Vec<Vec<u8>>,
    is_protected: bool,
    /// Lines of a login that were said.
    login_lines: usize,
    mail_granted: bool,
    data_asked: bool,
    data_granted: bool,
    standing: u32,
}

enum Machine {
    Opening(Plan<'static>, Opening<'static>),
    Ready(Ready),
    Envelope(Envelope),
    Body(Body),
    Chunks(Chunks),
    SentChunk(SentChunk),
    Final(Final),
    Resetting(Resetting),
}

/// Asks and hears, until something goes wrong or nothing is left to do.
pub fn converse(asks: &[u8], mut replies: VecDeque<Reply>) {
    let plan = plan(asks);
    let mut machine = Machine::Opening(plan, Opening::new(plan));
    let is_protected = plan.tls == TlsPolicy::Implicit;
    let mut model = Model { owed: [Asked::Greeting].into(), is_protected, ..Model::default() };
    let mut out = BytesMut::new();
    for ask in asks {
        out.clear();
        let next = match ask {
            b'w' => {
                replies.pop_front().and_then(|reply| hears(machine, &reply, &mut model, &mut out))
            }
            b'm' | b'r' | b'd' | b'b' | b'l' | b'c' | b'e' | b's' => {
                asked(*ask, machine, &mut model, &mut out)
            }
            _ => Some(machine),
        };
        let Some(next) = next else { return };
        machine = next;
        model.agrees_with(&machine);
    }
}

/// What the opening has to come to.
fn plan(asks: &[u8]) -> Plan<'static> {
    let mechanism = asks.iter().find_map(|ask| match ask {
        b'p' => Some(Mechanism::Plain),
        b'g' => Some(Mechanism::Login),
        b'x' => Some(Mechanism::XOauth2),
        _ => None,
    });
    let policy = asks.iter().find_map(|ask| match ask {
        b'o' => Some(TlsPolicy::Opportunistic),
        b't' => Some(TlsPolicy::Required),
        b'i' => Some(TlsPolicy::Implicit),
        _ => None,
    });
    let login = mechanism.map(|mechanism| Login { mechanism, username: "tim", secret: b"secret" });
    Plan { ehlo_name: "relay.test", tls: policy.unwrap_or_default(), login }
}

/// `None`: the connection is closed.
fn asked(ask: u8, machine: Machine, model: &mut Model, out: &mut BytesMut) -> Option<Machine> {
    let may_ask = !model.owed.contains(&Asked::Data) && !model.data_granted;
    Some(match (ask, machine) {
        (b'm', Machine::Ready(ready)) => Machine::Envelope(mail(ready, model, out)),
        (b'r', Machine::Envelope(mut envelope)) if may_ask => {
            envelope.recipient(b"c@d", b" NOTIFY=NEVER", out);
            let dsn = if model.offers("DSN") { " NOTIFY=NEVER" } else { "" };
            assert_eq!(out.as_ref(), format!("RCPT TO:<c@d>{dsn}\r\n").as_bytes());
            model.owed.push_back(Asked::Recipient);
            Machine::Envelope(envelope)
        }
        (b'd', Machine::Envelope(mut envelope)) if may_ask => {
            envelope.data(out);
            model.data_asked = true;
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
        (b'c' | b'e', Machine::Envelope(envelope)) => first_chunk(ask, envelope, model, out),
        (b'c' | b'e', Machine::Chunks(chunks)) => chunk(ask, chunks, model, out),
        (b's', Machine::Chunks(chunks)) => {
            model.owed.push_back(Asked::Reset);
            let resetting = chunks.reset(out);
            assert_eq!(&out[..], b"RSET\r\n");
            Machine::Resetting(resetting)
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

fn mail(ready: Ready, model: &mut Model, out: &mut BytesMut) -> Envelope {
    let offered = std::mem::take(&mut model.offered);
    *model = Model { owed: [Asked::Mail].into(), offered, ..Model::default() };
    let mail = MailParameters {
        reverse_path: b"a@b",
        size: Some(1),
        body: Some(BodyType::SevenBit),
        smtputf8: true,
        dsn: b" RET=HDRS ENVID=x",
    };
    let envelope = ready.mail(&mail, out);
    assert_eq!(out.as_ref(), model.mail());
    envelope
}

fn first_chunk(ask: u8, envelope: Envelope, model: &mut Model, out: &mut BytesMut) -> Machine {
    let may_begin = model.owed.is_empty() && !model.data_asked;
    match envelope.into_chunks() {
        Ok(chunks) => {
            assert!(may_begin, "{model:?}");
            chunk(ask, chunks, model, out)
        }
        Err(envelope) => {
            assert!(!may_begin, "{model:?}");
            Machine::Envelope(envelope)
        }
    }
}

fn chunk(ask: u8, chunks: Chunks, model: &mut Model, out: &mut BytesMut) -> Machine {
    let last = ask == b'e';
    let sent = chunks.chunk(Chunk { octets: u64::MAX, last }, out);
    let line = format!("BDAT {}{}\r\n", u64::MAX, if last { " LAST" } else { "" });
    assert_eq!(out.as_ref(), line.as_bytes());
    model.owed.push_back(if last { Asked::LastChunk } else { Asked::Chunk });
    Machine::SentChunk(sent)
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
        Machine::Opening(plan, opening) => {
            let opened = opening.handle(reply, out);
            opens(plan, opened, (reply, asked?), model, out)?
        }
        Machine::Envelope(mut envelope) => {
            let answer = envelope.handle(reply.clone());
            model.answered(asked, answer.ok(), reply)?;
            Machine::Envelope(envelope)
        }
        Machine::SentChunk(chunk) => chunked(chunk, reply, asked)?,
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
        Machine::Ready(_) | Machine::Body(_) | Machine::Chunks(_) => {
            assert_eq!(asked, None);
            return None;
        }
    })
}

fn opens(
    plan: Plan<'static>,
    opened: Opened<'static>,
    (reply, asked): (&Reply, Asked),
    model: &mut Model,
    out: &mut BytesMut,
) -> Option<Machine> {
    let code = reply.code().as_u16();
    if asked == Asked::Ehlo && code == 250 {
        model.introduced(reply);
    }
    let needs_tls =
        plan.login.is_some() || matches!(plan.tls, TlsPolicy::Required | TlsPolicy::Implicit);
    match opened {
        Opened::More(opening) => {
            assert_ne!(code, 421, "it is leaving");
            let next = model.goes_on(plan, (asked, code), out);
            model.owed.push_back(next);
            Some(Machine::Opening(plan, opening))
        }
        Opened::Handshake(handshake) => {
            assert_eq!((asked, code, &out[..]), (Asked::StartTls, 220, &b""[..]));
            assert!(!model.is_protected, "a second handshake");
            // What was offered in plain text is forgotten.
            *model = Model { owed: [Asked::Ehlo].into(), is_protected: true, ..Model::default() };
            let opening = handshake.done(out);
            assert_eq!(&out[..], b"EHLO relay.test\r\n");
            Some(Machine::Opening(plan, opening))
        }
        Opened::Ready(ready) => {
            assert!(model.is_protected || !needs_tls, "{plan:?} in plain text");
            match asked {
                Asked::Ehlo | Asked::Helo => {
                    assert!(code == 250 && plan.login.is_none());
                    let wants_tls = plan.tls != TlsPolicy::None && !model.is_protected;
                    assert!(!wants_tls || !model.offers("STARTTLS"), "TLS was to be had");
                }
                Asked::StartTls => assert!(matches!(code / 100, 4 | 5)),
                asked => {
                    assert!(asked == Asked::Login && code / 100 == 2 && model.is_all_said(plan));
                }
            }
            let capabilities = ready.capabilities();
            assert_eq!(capabilities.chunking, model.offers("CHUNKING"), "{reply:?}");
            assert_eq!(capabilities.dsn, model.offers("DSN"), "{reply:?}");
            assert_eq!(capabilities.starttls, model.offers("STARTTLS"), "{reply:?}");
            let limits = [capabilities.limits.recipients, capabilities.limits.transactions];
            assert!(limits.into_iter().flatten().all(|most| (1..1_000_000).contains(&most)));
            Some(Machine::Ready(ready))
        }
        Opened::Failed(fault) => {
            assert!(out.is_empty(), "nothing is said to somebody who is given up");
            match fault {
                OpeningFault::LoginRefused(said) => {
                    assert!(asked == Asked::Login && said == not_quoted(plan, reply));
                }
                OpeningFault::NoMechanism(mechanism) => {
                    assert!(model.is_protected && !model.offers_mechanism(mechanism));
                }
                OpeningFault::NoTls(said) => {
                    assert!(needs_tls && !model.is_protected);
                    assert!(said.is_none_or(|said| said == not_quoted(plan, reply)));
                }
                OpeningFault::Refused(said) => {
                    let is_yes = match asked {
                        Asked::Greeting | Asked::StartTls => 220,
                        _ => 250,
                    };
                    assert!(code != is_yes && said == not_quoted(plan, reply));
                }
            }
            None
        }
    }
}

/// What is kept of a reply that ends an opening: all of it, unless our secret is in it.
fn not_quoted(plan: Plan<'_>, reply: &Reply) -> Reply {
    let response = match plan.login.map(|login| login.mechanism) {
        None => return reply.clone(),
        Some(Mechanism::XOauth2) => &b"dXNlcj10aW0BYXV0aD1CZWFyZXIgc2VjcmV0AQE="[..],
        Some(Mechanism::Plain | Mechanism::Login) => b"AHRpbQBzZWNyZXQ=",
    };
    let repeats = |form: &[u8]| reply.text().windows(form.len()).any(|text| text == form);
    if [&b"secret"[..], b"c2VjcmV0", response].into_iter().any(repeats) {
        return Reply::plain(reply.code().as_u16(), "(a text that repeats the secret)");
    }
    reply.clone()
}

/// A message whose last chunk was accepted is over; one that was refused may be there still.
fn chunked(chunk: SentChunk, reply: &Reply, asked: Option<Asked>) -> Option<Machine> {
    let class = reply.code().as_u16() / 100;
    match (chunk.handle(reply), asked) {
        (Err(_), Some(Asked::Chunk | Asked::LastChunk)) => {
            assert_eq!(class, 3, "3yz decides nothing");
            None
        }
        (Ok(Chunked::Ready(ready)), Some(Asked::LastChunk)) => {
            assert_eq!(class, 2);
            Some(Machine::Ready(ready))
        }
        (Ok(Chunked::More(chunks)), Some(Asked::Chunk)) => {
            assert_ne!(class, 3);
            Some(Machine::Chunks(chunks))
        }
        (Ok(Chunked::More(chunks)), Some(Asked::LastChunk)) => {
            assert!(class >= 4);
            Some(Machine::Chunks(chunks))
        }
        (chunked, asked) => panic!("{chunked:?} after {asked:?}"),
    }
}

impl Model {
    /// What an opening says next, and may say.
    fn goes_on(&mut self, plan: Plan<'_>, (asked, code): (Asked, u16), out: &[u8]) -> Asked {
        let is_auth = out.starts_with(b"AUTH ");
        match asked {
            Asked::Greeting => {
                assert_eq!((code, out), (220, &b"EHLO relay.test\r\n"[..]));
                Asked::Ehlo
            }
            Asked::Ehlo if out == b"HELO relay.test\r\n" => {
                assert!(code / 100 == 5 && plan.login.is_none());
                assert!(self.is_protected || plan.tls != TlsPolicy::Required);
                Asked::Helo
            }
            Asked::Ehlo if out == b"STARTTLS\r\n" => {
                assert!(code == 250 && !self.is_protected && self.offers("STARTTLS"));
                assert!(plan.tls != TlsPolicy::None || plan.login.is_some());
                Asked::StartTls
            }
            Asked::Ehlo => {
                let login = plan.login.expect("somebody to log in");
                assert!(code == 250 && is_auth && self.is_protected, "{out:?}");
                assert!(self.offers_mechanism(login.mechanism), "{out:?}");
                self.login_lines = 1;
                Asked::Login
            }
            asked => {
                assert_eq!((asked, code), (Asked::Login, 334));
                assert!(self.is_protected && !is_auth);
                let line = out.strip_suffix(b"\r\n").expect("a line");
                assert!(!line.contains(&b'\n'), "one line");
                self.login_lines += 1;
                Asked::Login
            }
        }
    }

    /// Whether name and secret were said, and nothing else was asked for.
    fn is_all_said(&self, plan: Plan<'_>) -> bool {
        let lines = match plan.login.map(|login| login.mechanism) {
            Some(Mechanism::Login) => 3,
            _ => 1,
        };
        self.login_lines == lines
    }

    fn introduced(&mut self, reply: &Reply) {
        self.offered = keywords(reply);
        self.mechanisms = mechanisms(reply);
    }

    fn offers_mechanism(&self, mechanism: Mechanism) -> bool {
        self.mechanisms.iter().any(|offered| offered == mechanism.name().as_bytes())
    }

    /// A reply was given to a command of an envelope, or to none.
    fn answered(
        &mut self,
        asked: Option<Asked>,
        answer: Option<Answer>,
        reply: &Reply,
    ) -> Option<()> {
        let is_yes = reply.is_positive();
        let is_no_answer = match (asked, reply.code().as_u16()) {
            (None, _) => true,
            (Some(Asked::Data), code) => is_yes || (300..400).contains(&code) && code != 354,
            (Some(_), code) => (300..400).contains(&code),
        };
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

    fn offers(&self, keyword: &str) -> bool {
        self.offered.iter().any(|offered| offered == keyword.as_bytes())
    }

    /// What MAIL says: no parameter that is not offered.
    fn mail(&self) -> Vec<u8> {
        let parameters = [
            ("SIZE", " SIZE=1"),
            ("8BITMIME", " BODY=7BIT"),
            ("SMTPUTF8", " SMTPUTF8"),
            ("DSN", " RET=HDRS ENVID=x"),
        ];
        let offered = parameters.into_iter().filter(|(keyword, _)| self.offers(keyword));
        let words: String = offered.map(|(_, words)| words).collect();
        format!("MAIL FROM:<a@b>{words}\r\n").into_bytes()
    }

    fn agrees_with(&self, machine: &Machine) {
        match machine {
            Machine::Envelope(envelope) => {
                assert_eq!(envelope.owed(), !self.owed.is_empty());
                assert_eq!(envelope.data_owed(), self.owed.contains(&Asked::Data));
                assert_eq!(envelope.standing(), self.standing);
            }
            Machine::Chunks(chunks) => {
                assert!(self.owed.is_empty() && !self.data_asked, "{self:?}");
                assert_eq!(chunks.standing(), self.standing);
            }
            Machine::SentChunk(chunk) => {
                assert_eq!(self.owed.len(), 1, "one at a time");
                assert_eq!(chunk.standing(), self.standing);
            }
            Machine::Ready(_) | Machine::Body(_) => {
                assert!(self.owed.is_empty(), "ready while a reply is owed: {self:?}");
            }
            Machine::Opening(..) | Machine::Final(_) | Machine::Resetting(_) => {
                assert_eq!(self.owed.len(), 1, "one at a time");
            }
        }
    }
}

/// What stands first in each line of the answer to EHLO but the first.
fn keywords(reply: &Reply) -> Vec<Vec<u8>> {
    let word = |line: &[u8]| {
        let words = line.split(|octet| *octet == b' ').find(|word| !word.is_empty());
        words.unwrap_or_default().to_ascii_uppercase()
    };
    reply.text().split(|octet| *octet == b'\n').skip(1).map(word).collect()
}

/// What stands behind AUTH, which may be `AUTH=` too, in any of its lines.
fn mechanisms(reply: &Reply) -> Vec<Vec<u8>> {
    let lines = reply.text().split(|octet| *octet == b'\n').skip(1);
    let mut found = Vec::new();
    for line in lines {
        let line = line.to_ascii_uppercase();
        let start = line.iter().position(|octet| *octet != b' ').unwrap_or(line.len());
        let Some(rest) = line[start..].strip_prefix(b"AUTH") else { continue };
        if let Some(b' ' | b'=') = rest.first() {
            found.extend(rest[1..].split(|octet| *octet == b' ').map(<[u8]>::to_vec));
        }
    }
    found
}
