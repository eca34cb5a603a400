//! A control group: the processes of one program, and the CPU time that all of them have used.
//!
//! Version 1 has the time in the controller `cpuacct`, version 2 in every group. Where both are
//! mounted version 1 is used: a controller is in one of them only. The group is removed with its
//! value, and everybody in it is killed before.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Signal, kill_process};

use super::running::process_id;
use super::usage::{Usage, usage_of};

/// What is killed is gone within milliseconds, unless a disk hangs.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two looks at who is left.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Groups of this process, so that two of one name do not meet.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Where the kernel keeps groups, and how it counts there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// The hierarchy of the controller `cpuacct`.
    One,
    /// The unified hierarchy.
    Two,
}

#[derive(Debug)]
pub(super) struct Group {
    folder: PathBuf,
    version: Version,
}

impl Group {
    pub(super) fn new(name: &str) -> anyhow::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
        let hierarchy = Hierarchy::find(&mounts)
            .context("there are no control groups: neither cpuacct nor cgroup2 is mounted")?;
        Self::within(&hierarchy, name)
    }

    fn within(hierarchy: &Hierarchy, name: &str) -> anyhow::Result<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gatepost-loadtest-{}-{number}-{name}", process::id());
        let folder = hierarchy.mount.join(name);
        fs::create_dir(&folder).with_context(|| {
            format!("cannot make the control group {}: run it as root", folder.display())
        })?;
        Ok(Self { folder, version: hierarchy.version })
    }

    /// A process that writes its number here is a member.
    pub(super) fn entrance(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    pub(super) fn usage(&self) -> io::Result<Usage> {
        let mut sum = Usage { cpu: self.cpu()?, ..Usage::default() };
        // Some end while they are looked at; their CPU time is counted all the same.
        for used in self.members()?.into_iter().filter_map(|pid| usage_of(pid).ok()) {
            sum.memory += used.memory;
            sum.descriptors += used.descriptors;
        }
        Ok(sum)
    }

    fn cpu(&self) -> io::Result<Duration> {
        let used = match self.version {
            Version::One => fs::read_to_string(self.folder.join("cpuacct.usage"))?
                .trim()
                .parse()
                .ok()
                .map(Duration::from_nanos),
            Version::Two => cpu_of_stat(&fs::read_to_string(self.folder.join("cpu.stat"))?),
        };
        used.ok_or_else(|| io::Error::other("the control group tells no CPU time"))
    }

    fn members(&self) -> io::Result<Vec<u32>> {
        let list = fs::read_to_string(self.entrance())?;
        Ok(list.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Kills until nobody is left: who is killed may have had a child a moment before.
    pub(super) fn kill_all(&self) {
        let deadline = Instant::now() + KILL_TIMEOUT;
        while let Ok(members) = self.members()
            && !members.is_empty()
            && Instant::now() < deadline
        {
            for pid in members.into_iter().filter_map(process_id) {
                let _ = kill_process(pid, Signal::KILL);
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Removes the group once it is empty; the kernel may need a moment for that.
    pub(super) fn remove(&self) -> io::Result<()> {
        let deadline = Instant::now() + KILL_TIMEOUT;
        loop {
            match fs::remove_dir(&self.folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(_) if Instant::now() < deadline => thread::sleep(LOOK_AGAIN),
                result => return result,
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill_all();
        // Nobody is there to be told; an empty group costs nothing.
        let _ = self.remove();
    }
}

impl Hierarchy {
    fn find(mounts: &str) -> Option<Self> {
        let found = |version, wanted: fn(&str, &str) -> bool| {
            mounts.lines().find_map(|line| {
                let mut fields = line.split(' ');
                let (_, folder, kind) = (fields.next()?, fields.next()?, fields.next()?);
                wanted(kind, fields.next()?)
                    .then(|| Self { mount: Path::new(folder).into(), version })
            })
        };
        let is_cpuacct = |kind: &str, options: &str| {
            kind == "cgroup" && options.split(',').any(|option| option == "cpuacct")
        };
        found(Version::One, is_cpuacct).or_else(|| found(Version::Two, |kind, _| kind == "cgroup2"))
    }
}

fn cpu_of_stat(stat: &str) -> Option<Duration> {
    let line = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    line.trim().parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_that_counts_is_found() {
        let one = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0\n";
        let two = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let other = "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\nproc /proc proc rw 0 0\n";
        let hierarchy =
            |mounts: &str| Hierarchy::find(mounts).map(|found| (found.mount, found.version));
        let first = (PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"), Version::One);
        assert_eq!(hierarchy(&format!("{other}{two}{one}")), Some(first));
        let second = (PathBuf::from("/sys/fs/cgroup/unified"), Version::Two);
        assert_eq!(hierarchy(&format!("{other}{two}")), Some(second));
        assert_eq!(hierarchy(other), None);
    }

    #[test]
    fn cpu_time_of_version_two_is_microseconds() {
        let stat = "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\n";
        assert_eq!(cpu_of_stat(stat), Some(Duration::from_micros(1_234_567)));
        assert_eq!(cpu_of_stat("user_usec 5\n"), None);
    }
}
