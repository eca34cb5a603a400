//! What a message is, and what can become of it.
//!
//! Paths and parameters are octets as the client has sent them: nothing here is parsed, decoded or
//! put together anew. The words of the states are those of `gatepost queue list`.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use gatepost_smtp::command::Body;
use gatepost_smtp::reply::Reply;

use crate::id::QueueId;

/// How a message was to be handed over when it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To the upstream while it answers, into the spool when it does not.
    Hybrid,
    /// Into the spool.
    Spool,
}

/// Where a message comes from: what each later line of the mail log says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Id of the session.
    pub session_id: Arc<str>,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// Id of the entry; of the credential, if no network was known. Deliveries take turns between these.
    pub entry: Arc<str>,
    /// Id of the credential, if one was used.
    pub credential: Option<Arc<str>>,
    /// Generation of the ruleset that accepted it.
    pub generation: Arc<str>,
    /// The client's address.
    pub client: IpAddr,
    /// What the client called itself.
    pub helo: Option<Arc<str>>,
    /// TLS version, if any.
    pub tls: Option<Arc<str>>,
}

/// Everything about a message but its recipients and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Its id, in the log and in the `Received:` line.
    pub id: QueueId,
    /// When it was accepted.
    pub received_at: SystemTime,
    /// When its last recipients are given up.
    pub expires_at: SystemTime,
    /// What MAIL says upstream, without brackets; empty if it is null.
    pub reverse_path: Arc<[u8]>,
    /// The reverse-path as the client has sent it: the log has this one.
    pub sender: Arc<[u8]>,
    /// RET and ENVID as the client has sent them, each with a space in front.
    pub dsn: Arc<[u8]>,
    /// Declared body type.
    pub body: Option<Body>,
    /// Whether SMTPUTF8 was asked for.
    pub smtputf8: bool,
    /// How it was to be handed over.
    pub mode: Mode,
    /// Name of the upstream. What the name means is looked up for each attempt.
    pub upstream: Arc<str>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The forward-path as the client has sent it, without brackets.
    pub path: Box<[u8]>,
    /// NOTIFY and ORCPT as the client has sent them, each with a space in front.
    pub dsn: Box<[u8]>,
}

/// How a message comes into the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// Nobody is at work on it: the runner takes it at this time.
    Due(SystemTime),
    /// An upstream was given all of it and has not answered; whoever commits it is still listening.
    InDoubt,
    /// Whoever commits it says soon what becomes of it.
    Leased,
}

/// A message to be committed.
#[derive(Clone, Debug)]
pub struct Message {
    /// What is known of it.
    pub envelope: Envelope,
    /// Whom it is for; in later calls they are named by their place in this list.
    pub recipients: Vec<Recipient>,
    /// Whether it is due.
    pub entrance: Entrance,
    /// What it tells about another message, if it is a notification.
    pub about: Option<About>,
}

/// What a notification tells. That it was told is committed with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The message that it is about.
    pub id: QueueId,
    /// Its recipients, by their places.
    pub recipients: Box<[u32]>,
    /// What is told about them.
    pub notice: Notice,
}

/// What a notification tells about a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Nothing was decided for long.
    Delay,
    /// What has become of it: [`After::Notify`] is done with.
    End,
}

/// What an attempt did to one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its place in the list of recipients.
    pub place: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// The reply that decided, if there was one. A long text is cut.
    pub reply: Option<Reply>,
}

/// What became of a recipient in an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not now: it stays pending.
    Deferred,
    /// The upstream has accepted it.
    Delivered(After),
    /// Its time is over.
    Expired(After),
    /// The upstream has refused it for good.
    Failed(After),
}

/// What is left to do about a recipient for whom everything is decided. The order is that of what the
/// whole message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum After {
    /// Nothing.
    Forget,
    /// It is kept until somebody has looked at it.
    Keep,
    /// A notification is owed: [`Message::about`] says that it was made.
    Notify,
}

/// Where a recipient stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipientState {
    /// The upstream has accepted it.
    Delivered,
    /// Its time was over.
    Expired,
    /// It was refused for good.
    Failed,
    /// Nothing is decided.
    Pending,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Everything is decided, and a failure is kept.
    Dead,
    /// An operator has put it aside.
    Held,
    /// Somebody is at work on it, and an upstream had been given all of it.
    InDoubt,
    /// Somebody is at work on it.
    Leased,
    /// Everything is decided, and a notification is owed.
    Owing,
    /// It waits for its time.
    Queued,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Dead, Self::Held, Self::InDoubt, Self::Leased, Self::Owing, Self::Queued];

    /// The word for it, in lists and as a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Held => "held",
            Self::InDoubt => "in_doubt",
            Self::Leased => "leased",
            Self::Owing => "owing",
            Self::Queued => "queued",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A message as it stands in the spool, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// What is known of it.
    pub envelope: Envelope,
    /// Where it stands.
    pub standing: Standing,
    /// When it is tried again, or was due when it was leased.
    pub due_at: SystemTime,
    /// Attempts that were recorded.
    pub attempts: u32,
    /// Octets of its body.
    pub octets: u64,
    /// Whom it is for, in the order of their places.
    pub recipients: Vec<StoredRecipient>,
}

/// A recipient as it stands in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecipient {
    /// Its place, by which attempts name it.
    pub place: u32,
    /// Who it is.
    pub recipient: Recipient,
    /// Where it stands.
    pub state: RecipientState,
    /// What is left to do, once it is not pending any more.
    pub after: After,
    /// Whether a notification of delay was made, or is not going to be.
    pub delay_told: bool,
    /// Attempts that were recorded.
    pub attempts: u32,
    /// The last reply about it.
    pub reply: Option<Reply>,
}

impl StoredRecipient {
    /// One of whom nothing was recorded yet.
    pub(crate) const fn new(place: u32, recipient: Recipient) -> Self {
        Self {
            place,
            recipient,
            state: RecipientState::Pending,
            after: After::Forget,
            delay_told: false,
            attempts: 0,
            reply: None,
        }
    }
}
