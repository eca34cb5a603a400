//! BDAT: content chunk by chunk (RFC 3030).
//!
//! A chunk of the client is a chunk of the upstream, and the upstream's word on it is the client's.
//! Where the upstream has no CHUNKING, and where bare LFs are mended, so that nobody can say before
//! how long a chunk will be, content goes on as DATA. The first chunk decides.
//!
//! A chunk that is refused is read to its end, and so are those that the client has sent behind it:
//! only its length tells it from commands.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatepost_policy::check;
use gatepost_policy::entry::BareNewlines;
use gatepost_relay::{Handoff, Last};
use gatepost_smtp::bdat::{Behind, Chunk, ChunkScan, ChunkScanner, Transparency, unstuff};
use gatepost_smtp::data::TERMINATOR;
use gatepost_smtp::reply::Reply;
use gatepost_smtp::server::{Chunking, ChunkingEvent, Ready, replies};

use super::{Body, DISCARD_OCTETS_MAX, REWRITTEN_OCTETS_MAX, Refusal, Then};
use crate::answer;
use crate::conn::{Buffered, Conn, End};
use crate::fingerprint::Fingerprinter;
use crate::session::Session;

/// Chunks of one message that may be small: each costs a round trip upstream. The largest message of
/// the default limit fits in that many of 2.5 KiB.
const CHUNKS_MAX: u64 = 20_000;
/// Octets of a chunk on average, where there are more of them.
const CHUNK_OCTETS_MIN: u64 = 1024;

const TOO_MANY_CHUNKS: Reply = Reply::fixed(554, (5, 5, 0), "too many chunks: send larger ones");
/// The terminator behind a line that the client did not end.
const LINE_END_AND_TERMINATOR: &[u8] = b"\r\n.\r\n";

/// How the message goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Chunks,
    Data,
}

/// Content in the form in which it goes on, unless its header section is held back.
struct Piece(Bytes);

/// A message that comes in chunks.
struct Chunks<'s> {
    chunking: Chunking,
    body: Body<'s>,
    form: Form,
    scanner: ChunkScanner,
    /// Content that is not what was received: with dots stuffed, or bare LFs mended.
    rewritten: BytesMut,
    /// Octets that all chunks have announced.
    announced: u64,
    count: u64,
    /// Of the chunk that is being received, those that have not come yet.
    left: u64,
    /// Whether the message ends with it.
    last: bool,
    /// The upstream was told of it.
    begun: bool,
    /// A chunk was refused: the client has heard why.
    told: bool,
}

/// Reads chunks up to the last one and answers them, from the `first` on. If there is no `way`,
/// all are refused.
pub(crate) async fn receive(
    session: &Session,
    conn: &mut Conn,
    chunking: Chunking,
    way: Result<(Box<Handoff>, Option<Box<Fingerprinter>>), Reply>,
    first: Chunk,
) -> Result<Ready, End> {
    let mut chunks = Chunks::begin(session, conn, chunking, way).await;
    let mut chunk = first;
    loop {
        chunks.receive(conn, chunk).await?;
        if chunk.last {
            return Ok(chunks.chunking.end());
        }
        let event = chunks.next(conn).await;
        if !matches!(event, Ok(ChunkingEvent::Chunk(_)))
            && let Some(handoff) = chunks.body.abort(chunks.chunking.hello())
        {
            handoff.abandon();
        }
        match event? {
            ChunkingEvent::Chunk(next) => chunk = next,
            ChunkingEvent::Reset => {
                conn.say(&replies::RESET);
                conn.idled()?;
                return Ok(chunks.chunking.end());
            }
            ChunkingEvent::Hello(hello) => {
                session.say_hello(conn, &hello);
                conn.idled()?;
                return Ok(chunks.chunking.end().greet(hello));
            }
        }
    }
}

/// Reads past a chunk that belongs to no message, and refuses it.
pub(crate) async fn refuse(session: &Session, conn: &mut Conn, chunk: Chunk) -> Result<(), End> {
    if chunk.octets > DISCARD_OCTETS_MAX {
        return Err(conn.say_last(&replies::NEEDS_MAIL));
    }
    let mut left = chunk.octets;
    while left > 0 {
        if conn.input().is_empty() {
            let patience = conn.mark(session.service.config.data_timeout);
            if conn.fill(patience).await?.is_none() {
                return Err(conn.timed_out());
            }
        }
        left -= discard(conn, left);
    }
    conn.fault(&replies::NEEDS_MAIL)
}

/// Drops what is here of `left` octets, and says how many they were.
fn discard(conn: &mut Conn, left: u64) -> u64 {
    let here = (conn.input().len() as u64).min(left);
    conn.consume(here as usize);
    here
}

impl<'s> Chunks<'s> {
    async fn begin(
        session: &'s Session,
        conn: &Conn,
        chunking: Chunking,
        way: Result<(Box<Handoff>, Option<Box<Fingerprinter>>), Reply>,
    ) -> Self {
        let mends = session.terms().all(|terms| terms.bare_newlines == BareNewlines::Normalize);
        let mut form = Form::Data;
        let body = match way {
            Ok((handoff, mut fingerprinter)) if !mends && handoff.takes_chunks() => {
                form = Form::Chunks;
                if let Some(fingerprinter) = &mut fingerprinter {
                    fingerprinter.turn(Transparency::Plain);
                }
                Body::new(session, conn, (handoff, fingerprinter))
            }
            Ok((mut handoff, fingerprinter)) => match handoff.data().await {
                Ok(()) => Body::new(session, conn, (handoff, fingerprinter)),
                Err(reply) => {
                    answer::log_deferred(session, chunking.hello(), &handoff, &reply);
                    Body::refused(session, conn, reply)
                }
            },
            Err(reply) => Body::refused(session, conn, reply),
        };
        // What is held back is read as it would be read in DATA.
        let transparency = if form == Form::Chunks && body.header.is_none() {
            Transparency::Plain
        } else {
            Transparency::Stuffed
        };
        let scanner = if mends {
            ChunkScanner::normalizing(transparency)
        } else {
            ChunkScanner::new(transparency)
        };
        let rewritten = BytesMut::new();
        let (announced, count, left) = (0, 0, 0);
        let (last, begun, told) = (false, false, false);
        Self { chunking, body, form, scanner, rewritten, announced, count, left, last, begun, told }
    }

    /// Reads one chunk to its end and answers it.
    async fn receive(&mut self, conn: &mut Conn, chunk: Chunk) -> Result<(), End> {
        self.announce(conn, chunk)?;
        match self.relay(conn).await? {
            Some(last) if self.last => self.finish(conn, last).await,
            Some(last) => self.end_chunk(conn, last).await,
            None => {
                self.discard(conn).await?;
                self.refuse(conn)
            }
        }
    }

    /// BDAT was said. What is announced beyond the limit is not waited for.
    fn announce(&mut self, conn: &mut Conn, chunk: Chunk) -> Result<(), End> {
        (self.left, self.last, self.begun) = (chunk.octets, chunk.last, false);
        self.announced = self.announced.saturating_add(chunk.octets);
        self.count += 1;
        let mut entries = self.body.session.entries();
        let refusal =
            if let Some(entry) = entries.find(|it| self.announced > it.terms().max_message_size) {
                check::too_large(entry)
            } else if self.count > CHUNKS_MAX && self.announced / self.count < CHUNK_OCTETS_MIN {
                TOO_MANY_CHUNKS
            } else {
                return Ok(());
            };
        self.body.refuse(self.chunking.hello(), refusal.clone(), Then::Close);
        Err(conn.say_last(&refusal))
    }

    /// Hands on what comes of a chunk, but for its last piece, which it brings back. `None` if the
    /// message was refused; then some of the chunk may be left.
    async fn relay(&mut self, conn: &mut Conn) -> Result<Option<Piece>, End> {
        while self.body.relayed.is_some() {
            let here = (conn.input().len() as u64).min(self.left);
            let behind = match (here == self.left, self.last) {
                (false, _) => Behind::Octets,
                (true, false) => Behind::Chunk,
                (true, true) => Behind::Nothing,
            };
            match self.scanner.scan(&conn.input()[..here as usize], behind) {
                ChunkScan::More(octets) => {
                    let content = conn.take(octets);
                    let piece = self.piece(content, octets);
                    if self.left == 0 {
                        return Ok(Some(piece));
                    }
                    self.pass_on(conn, piece).await?;
                    self.body.wait(conn, self.chunking.hello()).await?;
                }
                ChunkScan::Replace { octets, replaced, with } => {
                    self.rewritten.extend_from_slice(&conn.input()[..octets]);
                    self.rewritten.extend_from_slice(with);
                    conn.consume(octets + replaced);
                    let piece_is_large = self.rewritten.len() > REWRITTEN_OCTETS_MAX;
                    self.left -= (octets + replaced) as u64;
                    if piece_is_large {
                        let piece = self.piece(Bytes::new(), 0);
                        self.pass_on(conn, piece).await?;
                    }
                }
                ChunkScan::Fault(octets, fault) => {
                    conn.consume(octets);
                    self.left -= octets as u64;
                    let reply = Reply::new(554, (5, 6, 0), fault.to_string());
                    self.body.refuse(self.chunking.hello(), reply, Then::after(fault));
                }
            }
        }
        Ok(None)
    }

    /// `octets` of the client, with what was rewritten before them.
    fn piece(&mut self, content: Bytes, octets: usize) -> Piece {
        self.left -= octets as u64;
        if self.rewritten.is_empty() {
            return Piece(content);
        }
        self.rewritten.extend_from_slice(&content);
        Piece(self.rewritten.split().freeze())
    }

    async fn pass_on(&mut self, conn: &mut Conn, piece: Piece) -> Result<(), End> {
        let received = piece.0.len() as u64;
        let was_held = self.body.header.is_some();
        let content = self.body.examine(self.chunking.hello(), piece.0);
        let content = self.released(was_held, content);
        if !content.is_empty() {
            self.begin_chunk(&content).await;
        }
        self.body.pass_on(conn, content, received).await
    }

    /// The chunk is here. The upstream's word on it is the client's; if it has nothing of it, ours.
    async fn end_chunk(&mut self, conn: &mut Conn, last: Piece) -> Result<(), End> {
        self.pass_on(conn, last).await?;
        let Some(handoff) = &mut self.body.relayed else { return self.refuse(conn) };
        let asked = conn.mark(Duration::ZERO);
        match handoff.end_chunk().await {
            Ok(reply) => {
                self.body.put_off_stall(conn, Duration::ZERO, asked);
                conn.say(reply.as_ref().unwrap_or(&replies::OK));
            }
            Err(_) => self.complete(conn, Last::OfChunk(Bytes::new())).await,
        }
        Ok(())
    }

    /// The last chunk is here.
    async fn finish(&mut self, conn: &mut Conn, last: Piece) -> Result<(), End> {
        let was_held = self.body.header.is_some();
        let content = self.body.examine_last(self.chunking.hello(), last.0);
        let content = self.released(was_held, content);
        self.body.judge_copy(self.chunking.hello(), &content);
        self.begin_chunk(&content).await;
        let Some(handoff) = &mut self.body.relayed else { return self.refuse(conn) };
        let last = if self.form == Form::Chunks {
            Last::OfChunk(content)
        } else {
            if !content.is_empty() {
                handoff.content(content).await;
            }
            Last::Terminated(Bytes::from_static(if self.scanner.is_in_line() {
                LINE_END_AND_TERMINATOR
            } else {
                TERMINATOR
            }))
        };
        self.complete(conn, last).await;
        Ok(())
    }

    /// What goes on of content that was held back until now: in chunks, without the dots that it was
    /// read with. From here on none are put in.
    fn released(&mut self, was_held: bool, content: Bytes) -> Bytes {
        if self.form == Form::Data || !was_held || self.body.header.is_some() {
            return content;
        }
        self.scanner.turn(Transparency::Plain);
        unstuff(&content).into()
    }

    /// Tells the upstream of the chunk, with its first content: what was held back is in it.
    async fn begin_chunk(&mut self, content: &Bytes) {
        if self.form == Form::Chunks
            && !self.begun
            && let Some(handoff) = &mut self.body.relayed
        {
            let octets = content.len() as u64 + self.left;
            handoff.begin_chunk(Chunk { octets, last: self.last }).await;
            self.begun = true;
        }
    }

    /// The message is over for the upstream, or the upstream for the message. It is answered, and
    /// any chunk behind it is refused.
    async fn complete(&mut self, conn: &mut Conn, last: Last) {
        let Some(handoff) = self.body.relayed.take() else { return };
        answer::complete(self.body.session, conn, self.chunking.hello(), handoff, last).await;
        self.body.refusal = Some(Refusal::new(replies::CHUNK_REFUSED, Then::GoOn));
        self.told = true;
    }

    /// Reads past what is left of the chunk.
    async fn discard(&mut self, conn: &mut Conn) -> Result<(), End> {
        while self.left > 0 {
            if conn.input().is_empty() {
                self.body.wait(conn, self.chunking.hello()).await?;
            }
            let octets = discard(conn, self.left);
            self.left -= octets;
            self.body.pass_on(conn, Bytes::new(), octets).await?;
        }
        Ok(())
    }

    /// The chunk was read; says why it is refused, once.
    fn refuse(&mut self, conn: &mut Conn) -> Result<(), End> {
        let Some(refusal) = &self.body.refusal else { return Ok(()) };
        if std::mem::replace(&mut self.told, true) {
            return conn.fault(&replies::CHUNK_REFUSED);
        }
        match refusal.then {
            Then::Close => Err(conn.say_last(&refusal.reply)),
            // The upstream was lost before the first chunk: no fault of the client.
            Then::GoOn if refusal.reply.is_transient() => {
                conn.say(&refusal.reply);
                Ok(())
            }
            Then::GoOn => conn.fault(&refusal.reply),
        }
    }

    /// What the client says behind a chunk.
    async fn next(&mut self, conn: &mut Conn) -> Result<ChunkingEvent, End> {
        loop {
            let octets = match conn.buffered() {
                Buffered::Line(octets) => octets,
                Buffered::Nothing => {
                    self.body.wait(conn, self.chunking.hello()).await?;
                    continue;
                }
                Buffered::Fault(reply) => {
                    conn.fault(&reply)?;
                    continue;
                }
                Buffered::Lost(reply) => return Err(conn.say_last(&reply)),
            };
            conn.relieve(self.body.session.service.config.command_timeout).await?;
            let step = self.chunking.handle(conn.line(octets));
            conn.consume(octets);
            match step.decision() {
                Ok(event) => return Ok(event),
                Err(step) => conn.perform(step)?,
            }
        }
    }
}
