//! Gatepost as it is set up for a measurement: one listener, one upstream, one policy.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{
    CERTIFICATE, Measured, Opening, PRIVATE_KEY, Program, free_port, render, write_certificate,
};

const CONFIGURATION: &str = include_str!("../../compare/gatepost.toml");

/// Who may send: whoever is on this machine, as one fleet.
const POLICY: &str = include_str!("../../compare/gatepost-policy.toml");

/// What a gateway is started with.
#[derive(Clone, Debug)]
pub struct GatepostSetup {
    /// The binary.
    pub program: PathBuf,
    /// `sync`, `hybrid` or `spool`.
    pub mode: &'static str,
    /// The text of the policy file.
    pub policy: String,
    /// Threads that carry mail; one for each CPU it may use if not set.
    pub workers: Option<usize>,
    /// STARTTLS is offered to clients, and used with the upstream, whose certificate is not verified.
    pub tls: bool,
    /// CPUs it may use; empty for all.
    pub cpus: Vec<usize>,
    /// Where it hands messages to.
    pub upstream: SocketAddr,
    /// Further lines of `[[listener]]`.
    pub listener_lines: String,
    /// Further lines of `[[upstream]]`.
    pub upstream_lines: String,
}

/// A gateway that greets.
#[derive(Debug)]
pub struct RunningGatepost {
    /// The program.
    pub measured: Measured,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where `/metrics` is.
    pub metrics: SocketAddr,
}

impl GatepostSetup {
    /// Mode `sync`, a policy that lets this machine send as `example.com`, all CPUs, no TLS.
    pub fn new(program: PathBuf, upstream: SocketAddr) -> Self {
        Self {
            program,
            mode: "sync",
            policy: POLICY.to_owned(),
            workers: None,
            tls: false,
            cpus: Vec::new(),
            upstream,
            listener_lines: String::new(),
            upstream_lines: String::new(),
        }
    }

    /// Writes its files into `folder`, which it has for itself, starts it and waits until it greets.
    pub async fn start(&self, folder: &Path) -> anyhow::Result<RunningGatepost> {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (address, metrics) = (local(free_port()?), local(free_port()?));
        let program = self.prepare(folder, address, metrics)?;
        let mut measured = Measured::start(&program)?;
        measured.ready(address, Opening::Greeting).await?;
        Ok(RunningGatepost { measured, address, metrics })
    }

    /// Writes its files into `folder`; the program that is to be started.
    pub fn prepare(
        &self,
        folder: &Path,
        address: SocketAddr,
        metrics: SocketAddr,
    ) -> anyhow::Result<Program> {
        let text = self.configuration(folder, address, metrics)?;
        if self.tls {
            write_certificate(folder)?;
        }
        let file = folder.join("gatepost.toml");
        fs::write(&file, text)
            .and_then(|()| fs::write(folder.join("policy.toml"), &self.policy))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let program = fs::canonicalize(&self.program)
            .with_context(|| format!("there is no program {}", self.program.display()))?;
        let mut words: Vec<OsString> = Vec::new();
        if let Some(workers) = self.workers {
            words.extend(["env".into(), format!("TOKIO_WORKER_THREADS={workers}").into()]);
        }
        words.extend([program.into(), "run".into(), "--config".into(), file.into()]);
        let path = PathBuf::from(words.remove(0));
        Ok(Program {
            name: format!("gatepost-{}", self.mode),
            path,
            arguments: words,
            folder: folder.to_owned(),
            cpus: self.cpus.clone(),
        })
    }

    fn configuration(
        &self,
        folder: &Path,
        address: SocketAddr,
        metrics: SocketAddr,
    ) -> anyhow::Result<String> {
        let (mut listener, mut upstream) = ("tls = \"none\"".to_owned(), "tls = \"none\"");
        if self.tls {
            listener = format!(
                "tls = \"starttls\"\ncertificate = \"{CERTIFICATE}\"\nprivate_key = \"{PRIVATE_KEY}\""
            );
            upstream = "tls = \"opportunistic\"";
        }
        render(
            CONFIGURATION,
            &[
                ("FOLDER", &folder.to_string_lossy()),
                ("ADDRESS", &address.to_string()),
                ("LISTENER", &format!("{listener}\n{}", self.listener_lines)),
                ("SINK", &self.upstream.to_string()),
                ("UPSTREAM", &format!("{upstream}\n{}", self.upstream_lines)),
                ("MODE", self.mode),
                ("METRICS", &metrics.to_string()),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(change: fn(&mut GatepostSetup)) -> String {
        let upstream = "127.0.0.1:2525".parse().unwrap();
        let mut setup = GatepostSetup::new("gatepost".into(), upstream);
        change(&mut setup);
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        setup.configuration(Path::new("/work"), local(2600), local(9925)).unwrap()
    }

    #[test]
    fn plain_text_is_plain_on_both_sides() {
        let text = configuration(|setup| setup.listener_lines = "max_connections = 7".to_owned());
        assert!(
            text.contains("bind = [\"127.0.0.1:2600\"]\ntls = \"none\"\nmax_connections = 7\n")
        );
        assert!(text.contains("hosts = [\"127.0.0.1:2525\"]\n"), "{text}");
        assert!(text.contains("ehlo_name = \"relay.test\"\ntls = \"none\"\n"), "{text}");
        assert!(text.contains("mode = \"sync\""), "{text}");
        assert!(text.contains("state_dir = \"/work/state\""), "{text}");
    }

    #[test]
    fn tls_is_on_both_sides() {
        let text = configuration(|setup| setup.tls = true);
        assert!(text.contains("tls = \"starttls\"\ncertificate = \"relay.pem\"\n"), "{text}");
        assert!(text.contains("tls = \"opportunistic\"\n"), "{text}");
        assert!(!text.contains("\"none\""), "{text}");
    }

    #[test]
    fn threads_are_set_in_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let mut setup = GatepostSetup::new("/bin/sh".into(), "127.0.0.1:2525".parse().unwrap());
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut words = |workers| {
            setup.workers = workers;
            let program = setup.prepare(folder.path(), local(1), local(2)).unwrap();
            (program.path, program.arguments)
        };
        let (path, arguments) = words(Some(2));
        assert_eq!((path, &arguments[0]), ("env".into(), &"TOKIO_WORKER_THREADS=2".into()));
        let (path, arguments) = words(None);
        assert!(path.is_absolute());
        assert_eq!(arguments[0], "run");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let setup = GatepostSetup::new("/no/gatepost".into(), "127.0.0.1:2525".parse().unwrap());
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let error = setup.prepare(folder.path(), local(1), local(2)).unwrap_err();
        assert!(
            format!("{error:#}").starts_with("there is no program /no/gatepost: "),
            "{error:#}"
        );
    }
}
