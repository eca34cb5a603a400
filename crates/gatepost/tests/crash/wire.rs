//! A client's end of a connection: octets out, reply codes in, each within a time.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// How long a client waits for anything: longer than an upstream is slow, and than the queue of a
/// gateway under load.
const PATIENCE: Duration = Duration::from_mins(1);
/// Octets of a line of a reply, at the most.
const LINE_MAX: usize = 4096;

/// A connection to a gateway.
pub(crate) struct Wire {
    socket: BufReader<TcpStream>,
    line: Vec<u8>,
}

impl Wire {
    pub(crate) async fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from.into(), 0))?;
        let socket = in_time(socket.connect(to)).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket: BufReader::new(socket), line: Vec::new() })
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        in_time(self.socket.write_all(octets)).await
    }

    /// The code of the next reply.
    pub(crate) async fn reply(&mut self) -> io::Result<u16> {
        loop {
            self.line.clear();
            let octets = in_time(self.socket.read_until(b'\n', &mut self.line)).await?;
            if !(4..=LINE_MAX).contains(&octets) || !self.line.ends_with(b"\n") {
                // A reply of which a part has come is none.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let code = str::from_utf8(&self.line[..3]).ok().and_then(|digits| digits.parse().ok());
            let code = code.ok_or(io::ErrorKind::InvalidData)?;
            if self.line[3] != b'-' {
                return Ok(code);
            }
        }
    }

    /// Sends a line, and reads the code of its reply.
    pub(crate) async fn ask(&mut self, line: &str) -> io::Result<u16> {
        self.send(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }
}

async fn in_time<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, what).await?
}
