//! Postfix: with its queue, and as a proxy that hands each message on before it answers.

use std::fs;
use std::os::unix::fs::chown;

use anyhow::Context;

use super::{Site, owner};
use crate::compare::peer::Peer;
use crate::process::{CERTIFICATE, PRIVATE_KEY, Program};

const MAIN: &str = include_str!("../../../compare/postfix-main.cf");
const MASTER: &str = include_str!("../../../compare/postfix-master.cf");

pub(super) fn prepare(peer: Peer, site: &Site<'_>) -> anyhow::Result<Program> {
    write(peer, site)?;
    let user = owner("postfix").context("there is no user postfix")?;
    for (name, owned) in [("queue", false), ("data", true)] {
        let folder = site.folder.join(name);
        fs::create_dir_all(&folder)?;
        if owned {
            chown(&folder, Some(user.0), Some(user.1))?;
        }
    }
    site.program(peer, ["-c", &site.file("etc"), "start-fg"])
}

pub(super) fn write(peer: Peer, site: &Site<'_>) -> anyhow::Result<()> {
    let (port, sink) = (site.port.to_string(), site.sink.port().to_string());
    let proxy = match peer {
        Peer::PostfixProxy => format!("smtpd_proxy_filter = 127.0.0.1:{sink}"),
        _ => String::new(),
    };
    let tls = if site.is_protected() { tls(site) } else { String::new() };
    let main = [
        ("FOLDER", &*site.folder.to_string_lossy()),
        ("SINK", &sink),
        ("PROXY", &proxy),
        ("TLS", &tls),
    ];
    site.write("etc/main.cf", MAIN, &main)?;
    site.write("etc/master.cf", MASTER, &[("PORT", &port)])?;
    // Without it each of its programs looks for the one of the system, and complains.
    site.write("etc/dynamicmaps.cf", "", &[])?;
    Ok(())
}

/// Both sides; connections with TLS are kept as those without are.
fn tls(site: &Site<'_>) -> String {
    let (certificate, key) = (site.file(CERTIFICATE), site.file(PRIVATE_KEY));
    format!(
        "smtpd_tls_security_level = may\n\
         smtpd_tls_chain_files = {key}, {certificate}\n\
         smtp_tls_security_level = encrypt\n\
         smtp_tls_connection_reuse = yes\n\
         smtp_tls_session_cache_database = btree:$data_directory/smtp_sessions"
    )
}
