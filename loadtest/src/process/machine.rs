//! Where a measurement was made, and when; and what is installed there.

use std::env;
use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, ensure};
use jiff::Timestamp;

/// Where daemons are installed, which is not in the `PATH` of everybody.
const PLACES_OF_DAEMONS: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// Processor, number of CPUs and kernel, for [`Figures::machine`](crate::figures::Figures).
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    describe(&read("/proc/cpuinfo"), kernel.trim())
}

/// The time, RFC 3339 and UTC, for [`Figures::began`](crate::figures::Figures).
pub fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The CPUs that this process may use.
pub(crate) fn allowed_cpus() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map(|list| expand(list.trim())).unwrap_or_default()
}

/// Keeps this process, and all that it will start, on one CPU: the other one is the gateway's.
pub(crate) fn stay_on(cpu: usize) -> anyhow::Result<()> {
    let (cpu, pid) = (cpu.to_string(), process::id().to_string());
    let told = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", &cpu, &pid])
        .output()
        .context("cannot run taskset, which keeps load and gateway on CPUs of their own")?;
    let reason = String::from_utf8_lossy(&told.stderr);
    ensure!(told.status.success(), "cannot stay on CPU {cpu}: {}", reason.trim());
    Ok(())
}

/// Where a program is installed, if it is.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var("PATH").unwrap_or_default() + ":" + PLACES_OF_DAEMONS;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn describe(cpuinfo: &str, kernel: &str) -> String {
    let values = |name| {
        cpuinfo.lines().filter_map(move |line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim())
        })
    };
    let processor = values("model name").next().unwrap_or("unknown processor");
    format!("{processor}, {} CPUs, Linux {kernel}", values("processor").count())
}

/// The numbers of a list such as `0-2,5`.
fn expand(numbers: &str) -> Vec<usize> {
    let range = |part: &str| -> Option<RangeInclusive<usize>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    numbers.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_told_in_a_line() {
        let cpuinfo =
            "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n\nprocessor\t: 1\nmodel name\t: x\n";
        assert_eq!(describe(cpuinfo, "6.1.0"), "Some CPU @ 2 GHz, 2 CPUs, Linux 6.1.0");
        assert_eq!(describe("", "6.1.0"), "unknown processor, 0 CPUs, Linux 6.1.0");
    }

    #[test]
    fn lists_of_cpus_are_expanded() {
        assert_eq!(expand("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(expand("3"), [3]);
        assert_eq!(expand(""), [0; 0]);
        assert!(!allowed_cpus().is_empty());
    }

    #[test]
    fn programs_are_found_by_name() {
        assert!(find_program("sh").unwrap().is_absolute());
        assert_eq!(find_program("no-program-has-this-name"), None);
    }

    #[test]
    fn the_time_is_written_as_rfc_3339_has_it() {
        let now = now();
        assert_eq!(now.parse::<Timestamp>().unwrap().strftime("%FT%TZ").to_string(), now);
    }
}
