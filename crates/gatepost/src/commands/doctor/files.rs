//! What the gateway reads and keeps: configuration, policy, certificates, and its directory.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use gatepost_inbound::{ChainFault, KeyPair};

use super::check::{Checked, counted};
use super::{Patient, machine};
use crate::certificates;
use crate::commands::check::contents;
use crate::config::{Listener, PairFiles, TlsFiles};
use crate::policy;

/// When a certificate should have been renewed: authorities and their clients do so a month before.
const RENEWED_DAYS: i64 = 14;
const DAY_SECONDS: i64 = 24 * 60 * 60;

pub(super) fn checks(patient: &Patient, config_path: &Path) -> Vec<Checked> {
    vec![
        config(patient, config_path),
        policy_check(patient),
        wide(patient),
        certificates_check(&patient.config.listeners, policy::now().unix_seconds),
        state_dir(patient),
    ]
}

fn config(patient: &Patient, path: &Path) -> Checked {
    let (listeners, upstreams) = (patient.config.listeners.len(), patient.config.upstreams.len());
    let (listeners, upstreams) = (counted(listeners, "listener"), counted(upstreams, "upstream"));
    Checked::new("config", format!("{}: {listeners}, {upstreams}", path.display()))
}

fn policy_check(patient: &Patient) -> Checked {
    let (source, ruleset) = (&patient.config.policy, &patient.policy.ruleset);
    let mut checked = Checked::new("policy", format!("{source}: {}", contents(ruleset)));
    for warning in &patient.policy.warnings {
        checked.warn(
            warning.to_string(),
            format!("edit {source}; `gatepost check` tells when it is right"),
        );
    }
    if ruleset.allows_nobody() {
        let mend =
            "add an entry for the first application; `gatepost denied` shows who has knocked";
        checked.warn("there is no enabled allow entry: nobody may send", mend);
    }
    if let Some(running) = patient.running() {
        let (theirs, ours) = (&running.status.generation, ruleset.generation().to_string());
        // A file has no revision of its own: what is compared is the hash of the content.
        let hash = |generation: &str| generation.rsplit('-').next().map(str::to_owned);
        if hash(theirs) != hash(&ours) {
            checked.warn(
                format!("the gateway has another policy in use, generation {theirs}"),
                "if that does not pass in a few seconds, its log says why the new one was refused",
            );
        }
    }
    checked
}

/// Networks that are right only for a reason. The policy is not loaded without one.
fn wide(patient: &Patient) -> Checked {
    let exposed = |entry: &&std::sync::Arc<gatepost_policy::entry::Entry>| {
        entry.exposed_networks().next().is_some()
    };
    let entries: Vec<_> = patient.policy.ruleset.entries().iter().filter(exposed).collect();
    Checked::new(
        "networks",
        match &entries[..] {
            [] => "no network is wide, or public and free in its senders".to_owned(),
            [one] => format!("a network of entry {} is, for the reason it gives", one.id()),
            [one, rest @ ..] => {
                let rest = rest.len();
                format!("networks of entry {} and {rest} more are, for reasons they give", one.id())
            }
        },
    )
}

fn certificates_check(listeners: &[Listener], now: i64) -> Checked {
    let files: usize =
        listeners.iter().filter_map(|it| it.tls.as_ref()).map(|tls| tls.pairs().count()).sum();
    let text = match files {
        0 => "none: no listener has TLS".to_owned(),
        files => counted(files, "certificate"),
    };
    let mut checked = Checked::new("certificates", text);
    for listener in listeners {
        let loaded = certificates::load(std::slice::from_ref(listener));
        match loaded.map(|mut identities| identities.pop().flatten()) {
            Err(error) => checked.problem(
                format!("listener {}: {error}", listener.config.name),
                "put the right files there: a gateway that starts now would end with code 78",
            ),
            Ok(None) => {}
            Ok(Some(identity)) => {
                let files = listener.tls.iter().flat_map(TlsFiles::pairs);
                for (pair, files) in certificates::pairs(&identity).zip(files) {
                    certificate(&mut checked, listener, (pair, files), now);
                }
            }
        }
    }
    checked
}

fn certificate(
    checked: &mut Checked,
    listener: &Listener,
    (pair, files): (&KeyPair, &PairFiles),
    now: i64,
) {
    let place = format!("listener {}: {}", listener.config.name, files.certificate.display());
    let left = pair.not_after() - now;
    let until = crate::host::date(pair.not_after());
    let renew = "renew it, and put the files in place: they are read when they change";
    if left < 0 {
        checked
            .problem(format!("{place} has expired at {until}: clients that look go away"), renew);
    } else if pair.is_out_of_date() {
        let mend = "look at the clock of this machine, and at when the certificate begins";
        checked.problem(format!("{place} is not valid yet"), mend);
    } else if left < RENEWED_DAYS * DAY_SECONDS {
        let days = counted(usize::try_from(left / DAY_SECONDS).unwrap_or_default(), "day");
        checked.warn(format!("{place} expires at {until}, in {days}"), renew);
    }
    let mend = "write the whole chain into the file: the certificate first, then the one that has \
                signed it, and so on";
    match pair.chain_fault() {
        None => {}
        Some(ChainFault::Alone) => {
            let found = "stands alone: clients that know only the root cannot verify it";
            checked.warn(format!("{place} {found}"), mend);
        }
        Some(ChainFault::Order) => {
            checked.warn(format!("{place} is out of order: not each is signed by the next"), mend);
        }
    }
}

fn state_dir(patient: &Patient) -> Checked {
    let path = &patient.config.state_dir;
    let shown = path.display();
    let name = "state_dir";
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            let mode = found.permissions().mode() & 0o7777;
            let mut checked = Checked::new(name, format!("{shown}, mode {mode:04o}"));
            judge_state_dir(&mut checked, patient, path, &found);
            checked
        }
        Ok(_) => {
            let mut checked = Checked::new(name, format!("{shown} is no directory"));
            checked.problem(
                format!("{shown} is no directory: a gateway cannot start"),
                "name another path in state_dir, or move what is there",
            );
            checked
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Checked::new(name, format!("{shown} is not there yet: the first start makes it"))
        }
        Err(error) => {
            let mut checked = Checked::new(name, format!("{shown} cannot be looked at"));
            checked.warn(
                format!("{shown}: {error}"),
                "run the doctor as the user of the gateway, or as root",
            );
            checked
        }
    }
}

fn judge_state_dir(checked: &mut Checked, patient: &Patient, path: &Path, found: &Metadata) {
    let (shown, mode) = (path.display(), found.permissions().mode());
    let mend = format!("chmod 0700 {shown}");
    if mode & 0o022 != 0 {
        checked.problem(
            format!("{shown} can be written by others: they may put files there, and a socket"),
            mend,
        );
    } else if mode & 0o055 != 0 {
        checked.warn(format!("{shown} can be entered by others"), mend);
    }
    let user = machine::user(patient);
    if let Some((user, whose)) = user.filter(|(user, _)| *user != found.uid()) {
        let owner = found.uid();
        // Root may do anything, so the directory works; another user's does not.
        let found = format!("{shown} belongs to user {owner}, and {whose} runs as user {user}");
        checked.warn(found, format!("chown {user} {shown}, or ask as user {owner}"));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::write;

    use gatepost_testkit::ThrowAwayCa;

    use super::*;
    use crate::config::Config;

    const CONFIG: &str = r#"
hostname = "relay.test"
state_dir = "state"
[[listener]]
name = "smtp"
bind = ["127.0.0.1:0"]
tls = "starttls"
certificate = "a.pem"
private_key = "a.key"
[[upstream]]
name = "sink"
hosts = ["127.0.0.1:25"]
tls = "none"
[policy]
file = "policy.toml"
[delivery]
mode = "sync"
"#;
    /// The first second of 2030.
    const END: i64 = 1_893_456_000;

    /// What is told of a certificate that ends with the year 2029, at another time.
    fn told(directory: &Path, now: i64) -> String {
        let path = directory.join("gatepost.toml");
        let config = Config::from_text(CONFIG, &path, std::iter::empty()).expect("a good one");
        let checked = certificates_check(&config.listeners, now);
        let told = super::super::check::table(&[checked]);
        told.replace(&directory.display().to_string(), "etc")
    }

    #[test]
    fn certificates_are_told_of_before_they_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let ca = ThrowAwayCa::new();
        let issued = ca.issue_until(&["relay.test"], 2030);
        write(directory.path().join("a.key"), &issued.key).expect("writes");
        let chain = format!("{}{}", issued.certificate, ca.pem());
        write(directory.path().join("a.pem"), &chain).expect("writes");
        let day = DAY_SECONDS;
        let told_at = |now| told(directory.path(), now);
        assert!(told_at(END - RENEWED_DAYS * day).contains("1 ok"));
        let soon = told_at(END - RENEWED_DAYS * day + 1);
        assert!(soon.contains("etc/a.pem expires at 2030-01-01T00:00:00Z, in 13 days"), "{soon}");
        let late = told_at(END + 1);
        assert!(late.contains("problem: certificates: listener smtp: etc/a.pem has exp"), "{late}");
        write(directory.path().join("a.pem"), &issued.certificate).expect("writes");
        assert!(told_at(0).contains("etc/a.pem stands alone"), "{}", told_at(0));
        let reversed = format!("{chain}{}", issued.certificate);
        write(directory.path().join("a.pem"), reversed).expect("writes");
        assert!(told_at(0).contains("etc/a.pem is out of order"), "{}", told_at(0));
        write(directory.path().join("a.key"), ca.issue(&["x.test"]).key).expect("writes");
        let wrong = told_at(0);
        assert!(wrong.contains("problem: certificates: listener smtp: etc/a.key: the key is not"));
    }
}
