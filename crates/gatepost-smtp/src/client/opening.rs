//! From the connection to the first transaction: greeting, EHLO, or HELO where EHLO is not known
//! (RFC 5321 §3.1, §3.2).

use bytes::{BufMut, BytesMut};

use crate::client::Ready;
use crate::extension::Capabilities;
use crate::reply::{Reply, Severity};

/// A connection that is not ready for mail yet.
#[derive(Debug, Default)]
pub struct Opening {
    awaited: Awaited,
}

#[derive(Clone, Copy, Debug, Default)]
enum Awaited {
    #[default]
    Greeting,
    Ehlo,
    Helo,
}

/// Where a reply has led.
#[derive(Debug)]
pub enum Opened {
    /// There is a command to send, and a reply to wait for.
    More(Opening),
    /// Mail may be sent.
    Ready(Ready),
    /// The upstream does not want us, and said why.
    Refused(Reply),
}

impl Opening {
    /// Takes the reply that was waited for; appends the next command to `out` if there is one.
    pub fn handle(self, reply: &Reply, ehlo_name: &str, out: &mut BytesMut) -> Opened {
        let code = reply.code().as_u16();
        match (self.awaited, code, reply.severity()) {
            (Awaited::Greeting, 220, _) => Self::say(b"EHLO ", ehlo_name, Awaited::Ehlo, out),
            (Awaited::Ehlo, 250, _) => {
                Opened::Ready(Ready { capabilities: Capabilities::from_ehlo(reply) })
            }
            // RFC 5321 §3.2: HELO only where EHLO is refused for good.
            (Awaited::Ehlo, _, Severity::Permanent) => {
                Self::say(b"HELO ", ehlo_name, Awaited::Helo, out)
            }
            (Awaited::Helo, 250, _) => {
                Opened::Ready(Ready { capabilities: Capabilities::default() })
            }
            _ => Opened::Refused(reply.clone()),
        }
    }

    fn say(verb: &[u8], name: &str, awaited: Awaited, out: &mut BytesMut) -> Opened {
        for part in [verb, name.as_bytes(), b"\r\n"] {
            out.put_slice(part);
        }
        Opened::More(Self { awaited })
    }
}
