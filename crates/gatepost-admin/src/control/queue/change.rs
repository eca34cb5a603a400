//! What is done to messages: to those that are named, or to a page of those that are meant.
//!
//! What may be done to a message where it stands is the spool's to say. This decides only who is
//! meant if nobody is named, and tells of those that were left as they are.

use std::{
    collections::HashSet,
    fmt::{self, Display},
    sync::Arc,
    time::SystemTime,
};

use gatepost_spool::{Filter, LIST_MAX, QueueId, Spool, SpoolError, Standing};

use super::{
    asked::{ChangedView, Chosen, QueueQuery, QueueRefusal, UnchangedView, queue_id},
    views::CountView,
};

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Hold,
    Remove,
    /// By another upstream, if one is named.
    Retry(Option<Arc<str>>),
}

impl Action {
    /// Does it, as far as one request goes.
    pub(super) async fn run(
        &self,
        spool: &Spool,
        chosen: &Chosen,
        now: SystemTime,
    ) -> Result<ChangedView, QueueRefusal> {
        match (self, chosen) {
            (_, Chosen::Ids(ids)) if ids.len() > LIST_MAX => {
                Err(QueueRefusal::wrong(format!("at most {LIST_MAX} ids at once")))
            }
            (_, Chosen::Ids(ids)) => {
                let ids = ids.iter().map(|id| queue_id(id)).collect::<Result<_, _>>()?;
                self.change(spool, ids, now).await
            }
            // The most frequent case, and the one with most messages: it needs no list of them.
            (
                Self::Retry(None),
                Chosen::All(QueueQuery { standing: None, entry: None, upstream, .. }),
            ) => retry_all(spool, upstream.as_deref(), now).await,
            (_, Chosen::All(query)) => self.change_page(spool, query, now).await,
        }
    }

    async fn change_page(
        &self,
        spool: &Spool,
        query: &QueueQuery,
        now: SystemTime,
    ) -> Result<ChangedView, QueueRefusal> {
        let filter = query.filter()?;
        let limit = query.limit.unwrap_or(LIST_MAX).clamp(1, LIST_MAX);
        let page = spool.list(filter.clone(), query.place()?, limit).await?;
        let is_meant = |standing| filter.standing.is_some() || self.means(standing);
        let ids = page.messages.iter().filter(|message| is_meant(message.standing));
        let changed = self.change(spool, ids.map(|message| message.id).collect(), now).await?;
        Ok(ChangedView { next: page.next.map(|id| id.to_string()), ..changed })
    }

    /// Whether it is about messages that stand so, if nobody says how they stand.
    const fn means(&self, standing: Standing) -> bool {
        match self {
            Self::Hold => {
                matches!(standing, Standing::InDoubt | Standing::Leased | Standing::Queued)
            }
            Self::Remove => true,
            // What an operator has put aside, and what is dead, stays so until that is meant.
            Self::Retry(_) => matches!(standing, Standing::Queued),
        }
    }

    async fn change(
        &self,
        spool: &Spool,
        ids: Vec<QueueId>,
        now: SystemTime,
    ) -> Result<ChangedView, QueueRefusal> {
        let changed = self.apply(spool, ids.clone(), now).await?;
        self.tell(&changed);
        let mut left: HashSet<_> = ids.iter().copied().collect();
        for id in &changed {
            left.remove(id);
        }
        let mut unchanged = Vec::with_capacity(left.len());
        // In the order in which they were named, and each once.
        for id in ids.into_iter().filter(|id| left.remove(id)) {
            let standing = spool.show(id).await?.map(|it| it.standing.name().to_owned());
            unchanged.push(UnchangedView { id: id.to_string(), standing });
        }
        Ok(ChangedView { changed: changed.len() as u64, unchanged, next: None })
    }

    async fn apply(
        &self,
        spool: &Spool,
        mut ids: Vec<QueueId>,
        now: SystemTime,
    ) -> Result<Vec<QueueId>, SpoolError> {
        ids.sort_unstable();
        ids.dedup();
        match self {
            Self::Hold => spool.hold(ids).await,
            Self::Remove => spool.remove(ids).await,
            Self::Retry(upstream) => spool.retry(ids, now, upstream.clone()).await,
        }
    }

    /// Leaves a trace of it. A message that was removed is named: nothing else remembers it.
    fn tell(&self, changed: &[QueueId]) {
        let messages = changed.len();
        match self {
            _ if changed.is_empty() => {}
            Self::Hold => tracing::info!(messages, "a command has put messages aside"),
            Self::Remove => {
                tracing::info!(messages, ids = %List(changed), "a command has removed messages");
            }
            Self::Retry(None) => tracing::info!(messages, "a command has made messages due"),
            Self::Retry(Some(upstream)) => {
                tracing::info!(messages, %upstream, "a command has given messages to an upstream");
            }
        }
    }
}

/// Makes everything due. Answers how much is: also what was so before, and had to wait for its upstream.
async fn retry_all(
    spool: &Spool,
    upstream: Option<&str>,
    now: SystemTime,
) -> Result<ChangedView, QueueRefusal> {
    let messages = spool.retry_all(now, upstream.map(Into::into)).await?;
    tracing::info!(messages, "a command has made messages due");
    let filter = Filter {
        standing: Some(Standing::Queued),
        upstream: upstream.map(Into::into),
        entry: None,
    };
    let stats = spool.stats(now).await?;
    let CountView { messages, .. } = CountView::of(&filter, &stats);
    Ok(ChangedView { changed: messages, ..ChangedView::default() })
}

struct List<'a>(&'a [QueueId]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, id) in self.0.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{id}")?;
        }
        Ok(())
    }
}
