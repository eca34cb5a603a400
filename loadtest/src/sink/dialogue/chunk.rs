//! Content in chunks (RFC 3030): BDAT, and so many octets behind it.
//!
//! The octets are taken whether or not the command was in order: what follows a chunk must never be
//! content that is taken for a command.

use std::mem;

use super::{Dialogue, More, State, Step};
use crate::sink::transaction::Transaction;
use crate::sink::{Chunking, reply};

impl<'a> Dialogue<'a> {
    /// A chunk follows, whether or not it is in order (RFC 3030 §2).
    pub(super) fn take_bdat(&mut self, octets: u64, last: bool, output: &mut Vec<u8>) -> Step<'a> {
        if self.shared.options.chunking == Chunking::Hidden {
            self.reply(reply::UNKNOWN_COMMAND, output);
            return Step::Continue;
        }
        match mem::replace(&mut self.state, State::Ready) {
            State::Envelope(transaction) | State::Chunks(transaction)
                if transaction.recipients() > 0 =>
            {
                let more = if last { More::Nothing } else { More::Chunks };
                self.state = State::Chunk(transaction, octets, more);
            }
            state => {
                self.state = state;
                self.unwanted = Some(octets);
            }
        }
        Step::Continue
    }

    pub(super) fn take_chunk(
        &mut self,
        mut transaction: Transaction,
        (left, more): (u64, More),
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> (usize, Step<'a>) {
        let used = within(left, input);
        transaction.take_chunk(&input[..used], self.shared.options.size_max);
        let left = left - used as u64;
        if left > 0 {
            self.state = State::Chunk(transaction, left, more);
            return (used, Step::ReadMore);
        }
        if more == More::Nothing {
            return (used, self.finish_message(transaction, output));
        }
        if transaction.octets() > self.shared.options.size_max {
            self.reply(reply::TOO_BIG, output);
        } else {
            self.state = State::Chunks(transaction);
            self.reply(reply::OK, output);
        }
        (used, Step::Continue)
    }

    /// Reads what nobody wants to its end, and says so.
    pub(super) fn pass_over(
        &mut self,
        left: u64,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> (usize, Step<'a>) {
        let used = within(left, input);
        let left = left - used as u64;
        if left > 0 {
            self.unwanted = Some(left);
            return (used, Step::ReadMore);
        }
        self.unwanted = None;
        self.reply(reply::BAD_SEQUENCE, output);
        (used, Step::Continue)
    }
}

/// How much of the input belongs to what is left of a chunk.
fn within(left: u64, input: &[u8]) -> usize {
    usize::try_from(left).map_or(input.len(), |left| left.min(input.len()))
}
