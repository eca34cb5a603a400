//! What is shown of the queue, with a running gateway and without one.
//!
//! Keys that the mail log has too have its names, and what is not known has no key. Paths and names
//! are text as the mail log has it: what is not UTF-8 becomes U+FFFD. Whoever shows them on a terminal
//! makes them printable.

use gatepost_smtp::command::Body;
use gatepost_spool::{
    After, Filter, Mode, Page, RecipientState, Stats, StoredMessage, StoredRecipient, Summary,
    Tally,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Messages, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountView {
    /// How many.
    pub messages: u64,
    /// Octets of all of them.
    pub size: u64,
}

/// A page of the queue, the oldest message first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueView {
    /// Everything that is in it.
    pub queue: CountView,
    /// When the oldest message was accepted for which something is undecided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// What the question is about, on all pages.
    pub matching: CountView,
    /// The messages of this page.
    pub items: Vec<SummaryView>,
    /// What to ask the next page with. None: this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The queue in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotalsView {
    /// Everything that is in it.
    pub queue: CountView,
    /// When the oldest message was accepted for which something is undecided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// By upstream, entry and standing; none is zero.
    pub items: Vec<TallyView>,
}

/// Messages of one entry at one upstream that stand alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallyView {
    /// Name of the upstream.
    pub upstream: String,
    /// Id of the entry.
    pub entry: String,
    /// Where they stand.
    pub standing: String,
    /// How many.
    #[serde(flatten)]
    pub count: CountView,
}

/// A message in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryView {
    /// Its id, that of the mail log and of its `Received:` line.
    pub id: String,
    /// `queued`, `held`, `dead`, `in_doubt`, `leased` or `owing`.
    pub standing: String,
    /// Name of its upstream.
    pub upstream: String,
    /// Id of its entry.
    pub entry: String,
    /// The reverse-path as the client has sent it; empty if it is null.
    pub sender: String,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// When it is tried again, if it is `queued`.
    pub due_at: Timestamp,
    /// When its last recipients are given up.
    pub expires_at: Timestamp,
    /// Attempts that have ended.
    pub attempts: u32,
    /// Octets of its content.
    pub size: u64,
    /// Recipients for whom nothing is decided.
    pub recipients_pending: u64,
    /// Recipients.
    pub recipients_total: u64,
    /// The last reply about one of them, about a pending one if there is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

/// Everything that is known of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageView {
    /// What a list says of it.
    #[serde(flatten)]
    pub summary: SummaryView,
    /// What MAIL says upstream; empty if it is null.
    pub reverse_path: String,
    /// `hybrid` or `spool`.
    pub mode: String,
    /// Parameters of MAIL, as they go on.
    pub parameters: String,
    /// Id of the session that it came in.
    pub session_id: String,
    /// Name of the listener.
    pub listener: String,
    /// Id of the credential, if one was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Generation of the policy that let it in.
    pub generation: String,
    /// The client's address.
    pub client: String,
    /// What the client called itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helo: Option<String>,
    /// TLS version, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// Whom it is for.
    pub recipients: Vec<RecipientView>,
    /// Its header section, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<String>,
}

/// A recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientView {
    /// The forward-path as the client has sent it.
    pub recipient: String,
    /// `pending`, `delivered`, `failed` or `expired`.
    pub state: String,
    /// What is left to do once it is decided: `keep`, or `notify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Attempts that have ended.
    pub attempts: u32,
    /// Whether the sender was told of a delay.
    pub delay_told: bool,
    /// Parameters of RCPT, as they go on.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub parameters: String,
    /// The last reply about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

impl QueueView {
    /// A page, and what is counted beside it.
    pub fn new(filter: &Filter, stats: &Stats, page: Page) -> Self {
        Self {
            queue: CountView { messages: stats.messages, size: stats.octets },
            oldest: stats.oldest.map(moment),
            matching: CountView::of(filter, stats),
            items: page.messages.into_iter().map(SummaryView::from).collect(),
            next: page.next.map(|id| id.to_string()),
        }
    }
}

impl CountView {
    /// Those that a filter lets through.
    pub(super) fn of(filter: &Filter, stats: &Stats) -> Self {
        let is_meant = |tally: &&Tally| {
            filter.standing.is_none_or(|standing| standing == tally.standing)
                && filter.upstream.as_ref().is_none_or(|upstream| *upstream == tally.upstream)
                && filter.entry.as_ref().is_none_or(|entry| *entry == tally.entry)
        };
        stats.tallies.iter().filter(is_meant).fold(Self::default(), |sum, tally| Self {
            messages: sum.messages + tally.messages,
            size: sum.size + tally.octets,
        })
    }
}

impl From<Stats> for TotalsView {
    fn from(stats: Stats) -> Self {
        let tally = |tally: &Tally| TallyView {
            upstream: tally.upstream.to_string(),
            entry: tally.entry.to_string(),
            standing: tally.standing.name().to_owned(),
            count: CountView { messages: tally.messages, size: tally.octets },
        };
        Self {
            queue: CountView { messages: stats.messages, size: stats.octets },
            oldest: stats.oldest.map(moment),
            items: stats.tallies.iter().map(tally).collect(),
        }
    }
}

impl From<Summary> for SummaryView {
    fn from(it: Summary) -> Self {
        Self {
            id: it.id.to_string(),
            standing: it.standing.name().to_owned(),
            upstream: it.upstream.to_string(),
            entry: it.entry.to_string(),
            sender: text(&it.sender),
            received_at: moment(it.received_at),
            due_at: moment(it.due_at),
            expires_at: moment(it.expires_at),
            attempts: it.attempts,
            size: it.octets,
            recipients_pending: it.pending,
            recipients_total: it.recipients,
            reply: it.reply.map(|reply| reply.to_string()),
        }
    }
}

impl From<StoredMessage> for MessageView {
    fn from(it: StoredMessage) -> Self {
        let is_pending = |recipient: &&StoredRecipient| recipient.state == RecipientState::Pending;
        let replies = |recipient: &StoredRecipient| recipient.reply.clone();
        let reply = it.recipients.iter().filter(is_pending).find_map(replies);
        let reply = reply.or_else(|| it.recipients.iter().find_map(replies));
        let summary = Summary {
            id: it.envelope.id,
            standing: it.standing,
            upstream: it.envelope.upstream.clone(),
            entry: it.envelope.origin.entry.clone(),
            sender: it.envelope.sender[..].into(),
            received_at: it.envelope.received_at,
            due_at: it.due_at,
            expires_at: it.envelope.expires_at,
            attempts: it.attempts,
            octets: it.octets,
            pending: it.recipients.iter().filter(is_pending).count() as u64,
            recipients: it.recipients.len() as u64,
            reply,
        };
        let (envelope, origin) = (&it.envelope, &it.envelope.origin);
        Self {
            summary: summary.into(),
            reverse_path: text(&envelope.reverse_path),
            mode: match envelope.mode {
                Mode::Hybrid => "hybrid",
                Mode::Spool => "spool",
            }
            .to_owned(),
            parameters: parameters(envelope.body, envelope.smtputf8, &envelope.dsn),
            session_id: origin.session_id.to_string(),
            listener: origin.listener.to_string(),
            credential: origin.credential.as_deref().map(str::to_owned),
            generation: origin.generation.to_string(),
            client: origin.client.to_string(),
            helo: origin.helo.as_deref().map(str::to_owned),
            tls: origin.tls.as_deref().map(str::to_owned),
            recipients: it.recipients.into_iter().map(RecipientView::from).collect(),
            headers: None,
        }
    }
}

impl From<StoredRecipient> for RecipientView {
    fn from(it: StoredRecipient) -> Self {
        Self {
            recipient: text(&it.recipient.path),
            state: match it.state {
                RecipientState::Delivered => "delivered",
                RecipientState::Expired => "expired",
                RecipientState::Failed => "failed",
                RecipientState::Pending => "pending",
            }
            .to_owned(),
            after: match it.after {
                After::Forget => None,
                After::Keep => Some("keep".to_owned()),
                After::Notify => Some("notify".to_owned()),
            },
            attempts: it.attempts,
            delay_told: it.delay_told,
            parameters: text(&it.recipient.dsn).trim_start().to_owned(),
            reply: it.reply.map(|reply| reply.to_string()),
        }
    }
}

fn parameters(body: Option<Body>, smtputf8: bool, dsn: &[u8]) -> String {
    let body = body.map(|body| match body {
        Body::EightBitMime => "BODY=8BITMIME",
        Body::SevenBit => "BODY=7BIT",
    });
    let dsn = text(dsn);
    let all = [body, smtputf8.then_some("SMTPUTF8"), Some(dsn.trim_start())];
    let all: Vec<_> = all.into_iter().flatten().filter(|it| !it.is_empty()).collect();
    all.join(" ")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A time that cannot be written is one of a clock that is far off.
fn moment(time: std::time::SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or_default()
}
