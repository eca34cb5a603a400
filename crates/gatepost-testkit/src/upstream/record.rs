//! What the upstream remembers: connections, command lines, messages.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::content::Content;
use super::login::Login;
use crate::PATIENCE;
use crate::transcript::Transcript;

/// The most that one wait may take, even if something arrives all the time.
const WAIT_MAX: Duration = Duration::from_mins(2);

/// One connection to the upstream.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Who connected.
    pub peer: SocketAddr,
    /// What each read returned: what came in one piece was sent in one piece. An upstream that
    /// keeps digests only leaves out the reads that began inside mail data.
    pub chunks: Vec<Vec<u8>>,
    /// The command lines without their CRLF (octets that are not UTF-8 are replaced here, and
    /// exact in `chunks`).
    pub lines: Vec<String>,
    /// If a message began and its end of data was not seen: how many octets of it were.
    pub unfinished_octets: Option<u64>,
    /// TLS, once there is some.
    pub secured: Option<Secured>,
    /// Who wanted to log in, whether it was accepted or not.
    pub logins: Vec<Login>,
    /// How the connection ended; nothing while it is open.
    pub ending: Option<Ending>,
    transcript: Transcript,
}

/// What TLS of a connection is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secured {
    /// An earlier session goes on.
    pub resumed: bool,
    /// 1.3, not 1.2.
    pub is_tls13: bool,
    /// The name that was asked for.
    pub server_name: Option<String>,
    /// What the client has shown, its own certificate first, as in [`Issued::der`](crate::Issued).
    pub client_certificates: Vec<Vec<u8>>,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The gateway closed it (FIN).
    ClosedByPeer,
    /// There was to be TLS, and the handshake failed.
    NoTls,
    /// The gateway reset it, or writing to it failed.
    ResetByPeer,
    /// The upstream ended it: by its script, after QUIT, by `stop`, or by a panic.
    Here,
}

impl Connection {
    /// All octets in the order they came.
    pub fn received(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    /// Whether one read held all of these texts: they were sent in one group.
    pub fn arrived_together(&self, texts: &[&str]) -> bool {
        let holds = |chunk: &[u8], text: &str| {
            chunk.windows(text.len()).any(|window| window == text.as_bytes())
        };
        self.chunks.iter().any(|chunk| texts.iter().all(|text| holds(chunk, text)))
    }
}

impl Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  from {}, {:?}:", self.peer, self.ending)?;
        write!(f, "{}", self.transcript)
    }
}

/// A message whose end of data was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which connection brought it: an index into `connections()`.
    pub connection: usize,
    /// The MAIL line as received.
    pub mail: String,
    /// The RCPT lines that were accepted, as received.
    pub recipients: Vec<String>,
    /// The mail data as received.
    pub content: Content,
    /// The reply to the end of data, if there was one.
    pub reply: Option<String>,
}

impl Message {
    /// Whether the upstream took responsibility for it.
    pub fn accepted(&self) -> bool {
        self.reply.as_deref().is_some_and(|reply| reply.starts_with('2'))
    }

    /// The content as text, for comparisons that should be readable.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content.bytes).into_owned()
    }

    /// The content without the first header field, if that is `Received:`: what the client sent.
    pub fn after_received(&self) -> &[u8] {
        let content = &self.content.bytes[..];
        if !content.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"Received:")) {
            return content;
        }
        let mut end = 0;
        for line in content.split_inclusive(|&octet| octet == b'\n') {
            // A line that begins with white space goes on with the field (RFC 5322 §2.2.3).
            if end > 0 && !line.starts_with(b" ") && !line.starts_with(b"\t") {
                break;
            }
            end += line.len();
        }
        &content[end..]
    }
}

/// Shared by all connections of an upstream, and by whoever asks.
#[derive(Debug, Default)]
pub(super) struct Journal {
    page: Mutex<Page>,
    news: watch::Sender<()>,
}

#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) connections: Vec<Connection>,
    pub(super) lines: Vec<String>,
    pub(super) messages: Vec<Message>,
    pub(super) open: usize,
    pub(super) open_max: usize,
    pub(super) moves: usize,
}

impl Journal {
    pub(super) fn look<T>(&self, at: impl FnOnce(&Page) -> T) -> T {
        at(&self.page.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits as long as there is news, but no longer than [`PATIENCE`] for the next; what the
    /// upstream saw instead is the error.
    pub(super) async fn wait_until(&self, happened: impl Fn(&Page) -> bool) -> Result<(), String> {
        let mut news = self.news.subscribe();
        let begun = Instant::now();
        while !self.look(&happened) {
            let waited = timeout(PATIENCE, news.changed()).await;
            if waited.is_err() || begun.elapsed() > WAIT_MAX {
                return Err(self.look(Page::story));
            }
        }
        Ok(())
    }

    fn write<T>(&self, change: impl FnOnce(&mut Page) -> T) -> T {
        let result = change(&mut self.page.lock().unwrap_or_else(PoisonError::into_inner));
        self.news.send_replace(());
        result
    }
}

impl Page {
    pub(super) fn story(&self) -> String {
        let connections: String = self.connections.iter().map(Connection::to_string).collect();
        format!(
            "  the upstream's side:\n{connections}  {} messages, {} connections open\n",
            self.messages.len(),
            self.open
        )
    }
}

/// The pen of one connection. However the connection ends, dropping the pen notes it.
#[derive(Debug)]
pub(super) struct Pen {
    journal: Arc<Journal>,
    connection: usize,
}

impl Pen {
    pub(super) fn new(journal: Arc<Journal>, peer: SocketAddr) -> Self {
        let connection = journal.write(|page| {
            page.open += 1;
            page.open_max = page.open_max.max(page.open);
            page.connections.push(Connection {
                peer,
                chunks: Vec::new(),
                lines: Vec::new(),
                unfinished_octets: None,
                secured: None,
                logins: Vec::new(),
                ending: None,
                transcript: Transcript::default(),
            });
            page.connections.len() - 1
        });
        Self { journal, connection }
    }

    pub(super) fn read(&self, octets: &[u8], keep: bool) {
        self.note(|connection| {
            connection.transcript.said('C', octets);
            if keep {
                connection.chunks.push(octets.to_vec());
            }
        });
    }

    pub(super) fn sent(&self, octets: &[u8]) {
        self.note(|connection| connection.transcript.said('S', octets));
    }

    pub(super) fn moved(&self, what: &str) {
        self.journal.write(|page| {
            page.moves += 1;
            page.connections[self.connection].transcript.happened('S', what);
        });
    }

    pub(super) fn line(&self, line: &str) {
        self.journal.write(|page| {
            page.lines.push(line.to_owned());
            page.connections[self.connection].lines.push(line.to_owned());
        });
    }

    pub(super) fn secured(&self, secured: Secured) {
        self.note(|connection| {
            connection.transcript.happened('S', &format!("TLS, resumed: {}", secured.resumed));
            connection.secured = Some(secured);
        });
    }

    pub(super) fn login(&self, login: Login) {
        self.note(|connection| connection.logins.push(login));
    }

    pub(super) fn unfinished(&self, octets: u64) {
        self.note(|connection| connection.unfinished_octets = Some(octets));
    }

    pub(super) fn message(&self, message: impl FnOnce(usize) -> Message) {
        self.journal.write(|page| {
            page.connections[self.connection].unfinished_octets = None;
            page.messages.push(message(self.connection));
        });
    }

    pub(super) fn ended(&self, ending: Ending) {
        self.note(|connection| {
            connection.ending = Some(ending);
            connection.transcript.happened('C', &format!("{ending:?}"));
        });
    }

    pub(super) fn story(&self) -> String {
        self.journal.look(|page| page.connections[self.connection].to_string())
    }

    fn note(&self, change: impl FnOnce(&mut Connection)) {
        self.journal.write(|page| change(&mut page.connections[self.connection]));
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        self.journal.write(|page| {
            page.open -= 1;
            page.connections[self.connection].ending.get_or_insert(Ending::Here);
        });
    }
}
