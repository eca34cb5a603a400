//! Reading, writing and giving up, over real sockets on loopback.

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::*;

async fn pair(within: Duration) -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback binds");
    let address = listener.local_addr().expect("bound");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (Stream::new(near.expect("connected"), Clock::start(), within), far.expect("accepted").0)
}

#[tokio::test]
async fn what_was_gathered_goes_out_before_the_tail() {
    let (mut stream, mut far) = pair(Duration::from_secs(5)).await;
    stream.output().extend_from_slice(b"head ");
    let tail = Bytes::from(vec![b't'; 1 << 20]);
    let send = async {
        stream.flush_with(tail.clone()).await.expect("sent");
        assert!(stream.output().is_empty());
        drop(stream);
    };
    let receive = async {
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.expect("received");
        received
    };
    let ((), received) = tokio::join!(send, receive);
    assert!(received.starts_with(b"head t") && received.len() == 5 + tail.len());
}

#[tokio::test]
async fn an_unread_octet_or_the_end_is_noise() {
    let (mut stream, mut far) = pair(Duration::from_secs(5)).await;
    assert!(stream.is_quiet());
    far.write_all(b"421 late\r\n").await.expect("sent");
    stream.fill().await.expect("read");
    assert!(!stream.is_quiet(), "something is buffered");
    stream.input_mut().clear();
    stream.release();
    assert!(stream.is_quiet());
    drop(far);
    assert!(matches!(stream.fill().await, Err(StreamError::Closed)));
    assert!(!stream.is_quiet(), "the end has come");
}

#[tokio::test]
async fn a_deadline_that_is_moved_away_is_not_reached() {
    let (mut stream, mut far) = pair(Duration::from_millis(100)).await;
    let started = Instant::now();
    let wait = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        far.write_all(b"x").await.expect("sent");
    };
    let (read, ()) = tokio::join!(stream.fill(), wait);
    read.expect("in time");
    stream.within(Duration::from_millis(600));
    assert!(matches!(stream.fill().await, Err(StreamError::Elapsed)));
    assert!(started.elapsed() >= Duration::from_millis(600), "never early");
    stream.within(Duration::from_millis(10));
    assert!(matches!(stream.fill().await, Err(StreamError::Elapsed)), "moved nearer");
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up() {
    let (mut stream, far) = pair(Duration::from_millis(100)).await;
    let endless = Bytes::from(vec![0; 64 << 20]);
    assert!(matches!(stream.flush_with(endless).await, Err(StreamError::Elapsed)));
    drop(far);
}

/// A whole read leaves the readiness of the next event behind; it is not an octet.
#[tokio::test]
async fn stale_readiness_is_not_noise() {
    let (mut stream, mut far) = pair(Duration::from_secs(5)).await;
    far.write_all(&vec![b'x'; READ_OCTETS_MIN]).await.expect("sent");
    while stream.input().len() < READ_OCTETS_MIN {
        stream.fill().await.expect("read");
    }
    stream.input_mut().clear();
    assert!(stream.is_quiet());
}

#[tokio::test]
async fn a_peer_that_speaks_while_it_does_not_read_is_heard() {
    let (mut stream, mut far) = pair(Duration::from_secs(5)).await;
    far.write_all(b"552 enough\r\n").await.expect("sent");
    let endless = Bytes::from(vec![0; 64 << 20]);
    assert_eq!(stream.flush_listening(endless).await.expect("heard"), Flushed::Interrupted);
    assert_eq!(stream.input(), b"552 enough\r\n");
    let small = Bytes::from_static(b"x");
    let (mut quiet, _far) = pair(Duration::from_secs(5)).await;
    assert_eq!(quiet.flush_listening(small).await.expect("sent"), Flushed::All);
}

#[tokio::test]
async fn a_peer_that_is_never_silent_does_not_outlive_its_time() {
    let (mut stream, mut far) = pair(Duration::from_secs(5)).await;
    stream.end_after(Duration::from_millis(200));
    let flood = tokio::spawn(async move { while far.write_all(b"NOOP\r\n").await.is_ok() {} });
    let ended = tokio::time::timeout(Duration::from_secs(5), async {
        while stream.fill().await.is_ok() {
            stream.input_mut().clear();
        }
    });
    ended.await.expect("it ends");
    drop(stream);
    flood.await.expect("no panic");
}

#[tokio::test]
async fn a_mark_is_moved_by_what_is_earned_and_no_further() {
    let (stream, _far) = pair(Duration::from_secs(5)).await;
    let (near, far) = (stream.mark(Duration::from_secs(1)), stream.mark(Duration::from_secs(9)));
    assert!(near.later(Duration::from_secs(1), far) > near);
    assert_eq!(near.later(Duration::from_mins(1), far), far);
}

#[tokio::test]
async fn a_lifetime_ends_whatever_the_deadline() {
    let (mut stream, _far) = pair(Duration::from_mins(1)).await;
    stream.end_after(Duration::from_millis(100));
    stream.within(Duration::from_mins(1));
    assert!(matches!(stream.fill().await, Err(StreamError::Elapsed)));
}

/// Reads a large message, and brings all of it back.
async fn read_large(stream: &mut Stream, far: &mut TcpStream) -> Vec<Bytes> {
    let large = vec![b'x'; LARGE_OCTETS];
    let send = async { far.write_all(&large).await.expect("sent") };
    let receive = async {
        let mut slices = Vec::new();
        take_large(stream, |slice| slices.push(slice)).await;
        slices
    };
    tokio::join!(send, receive).1
}

/// Takes what comes as a session does: the last octets may be the beginning of an end, and wait.
async fn take_large(stream: &mut Stream, mut take: impl FnMut(Bytes)) {
    let mut octets = 0;
    while octets < LARGE_OCTETS {
        stream.fill().await.expect("read");
        let come = stream.input().len();
        let taken = if octets + come == LARGE_OCTETS { come } else { come.saturating_sub(2) };
        octets += taken;
        take(stream.input_mut().split_to(taken).freeze());
    }
}

#[tokio::test]
async fn buffers_of_a_large_message_are_those_of_the_next_one() {
    let (mut stream, mut far) = pair(Duration::from_secs(5)).await;
    let first = read_large(&mut stream, &mut far).await;
    let clock = stream.deadline.clock().clone();
    let blocks = clock.spare().len();
    assert!(blocks > 1, "it was held: {blocks} blocks");
    stream.release();
    drop(first);
    let second = read_large(&mut stream, &mut far).await;
    let after = clock.spare().len();
    assert!(after < blocks + blocks / 2 + 2, "{blocks} blocks, and {after} after the second");
    drop((stream, clock));
    assert_eq!(second.concat(), vec![b'x'; LARGE_OCTETS], "slices outlive the stream");
}

#[tokio::test]
async fn a_large_message_that_nobody_holds_takes_one_block() {
    let (mut stream, mut far) = pair(Duration::from_secs(5)).await;
    let large = vec![b'x'; LARGE_OCTETS];
    let send = async { far.write_all(&large).await.expect("sent") };
    tokio::join!(send, take_large(&mut stream, drop));
    assert_eq!(stream.deadline.clock().spare().len(), 0, "none was left for another");
    stream.release();
    assert_eq!(stream.input.capacity(), 0, "an idle stream has none");
    assert_eq!(stream.deadline.clock().spare().len(), 1);
}

#[tokio::test]
async fn small_reads_take_no_block() {
    let (mut stream, mut far) = pair(Duration::from_secs(5)).await;
    for _ in 0..20 {
        far.write_all(&[b'x'; READ_OCTETS_MIN / 2]).await.expect("sent");
        stream.fill().await.expect("read");
        stream.input_mut().clear();
        stream.release();
    }
    assert_eq!(stream.deadline.clock().spare().len(), 0);
}

#[tokio::test]
async fn what_any_message_needs_is_kept_and_what_has_grown_is_not() {
    let (mut stream, mut far) = pair(Duration::from_secs(5)).await;
    let mut one = async |stream: &mut Stream| {
        far.write_all(b"250 Ok\r\n").await.expect("sent");
        stream.fill().await.expect("read");
        stream.input_mut().advance(8);
        stream.release_grown();
        stream.input.capacity() + stream.output.capacity()
    };
    let kept = one(&mut stream).await;
    assert!((1..=READ_OCTETS_MIN).contains(&kept), "{kept}");
    for _ in 0..3 {
        assert!(one(&mut stream).await <= READ_OCTETS_MIN, "it does not grow");
    }
    stream.output().reserve(READ_OCTETS_MIN + 1);
    assert_eq!(one(&mut stream).await, 0);
    let large = read_large(&mut stream, &mut far).await;
    stream.release_grown();
    assert_eq!(stream.input.capacity(), 0);
    drop(large);
}

const LARGE_OCTETS: usize = 1 << 20;
