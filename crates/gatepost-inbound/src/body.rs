//! Mail data: from the client's buffer to the upstream, scanned once and never copied.
//!
//! Content goes on in the pieces in which it comes, and the next piece is read when the last is
//! sent: that is the back-pressure, and the bound on memory whatever the size. What must not be
//! relayed is never given its final dot. The client's data is still read to its true end, within
//! limits, because what is left of it would otherwise be read as commands.

use std::time::Duration;

use gatepost_policy::check::TOO_LARGE;
use gatepost_relay::Handoff;
use gatepost_smtp::data::{DataFault, Scan, TERMINATOR};
use gatepost_smtp::reply::Reply;
use gatepost_smtp::server::{Ready, Receiving, replies};
use gatepost_stream::Mark;

use crate::answer;
use crate::conn::{Conn, End};
use crate::session::Session;

/// Octets that are thrown away after a refusal before the connection is closed instead: more than
/// a message of the default limit, so that a client hears of its mistake.
const DISCARD_OCTETS_MAX: u64 = 64 * 1024 * 1024;

/// What a client must send to hold a connection of the upstream for longer than `client_stall`.
const STALL_OCTETS_PER_SECOND: u64 = 512;

/// Mail data that is being received. It has a way to the upstream or a refusal, never both.
struct Data<'s> {
    session: &'s Session,
    receiving: Receiving,
    relayed: Option<Handoff>,
    refusal: Option<Refusal>,
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
    let stall = conn.mark(session.service.relay.client_stall());
    let mut data = Data { session, receiving, relayed: Some(handoff), refusal: None, stall };
    loop {
        match data.receiving.scan(conn.input()) {
            Scan::More(octets) => {
                if octets > 0 {
                    data.pass_on(conn, octets).await?;
                }
                data.wait(conn).await?;
            }
            Scan::Fault(octets, fault) => {
                conn.consume(octets);
                let then = match fault {
                    DataFault::LeadingSpace => Then::GoOn,
                    DataFault::BareCr | DataFault::BareLf | DataFault::Nul => Then::Close,
                };
                data.refuse(Reply::new(554, (5, 6, 0), fault.to_string()), then);
            }
            Scan::End(octets) => return data.finish(conn, octets).await,
        }
    }
}

impl Data<'_> {
    /// Hands a piece of content on, or throws it away.
    async fn pass_on(&mut self, conn: &mut Conn, octets: usize) -> Result<(), End> {
        self.limit(octets);
        if let Some(handoff) = &mut self.relayed {
            handoff.content(conn.take(octets)).await;
            let earned = Duration::from_millis(octets as u64 * 1000 / STALL_OCTETS_PER_SECOND);
            let most = conn.mark(self.session.service.relay.client_stall());
            self.stall = self.stall.later(earned, most);
        } else if let Some(refusal) = &mut self.refusal {
            conn.consume(octets);
            refusal.discarded_octets += octets as u64;
            if refusal.discarded_octets > DISCARD_OCTETS_MAX {
                return Err(conn.say_last(&refusal.reply));
            }
        }
        Ok(())
    }

    /// The last content is here, with the terminator behind it.
    async fn finish(mut self, conn: &mut Conn, octets: usize) -> Result<Ready, End> {
        self.limit(octets);
        let octets = octets + TERMINATOR.len();
        if let Some(handoff) = self.relayed {
            let last = conn.take(octets);
            answer::complete(self.session, conn, self.receiving.hello(), handoff, last).await;
        } else if let Some(refusal) = self.refusal {
            conn.consume(octets);
            if refusal.then == Then::Close {
                return Err(conn.say_last(&refusal.reply));
            }
            conn.fault(&refusal.reply)?;
        }
        Ok(self.receiving.end())
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

    fn limit(&mut self, more: usize) {
        let most = self.session.service.config.max_message_size;
        if self.relayed.as_ref().is_some_and(|handoff| handoff.octets() + more as u64 > most) {
            self.refuse(TOO_LARGE, Then::GoOn);
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
