//! The demo's application: a plain SMTP client that remembers what was said.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

/// How long the gateway may take for a reply.
const PATIENCE: Duration = Duration::from_secs(10);

/// A conversation, line by line.
#[derive(Debug, Default)]
pub(super) struct Talk {
    pub(super) lines: Vec<Line>,
    /// From the first command of the transaction to the last reply.
    pub(super) took: Duration,
}

/// Who said what.
#[derive(Debug)]
pub(super) enum Line {
    Client(String),
    Gateway(String),
}

impl Talk {
    /// A line of the gateway; what it offers is shown on one.
    fn hear(&mut self, line: &str) {
        match self.lines.last_mut() {
            Some(Line::Gateway(before)) if before.as_bytes().get(3) == Some(&b'-') => {
                before.push_str(" · ");
                before.push_str(line.get(4..).unwrap_or_default());
                if line.as_bytes().get(3) == Some(&b' ') {
                    before.replace_range(3..4, " ");
                }
            }
            _ => self.lines.push(Line::Gateway(line.to_owned())),
        }
    }

    /// The code of the last reply.
    pub(super) fn last_code(&self) -> u16 {
        let replies = self.lines.iter().rev().filter_map(|line| match line {
            Line::Gateway(text) => text.get(..3)?.parse().ok(),
            Line::Client(_) => None,
        });
        replies.take(1).next().unwrap_or(0)
    }
}

/// Says the groups one after the other, and hears one reply for each command in them.
pub(super) async fn converse(
    gateway: SocketAddr,
    from: IpAddr,
    groups: &[&[&str]],
) -> anyhow::Result<Talk> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0)).with_context(|| format!("cannot connect from {from}"))?;
    let mut stream = BufReader::new(socket.connect(gateway).await?);
    let mut talk = Talk::default();
    reply(&mut stream, &mut talk).await?;
    let mut began = Instant::now();
    for (number, group) in groups.iter().enumerate() {
        if number == 1 {
            began = Instant::now();
        }
        let text = group.join("\r\n") + "\r\n";
        stream.write_all(text.as_bytes()).await?;
        talk.lines.extend(group.iter().map(|line| Line::Client((*line).to_owned())));
        let is_data = group.last() == Some(&".");
        for _ in 0..if is_data { 1 } else { group.len() } {
            reply(&mut stream, &mut talk).await?;
        }
    }
    talk.took = began.elapsed();
    Ok(talk)
}

async fn reply(stream: &mut BufReader<TcpStream>, talk: &mut Talk) -> anyhow::Result<()> {
    loop {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_line(&mut line));
        if read.await.context("no reply in time")?? == 0 {
            bail!("the gateway closed the connection");
        }
        let more = line.as_bytes().get(3) == Some(&b'-');
        talk.hear(line.trim_end());
        if !more {
            return Ok(());
        }
    }
}
