//! The mail log: one JSON object per line for everything that happened to a message.
//!
//! Writing an event puts a line into a bounded buffer and never waits for a disk or a pipe: a
//! thread of its own takes the buffer ten times a second. What does not fit is dropped and
//! counted; the log is a record, not the promise. `line.rs` escapes control characters, so an event is
//! one line whatever a client has sent.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gatepost_delivery::Paths;
use gatepost_smtp::reply::Reply;
use metrics::{Counter, counter, describe_counter};

use crate::id::Id;
use line::Line;

mod line;

/// Octets that may wait for the writer: a second of 10,000 events.
const BUFFER_OCTETS_MAX: usize = 4 * 1024 * 1024;
/// Octets at which the writer is woken early.
const BUFFER_OCTETS_FULL: usize = BUFFER_OCTETS_MAX / 4;
/// How long events are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(100);

/// What an event is about; the words are those of KumoMTA's log, so that tools carry over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// The upstream refused the message or its recipients for good.
    Bounce,
    /// The upstream took the message.
    Delivery,
    /// No upstream took the message in the time it had.
    Expiration,
    /// The message was accepted from the client.
    Reception,
    /// The client was refused.
    Rejection,
    /// The upstream could not take the message now.
    TransientFailure,
}

impl EventType {
    const fn name(self) -> &'static str {
        match self {
            Self::Bounce => "Bounce",
            Self::Delivery => "Delivery",
            Self::Expiration => "Expiration",
            Self::Reception => "Reception",
            Self::Rejection => "Rejection",
            Self::TransientFailure => "TransientFailure",
        }
    }
}

/// Where a message comes from. Borrowed from the session for the moment of logging.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Id of the session.
    pub session_id: &'a str,
    /// Name of the listener.
    pub listener: &'a str,
    /// Id of the entry, if one matched.
    pub entry: Option<&'a str>,
    /// Id of the credential, if one was used.
    pub credential: Option<&'a str>,
    /// Generation of the ruleset.
    pub generation: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// What the client calls itself.
    pub helo: Option<&'a str>,
    /// TLS version, if any.
    pub tls: Option<&'a str>,
}

impl Origin<'_> {
    /// The same, as the spool keeps it. Whoever comes by no entry of a list has a share of its own.
    pub(crate) fn stored(&self, share: &Arc<str>) -> gatepost_spool::Origin {
        let own = |text: Option<&str>| text.map(Arc::from);
        gatepost_spool::Origin {
            session_id: self.session_id.into(),
            listener: self.listener.into(),
            entry: Arc::clone(share),
            credential: own(self.credential),
            generation: self.generation.into(),
            client: self.client,
            helo: own(self.helo),
            tls: own(self.tls),
        }
    }
}

impl<'a> From<&'a gatepost_spool::Origin> for Origin<'a> {
    fn from(stored: &'a gatepost_spool::Origin) -> Self {
        Self {
            session_id: &stored.session_id,
            listener: &stored.listener,
            entry: Some(&stored.entry),
            credential: stored.credential.as_deref(),
            generation: &stored.generation,
            client: stored.client,
            helo: stored.helo.as_deref(),
            tls: stored.tls.as_deref(),
        }
    }
}

/// One line of the mail log; the contract lists the fields. What is `None` is not in it.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// What it is about.
    pub r#type: EventType,
    /// When, RFC 3339.
    pub time: jiff::Timestamp,
    /// Id of the message; none if there was none.
    pub id: Option<Id>,
    /// Who sent it.
    pub origin: Origin<'a>,
    /// Reverse-path, empty if null, as the client has sent it.
    pub sender: Option<&'a [u8]>,
    /// Forward-paths the event is about.
    pub recipients: Option<&'a Paths>,
    /// Octets of content as received.
    pub size: Option<u64>,
    /// How it was handed over.
    pub mode: Option<&'a str>,
    /// Name of the upstream.
    pub upstream: Option<&'a str>,
    /// The reply that decided; empty, if there was nobody to say it to.
    pub reply: Option<&'a Reply>,
    /// Which attempt it was.
    pub attempt: Option<u32>,
    /// From MAIL to this event.
    pub duration_ms: Option<u64>,
    /// Why, for people.
    pub reason: Option<Cow<'a, str>>,
}

impl<'a> Event<'a> {
    /// An event of this moment, about nothing in particular yet.
    pub fn new(r#type: EventType, origin: Origin<'a>, reply: Option<&'a Reply>) -> Self {
        Self {
            r#type,
            time: jiff::Timestamp::now(),
            id: None,
            origin,
            sender: None,
            recipients: None,
            size: None,
            mode: None,
            upstream: None,
            reply,
            attempt: None,
            duration_ms: None,
            reason: None,
        }
    }

    /// Its lines under several names, each with its number of an attempt.
    pub fn lines(&self, names: &[(EventType, Option<u32>)]) -> Vec<u8> {
        /// Most events are a few hundred octets, and few messages have more than two.
        const EVENT_OCTETS: usize = 480;
        let mut members = Line::with_capacity(EVENT_OCTETS);
        self.encode(&mut members);
        let members = members.as_slice();
        let mut lines = Vec::with_capacity(names.len() * (members.len() + 48));
        for (r#type, attempt) in names {
            lines.extend_from_slice(b"{\"type\":\"");
            lines.extend_from_slice(r#type.name().as_bytes());
            lines.push(b'"');
            if let Some(attempt) = attempt {
                // A Vec takes everything.
                let _ = write!(lines, ",\"attempt\":{attempt}");
            }
            lines.extend_from_slice(members);
            lines.extend_from_slice(b"}\n");
        }
        lines
    }

    /// All members of its line but those that two events of one message differ in.
    fn encode(&self, line: &mut Line) {
        line.plain("time", self.time);
        if let Some(id) = self.id {
            line.plain("id", id);
        }
        self.origin.encode(line);
        if let Some(sender) = self.sender {
            line.octets("sender", sender);
        }
        if let Some(recipients) = self.recipients {
            line.list("recipients", recipients.iter());
        }
        if let Some(size) = self.size {
            line.number("size", size);
        }
        if let Some(mode) = self.mode {
            line.text("mode", mode);
        }
        if let Some(upstream) = self.upstream {
            line.text("upstream", upstream);
        }
        match self.reply {
            Some(reply) => line.text("reply", &reply.to_string()),
            None => line.text("reply", ""),
        }
        if let Some(milliseconds) = self.duration_ms {
            line.number("duration_ms", milliseconds);
        }
        if let Some(reason) = &self.reason {
            line.text("reason", reason);
        }
    }
}

impl Origin<'_> {
    fn encode(&self, line: &mut Line) {
        line.text("session_id", self.session_id);
        line.text("listener", self.listener);
        line.text_or_null("entry", self.entry);
        if let Some(credential) = self.credential {
            line.text("credential", credential);
        }
        line.text("generation", self.generation);
        line.plain("client", self.client);
        line.text_or_null("helo", self.helo);
        line.text_or_null("tls", self.tls);
    }
}

/// Where the mail log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailLogTarget {
    /// Nowhere.
    Off,
    /// Appended to a file.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// A handle to write events with. Clones write to the same log.
#[derive(Clone)]
pub struct MailLog {
    /// `None`: the log is off.
    shared: Option<Arc<Shared>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    dropped: Counter,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    reopen: bool,
    stop: bool,
    /// The writer has written what there was, and is gone.
    stopped: bool,
}

/// Ends the log when it is dropped: what was written by then is on its way out.
pub struct MailLogWriter {
    shared: Option<Arc<Shared>>,
}

impl MailLog {
    /// A log that takes nothing.
    pub const fn off() -> Self {
        Self { shared: None }
    }

    /// Opens the target and starts the thread that writes to it.
    pub fn start(target: &MailLogTarget) -> io::Result<(Self, MailLogWriter)> {
        let mut output = match target {
            MailLogTarget::Off => {
                return Ok((Self::off(), MailLogWriter { shared: None }));
            }
            MailLogTarget::Stdout => Output::Stdout,
            MailLogTarget::File(path) => Output::File(open(path)?, path.clone()),
        };
        describe_counter!("gatepost_mail_log_dropped_total", "Lines that the mail log has lost");
        let dropped = counter!("gatepost_mail_log_dropped_total");
        dropped.increment(0);
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Condvar::new(), dropped });
        let for_thread = shared.clone();
        std::thread::Builder::new()
            .name("mail-log".to_owned())
            .spawn(move || for_thread.run(&mut output))?;
        Ok((Self { shared: Some(shared.clone()) }, MailLogWriter { shared: Some(shared) }))
    }

    /// Whether events go anywhere; if not, there is no need to make them.
    pub const fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// Writes one event.
    pub fn write(&self, event: &Event<'_>) {
        self.write_as(event, &[(event.r#type, event.attempt)]);
    }

    /// Writes one event under several names, each with its number of an attempt: what an upstream takes
    /// at once is received and delivered in the same words.
    pub fn write_as(&self, event: &Event<'_>, names: &[(EventType, Option<u32>)]) {
        let Some(shared) = &self.shared else { return };
        shared.push(&event.lines(names), names.len() as u64);
    }

    /// Opens the file anew, for log rotation.
    pub fn reopen(&self) {
        if let Some(shared) = &self.shared {
            shared.state().reopen = true;
            shared.wake.notify_one();
        }
    }
}

impl Shared {
    fn push(&self, lines: &[u8], count: u64) {
        let mut state = self.state();
        let before = state.buffer.len();
        if before + lines.len() > BUFFER_OCTETS_MAX {
            drop(state);
            self.dropped.increment(count);
            return;
        }
        state.buffer.extend_from_slice(lines);
        let full = before < BUFFER_OCTETS_FULL && state.buffer.len() >= BUFFER_OCTETS_FULL;
        drop(state);
        // The writer sleeps while there is nothing; waking it costs a system call, so only the
        // first event and a full buffer do.
        if before == 0 || full {
            self.wake.notify_one();
        }
    }

    fn run(&self, output: &mut Output) {
        let mut batch = Vec::new();
        // A write failed somewhere in a line: the next event begins a new one.
        let mut torn = false;
        loop {
            let mut state = self.state();
            while state.buffer.is_empty() && !state.reopen && !state.stop {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if !state.stop && !state.reopen && state.buffer.len() < BUFFER_OCTETS_FULL {
                state =
                    self.wake.wait_timeout(state, GATHER).unwrap_or_else(PoisonError::into_inner).0;
            }
            std::mem::swap(&mut state.buffer, &mut batch);
            let (reopen, stop) = (std::mem::take(&mut state.reopen), state.stop);
            drop(state);
            if std::mem::take(&mut torn) && !batch.is_empty() {
                batch.insert(0, b'\n');
            }
            if let Err(error) = output.write(&batch) {
                let lines = memchr::memchr_iter(b'\n', &batch).count();
                self.dropped.increment(lines as u64);
                tracing::error!(%error, lines, "cannot write the mail log");
                torn = true;
            }
            batch.clear();
            if reopen && let Err(error) = output.reopen() {
                tracing::error!(%error, "cannot reopen the mail log; the old file stays in use");
            }
            if stop {
                self.state().stopped = true;
                self.wake.notify_all();
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the buffer in the middle of a line: lines are appended whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MailLogWriter {
    fn drop(&mut self) {
        /// A pipe that nobody reads must not keep the program from ending.
        const PATIENCE: Duration = Duration::from_secs(2);
        let Some(shared) = self.shared.take() else { return };
        let mut state = shared.state();
        state.stop = true;
        shared.wake.notify_one();
        let waited = shared.wake.wait_timeout_while(state, PATIENCE, |state| !state.stopped);
        if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            tracing::warn!("the mail log cannot be written: its last lines are lost");
        }
    }
}

enum Output {
    File(File, PathBuf),
    Stdout,
}

impl Output {
    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file, _) => file.write_all(octets),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(octets)?;
                stdout.flush()
            }
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Self::File(file, path) = self {
            *file = open(path)?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    static OK: Reply = Reply::fixed(250, (2, 0, 0), "Ok");

    fn event(sender: &[u8]) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("mail.jsonl");
        let (log, writer) = MailLog::start(&MailLogTarget::File(path.clone())).expect("opens");
        let mut recipients = Paths::default();
        recipients.push(b"b@example.net", b"");
        log.write(&Event {
            r#type: EventType::Delivery,
            time: jiff::Timestamp::UNIX_EPOCH,
            id: Some(Id::wrapping(1)),
            origin: Origin {
                session_id: "s",
                listener: "smtp",
                entry: Some("fleet"),
                credential: None,
                generation: "1-abcdef",
                client: [127, 0, 0, 1].into(),
                helo: Some("app"),
                tls: None,
            },
            sender: Some(sender),
            recipients: Some(&recipients),
            size: Some(12),
            mode: Some("sync"),
            upstream: Some("sink"),
            reply: Some(&OK),
            attempt: Some(1),
            duration_ms: Some(3),
            reason: None,
        });
        drop(writer);
        std::fs::read_to_string(&path).expect("written before the writer is gone")
    }

    #[test]
    fn an_event_is_one_line_of_json() {
        let line = event(b"a\r\n\x1b\0\"@example.com");
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["type"], "Delivery");
        assert_eq!(value["time"], "1970-01-01T00:00:00Z");
        assert_eq!(value["sender"], "a\r\n\u{1b}\0\"@example.com");
        assert_eq!(value["recipients"][0], "b@example.net");
        assert_eq!(value["entry"], "fleet");
        assert_eq!(value["client"], "127.0.0.1");
        assert_eq!((&value["helo"], &value["tls"]), (&"app".into(), &serde_json::Value::Null));
        assert_eq!((&value["size"], &value["attempt"]), (&12.into(), &1.into()));
        assert_eq!((&value["mode"], &value["upstream"]), (&"sync".into(), &"sink".into()));
        assert_eq!((&value["reply"], &value["duration_ms"]), (&"250 2.0.0 Ok".into(), &3.into()));
        assert_eq!((value.get("reason"), value.get("credential")), (None, None));
    }

    #[test]
    fn a_full_buffer_drops_and_does_not_wait() {
        let shared =
            Shared { state: Mutex::default(), wake: Condvar::new(), dropped: Counter::noop() };
        let line = vec![b'x'; BUFFER_OCTETS_MAX];
        shared.push(&line, 1);
        shared.push(b"one more", 1);
        assert_eq!(shared.state().buffer.len(), BUFFER_OCTETS_MAX);
    }

    #[test]
    fn a_rotated_file_is_left_behind() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("mail.jsonl");
        let (log, writer) = MailLog::start(&MailLogTarget::File(path.clone())).expect("opens");
        std::fs::rename(&path, directory.path().join("old")).expect("renames");
        log.reopen();
        drop(writer);
        assert!(path.exists());
    }
}
