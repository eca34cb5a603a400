//! A certificate that is worth nothing to anybody, for relays that should offer TLS.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context;

use crate::ThrowAwayCa;

/// The certificate, PEM.
pub(crate) const CERTIFICATE: &str = "relay.pem";
/// Its key, PEM.
pub(crate) const PRIVATE_KEY: &str = "relay.key";
/// Both in one file, as HAProxy wants them.
pub(crate) const CERTIFICATE_AND_KEY: &str = "relay-both.pem";

/// Makes a certificate and writes the three files into `folder`. Returns the CA for clients to trust,
/// PEM.
pub(crate) fn write_certificate(folder: &Path) -> anyhow::Result<String> {
    let ca = ThrowAwayCa::new()?;
    let made = ca.issue_server(&["localhost", "relay.test", "127.0.0.1"].map(str::to_owned))?;
    let (certificate, key) = (made.certificate, made.private_key);
    let both = format!("{certificate}{key}");
    for (name, text) in
        [(CERTIFICATE, certificate), (PRIVATE_KEY, key), (CERTIFICATE_AND_KEY, both)]
    {
        let file = folder.join(name);
        write_private(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(ca.pem())
}

/// For its owner alone: some relays refuse a key that others could read.
fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?
        .write_all(text.as_bytes())
}
