//! DATA: content up to CRLF.CRLF (RFC 5321 §4.1.1.4).

use bytes::{Bytes, BytesMut};
use gatepost_policy::entry::BareNewlines;
use gatepost_relay::{Handoff, Last};
use gatepost_smtp::data::{Scan, TERMINATOR};
use gatepost_smtp::reply::Reply;
use gatepost_smtp::server::{Ready, Receiving, replies};

use super::{Body, REWRITTEN_OCTETS_MAX, Then};
use crate::answer;
use crate::conn::{Conn, End};
use crate::fingerprint::Fingerprinter;
use crate::session::Session;

/// Mail data that is being received.
struct Data<'s> {
    receiving: Receiving,
    body: Body<'s>,
    /// Content that is not what was received, for want of CRs: a slow path for few clients.
    rewritten: BytesMut,
}

/// Reads mail data to its end and answers it.
pub(crate) async fn receive(
    session: &Session,
    conn: &mut Conn,
    receiving: Receiving,
    way: (Box<Handoff>, Option<Box<Fingerprinter>>),
) -> Result<Ready, End> {
    conn.say(&replies::GO_AHEAD);
    let normalizes = session.terms().all(|terms| terms.bare_newlines == BareNewlines::Normalize);
    let receiving = if normalizes { receiving.normalizing() } else { receiving };
    let body = Body::new(session, conn, way);
    let mut data = Data { receiving, body, rewritten: BytesMut::new() };
    loop {
        match data.receiving.scan(conn.input()) {
            Scan::More(octets) => {
                if octets > 0 || !data.rewritten.is_empty() {
                    let content = data.content(conn.take(octets));
                    data.pass_on(conn, content).await?;
                }
                data.body.wait(conn, data.receiving.hello()).await?;
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
                let reply = Reply::new(554, (5, 6, 0), fault.to_string());
                data.body.refuse(data.receiving.hello(), reply, Then::after(fault));
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

    async fn pass_on(&mut self, conn: &mut Conn, content: Bytes) -> Result<(), End> {
        let received = content.len() as u64;
        self.body.count(self.receiving.hello(), received);
        let content = self.body.examine(self.receiving.hello(), content);
        self.body.pass_on(conn, content, received).await
    }

    /// The last content is here, with the terminator behind it.
    async fn finish(mut self, conn: &mut Conn, last: Bytes) -> Result<Ready, End> {
        let last = self.last(last);
        let content = &last[..last.len() - TERMINATOR.len()];
        self.body.judge_copy(self.receiving.hello(), content);
        if let Some(handoff) = self.body.relayed {
            let (session, hello) = (self.body.session, self.receiving.hello());
            answer::complete(session, conn, hello, handoff, Last::Terminated(last)).await;
        } else if let Some(refusal) = self.body.refusal {
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
        if self.rewritten.is_empty() && self.body.header.is_none() {
            self.body.count(self.receiving.hello(), content_octets as u64);
            return last;
        }
        let content = self.content(last.slice(..content_octets));
        self.body.count(self.receiving.hello(), content.len() as u64);
        let content = self.body.examine_last(self.receiving.hello(), content);
        [&content, TERMINATOR].concat().into()
    }
}
