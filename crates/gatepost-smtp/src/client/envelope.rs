//! MAIL, RCPT and what begins the data, one at a time or as a pipelined group (RFC 5321 §3.3, RFC 2920 §3.1).

use bytes::{BufMut, BytesMut};

use crate::ascii;
use crate::client::{Body, Chunks, Desync, Ready, Resetting};
use crate::command::Body as BodyType;
use crate::reply::{Reply, Severity};

/// Octets beside the reverse-path of most envelopes, MAIL to DATA: a buffer that is empty grows once for all of them.
const ENVELOPE_OCTETS: usize = 192;

/// What MAIL says, in octets that were checked and are not changed.
#[derive(Clone, Copy, Debug)]
pub struct MailParameters<'a> {
    /// What stands between the brackets: empty for the null reverse-path.
    pub reverse_path: &'a [u8],
    /// Octets of the message as it will be sent, if the client declared them; sent only where SIZE
    /// is offered.
    pub size: Option<u64>,
    /// The declared body type; sent only where 8BITMIME is offered.
    pub body: Option<BodyType>,
    /// Whether to ask for SMTPUTF8; sent only where it is offered.
    pub smtputf8: bool,
    /// RET and ENVID as the client has sent them, each with a space in front; sent only where DSN is
    /// offered.
    pub dsn: &'a [u8],
}

/// Which command a reply answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// DATA.
    Data(Reply),
    /// MAIL.
    Mail(Reply),
    /// The oldest RCPT that had no answer.
    Recipient(Reply),
}

/// A transaction before its data. Counts what was asked and what was answered.
#[derive(Debug)]
pub struct Envelope {
    ready: Ready,
    mail: Asked,
    data: Asked,
    recipients_owed: u32,
    standing: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    No,
    Owed,
    Granted,
    Refused,
}

impl Envelope {
    pub(super) fn begin(ready: Ready, mail: &MailParameters<'_>, out: &mut BytesMut) -> Self {
        let capabilities = *ready.capabilities();
        out.reserve(mail.reverse_path.len() + ENVELOPE_OCTETS);
        out.put_slice(b"MAIL FROM:<");
        out.put_slice(mail.reverse_path);
        out.put_u8(b'>');
        if let Some(octets) =
            mail.size.filter(|_| capabilities.size != crate::extension::SizeOffer::Absent)
        {
            out.put_slice(b" SIZE=");
            out.put_slice(ascii::decimal(octets).as_bytes());
        }
        if let Some(body) = mail.body.filter(|_| capabilities.eight_bit_mime) {
            out.put_slice(match body {
                BodyType::EightBitMime => b" BODY=8BITMIME",
                BodyType::SevenBit => b" BODY=7BIT",
            });
        }
        if mail.smtputf8 && capabilities.smtputf8 {
            out.put_slice(b" SMTPUTF8");
        }
        if capabilities.dsn {
            out.put_slice(mail.dsn);
        }
        out.put_slice(b"\r\n");
        Self { ready, mail: Asked::Owed, data: Asked::No, recipients_owed: 0, standing: 0 }
    }

    /// Appends RCPT for what stands between the brackets of a checked forward-path. NOTIFY and ORCPT
    /// in `dsn`, each with a space in front, are sent only where DSN is offered.
    pub fn recipient(&mut self, forward_path: &[u8], dsn: &[u8], out: &mut BytesMut) {
        out.put_slice(b"RCPT TO:<");
        out.put_slice(forward_path);
        out.put_u8(b'>');
        if self.ready.capabilities().dsn {
            out.put_slice(dsn);
        }
        out.put_slice(b"\r\n");
        self.recipients_owed += 1;
    }

    /// Appends DATA, which ends a group.
    pub fn data(&mut self, out: &mut BytesMut) {
        out.put_slice(b"DATA\r\n");
        self.data = Asked::Owed;
    }

    /// Whether a reply is still owed.
    pub fn owed(&self) -> bool {
        self.mail == Asked::Owed || self.recipients_owed > 0 || self.data == Asked::Owed
    }

    /// Whether DATA was asked and its answer is still owed.
    pub fn data_owed(&self) -> bool {
        self.data == Asked::Owed
    }

    /// Whether a reply to MAIL or RCPT is still owed.
    pub fn envelope_owed(&self) -> bool {
        self.mail == Asked::Owed || self.recipients_owed > 0
    }

    /// What the upstream offers.
    pub const fn capabilities(&self) -> &crate::extension::Capabilities {
        self.ready.capabilities()
    }

    /// Gives the next reply to the command it answers: replies come in the order of commands.
    ///
    /// A 3yz that is not the 354 to DATA, and a 2yz to DATA, say neither yes nor no: whoever says that
    /// is a command ahead or behind, and nothing after it can be believed.
    pub fn handle(&mut self, reply: Reply) -> Result<Answer, Desync> {
        let is_in_turn = match reply.severity() {
            Severity::Positive => self.envelope_owed(),
            Severity::Intermediate => !self.envelope_owed() && reply.code().as_u16() == 354,
            Severity::Transient | Severity::Permanent => true,
        };
        if !is_in_turn {
            return Err(Desync);
        }
        let positive = reply.is_positive();
        let granted = |yes: bool| if yes { Asked::Granted } else { Asked::Refused };
        if self.mail == Asked::Owed {
            self.mail = granted(positive);
            Ok(Answer::Mail(reply))
        } else if self.recipients_owed > 0 {
            self.recipients_owed -= 1;
            self.standing += u32::from(positive && self.mail == Asked::Granted);
            Ok(Answer::Recipient(reply))
        } else if self.data == Asked::Owed {
            self.data = granted(reply.code().as_u16() == 354);
            Ok(Answer::Data(reply))
        } else {
            Err(Desync)
        }
    }

    /// How many recipients the upstream has accepted.
    pub const fn standing(&self) -> u32 {
        self.standing
    }

    /// DATA was answered with 354: the data, or a lone dot, must follow.
    pub fn into_body(self) -> Result<Body, Self> {
        if self.data == Asked::Granted && !self.owed() {
            Ok(Body::new(self.ready, self.standing))
        } else {
            Err(self)
        }
    }

    /// The data goes out in chunks, if nothing is owed and nobody was asked for DATA. Whether that is
    /// offered is in [`Envelope::capabilities`].
    pub fn into_chunks(self) -> Result<Chunks, Self> {
        if self.data == Asked::No && !self.owed() {
            Ok(Chunks::new(self.ready, self.standing))
        } else {
            Err(self)
        }
    }

    /// Gives the transaction up. Nothing may be owed: a reply that comes late would be taken for
    /// that of RSET. After a 354 there is no way back but the data.
    pub fn reset(self, out: &mut BytesMut) -> Result<Resetting, Desync> {
        if self.owed() || self.data == Asked::Granted {
            return Err(Desync);
        }
        out.put_slice(b"RSET\r\n");
        Ok(Resetting::new(self.ready))
    }
}
