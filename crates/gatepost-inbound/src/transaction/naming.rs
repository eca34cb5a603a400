//! Who is named in a transaction: by our checks, by what is known of the upstream, by its word.
//!
//! Recipients that a client sends in one group go upstream in one group. Each has a [`Slot`] in
//! the order of naming, filled by us or by the upstream, and nothing else is answered before the
//! group is: replies never overtake each other (RFC 2920 §3.2).

use std::time::Duration;

use gatepost_policy::check::{self, RcptFacts};
use gatepost_policy::entry::Mode;
use gatepost_policy::route::Way;
use gatepost_policy::usage::Use;
use gatepost_relay::{DataFollows, Handoff, Message, Named};
use gatepost_smtp::command::{CommandError, Rcpt};
use gatepost_smtp::reply::Reply;

use super::{Carriage, NO_UPSTREAM, Transaction, parameters};
use crate::answer;
use crate::conn::Conn;

const NO_ANSWER: Reply = Reply::fixed(451, (4, 3, 0), "no answer for this recipient, try again");
const UTF8_RECIPIENT: Reply = Reply::fixed(553, (5, 6, 7), "a non-ASCII recipient needs SMTPUTF8");

/// A recipient that was named and not yet answered.
pub(super) enum Slot {
    /// The upstream will say.
    Asked,
    /// It is owed to the spool, unless the upstream refuses the sender for good.
    Kept,
    /// It is owed to the spool, whatever this upstream says.
    Apart,
    /// We say.
    Refused(Reply),
}

impl Transaction<'_> {
    /// The checks at RCPT: ours, then what is known of the upstream.
    pub(super) async fn judge(&mut self, rcpt: &Rcpt<'_>) -> Slot {
        let path = rcpt.forward_path;
        if !self.smtputf8 && !path.is_ascii() {
            return Slot::Refused(UTF8_RECIPIENT);
        }
        let dsn = parameters(rcpt.dsn.parameters());
        if !dsn.is_empty() && !self.session.offers_dsn() {
            return Slot::Refused(CommandError::Parameter.reply());
        }
        let (session, verdicts) = (self.session, &self.session.listener.metrics.verdicts);
        let facts = RcptFacts {
            // The clock is for those whose rate is limited.
            uptime: if session.terms().any(|terms| terms.recipient_rate.is_some()) {
                session.service.uptime()
            } else {
                Duration::ZERO
            },
            generation: session.generation,
            sender: self.sender.path(),
            recipient: path,
            named: self.open.standing() + self.pending() as u32,
            beside: session.beside(),
            // Nobody has to be shared with while nobody stands.
            way: self.way.filter(|_| self.is_bound()),
        };
        let judged = check::rcpt(&session.entry, &self.routes, &facts);
        self.record.name(&facts, &judged);
        match judged {
            Ok(way) => {
                verdicts.rcpt_accepted.increment(1);
                self.name(way, (path.as_bytes(), &dsn)).await
            }
            Err(refusal) => {
                verdicts.refused(&refusal);
                session.count(Use::Refusal);
                self.refused += 1;
                let (hello, path) = (self.open.hello(), (&path, self.refused));
                answer::log_rcpt(session, hello, &self.sender, path, &refusal);
                Slot::Refused(refusal.reply)
            }
        }
    }

    /// Whether the message has a recipient, so that its way is decided.
    fn is_bound(&self) -> bool {
        self.open.standing() > 0 || self.pending() > 0
    }

    /// Names a recipient; the first one begins the handing over. If all that were named before on
    /// another way have been refused, it begins anew: one upstream's trouble is not another's. Who
    /// takes another way than those who stand is owed to the spool.
    async fn name(&mut self, way: Way, recipient: (&[u8], &[u8])) -> Slot {
        let turns = self.way.is_some_and(|others| !self.routes.lead_together(way, others));
        if turns && self.is_bound() {
            return self.name_apart(way, recipient);
        }
        self.way = Some(way);
        self.carriage = match std::mem::replace(&mut self.carriage, Carriage::Lost) {
            Carriage::Waiting(message) => self.begin(way, message),
            Carriage::Begun(handoff) if turns => self.begin(way, handoff.begin_again()),
            carriage => carriage,
        };
        let Some(handoff) = self.carriage.handoff() else { return Slot::Refused(NO_UPSTREAM) };
        let (path, dsn) = recipient;
        match handoff.name(path, dsn).await {
            Ok(Named::Asked) => Slot::Asked,
            Ok(Named::Kept) => Slot::Kept,
            Err(reply) => Slot::Refused(reply),
        }
    }

    fn name_apart(&mut self, way: Way, recipient: (&[u8], &[u8])) -> Slot {
        let reverse_path = self.routes.reverse_path(way, &self.sender.path());
        let Some(handoff) = self.carriage.handoff() else { return Slot::Refused(NO_UPSTREAM) };
        let route = (way.upstream.index(), mode(way));
        match handoff.name_apart(route, reverse_path, recipient) {
            Ok(()) => {
                self.apart += 1;
                if let Some(fingerprinter) = &mut self.fingerprinter {
                    fingerprinter.recipient(recipient.0);
                }
                Slot::Apart
            }
            Err(reply) => Slot::Refused(reply),
        }
    }

    /// Begins the handing over on a way.
    fn begin(&self, way: Way, mut message: Message) -> Carriage {
        if let Some(other) = self.routes.reverse_path(way, &self.sender.path()) {
            message.reverse_path = other;
        }
        let handoff = self.session.service.relay.begin((way.upstream.index(), mode(way)), message);
        handoff.map_or(Carriage::Lost, Carriage::Begun)
    }

    /// Recipients that were named and will stand, unless the upstream refuses them.
    fn pending(&self) -> usize {
        self.apart
            + match &self.carriage {
                Carriage::Begun(handoff) => handoff.pending(),
                Carriage::Waiting(_) | Carriage::Lost => 0,
            }
    }

    /// Answers every recipient that has no answer yet.
    pub(super) async fn settle(&mut self, conn: &mut Conn, data: DataFollows) {
        if self.slots.is_empty() {
            return;
        }
        let Some(handoff) = self.carriage.handoff() else {
            // Nobody was asked for.
            for slot in self.slots.drain(..) {
                let Slot::Refused(reply) = slot else { continue };
                self.open.count_recipient(false);
                conn.say(&reply);
            }
            return;
        };
        if handoff.pending() > 0 {
            handoff.ask(data).await;
        }
        let (mut asked, mut kept) = (handoff.answers(), handoff.kept_answers());
        self.apart = 0;
        for slot in self.slots.drain(..) {
            let answer = match &slot {
                Slot::Refused(reply) => Some((None, reply)),
                Slot::Apart => Some((None, Handoff::kept_apart())),
                Slot::Asked => asked.next().map(|(path, reply)| (Some(path), reply)),
                Slot::Kept => kept.next().map(|(path, reply)| (Some(path), reply)),
            };
            // One answer for each that was named. If that were ever not so, no client may wait for
            // ever for the one that is missing.
            let Some((path, reply)) = answer else {
                debug_assert!(false, "a recipient without an answer");
                conn.say(&NO_ANSWER);
                continue;
            };
            if let Some(path) = path {
                if !reply.is_positive() {
                    answer::log_recipient(self.session, self.open.hello(), handoff, path, reply);
                } else if let Some(fingerprinter) = &mut self.fingerprinter {
                    fingerprinter.recipient(path);
                }
            }
            self.open.count_recipient(reply.is_positive());
            conn.say(reply);
        }
        self.stall = conn.mark(handoff.client_stall());
    }
}

/// What policy calls a mode, as the relay calls it.
const fn mode(way: Way) -> gatepost_relay::Mode {
    match way.mode {
        Mode::Hybrid => gatepost_relay::Mode::Hybrid,
        Mode::Spool => gatepost_relay::Mode::Spool,
        Mode::Sync => gatepost_relay::Mode::Sync,
    }
}
