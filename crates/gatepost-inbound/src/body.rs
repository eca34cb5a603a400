//! A message on its way: from the client's buffer to the upstream, scanned once and never copied.
//!
//! Content goes on in the pieces in which it comes, and the next piece is read when the last is
//! sent: that is the back-pressure, and the bound on memory whatever the size. What must not be
//! relayed is never brought to its end upstream. The client's content is still read to its true end,
//! within limits, because what is left of it would otherwise be read as commands.
//!
//! Here is what both ways of sending a message share; [`data`] and [`chunks`] know where it ends.

use std::time::Duration;

use bytes::Bytes;
use gatepost_policy::check;
use gatepost_relay::Handoff;
use gatepost_smtp::data::DataFault;
use gatepost_smtp::reply::Reply;
use gatepost_smtp::server::Hello;
use gatepost_stream::Mark;

use crate::answer;
use crate::conn::{Conn, End};
use crate::fingerprint::Fingerprinter;
use crate::header::{Examined, HeldHeader};
use crate::session::Session;

pub(crate) mod chunks;
pub(crate) mod data;

/// Octets that are thrown away after a refusal before the connection is closed instead: more than
/// a message of the default limit, so that a client hears of its mistake.
const DISCARD_OCTETS_MAX: u64 = 64 * 1024 * 1024;

/// What a client must send to hold a connection of the upstream for longer than `client_stall`.
const STALL_OCTETS_PER_SECOND: u64 = 512;

/// Octets of rewritten content that are gathered before they go on.
const REWRITTEN_OCTETS_MAX: usize = 64 * 1024;

/// A message that is being received. It has a way to the upstream or a refusal, never both.
struct Body<'s> {
    session: &'s Session,
    relayed: Option<Box<Handoff>>,
    refusal: Option<Refusal>,
    /// The header section, while the entry asks to look at it.
    header: Option<HeldHeader>,
    /// If it matters whether the message has come before.
    fingerprinter: Option<Box<Fingerprinter>>,
    /// Octets of content that were counted, held back or not.
    octets: u64,
    /// When a client that sends no more than this has stalled.
    stall: Mark,
}

/// Why content is thrown away, and what is done at its end.
struct Refusal {
    reply: Reply,
    then: Then,
    discarded_octets: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Close,
    GoOn,
}

impl Then {
    /// What is done after a fault. Whoever sends what two servers may read differently is not
    /// listened to any more.
    const fn after(fault: DataFault) -> Self {
        match fault {
            DataFault::LeadingSpace => Self::GoOn,
            DataFault::BareCr | DataFault::BareLf | DataFault::Nul => Self::Close,
        }
    }
}

impl Refusal {
    const fn new(reply: Reply, then: Then) -> Self {
        Self { reply, then, discarded_octets: 0 }
    }
}

impl<'s> Body<'s> {
    fn new(
        session: &'s Session,
        conn: &Conn,
        (handoff, fingerprinter): (Box<Handoff>, Option<Box<Fingerprinter>>),
    ) -> Self {
        Self {
            session,
            stall: conn.mark(handoff.client_stall()),
            relayed: Some(handoff),
            refusal: None,
            header: HeldHeader::for_session(session),
            fingerprinter,
            octets: 0,
        }
    }

    /// A message that nobody takes.
    fn refused(session: &'s Session, conn: &Conn, reply: Reply) -> Self {
        Self {
            session,
            stall: conn.mark(Duration::ZERO),
            relayed: None,
            refusal: Some(Refusal::new(reply, Then::GoOn)),
            header: None,
            fingerprinter: None,
            octets: 0,
        }
    }

    /// Hands content on, or throws it away. `received` octets of the client have become it.
    async fn pass_on(&mut self, conn: &mut Conn, content: Bytes, received: u64) -> Result<(), End> {
        if let Some(handoff) = &mut self.relayed {
            let asked = conn.mark(Duration::ZERO);
            if let Some(fingerprinter) = &mut self.fingerprinter {
                fingerprinter.content(&content);
            }
            if !content.is_empty() {
                handoff.content(content).await;
            }
            let earned = Duration::from_millis(received * 1000 / STALL_OCTETS_PER_SECOND);
            self.put_off_stall(conn, earned, asked);
        } else if let Some(refusal) = &mut self.refusal {
            refusal.discarded_octets += received;
            if refusal.discarded_octets > DISCARD_OCTETS_MAX {
                return Err(conn.say_last(&refusal.reply));
            }
        }
        Ok(())
    }

    /// Lets the client be silent for longer by what it has `earned`, and by the time since the
    /// upstream was `asked`: that was not the client's.
    fn put_off_stall(&mut self, conn: &Conn, earned: Duration, asked: Mark) {
        let Some(handoff) = &self.relayed else { return };
        let taken = conn.mark(Duration::ZERO).since(asked);
        let most = conn.mark(handoff.client_stall());
        self.stall = self.stall.later(earned.saturating_add(taken), most);
    }

    /// Waits for more. A client that is silent does not keep a connection of the upstream.
    async fn wait(&mut self, conn: &mut Conn, hello: &Hello) -> Result<(), End> {
        let patience = conn.mark(self.session.service.config.data_timeout);
        let waited = match self.relayed.as_mut().filter(|handoff| handoff.holds_connection()) {
            Some(handoff) => match conn.fill(self.stall.min(patience)).await {
                Ok(None) => {
                    handoff.stalled();
                    conn.fill(patience).await
                }
                waited => waited,
            },
            None => conn.fill(patience).await,
        };
        let end = match waited {
            Ok(Some(())) => return Ok(()),
            Ok(None) => conn.timed_out(),
            Err(end) => end,
        };
        drop(self.abort(hello));
        Err(end)
    }

    /// The client has given the message up: what it leaves behind upstream, if anything.
    fn abort(&mut self, hello: &Hello) -> Option<Box<Handoff>> {
        let handoff = self.relayed.take()?;
        answer::log_aborted(self.session, hello, &handoff);
        Some(handoff)
    }

    fn count(&mut self, hello: &Hello, more: u64) {
        self.octets += more;
        if self.relayed.is_some()
            && let Some(entry) =
                self.session.entries().find(|it| self.octets > it.terms().max_message_size)
        {
            self.refuse(hello, check::too_large(entry), Then::GoOn);
        }
    }

    /// Holds the header section back until it can be judged; what it lets through may be sent.
    fn examine(&mut self, hello: &Hello, content: Bytes) -> Bytes {
        match self.header.take() {
            Some(held) if self.relayed.is_some() => {
                let examined = held.add(&content, self.session);
                self.examined(hello, examined)
            }
            _ => content,
        }
    }

    /// The same, and there will be no more: a header section needs no body (RFC 5322 §2.1).
    fn examine_last(&mut self, hello: &Hello, content: Bytes) -> Bytes {
        let content = self.examine(hello, content);
        match self.header.take() {
            Some(held) if self.relayed.is_some() => {
                let examined = held.end(self.session);
                self.examined(hello, examined)
            }
            _ => content,
        }
    }

    fn examined(&mut self, hello: &Hello, examined: Examined) -> Bytes {
        match examined {
            Examined::Held(held) => {
                self.header = Some(held);
                Bytes::new()
            }
            Examined::Passed { missing, content } => {
                if let Some(handoff) = self.relayed.as_mut().filter(|_| !missing.is_empty()) {
                    let id = handoff.message().id;
                    let fields = missing.fields(id, &self.session.service.config.hostname);
                    handoff.put_in_front(fields.as_bytes());
                }
                content
            }
            Examined::Refused(refusal) => {
                self.session.listener.metrics.verdicts.refused(&refusal);
                self.refuse(hello, refusal.reply, Then::GoOn);
                Bytes::new()
            }
        }
    }

    /// The end of the content is here, and has not gone upstream: if the same message has come too
    /// often, it never does.
    fn judge_copy(&mut self, hello: &Hello, last: &[u8]) {
        let Some(mut fingerprinter) = self.fingerprinter.take() else { return };
        let Some(handoff) = &self.relayed else { return };
        fingerprinter.content(last);
        let session = self.session;
        let (message, uptime) = (fingerprinter.end(), session.service.uptime());
        let judged = check::duplicate(&session.entry, session.beside(), message, uptime);
        if let Err(refusal) = judged {
            session.listener.metrics.verdicts.refused(&refusal);
            answer::log_copy(session, hello, handoff, &refusal);
            self.relayed = None;
            self.refusal = Some(Refusal::new(refusal.reply, Then::GoOn));
        }
    }

    /// From here on nothing goes upstream: dropping the handoff closes its connection before the
    /// message has an end.
    fn refuse(&mut self, hello: &Hello, reply: Reply, then: Then) {
        if let Some(handoff) = self.relayed.take() {
            answer::log_refused(self.session, hello, &handoff, &reply);
        }
        self.refusal = Some(Refusal::new(reply, then));
    }
}
