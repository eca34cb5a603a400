//! What the tests of the spool from outside share: messages that follow from a number.

use std::array::from_fn;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use gatepost_spool::{
    Entrance, Envelope, Message, Mode, Origin, QueueId, Recipient, Spool, SpoolError, SpoolOptions,
};

/// A wall clock of the tests' own.
pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

pub(crate) fn id(number: u64) -> QueueId {
    QueueId::new(number).expect("is small")
}

pub(crate) fn options() -> SpoolOptions {
    SpoolOptions { free_space_floor: 0, body_memory_each: 200_000, ..SpoolOptions::default() }
}

pub(crate) fn octets(number: u64, length: usize) -> Bytes {
    // A prime is a multiple of no size of a chunk: chunks that change places are noticed.
    let block: [u8; 251] = from_fn(|place| (place as u64 * 31 + number * 7) as u8);
    let mut octets = BytesMut::with_capacity(length);
    while octets.len() < length {
        octets.extend_from_slice(&block[..block.len().min(length - octets.len())]);
    }
    octets.freeze()
}

/// A message of one of three entries, for some recipients.
pub(crate) fn message(number: u64, upstream: &str, recipients: u32, entrance: Entrance) -> Message {
    let recipients = (0..recipients)
        .map(|place| Recipient {
            path: format!("r{place}@example.net").into_bytes().into(),
            dsn: Box::default(),
        })
        .collect();
    Message {
        envelope: Envelope {
            id: id(number),
            received_at: at(0),
            expires_at: at(1000),
            reverse_path: b""[..].into(),
            sender: format!("s{number}@example.com").into_bytes().into(),
            dsn: b""[..].into(),
            body: None,
            smtputf8: false,
            mode: Mode::Spool,
            upstream: upstream.into(),
            origin: Origin {
                session_id: "s".into(),
                listener: "smtp".into(),
                entry: format!("e{}", number % 3).into(),
                credential: None,
                generation: "1-abcdef".into(),
                client: [127, 0, 0, 1].into(),
                helo: None,
                tls: None,
            },
        },
        recipients,
        entrance,
        about: None,
    }
}

/// Commits a message with a body of that length.
pub(crate) async fn commit(
    spool: &Spool,
    message: Message,
    length: usize,
) -> Result<QueueId, SpoolError> {
    let number = message.envelope.id.as_u64();
    let mut body = spool.body(message.envelope.id);
    for chunk in octets(number, length).chunks(50_000) {
        body.append(Bytes::copy_from_slice(chunk)).await?;
    }
    spool.commit(message, body).await
}

/// All of a body, if its message is there.
pub(crate) async fn read(spool: &Spool, number: u64) -> Option<Bytes> {
    let mut reader = spool.read_body(id(number)).await.expect("is readable")?;
    let mut all = Vec::new();
    while let Some(octets) = reader.next().await.expect("is whole") {
        all.extend_from_slice(&octets);
    }
    Some(all.into())
}
