//! Ports for programs that cannot choose one and tell which.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Above those of services that a machine may have.
const PORT_MIN: u16 = 15_000;

/// Enough to get past whatever else listens.
const ATTEMPTS_MAX: u16 = 1000;

/// How many ports were looked at, so that none is given twice soon.
static LOOKED_AT: AtomicU16 = AtomicU16::new(0);

/// A port of loopback that nothing listens on.
///
/// It lies below those that the kernel hands out: some programs take seconds to bind it, and whoever
/// asks for any port meanwhile must not get this one.
pub(crate) fn free_port() -> io::Result<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let handed_out = range.split_ascii_whitespace().next().and_then(|first| first.parse().ok());
    // A machine that hands out nearly all of them leaves no choice.
    let end = handed_out.filter(|&first| first > 2 * PORT_MIN).unwrap_or(u16::MAX);
    // Two runs at the same time begin in different places.
    let begin = (process::id().wrapping_mul(97) % u32::from(end - PORT_MIN)) as u16;
    for _ in 0..ATTEMPTS_MAX {
        let offset = begin.wrapping_add(LOOKED_AT.fetch_add(1, Ordering::Relaxed));
        let port = PORT_MIN + offset % (end - PORT_MIN);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no port of 127.0.0.1 is free"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_differ() {
        let (first, second) = (free_port().unwrap(), free_port().unwrap());
        assert!(first >= PORT_MIN && second >= PORT_MIN);
        assert_ne!(first, second);
    }
}
