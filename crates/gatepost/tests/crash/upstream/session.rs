//! One connection of a gateway to the upstream.

use std::io;

use fastrand::Rng;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::sleep;

use super::Shared;
use super::mood::End;
use super::record::{Plan, Wholeness};
use crate::chance::permille;
use crate::letter::{UNKNOWN, UNWELCOME, number_if_whole, number_of};
use crate::options::Sabotage;

/// Octets of a message, at the most; those of the load are far below.
const CONTENT_MAX: usize = 64 << 20;
/// How many messages in a thousand a sabotage concerns: some in a run of seconds.
const SABOTAGED: u32 = 250;

struct Session<'a> {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    shared: &'a Shared,
    rng: Rng,
    /// Incarnation of the gateway.
    gateway: u32,
    /// The reverse-path, in a transaction.
    sender: Option<String>,
    recipients: Vec<String>,
    chunks: Vec<u8>,
}

/// Speaks with a gateway until one of them has gone.
pub(super) async fn serve(socket: TcpStream, shared: &Shared, rng: Rng) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (reader, writer) = socket.into_split();
    let reader = BufReader::new(reader);
    let (sender, recipients, chunks) = (None, Vec::new(), Vec::new());
    let mut session =
        Session { reader, writer, shared, rng, gateway: 0, sender, recipients, chunks };
    session.run().await
}

impl Session<'_> {
    async fn run(&mut self) -> io::Result<()> {
        if self.shared.moods.now().is_busy(&mut self.rng) {
            return self.say("421 4.3.2 not now").await;
        }
        self.say("220 sink.test ESMTP").await?;
        loop {
            let line = self.line().await?;
            let mood = self.shared.moods.now();
            if mood.hangs_up(&mut self.rng) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let (verb, rest) = line.split_once([' ', ':']).unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => self.ehlo(rest).await?,
                "MAIL" | "RCPT" | "DATA" if mood.puts_off(&mut self.rng) => {
                    self.say("450 4.3.0 put off").await?;
                }
                "MAIL" => self.mail(rest).await?,
                "RCPT" => self.recipient(rest).await?,
                "DATA" => self.data().await?,
                "BDAT" => self.chunk(rest).await?,
                "RSET" => {
                    self.reset();
                    self.say("250 2.0.0 forgotten").await?;
                }
                "NOOP" => self.say("250 2.0.0 nothing").await?,
                "QUIT" => return self.say("221 2.0.0 bye").await,
                _ => self.say("500 5.5.1 what?").await?,
            }
        }
    }

    async fn ehlo(&mut self, name: &str) -> io::Result<()> {
        self.reset();
        // The gateway's name has the number of its incarnation in it.
        let digits = name.split('.').next().unwrap_or_default().trim_start_matches('g');
        self.gateway = digits.parse().unwrap_or_default();
        let chunking = if self.shared.chunking { "250-CHUNKING\r\n" } else { "" };
        let offered = format!("250-sink.test\r\n{chunking}250-PIPELINING\r\n250 8BITMIME");
        self.say(&offered).await
    }

    async fn mail(&mut self, rest: &str) -> io::Result<()> {
        let Some(path) = path(rest) else { return self.say("501 5.5.4 no path").await };
        self.reset();
        self.sender = Some(path.to_owned());
        self.say("250 2.1.0 from there").await
    }

    async fn recipient(&mut self, rest: &str) -> io::Result<()> {
        let Some(path) = path(rest) else { return self.say("501 5.5.4 no path").await };
        if self.sender.is_none() {
            return self.say("503 5.5.1 MAIL first").await;
        }
        if path.starts_with(UNKNOWN) {
            return self.say("550 5.1.1 nobody of that name").await;
        }
        self.recipients.push(path.to_owned());
        self.say("250 2.1.5 to there").await
    }

    async fn data(&mut self) -> io::Result<()> {
        if self.recipients.is_empty() {
            return self.say("554 5.5.1 for nobody").await;
        }
        self.say("354 go on").await?;
        let hangs_up = self.shared.moods.now().hangs_up(&mut self.rng);
        let (mut content, mut line) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            let octets = self.reader.read_until(b'\n', &mut line).await?;
            if octets == 0 || content.len() > CONTENT_MAX || (hangs_up && content.len() > 1000) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line == b".\r\n" {
                return self.end(content).await;
            }
            // Transparency (RFC 5321 §4.5.2).
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    async fn chunk(&mut self, rest: &str) -> io::Result<()> {
        let mut words = rest.split(' ');
        let size: usize = words.next().and_then(|size| size.parse().ok()).unwrap_or(usize::MAX);
        if size > CONTENT_MAX || self.chunks.len() > CONTENT_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let begin = self.chunks.len();
        self.chunks.resize(begin + size, 0);
        self.reader.read_exact(&mut self.chunks[begin..]).await?;
        if self.recipients.is_empty() {
            self.chunks.clear();
            return self.say("503 5.5.1 for nobody").await;
        }
        if words.next().is_none() {
            return self.say("250 2.0.0 and?").await;
        }
        let content = std::mem::take(&mut self.chunks);
        self.end(content).await
    }

    /// All of a message is here.
    async fn end(&mut self, content: Vec<u8>) -> io::Result<()> {
        let sender = self.sender.take().unwrap_or_default();
        let recipients = std::mem::take(&mut self.recipients);
        self.reset();
        let (plan, delay) = match self.shared.moods.now().end(&mut self.rng) {
            End::HangUp => return Err(io::ErrorKind::ConnectionAborted.into()),
            End::PutOff => return self.say("451 4.3.0 put off").await,
            _ if sender.starts_with(UNWELCOME) => return self.say("554 5.6.0 not this").await,
            End::AcceptAndHangUp => (Plan::HangUp, std::time::Duration::ZERO),
            End::Accept(delay) => (Plan::Reply, delay),
        };
        let mut whole = wholeness(&sender, &recipients, &content);
        let sabotage = self.shared.sabotage.filter(|_| permille(&mut self.rng, SABOTAGED));
        if sabotage == Some(Sabotage::Forget) {
            return self.say("250 2.0.0 believe it").await;
        }
        if sabotage == Some(Sabotage::Damage) {
            whole = Wholeness::Damaged;
        }
        let recorder = &self.shared.recorder;
        let times = if sabotage == Some(Sabotage::Double) { 2 } else { 1 };
        let mut accepted = Vec::with_capacity(times);
        for _ in 0..times {
            accepted.push(recorder.accepted(self.gateway, whole, plan, &recipients)?);
        }
        if plan == Plan::HangUp {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let said = async {
            self.wait(delay).await?;
            self.say("250 2.0.0 accepted").await
        };
        let said = said.await;
        for number in accepted {
            if said.is_ok() { recorder.told(number) } else { recorder.gone(number) }?;
        }
        said
    }

    /// Waits, unless the gateway goes away meanwhile.
    async fn wait(&mut self, delay: std::time::Duration) -> io::Result<()> {
        if delay.is_zero() {
            return Ok(());
        }
        tokio::select! {
            () = sleep(delay) => Ok(()),
            more = self.reader.fill_buf() => match more {
                Ok([]) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => Err(io::ErrorKind::InvalidData.into()),
                Err(error) => Err(error),
            },
        }
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
        self.chunks = Vec::new();
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).await?;
        let line = String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData)?;
        // A line without its end was cut off.
        let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(line.to_owned())
    }

    async fn say(&mut self, reply: &str) -> io::Result<()> {
        self.writer.write_all(format!("{reply}\r\n").as_bytes()).await
    }
}

/// Whether the content is whole, and belongs to this envelope.
fn wholeness(sender: &str, recipients: &[String], content: &[u8]) -> Wholeness {
    let number = number_if_whole(content);
    let belongs = |path: &str| number.is_some() && number_of(path) == number;
    let all = belongs(sender) && recipients.iter().all(|path| belongs(path));
    if all { Wholeness::Whole } else { Wholeness::Damaged }
}

fn path(rest: &str) -> Option<&str> {
    let (_, path) = rest.split_once('<')?;
    path.split_once('>').map(|(path, _)| path)
}
