//! `canary` of an upstream: a message that the gateway itself sends through it now and then.

use std::{sync::Arc, time::Duration};

use gatepost_relay::CanaryConfig;
use gatepost_smtp::path::Mailbox;
use toml::Spanned;

use super::super::values::{Item, Values, at};
use crate::config::file::{CanaryFile, Text};

/// How often, if it is not written.
const EVERY: Duration = Duration::from_mins(15);
/// More often says nothing more, and is mail that somebody pays for.
const EVERY_MIN: Duration = Duration::from_mins(1);

/// None: none is sent.
pub(super) fn resolve(
    values: &mut Values<'_>,
    item: Item,
    written: Option<Spanned<CanaryFile>>,
) -> Option<CanaryConfig> {
    let written = written?;
    let place = at(&written);
    let CanaryFile { from, to, every } = written.into_inner();
    let every_at = every.as_ref().and_then(at);
    let key = format!("{item}.canary.every");
    let every = values.span(&*key, every, EVERY);
    if every < EVERY_MIN {
        values.error(every_at, key, "is too often; write \"1m\" or more");
    }
    Some(CanaryConfig {
        from: mailbox(values, (item, "from"), place, from),
        to: mailbox(values, (item, "to"), place, to),
        every,
    })
}

fn mailbox(
    values: &mut Values<'_>,
    (item, name): (Item, &str),
    table_at: Option<usize>,
    written: Text,
) -> Arc<str> {
    let key = format!("{item}.canary.{name}");
    let mend = "write a mailbox, like canary@example.com";
    let Some(written) = values.required(&key, table_at, written, mend) else {
        return "".into();
    };
    let text = written.get_ref().as_str();
    if !text.is_ascii() || Mailbox::parse(text.as_bytes()).is_err() {
        let message = format_args!("{text:?} is not a mailbox in ASCII; {mend}");
        values.error(at(&written), key, message);
    }
    text.into()
}
