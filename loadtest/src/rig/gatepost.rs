//! How Gatepost is set up for a measurement: one upstream, and a policy that lets this machine send.
//!
//! The configuration is a template and not the gateway's own types: what is measured is the program
//! that people install, started as they start it.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::ValueEnum;

use super::policy::{self, ENTRIES_MAX};
use crate::process::{CERTIFICATE, PRIVATE_KEY, Program, free_port, render};

const CONFIGURATION: &str = include_str!("../../compare/gatepost.toml");

/// Sessions may stand for as long as a measurement takes. The mail log is written and thrown away: it
/// is part of the cost of a message, and hours of it fill a disk.
const FOR_HOURS: &str = "\
[limits]
free_space_floor = \"1 MiB\"

[timeouts]
command = \"4h\"
session = \"8h\"
drain = \"5s\"

[log]
mail = \"/dev/null\"
";

/// Mode of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The upstream's word while there is one, a queue while there is none
    Hybrid,
    /// A queue first
    Spool,
    /// The upstream's word and nothing else
    Sync,
}

/// Where TLS is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// Nowhere.
    None,
    /// On a second listener, from the first octet on (RFC 8314 §3).
    SecondListener,
    /// On both sides: STARTTLS is offered to clients, and used with the upstream, whose certificate
    /// is not verified.
    Starttls,
}

/// How long it will be up, which is what its limits depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    /// As it comes, the mail log included.
    AsItComes,
    /// Sessions that stand, and no log on the disk.
    Hours,
}

/// What a gateway is set up for.
#[derive(Clone, Debug)]
pub(crate) struct GatepostSetup {
    /// The binary.
    pub(crate) program: PathBuf,
    /// Its name in errors and logs.
    pub(crate) name: String,
    pub(crate) mode: Mode,
    /// Entries of its policy.
    pub(crate) entries: u32,
    /// Where its mail goes.
    pub(crate) upstream: SocketAddr,
    pub(crate) encryption: Encryption,
    pub(crate) span: Span,
    /// The CPUs it may use; empty for all. It has as many worker threads as these are.
    pub(crate) cpus: Vec<usize>,
}

/// Where a gateway listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// Without TLS, or with STARTTLS.
    pub(crate) smtp: SocketAddr,
    /// With TLS at once, if there is such a listener.
    pub(crate) smtps: SocketAddr,
    /// `/metrics`.
    pub(crate) metrics: SocketAddr,
}

impl Ports {
    /// Three that are free. Whoever takes one in between makes the gateway end, with a reason.
    pub(crate) fn free() -> anyhow::Result<Self> {
        let free = || anyhow::Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)));
        Ok(Self { smtp: free()?, smtps: free()?, metrics: free()? })
    }
}

impl GatepostSetup {
    /// Writes configuration and policy into `folder`, which it has for itself, and returns the program
    /// that is to be started. With TLS the files of
    /// [`write_certificate`](crate::process::write_certificate) must be there when it starts.
    pub(crate) fn prepare(&self, folder: &Path, ports: &Ports) -> anyhow::Result<Program> {
        ensure!(self.entries <= ENTRIES_MAX, "a policy may have {ENTRIES_MAX} entries here");
        let program = fs::canonicalize(&self.program)
            .with_context(|| format!("there is no program {}", self.program.display()))?;
        let file = folder.join("gatepost.toml");
        fs::write(&file, self.configuration(folder, ports)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        policy::write(&folder.join("policy.toml"), self.entries)?;
        Ok(Program {
            name: self.name.clone(),
            path: program,
            arguments: vec!["run".into(), "--config".into(), file.into()],
            folder: folder.to_owned(),
            cpus: self.cpus.clone(),
        })
    }

    fn configuration(&self, folder: &Path, ports: &Ports) -> anyhow::Result<String> {
        let certificate =
            format!("certificate = \"{CERTIFICATE}\"\nprivate_key = \"{PRIVATE_KEY}\"");
        let (listener, upstream) = match self.encryption {
            Encryption::None | Encryption::SecondListener => ("tls = \"none\"".to_owned(), "none"),
            Encryption::Starttls => (format!("tls = \"starttls\"\n{certificate}"), "opportunistic"),
        };
        let second = if self.encryption == Encryption::SecondListener {
            format!(
                "[[listener]]\nname = \"smtps\"\nbind = [\"{}\"]\nmax_connections = 15000\n\
                 tls = \"implicit\"\n{certificate}",
                ports.smtps
            )
        } else {
            String::new()
        };
        render(
            CONFIGURATION,
            &[
                ("FOLDER", &folder.to_string_lossy()),
                ("ADDRESS", &ports.smtp.to_string()),
                ("LISTENER", &listener),
                ("SECOND", &second),
                ("SINK", &self.upstream.to_string()),
                ("UPSTREAM", upstream),
                ("MODE", &self.mode.to_string()),
                ("METRICS", &ports.metrics.to_string()),
                ("MORE", if self.span == Span::Hours { FOR_HOURS } else { "" }),
            ],
        )
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hybrid => "hybrid",
            Self::Spool => "spool",
            Self::Sync => "sync",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(encryption: Encryption, span: Span) -> GatepostSetup {
        GatepostSetup {
            // Any file that exists: nothing is started here.
            program: "/bin/sh".into(),
            name: "gatepost".to_owned(),
            mode: Mode::Hybrid,
            entries: 10,
            upstream: "127.0.0.1:2525".parse().unwrap(),
            encryption,
            span,
            cpus: vec![0],
        }
    }

    fn configuration(encryption: Encryption, span: Span) -> (String, Ports) {
        let ports = Ports::free().unwrap();
        (setup(encryption, span).configuration(Path::new("/srv/load"), &ports).unwrap(), ports)
    }

    #[test]
    fn plain_text_is_plain_on_both_sides() {
        let (text, ports) = configuration(Encryption::None, Span::AsItComes);
        assert_eq!(text.matches("tls = \"none\"").count(), 2, "{text}");
        assert_eq!(text.matches("[[listener]]").count(), 1, "{text}");
        for line in [
            &format!("bind = [\"{}\"]\n", ports.smtp),
            "hosts = [\"127.0.0.1:2525\"]\n",
            "mode = \"hybrid\"\n",
            "state_dir = \"/srv/load/state\"\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(!text.contains("/dev/null"), "the mail log is as it comes: {text}");
    }

    #[test]
    fn starttls_is_on_both_sides() {
        let (text, _) = configuration(Encryption::Starttls, Span::AsItComes);
        assert!(text.contains("tls = \"starttls\"\ncertificate = \"relay.pem\"\n"), "{text}");
        assert!(text.contains("tls = \"opportunistic\"\n"), "{text}");
        assert!(!text.contains("\"none\""), "{text}");
    }

    #[test]
    fn a_second_listener_has_tls_at_once() {
        let (text, ports) = configuration(Encryption::SecondListener, Span::Hours);
        assert!(text.contains(&format!("bind = [\"{}\"]", ports.smtps)), "{text}");
        assert!(text.contains("tls = \"implicit\"\ncertificate = \"relay.pem\"\n"), "{text}");
        assert!(text.contains("mail = \"/dev/null\""), "{text}");
    }

    #[test]
    fn the_folder_has_what_the_configuration_names() {
        let folder = tempfile::tempdir().unwrap();
        let setup = setup(Encryption::None, Span::Hours);
        let program = setup.prepare(folder.path(), &Ports::free().unwrap()).unwrap();
        assert!(program.path.is_absolute());
        assert_eq!((&program.arguments[0], &program.cpus[..]), (&"run".into(), &[0][..]));
        let policy = fs::read_to_string(folder.path().join("policy.toml")).unwrap();
        assert_eq!(policy.matches("[[entry]]").count(), 10);
        assert!(folder.path().join("gatepost.toml").exists());
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let setup =
            GatepostSetup { program: "no/gatepost".into(), ..setup(Encryption::None, Span::Hours) };
        let error = setup.prepare(folder.path(), &Ports::free().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "there is no program no/gatepost");
    }
}
