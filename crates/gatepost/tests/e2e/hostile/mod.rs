//! What an attacker sends, octet for octet, against a whole gateway.
//!
//! One file for each class of attack, one test for each attack, and in its doc the CVE or the
//! source that it is known from. The octets stand in tables. What a class needs of the parsers
//! alone is tested beside them, and the page `docs/rfc-map.md` names both.
//!
//! - `smuggling`: one message that others take for two, and what goes upstream.
//! - `starttls`: what is put before, into and behind a handshake.
//! - `pipelining`: commands out of turn, envelopes that should be forgotten, other protocols.
//! - `floods`: commands without end.
//! - `proxy` and `allow_list`: who claims to be somebody else.
//! - `envelope`: addresses and parameters.
//! - `exhaustion`: octets, time and connections without end.
//!
//! CHUNKING (BDAT) and AUTH get their files beside these where they are offered; here they are only
//! refused, in `pipelining`.

mod allow_list;
mod envelope;
mod exhaustion;
mod floods;
mod pipelining;
mod proxy;
mod smuggling;
mod starttls;

use std::net::IpAddr;
use std::time::Duration;

use gatepost_testkit::ByteClient;
use tokio::task::JoinSet;

use crate::harness::{Harness, Settings};

/// Sessions at once, where a table has hundreds: enough to hide their pauses.
const AT_ONCE: usize = 48;
/// Between two pieces, so that they are read one by one. If a busy machine reads them together all
/// the same, the other cuts of the table still come apart.
const CUT: Duration = Duration::from_millis(4);

/// Who may send in tests whose sessions come from many addresses.
const CROWD: &str = "[[entry]]\nid = \"crowd\"\nnetworks = [\"127.0.0.1\", \"127.1.0.0/16\"]\n\
                     senders = [\"app.test\"]\n";

/// A gateway for a crowd; `more` are further lines of its entry.
fn crowd(upstream: std::net::SocketAddr, more: &str) -> Harness {
    let policy = Some(format!("{CROWD}{more}\n"));
    Harness::with(upstream, &Settings { policy, ..Settings::default() })
}

/// Plays all cases, many at once, each with its number. A panic of one is a panic here.
async fn play<T, F>(cases: impl IntoIterator<Item = T>, case: impl Fn(usize, T) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut cases = cases.into_iter().enumerate();
    let mut playing = JoinSet::new();
    loop {
        while playing.len() < AT_ONCE
            && let Some((number, next)) = cases.next()
        {
            playing.spawn(case(number, next));
        }
        match playing.join_next().await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(failure)) => std::panic::resume_unwind(failure.into_panic()),
        }
    }
}

/// An address of the crowd for the case of this number.
fn source(number: usize) -> IpAddr {
    let octet = |n: usize| u8::try_from(n % 200).expect("below 200");
    [127, 1, octet(number / 200), 1 + octet(number)].into()
}

/// Sends octets in two pieces. The gateway may have closed before the second.
async fn send_cut(client: &mut ByteClient, octets: &[u8], cut: usize) {
    let (first, second) = octets.split_at(cut);
    client.send(first).await;
    if !first.is_empty() && !second.is_empty() {
        tokio::time::sleep(CUT).await;
    }
    let _ = client.try_send(second).await;
}

/// A name for a failure: what was sent, readable.
fn shown(octets: &[u8]) -> String {
    octets.escape_ascii().to_string()
}
