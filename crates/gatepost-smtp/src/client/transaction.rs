//! The data of a transaction, its end, and the way back from one that was given up.

use bytes::{BufMut, BytesMut};

use crate::client::{Desync, Ready};
use crate::data::TERMINATOR;
use crate::reply::{Reply, Severity};

/// The upstream said 354 and waits for data.
///
/// The data itself never passes through here: it is sent as it came, dots and all.
#[derive(Debug)]
pub struct Body {
    ready: Ready,
    standing: u32,
}

impl Body {
    pub(super) const fn new(ready: Ready, standing: u32) -> Self {
        Self { ready, standing }
    }

    /// What the upstream offers.
    pub const fn capabilities(&self) -> &crate::extension::Capabilities {
        self.ready.capabilities()
    }

    /// How many recipients the upstream has accepted.
    pub const fn standing(&self) -> u32 {
        self.standing
    }

    /// The caller has sent content and terminator.
    pub fn finish(self) -> Final {
        Final { ready: self.ready }
    }

    /// Nobody is left to send to: ends the data at once (RFC 2920 §3.1).
    pub fn lone_dot(self, out: &mut BytesMut) -> Final {
        out.put_slice(TERMINATOR);
        self.finish()
    }
}

/// The final dot was sent: the next reply decides about the message.
#[derive(Debug)]
pub struct Final {
    ready: Ready,
}

impl Final {
    /// Takes the reply to the data. A 3yz decides nothing and is a [`Desync`].
    pub fn handle(self, reply: &Reply) -> Result<Ready, Desync> {
        if reply.severity() == Severity::Intermediate { Err(Desync) } else { Ok(self.ready) }
    }
}

/// RSET was sent.
#[derive(Debug)]
pub struct Resetting {
    ready: Ready,
}

impl Resetting {
    pub(super) const fn new(ready: Ready) -> Self {
        Self { ready }
    }

    /// Takes the reply to RSET, which can only be 250 (RFC 5321 §4.1.1.5).
    pub fn handle(self, reply: &Reply) -> Result<Ready, Desync> {
        if reply.code().as_u16() == 250 { Ok(self.ready) } else { Err(Desync) }
    }
}
