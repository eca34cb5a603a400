//! What is acknowledged and not delivered: the disk that it is on, and what in it nobody will deliver.
//!
//! The spool is read and not changed, while a gateway has it open and while none does.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use gatepost_policy::units::ByteSize;
use gatepost_spool::{OfflineSpool, Standing, Stats};
use rustix::fs::{StatVfs, StatVfsMountFlags, statfs, statvfs};

use super::check::{Checked, counted};
use super::{Patient, machine};
use crate::config::Config;
use crate::spool::told;

/// Upstreams that are gone and still have messages, told one by one.
const GONE_TOLD_MAX: usize = 10;

/// File systems that do not keep what they were told to keep: how they are known (statfs(2)), what they are,
/// and what they do.
const NOT_FOR_MAIL: [(u32, &str, &str); 12] = [
    (0x0102_1994, "tmpfs", FORGETFUL),
    (0x8584_58f6, "ramfs", FORGETFUL),
    (0x794c_7630, "overlayfs", THROWN_AWAY),
    (0x6969, "NFS", NETWORK),
    (0x517b, "SMB", NETWORK),
    (0xff53_4d42, "CIFS", NETWORK),
    (0xfe53_4d42, "SMB2", NETWORK),
    (0x0102_1997, "9P", NETWORK),
    (0x00c3_6400, "CephFS", NETWORK),
    (0x5346_414f, "AFS", NETWORK),
    (0x0bd0_0bd0, "Lustre", NETWORK),
    (0x6573_5546, "FUSE", NETWORK),
];
const FORGETFUL: &str = "it is memory, and a restart of the machine loses every message in it";
const THROWN_AWAY: &str =
    "if it is the container's own layer, every message in it goes with the container";
const NETWORK: &str = "the database of the spool needs the locks and flushes of a local disk";

pub(super) fn checks(patient: &Patient) -> Vec<Checked> {
    vec![disk(patient), queue(&patient.config)]
}

/// Whether a message could be kept.
fn disk(patient: &Patient) -> Checked {
    let directory = &patient.config.spool.directory;
    let shown = directory.display();
    // Before the first start there is only what it will be made in.
    let there = directory.ancestors().find(|path| path.is_dir()).unwrap_or(directory);
    let room = match statvfs(there) {
        Ok(room) => room,
        Err(error) => {
            let mut checked = Checked::new("spool", format!("{shown} cannot be looked at"));
            let mend = "run the doctor as the user of the gateway, or as root";
            checked.warn(format!("{}: {error}", there.display()), mend);
            return checked;
        }
    };
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let floor = patient.config.spool.options.free_space_floor;
    let (free_shown, floor_shown) = (rounded(free), ByteSize::new(floor));
    let found = format!("{shown}: {free_shown} are free, {floor_shown} are to stay free");
    let mut checked = Checked::new("spool", found);
    if free < floor {
        checked.problem(
            format!(
                "{free_shown} are free, and {floor_shown} are to stay free: no message is kept"
            ),
            "free some space on that disk, or lower free_space_floor in [limits]",
        );
    }
    writable(&mut checked, patient, (there, &room));
    // Only Linux has such numbers; they are as long as a word of the machine is.
    let kind = statfs(there).map_or(0, |found| u64::try_from(found.f_type).unwrap_or(0));
    if let Some((name, what)) = file_system(kind) {
        let mend = "put state_dir on a local disk, or a volume that is one";
        checked.warn(format!("{} is on {name}: {what}", there.display()), mend);
    }
    checked
}

fn writable(checked: &mut Checked, patient: &Patient, (there, room): (&Path, &StatVfs)) {
    let shown = there.display();
    if room.f_flag.contains(StatVfsMountFlags::RDONLY) {
        let found = format!("{shown} is on a file system that is mounted read-only");
        checked.problem(found, "mount it writable, or name another state_dir");
    }
    let is_spool = *there == *patient.config.spool.directory;
    let owner = fs::metadata(there).map(|found| found.uid()).ok().filter(|_| is_spool);
    if let (Some(owner), Some((user, whose))) = (owner, machine::user(patient))
        && owner != user
        && user != 0
    {
        let found = format!("{shown} belongs to user {owner}, and {whose} runs as user {user}");
        checked.problem(found, format!("chown -R {user} {shown}, or ask as user {owner}"));
    }
}

/// What is in it that nobody will deliver.
fn queue(config: &Config) -> Checked {
    let opened = OfflineSpool::open(&config.spool.directory);
    let stats = match opened.and_then(|spool| spool.map(|it| it.stats()).transpose()) {
        Ok(Some(stats)) => stats,
        Ok(None) => {
            return Checked::new("queue", "there is no spool yet: the first start makes it");
        }
        Err(error) => {
            let mut checked = Checked::new("queue", "the spool cannot be read");
            checked.problem(told(&error), "a gateway that starts now would end with an error");
            return checked;
        }
    };
    let messages = usize::try_from(stats.messages).unwrap_or(usize::MAX);
    let found = match messages {
        0 => "no message waits".to_owned(),
        _ => format!("{}, {}", counted(messages, "message"), rounded(stats.octets)),
    };
    let mut checked = Checked::new("queue", found);
    for (upstream, messages) in of_nobody(config, &stats).into_iter().take(GONE_TOLD_MAX) {
        checked.problem(
            format!(
                "there is no upstream {upstream}, and {} wait for it",
                counted(messages, "message")
            ),
            "give an upstream that name again, or give the messages to another one: `gatepost queue retry \
             --upstream NAME`",
        );
    }
    let dead = stats.tallies.iter().filter(|tally| tally.standing == Standing::Dead);
    let dead: u64 = dead.map(|tally| tally.messages).sum();
    if dead > 0 {
        let dead = counted(usize::try_from(dead).unwrap_or(usize::MAX), "message");
        checked.warn(
            format!("{dead} have failed and are kept"),
            "look at them with `gatepost queue list`, then retry, export or remove them",
        );
    }
    checked
}

/// Upstreams that are in no configuration any more, with their messages.
fn of_nobody(config: &Config, stats: &Stats) -> Vec<(String, usize)> {
    let mut gone: Vec<(String, usize)> = Vec::new();
    for tally in &stats.tallies {
        if config.upstreams.iter().any(|upstream| upstream.name == tally.upstream) {
            continue;
        }
        let messages = usize::try_from(tally.messages).unwrap_or(usize::MAX);
        match gone.last_mut().filter(|(name, _)| **name == *tally.upstream) {
            Some((_, count)) => *count += messages,
            None => gone.push((tally.upstream.to_string(), messages)),
        }
    }
    gone
}

/// What is known of a file system that is not for mail.
fn file_system(kind: u64) -> Option<(&'static str, &'static str)> {
    // Some systems keep the number in a signed word, and a negative one is not the same when it is longer.
    let found = NOT_FOR_MAIL.iter().find(|(number, _, _)| u64::from(*number) == kind & 0xffff_ffff);
    found.map(|(_, name, what)| (*name, *what))
}

/// A size as one would say it.
fn rounded(octets: u64) -> ByteSize {
    let unit = [1_u64 << 30, 1 << 20, 1 << 10].into_iter().find(|unit| octets >= *unit);
    ByteSize::new(octets - octets % unit.unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_networks_are_known() {
        assert_eq!(file_system(0x0102_1994), Some(("tmpfs", FORGETFUL)));
        assert_eq!(file_system(0xff53_4d42).map(|(name, _)| name), Some("CIFS"));
        for local in [0xef53, 0x5846_5342, 0x9123_683e, 0x2fc1_2fc1] {
            assert_eq!(file_system(local), None, "ext4, XFS, Btrfs, ZFS");
        }
        let memory = Path::new("/dev/shm");
        if let Ok(found) = statfs(memory) {
            let kind = u64::try_from(found.f_type).expect("is positive");
            assert_eq!(file_system(kind).map(|(name, _)| name), Some("tmpfs"));
        }
    }

    #[test]
    fn sizes_are_said_in_one_unit() {
        for (octets, said) in
            [(0, "0 B"), (1023, "1023 B"), (1 << 10, "1 KiB"), ((3 << 30) + 5, "3 GiB")]
        {
            assert_eq!(rounded(octets).to_string(), said);
        }
    }
}
