//! A message that comes in chunks and goes on in chunks (RFC 3030 §2).

use gatepost_smtp::bdat::{Chunk, Transparency};
use gatepost_smtp::reply::Reply;

use super::{Leg, Link};
use crate::trouble::Stage;

impl Leg {
    /// Whether the upstream takes chunks. One that is lost takes nothing, in either way.
    pub(crate) fn takes_chunks(&self) -> bool {
        matches!(&self.link, Link::Open(transaction) if transaction.capabilities().chunking)
    }

    /// Announces a chunk of the client's content. In front of the first goes what is put in front
    /// of the message. All of the chunk has to be handed on before the next one is begun.
    pub(crate) fn begin_chunk(&mut self, chunk: Chunk) {
        self.header.turn(Transparency::Plain);
        let Link::Open(transaction) = &mut self.link else { return };
        let front: &[u8] = if self.data_begun { b"" } else { &self.front };
        let octets = chunk.octets.saturating_add(front.len() as u64);
        match transaction.begin_chunk(Chunk { octets, ..chunk }) {
            Ok(()) => {
                transaction.prefix().extend_from_slice(front);
                self.data_begun = true;
            }
            Err(trouble) => {
                let reply = self.troubled(&trouble);
                self.close(reply);
            }
        }
    }

    /// The upstream's word on a chunk that is not the last; none, if nothing of it went there. An
    /// `Err` is its last word on the message: what follows is thrown away.
    pub(crate) async fn end_chunk(&mut self) -> Result<Option<Reply>, Reply> {
        let transaction = match &mut self.link {
            Link::Open(transaction) if transaction.owes_chunk() => transaction,
            Link::Open(_) | Link::Unopened => return Ok(None),
            Link::Closed(reply) => return Err(reply.clone()),
        };
        match transaction.end_chunk().await {
            Ok(reply) if reply.is_positive() => Ok(Some(reply.with_status())),
            Ok(reply) => {
                let said = self.outlet.hear(Stage::Data, &reply);
                let closed = Link::Closed(said.clone());
                if let Link::Open(transaction) = std::mem::replace(&mut self.link, closed) {
                    transaction.abandon();
                }
                Err(said)
            }
            Err(trouble) => {
                let reply = self.troubled(&trouble);
                Err(self.close(reply))
            }
        }
    }
}
