//! How each relay is set up: its files from the templates of `compare/`, and the program that is
//! started.
//!
//! Each gets what makes it quick and keeps its promises: no limits, no logs of its own to a disk, a
//! queue that is written as it comes.

mod postfix;
mod queues;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::load::Load;
use super::peer::Peer;
use crate::process::{
    CERTIFICATE, CERTIFICATE_AND_KEY, PRIVATE_KEY, Program, find_program, free_port, render,
    write_certificate,
};
use crate::rig::gatepost::{Encryption, GatepostSetup, Mode, Ports, Span};

const HAPROXY: &str = include_str!("../../compare/haproxy.cfg");
const NGINX: &str = include_str!("../../compare/nginx.conf");

/// Where packages of nginx have its modules, if the one for mail is not a part of it.
const NGINX_MAIL_MODULES: [&str; 3] = [
    "/usr/lib/nginx/modules/ngx_mail_module.so",
    "/usr/lib64/nginx/modules/ngx_mail_module.so",
    "/usr/local/lib/nginx/modules/ngx_mail_module.so",
];

/// Where a relay is put.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'a> {
    /// For itself.
    pub(super) folder: &'a Path,
    /// On loopback.
    pub(super) port: u16,
    pub(super) sink: SocketAddr,
    pub(super) load: Load,
    pub(super) cpus: &'a [usize],
    pub(super) gatepost: Option<&'a Path>,
}

/// Writes its files. `None` if there is no relay.
pub(super) fn prepare(peer: Peer, site: &Site<'_>) -> anyhow::Result<Option<Program>> {
    if site.is_protected() {
        write_certificate(site.folder)?;
    }
    let program = match peer {
        Peer::Haproxy | Peer::HaproxyTls => haproxy(peer, site)?,
        Peer::Nginx => nginx(site)?,
        Peer::PostfixProxy | Peer::Postfix => postfix::prepare(peer, site)?,
        Peer::Exim => queues::exim(site)?,
        Peer::Opensmtpd => queues::opensmtpd(site)?,
        Peer::Haraka => queues::haraka(site)?,
        Peer::Gatepost => gatepost(site, Mode::Sync)?,
        Peer::GatepostHybrid => gatepost(site, Mode::Hybrid)?,
        Peer::GatepostSpool => gatepost(site, Mode::Spool)?,
        Peer::Direct => return Ok(None),
    };
    Ok(Some(program))
}

impl Site<'_> {
    fn is_protected(&self) -> bool {
        self.load == Load::Tls
    }

    /// A file of the folder, as text of a configuration.
    fn file(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    /// Fills in a template and writes it into the folder.
    fn write(
        &self,
        name: &str,
        template: &str,
        values: &[(&str, &str)],
    ) -> anyhow::Result<PathBuf> {
        let text = render(template, values).with_context(|| format!("template of {name}"))?;
        let file = self.folder.join(name);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    /// The peer's own program with these words behind it.
    fn program<const N: usize>(&self, peer: Peer, words: [&str; N]) -> anyhow::Result<Program> {
        let name = peer.program();
        Ok(Program {
            name: peer.to_string(),
            path: find_program(name).with_context(|| format!("{name} is not installed"))?,
            arguments: words.map(Into::into).to_vec(),
            folder: self.folder.to_owned(),
            cpus: self.cpus.to_vec(),
        })
    }
}

fn haproxy(peer: Peer, site: &Site<'_>) -> anyhow::Result<Program> {
    let bind = format!(" ssl crt {}", site.file(CERTIFICATE_AND_KEY));
    let (bind, server) = match peer {
        Peer::HaproxyTls => (bind.as_str(), " ssl verify none"),
        _ => ("", ""),
    };
    let (port, sink) = (site.port.to_string(), site.sink.port().to_string());
    let values = [("PORT", &*port), ("SINK", &*sink), ("BIND_TLS", bind), ("SERVER_TLS", server)];
    let file = site.write("haproxy.cfg", HAPROXY, &values)?;
    site.program(peer, ["-db", "-f", &file.to_string_lossy()])
}

fn nginx(site: &Site<'_>) -> anyhow::Result<Program> {
    let module = NGINX_MAIL_MODULES.iter().find(|module| Path::new(module).exists());
    let load_module = module.map(|module| format!("load_module {module};")).unwrap_or_default();
    let tls = if site.is_protected() {
        let (certificate, key) = (site.file(CERTIFICATE), site.file(PRIVATE_KEY));
        format!(
            "starttls on; ssl_protocols TLSv1.2 TLSv1.3; \
             ssl_certificate {certificate}; ssl_certificate_key {key};"
        )
    } else {
        String::new()
    };
    let (port, sink) = (site.port.to_string(), site.sink.port().to_string());
    let values = [
        ("LOAD_MODULE", &*load_module),
        ("FOLDER", &site.folder.to_string_lossy()),
        ("WHERE", &free_port()?.to_string()),
        ("SINK", &sink),
        ("PORT", &port),
        ("TLS", &tls),
    ];
    let file = site.write("nginx.conf", NGINX, &values)?;
    site.program(Peer::Nginx, ["-c", &file.to_string_lossy()])
}

fn gatepost(site: &Site<'_>, mode: Mode) -> anyhow::Result<Program> {
    let Some(program) = site.gatepost else { bail!("there is no --gatepost") };
    let encryption = if site.is_protected() { Encryption::Starttls } else { Encryption::None };
    let setup = GatepostSetup {
        program: program.to_owned(),
        name: format!("gatepost-{mode}"),
        mode,
        entries: 1,
        upstream: site.sink,
        encryption,
        span: Span::AsItComes,
        cpus: site.cpus.to_vec(),
    };
    let smtp = SocketAddr::from((Ipv4Addr::LOCALHOST, site.port));
    setup.prepare(site.folder, &Ports { smtp, ..Ports::free()? })
}

/// The user and the group of a service, by the name of the user.
fn owner(name: &str) -> Option<(u32, u32)> {
    owner_in(&fs::read_to_string("/etc/passwd").ok()?, name)
}

fn owner_in(accounts: &str, name: &str) -> Option<(u32, u32)> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests;
