//! How many instructions do the steps of a message take?
//!
//! Callgrind counts them, and `budgets.toml` says how many they may be: this fails if a row takes more,
//! and is `make instructions`. It needs valgrind. Words on the command line choose rows that have one of
//! them in their names; `--update` writes what was counted to the budgets.

mod gateway;
mod lookup;
mod steps;
mod table;
mod transaction;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Mutex,
    thread,
};

use gatepost_benches::instructions::{
    budgets::{self, Budgets, Surroundings},
    callgrind::{self, Counted},
    counter::Counter,
};

/// Rows that share a process. What takes longest comes first: two groups are counted at a time.
const GROUPS: [(&str, Rows); 6] = [
    ("lookup", lookup::rows),
    ("gateway", gateway::rows),
    ("transaction", transaction::rows),
    ("data", steps::data),
    ("command", steps::command),
    ("reply", steps::reply),
];
/// How many groups are counted at a time.
const WORKERS: usize = 2;
/// Asks this program for the rows of a group, inside callgrind.
const ROWS: &str = "--rows";
const BUDGETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/budgets.toml");

/// The one of the program: a message allocates.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Rows = fn(&mut Counter<'_>);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().filter(|word| !word.starts_with('-')).cloned().collect();
    if let [option, group, words @ ..] = &arguments[..]
        && option == ROWS
    {
        run(group, words);
        return ExitCode::SUCCESS;
    }
    if gatepost_benches::is_smoke_run() {
        for (group, _) in GROUPS {
            run(group, &words);
        }
        return ExitCode::SUCCESS;
    }
    let update = arguments.iter().any(|word| word == "--update");
    count_all(&words)
        .and_then(|rows| if update { write(&rows, &words) } else { judge(&rows, &words) })
        .unwrap_or_else(|error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        })
}

/// Runs the rows of a group, and reports them to whoever has called callgrind.
fn run(group: &str, words: &[String]) {
    let (_, rows) = GROUPS.iter().find(|(name, _)| *name == group).expect("a group by its name");
    let mut counter = Counter::new(words);
    rows(&mut counter);
    for told in counter.told() {
        println!("{told}");
    }
}

/// All rows that were asked for, in the order of the groups.
fn count_all(words: &[String]) -> Result<Vec<Counted>, String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    // It may not be there.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let count = |group: &str| {
        let mut arguments = vec![ROWS.to_owned(), group.to_owned()];
        arguments.extend_from_slice(words);
        callgrind::count(group, &arguments, &folder)
    };
    let groups = Mutex::new(GROUPS.iter().enumerate());
    let counted = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let next = || groups.lock().expect("no worker panics").next();
                while let Some((place, (group, _))) = next() {
                    let rows = count(group);
                    counted.lock().expect("no worker panics").insert(place, rows);
                }
            });
        }
    });
    let counted = counted.into_inner().expect("no worker panics").into_values();
    let groups: Vec<_> = counted.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    println!("callgrind_annotate reads the files in {}", folder.display());
    Ok(groups.concat())
}

/// Holds what was counted against the budgets.
fn judge(rows: &[Counted], words: &[String]) -> Result<ExitCode, String> {
    let budgets = Budgets::parse(&read()?).map_err(|error| format!("{BUDGETS}: {error}"))?;
    let surroundings = surroundings()?;
    let percent = budgets.percent(&surroundings);
    let mut failed = table::print(rows, &budgets, percent);
    if words.is_empty() {
        for name in budgets.without_row(rows) {
            failed += 1;
            println!("{name:?} has a budget and is no row");
        }
    }
    if budgets.counted_with != surroundings {
        println!("{}", table::elsewhere(&budgets, &surroundings));
    }
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", table::mend(failed));
    Ok(ExitCode::FAILURE)
}

/// Writes what was counted. Rows that were not asked for keep their budgets.
fn write(rows: &[Counted], words: &[String]) -> Result<ExitCode, String> {
    let (text, surroundings) = (read()?, surroundings()?);
    let mut numbers = BTreeMap::new();
    if !words.is_empty() {
        let budgets = Budgets::parse(&text).map_err(|error| format!("{BUDGETS}: {error}"))?;
        if budgets.counted_with != surroundings {
            return Err("the budgets are of another compiler: update all rows together".to_owned());
        }
        numbers = budgets.instructions;
    }
    numbers.extend(rows.iter().map(|row| (row.name.clone(), row.instructions)));
    let text = budgets::rewritten(&text, &surroundings, &numbers)
        .ok_or_else(|| format!("{BUDGETS}: there is no [instructions]"))?;
    fs::write(BUDGETS, text).map_err(|error| format!("{BUDGETS}: {error}"))?;
    println!("{BUDGETS} has {} rows", numbers.len());
    Ok(ExitCode::SUCCESS)
}

fn read() -> Result<String, String> {
    fs::read_to_string(Path::new(BUDGETS)).map_err(|error| format!("{BUDGETS}: {error}"))
}

/// What the rows are counted with here.
fn surroundings() -> Result<Surroundings, String> {
    let output = Command::new("rustc").arg("--version").output();
    let output =
        output.map_err(|error| format!("rustc cannot be asked for its version: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let rustc = said.split_whitespace().nth(1).ok_or("rustc does not tell its version")?.to_owned();
    #[cfg(target_arch = "x86_64")]
    let has_avx2 = std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    let has_avx2 = false;
    let extensions = if has_avx2 { ", AVX2" } else { "" };
    Ok(Surroundings { rustc, processor: format!("{}{extensions}", env::consts::ARCH) })
}
