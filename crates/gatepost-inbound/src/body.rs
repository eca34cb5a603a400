//! Mail data: from the client's buffer to the upstream, scanned once and never copied.
//!
//! Content goes on in the pieces in which it comes, and the next piece is read when the last is
//! sent: that is the back-pressure, and the bound on memory whatever the size. What must not be
//! relayed is never given its final dot. The client's data is still read to its true end, within
//! limits, because what is left of it would otherwise be read as commands.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatepost_policy::check;
use gatepost_policy::entry::BareNewlines;
use gatepost_relay::Handoff;
use gatepost_smtp::data::{DataFault, Scan, TERMINATOR};
use gatepost_smtp::reply::Reply;
use gatepost_smtp::server::{Ready, Receiving, replies};
use gatepost_stream::Mark;

use crate::answer;
use crate::conn::{Conn, End};
use crate::header::{Examined, HeldHeader};
use crate::session::Session;

/// Octets that are thrown away after a refusal before the connection is closed instead: more than
/// a message of the default limit, so that a client hears of its mistake.
const DISCARD_OCTETS_MAX: u64 = 64 * 1024 * 1024;

/// What a client must send to hold a connection of the upstream for longer than `client_stall`.
const STALL_OCTETS_PER_SECOND: u64 = 512;

/// Octets of rewritten content that are gathered before they go on.
const REWRITTEN_OCTETS_MAX: usize = 64 * 1024;

/// Mail data that is being received. It has a way to the upstream or a refusal, never both.
struct Data<'s> {
    session: &'s Session,
    receiving: Receiving,
    relayed: Option<Handoff>,
    refusal: Option<Refusal>,
    /// The header section, while the entry asks to look at it.
    header: Option<HeldHeader>,
    /// Content that is not what was received, for want of CRs: a slow path for few clients.
    rewritten: BytesMut,
    /// Octets of content so far, held back or not.
    octets: u64,
    /// When a client that sends no more than this has stalled.
    stall: Mark,
}

/// Why data is thrown away, and what is done at its end.
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

/// Reads mail data to its end and answers it.
pub(crate) async fn receive(
    session: &Session,
    conn: &mut Conn,
    receiving: Receiving,
    handoff: Handoff,
) -> Result<Ready, End> {
    conn.say(&replies::GO_AHEAD);
    let receiving = match session.entry.terms().bare_newlines {
        BareNewlines::Reject => receiving,
        BareNewlines::Normalize => receiving.normalizing(),
    };
    let mut data = Data {
        session,
        receiving,
        stall: conn.mark(handoff.client_stall()),
        relayed: Some(handoff),
        refusal: None,
        header: HeldHeader::for_entry(&session.entry),
        rewritten: BytesMut::new(),
        octets: 0,
    };
    loop {
        match data.receiving.scan(conn.input()) {
            Scan::More(octets) => {
                if octets > 0 || !data.rewritten.is_empty() {
                    let content = data.content(conn.take(octets));
                    data.pass_on(conn, content).await?;
                }
                data.wait(conn).await?;
            }
            Scan::Replace { octets, replaced, with } => {
                data.rewritten.extend_from_slice(&conn.input()[..octets]);
                data.rewritten.extend_from_slice(with);
                conn.consume(octets + replaced);
                if data.rewritten.len() > REWRITTEN_OCTETS_MAX {
                    let content = data.content(Bytes::new());
                    data.pass_on(conn, content).await?;
                }
            }
            Scan::Fault(octets, fault) => {
                conn.consume(octets);
                let then = match fault {
                    DataFault::LeadingSpace => Then::GoOn,
                    DataFault::BareCr | DataFault::BareLf | DataFault::Nul => Then::Close,
                };
                data.refuse(Reply::new(554, (5, 6, 0), fault.to_string()), then);
            }
            Scan::End(octets) => {
                let last = conn.take(octets + TERMINATOR.len());
                return data.finish(conn, last).await;
            }
        }
    }
}

impl Data<'_> {
    /// Content with what was rewritten before it.
    fn content(&mut self, content: Bytes) -> Bytes {
        if self.rewritten.is_empty() {
            return content;
        }
        self.rewritten.extend_from_slice(&content);
        self.rewritten.split().freeze()
    }

    /// Hands a piece of content on, or throws it away.
    async fn pass_on(&mut self, conn: &mut Conn, content: Bytes) -> Result<(), End> {
        let octets = content.len() as u64;
        self.count(octets);
        let content = self.examine(content);
        if let Some(handoff) = &mut self.relayed {
            if !content.is_empty() {
                handoff.content(content).await;
            }
            let earned = Duration::from_millis(octets * 1000 / STALL_OCTETS_PER_SECOND);
            let most = conn.mark(handoff.client_stall());
            self.stall = self.stall.later(earned, most);
        } else if let Some(refusal) = &mut self.refusal {
            refusal.discarded_octets += octets;
            if refusal.discarded_octets > DISCARD_OCTETS_MAX {
                return Err(conn.say_last(&refusal.reply));
            }
        }
        Ok(())
    }

    /// The last content is here, with the terminator behind it.
    async fn finish(mut self, conn: &mut Conn, last: Bytes) -> Result<Ready, End> {
        let last = self.last(last);
        if let Some(handoff) = self.relayed {
            let hello = self.receiving.hello();
            answer::complete(self.session, conn, hello, handoff, last).await;
        } else if let Some(refusal) = self.refusal {
            if refusal.then == Then::Close {
                return Err(conn.say_last(&refusal.reply));
            }
            conn.fault(&refusal.reply)?;
        }
        Ok(self.receiving.end())
    }

    /// What goes on of the last content and the terminator: the very octets, unless there are some
    /// that were rewritten or held back.
    fn last(&mut self, last: Bytes) -> Bytes {
        let content_octets = last.len() - TERMINATOR.len();
        if self.rewritten.is_empty() && self.header.is_none() {
            self.count(content_octets as u64);
            return last;
        }
        let content = self.content(last.slice(..content_octets));
        self.count(content.len() as u64);
        let content = self.examine_last(content);
        [&content, TERMINATOR].concat().into()
    }

    /// Waits for more. A client that is silent does not keep a connection of the upstream.
    async fn wait(&mut self, conn: &mut Conn) -> Result<(), End> {
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
        if let Some(handoff) = &self.relayed {
            answer::log_aborted(self.session, self.receiving.hello(), handoff);
        }
        Err(end)
    }

    fn count(&mut self, more: u64) {
        self.octets += more;
        if self.relayed.is_some() && self.octets > self.session.entry.terms().max_message_size {
            self.refuse(check::too_large(&self.session.entry), Then::GoOn);
        }
    }

    /// Holds the header section back until it can be judged; what it lets through may be sent.
    fn examine(&mut self, content: Bytes) -> Bytes {
        match self.header.take() {
            Some(held) if self.relayed.is_some() => {
                let examined = held.add(&content, self.session);
                self.examined(examined)
            }
            _ => content,
        }
    }

    /// The same, and there will be no more: a header section needs no body (RFC 5322 §2.1).
    fn examine_last(&mut self, content: Bytes) -> Bytes {
        let content = self.examine(content);
        match self.header.take() {
            Some(held) if self.relayed.is_some() => {
                let examined = held.end(self.session);
                self.examined(examined)
            }
            _ => content,
        }
    }

    fn examined(&mut self, examined: Examined) -> Bytes {
        match examined {
            Examined::Held(held) => {
                self.header = Some(held);
                Bytes::new()
            }
            Examined::Passed { missing, content } => {
                if let Some(handoff) = self.relayed.as_mut().filter(|_| !missing.is_empty()) {
                    let id = &handoff.message().id;
                    let fields = missing.fields(id, &self.session.service.config.hostname);
                    handoff.put_in_front(fields.as_bytes());
                }
                content
            }
            Examined::Refused(refusal) => {
                self.session.listener.metrics.verdicts.refused(&refusal);
                self.refuse(refusal.reply, Then::GoOn);
                Bytes::new()
            }
        }
    }

    /// From here on nothing goes upstream: dropping the handoff closes its connection without the
    /// final dot.
    fn refuse(&mut self, reply: Reply, then: Then) {
        if let Some(handoff) = self.relayed.take() {
            answer::log_refused(self.session, self.receiving.hello(), &handoff, &reply);
        }
        self.refusal = Some(Refusal { reply, then, discarded_octets: 0 });
    }
}
