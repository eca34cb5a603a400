//! The content of a leg, up to the upstream's word on it.
//!
//! What must not be relayed is found here, whether the upstream still listens or not.

use bytes::Bytes;
use gatepost_delivery::{GoAhead, Sent, Unfinished};
use gatepost_smtp::reply::Reply;
use gatepost_smtp::server::replies::NO_VALID_RECIPIENTS;
use tokio::time::Instant;

use super::{Decided, Ending, Leg, Link, Refused};
use crate::id::Id;
use crate::outlet::Outlet;
use crate::trouble::Stage;

const EIGHT_BIT_REFUSED: Reply =
    Reply::fixed(554, (5, 6, 3), "the upstream does not take 8-bit content");
const EIGHT_BIT_HEADER_REFUSED: Reply =
    Reply::fixed(554, (5, 6, 9), "the upstream does not take a header that is not ASCII");
const LOOP: Reply =
    Reply::fixed(554, (5, 4, 6), "too many Received fields: the message goes in a loop");

impl Leg {
    /// What goes out in front of the content: to be said before there is any.
    pub(crate) fn put_in_front(&mut self, front: Bytes) {
        self.front = front;
    }

    /// Sends DATA, if it did not go with the recipients. Content may follow at once: if the upstream
    /// does not go on, that is heard there.
    pub(crate) async fn data(&mut self) -> Result<(), Reply> {
        match &mut self.link {
            Link::Open(transaction) => match transaction.data().await {
                Ok(()) => Ok(()),
                Err(trouble) => {
                    let reply = self.troubled(&trouble);
                    Err(self.close(reply))
                }
            },
            Link::Closed(reply) => Err(reply.clone()),
            // Who asked for nobody has nobody to send data to.
            Link::Unopened => Err(NO_VALID_RECIPIENTS),
        }
    }

    /// Sends content. After a failure it is thrown away, and [`Leg::finish`] says what happened.
    pub(crate) async fn content(&mut self, content: Bytes) {
        if self.inspect(&content) && self.go_ahead().await {
            let Link::Open(transaction) = &mut self.link else { return };
            match transaction.send(content).await {
                Ok(Sent::All) => {}
                Ok(Sent::Interrupted(reply)) => {
                    self.close(self.outlet.hear(Stage::Data, &reply));
                }
                Err(trouble) => {
                    let reply = self.troubled(&trouble);
                    self.close(reply);
                }
            }
        }
    }

    /// Sends the last octets, with the terminator or as the rest of the last chunk, and brings the
    /// upstream's word on the message back. After that the leg holds nothing of it.
    pub(crate) async fn finish(&mut self, last: Bytes) -> Ending {
        if self.inspect(&last) {
            self.go_ahead().await;
        }
        let Link::Open(transaction) = &mut self.link else {
            return match std::mem::replace(&mut self.link, Link::Unopened) {
                Link::Closed(reply) => self.refused(reply),
                Link::Unopened | Link::Open(_) => self.refused(NO_VALID_RECIPIENTS),
            };
        };
        let finished = {
            let dot = Instant::now();
            let mut cut_off = CutOff { outlet: &self.outlet, id: self.mail.id, armed: true };
            let finished = transaction.finish(last, self.terms.final_reply_timeout).await;
            cut_off.armed = false;
            self.outlet.metrics.duration.record(dot.elapsed());
            finished
        };
        if let Link::Open(transaction) = std::mem::replace(&mut self.link, Link::Unopened) {
            transaction.give_back();
        }
        self.end(finished)
    }

    /// DATA went out with recipients of whom none stands: ends the upstream's transaction. The next
    /// recipient begins a new one.
    pub(crate) fn withdraw_data(&mut self) {
        match std::mem::replace(&mut self.link, Link::Unopened) {
            Link::Open(transaction) => transaction.abandon(),
            link => self.link = link,
        }
    }

    /// Gives the transaction up before its data, and the connection back.
    pub(crate) fn abandon(self) {
        if let Link::Open(transaction) = self.link {
            transaction.abandon();
        }
    }

    /// What the upstream's last word means.
    fn end(&mut self, finished: Result<Reply, Unfinished>) -> Ending {
        let reply = match finished {
            Ok(reply) if reply.is_positive() => {
                self.outlet.accepted();
                return Ending::Accepted(reply.with_status());
            }
            Ok(reply) => self.outlet.hear(Stage::Data, &reply),
            Err(Unfinished::BeforeDot(trouble)) => self.troubled(&trouble),
            Err(Unfinished::AfterDot(trouble)) => {
                // RFC 1047: the message may have arrived. It will be sent again: taking it for
                // delivered could lose it.
                self.decided = Decided::Nobody;
                tracing::warn!(
                    upstream = self.outlet.name(),
                    id = %self.mail.id,
                    %trouble,
                    "the upstream fell silent after the end of data: the message may arrive twice"
                );
                self.troubled(&trouble)
            }
        };
        self.refused(reply)
    }

    /// Waits for the upstream's 354 before the first content. False if nothing may be sent.
    async fn go_ahead(&mut self) -> bool {
        let Link::Open(transaction) = &mut self.link else { return false };
        if self.data_begun {
            return true;
        }
        match transaction.go_ahead().await {
            Ok(GoAhead::Data) => {
                transaction.prefix().extend_from_slice(&self.front);
                self.data_begun = true;
                true
            }
            Ok(GoAhead::Refused(reply)) => {
                let said = self.outlet.hear(Stage::Data, &reply);
                if let Link::Open(transaction) =
                    std::mem::replace(&mut self.link, Link::Closed(said))
                {
                    transaction.abandon();
                }
                false
            }
            Err(trouble) => {
                let reply = self.troubled(&trouble);
                self.close(reply);
                false
            }
        }
    }

    /// Looks at content, whether it can be sent or not. False if it must not be.
    fn inspect(&mut self, content: &[u8]) -> bool {
        self.header.scan(content);
        if self.header.received() > self.terms.received_max {
            return self.find_unfit(LOOP);
        }
        let Link::Open(transaction) = &self.link else { return false };
        let offered = transaction.capabilities();
        if self.mail.smtputf8 && !offered.smtputf8 && self.header.eight_bit() {
            self.find_unfit(EIGHT_BIT_HEADER_REFUSED)
        } else if !offered.eight_bit_mime && !content.is_ascii() {
            self.find_unfit(EIGHT_BIT_REFUSED)
        } else {
            true
        }
    }

    fn find_unfit(&mut self, refusal: Reply) -> bool {
        self.decided = Decided::Here;
        self.close(refusal);
        false
    }

    fn refused(&mut self, reply: Reply) -> Ending {
        Ending::Refused(Refused { reply, reason: self.reason.take(), decided: self.decided })
    }
}

/// Tells of a message whose leg was cut off while its fate was in the upstream's hands.
struct CutOff<'a> {
    outlet: &'a Outlet,
    id: Id,
    armed: bool,
}

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.outlet.metrics.ambiguous.increment(1);
            tracing::warn!(
                upstream = self.outlet.name(),
                id = %self.id,
                "cut off before the upstream's word: the message may arrive twice"
            );
        }
    }
}
