//! Policy files of any length: one entry for the load, and applications around it that never come.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The entries lie from 10.0.0.0 on: 16 million of them until they meet other networks.
pub(crate) const ENTRIES_MAX: u32 = 1 << 24;

/// The entry of the load stands in the middle, where order would tell if it mattered.
const LOAD_ENTRY: &str = "\
[[entry]]
id = \"load\"
networks = [\"127.0.0.0/8\"]
description = \"the load, from all of loopback\"
senders = [\"example.com\"]
";

/// Writes a policy with this many entries.
pub(super) fn write(path: &Path, entries: u32) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for number in 0..entries {
        if number == entries / 2 {
            file.write_all(LOAD_ENTRY.as_bytes())?;
            continue;
        }
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(
            file,
            "[[entry]]\nid = \"app-{number}\"\nnetworks = [\"10.{a}.{b}.{c}\"]\n\
             senders = [\"app-{number}.example.com\"]"
        )?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn has_as_many_entries_as_were_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        for entries in [1, 2, 3, 10, 70_000] {
            write(&path, entries).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text.matches("[[entry]]\n").count(), entries as usize);
            assert_eq!(text.matches("id = \"load\"").count(), 1, "{entries}");
        }
        assert!(fs::read_to_string(&path).unwrap().contains("\"10.1.0.1\""));
    }
}
