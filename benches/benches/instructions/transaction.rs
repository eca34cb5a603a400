//! What the protocol engine does for a transaction, as in `transaction.rs` beside this.

use bytes::Bytes;
use gatepost_benches::{
    dialogue,
    engine::Relay,
    instructions::counter::Counter,
    message::{Lines, message},
};

const KIB: usize = 1024;

pub(crate) fn rows(counter: &mut Counter<'_>) {
    for (name, recipients, octets) in [
        ("transaction/1 recipient, 4 KiB", 1, 4 * KIB),
        ("transaction/10 recipients, 4 KiB", 10, 4 * KIB),
        ("transaction/1 recipient, 1 MiB", 1, KIB * KIB),
    ] {
        let commands = Bytes::from(dialogue::envelope(recipients));
        let message = Bytes::from(message(Lines::Text, octets));
        let mut relay = Some(Relay::new());
        counter.row(name, 4, || {
            let ready = relay.take().expect("given back below");
            relay = Some(ready.transact(&commands, &message));
        });
    }
}
