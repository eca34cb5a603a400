//! What a process has and has used, as /proc tells it.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

/// What a process (by its number), or all processes of a group, have and have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// User and system time. Of a process to a hundredth of a second, of a group to a microsecond.
    pub(crate) cpu: Duration,
    /// Octets of memory that no file holds: heap, stacks, and what processes of one program share. Not
    /// the pages of the binary and of libraries: whose share they are changes whenever anybody else
    /// starts or ends the same one, and they can be had again from the disk.
    pub(crate) memory: u64,
    /// Open file descriptors.
    pub(crate) descriptors: u64,
}

/// Of one process that somebody else started, without its children.
pub(crate) fn usage_of(pid: u32) -> io::Result<Usage> {
    let folder = format!("/proc/{pid}");
    let stat = fs::read_to_string(format!("{folder}/stat"))?;
    let ticks = ticks_of(&stat).ok_or_else(|| io::Error::other("the kernel tells no CPU time"))?;
    let microseconds = ticks.saturating_mul(1_000_000) / clock_ticks_per_second();
    let sum = |name: &str, fields: [&str; 2]| {
        let text = fs::read_to_string(format!("{folder}/{name}")).ok()?;
        Some(kibibytes_of(&text, fields[0])? + kibibytes_of(&text, fields[1])?)
    };
    // Pages that a fork has left in common count by their share, which takes the rights of the process's
    // user. Anybody may read the second file, in which they count for each process.
    let kibibytes = sum("smaps_rollup", ["Pss_Anon:", "Pss_Shmem:"])
        .or_else(|| sum("status", ["RssAnon:", "RssShmem:"]));
    Ok(Usage {
        cpu: Duration::from_micros(microseconds),
        // A process that has ended and is not collected yet has none.
        memory: kibibytes.unwrap_or(0) * 1024,
        descriptors: fs::read_dir(format!("{folder}/fd")).map_or(0, |list| list.count() as u64),
    })
}

/// User and system time of `/proc/PID/stat`. The name in brackets may contain anything, also blanks
/// and brackets, so the fields are counted from its end.
fn ticks_of(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kibibytes_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    #[test]
    fn ticks_stand_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 1 0 100 1 1";
        assert_eq!(ticks_of(stat), Some(12));
        assert_eq!(ticks_of("42 (cut"), None);
    }

    #[test]
    fn memory_is_found_by_its_name() {
        let text = "VmRSS:\t 9 kB\nRssAnon:\t    5120 kB\n";
        assert_eq!(kibibytes_of(text, "RssAnon:"), Some(5120));
        assert_eq!(kibibytes_of(text, "Pss_Anon:"), None);
    }

    #[test]
    fn this_process_has_something_of_everything() {
        let used = usage_of(process::id()).unwrap();
        assert!(used.memory > 100 * 1024, "{used:?}");
        assert!(used.descriptors >= 3, "{used:?}");
        usage_of(u32::MAX).unwrap_err();
    }
}
