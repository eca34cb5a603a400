//! An application that sends, and writes down what it was told.
//!
//! It sends each message once, whatever it hears: an application that tries again makes duplicates of
//! its own, and here only those count that are the gateway's.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::chance::{millis, permille};
use crate::ledger::Ledger;
use crate::letter::{Letter, Nature};
use crate::wire::Wire;

/// How long it waits before it connects again: a gateway that is down refuses at once.
const RECONNECT: Duration = Duration::from_millis(10);
/// Messages of one session, at the most.
const SESSION_MESSAGES_MAX: usize = 30;
/// Messages that are begun in all, at the most: whatever the machine can do, memory has a limit.
const MESSAGES_MAX: usize = 2_000_000;
/// How long it thinks between two messages, at the most, in milliseconds.
const THINKS_MAX: u64 = 25;

/// An application.
pub(crate) struct Client {
    pub(crate) address: Ipv4Addr,
    pub(crate) gateway: SocketAddr,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) rng: Rng,
    pub(crate) pace: watch::Receiver<Pace>,
}

/// What applications are told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// To come to an end.
    End,
    /// To send.
    Send,
    /// To send nothing for a while.
    Wait,
}

/// How a message is put on the wire.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// A command when the reply to the last one is there.
    Patient,
    /// MAIL, RCPT and DATA at once.
    Pipelined,
    /// MAIL and RCPT at once, the content in chunks.
    Chunked,
}

impl Client {
    /// Sends until it is over, and finishes the message it is at.
    pub(crate) async fn run(mut self) {
        while !self.is_over() {
            if let Ok(wire) = Wire::connect(self.address, self.gateway).await {
                // A connection that is lost is what this is about.
                let _ = self.session(wire).await;
            } else {
                sleep(RECONNECT).await;
            }
        }
    }

    fn is_over(&self) -> bool {
        *self.pace.borrow() == Pace::End || self.ledger.begun() >= MESSAGES_MAX
    }

    async fn session(&mut self, mut wire: Wire) -> io::Result<()> {
        if wire.reply().await? != 220 || wire.ask("EHLO app.test").await? != 250 {
            sleep(RECONNECT).await;
            return Ok(());
        }
        for _ in 0..self.rng.usize(1..=SESSION_MESSAGES_MAX) {
            // Whoever holds the other end has gone: so has the run.
            let _ = self.pace.wait_for(|pace| *pace != Pace::Wait).await;
            if self.is_over() {
                break;
            }
            let ledger = self.ledger.clone();
            let letter = ledger.begin(|number| Letter::by_chance(number, &mut self.rng));
            match self.rng.u32(0..3) {
                0 => self.send(&mut wire, &letter, Style::Patient).await?,
                1 => self.send(&mut wire, &letter, Style::Pipelined).await?,
                _ => self.send(&mut wire, &letter, Style::Chunked).await?,
            }
            sleep(millis(&mut self.rng, 0..THINKS_MAX)).await;
        }
        wire.ask("QUIT").await?;
        Ok(())
    }

    async fn send(&mut self, wire: &mut Wire, letter: &Letter, style: Style) -> io::Result<()> {
        let number = letter.number;
        let mail = format!("MAIL FROM:<{}>\r\n", letter.reverse_path());
        let recipients: Vec<_> = (0..letter.recipients.len())
            .map(|place| format!("RCPT TO:<{}>\r\n", letter.forward_path(place)))
            .collect();
        self.ledger.name(number);
        let mut accepted = 0;
        if style == Style::Patient {
            wire.send(mail.as_bytes()).await?;
            if !self.mail(wire, number).await? {
                return Ok(());
            }
            for (place, line) in recipients.iter().enumerate() {
                wire.send(line.as_bytes()).await?;
                accepted += self.recipient(wire, number, place).await?;
            }
        } else {
            let data = if style == Style::Pipelined { "DATA\r\n" } else { "" };
            wire.send((mail + &recipients.concat() + data).as_bytes()).await?;
            let taken = self.mail(wire, number).await?;
            for place in 0..recipients.len() {
                accepted += self.recipient(wire, number, place).await?;
            }
            if !taken && style == Style::Chunked {
                return Ok(());
            }
        }
        match style {
            Style::Pipelined => self.data(wire, letter, accepted).await,
            _ if accepted == 0 => reset(wire).await,
            Style::Chunked => self.chunks(wire, letter).await,
            Style::Patient => {
                wire.send(b"DATA\r\n").await?;
                self.data(wire, letter, accepted).await
            }
        }
    }

    async fn mail(&self, wire: &mut Wire, number: u64) -> io::Result<bool> {
        let code = wire.reply().await?;
        if code != 250 {
            self.ledger.refused(number, code);
        }
        Ok(code == 250)
    }

    async fn recipient(&self, wire: &mut Wire, number: u64, place: usize) -> io::Result<usize> {
        let code = wire.reply().await?;
        self.ledger.recipient(number, place, code);
        Ok(usize::from(code == 250))
    }

    /// DATA was said: its reply, the content, and the reply to that.
    async fn data(&self, wire: &mut Wire, letter: &Letter, accepted: usize) -> io::Result<()> {
        let code = wire.reply().await?;
        if code != 354 {
            if accepted > 0 {
                self.ledger.refused(letter.number, code);
            }
            return reset(wire).await;
        }
        if accepted == 0 {
            wire.send(b".\r\n").await?;
            let code = wire.reply().await?;
            self.ledger.end(letter.number, code);
            return Ok(());
        }
        let mut content = stuffed(&letter.content());
        if letter.nature == Nature::Cut {
            wire.send(&content[..content.len() / 2]).await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        content.extend_from_slice(b".\r\n");
        wire.send(&content).await?;
        let code = wire.reply().await?;
        self.ledger.end(letter.number, code);
        Ok(())
    }

    /// The content in chunks, all of them at once or one after the other.
    async fn chunks(&mut self, wire: &mut Wire, letter: &Letter) -> io::Result<()> {
        let content = letter.content();
        let size = self.rng.usize(content.len().div_ceil(4)..=content.len());
        let at_once = permille(&mut self.rng, 500);
        let count = content.len().div_ceil(size);
        let (mut heard, mut worst) = (0, 250);
        for (index, chunk) in content.chunks(size).enumerate() {
            let last = if index + 1 == count { " LAST" } else { "" };
            wire.send(format!("BDAT {}{last}\r\n", chunk.len()).as_bytes()).await?;
            if letter.nature == Nature::Cut && index + 1 == count {
                wire.send(&chunk[..chunk.len() / 2]).await?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            wire.send(chunk).await?;
            while heard <= index && !at_once {
                worst = first_refusal(worst, wire.reply().await?);
                heard += 1;
            }
        }
        while heard < count {
            worst = first_refusal(worst, wire.reply().await?);
            heard += 1;
        }
        self.ledger.end(letter.number, worst);
        if worst == 250 { Ok(()) } else { reset(wire).await }
    }
}

/// A chunk behind one that was refused is out of order: that tells nothing.
const fn first_refusal(before: u16, code: u16) -> u16 {
    if before == 250 { code } else { before }
}

async fn reset(wire: &mut Wire) -> io::Result<()> {
    wire.ask("RSET").await.map(drop)
}

/// Transparency (RFC 5321 §4.5.2): a dot that begins a line is doubled.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(content.len() + content.len() / 64);
    for line in content.split_inclusive(|&octet| octet == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed
}
