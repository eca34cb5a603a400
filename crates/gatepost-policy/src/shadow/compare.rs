//! One envelope, judged by a candidate.

use std::{sync::Arc, time::Duration};

use gatepost_smtp::path::ReversePath;

use super::{
    Envelope, Word,
    envelope::{Mail, Recipient, Refused},
    is_counted,
};
use crate::{
    check::{self, Check, Greeting, Login, MailFacts, RcptFacts, Refusal, Spend},
    credential::Credential,
    entry::Entry,
    route::Way,
    ruleset::Ruleset,
    site::{Site, UpstreamId},
};

/// An answer that would be another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    /// What the policy in use has said.
    pub from: Word,
    /// What the candidate would say.
    pub to: Word,
    /// Where the candidate would send the message, if that is [`Word::Elsewhere`].
    pub upstream: Option<Arc<str>>,
    /// What refuses: of the candidate, else of the policy in use.
    pub check: Option<Check>,
    /// The candidate's entry.
    pub candidate_entry: Option<Arc<str>>,
    /// The first recipient that it concerns; none if it is the connection or MAIL.
    pub recipient: Option<Box<[u8]>>,
    /// How many recipients it concerns.
    pub recipients: u32,
    /// The policy in use, in words.
    pub active: String,
    /// The candidate, in words: the reply to a client that it refuses.
    pub candidate: String,
}

/// The answers to an envelope that a candidate, compiled for the same site, would flip: each kind
/// once. What comes after a refusal, of either of the two, is not compared.
pub fn compare(candidate: &Ruleset, envelope: &Envelope) -> Vec<Flip> {
    if !envelope.is_comparable() {
        return Vec::new();
    }
    let login = envelope.login().and_then(|name| candidate.credential_of(envelope.listener, name));
    let login = login.map(|credential| &**credential);
    let (entry, judged) = before_recipients(candidate, envelope, login);
    let mut comparison = Comparison { site: candidate.site(), entry, login, flips: Vec::new() };
    let said = envelope.refused.map_or(Ok(None), Err);
    match (said, judged) {
        (Ok(_), Ok(())) => comparison.recipients(candidate, envelope),
        (said, judged) => comparison.note(None, said, judged.map(|()| None)),
    }
    comparison.flips
}

/// What a candidate says to a connection and to MAIL.
///
/// An open session was greeted before, perhaps under another policy: what counts is what it would
/// have come to by now.
///
/// Whoever has authenticated is taken to have the same password there. Who has not is not asked why,
/// perhaps it was never offered, unless that is what it was refused for.
fn before_recipients(
    candidate: &Ruleset,
    envelope: &Envelope,
    login: Option<&Credential>,
) -> (Option<Arc<Entry>>, Result<(), Refusal>) {
    let greeting = check::greet(candidate, envelope.listener, envelope.client, envelope.now);
    let entry = match (greeting, login) {
        (Greeting::Refused(entry, refusal), _) => return (entry, Err(refusal)),
        (Greeting::Allowed(entry), None) if envelope.login().is_some() => {
            return (Some(entry), Err(check::auth_failed()));
        }
        (Greeting::Allowed(entry), _) => entry,
        (Greeting::Authenticate, Some(credential)) => Arc::clone(credential.entry()),
        (Greeting::Authenticate, None) if envelope.login().is_some() => {
            return (None, Err(check::auth_failed()));
        }
        (Greeting::Authenticate, None) => return (None, Err(check::unauthenticated())),
    };
    let judged = mail(candidate, &entry, envelope, login);
    (Some(entry), judged)
}

/// The checks at MAIL, as far as what they look at is known: a client that was refused with the
/// greeting has said nothing yet.
fn mail(
    candidate: &Ruleset,
    entry: &Entry,
    envelope: &Envelope,
    login: Option<&Credential>,
) -> Result<(), Refusal> {
    let mail = envelope.mail.as_ref();
    let names = mail.and_then(|mail| mail.certificate.as_deref());
    let names: Option<Vec<&str>> = names.map(|names| names.iter().map(|name| &**name).collect());
    let facts = MailFacts {
        now: envelope.now,
        generation: candidate.generation(),
        tls: mail.and_then(|mail| mail.tls),
        certificate: names.as_deref(),
        login: login.map(Login::As).or_else(|| {
            let refused = envelope.refused.filter(|it| it.check == Check::Authentication);
            refused.map(|_| Login::None)
        }),
        helo: mail.and_then(|mail| mail.helo.as_deref()),
        sender: mail.and_then(Mail::sender),
        size: mail.and_then(|mail| mail.size),
    };
    Check::AT_MAIL
        .into_iter()
        .filter(|check| !is_counted(*check) && facts.knows(*check))
        .flat_map(|check| {
            [Some(entry), facts.beside(entry)].into_iter().flatten().map(move |of| (check, of))
        })
        .try_for_each(|(check, of)| check::judge_mail(check, of, &facts, Spend::Look(0)))
}

struct Comparison<'c> {
    site: &'c Site,
    /// The candidate's.
    entry: Option<Arc<Entry>>,
    login: Option<&'c Credential>,
    flips: Vec<Flip>,
}

impl Comparison<'_> {
    fn recipients(&mut self, candidate: &Ruleset, envelope: &Envelope) {
        let (Some(entry), Some(sender)) =
            (self.entry.clone(), envelope.mail.as_ref().and_then(Mail::sender))
        else {
            return;
        };
        let beside = self.login.and_then(|credential| credential.beside(&entry));
        let mut asked =
            Asked { candidate, entry: &entry, beside, sender, more: 0, fewer: 0, way: None };
        for recipient in &envelope.recipients {
            if recipient.said.is_err_and(|refused| is_counted(refused.check)) {
                continue;
            }
            let Some(judged) = asked.judge(recipient) else { continue };
            let said = recipient.said.map(Some);
            self.note(Some(recipient), said, judged.map(|way| Some(way.upstream)));
        }
    }

    /// Keeps an answer if it would be another one.
    fn note(
        &mut self,
        recipient: Option<&Recipient>,
        said: Result<Option<UpstreamId>, Refused>,
        judged: Result<Option<UpstreamId>, Refusal>,
    ) {
        let from = said.map_or_else(|refused| refused.word, |_| Word::Accept);
        let to = match (&said, &judged) {
            (_, Err(refusal)) => Word::of(refusal),
            (Ok(one), Ok(other)) if one != other => Word::Elsewhere,
            _ => Word::Accept,
        };
        if from == to {
            return;
        }
        let upstream = match (to, &judged) {
            (Word::Elsewhere, Ok(way)) => self.upstream(*way).cloned(),
            _ => None,
        };
        let is_alike =
            |flip: &&mut Flip| (flip.from, flip.to, &flip.upstream) == (from, to, &upstream);
        if let Some(flip) = self.flips.iter_mut().find(is_alike) {
            flip.recipients += 1;
            return;
        }
        let check = judged.as_ref().err().map(|refusal| refusal.check);
        let flip = Flip {
            from,
            to,
            upstream,
            check: check.or(said.err().map(|refused| refused.check)),
            candidate_entry: self.entry.as_ref().map(|entry| Arc::clone(entry.id())),
            recipient: recipient.map(|recipient| recipient.octets.clone()),
            recipients: recipient.is_some().into(),
            active: match said {
                Ok(way) => self.accepted(way),
                Err(Refused { check, word }) => format!("{word} by check {}", check.name()),
            },
            candidate: match judged {
                Ok(way) => self.accepted(way),
                Err(refusal) => refusal.reply.to_string(),
            },
        };
        self.flips.push(flip);
    }

    fn accepted(&self, way: Option<UpstreamId>) -> String {
        let upstream = self.upstream(way).map(|name| format!(", to {name}"));
        format!("accept{}", upstream.unwrap_or_default())
    }

    fn upstream(&self, way: Option<UpstreamId>) -> Option<&Arc<str>> {
        self.site.upstream_name(way?)
    }
}

/// A transaction as it would be with the candidate.
struct Asked<'a> {
    candidate: &'a Ruleset,
    entry: &'a Entry,
    /// Of a credential that is used beside it.
    beside: Option<&'a Entry>,
    sender: ReversePath<'a>,
    /// Recipients that only the candidate accepts, and that only the policy in use does.
    more: u32,
    fewer: u32,
    /// The way of those that stand.
    way: Option<Way>,
}

impl Asked<'_> {
    /// What the candidate says to a recipient, and which way it would take.
    fn judge(&mut self, recipient: &Recipient) -> Option<Result<Way, Refusal>> {
        let path = recipient.path()?;
        let routes = self.candidate.routes();
        let named = (recipient.named + self.more).saturating_sub(self.fewer);
        let facts = RcptFacts {
            uptime: Duration::ZERO,
            generation: self.candidate.generation(),
            sender: self.sender,
            recipient: path,
            named,
            beside: self.beside,
            // As in a session: nobody has to be shared with while nobody stands.
            way: self.way.filter(|_| named > 0),
        };
        let way = routes.way(self.entry, &self.sender, &path);
        let judged =
            Check::AT_RCPT.into_iter().filter(|check| !is_counted(*check)).try_for_each(|check| {
                [Some(self.entry), self.beside].into_iter().flatten().try_for_each(|of| {
                    check::judge_rcpt(check, of, (routes, way), &facts, Spend::Look(0))
                })
            });
        match (&recipient.said, &judged) {
            (Ok(_), Err(_)) => self.fewer += 1,
            (Err(_), Ok(())) => self.more += 1,
            _ => {}
        }
        if judged.is_ok() {
            self.way = facts.way.or(way);
        }
        match judged {
            // Without a way the route was refused.
            Ok(()) => way.map(Ok),
            Err(refusal) => Some(Err(refusal)),
        }
    }
}
