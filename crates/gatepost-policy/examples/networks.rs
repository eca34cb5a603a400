//! The network parser on standard input, one text a line.
//!
//! For each line it prints one: `ok` and the network as Gatepost shows it, or `no` and why. Other
//! parsers are compared with it (`tests/foreign/networks.py`); it is handy for a list of networks
//! that somebody has sent, too. A text is everything up to the newline, spaces included.
#![forbid(unsafe_code)]

use std::io::{self, BufRead as _, BufWriter, Write as _};

use gatepost_policy::network::Network;

fn main() -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for text in io::stdin().lock().split(b'\n') {
        // What is not UTF-8 cannot stand in a policy; here it becomes a character that is refused.
        match String::from_utf8_lossy(&text?).parse::<Network>() {
            Ok(network) => writeln!(out, "ok {network}")?,
            Err(error) => writeln!(out, "no {error}")?,
        }
    }
    out.flush()
}
