//! Callgrind, started on the program that runs.
//!
//! The rows of a group run in one process, so that what is dear to prepare is prepared once: callgrind
//! writes a file of its own each time that [`counted`](super::counter) is left. The program reports on
//! its standard output which rows these were. Nothing of the surroundings may change a number, so the
//! program has an environment that is always the same.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::counter::{COUNTED, TOGGLES, Told};

/// The program that counts.
const VALGRIND: &str = "valgrind";
/// All of the environment that it has: where it is looked for, and how glibc copies.
///
/// Of a `rep movsb`, which glibc prefers from 2 KiB on, each octet is counted as an instruction. A loop of
/// vectors is nearer to what copying costs.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    (
        "GLIBC_TUNABLES",
        "glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824",
    ),
];

/// What a row takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Its name.
    pub name: String,
    /// Instructions of one operation, rounded.
    pub instructions: u64,
    /// How many octets an operation looks at, where that is what it costs.
    pub octets: Option<usize>,
}

/// Why nothing was counted.
#[derive(Debug, thiserror::Error)]
pub enum CallgrindError {
    /// There is no valgrind.
    #[error("{VALGRIND} cannot be started: {0}; scripts/install-tools installs it")]
    Missing(io::Error),
    /// The rows do not work, or callgrind does not.
    #[error("the rows of {group} cannot be counted: {said}")]
    Failed {
        /// Which rows.
        group: String,
        /// What it said.
        said: String,
    },
    /// A file is not what callgrind writes.
    #[error("{}: {fault}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
}

/// Runs this program again inside callgrind, with these arguments, to count the rows of a group. The
/// folder has a file of each row afterwards, for callgrind_annotate.
pub fn count(
    group: &str,
    arguments: &[String],
    folder: &Path,
) -> Result<Vec<Counted>, CallgrindError> {
    let failed = |said: String| CallgrindError::Failed { group: group.to_owned(), said };
    let program = env::current_exe().map_err(|error| failed(error.to_string()))?;
    let written = folder.join(file_name(group));
    let output = Command::new(VALGRIND)
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", written.display()))
        .arg(format!("--toggle-collect={TOGGLES}"))
        .arg(format!("--dump-after={COUNTED}"))
        .arg(program)
        .args(arguments)
        .env_clear()
        .envs(ENVIRONMENT)
        .output()
        .map_err(CallgrindError::Missing)?;
    let report = report(&output).ok_or_else(|| failed(said(&output)))?;
    let counted = report.iter().zip(1..).map(|(told, part)| {
        let path = renamed(&written, part, told).map_err(|error| failed(error.to_string()))?;
        let total = total(&path)?;
        let instructions = (total + u64::from(told.times) / 2) / u64::from(told.times);
        Ok(Counted { name: told.name.clone(), instructions, octets: told.octets })
    });
    counted.collect()
}

/// The file of a row or of a group.
fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("{}.callgrind", name.chars().map(plain).collect::<String>())
}

/// The file of a row under its own name.
fn renamed(written: &Path, part: u32, told: &Told) -> io::Result<PathBuf> {
    let mut from = written.as_os_str().to_owned();
    from.push(format!(".{part}"));
    let to = written.with_file_name(file_name(&told.name));
    fs::rename(from, &to)?;
    Ok(to)
}

/// The rows that were run, if all went well.
fn report(output: &Output) -> Option<Vec<Told>> {
    if !output.status.success() {
        return None;
    }
    std::str::from_utf8(&output.stdout).ok()?.lines().map(Told::parse).collect()
}

fn said(output: &Output) -> String {
    format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end())
}

/// The instructions of a file: the line `totals:`.
fn total(path: &Path) -> Result<u64, CallgrindError> {
    let fault = |fault: String| CallgrindError::File { path: path.to_owned(), fault };
    let text = fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    total_of(&text).ok_or_else(|| fault("no line `totals:` with a number above 0".to_owned()))
}

/// None where nothing was counted: a function that callgrind does not find costs nothing.
fn total_of(text: &str) -> Option<u64> {
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "))?;
    total.trim().parse().ok().filter(|&total| total > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read() {
        assert_eq!(total_of("events: Ir\nsummary: 1\n\ntotals: 60248\n"), Some(60_248));
        for wrong in ["", "events: Ir\n", "totals: 0\n", "totals: x\n"] {
            assert_eq!(total_of(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn files_have_the_names_of_their_rows() {
        assert_eq!(file_name("data/text/4 KiB"), "data-text-4-KiB.callgrind");
    }
}
