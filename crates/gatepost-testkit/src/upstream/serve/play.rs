//! Moves, one after the other.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::sleep;

use super::super::record::Ending;
use super::super::script::Move;
use super::Session;

/// How often one who does not read looks whether anybody is left.
const LOOK: Duration = Duration::from_millis(10);

impl Session {
    pub(super) async fn play(&mut self, moves: &[Move]) -> ControlFlow<Ending> {
        for next in moves {
            match next {
                Move::Drip(octets, pause) => {
                    self.drip(octets, *pause).await?;
                    continue;
                }
                Move::Beneath(octets) => {
                    self.pen.sent(octets);
                    let _ = self.socket.write_beneath(octets).await;
                }
                Move::CloseNotify => {
                    let _ = self.socket.say_close().await;
                }
                Move::Hear => {
                    self.read_more(self.buffer.len(), true).await?;
                    self.unread.clear();
                }
                Move::NewKeys => self.socket.renew_keys().await,
                Move::Say(octets) => self.send(octets).await?,
                Move::Wait(pause) => sleep(*pause).await,
                last => return self.play_last(last).await,
            }
            self.pen.moved("a move");
        }
        Continue(())
    }

    async fn drip(&mut self, octets: &[u8], pause: Duration) -> ControlFlow<Ending> {
        for (place, octet) in octets.iter().enumerate() {
            self.send(&[*octet]).await?;
            if place == 0 {
                self.pen.moved("begins to drip");
            }
            sleep(pause).await;
        }
        Continue(())
    }

    /// A move after which there is no other.
    async fn play_last(&mut self, last: &Move) -> ControlFlow<Ending> {
        match last {
            Move::Alert(octets) => {
                self.pen.sent(octets);
                let _ = self.socket.alert(octets).await;
            }
            Move::Fin => {
                let _ = self.socket.shutdown_beneath().await;
            }
            Move::Close | Move::HalfClose => {
                let _ = self.socket.shutdown().await;
            }
            Move::Repeat(octets, _) => self.send(octets).await?,
            // Done when the socket is dropped, and with it the connection has ended.
            Move::Reset => {
                self.socket.tcp().set_zero_linger().expect("SO_LINGER on a TCP socket");
                return Break(Ending::Here);
            }
            _ => {}
        }
        self.pen.moved("the last move");
        match last {
            Move::Close => self.close().await,
            Move::Deaf => self.stay_deaf().await,
            Move::Repeat(octets, pause) => self.repeat(octets, *pause).await,
            _ => {
                let Break(ending) = self.swallow().await;
                Break(ending)
            }
        }
    }

    /// Not in the journal: it would be as long as this goes on.
    async fn repeat(&mut self, octets: &[u8], pause: Duration) -> ControlFlow<Ending> {
        loop {
            // A sleep of nothing would not give way to others.
            sleep(pause).await;
            if self.socket.write_all(octets).await.is_err() {
                return Break(Ending::ResetByPeer);
            }
        }
    }

    /// Reads nothing until the other side is gone. One that is not rid of its octets cannot show it.
    pub(super) async fn stay_deaf(&self) -> ControlFlow<Ending> {
        loop {
            match self.socket.tcp().ready(Interest::READABLE).await {
                Ok(ready) if !ready.is_read_closed() => sleep(LOOK).await,
                _ => return Break(Ending::ClosedByPeer),
            }
        }
    }
}
