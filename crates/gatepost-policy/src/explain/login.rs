//! What AUTH has to do with it.

use std::sync::Arc;

use super::{Admitted, Explanation, Outcome, Question, detail, words};
use crate::{
    check::{self, Check, Login, MailFacts, Refusal},
    credential::Credential,
    entry::{Authentication, Entry},
    ruleset::Ruleset,
    verdict::Verdict,
};

impl Explanation {
    /// The entry that holds, and the login beside it: what the greeting gives, and what a name does
    /// that was given. `None` ends the way.
    pub(super) fn tell_admission<'r>(
        &mut self,
        ruleset: &'r Ruleset,
        question: &Question<'_>,
    ) -> Option<(Arc<Entry>, Option<Login<'r>>)> {
        let entry = match self.tell_entry(ruleset, question) {
            Admitted::By(entry) => Some(entry),
            Admitted::ToAuthenticate => None,
            Admitted::No => return None,
        };
        let Some(username) = question.username else {
            if entry.is_none() {
                self.skip(Check::Authentication, "not given");
                self.verdict = Verdict::of_refusal(check::unauthenticated().reply);
            }
            return Some((entry?, None));
        };
        match authenticated(ruleset, entry.as_deref(), question, username) {
            Ok(credential) => {
                self.credential = Some((**credential.id()).into());
                self.push("credential", Outcome::Found, detail::summary(credential.entry()));
                let entry = entry.unwrap_or_else(|| {
                    self.entry.clone_from(&self.credential);
                    Arc::clone(credential.entry())
                });
                Some((entry, Some(Login::As(credential))))
            }
            Err(Refusal { check, reply }) => {
                self.push(check.name(), Outcome::Refused, words(&reply));
                self.verdict = Verdict::of_refusal(reply);
                None
            }
        }
    }
}

/// The credential of a name, whose password is taken to be right.
fn authenticated<'r>(
    ruleset: &'r Ruleset,
    entry: Option<&Entry>,
    question: &Question<'_>,
    username: &str,
) -> Result<&'r Arc<Credential>, Refusal> {
    let Question { listener, facts, .. } = question;
    check::auth(ruleset.site().auth(*listener), entry, facts.tls)?;
    let credential = ruleset.credential_of(*listener, username.as_bytes());
    credential.ok_or_else(check::auth_failed)
}

/// Whether it changes nothing if the client authenticates, so that nobody wants to read of it.
pub(super) fn is_no_matter(entry: &Entry, facts: &MailFacts<'_>) -> bool {
    facts.login.is_none() && entry.terms().authentication == Authentication::Bypass
}
