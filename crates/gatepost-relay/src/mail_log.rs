//! The mail log: one JSON object per line for everything that happened to a message.
//!
//! Writing an event puts a line into a bounded buffer and never waits for a disk or a pipe: a
//! thread of its own takes the buffer ten times a second. What does not fit is dropped and
//! counted; the log is a record, not the promise. `line.rs` escapes control characters, so an event is
//! one line whatever a client has sent.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, counter, describe_counter};

pub use event::{Event, EventType, Origin};

mod event;
mod line;

/// Octets that may wait for the writer: a second of 10,000 events.
const BUFFER_OCTETS_MAX: usize = 4 * 1024 * 1024;
/// Octets at which the writer is woken early.
const BUFFER_OCTETS_FULL: usize = BUFFER_OCTETS_MAX / 4;
/// How long events are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(100);

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
    use gatepost_delivery::Paths;
    use gatepost_smtp::reply::Reply;

    use super::*;
    use crate::id::Id;

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
