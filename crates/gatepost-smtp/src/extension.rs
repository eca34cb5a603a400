//! Service extensions: what is offered to clients, and what an upstream offers (RFC 5321 §2.2).

use bytes::Bytes;

use crate::reply::Reply;

/// What a server said it can do in its answer to EHLO. HELO leaves the default: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// SIZE (RFC 1870).
    pub size: SizeOffer,
}

/// What a server says of message sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SizeOffer {
    /// The parameter is not understood.
    #[default]
    Absent,
    /// Understood; no limit is promised (no value, or 0: RFC 1870 §4).
    Unlimited,
    /// Messages of at most this many octets.
    Octets(u64),
}

impl Capabilities {
    /// Reads the answer to EHLO: a greeting line, then a keyword with its parameters on each line.
    /// Keywords that are not known are passed over, as RFC 5321 §4.1.1.1 asks.
    pub fn from_ehlo(reply: &Reply) -> Self {
        let mut capabilities = Self::default();
        for line in reply.text().split(|&b| b == b'\n').skip(1) {
            let mut words = line.split(|&b| b == b' ').filter(|word| !word.is_empty());
            let Some(keyword) = words.next() else { continue };
            if keyword.eq_ignore_ascii_case(b"PIPELINING") {
                capabilities.pipelining = true;
            } else if keyword.eq_ignore_ascii_case(b"8BITMIME") {
                capabilities.eight_bit_mime = true;
            } else if keyword.eq_ignore_ascii_case(b"SMTPUTF8") {
                capabilities.smtputf8 = true;
            } else if keyword.eq_ignore_ascii_case(b"SIZE") {
                capabilities.size = size_offer(words.next());
            }
        }
        capabilities
    }

    /// Whether a message of `octets` is more than the server said it takes.
    pub const fn refuses_size(&self, octets: u64) -> bool {
        matches!(self.size, SizeOffer::Octets(limit) if octets > limit)
    }
}

fn size_offer(value: Option<&[u8]>) -> SizeOffer {
    let octets = value.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    match octets {
        None | Some(0) => SizeOffer::Unlimited,
        Some(octets) => SizeOffer::Octets(octets),
    }
}

/// What a client may be offered, and not every client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// SIZE (RFC 1870).
    pub size_octets_max: u64,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
}

/// The answer to EHLO: what Gatepost itself can honour, whatever the upstream will be.
pub fn ehlo_reply(hostname: &str, Offer { size_octets_max, starttls }: Offer) -> Reply {
    let starttls = if starttls { "\nSTARTTLS" } else { "" };
    let text = format!(
        "{hostname}\nPIPELINING\nSIZE {size_octets_max}\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\
         {starttls}"
    );
    Reply::plain(250, Bytes::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_understood() {
        let offer = Offer { size_octets_max: 1000, starttls: false };
        let plain = ehlo_reply("relay.example.com", offer);
        assert!(!plain.text().ends_with(b"STARTTLS"));
        let with_tls = ehlo_reply("relay.example.com", Offer { starttls: true, ..offer });
        assert!(with_tls.text().ends_with(b"ENHANCEDSTATUSCODES\nSTARTTLS"));
        let capabilities = Capabilities::from_ehlo(&plain);
        assert!(capabilities.pipelining && capabilities.eight_bit_mime && capabilities.smtputf8);
        assert!(capabilities.refuses_size(1001) && !capabilities.refuses_size(1000));
    }

    #[test]
    fn the_greeting_line_offers_nothing() {
        let reply = Reply::plain(250, "PIPELINING\nsize\nX-ODD thing\nSIZE 0");
        let capabilities = Capabilities::from_ehlo(&reply);
        assert!(!capabilities.pipelining);
        assert_eq!(capabilities.size, SizeOffer::Unlimited);
        assert_eq!(
            Capabilities::from_ehlo(&Reply::plain(250, "x\nSIZE x1")).size,
            SizeOffer::Unlimited
        );
    }
}
