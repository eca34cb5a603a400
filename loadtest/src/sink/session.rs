//! One connection of the sink: moves octets between the socket and the [`Dialogue`].
//!
//! Reads into one buffer that is allocated once per connection, and writes only when the dialogue
//! has used up its input: all replies to a pipelined group leave in one write (RFC 2920 §3.2).

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;

use super::Shared;
use super::dialogue::{Dialogue, Step};

/// Size of the read buffer. A command line always fits, because content never stays in it.
const INPUT_OCTETS: usize = 16 * 1024;

/// Serves one client until it says QUIT, breaks the connection, or is silent for too long.
pub(super) async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut dialogue = Dialogue::new(&shared.options, &shared.counters);
    let mut input = vec![0; INPUT_OCTETS];
    let mut filled = 0;
    let mut output = Vec::new();
    dialogue.greet(&mut output);
    loop {
        // The time-out covers the write too: a client that never reads must not stay for ever.
        let exchange = async {
            stream.write_all(&output).await?;
            stream.read(&mut input[filled..]).await
        };
        let Ok(exchanged) = time::timeout(shared.options.idle_timeout, exchange).await else {
            let _ = stream.try_write(b"421 4.4.2 Idle for too long, closing connection\r\n");
            return Ok(());
        };
        let octets = exchanged?;
        if octets == 0 {
            return Ok(());
        }
        filled += octets;
        output.clear();
        let answered = answer(&mut dialogue, &input[..filled], &mut output).await;
        let Some(used) = answered else {
            // Best effort: a client that does not even read the last reply has lost nothing.
            let _ = time::timeout(shared.options.idle_timeout, stream.write_all(&output)).await;
            return stream.shutdown().await;
        };
        input.copy_within(used..filled, 0);
        filled -= used;
    }
}

/// Lets the dialogue take all it can from the input. Returns how much that was, or nothing when the
/// connection is to be closed after the replies.
pub(super) async fn answer(
    dialogue: &mut Dialogue<'_>,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Option<usize> {
    let mut used = 0;
    loop {
        let (octets, step) = dialogue.advance(&input[used..], output);
        used += octets;
        match step {
            Step::Close => return None,
            Step::Continue => {}
            Step::Deliver(delivery) => delivery.finish(output).await,
            Step::ReadMore => return Some(used),
        }
    }
}
