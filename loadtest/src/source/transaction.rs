//! One mail transaction (RFC 5321 §3.3): MAIL, RCPT, and the content with DATA or with BDAT.
//!
//! A refusal leaves the connection ready for the next transaction; anything that is not a reply, and
//! 421, ends it. A message counts as accepted only if all its recipients were accepted and its content
//! too.

use std::io::IoSlice;

use super::connection::{Connection, accepted, malformed};
use super::message::{Content, Message, NUMBER_DIGITS};
use super::options::{Framing, Pipelining};
use super::phase::{Laps, Phase};
use super::plan::Plan;
use super::reply::Reply;
use super::tally::{Stage, Trouble};

/// Chunks whose replies are still to come when chunks are pipelined (RFC 3030 §4.2): their replies fit
/// into any socket buffer, so that no side waits for the other to read.
const CHUNKS_UNDER_WAY_MAX: usize = 32;

/// What is sent in one transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mail<'a> {
    pub(super) message: &'a Message,
    pub(super) number: &'a [u8; NUMBER_DIGITS],
    pub(super) recipients: u32,
}

/// The replies to MAIL and RCPT, and to DATA if it was sent.
#[derive(Debug, Default)]
struct EnvelopeReplies {
    first_refusal: Option<Trouble>,
    mail_accepted: bool,
    recipients_accepted: usize,
    data_accepted: bool,
}

impl Connection {
    /// Sends one message.
    pub(super) async fn send(
        &mut self,
        plan: &Plan,
        mail: Mail<'_>,
        laps: &mut Laps,
    ) -> Result<(), Trouble> {
        self.sent += 1;
        let mut replies = match plan.options.pipelining {
            Pipelining::Off => self.send_envelope_in_turn(plan, mail, laps).await?,
            Pipelining::On => self.send_envelope_as_group(plan, mail, laps).await?,
        };
        let content = mail.message.content(mail.number);
        let recipients_accepted = replies.recipients_accepted > 0;
        match plan.options.framing {
            Framing::Data if replies.data_accepted => {
                // A server may say 354 although it refused every recipient; it gets a lone dot, so
                // that nothing is delivered (RFC 2920 §3.1).
                if recipients_accepted {
                    self.write_slices(Stage::Content, &mut content.slices()).await?;
                } else {
                    self.write(Stage::Content, b".\r\n").await?;
                }
                replies.take(Stage::Content, self.reply(Stage::Content).await?)?;
            }
            Framing::Bdat { chunk_octets } if recipients_accepted => {
                self.send_chunks(plan.options.pipelining, chunk_octets, &content, &mut replies)
                    .await?;
            }
            _ if replies.mail_accepted => self.reset().await?,
            _ => {}
        }
        laps.mark(Phase::Content);
        // Without a refusal everything was sent and accepted.
        replies.first_refusal.map_or(Ok(()), Err)
    }

    async fn send_envelope_in_turn(
        &mut self,
        plan: &Plan,
        mail: Mail<'_>,
        laps: &mut Laps,
    ) -> Result<EnvelopeReplies, Trouble> {
        let mut replies = EnvelopeReplies::default();
        self.write(Stage::Mail, mail.message.mail(self.takes_size)).await?;
        replies.take_mail(self.reply(Stage::Mail).await?)?;
        laps.mark(Phase::Mail);
        if !replies.mail_accepted {
            return Ok(replies);
        }
        for recipient in plan.recipients.each(mail.recipients) {
            self.write(Stage::Rcpt, recipient).await?;
            replies.take_rcpt(self.reply(Stage::Rcpt).await?)?;
        }
        laps.mark(Phase::Rcpt);
        if replies.recipients_accepted > 0 && plan.options.framing == Framing::Data {
            self.write(Stage::Data, b"DATA\r\n").await?;
            replies.take_data(self.reply(Stage::Data).await?)?;
            laps.mark(Phase::Data);
        }
        Ok(replies)
    }

    async fn send_envelope_as_group(
        &mut self,
        plan: &Plan,
        mail: Mail<'_>,
        laps: &mut Laps,
    ) -> Result<EnvelopeReplies, Trouble> {
        let mut replies = EnvelopeReplies::default();
        let with_data = plan.options.framing == Framing::Data;
        let mut group = [
            mail.message.mail(self.takes_size),
            plan.recipients.group(mail.recipients),
            if with_data { b"DATA\r\n" } else { b"" },
        ]
        .map(IoSlice::new);
        self.write_slices(Stage::Mail, &mut group).await?;
        replies.take_mail(self.reply(Stage::Mail).await?)?;
        laps.mark(Phase::Mail);
        for _ in 0..mail.recipients {
            replies.take_rcpt(self.reply(Stage::Rcpt).await?)?;
        }
        laps.mark(Phase::Rcpt);
        if with_data {
            replies.take_data(self.reply(Stage::Data).await?)?;
            laps.mark(Phase::Data);
        }
        Ok(replies)
    }

    /// Sends content with BDAT (RFC 3030 §2). Behind a refused chunk the transaction is worth nothing:
    /// the rest is not sent, and the server forgets what it has.
    async fn send_chunks(
        &mut self,
        pipelining: Pipelining,
        chunk_octets: usize,
        content: &Content<'_>,
        replies: &mut EnvelopeReplies,
    ) -> Result<(), Trouble> {
        let under_way_max = match pipelining {
            Pipelining::Off => 1,
            Pipelining::On => CHUNKS_UNDER_WAY_MAX,
        };
        let octets = content.octets();
        let (mut start, mut under_way, mut refused) = (0, 0, false);
        while under_way > 0 || (start < octets && !refused) {
            if start < octets && !refused && under_way < under_way_max {
                let length = chunk_octets.min(octets - start);
                let last = if start + length == octets { " LAST" } else { "" };
                let command = format!("BDAT {length}{last}\r\n");
                let mut chunk = content.chunk(command.as_bytes(), start, length);
                self.write_slices(Stage::Content, &mut chunk).await?;
                start += length;
                under_way += 1;
            } else {
                refused |= !replies.take(Stage::Content, self.reply(Stage::Content).await?)?;
                under_way -= 1;
            }
        }
        if refused { self.reset().await } else { Ok(()) }
    }

    async fn reset(&mut self) -> Result<(), Trouble> {
        self.write(Stage::Reset, b"RSET\r\n").await?;
        self.accepted_reply(Stage::Reset).await.map(drop)
    }
}

impl EnvelopeReplies {
    fn take_mail(&mut self, reply: Reply<'_>) -> Result<(), Trouble> {
        self.mail_accepted = self.take(Stage::Mail, reply)?;
        Ok(())
    }

    fn take_rcpt(&mut self, reply: Reply<'_>) -> Result<(), Trouble> {
        self.recipients_accepted += usize::from(self.take(Stage::Rcpt, reply)?);
        Ok(())
    }

    fn take_data(&mut self, reply: Reply<'_>) -> Result<(), Trouble> {
        if !reply.is_refusal() && reply.code != 354 {
            return Err(malformed(
                Stage::Data,
                "a reply to DATA that is neither 354 nor a refusal",
            ));
        }
        self.data_accepted = self.take(Stage::Data, reply)?;
        Ok(())
    }

    /// True if the reply accepts. Only the first refusal is kept: the others follow from it. A 421
    /// is the end of everything.
    fn take(&mut self, stage: Stage, reply: Reply<'_>) -> Result<bool, Trouble> {
        match accepted(stage, reply) {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.ends_connection() => Err(refusal),
            Err(refusal) => {
                self.first_refusal.get_or_insert(refusal);
                Ok(false)
            }
        }
    }
}
