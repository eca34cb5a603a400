//! The recipients of a leg: named one by one, asked for in groups.

use std::time::Duration;

use gatepost_delivery::{DataFollows, Paths, Transaction, Trouble};
use gatepost_smtp::client::MailParameters;
use gatepost_smtp::dsn::{Occasion, RcptDsn};
use gatepost_smtp::extension::Capabilities;
use gatepost_smtp::reply::Reply;

use super::{Asked, Leg, Link, TellsSuccess};
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

/// In mode sync nobody is offered to be told.
const SUCCESS_UNTOLD: Reply =
    Reply::fixed(451, (4, 3, 0), "the upstream tells nobody of success, try again later");

impl Leg {
    /// Names a recipient, for the next [`Leg::ask`].
    ///
    /// `dsn` is NOTIFY and ORCPT as the client has sent them, each with a space in front. Waits only
    /// while the upstream may be given no more recipients.
    pub(crate) async fn name(&mut self, forward_path: &[u8], dsn: &[u8]) -> Result<(), Reply> {
        // While the upstream rests nobody is asked: an outage must not use up the quota of a day.
        if matches!(self.link, Link::Unopened)
            && let Some(trouble) = self.outlet.upstream.resting()
        {
            self.link = Link::Closed(self.unreachable(&trouble));
        }
        // What is given up is not asked of the upstream any more: nobody is too many for it.
        if !matches!(self.link, Link::Closed(_)) {
            let (upstream, entry) = (&self.outlet.upstream, &self.mail.entry);
            let most = upstream.config().max_recipients.map_or(usize::MAX, |most| most as usize);
            if self.accepted.len() + self.pending.len() >= most {
                return Err(TOO_MANY_RECIPIENTS);
            }
            let taken = upstream.take_recipient(entry, &mut self.terms.patience).await;
            if let Err(wait) = taken {
                self.has_put_off = true;
                return Err(too_fast(wait));
            }
        }
        self.pending.push(forward_path, dsn);
        Ok(())
    }

    /// How many recipients were named and not yet asked for.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Asks the upstream for the recipients that were named, all at once. The first of them open the
    /// transaction.
    pub(crate) async fn ask(&mut self, data: DataFollows) {
        self.replies.clear();
        if !matches!(self.link, Link::Closed(_)) {
            self.reason = None;
        }
        self.asked.truncate(0);
        self.asked_are = Asked::Apart;
        std::mem::swap(&mut self.pending, &mut self.asked);
        if self.asked.is_empty() {
            return;
        }
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

    /// Says something else about recipients that were asked for last, where `other` does so.
    pub(crate) fn revise(
        &mut self,
        mut other: impl FnMut((&[u8], &[u8]), &Reply) -> Option<Reply>,
    ) {
        let mut replies = std::mem::take(&mut self.replies);
        for (recipient, reply) in self.asked().with_parameters().zip(&mut replies) {
            if let Some(other) = other(recipient, reply) {
                *reply = other;
            }
        }
        self.replies = replies;
    }

    /// The recipients that were asked for last, and the upstream's word on each.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (&[u8], &Reply)> {
        self.asked().iter().zip(&self.replies)
    }

    const fn asked(&self) -> &Paths {
        match self.asked_are {
            Asked::Apart => &self.asked,
            Asked::Accepted => &self.accepted,
        }
    }

    /// Opens the transaction, on a new connection if a reused one turns out dead before anything
    /// was accepted on it.
    async fn open(&mut self, data: DataFollows) -> Result<Transaction, Reply> {
        let leased = self.outlet.upstream.checkout(&self.mail.entry).await;
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
        self.answers.clear();
        let askable = || self.askable(&transaction.capabilities());
        let mut all = askable();
        if self.asked.with_parameters().all(|recipient| all.refusal(recipient).is_none()) {
            return transaction.exchange(&self.asked, data, &mut self.answers).await;
        }
        let mut some = askable();
        let recipients = self.asked.with_parameters();
        let sayable: Paths =
            recipients.filter(|&recipient| some.refusal(recipient).is_none()).collect();
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
        if self.all_are_accepted() {
            return Ok(transaction);
        }
        let mut askable = self.askable(&transaction.capabilities());
        let mut answers = self.answers.recipients.drain(..);
        for (path, dsn) in self.asked.with_parameters() {
            if let Some(refusal) = askable.refusal((path, dsn)) {
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
                let reply = self.outlet.hear(Stage::Recipient, &reply);
                self.has_put_off |= reply.is_transient();
                self.replies.push(reply);
            }
        }
        drop(answers);
        Ok(transaction)
    }

    /// Takes the answers over as they are, where the first group was asked for whole and is accepted
    /// whole. False if it is not so, and nothing is taken.
    fn all_are_accepted(&mut self) -> bool {
        let answers = &mut self.answers.recipients;
        let is_so = self.accepted.is_empty()
            && answers.len() == self.asked.len()
            && answers.iter().all(Reply::is_positive);
        if is_so {
            self.asked_before = self.asked_before.saturating_add(answers.len() as u32);
            answers.iter_mut().for_each(Reply::add_status);
            std::mem::swap(answers, &mut self.replies);
            std::mem::swap(&mut self.asked, &mut self.accepted);
            self.asked_are = Asked::Accepted;
        }
        is_so
    }

    fn askable(&self, offered: &Capabilities) -> Askable {
        let most = offered.limits.recipients.unwrap_or(u32::MAX);
        Askable {
            smtputf8: offered.smtputf8,
            success: offered.dsn || self.terms.success == TellsSuccess::Driver,
            room: most.saturating_sub(self.asked_before),
        }
    }

    fn mail_parameters(&self) -> MailParameters<'_> {
        MailParameters {
            reverse_path: &self.mail.reverse_path,
            size: self.mail.size,
            body: self.mail.body,
            smtputf8: self.mail.smtputf8,
            dsn: &self.mail.dsn,
        }
    }

    /// Why the upstream cannot take this transaction, whatever it would say to it.
    fn mismatch(&self, offered: &Capabilities) -> Option<Reply> {
        if self.mail.size.is_some_and(|octets| offered.refuses_size(octets)) {
            return Some(TOO_LARGE_UPSTREAM);
        }
        let unsayable = !offered.smtputf8 && !self.mail.reverse_path.is_ascii();
        unsayable.then_some(UTF8_SENDER_REFUSED)
    }

    fn unreachable(&mut self, trouble: &Trouble) -> Reply {
        self.outlet.metrics.unreachable.increment(1);
        self.is_unreached = true;
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
    /// Whether somebody tells of success where that is asked for.
    success: bool,
    /// Recipients that it still takes (RFC 9422 §4.2).
    room: u32,
}

impl Askable {
    /// Why the next recipient of a group is not even asked for. One that is takes room.
    fn refusal(&mut self, (path, dsn): (&[u8], &[u8])) -> Option<Reply> {
        if !self.smtputf8 && !path.is_ascii() {
            return Some(UTF8_RECIPIENT_REFUSED);
        }
        if !self.success && RcptDsn::kept(dsn).wants(Occasion::Success) {
            return Some(SUCCESS_UNTOLD);
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
