//! What holds for a session: its entry, a credential beside it, and what they say to a MAIL.

use std::sync::Arc;

use gatepost_policy::check::{self, Login, MailFacts};
use gatepost_policy::date::Moment;
use gatepost_policy::entry::{Entry, Standing, Terms};
use gatepost_policy::route::Routes;
use gatepost_policy::usage::Use;
use gatepost_smtp::command::{CommandError, Mail};
use gatepost_smtp::reply::Reply;
use gatepost_smtp::server::Hello;

use super::{Session, Stranger, write_down};
use crate::admission::{self, Readmitted};
use crate::answer;
use crate::shadow::Record;
use crate::tls;

impl Session {
    /// The terms that hold for its client: of its entry, and of a credential that is used beside it.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        std::iter::once(&*self.entry).chain(self.beside())
    }

    pub(crate) fn terms(&self) -> impl Iterator<Item = &Terms> {
        self.entries().map(Entry::terms)
    }

    /// The terms of a credential that is used beside the entry.
    pub(crate) fn beside(&self) -> Option<&Entry> {
        self.login.as_ref()?.credential.beside(&self.entry)
    }

    /// Counts what its client did for its entry, and for its credential.
    pub(crate) fn count(&self, what: Use) {
        for entry in self.entries() {
            entry.state().usage().count(what, self.client, self.unix_seconds);
        }
    }

    /// Looks the entry up again if the ruleset has changed since. The routes are those of the ruleset
    /// that decides about this message.
    pub(super) fn refresh(&mut self, moment: Moment) -> Result<Arc<Routes>, Reply> {
        loop {
            let ruleset = self.service.policy.load();
            if ruleset.generation().number() == self.generation.number() {
                return Ok(Arc::clone(ruleset.routes()));
            }
            drop(ruleset);
            let login = self.login.as_ref().map(|login| &*login.credential);
            let (policy, listener) = (&self.service.policy, &self.listener.config);
            match admission::readmit(policy, listener, (self.client, login), moment) {
                Ok(readmitted) => self.go_on_as(readmitted),
                Err(refused) => {
                    let reply = refused.refusal.reply.clone();
                    let stranger = Stranger { id: self.id, client: self.client, refused };
                    write_down(&self.service, &self.listener, &stranger, moment);
                    return Err(reply);
                }
            }
        }
    }

    fn go_on_as(&mut self, readmitted: Readmitted) {
        let Readmitted { entry, credential, generation } = readmitted;
        self.connection = self.connection.take().map(|held| entry.adopt(held));
        if let (Some(login), Some(credential)) = (&mut self.login, credential) {
            // A client that was on no list had only the one that is the entry's from here on.
            let held = login.connection.take();
            login.connection = credential.beside(&entry).and_then(|beside| match held {
                Some(held) => Some(beside.adopt(held)),
                None => beside.join(),
            });
            login.credential = credential;
        }
        (self.entry, self.generation) = (entry, generation);
    }

    /// The checks at MAIL.
    pub(super) fn judge(
        &self,
        mail: &Mail<'_>,
        hello: &Hello,
        moment: Moment,
    ) -> Result<Record<'_>, Reply> {
        let wants_dsn = mail.dsn.parameters().next().is_some();
        if mail.auth && !self.understands_auth() || wants_dsn && !self.offers_dsn() {
            return Err(CommandError::Parameter.reply());
        }
        let names: Vec<&str> = self.tls.iter().flat_map(|tls| &tls.names).map(|it| &**it).collect();
        let facts = MailFacts {
            now: moment,
            generation: self.generation,
            tls: Some(tls::version(self.tls.as_deref())),
            certificate: Some(&names),
            login: Some(self.login.as_ref().map_or(Login::None, |it| Login::As(&it.credential))),
            helo: Some(hello.name.as_bytes()),
            sender: Some(mail.reverse_path),
            size: mail.size,
        };
        let tap = self.service.shadow.as_ref();
        let mut record =
            Record::begin(tap, self.listener.config.id, self.client, &self.entry, &facts);
        let metrics = &self.listener.metrics;
        if let Err(refusal) = check::mail(&self.entry, &facts) {
            metrics.verdicts.refused(&refusal);
            self.count(Use::Refusal);
            answer::log_mail(self, hello, mail, &refusal);
            record.refuse(&refusal);
            return Err(refusal.reply);
        }
        metrics.verdicts.mail_accepted.increment(1);
        for entry in self.entries() {
            if entry.terms().standing(moment) == Standing::Expired {
                self.warn_of_expiry(entry, moment);
            }
        }
        Ok(record)
    }

    /// Whether its client may ask to be told what became of a message: never of one that nobody
    /// keeps. The modes of a credential that is used beside the entry lead nowhere: what EHLO has
    /// offered stays offered.
    pub(crate) fn offers_dsn(&self) -> bool {
        self.entry.keeps_messages()
    }

    /// Recipients of a transaction, where the entry or the credential has a limit of its own.
    pub(super) fn told_recipients_max(&self) -> Option<u32> {
        let told = self.terms().filter(|terms| terms.tells_max_recipients);
        told.map(|terms| terms.max_recipients).min()
    }

    /// Whether MAIL may have AUTH= (RFC 4954 §5): it says nothing to anybody here, and where AUTH is
    /// not offered it is a parameter like any that is not.
    fn understands_auth(&self) -> bool {
        let tls = Some(tls::version(self.tls.as_deref()));
        let offered = check::auth(self.listener.config.auth, Some(&self.entry), tls);
        self.login.is_some() || offered.is_ok()
    }

    /// An entry that has expired and goes on, as it is told to.
    fn warn_of_expiry(&self, entry: &Entry, moment: Moment) {
        self.listener.metrics.verdicts.expired.increment(1);
        if entry.state().is_time_to_tell(moment.uptime) {
            tracing::warn!(
                entry = &**entry.id(),
                "the entry has expired and is still in use; renew it, or let it end"
            );
        }
    }
}
