//! `gatepost queue list`: a part of the queue, the oldest message first, and how much there is.
//!
//! It comes page by page, and no more of it than is shown: a queue may have a million messages.

use gatepost_admin::control::{CountView, QueueQuery, QueueView, SummaryView, TallyView};
use gatepost_spool::LIST_MAX;
use jiff::Timestamp;

use super::super::{print, running, table::Table};
use super::{
    place::Place,
    shown::{age, ahead, fitted, messages, short_path, size},
};
use crate::{
    cli::{OutputForm, QueueListArguments},
    config::Config,
    exit::Exit,
};

const COLUMNS: [&str; 10] = [
    "MESSAGE",
    "AGE",
    "SIZE",
    "SENDER",
    "PENDING",
    "UPSTREAM",
    "STANDING",
    "NEXT",
    "ATTEMPTS",
    "LAST REPLY",
];

/// Lists messages, or numbers.
pub fn list(arguments: &QueueListArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    running::block_on(async {
        let place = Place::find(&config).await?;
        if arguments.totals {
            totals(&place, arguments.output).await?;
        } else {
            part(&place, arguments).await?;
        }
        Ok(Exit::Ok)
    })
}

async fn part(place: &Place, arguments: &QueueListArguments) -> anyhow::Result<()> {
    let mut query = QueueQuery {
        standing: arguments.standing.clone(),
        upstream: arguments.upstream.clone(),
        entry: arguments.entry.clone(),
        after: arguments.after.map(|id| id.to_string()),
        limit: None,
    };
    let mut list = List::new(arguments.output, Timestamp::now());
    let (mut left, mut shown) = (arguments.limit, query.after.clone());
    loop {
        // One more than is wanted tells whether it goes on.
        query.limit = Some(left.saturating_add(1).min(LIST_MAX));
        let mut page = place.page(&query).await?;
        let goes_on = page.items.len() > left;
        page.items.truncate(left);
        left -= page.items.len();
        shown = page.items.last().map(|message| message.id.clone()).or(shown);
        list.print(&page)?;
        query.after = page.next;
        if goes_on || query.after.is_none() {
            return list.finish(shown.filter(|_| goes_on));
        }
    }
}

/// A list that is printed as it comes.
struct List {
    form: OutputForm,
    now: Timestamp,
    table: Table<10>,
    /// What the first page has counted.
    counted: Option<QueueView>,
    /// Messages that were printed.
    printed: u64,
}

impl List {
    const fn new(form: OutputForm, now: Timestamp) -> Self {
        Self { form, now, table: Table::new(COLUMNS), counted: None, printed: 0 }
    }

    fn print(&mut self, page: &QueueView) -> anyhow::Result<()> {
        let mut text = String::new();
        if self.counted.is_none() {
            let counted = QueueView { items: Vec::new(), next: None, ..page.clone() };
            if self.form == OutputForm::Json {
                text = json_head(&counted)?;
            }
            self.counted = Some(counted);
        }
        match self.form {
            OutputForm::Json => {
                for (message, before) in page.items.iter().zip(self.printed..) {
                    let comma = if before == 0 { "" } else { ",\n" };
                    text.extend([comma, &serde_json::to_string(message)?]);
                }
            }
            // A queue without any has no table.
            OutputForm::Table if page.items.is_empty() => {}
            OutputForm::Table => {
                let rows: Vec<_> = page.items.iter().map(|it| row(it, self.now)).collect();
                text = fitted(self.table.lines(&rows));
            }
        }
        self.printed += page.items.len() as u64;
        Ok(print(&text)?)
    }

    fn finish(self, goes_on_after: Option<String>) -> anyhow::Result<()> {
        let Self { form, now, counted, printed, .. } = self;
        let text = match form {
            OutputForm::Json => {
                let end = if printed == 0 { "]" } else { "\n]" };
                let next = goes_on_after.map(|id| format!(", \"next\": \"{id}\""));
                format!("{end}{}}}\n", next.unwrap_or_default())
            }
            OutputForm::Table => {
                let gap = if printed == 0 { "" } else { "\n" };
                let counted = counted.unwrap_or_default();
                let told = summary(&counted, printed, goes_on_after.as_deref(), now);
                format!("{gap}{told}\n")
            }
        };
        Ok(print(&text)?)
    }
}

/// The numbers of a list, and the beginning of its messages.
fn json_head(counted: &QueueView) -> serde_json::Result<String> {
    let object = serde_json::json!({
        "queue": counted.queue,
        "oldest": counted.oldest,
        "matching": counted.matching,
    });
    let object = serde_json::to_string(&object)?;
    let open = object.strip_suffix('}').unwrap_or(&object);
    Ok(format!("{open},\"messages\":[\n"))
}

fn row(it: &SummaryView, now: Timestamp) -> [String; 10] {
    [
        it.id.clone(),
        age(it.received_at, now),
        size(it.size),
        short_path(&it.sender),
        format!("{}/{}", it.recipients_pending, it.recipients_total),
        it.upstream.clone(),
        it.standing.clone(),
        next(it, now),
        it.attempts.to_string(),
        it.reply.clone().unwrap_or_default(),
    ]
}

/// When something is done with a message.
pub(super) fn next(it: &SummaryView, now: Timestamp) -> String {
    match it.standing.as_str() {
        "queued" => ahead(it.due_at, now),
        "leased" | "in_doubt" => "at work".to_owned(),
        _ => "-".to_owned(),
    }
}

/// The line below a list.
fn summary(
    counted: &QueueView,
    printed: u64,
    goes_on_after: Option<&str>,
    now: Timestamp,
) -> String {
    let QueueView { queue, matching, oldest, .. } = counted;
    if queue.messages == 0 {
        return "the queue is empty".to_owned();
    }
    if matching.messages == 0 {
        return format!("none of the {} in the queue", messages(queue.messages));
    }
    let shown = if printed < matching.messages { format!("{printed} of ") } else { String::new() };
    let whole = if matching == queue {
        String::new()
    } else {
        format!(", of {} in the queue", messages(queue.messages))
    };
    let count = format!("{shown}{}, {}{whole}", messages(matching.messages), size(matching.size));
    let oldest = oldest.map(|it| format!("the oldest that waits has done so for {}", age(it, now)));
    let more = goes_on_after.map(|last| format!("go on with --after {last}"));
    let parts: Vec<_> = [Some(count), oldest, more].into_iter().flatten().collect();
    parts.join("; ")
}

async fn totals(place: &Place, form: OutputForm) -> anyhow::Result<()> {
    let totals = place.totals().await?;
    if form == OutputForm::Json {
        let object = serde_json::json!({
            "queue": totals.queue,
            "oldest": totals.oldest,
            "totals": totals.items,
        });
        return Ok(print(&(serde_json::to_string_pretty(&object)? + "\n"))?);
    }
    let row = |TallyView { upstream, entry, standing, count }: &TallyView| {
        let CountView { messages, size: octets } = *count;
        [upstream.clone(), entry.clone(), standing.clone(), messages.to_string(), size(octets)]
    };
    let mut text = String::new();
    if !totals.items.is_empty() {
        let mut table = Table::new(["UPSTREAM", "ENTRY", "STANDING", "MESSAGES", "SIZE"]);
        text = table.lines(&totals.items.iter().map(row).collect::<Vec<_>>()) + "\n";
    }
    let (queue, oldest) = (totals.queue, totals.oldest);
    let counted = QueueView { queue, oldest, matching: queue, ..QueueView::default() };
    Ok(print(&(text + &summary(&counted, queue.messages, None, Timestamp::now()) + "\n"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(queue: u64, matching: u64) -> QueueView {
        let count = |messages| CountView { messages, size: messages * 1024 };
        QueueView { queue: count(queue), matching: count(matching), ..QueueView::default() }
    }

    #[test]
    fn the_line_below_a_list_tells_how_much_there_is() {
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        let line = |counted: &QueueView, printed, last| summary(counted, printed, last, now);
        assert_eq!(line(&counted(0, 0), 0, None), "the queue is empty");
        assert_eq!(line(&counted(7, 0), 0, None), "none of the 7 messages in the queue");
        assert_eq!(line(&counted(1, 1), 1, None), "1 message, 1.0 KiB");
        let told = "2 messages, 2.0 KiB, of 7 messages in the queue";
        assert_eq!(line(&counted(7, 2), 2, None), told);
        let oldest = Timestamp::from_second(1_800_000_000 - 61).ok();
        let many = QueueView { oldest, ..counted(3400, 3400) };
        let told = "100 of 3400 messages, 3.3 MiB; the oldest that waits has done so for 1m 1s; \
                    go on with --after 0000000000z";
        assert_eq!(line(&many, 100, Some("0000000000z")), told);
    }
}
