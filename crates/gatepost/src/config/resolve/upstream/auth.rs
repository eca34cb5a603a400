//! `auth` of an upstream: which keys its mechanism needs, and which it has no use for.

use std::{fmt, path::Path, sync::Arc};

use gatepost_delivery::{Mechanism, TlsPolicy, TokenEndpoint};
use gatepost_policy::choice::Choices;
use toml::Spanned;

use super::super::values::{Item, Values, at};
use crate::config::{
    Auth, Proof,
    file::{AuthFile, Text},
};

const MECHANISMS: Choices<Mechanism> = &[
    ("plain", Some(Mechanism::Plain)),
    ("login", Some(Mechanism::Login)),
    ("xoauth2", Some(Mechanism::XOauth2)),
];
/// Octets of a name, as of any other name.
const USERNAME_OCTETS_MAX: usize = 255;

/// None: nobody logs in. `is_told` says that the policy itself was wrong, and was told.
pub(super) fn resolve(
    values: &mut Values<'_>,
    item: Item,
    written: Option<Spanned<AuthFile>>,
    (policy, is_told): (TlsPolicy, bool),
    base: &Path,
) -> Option<Auth> {
    let written = written?;
    let place = at(&written);
    if matches!(policy, TlsPolicy::None | TlsPolicy::Opportunistic) && !is_told {
        let message = "needs TLS that is certain, because a password is never sent in plain text; \
                       write tls = \"required\" or \"implicit\"";
        values.error(place, format_args!("{item}.auth"), message);
    }
    let table = Table { name: format!("{item}.auth"), at: place };
    let AuthFile {
        mechanism,
        username,
        password_file,
        token_endpoint,
        client_id,
        client_secret_file,
        scope,
    } = written.into_inner();
    let mend = "write mechanism = \"plain\", \"login\" or \"xoauth2\"";
    let key = table.key("mechanism");
    let mechanism = values.required(&key, place, mechanism, mend);
    let mechanism = values.choice(&key, mechanism, MECHANISMS)?;
    let username = table.username(values, username);
    let proof = match mechanism {
        Mechanism::Login | Mechanism::Plain => {
            let unused = [
                ("token_endpoint", token_endpoint),
                ("client_id", client_id),
                ("client_secret_file", client_secret_file),
                ("scope", scope),
            ];
            table.refuse(values, mechanism, &unused);
            let mend = "write the path of a file with the password in it, and nothing else";
            let file = base.join(&*table.text(values, "password_file", password_file, mend));
            Proof::Password { mechanism, file }
        }
        Mechanism::XOauth2 => {
            table.refuse(values, mechanism, &[("password_file", password_file)]);
            let mend = "write the path of a file with the client secret in it, and nothing else";
            let file = table.text(values, "client_secret_file", client_secret_file, mend);
            let mend = "write the id that the application is registered with";
            let client_id = table.text(values, "client_id", client_id, mend);
            Proof::Token {
                endpoint: table.endpoint(values, token_endpoint)?,
                client_id,
                client_secret: base.join(&*file),
                scope: scope.map(|scope| scope.into_inner().into()),
            }
        }
    };
    Some(Auth { username, proof })
}

struct Table {
    name: String,
    at: Option<usize>,
}

impl Table {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    fn text(&self, values: &mut Values<'_>, key: &str, written: Text, mend: &str) -> Arc<str> {
        let written = written.filter(|text| !text.get_ref().is_empty());
        let text = values.required(self.key(key), self.at, written, mend);
        text.map(Spanned::into_inner).unwrap_or_default().into()
    }

    fn username(&self, values: &mut Values<'_>, written: Text) -> Arc<str> {
        let place = written.as_ref().and_then(at);
        let mend = "write the name to log in with";
        let name = self.text(values, "username", written, mend);
        if name.len() > USERNAME_OCTETS_MAX || name.chars().any(char::is_control) {
            let message = format_args!(
                "must have at most {USERNAME_OCTETS_MAX} octets, none of them control"
            );
            values.error(place, self.key("username"), message);
        }
        name
    }

    /// None if it is wrong, and told.
    fn endpoint(&self, values: &mut Values<'_>, written: Text) -> Option<TokenEndpoint> {
        let written = written.filter(|text| !text.get_ref().is_empty());
        let key = self.key("token_endpoint");
        let mend = "write the URL of the token endpoint, https://…";
        let written = values.required(&key, self.at, written, mend)?;
        values.parsed(key, &written)
    }

    fn refuse(&self, values: &mut Values<'_>, mechanism: Mechanism, unused: &[(&str, Text)]) {
        for (key, written) in unused {
            if let Some(written) = written {
                let message: fmt::Arguments<'_> =
                    format_args!("has no effect with {mechanism}; leave it out");
                values.error(at(written), self.key(key), message);
            }
        }
    }
}
