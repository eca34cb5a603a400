//! The recipients of a hand-over: named one by one, asked for in groups.

use std::time::Duration;

use gatepost_delivery::{Answers, DataFollows, Paths, Transaction, Trouble};
use gatepost_smtp::client::MailParameters;
use gatepost_smtp::extension::Capabilities;
use gatepost_smtp::reply::Reply;

use super::{Handoff, Link};
use crate::trouble::Stage;

const TOO_LARGE_UPSTREAM: Reply =
    Reply::fixed(552, (5, 3, 4), "the message is larger than the upstream takes");
const TOO_MANY_RECIPIENTS: Reply = Reply::fixed(
    452,
    (4, 5, 3),
    "too many recipients for the upstream, send the others separately",
);
const UTF8_RECIPIENT_REFUSED: Reply =
    Reply::fixed(553, (5, 6, 7), "the upstream does not take addresses that are not ASCII");
const UTF8_SENDER_REFUSED: Reply =
    Reply::fixed(550, (5, 6, 7), "the upstream does not take addresses that are not ASCII");

impl Handoff {
    /// Names a recipient, for the next [`Handoff::ask`].
    ///
    /// `dsn` is NOTIFY and ORCPT as the client has sent them, each with a space in front. Waits only
    /// while the upstream may be given no more recipients.
    pub async fn name(&mut self, forward_path: &[u8], dsn: &[u8]) -> Result<(), Reply> {
        let most =
            self.outlet.upstream.config().max_recipients.map_or(usize::MAX, |most| most as usize);
        if self.accepted.len() + self.pending.len() >= most {
            return Err(TOO_MANY_RECIPIENTS);
        }
        // While the upstream rests nobody is asked: an outage must not use up the quota of a day.
        if matches!(self.link, Link::Unopened)
            && let Some(trouble) = self.outlet.upstream.resting()
        {
            self.link = Link::Closed(self.unreachable(&trouble));
        }
        // What is given up is not asked of the upstream any more, and so not counted.
        if !matches!(self.link, Link::Closed(_)) {
            let (upstream, entry) = (&self.outlet.upstream, &self.message.entry);
            upstream.take_recipient(entry, &mut self.patience).await.map_err(too_fast)?;
        }
        self.pending.push(forward_path, dsn);
        Ok(())
    }

    /// How many recipients were named and not yet asked for.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Asks the upstream for the recipients that were named, all at once. The first call opens the
    /// transaction.
    pub async fn ask(&mut self, data: DataFollows) {
        self.replies.clear();
        if !matches!(self.link, Link::Closed(_)) {
            self.reason = None;
        }
        self.asked.truncate(0);
        std::mem::swap(&mut self.pending, &mut self.asked);
        let asked = match std::mem::replace(&mut self.link, Link::Unopened) {
            Link::Closed(reply) => Err(reply),
            Link::Unopened => self.open(data).await,
            Link::Open(transaction) => self.ask_on(transaction, data).await,
        };
        self.link = match asked {
            Ok(transaction) => Link::Open(transaction),
            Err(reply) => {
                self.replies.clear();
                self.replies.resize(self.asked.len(), reply.clone());
                Link::Closed(reply)
            }
        };
    }

    /// The recipients that were asked for last, and the upstream's word on each.
    pub fn answers(&self) -> impl Iterator<Item = (&[u8], &Reply)> {
        self.asked.iter().zip(&self.replies)
    }

    /// Opens the transaction, on a new connection if a reused one turns out dead before anything
    /// was accepted on it.
    async fn open(&mut self, data: DataFollows) -> Result<Transaction, Reply> {
        let leased = self.outlet.upstream.checkout(&self.message.entry).await;
        let mut lease = leased.map_err(|trouble| self.unreachable(&trouble))?;
        loop {
            if let Some(reply) = lease.capabilities().and_then(|offered| self.mismatch(offered)) {
                lease.release();
                return Err(reply);
            }
            self.asked_before = 0;
            let mut transaction = Transaction::begin(lease, &self.mail_parameters());
            let exchanged = self.exchange(&mut transaction, data).await;
            let is_over = |reply: &Reply| self.outlet.is_leaving(Stage::Mail, reply);
            let dead = exchanged.is_err() || self.answers.mail.as_ref().is_some_and(is_over);
            if dead && transaction.is_reused() && !self.answers.any_positive() {
                lease = transaction.reopen().await.map_err(|trouble| self.unreachable(&trouble))?;
                continue;
            }
            exchanged.map_err(|trouble| self.cut_short(&trouble))?;
            return self.conclude(transaction);
        }
    }

    async fn ask_on(
        &mut self,
        mut transaction: Transaction,
        data: DataFollows,
    ) -> Result<Transaction, Reply> {
        let exchanged = self.exchange(&mut transaction, data).await;
        exchanged.map_err(|trouble| self.cut_short(&trouble))?;
        self.conclude(transaction)
    }

    /// Asks for what is pending, less what the upstream cannot even be asked for.
    async fn exchange(
        &mut self,
        transaction: &mut Transaction,
        data: DataFollows,
    ) -> Result<(), Trouble> {
        self.answers = Answers::default();
        let askable = || Askable::new(&transaction.capabilities(), self.asked_before);
        let mut all = askable();
        if self.asked.iter().all(|path| all.refusal(path).is_none()) {
            return transaction.exchange(&self.asked, data, &mut self.answers).await;
        }
        let mut some = askable();
        let recipients = self.asked.with_parameters();
        let sayable: Paths = recipients.filter(|(path, _)| some.refusal(path).is_none()).collect();
        transaction.exchange(&sayable, data, &mut self.answers).await
    }

    /// Turns the upstream's answers into replies. If it refused MAIL, that is its word on every
    /// recipient, because our own 250 to MAIL is already given.
    fn conclude(&mut self, transaction: Transaction) -> Result<Transaction, Reply> {
        if let Some(reply) = self.answers.mail.as_ref().filter(|reply| !reply.is_positive()) {
            let reply = self.outlet.hear(Stage::Mail, reply);
            transaction.abandon();
            return Err(reply);
        }
        let mut askable = Askable::new(&transaction.capabilities(), self.asked_before);
        let mut answers = self.answers.recipients.drain(..);
        for (path, dsn) in self.asked.with_parameters() {
            if let Some(refusal) = askable.refusal(path) {
                self.replies.push(refusal);
                continue;
            }
            // One answer for each that was asked for, or the exchange would have failed.
            let Some(reply) = answers.next() else { break };
            self.asked_before = self.asked_before.saturating_add(1);
            if reply.is_positive() {
                self.accepted.push(path, dsn);
                self.replies.push(reply.with_status());
            } else {
                self.replies.push(self.outlet.hear(Stage::Recipient, &reply));
            }
        }
        drop(answers);
        Ok(transaction)
    }

    fn mail_parameters(&self) -> MailParameters<'_> {
        MailParameters {
            reverse_path: &self.message.reverse_path,
            size: self.size_upstream(),
            body: self.message.body,
            smtputf8: self.message.smtputf8,
            dsn: &self.message.dsn,
        }
    }

    /// The declared size with the line that is put in front (RFC 1870 §6.4).
    fn size_upstream(&self) -> Option<u64> {
        self.message.size.map(|octets| octets.saturating_add(self.message.received.len() as u64))
    }

    /// Why the upstream cannot take this transaction, whatever it would say to it.
    fn mismatch(&self, offered: &Capabilities) -> Option<Reply> {
        if self.size_upstream().is_some_and(|octets| offered.refuses_size(octets)) {
            return Some(TOO_LARGE_UPSTREAM);
        }
        let unsayable = !offered.smtputf8 && !self.message.reverse_path.is_ascii();
        unsayable.then_some(UTF8_SENDER_REFUSED)
    }

    fn unreachable(&mut self, trouble: &Trouble) -> Reply {
        self.outlet.metrics.unreachable.increment(1);
        self.reason = Some(trouble.to_string().into());
        tracing::debug!(upstream = self.outlet.name(), %trouble, "no connection to the upstream");
        self.outlet.miss(trouble)
    }

    /// An exchange came to no end. An upstream that has said why before it closed is believed.
    fn cut_short(&mut self, trouble: &Trouble) -> Reply {
        let said = match (&self.answers.mail, self.answers.recipients.last()) {
            (Some(mail), _) if !mail.is_positive() => Some((Stage::Mail, mail)),
            (_, Some(last)) if self.outlet.is_leaving(Stage::Recipient, last) => {
                Some((Stage::Recipient, last))
            }
            _ => None,
        };
        if let Some((stage, reply)) = said {
            return self.outlet.hear(stage, reply);
        }
        self.troubled(trouble)
    }
}

/// What an upstream can be asked for at all, by what it has said of itself.
struct Askable {
    smtputf8: bool,
    /// Recipients that it still takes (RFC 9422 §4.2).
    room: u32,
}

impl Askable {
    fn new(offered: &Capabilities, asked_before: u32) -> Self {
        let most = offered.limits.recipients.unwrap_or(u32::MAX);
        Self { smtputf8: offered.smtputf8, room: most.saturating_sub(asked_before) }
    }

    /// Why the next recipient of a group is not even asked for. One that is takes room.
    fn refusal(&mut self, path: &[u8]) -> Option<Reply> {
        if !self.smtputf8 && !path.is_ascii() {
            return Some(UTF8_RECIPIENT_REFUSED);
        }
        match self.room.checked_sub(1) {
            Some(room) => self.room = room,
            None => return Some(TOO_MANY_RECIPIENTS),
        }
        None
    }
}

/// More than the upstream may be given. Seconds are rounded up: who waits as long is not early.
fn too_fast(wait: Duration) -> Reply {
    let seconds = wait.as_nanos().div_ceil(1_000_000_000);
    let text = format!("the upstream may be given no more recipients now, retry in {seconds} s");
    Reply::new(450, (4, 7, 1), text)
}
