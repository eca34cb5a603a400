//! Headers through real sockets: what is taken, and what is left.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;

/// The client's end, and ours.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.expect("connects"), accepted.expect("accepts").0)
}

/// What is read of pieces that come one by one, and what is left in the socket.
async fn read_pieces(pieces: &[&[u8]]) -> (Result<Proxied, Unknown>, Vec<u8>) {
    let (mut client, mut socket) = pair().await;
    client.set_nodelay(true).expect("a TCP socket");
    let write = async {
        for piece in pieces {
            // Whoever has read enough may have closed already.
            let _ = client.write_all(piece).await;
            // The reader is next, and may or may not see this piece alone.
            tokio::task::yield_now().await;
        }
        let _ = client.shutdown().await;
    };
    let (read, ()) = tokio::join!(read(&mut socket), write);
    let mut left = Vec::new();
    socket.read_to_end(&mut left).await.expect("the client has ended");
    (read, left)
}

const V1: &[u8] = b"PROXY TCP4 203.0.113.9 10.0.0.5 56324 25\r\n";
const CLIENT: Proxied = Proxied::Client(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)));
/// What must be left for whoever reads next.
const FOLLOWS: &[u8] = b"\x16\x03\x01 EHLO app.test\r\nPROXY TCP4 ";

fn v2(more: usize) -> Vec<u8> {
    let octets = u16::try_from(12 + more).expect("short").to_be_bytes();
    let addresses = [203, 0, 113, 9, 10, 0, 0, 5, 0xdc, 0x04, 0, 25];
    let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11";
    // One TLV that says nothing (PP2_TYPE_NOOP), as long as there is room.
    let nothing = more.checked_sub(3).map(|octets| {
        let [high, low] = u16::try_from(octets).expect("short").to_be_bytes();
        [&[4, high, low][..], &vec![0; octets]].concat()
    });
    [&fixed[..], &octets, &addresses, &nothing.unwrap_or_default()].concat()
}

#[tokio::test]
async fn a_header_is_taken_and_nothing_else() {
    // Without more, with what does not fit into one window, and with the most there may be.
    for header in [V1.to_vec(), v2(0), v2(600), v2(4084)] {
        let (read, left) = read_pieces(&[&[&header, FOLLOWS].concat()]).await;
        assert_eq!(read.expect("a header"), CLIENT);
        assert_eq!(left, FOLLOWS);
        let (read, left) = read_pieces(&[&header]).await;
        assert_eq!((read.expect("a header"), left.len()), (CLIENT, 0));
    }
}

#[tokio::test]
async fn a_header_may_come_in_pieces() {
    for header in [V1.to_vec(), v2(0), v2(300)] {
        let input = [&header, FOLLOWS].concat();
        for at in 1..input.len() {
            let (first, second) = input.split_at(at);
            let (read, left) = read_pieces(&[first, second]).await;
            assert_eq!(read.expect("a header"), CLIENT, "split at {at}");
            assert_eq!(left, FOLLOWS, "split at {at}");
        }
        let octets: Vec<&[u8]> = input.chunks(1).collect();
        let (read, left) = read_pieces(&octets).await;
        assert_eq!((read.expect("a header"), &*left), (CLIENT, FOLLOWS));
    }
}

#[tokio::test]
async fn what_is_no_header_is_left_unread() {
    for input in [&b"EHLO app.test\r\n"[..], b"\x16\x03\x01\x02\x00\x01", b"PROXYTCP4 1.2.3.4"] {
        let (read, left) = read_pieces(&[input]).await;
        assert!(matches!(read, Err(Unknown::Invalid(ProxyFault::Missing))), "{read:?}");
        assert_eq!(left, input);
    }
}

#[tokio::test]
async fn a_probe_is_no_torn_header() {
    assert!(matches!(read_pieces(&[]).await.0, Err(Unknown::Closed)));
    for header in [V1.to_vec(), v2(0)] {
        for end in 1..header.len() {
            let (read, _) = read_pieces(&[&header[..end]]).await;
            assert!(matches!(read, Err(Unknown::Torn)), "{end}: {read:?}");
        }
    }
    for sent in [&b""[..], b"PROXY "] {
        let (mut client, mut socket) = pair().await;
        client.write_all(sent).await.expect("sent");
        client.set_zero_linger().expect("a TCP socket");
        drop(client);
        // A reset may overtake what was sent.
        let read = read(&mut socket).await;
        assert!(matches!(read, Err(Unknown::Closed | Unknown::Torn)), "{read:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever comes, what is read is what the protocol says of it, and the rest is there.
    #[test]
    fn anything_is_read_as_it_is_framed(
        begun in prop::sample::select(vec![&b""[..], b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"]),
        rest in proptest::collection::vec(any::<u8>(), 0..600),
        at in any::<prop::sample::Index>(),
    ) {
        let input = [begun, &rest].concat();
        let (first, second) = input.split_at(at.index(input.len() + 1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (read, left) = runtime.expect("a runtime").block_on(read_pieces(&[first, second]));
        match proxy::frame(&input) {
            Ok(Framed::Whole(octets)) => {
                prop_assert_eq!(read.ok(), proxy::parse(&input[..octets]).ok());
                prop_assert_eq!(&left, &input[octets..]);
            }
            Ok(Framed::Incomplete) => {
                prop_assert!(matches!(read, Err(Unknown::Torn | Unknown::Closed)), "{read:?}");
            }
            Err(fault) => {
                prop_assert!(matches!(read, Err(Unknown::Invalid(it)) if it == fault), "{read:?}");
                prop_assert!(input.ends_with(&left));
            }
        }
    }
}
