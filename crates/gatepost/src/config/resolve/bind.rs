//! Addresses to listen on, of listeners and of the metrics page.
//!
//! That two of them collide would come out when they are bound, one at a time and after a restart;
//! here all are seen together.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use toml::Spanned;

use super::values::{Values, at};
use crate::config::file::MetricsFile;

/// An address that is taken, and the key that took it.
pub(super) struct Bound {
    address: SocketAddr,
    key: String,
}

/// `[metrics] bind`.
pub(super) fn metrics(
    values: &mut Values<'_>,
    file: Option<Spanned<MetricsFile>>,
) -> Option<SocketAddr> {
    let file = file?;
    let (table, key) = (at(&file), "metrics.bind");
    let mend = "write an address, like 127.0.0.1:9925, or leave [metrics] out";
    let written = values.required(key, table, file.into_inner().bind, mend)?;
    address(values, key, &written)
}

/// An address with a port, which nothing else is bound to.
pub(super) fn address(
    values: &mut Values<'_>,
    key: impl fmt::Display,
    written: &Spanned<String>,
) -> Option<SocketAddr> {
    let (text, key) = (written.get_ref(), key.to_string());
    let Ok(address) = text.parse::<SocketAddr>() else {
        let message = format_args!(
            "{text:?} is not an address with a port; write one like 0.0.0.0:25 or [::]:25"
        );
        values.error(at(written), key, message);
        return None;
    };
    if let IpAddr::V6(ip) = address.ip()
        && let Some(mapped) = ip.to_ipv4_mapped()
    {
        let message =
            format_args!("{text:?} is an IPv4 address; write it as {mapped}:{}", address.port());
        values.error(at(written), key, message);
        return None;
    }
    if let Some(taken) = values.bound.iter().find(|taken| collide(taken.address, address)) {
        let message = format!(
            "{address} collides with {} of {}; leave one out, or give it another port",
            taken.address, taken.key,
        );
        values.error(at(written), &key, message);
    }
    values.bound.push(Bound { address, key });
    Some(address)
}

/// Whether both cannot be bound. IPv6 sockets are for IPv6 only, and port 0 is a free one.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && same_ip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_collides_within_its_family() {
        let collide = |a: &str, b: &str| {
            let address = |text: &str| text.parse().expect("an address");
            collide(address(a), address(b))
        };
        assert!(collide("10.0.0.1:25", "10.0.0.1:25"));
        assert!(collide("0.0.0.0:25", "10.0.0.1:25"));
        assert!(collide("[::1]:25", "[::]:25"));
        assert!(!collide("0.0.0.0:25", "[::]:25"));
        assert!(!collide("10.0.0.1:25", "10.0.0.2:25"));
        assert!(!collide("10.0.0.1:25", "10.0.0.1:26"));
        assert!(!collide("127.0.0.1:0", "127.0.0.1:0"));
    }
}
