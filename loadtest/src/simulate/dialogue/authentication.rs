//! AUTH (RFC 4954), up to whether the provider knows the credentials.

use tokio::time::Instant;

use super::{Dialogue, Framed, Hello, Phase, Step, frame};
use crate::simulate::judge::Security;
use crate::simulate::limit::{Excess, Stage};
use crate::simulate::login::{self, Credentials, Exchange, Outcome};
use crate::simulate::provider::{Admission, Mechanism};
use crate::simulate::record::{Rule, ViolationKind};

impl Dialogue<'_> {
    pub(super) fn take_auth(
        &mut self,
        line: &[u8],
        (mechanism, initial_response): (&str, Option<&str>),
        output: &mut Vec<u8>,
        now: Instant,
    ) -> Step {
        let words = self.words();
        if self.client.security == Security::Plain {
            self.violate(ViolationKind::CredentialsInClear, line);
        }
        if !self.offers("AUTH") || self.client.account.is_some() || self.transaction.is_some() {
            let kind = match self.hello {
                Hello::Forgotten => ViolationKind::NoHelloAfterTls,
                Hello::Ehlo if !self.offers("AUTH") => ViolationKind::ExtensionNotOffered,
                _ => ViolationKind::OutOfSequence,
            };
            self.violate(kind, line);
            self.refuse(Rule::Syntax, words.sequence, output);
            return Step::Continue;
        }
        let description = self.shared.plan.description;
        let known = Mechanism::from_name(mechanism);
        let Some(mechanism) = known.filter(|known| description.mechanisms.contains(known)) else {
            self.refuse(Rule::Mechanism, words.mechanism_refused, output);
            return Step::Continue;
        };
        for (bound, most) in self.shared.plan.bounds(Stage::Login) {
            if self.shared.ledger().is_used_up(bound.limit, most, now)
                && let Excess::Close(words) | Excess::Refuse(words) = bound.excess
            {
                self.refuse(bound.limit.into(), words, output);
                return Step::Close;
            }
        }
        self.go_on(login::start(mechanism, initial_response), output, now)
    }

    pub(super) fn take_response(
        &mut self,
        exchange: Exchange,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> (usize, Step) {
        match frame(input) {
            Framed::Partial => {
                self.phase = Phase::Login(exchange);
                (0, Step::ReadMore)
            }
            Framed::TooLong => (input.len(), self.refuse_endless(b"AUTH", output)),
            Framed::Line(line, used) => {
                if used < input.len() {
                    self.violate(ViolationKind::Pipelined, b"AUTH");
                }
                (used, self.go_on(exchange.take(line), output, Instant::now()))
            }
        }
    }

    fn go_on(&mut self, outcome: Outcome, output: &mut Vec<u8>, now: Instant) -> Step {
        let words = self.words();
        let (username, opened) = match outcome {
            Outcome::Ask(exchange, challenge) => {
                self.say(output, challenge);
                self.phase = Phase::Login(exchange);
                return Step::Continue;
            }
            Outcome::Malformed => {
                self.violate(ViolationKind::Malformed, b"AUTH");
                self.refuse(Rule::Credentials, words.arguments, output);
                return Step::Continue;
            }
            Outcome::Done(Credentials::Password { username, password }) => {
                let opened = self.shared.plan.opens(&username, &password);
                (username, opened)
            }
            Outcome::Done(Credentials::Token { username, token }) => {
                let known = self.shared.plan.has_account(&username);
                (username, known && self.shared.tokens.accepts(&token, now))
            }
        };
        if !opened {
            self.refuse(Rule::Credentials, words.login_failed, output);
            return Step::Continue;
        }
        let by_address = self.shared.plan.description.admission == Admission::LoginFromAddress;
        if by_address && !self.shared.plan.lists(self.client.address) {
            self.refuse(Rule::Address, words.address_refused, output);
            return Step::Close;
        }
        self.shared.ledger().log_in(&username, self.number);
        self.shared.notebook.note(|record| record.logins += 1);
        self.client.account = Some(username);
        self.say(output, words.logged_in);
        Step::Continue
    }
}
