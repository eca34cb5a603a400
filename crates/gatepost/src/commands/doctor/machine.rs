//! The machine and the process: who runs it, what it may use, and what time it is.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;

use super::Patient;
use super::check::{Checked, counted};
use crate::config::Config;
use crate::host::process_user;
use crate::policy::{self, Source};
use crate::run::descriptors_wanted;

/// A clock that shows less was never set: the first second of 2026, before there was a Gatepost.
const CLOCK_MIN: i64 = 1_767_225_600;
/// How far a file may be from the future: a clock that is behind by more was set back.
const CLOCK_SLACK_SECONDS: u64 = 60;
/// Ports below it need a permission, unless the system says otherwise.
const UNPRIVILEGED_PORT: u16 = 1024;
/// The bit of CAP_NET_BIND_SERVICE.
const NET_BIND_SERVICE: u32 = 10;

pub(super) fn checks(patient: &Patient, config_path: &Path) -> Vec<Checked> {
    vec![user_check(patient), ports(patient), descriptors(patient), clock(patient, config_path)]
}

/// The user that counts, and whose it is: the gateway's, or ours if none runs.
pub(super) fn user(patient: &Patient) -> Option<(u32, &'static str)> {
    match patient.running() {
        Some(running) => running.doctor.uid.map(|uid| (uid, "the gateway")),
        None => process_user().map(|uid| (uid, "this command")),
    }
}

fn user_check(patient: &Patient) -> Checked {
    match (user(patient), patient.running().is_some()) {
        (None, _) => Checked::new("user", "not known on this system"),
        (Some((0, _)), true) => {
            let mut checked = Checked::new("user", "the gateway runs as root");
            checked.warn(
                "the gateway runs as root",
                "give it a user of its own and CAP_NET_BIND_SERVICE, as the unit in deploy/systemd does",
            );
            checked
        }
        (Some((uid, whose)), _) => Checked::new("user", format!("{whose} runs as user {uid}")),
    }
}

/// Whether the ports could be bound. Where a gateway runs, they are.
fn ports(patient: &Patient) -> Checked {
    let binds = patient.config.listeners.iter().flat_map(|listener| &listener.bind);
    let free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let free = free.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(UNPRIVILEGED_PORT);
    let mut low: Vec<u16> =
        binds.map(SocketAddr::port).filter(|port| *port != 0 && *port < free).collect();
    low.sort_unstable();
    low.dedup();
    let shown = low.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if low.is_empty() {
        return Checked::new("ports", "none needs a permission");
    }
    if patient.running().is_some() {
        return Checked::new("ports", format!("{shown}: bound"));
    }
    if may_bind(&fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        return Checked::new("ports", format!("{shown}: this user may bind them"));
    }
    let mut checked = Checked::new("ports", format!("{shown}: this user may not bind them"));
    checked.warn(
        format!("ports below {free} need CAP_NET_BIND_SERVICE, which is not there: {shown}"),
        "start the gateway with the unit in deploy/systemd, which grants it, or give it other ports",
    );
    checked
}

/// From `/proc/self/status`.
fn may_bind(status: &str) -> bool {
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = capabilities.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> NET_BIND_SERVICE & 1 == 1)
}

fn descriptors(patient: &Patient) -> Checked {
    let wanted = descriptors_wanted(&patient.config);
    let (limit, whose) = match patient.running() {
        Some(running) => (running.doctor.descriptors.map(|it| it.soft), "the gateway"),
        // What is soft is raised to what is hard when a gateway starts.
        None => (rlimit::Resource::NOFILE.get_hard().ok(), "this user"),
    };
    let Some(limit) = limit else { return Checked::new("descriptors", "not known on this system") };
    let mut checked = Checked::new("descriptors", format!("{limit} for {whose}, {wanted} wanted"));
    if limit < wanted {
        checked.warn(
            format!(
                "{whose} may have {limit} files open, and {wanted} are wanted: two for each of \
                 max_connections, and those of the upstreams"
            ),
            "raise LimitNOFILE of the unit (or nofile of the container), or lower max_connections",
        );
    }
    checked
}

fn clock(patient: &Patient, config_path: &Path) -> Checked {
    let now = SystemTime::now();
    let shown = Timestamp::try_from(now).map(|it| it.to_string()).unwrap_or_default();
    let seconds = shown.split('.').next().unwrap_or_default();
    let mut checked = Checked::new("clock", format!("{}Z", seconds.trim_end_matches('Z')));
    let mend = "set the clock, and keep it right with an NTP client: dates of entries, certificates \
                and logs depend on it";
    if policy::now().unix_seconds < CLOCK_MIN {
        checked.problem("the clock was never set", mend);
    }
    let late = files(&patient.config, config_path).into_iter().filter(|path| is_ahead(path, now));
    let late: Vec<_> = late.map(|path| path.display().to_string()).collect();
    if let [first, ..] = &late[..] {
        checked.warn(
            format!(
                "the clock is behind: {} from the future, {first}",
                counted(late.len(), "file")
            ),
            mend,
        );
    }
    checked
}

/// Files that somebody has written, with the time of then.
fn files<'a>(config: &'a Config, config_path: &'a Path) -> Vec<&'a Path> {
    let (Source::File(policy) | Source::Store(policy)) = &config.policy;
    vec![config_path, policy]
}

fn is_ahead(path: &Path, now: SystemTime) -> bool {
    let modified = fs::metadata(path).and_then(|found| found.modified());
    let ahead = modified.ok().and_then(|modified| modified.duration_since(now).ok());
    ahead.is_some_and(|ahead| ahead.as_secs() > CLOCK_SLACK_SECONDS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_permission_is_one_bit() {
        assert!(may_bind("Name:\tgatepost\nCapPrm:\t0\nCapEff:\t0000000000000400\n"));
        assert!(!may_bind("CapEff:\t0000000000000200\n") && !may_bind(""));
    }

    #[test]
    fn a_file_from_the_future_shows_a_clock_that_is_behind() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let modified = file.as_file().metadata().and_then(|it| it.modified()).expect("a time");
        assert!(!is_ahead(file.path(), modified - Duration::from_mins(1)));
        assert!(is_ahead(file.path(), modified - Duration::from_secs(62)));
        assert!(!is_ahead(Path::new("/nowhere"), modified));
    }
}
