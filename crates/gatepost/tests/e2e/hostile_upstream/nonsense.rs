//! What is said is no reply. The upstream goes on politely behind it, and is not believed.

use gatepost_testkit::upstream::Move;

use super::{NO_REPLY, Row, TWO_CODES, play};

const NONSENSE: [(&str, &[u8], &str); 18] = [
    ("LF alone", b"250 ok\n", NO_REPLY),
    ("LF alone behind the first line", b"250-ok\n250 ok\r\n", NO_REPLY),
    ("an empty line", b"\r\n", NO_REPLY),
    ("an empty line in a reply", b"250-ok\r\n\r\n250 ok\r\n", NO_REPLY),
    ("no code", b"OK\r\n", NO_REPLY),
    ("the reply of another protocol", b"+OK ready\r\n", NO_REPLY),
    ("a page", b"HTTP/1.1 400 Bad Request\r\n\r\n", NO_REPLY),
    ("two digits", b"25 ok\r\n", NO_REPLY),
    ("four digits", b"2500 ok\r\n", NO_REPLY),
    ("digits of another script", "٢٥٠ ok\r\n".as_bytes(), NO_REPLY),
    ("a blank first", b" 250 ok\r\n", NO_REPLY),
    ("neither blank nor hyphen", b"250_ok\r\n", NO_REPLY),
    ("code 000", b"000 ok\r\n", NO_REPLY),
    ("code 150", b"150 ok\r\n", NO_REPLY),
    ("code 999", b"999 ok\r\n", NO_REPLY),
    ("NULs", b"\0\0\0\0\r\n", NO_REPLY),
    ("octets of TLS", b"\x15\x03\x03\x00\x02\x02\x28\r\n\xff\xfe", NO_REPLY),
    ("lines with two codes", b"250-ok\r\n251 ok\r\n", TWO_CODES),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_what_is_no_reply_is_left() {
    play(NONSENSE.iter().flat_map(|(what, octets, reason)| {
        Row::everywhere(what, &[Move::Say(octets.to_vec())], reason)
    }))
    .await;
}
