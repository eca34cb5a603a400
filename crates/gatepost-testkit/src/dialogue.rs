//! Dialogue files: conversations with a gateway, written to be read.
//!
//! A `*.smtp` file is a chapter about the protocol. Its comments tell the story, its lines are
//! what the client and the upstream see; both are checked.
//!
//! ```text
//! # An upstream that knows only some of the recipients.
//! U> RCPT TO:<bad@ => 550 5.1.1 no such user
//!
//! --- One of two recipients is refused
//! # Its word is the client's.
//! S: 220
//! C: EHLO app.test
//! S: 250-relay.test
//! S: 250 ...
//! C| MAIL FROM:<a@app.test>\r\nRCPT TO:<bad@b.test>\r\nRCPT TO:<good@b.test>\r\n
//! S: 250 2.1.0
//! S: 550 5.1.1 no such user
//! S: 250 2.1.5
//! U< MAIL FROM:<a@app.test>
//! ```
//!
//! | line | meaning |
//! |---|---|
//! | `# text` | a comment; empty lines are ignored too |
//! | `--- title` | a new dialogue begins; what stands before the first one is for all of them |
//! | `@name value` | a setting: `@from 127.0.0.2` is the client's address, others are the caller's |
//! | `U> RCPT TO:<bad@ => 550 5.1.1 no` | what the upstream does about everything that begins so |
//! | `U> MAIL #2 => close` | … about the second such event; see below for `CONNECT`, `.`, actions |
//! | `C: text` | the client sends the text and CRLF |
//! | `C\| text` | the client sends the text alone, with `\r \n \t \0 \\ \xNN` |
//! | `C! close`, `half-close`, `reset`, `wait 200ms` | the client does this |
//! | `S: 250 2.1.0` | the server sends a reply of one line that begins so |
//! | `S: 250-relay` | … whose next line is the next `S:` |
//! | `S: 250-...`, `S: 250 ...` | any number of lines; the rest of the reply, whatever it is |
//! | `S! closed`, `silent` | the server closes; the server sends nothing for a moment |
//! | `U< MAIL FROM:<a@b>` | the upstream's next command line; see below |
//! | `U= text` | a line of the upstream's next message, with escapes as in `C\|` |
//! | `U= none` | the upstream has no message, and gets none to the end of the dialogue |
//!
//! Settings and `U>` stand before the conversation. Events are command lines, `CONNECT` (answered
//! by the greeting) and `.` (the end of data). Actions are a reply (`\n` between its lines),
//! `close`, `close with 421 4.3.2 bye`, `close after 1000` and `stall after 1000` (octets of data,
//! in answer to DATA), `reset`, `silence`, `delay 200ms 250 2.0.0 Ok`, `raw 250 a\r\n250 b\r\n`,
//! and `never` (the test fails).
//!
//! `U<` lines go on where the one before stopped. EHLO, HELO, NOOP, RSET and QUIT that are not
//! mentioned are passed over: they belong to the connection. `U=` lines next to each other are one
//! message, complete, dot-stuffed, without the `Received:` field in front. Who mentions one line
//! or one message of the upstream has to mention all: more of them fail the dialogue at its end.

mod parse;
mod run;
#[cfg(test)]
mod tests;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::upstream::{Action, Builder, ScriptedUpstream};

pub use parse::parse;

/// One conversation, with what the upstream is to do and to see.
#[derive(Clone, Debug)]
pub struct Dialogue {
    /// The file it is from, as failures name it.
    pub file: String,
    /// The text of its `---` line; empty if the file is one dialogue.
    pub title: String,
    head: Head,
    steps: Vec<Numbered>,
}

/// What stands before the conversation.
#[derive(Clone, Debug, Default)]
struct Head {
    from: Option<IpAddr>,
    settings: Vec<(String, String)>,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    prefix: String,
    nth: Option<usize>,
    action: Action,
}

/// A step and the line of the file where it begins.
#[derive(Clone, Debug)]
struct Numbered {
    line: usize,
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Send(Vec<u8>),
    Close,
    HalfClose,
    Reset,
    Wait(Duration),
    /// The lines of one reply, as prefixes.
    Reply(Vec<String>),
    Closed,
    Silent,
    UpstreamLine(String),
    UpstreamMessage(Vec<u8>),
    UpstreamNothing,
}

impl Dialogue {
    /// The last value of `@name value` in the file's preamble or the dialogue's own head.
    pub fn setting(&self, name: &str) -> Option<&str> {
        let settings = self.head.settings.iter().rev();
        settings.clone().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of `@name value` in the order of the file: lines of a table, perhaps.
    pub fn settings<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let settings = self.head.settings.iter();
        settings.filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// An upstream with the rules of this dialogue.
    pub fn upstream(&self) -> Builder {
        self.head.rules.iter().fold(ScriptedUpstream::builder(), |builder, rule| match rule.nth {
            Some(nth) => builder.on_nth(&rule.prefix, nth, rule.action.clone()),
            None => builder.on(&rule.prefix, rule.action.clone()),
        })
    }
}

/// Reads a dialogue file, or all `*.smtp` files of a directory in the order of their names.
pub fn load(path: impl AsRef<Path>) -> Vec<Dialogue> {
    let path = path.as_ref();
    if path.is_dir() {
        let files = smtp_files(path);
        assert!(!files.is_empty(), "no *.smtp in {}", path.display());
        return files.iter().flat_map(load).collect();
    }
    let file = path.display().to_string();
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"));
    parse(&file, &text).unwrap_or_else(|what| panic!("{what}"))
}

fn smtp_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("a readable directory").path());
    let mut files: Vec<PathBuf> =
        entries.filter(|file| file.extension().is_some_and(|end| end == "smtp")).collect();
    files.sort();
    files
}

/// Plays dialogues one after the other, each with an upstream and a gateway of its own.
///
/// `start_gateway` starts a gateway that relays to the given upstream, and returns its address and
/// whatever must live as long as it (a guard that stops it when dropped).
pub async fn play<G>(
    dialogues: &[Dialogue],
    start_gateway: impl AsyncFn(&Dialogue, SocketAddr) -> (SocketAddr, G),
) {
    for dialogue in dialogues {
        let upstream = dialogue.upstream().start();
        let (gateway_addr, gateway) = start_gateway(dialogue, upstream.addr()).await;
        dialogue.run(gateway_addr, &upstream).await;
        drop(gateway);
        upstream.stop().await;
    }
}
