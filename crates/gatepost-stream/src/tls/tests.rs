//! Streams behind TLS, over real sockets on loopback; the other end is ours, or that of others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatepost_testkit::{ByteClient, ClientTls, ThrowAwayCa, Versions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::{Clock, Stream};

const BOTH: [Versions; 2] = [Versions::Only12, Versions::Only13];

/// A side that waits for clients, and what they trust.
struct Server {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    ca: ThrowAwayCa,
}

impl Server {
    async fn new() -> Self {
        let ca = ThrowAwayCa::new();
        let issued = ca.issue(&["relay.test"]);
        let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain.collect::<Result<_, _>>().expect("PEM"), key)
            .expect("a pair");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback binds");
        Self { listener, config: Arc::new(config), ca }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("bound")
    }

    async fn accept(&self, within: Duration) -> Stream {
        let (socket, _) = self.listener.accept().await.expect("accepted");
        let mut stream = Stream::new(socket, Clock::start(), within);
        let connection = ServerConnection::new(self.config.clone()).expect("a connection");
        stream.secure(connection.into()).await.expect("a handshake");
        stream
    }

    /// A client of another library.
    async fn with_client(&self, versions: Versions, within: Duration) -> (Stream, ByteClient) {
        let tls = ClientTls::new(&self.ca, None, versions);
        let client = async {
            let mut client = ByteClient::connect(self.address()).await;
            client.secure(&tls).await;
            client
        };
        tokio::join!(self.accept(within), client)
    }

    /// A client that is a stream, and the other end as a socket and what seals for it.
    async fn by_hand(&self, versions: Versions) -> (Stream, (TcpStream, ServerConnection)) {
        let config = ClientTls::new(&self.ca, None, versions).config();
        let near = async {
            let socket = TcpStream::connect(self.address()).await.expect("connected");
            let mut stream = Stream::new(socket, Clock::start(), Duration::from_secs(5));
            let name = ServerName::try_from("relay.test").expect("a name");
            let connection = ClientConnection::new(config, name).expect("a connection");
            stream.secure(connection.into()).await.expect("a handshake");
            stream
        };
        let far = async {
            let (mut socket, _) = self.listener.accept().await.expect("accepted");
            let mut connection = ServerConnection::new(self.config.clone()).expect("a server");
            let mut buffer = [0; 4096];
            while connection.is_handshaking() {
                let octets = socket.read(&mut buffer).await.expect("read");
                connection.read_tls(&mut &buffer[..octets]).expect("taken");
                connection.process_new_packets().expect("TLS");
                socket.write_all(&sealed(&mut connection)).await.expect("sent");
            }
            (socket, connection)
        };
        tokio::join!(near, far)
    }

    /// Both ends are streams.
    async fn with_stream(&self, versions: Versions) -> (Stream, Stream) {
        let within = Duration::from_secs(5);
        let config = ClientTls::new(&self.ca, None, versions).config();
        let name = ServerName::try_from("relay.test").expect("a name");
        let client = async {
            let socket = TcpStream::connect(self.address()).await.expect("connected");
            let mut stream = Stream::new(socket, Clock::start(), within);
            let connection = ClientConnection::new(config, name).expect("a connection");
            stream.secure(connection.into()).await.expect("a handshake");
            stream
        };
        tokio::join!(self.accept(within), client)
    }
}

#[tokio::test]
async fn what_was_gathered_goes_out_before_the_tail() {
    let server = Server::new().await;
    for versions in BOTH {
        let (mut stream, mut client) = server.with_client(versions, Duration::from_secs(5)).await;
        stream.output().extend_from_slice(b"head ");
        let tail = Bytes::from((0..1_u32 << 18).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
        let expected = tail.clone();
        let send = async {
            stream.flush_with(tail).await.expect("sent");
            stream.linger().await;
        };
        let receive = async {
            let received = client.read_to_end().await;
            client.close();
            received
        };
        let ((), received) = tokio::join!(send, receive);
        assert!(received.starts_with(b"head ") && received[5..] == expected[..]);
    }
}

#[tokio::test]
async fn what_tls_says_to_tls_is_no_noise() {
    let server = Server::new().await;
    for versions in BOTH {
        let (mut stream, (mut socket, mut connection)) = server.by_hand(versions).await;
        // With TLS 1.3, tickets for the next session wait in the socket.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(stream.is_quiet());
        connection.writer().write_all(b"421 late\r\n").expect("sealed");
        socket.write_all(&sealed(&mut connection)).await.expect("sent");
        stream.readable().await.expect("it comes");
        assert!(!stream.is_quiet(), "text that nobody asked for");
        stream.fill().await.expect("it is there");
        assert_eq!(stream.input(), b"421 late\r\n");
    }
}

/// Who is asked whether it is quiet does not wait: a flood of tickets must not make it.
#[tokio::test]
async fn much_that_tls_says_to_tls_is_noise() {
    let mut server = Server::new().await;
    let mut config = ServerConfig::clone(&server.config);
    config.send_tls13_tickets = 450;
    server.config = Arc::new(config);
    let (mut stream, _far) = server.by_hand(Versions::Only13).await;
    stream.readable().await.expect("they come");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!stream.is_quiet());
}

#[tokio::test]
async fn the_end_is_noise() {
    let server = Server::new().await;
    for versions in BOTH {
        let (near, mut far) = server.with_stream(versions).await;
        tokio::spawn(near.linger());
        let ended = far.fill().await;
        assert!(matches!(ended, Err(StreamError::Closed)), "{ended:?}");
        assert!(!far.is_quiet());
    }
}

/// A reply that was sealed is whole, whatever comes behind it in the same read.
#[tokio::test]
async fn what_came_before_a_wrong_record_counts() {
    /// Application data that nobody has sealed.
    const WRONG: &[u8] = b"\x17\x03\x03\x00\x20................................";
    let server = Server::new().await;
    for versions in BOTH {
        let (mut stream, (mut socket, mut connection)) = server.by_hand(versions).await;
        let near = async {
            stream.fill().await.expect("a reply");
            assert_eq!(stream.input(), b"250 queued\r\n");
            for _ in 0..2 {
                stream.input_mut().clear();
                assert!(!stream.is_quiet());
                let failed = stream.fill().await;
                assert!(matches!(failed, Err(StreamError::Tls(_))), "{failed:?}");
            }
            drop(stream);
        };
        let far = async {
            connection.writer().write_all(b"250 queued\r\n").expect("sealed");
            let together = [&sealed(&mut connection)[..], WRONG].concat();
            socket.write_all(&together).await.expect("sent");
            // Until the other side is gone, so that nothing is reset.
            while socket.read(&mut [0; 4096]).await.is_ok_and(|octets| octets > 0) {}
        };
        tokio::join!(near, far);
    }
}

#[tokio::test]
async fn what_is_sent_together_is_one_record_and_records_are_full() {
    const RECORD: usize = 16 * 1024;
    let server = Server::new().await;
    let (mut stream, (mut socket, _connection)) = server.by_hand(Versions::Only13).await;
    for line in [&b"MAIL FROM:<>\r\n"[..], b"RCPT TO:<a@b.test>\r\n", b"DATA\r\n"] {
        stream.output().extend_from_slice(line);
    }
    let group = stream.output().len();
    stream.flush().await.expect("sent");
    assert_eq!(records(&mut socket, group).await, [group]);
    stream.output().extend_from_slice(&[b'h'; 300]);
    let tail = Bytes::from(vec![b't'; 9 * RECORD - 300]);
    let (sent, records) = tokio::join!(stream.flush_with(tail), records(&mut socket, 9 * RECORD));
    sent.expect("sent");
    assert_eq!(records, [RECORD; 9]);
}

/// Reads records of TLS 1.3 until they hold so much text, and tells how much each holds.
async fn records(socket: &mut TcpStream, octets: usize) -> Vec<usize> {
    /// The type and the tag behind the text of a record (RFC 8446 §5.2).
    const AROUND: usize = 1 + 16;
    let mut records = Vec::new();
    while records.iter().sum::<usize>() < octets {
        let mut header = [0; 5];
        socket.read_exact(&mut header).await.expect("a record");
        assert_eq!(header[0], 23, "application data");
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        socket.read_exact(&mut vec![0; length]).await.expect("a whole record");
        records.push(length - AROUND);
    }
    records
}

/// More than one read brings, in small records and in the largest; and what is behind the end.
#[tokio::test]
async fn much_that_comes_at_once_is_whole() {
    let server = Server::new().await;
    for versions in BOTH {
        for record in [1, 1000, 16 * 1024] {
            let (mut stream, (mut socket, mut connection)) = server.by_hand(versions).await;
            let octets = (record * 3000).min(READ_OCTETS * 3);
            let text: Vec<u8> = (0..=u8::MAX).cycle().take(octets).collect();
            let mut all = Vec::new();
            for part in text.chunks(record) {
                connection.writer().write_all(part).expect("sealed");
                all.extend_from_slice(&sealed(&mut connection));
            }
            connection.send_close_notify();
            all.extend_from_slice(&sealed(&mut connection));
            all.extend_from_slice(b"250 forged\r\n");
            let far = async { socket.write_all(&all).await.expect("sent") };
            let near = async {
                let ended = loop {
                    if let Err(ended) = stream.fill().await {
                        break ended;
                    }
                };
                assert!(matches!(ended, StreamError::Closed), "{ended:?}");
                assert!(stream.input() == text, "{versions:?}, records of {record}");
            };
            tokio::join!(far, near);
        }
    }
}

/// They wait for the first text, and are worth something for all that.
#[tokio::test]
async fn tickets_come_with_the_first_text() {
    let server = Server::new().await;
    let tls = ClientTls::new(&server.ca, None, Versions::Only13);
    for is_resumed in [false, true] {
        let far = async {
            let mut client = ByteClient::connect(server.address()).await;
            client.secure(&tls).await;
            client
        };
        let (mut stream, mut client) = tokio::join!(server.accept(Duration::from_secs(5)), far);
        assert_eq!(client.is_resumed(), is_resumed);
        let waits = |stream: &Stream| stream.tls().expect("TLS").wants_write();
        stream.flush().await.expect("there is no text");
        assert!(waits(&stream));
        stream.output().extend_from_slice(b"220 relay.test\r\n");
        stream.flush().await.expect("sent");
        assert!(!waits(&stream));
        client.expect("220").await;
    }
}

#[tokio::test]
async fn the_last_words_and_the_close_are_sent_together() {
    let server = Server::new().await;
    let (mut stream, (mut socket, mut connection)) = server.by_hand(Versions::Only13).await;
    stream.output().extend_from_slice(b"QUIT\r\n");
    let far = async {
        let mut buffer = [0; 4096];
        let octets = socket.read(&mut buffer).await.expect("read");
        drop(socket);
        connection.read_tls(&mut &buffer[..octets]).expect("taken");
        assert!(connection.process_new_packets().expect("TLS").peer_has_closed());
        let mut text = Vec::new();
        connection.reader().read_to_end(&mut text).expect("closed");
        assert_eq!(text, b"QUIT\r\n");
    };
    tokio::join!(stream.linger(), far);
}

fn sealed(connection: &mut ServerConnection) -> Vec<u8> {
    let mut records = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut records).expect("a Vec takes everything");
    }
    records
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up() {
    let server = Server::new().await;
    let (mut stream, client) = server.with_client(Versions::Both, Duration::from_millis(200)).await;
    let endless = Bytes::from(vec![0; 64 << 20]);
    assert!(matches!(stream.flush_with(endless).await, Err(StreamError::Elapsed)));
    drop(client);
}

#[tokio::test]
async fn a_peer_that_speaks_while_it_does_not_read_is_heard() {
    let server = Server::new().await;
    let (mut stream, mut client) = server.with_client(Versions::Both, Duration::from_secs(5)).await;
    client.send(b"552 enough\r\n").await;
    let endless = Bytes::from(vec![0; 64 << 20]);
    let flushed = stream.flush_listening(endless).await.expect("heard");
    assert_eq!((flushed, stream.input()), (crate::Flushed::Interrupted, &b"552 enough\r\n"[..]));
}

#[tokio::test]
async fn what_came_before_tls_is_forgotten() {
    let server = Server::new().await;
    let tls = ClientTls::new(&server.ca, None, Versions::Both);
    let near = async {
        let (socket, _) = server.listener.accept().await.expect("accepted");
        let mut stream = Stream::new(socket, Clock::start(), Duration::from_secs(5));
        stream.fill().await.expect("read");
        assert_eq!(stream.input(), b"STARTTLS\r\nMAIL FROM:<>\r\n");
        stream.output().extend_from_slice(b"220 go\r\n");
        stream.flush().await.expect("sent");
        let connection = ServerConnection::new(server.config.clone()).expect("a connection");
        stream.secure(connection.into()).await.expect("a handshake");
        assert!(stream.input().is_empty());
        stream.fill().await.expect("read");
        assert_eq!(stream.input(), b"EHLO a\r\n");
    };
    let far = async {
        let mut client = ByteClient::connect(server.address()).await;
        client.send(b"STARTTLS\r\nMAIL FROM:<>\r\n").await;
        client.expect("220").await;
        client.secure(&tls).await;
        client.send(b"EHLO a\r\n").await;
        client
    };
    tokio::join!(near, far);
}
