//! `gatepost queue retry`, `hold` and `remove`: asked of the gateway that runs, page by page.

use std::collections::BTreeMap;

use gatepost_admin::control::{
    ChangedView, Chosen, Client, ControlError, QueueChange, QueueQuery, UnchangedView,
};
use gatepost_policy::printable::Printable;
use gatepost_spool::LIST_MAX;

use super::super::{print, running};
use super::{
    meant,
    shown::{messages, size},
};
use crate::{
    cli::{ChosenArguments, HoldArguments, OutputForm, RemoveArguments, RetryArguments},
    config::Config,
    errors::{Failure, tell_error, tell_note},
    exit::Exit,
};

/// What is done.
enum Action {
    Hold,
    Remove,
    /// By another upstream, if one is named.
    Retry(Option<String>),
}

/// Makes messages due.
pub fn retry(arguments: &RetryArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    let action = Action::Retry(arguments.upstream.clone());
    let query = meant(&arguments.chosen, arguments.from_upstream.as_ref());
    running::block_on(async {
        let client = connect(&config).await?;
        run(&client, &action, &arguments.chosen, query, arguments.output).await
    })
}

/// Puts messages aside.
pub fn hold(arguments: &HoldArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    let query = meant(&arguments.chosen, arguments.upstream.as_ref());
    running::block_on(async {
        let client = connect(&config).await?;
        run(&client, &Action::Hold, &arguments.chosen, query, arguments.output).await
    })
}

/// Removes messages; many only if that was said twice.
pub fn remove(RemoveArguments { hold, yes }: &RemoveArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&hold.config.config)?;
    let query = meant(&hold.chosen, hold.upstream.as_ref());
    running::block_on(async {
        let client = connect(&config).await?;
        if hold.chosen.all && !yes {
            let question = QueueQuery { limit: Some(1), ..query };
            let view = client.queue(&question).await.map_err(running::failure)?;
            let (count, octets) = (view.matching.messages, view.matching.size);
            let message = format_args!(
                "this would remove {} ({}) for good, and nobody would be told; say --yes if that is meant",
                messages(count),
                size(octets)
            );
            return Err(Failure::new(Exit::Usage, message).into());
        }
        run(&client, &Action::Remove, &hold.chosen, query, hold.output).await
    })
}

async fn connect(config: &Config) -> Result<Client, Failure> {
    Client::connect(&config.state_dir).await.map_err(|error| match error {
        ControlError::NotRunning(_) => {
            let mend = "only a gateway that runs changes its queue: start it and ask again";
            Failure::new(Exit::NotRunning, format_args!("{error}; {mend}"))
        }
        error => running::failure(error),
    })
}

async fn run(
    client: &Client,
    action: &Action,
    chosen: &ChosenArguments,
    query: QueueQuery,
    form: OutputForm,
) -> anyhow::Result<Exit> {
    let mut done = ChangedView::default();
    let asked = if chosen.all {
        action.all(client, query, &mut done).await
    } else {
        action.each(client, chosen, &mut done).await
    };
    if let Err(failure) = asked {
        if done.changed > 0 {
            tell_note(&format!("{} before that", action.told(done.changed)));
        }
        return Err(failure.into());
    }
    let mut told = action.told(done.changed);
    if chosen.all && matches!(action, Action::Retry(_)) {
        told += "; back-off and breakers are reset";
    }
    match form {
        OutputForm::Json => print(&(serde_json::to_string_pretty(&done)? + "\n"))?,
        OutputForm::Table => print(&(told + "\n"))?,
    }
    if chosen.all {
        if !done.unchanged.is_empty() {
            tell_note(&left(&done.unchanged));
        }
        return Ok(Exit::Ok);
    }
    for it in &done.unchanged {
        tell_error(&reason(it));
    }
    Ok(if done.unchanged.is_empty() { Exit::Ok } else { Exit::Failure })
}

impl Action {
    /// Everything that is meant, page by page: others get their turn in between.
    async fn all(
        &self,
        client: &Client,
        mut query: QueueQuery,
        done: &mut ChangedView,
    ) -> Result<(), Failure> {
        loop {
            let next = self.ask(client, Chosen::All(query.clone()), done).await?;
            if next.is_none() {
                return Ok(());
            }
            query.after = next;
        }
    }

    async fn each(
        &self,
        client: &Client,
        chosen: &ChosenArguments,
        done: &mut ChangedView,
    ) -> Result<(), Failure> {
        for ids in chosen.ids.chunks(LIST_MAX) {
            let ids = ids.iter().map(ToString::to_string).collect();
            self.ask(client, Chosen::Ids(ids), done).await?;
        }
        Ok(())
    }

    /// Adds what has come of one request. Answers where it goes on.
    async fn ask(
        &self,
        client: &Client,
        messages: Chosen,
        done: &mut ChangedView,
    ) -> Result<Option<String>, Failure> {
        let mut change = QueueChange { messages, upstream: None };
        let answer = match self {
            Self::Hold => client.hold(&change).await,
            Self::Remove => client.remove(&change).await,
            Self::Retry(upstream) => {
                change.upstream.clone_from(upstream);
                client.retry(&change).await
            }
        };
        let changed = answer.map_err(running::failure)?;
        done.changed += changed.changed;
        done.unchanged.extend(changed.unchanged);
        Ok(changed.next)
    }

    fn told(&self, count: u64) -> String {
        let are = if count == 1 { "is" } else { "are" };
        let messages = messages(count);
        match self {
            Self::Hold => format!("{messages} {are} held"),
            Self::Remove => format!("{messages} {are} removed"),
            Self::Retry(None) => format!("{messages} {are} due"),
            Self::Retry(Some(upstream)) => {
                format!("{messages} {are} due, by upstream {}", Printable(upstream))
            }
        }
    }
}

/// Why a message that was named is as it was.
fn reason(UnchangedView { id, standing }: &UnchangedView) -> String {
    match standing.as_deref() {
        None => format!("there is no message {id} in the queue"),
        Some("leased" | "in_doubt") => {
            format!("somebody is at work on message {id}; ask again when that attempt has ended")
        }
        Some("owing") => format!("message {id} waits for its notification, and for nothing else"),
        Some("dead") => format!("message {id} is dead: nothing is tried that could be held"),
        Some(_) => format!("message {id} has changed meanwhile; ask again"),
    }
}

/// How many of those that were meant are as they were.
fn left(unchanged: &[UnchangedView]) -> String {
    let mut counts = BTreeMap::new();
    for it in unchanged {
        *counts.entry(it.standing.as_deref().unwrap_or("gone")).or_insert(0) += 1;
    }
    let counts: Vec<_> =
        counts.iter().map(|(standing, count)| format!("{count} {standing}")).collect();
    format!("left as they are: {}", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_counted_by_where_it_stands() {
        let it = |standing: Option<&str>| UnchangedView {
            id: "00000000001".to_owned(),
            standing: standing.map(str::to_owned),
        };
        let unchanged = [it(Some("leased")), it(None), it(Some("leased")), it(Some("in_doubt"))];
        assert_eq!(left(&unchanged), "left as they are: 1 gone, 1 in_doubt, 2 leased");
    }

    #[test]
    fn what_was_done_is_told() {
        assert_eq!(Action::Hold.told(1), "1 message is held");
        let retry = Action::Retry(Some("ses".to_owned()));
        assert_eq!(retry.told(2), "2 messages are due, by upstream ses");
    }
}
