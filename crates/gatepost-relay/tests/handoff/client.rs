//! A client, and what the inbound side does for it: it names recipients, asks for them in groups, and
//! hands the content over in the pieces in which it comes.

use std::sync::Arc;

use bytes::Bytes;
use gatepost_relay::{DataFollows, DataReply, Handoff, Last, Message, Mode, Named, Origin};
use gatepost_smtp::bdat::Chunk;
use gatepost_smtp::reply::Reply;
use gatepost_spool::QueueId;
use tokio::time::Instant;

use crate::world::World;

/// A message to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) mode: Mode,
    pub(crate) sender: String,
    /// The policy entry that it comes by.
    pub(crate) entry: String,
    pub(crate) recipients: Vec<Rcpt>,
    /// Content as its author has written it.
    pub(crate) body: Vec<u8>,
    pub(crate) form: Form,
    pub(crate) grouping: Grouping,
    /// Octets that come at once.
    pub(crate) piece: usize,
    pub(crate) interlude: Interlude,
}

/// Whom it is for.
#[derive(Clone, Debug)]
pub(crate) struct Rcpt {
    pub(crate) path: String,
    pub(crate) dsn: &'static str,
    pub(crate) way: Way,
}

/// By which upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    First,
    Other(usize),
    /// By the first upstream, with another reverse-path.
    Renamed,
}

/// How content comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Data,
    /// In so many chunks.
    Chunks(usize),
}

/// How commands come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grouping {
    OneByOne,
    Pipelined,
}

/// What happens in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interlude {
    None,
    /// The client is silent after RCPT for too long.
    StallsBeforeData,
    /// The same behind the first piece of content.
    StallsInData,
    /// The spool takes nothing more.
    SpoolStops,
}

/// What the client heard.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) id: QueueId,
    /// Of each recipient; none of one that was not named.
    pub(crate) recipients: Vec<Option<Reply>>,
    /// The last word; none if there was no data because nobody stands.
    pub(crate) end: Option<Reply>,
    /// What we put in front.
    received: Vec<u8>,
}

impl Mail {
    /// A message of two lines, one of which begins with a dot.
    pub(crate) fn to(mode: Mode, recipients: &[&str]) -> Self {
        let rcpt = |path: &&str| Rcpt { path: (*path).to_owned(), dsn: "", way: Way::First };
        Self {
            mode,
            sender: "s@app.test".to_owned(),
            entry: "billing".to_owned(),
            recipients: recipients.iter().map(rcpt).collect(),
            body: b"Subject: x\r\n\r\n.a dot\r\n".to_vec(),
            form: Form::Data,
            grouping: Grouping::OneByOne,
            piece: 10,
            interlude: Interlude::None,
        }
    }
}

impl Heard {
    /// Whether a recipient was told yes, and then the message.
    pub(crate) fn is_granted(&self, place: usize) -> bool {
        let recipient = self.recipients[place].as_ref();
        recipient.is_some_and(Reply::is_positive) && self.end_is_positive()
    }

    pub(crate) fn end_is_positive(&self) -> bool {
        self.end.as_ref().is_some_and(Reply::is_positive)
    }

    /// The message as DATA carries it, without the terminator.
    pub(crate) fn stored(&self, mail: &Mail) -> Vec<u8> {
        [&self.received[..], &stuffed(&mail.body)].concat()
    }

    /// The message as it is in chunks.
    pub(crate) fn plain(&self, mail: &Mail) -> Vec<u8> {
        [&self.received[..], &mail.body].concat()
    }
}

/// Lines with a dot in front of a dot that begins them, and the last line ended.
fn stuffed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in body.split_inclusive(|&octet| octet == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Sends a message, and brings back what was heard. When this returns, the client can read the reply.
pub(crate) async fn send(world: &World, mail: &Mail) -> Heard {
    let id = world.relay.ids().next();
    let received = format!("Received: from app by relay.test id {id}\r\n").into_bytes();
    let message = Message {
        id,
        sender: mail.sender.as_bytes().into(),
        reverse_path: mail.sender.as_bytes().into(),
        entry: mail.entry.as_str().into(),
        size: None,
        body: None,
        smtputf8: false,
        dsn: Arc::default(),
        received: received.clone().into(),
        began: Instant::now(),
    };
    let mut handoff = world.relay.begin((0, mail.mode), message).expect("there is one");
    let recipients = name_all(&mut handoff, mail).await;
    let mut heard = Heard { id, recipients, end: None, received };
    if !heard.recipients.iter().flatten().any(Reply::is_positive) {
        handoff.withdraw_data();
        handoff.abandon();
        return heard;
    }
    match mail.interlude {
        Interlude::StallsBeforeData => handoff.stalled(),
        Interlude::SpoolStops => {
            if let Some(spool) = &world.spool {
                spool.close().await;
            }
        }
        Interlude::None | Interlude::StallsInData => {}
    }
    heard.end = Some(match mail.form {
        Form::Chunks(chunks) if handoff.takes_chunks() => in_chunks(handoff, mail, chunks).await,
        Form::Chunks(_) | Form::Data => as_data(handoff, mail).await,
    });
    heard
}

/// Where recipients stand who were named and have no answer yet.
#[derive(Default)]
struct Unanswered {
    asked: Vec<usize>,
    kept: Vec<usize>,
}

/// Names all recipients and asks for them, all at once or one by one.
async fn name_all(handoff: &mut Handoff, mail: &Mail) -> Vec<Option<Reply>> {
    let mut replies: Vec<Option<Reply>> = vec![None; mail.recipients.len()];
    let mut unanswered = Unanswered::default();
    for (place, rcpt) in mail.recipients.iter().enumerate() {
        let recipient = (rcpt.path.as_bytes(), rcpt.dsn.as_bytes());
        let apart = match rcpt.way {
            Way::First => None,
            // A message for whom nobody stands takes the way of its next recipient: another story.
            _ if handoff.pending() == 0 && !replies.iter().flatten().any(Reply::is_positive) => {
                continue;
            }
            Way::Other(number) => Some(((1 + number, Mode::Hybrid), None)),
            Way::Renamed => Some(((0, Mode::Hybrid), Some(b"other@app.test"[..].into()))),
        };
        if let Some((way, reverse_path)) = apart {
            let named = handoff.name_apart(way, reverse_path, recipient);
            replies[place] = Some(named.err().unwrap_or_else(|| Handoff::kept_apart().clone()));
            continue;
        }
        match handoff.name(recipient.0, recipient.1).await {
            Ok(Named::Asked) => unanswered.asked.push(place),
            Ok(Named::Kept) => unanswered.kept.push(place),
            Err(reply) => replies[place] = Some(reply),
        }
        if handoff.pending() > 0 && mail.grouping == Grouping::OneByOne {
            let is_last = place + 1 == mail.recipients.len();
            ask(handoff, mail, is_last, &mut unanswered, &mut replies).await;
        }
    }
    if handoff.pending() > 0 {
        ask(handoff, mail, true, &mut unanswered, &mut replies).await;
    }
    replies
}

async fn ask(
    handoff: &mut Handoff,
    mail: &Mail,
    is_last: bool,
    unanswered: &mut Unanswered,
    replies: &mut [Option<Reply>],
) {
    let follows = is_last && mail.grouping == Grouping::Pipelined && mail.form == Form::Data;
    handoff.ask(if follows { DataFollows::Yes } else { DataFollows::No }).await;
    let owned = |(path, reply): (&[u8], &Reply)| (path.to_vec(), reply.clone());
    let asked: Vec<_> = handoff.answers().map(owned).collect();
    let kept: Vec<_> = handoff.kept_answers().map(owned).collect();
    for (places, answers) in [(&mut unanswered.asked, asked), (&mut unanswered.kept, kept)] {
        assert_eq!(answers.len(), places.len(), "one answer for each");
        for (place, (path, reply)) in places.drain(..).zip(answers) {
            assert_eq!(path, mail.recipients[place].path.as_bytes(), "in their order");
            replies[place] = Some(reply);
        }
    }
}

async fn as_data(mut handoff: Box<Handoff>, mail: &Mail) -> Reply {
    if let Err(reply) = handoff.data().await {
        return reply;
    }
    let content = Bytes::from(stuffed(&mail.body));
    let last_at = hand_on(&mut handoff, &content, mail).await;
    let last = [&content[last_at..], b".\r\n"].concat();
    complete(handoff, Last::Terminated(last.into())).await
}

/// Hands content on but for its last piece; brings back where that begins.
async fn hand_on(handoff: &mut Handoff, content: &Bytes, mail: &Mail) -> usize {
    let mut at = 0;
    while content.len() - at > mail.piece {
        handoff.content(content.slice(at..at + mail.piece)).await;
        if at == 0 && mail.interlude == Interlude::StallsInData {
            handoff.stalled();
        }
        at += mail.piece;
    }
    at
}

async fn in_chunks(mut handoff: Box<Handoff>, mail: &Mail, chunks: usize) -> Reply {
    let body = Bytes::from(mail.body.clone());
    let each = body.len().div_ceil(chunks).max(1);
    let mut at = 0;
    loop {
        let content = body.slice(at..body.len().min(at + each));
        at += content.len();
        let last = at == body.len();
        handoff.begin_chunk(Chunk { octets: content.len() as u64, last }).await;
        let rest = hand_on(&mut handoff, &content, mail).await;
        if last {
            return complete(handoff, Last::OfChunk(content.slice(rest..))).await;
        }
        handoff.content(content.slice(rest..)).await;
        if handoff.end_chunk().await.is_err() {
            return complete(handoff, Last::OfChunk(Bytes::new())).await;
        }
    }
}

async fn complete(handoff: Box<Handoff>, last: Last) -> Reply {
    let origin = Origin {
        session_id: "s1",
        listener: "smtp",
        entry: Some("billing"),
        credential: None,
        generation: "1-abcdef",
        client: [127, 0, 0, 1].into(),
        helo: Some("app"),
        tls: None,
    };
    match handoff.complete(last, origin).await {
        DataReply::Granted(grant) => {
            assert!(grant.reply().is_positive(), "{}", grant.reply());
            grant.reply().clone()
        }
        DataReply::Refused(reply) => {
            assert!(!reply.is_positive(), "{reply}");
            reply
        }
    }
}
