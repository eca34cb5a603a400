//! One connection of the upstream: lines and mail data in, actions out.

mod play;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::content::{Content, Scan};
use super::login::Login;
use super::record::{Ending, Journal, Message, Pen};
use super::script::{self, Action, CONNECT, END_OF_DATA, Script};
use super::sink::{self, Sink};
use super::socket::{Begins, Socket};
use crate::tls::ServerTls;

/// A gateway that sends so much without a CRLF is broken, and its test should fail.
const LINE_OCTETS_MAX: usize = 64 * 1024;
/// How long a clean close waits for the other side to close too.
const LINGER: Duration = Duration::from_secs(2);

/// What all connections of an upstream share.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) script: Arc<Mutex<Script>>,
    pub(super) journal: Arc<Journal>,
    pub(super) sink: Sink,
    pub(super) tls: Option<(Begins, ServerTls)>,
    pub(super) manner: Manner,
}

/// How the upstream reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) keeps_content: bool,
    pub(super) throttle: Throttle,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Throttle {
    pub(super) octets_per_read: usize,
    pub(super) pause: Duration,
}

/// As fast as it comes.
const UNTHROTTLED: Throttle = Throttle { octets_per_read: usize::MAX, pause: Duration::ZERO };

impl Default for Manner {
    fn default() -> Self {
        Self { keeps_content: true, throttle: UNTHROTTLED }
    }
}

impl Host {
    /// Serves a connection to its end.
    pub(super) fn serve(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
    ) -> impl Future<Output = ()> + use<> {
        let mut session = Session {
            socket: Socket::Plain(socket),
            // Before the first await: who counts connections must not miss an accepted one.
            pen: Pen::new(Arc::clone(&self.journal), peer),
            script: Arc::clone(&self.script),
            sink: self.sink.clone(),
            tls: self.tls.clone(),
            manner: self.manner,
            buffer: vec![0; 64 * 1024].into(),
            unread: Vec::new(),
            chunks: None,
        };
        async move {
            let Break(ending) = session.converse().await;
            session.pen.ended(ending);
        }
    }
}

struct Session {
    socket: Socket,
    pen: Pen,
    script: Arc<Mutex<Script>>,
    sink: Sink,
    tls: Option<(Begins, ServerTls)>,
    manner: Manner,
    buffer: Box<[u8]>,
    unread: Vec<u8>,
    /// The message that comes in chunks.
    chunks: Option<Scan>,
}

impl Session {
    async fn converse(&mut self) -> ControlFlow<Ending, Infallible> {
        // Each reply goes out at once, as from a server that flushes.
        let _ = self.socket.tcp().set_nodelay(true);
        if let Some((Begins::AtOnce, tls)) = self.tls.clone() {
            self.secure(&tls).await?;
        }
        let greeting = self.decide(CONNECT);
        self.perform(&greeting).await?;
        loop {
            let line = self.read_line().await?;
            if let Some((action, login)) = self.sink.login_goes_on(&line) {
                self.answer_login(&action, login).await?;
                continue;
            }
            if let Some((octets, last)) = self.sink.chunk(&line) {
                self.take_chunk(&line, octets, last).await?;
                continue;
            }
            let is_starttls = self.sink.is_starttls(&line);
            let scripted = script::lock(&self.script).action_for(&line);
            if scripted.is_none()
                && let Some((action, login)) = self.sink.login_begins(&line)
            {
                self.answer_login(&action, login).await?;
                continue;
            }
            let action = scripted.unwrap_or_else(|| self.sink.answer(&line));
            self.sink.note(&line, action.reply().as_deref());
            if sink::verb(&line) == "RSET" {
                self.chunks = None;
            }
            self.perform(&action).await?;
            let begins_tls = action.reply().is_some_and(|reply| reply.starts_with("220"));
            if let (true, true, Some((_, tls))) = (is_starttls, begins_tls, self.tls.clone()) {
                self.secure(&tls).await?;
                continue;
            }
            let opens_data = action.reply().is_some_and(|reply| reply.starts_with("354"));
            if opens_data && sink::verb(&line) == "DATA" {
                let content = self.read_content(&action).await?;
                self.take_message(content).await?;
            }
        }
    }

    /// What lies unread is forgotten, as a good server forgets it.
    async fn secure(&mut self, tls: &ServerTls) -> ControlFlow<Ending> {
        self.unread.clear();
        match self.socket.secure(tls).await {
            Ok(secured) => {
                self.pen.secured(secured);
                self.sink.begin_tls();
                Continue(())
            }
            Err(_) => Break(Ending::NoTls),
        }
    }

    async fn answer_login(&mut self, action: &Action, login: Option<Login>) -> ControlFlow<Ending> {
        if let Some(login) = login {
            self.pen.login(login);
        }
        self.perform(action).await
    }

    fn decide(&mut self, event: &str) -> Action {
        let scripted = script::lock(&self.script).action_for(event);
        let action = scripted.unwrap_or_else(|| self.sink.answer(event));
        self.sink.note(event, action.reply().as_deref());
        action
    }

    async fn perform(&mut self, action: &Action) -> ControlFlow<Ending> {
        match action {
            Action::Reply(reply) => self.send(&on_the_wire(reply)).await,
            Action::ReplyThenClose(reply) => {
                self.send(&on_the_wire(reply)).await?;
                self.close().await
            }
            Action::Delay(delay, reply) => {
                sleep(*delay).await;
                self.send(&on_the_wire(reply)).await
            }
            Action::TwoReplies(first, second) => {
                self.send(&[on_the_wire(first), on_the_wire(second)].concat()).await
            }
            Action::ReplyThenRaw(reply, octets) => {
                self.send(&on_the_wire(reply)).await?;
                self.read_more(self.buffer.len(), true).await?;
                self.pen.sent(octets);
                let _ = self.socket.write_beneath(octets).await;
                let Break(ending) = self.swallow().await;
                Break(ending)
            }
            Action::Raw(octets) => self.send(octets).await,
            Action::Close => self.close().await,
            Action::Reset => {
                self.socket.tcp().set_zero_linger().expect("SO_LINGER on a TCP socket");
                Break(Ending::Here)
            }
            Action::Silence => {
                let Break(ending) = self.swallow().await;
                Break(ending)
            }
            Action::CloseAfterData(_) | Action::StallAfterData(_) | Action::PlayInData(..) => {
                self.send(b"354 go ahead\r\n").await
            }
            Action::Play(moves) => self.play(moves).await,
            Action::Panic(reason) => {
                panic!("the upstream must not see this: {reason}\n{}", self.pen.story())
            }
        }
    }

    /// A chunk is read whole, then answered; the last one with what is answered to the end of data,
    /// if there is a rule for that and none for BDAT.
    async fn take_chunk(&mut self, line: &str, octets: usize, last: bool) -> ControlFlow<Ending> {
        let mut scan = self.chunks.take().unwrap_or_else(|| Scan::new(self.manner.keeps_content));
        let mut action = self.decide(line);
        let mut left = octets;
        if let Action::PlayInData(before, moves) = &action {
            let before = octets.min(*before);
            self.read_chunk(&mut scan, before).await?;
            left -= before;
            self.play(moves).await?;
            action = self.sink.answer(line);
        }
        self.read_chunk(&mut scan, left).await?;
        let positive = action.reply().is_some_and(|reply| reply.starts_with('2'));
        if !last {
            self.chunks = Some(scan);
            return self.perform(&action).await;
        }
        if positive {
            action = self.decide(END_OF_DATA);
        }
        let envelope = self.sink.finish_transaction();
        self.pen.message(|connection| Message {
            connection,
            mail: envelope.mail.unwrap_or_default(),
            recipients: envelope.recipients,
            content: scan.into_content(),
            reply: action.reply(),
        });
        self.perform(&action).await
    }

    async fn read_chunk(&mut self, scan: &mut Scan, mut left: usize) -> ControlFlow<Ending> {
        while left > 0 {
            if self.unread.is_empty() {
                self.pen.unfinished(scan.octets());
                self.read_more(self.buffer.len(), self.manner.keeps_content).await?;
            }
            left -= scan.take_chunk(&mut self.unread, left);
        }
        Continue(())
    }

    /// The message is in the journal before the gateway can read the reply to it.
    async fn take_message(&mut self, content: Content) -> ControlFlow<Ending> {
        let action = self.decide(END_OF_DATA);
        let envelope = self.sink.finish_transaction();
        self.pen.message(|connection| Message {
            connection,
            mail: envelope.mail.unwrap_or_default(),
            recipients: envelope.recipients,
            content,
            reply: action.reply(),
        });
        self.perform(&action).await
    }

    async fn read_line(&mut self) -> ControlFlow<Ending, String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).take(end).collect();
                let line = String::from_utf8_lossy(&line).into_owned();
                self.pen.line(&line);
                return Continue(line);
            }
            assert!(
                self.unread.len() < LINE_OCTETS_MAX,
                "the upstream waits for the CRLF of a command\n{}",
                self.pen.story()
            );
            self.read_more(self.buffer.len(), true).await?;
        }
    }

    async fn read_content(&mut self, permission: &Action) -> ControlFlow<Ending, Content> {
        let Throttle { octets_per_read, pause } = self.manner.throttle;
        let mut scan = Scan::new(self.manner.keeps_content);
        let mut permitted = permission.octets_max();
        loop {
            let taken = permitted.min(self.unread.len());
            permitted -= taken;
            let later = self.unread.split_off(taken);
            let ended = scan.take(&mut self.unread);
            self.unread.extend(later);
            if ended {
                return Continue(scan.into_content());
            }
            self.pen.unfinished(scan.octets());
            if permitted == 0 {
                self.interrupt_content(permission).await?;
                permitted = usize::MAX;
                continue;
            }
            self.read_more(octets_per_read.min(permitted), self.manner.keeps_content).await?;
            // The shortest sleep of tokio is a millisecond.
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
    }

    async fn interrupt_content(&mut self, permission: &Action) -> ControlFlow<Ending> {
        match permission {
            Action::PlayInData(_, moves) => self.play(moves).await,
            Action::StallAfterData(_) => self.stay_deaf().await,
            _ => Break(Ending::Here),
        }
    }

    /// Reads, records and ignores.
    async fn swallow(&mut self) -> ControlFlow<Ending, Infallible> {
        loop {
            self.read_more(self.buffer.len(), true).await?;
            self.unread.clear();
        }
    }

    async fn read_more(&mut self, octets_max: usize, keep: bool) -> ControlFlow<Ending> {
        let octets_max = octets_max.min(self.buffer.len());
        let buffer = &mut self.buffer[..octets_max];
        match self.socket.read(buffer).await {
            Ok(0) => Break(Ending::ClosedByPeer),
            Ok(octets) => {
                self.pen.read(&buffer[..octets], keep);
                self.unread.extend_from_slice(&buffer[..octets]);
                Continue(())
            }
            Err(_) => Break(Ending::ResetByPeer),
        }
    }

    async fn send(&mut self, octets: &[u8]) -> ControlFlow<Ending> {
        self.pen.sent(octets);
        match self.socket.write_all(octets).await {
            Ok(()) => Continue(()),
            Err(_) => Break(Ending::ResetByPeer),
        }
    }

    /// FIN, and then patience: the kernel would send RST if octets came in after a plain close.
    async fn close(&mut self) -> ControlFlow<Ending> {
        let _ = self.socket.shutdown().await;
        let _ = timeout(LINGER, self.swallow()).await;
        Break(Ending::Here)
    }
}

fn on_the_wire(reply: &str) -> Vec<u8> {
    reply.split('\n').flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect()
}
