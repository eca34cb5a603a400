//! Plays one dialogue against a running gateway.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::time::sleep;

use super::{Dialogue, Step};
use crate::client::ByteClient;
use crate::transcript::escape;
use crate::upstream::{Message, ScriptedUpstream};

/// How long nothing must happen before we believe that nothing will.
const MOMENT: Duration = Duration::from_millis(100);
/// Commands that belong to an upstream connection and not to a transaction.
const OF_THE_CONNECTION: [&str; 5] = ["EHLO", "HELO", "NOOP", "RSET", "QUIT"];

impl Dialogue {
    /// Plays the client against the gateway at `gateway`, which relays to `upstream`. A failure
    /// panics with file, line and both conversations.
    pub async fn run(&self, gateway: SocketAddr, upstream: &ScriptedUpstream) {
        let from = self.head.from.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let client = ByteClient::try_connect_from(from, gateway).await;
        let first_line = self.steps.first().map_or(0, |first| first.line);
        let client = client.unwrap_or_else(|what| panic!("{}:{first_line}: {what}", self.file));
        let mut stage = Stage { client, upstream, lines_told: 0, messages_told: 0 };

        let mut last_line = first_line;
        for step in &self.steps {
            last_line = step.line;
            let played = stage.play(&step.step).await;
            played.unwrap_or_else(|what| self.fail(step.line, &what, &stage));
        }
        let ended = stage.end(&self.steps.iter().map(|step| &step.step).collect::<Vec<_>>()).await;
        ended.unwrap_or_else(|what| self.fail(last_line, &what, &stage));
    }

    fn fail(&self, line: usize, what: &str, stage: &Stage<'_>) -> ! {
        panic!(
            "{}:{line}: {what}\n  in the dialogue {:?}; the client's side:\n{}{}",
            self.file,
            self.title,
            stage.client.transcript(),
            stage.upstream.story()
        )
    }
}

struct Stage<'a> {
    client: ByteClient,
    upstream: &'a ScriptedUpstream,
    /// How many of the upstream's lines the dialogue has accounted for.
    lines_told: usize,
    messages_told: usize,
}

impl Stage<'_> {
    async fn play(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Send(octets) => self.client.try_send(octets).await,
            Step::Close => {
                self.client.close();
                Ok(())
            }
            Step::HalfClose => self.client.try_half_close().await,
            Step::Reset => {
                self.client.reset();
                Ok(())
            }
            Step::Wait(time) => {
                sleep(*time).await;
                Ok(())
            }
            Step::Reply(expected) => self.expect_reply(expected).await,
            Step::Closed => self.client.try_expect_closed().await,
            Step::Silent => self.client.try_expect_silence(MOMENT).await,
            Step::UpstreamLine(line) => self.expect_upstream_line(line).await,
            Step::UpstreamMessage(content) => self.expect_upstream_message(content).await,
            Step::UpstreamNothing => self.expect_upstream_nothing(),
        }
    }

    /// The client goes, and the upstream must have received nothing that was not told.
    async fn end(&mut self, steps: &[&Step]) -> Result<(), String> {
        self.client.close();
        let tells_lines = steps.iter().any(|step| matches!(step, Step::UpstreamLine(_)));
        let tells_messages = steps.iter().any(|step| matches!(step, Step::UpstreamMessage(_)));
        let tells_nothing = steps.contains(&&Step::UpstreamNothing);
        if tells_lines || tells_messages || tells_nothing {
            sleep(MOMENT).await;
        }
        if tells_nothing {
            self.expect_upstream_nothing()?;
        }
        let lines = self.upstream.lines();
        let untold = lines[self.lines_told..].iter().find(|line| !is_of_the_connection(line));
        if let Some(line) = untold.filter(|_| tells_lines) {
            return Err(format!("the upstream received {line:?} too"));
        }
        if tells_messages && self.messages().len() > self.messages_told {
            return Err("the upstream received one message more".to_owned());
        }
        Ok(())
    }

    async fn expect_reply(&mut self, expected: &[String]) -> Result<(), String> {
        let reply = self.client.try_read_reply().await;
        let reply = reply.map_err(|what| format!("expected {expected:?}; {what}"))?;
        let lines: Vec<&str> = reply.split('\n').collect();
        if begin_as(&lines, expected) {
            return Ok(());
        }
        Err(format!("expected {expected:?}, got {lines:?}"))
    }

    async fn expect_upstream_line(&mut self, expected: &str) -> Result<(), String> {
        loop {
            let lines = self.upstream.try_wait_for_lines(self.lines_told + 1).await;
            let lines = lines.map_err(|what| format!("expected {expected:?}; {what}"))?;
            let line = &lines[self.lines_told];
            self.lines_told += 1;
            if line == expected {
                return Ok(());
            }
            if !is_of_the_connection(line) {
                return Err(format!("the upstream received {line:?} instead of {expected:?}"));
            }
        }
    }

    async fn expect_upstream_message(&mut self, expected: &[u8]) -> Result<(), String> {
        self.upstream.try_wait_for_messages(self.messages_told + 1).await?;
        let messages = self.messages();
        let message = messages.get(self.messages_told).ok_or("no message with a recipient")?;
        self.messages_told += 1;
        if message.after_received() == expected {
            return Ok(());
        }
        let shown = |content: &[u8]| escape(content).replace("\\r\\n", "\\r\\n\n      ");
        Err(format!(
            "the upstream's message is\n      {}\n    instead of\n      {}",
            shown(message.after_received()),
            shown(expected)
        ))
    }

    fn expect_upstream_nothing(&self) -> Result<(), String> {
        match self.messages().first() {
            None => Ok(()),
            Some(message) => Err(format!("the upstream received a message: {:?}", message.text())),
        }
    }

    /// A lone dot that ends a transaction without recipients is not a message.
    fn messages(&self) -> Vec<Message> {
        let mut messages = self.upstream.messages();
        messages.retain(|message| !message.recipients.is_empty());
        messages
    }
}

/// Whether the lines of a reply begin as expected, one by one; `250-...` stands for any number of
/// lines, and `250 ...` for all lines to the end.
fn begin_as(lines: &[&str], expected: &[String]) -> bool {
    let Some((first, others)) = expected.split_first() else { return lines.is_empty() };
    match first.split_at(3) {
        (code, " ...") => !lines.is_empty() && lines.iter().all(|line| line.starts_with(code)),
        (_, "-...") => (0..=lines.len()).any(|skipped| begin_as(&lines[skipped..], others)),
        _ => match lines.split_first() {
            Some((line, rest)) => line.starts_with(first.as_str()) && begin_as(rest, others),
            None => false,
        },
    }
}

fn is_of_the_connection(line: &str) -> bool {
    let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
    OF_THE_CONNECTION.contains(&verb.as_str())
}
