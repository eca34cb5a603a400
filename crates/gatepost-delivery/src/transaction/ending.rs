//! The way back from a transaction that was given up, and what becomes of its connection.

use gatepost_smtp::reply::Reply;

use super::{State, Transaction};
use crate::pool::Lease;
use crate::trouble::Trouble;

impl Transaction {
    /// After [`Transaction::finish`]: gives the connection back, or closes it if it is not in order.
    pub fn give_back(self) {
        match self.state {
            State::Ready(ready) => self.lease.give_back(ready),
            // The upstream has refused the last chunk, and may keep the envelope.
            State::Chunks(_) => self.abandon(),
            State::Envelope(_) | State::Body(_) | State::SentChunk(_) | State::Broken => {}
        }
    }

    /// Gives the transaction up before its data, and the connection back if it is in order. That
    /// takes a round trip which nobody has to wait for: it is a task of its own.
    pub fn abandon(self) {
        tokio::spawn(self.end());
    }

    /// Nothing was accepted on this connection and it is dead: the same transaction can have
    /// another, in the same slot.
    pub async fn reopen(self) -> Result<Lease, Trouble> {
        self.lease.reopen().await
    }

    async fn end(mut self) {
        let within = self.patience.closing;
        // With a recipient, a 354 leaves no way back but the data: it is not waited for.
        if let State::Envelope(envelope) = &self.state
            && envelope.data_owed()
            && (envelope.standing() > 0 || self.answer_to_data(within).await.is_err())
        {
            return;
        }
        let mut lease = self.lease;
        let stream = &mut lease.connection.stream;
        stream.within(within);
        let resetting = match self.state {
            State::Envelope(envelope) => match envelope.reset(stream.output()) {
                Ok(resetting) => resetting,
                Err(_) => return,
            },
            State::Chunks(chunks) => chunks.reset(stream.output()),
            // RFC 2920 §3.1: 354 after every recipient was refused is answered with a lone dot.
            State::Body(body) if body.standing() == 0 => {
                let last = body.lone_dot(stream.output());
                let Some(reply) = ask(&mut lease).await else { return };
                if let Ok(ready) = last.handle(&reply) {
                    keep(lease, ready, &reply);
                }
                return;
            }
            State::Ready(ready) => return lease.give_back(ready),
            State::Body(_) | State::SentChunk(_) | State::Broken => return,
        };
        let Some(reply) = ask(&mut lease).await else { return };
        if let Ok(ready) = resetting.handle(&reply) {
            keep(lease, ready, &reply);
        }
    }
}

async fn ask(lease: &mut Lease) -> Option<Reply> {
    lease.connection.expect_quiet().ok()?;
    lease.connection.stream.flush().await.ok()?;
    lease.connection.reply().await.ok()
}

/// Whether the upstream has said that it will close the connection (RFC 5321 §3.8).
pub(super) fn is_leaving(reply: &Reply) -> bool {
    reply.code().as_u16() == 421
}

/// Whether an upstream that has refused a chunk is not even asked to forget the message: it is
/// leaving, or it did not understand BDAT. Then it may have read the octets behind it as commands,
/// and what it says to them is not the answer to RSET.
pub(super) fn is_beyond_reset(reply: &Reply) -> bool {
    is_leaving(reply) || (500..=504).contains(&reply.code().as_u16())
}

/// Back into the pool, unless the upstream is leaving.
fn keep(lease: Lease, ready: gatepost_smtp::client::Ready, last: &Reply) {
    if !is_leaving(last) {
        lease.give_back(ready);
    }
}
