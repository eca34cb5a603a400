//! The cookbook and the examples it is about: what they say is what happens.
//!
//! Policies keep their expectations, on any day. What the cookbook shows of a file is in the file, and
//! what it shows of a command is what the program prints.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use gatepost::{
    config::Config,
    policy::{self, Source},
};
use gatepost_policy::{date::Moment, ruleset::Ruleset};
use gatepost_registry::{
    exchange::{self, Defaults, Format},
    item::{self, Item, Kind},
};
use gatepost_testkit::ThrowAwayCa;
use tempfile::TempDir;
use toml::Table;

const COOKBOOK: &str = include_str!("../../../docs/cookbook.md");
const DEPLOY_README: &str = include_str!("../../../deploy/README.md");

/// How the cookbook links to the examples.
const EXAMPLES_LINK: &str = "](../deploy/examples/";
/// The first of January in 2000 and in 2100: whoever gives no date means any.
const OTHER_DAYS: [i64; 2] = [946_684_800, 4_102_444_800];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples")
}

/// The names of the examples, each a directory.
fn names() -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(examples())
        .expect("is there")
        .map(|example| example.expect("is readable").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    names
}

fn example(file: impl AsRef<Path>) -> String {
    let path = examples().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn config(name: &str) -> Config {
    let path = examples().join(name).join("gatepost.toml");
    Config::from_text(&example(&path), &path, [])
        .unwrap_or_else(|errors| panic!("{name}: {errors:?}"))
}

/// Where the policies of an example are: the one in use, and the one that is tried.
fn sources(config: &Config) -> Vec<Source> {
    let candidate = config.shadow.clone().map(Source::File);
    [config.policy.clone()].into_iter().chain(candidate).collect()
}

/// A copy of an example as it would be installed: with a certificate, which no example has.
fn installed(name: &str) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for file in fs::read_dir(examples().join(name)).expect("is there") {
        let file = file.expect("is readable");
        fs::copy(file.path(), directory.path().join(file.file_name())).expect("copies");
    }
    let issued = ThrowAwayCa::new().issue(&["relay.example.com"]);
    fs::write(directory.path().join("relay.pem"), &issued.certificate).expect("writes");
    fs::write(directory.path().join("relay.key"), &issued.key).expect("writes");
    directory
}

/// The program, with nothing in its environment.
fn gatepost() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.env_clear();
    command
}

#[test]
fn every_example_meets_its_expectations_without_a_warning() {
    for name in names() {
        let config = config(&name);
        for source in sources(&config) {
            let compiled =
                policy::load(&source, &config.site).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(compiled.warnings, [], "{source}");
        }
    }
}

#[test]
fn every_example_shows_what_is_accepted_and_what_is_refused() {
    for name in names() {
        for source in sources(&config(&name)) {
            let text = source.read().expect("is there").text;
            let mut results = BTreeMap::new();
            for item in item::items(&text, &source.origin()).expect("loads") {
                if item.kind() == Kind::Expect {
                    let result = item.table()["result"].as_str().expect("a word").to_owned();
                    *results.entry(result).or_insert(0) += 1;
                }
            }
            let is_shown = results.contains_key("accept") && results.contains_key("reject");
            assert!(is_shown, "{source}: {results:?}");
            // The smallest configuration stays small.
            let count: usize = results.values().sum();
            assert!(count >= 5 || name == "minimal", "{source}: {results:?}");
        }
    }
}

#[test]
fn no_expectation_rots() {
    for name in names() {
        let config = config(&name);
        for source in sources(&config) {
            let text = source.read().expect("is there").text;
            for unix_seconds in OTHER_DAYS {
                let day = Moment { unix_seconds, ..policy::now() };
                let proven = Ruleset::compile(&text, &source.origin(), &config.site)
                    .and_then(|compiled| compiled.proven(day));
                assert!(proven.is_ok(), "give `at`: {}", proven.expect_err("is wrong"));
            }
        }
    }
}

/// For each entry there is an expectation that somebody else's mail is refused: whoever lets it send
/// as anybody is stopped.
#[test]
fn no_entry_is_widened_unseen() {
    for name in names() {
        let config = config(&name);
        for source in sources(&config) {
            let text = source.read().expect("is there").text;
            let items = item::items(&text, &source.origin()).expect("loads");
            for (index, item) in items.iter().enumerate() {
                let mut table = item.table();
                if item.kind() != Kind::Entry || table.contains_key("action") {
                    continue;
                }
                table.insert("senders".to_owned(), vec!["*", "<>"].into());
                table.insert("acknowledge".to_owned(), "everybody".into());
                let mut wider = items.clone();
                wider[index] = Item::new(Kind::Entry, &table).expect("has an id");
                let text = item::policy_text(&wider);
                let error = policy::compile(&text, &source, &config.site).err();
                let is_told = error.is_some_and(|error| error.to_string().contains(": expect: "));
                assert!(is_told, "{source}: {} may send as anybody", item.id());
            }
        }
    }
}

#[test]
fn the_program_finds_nothing_to_say_about_any_example() {
    for name in names() {
        let mut policies = vec!["policy.toml"];
        policies.extend(config(&name).shadow.map(|_| "candidate.toml"));
        for policy in policies {
            let directory = installed(&name);
            let mut check = gatepost();
            check.current_dir(directory.path()).env("GATEPOST_POLICY__FILE", policy);
            let assert = check.args(["check", "--config", "gatepost.toml"]).assert();
            assert.success().stderr("");
        }
    }
}

#[test]
fn every_example_is_told_of() {
    for name in names() {
        assert!(COOKBOOK.contains(&format!("{EXAMPLES_LINK}{name}")), "cookbook.md: {name}");
        assert!(DEPLOY_README.contains(&format!("](examples/{name})")), "deploy/README.md: {name}");
    }
}

#[test]
fn links_of_the_cookbook_lead_somewhere() {
    let docs = examples().join("../../docs");
    let targets = COOKBOOK.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    for (target, _) in targets.filter(|(target, _)| !target.starts_with('#')) {
        let file = target.split('#').next().unwrap_or_default();
        assert!(docs.join(file).exists(), "{target}");
    }
}

/// A fenced block of the cookbook.
struct Block {
    language: &'static str,
    /// The last line of text before it.
    above: &'static str,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut above = "";
    let mut lines = COOKBOOK.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside = lines.by_ref().take_while(|line| *line != "```");
            let text = inside.fold(String::new(), |text, line| text + line + "\n");
            blocks.push(Block { language, above, text });
            above = "";
        } else if !line.is_empty() {
            above = line;
        }
    }
    blocks
}

/// A line like `[printers/policy.toml](../deploy/examples/printers/policy.toml):` says where the block
/// under it is from. No block of a policy or a configuration is from nowhere.
#[test]
fn blocks_are_parts_of_the_files_above_them() {
    let mut files = Vec::new();
    for Block { language, above, text } in blocks() {
        let file = above.split_once(EXAMPLES_LINK).and_then(|(_, rest)| rest.strip_suffix("):"));
        let Some(file) = file else {
            assert!(!["csv", "toml", "yaml"].contains(&language), "no file is named above\n{text}");
            continue;
        };
        // From the beginning of a line to the end of one.
        let is_part = format!("\n{}", example(file)).contains(&format!("\n{text}"));
        assert!(is_part, "this is not in {file}:\n{text}");
        files.push(file);
    }
    for name in names()
        .iter()
        .filter(|name| !["load-balancer", "minimal", "two-listeners"].contains(&&***name))
    {
        assert!(files.contains(&&*format!("{name}/policy.toml")), "nothing is shown of {name}");
    }
}

/// What stands behind `$ ` in a transcript, with lines that are continued, and all the rest.
fn transcript(text: &str) -> (String, String) {
    let (mut commands, mut printed) = (String::new(), String::new());
    let mut is_continued = false;
    for line in text.lines() {
        let command = line.strip_prefix("$ ").or(is_continued.then_some(line));
        is_continued = command.is_some_and(|command| command.ends_with('\\'));
        let to = if command.is_some() { &mut commands } else { &mut printed };
        to.extend([command.unwrap_or(line), "\n"]);
    }
    (commands, printed)
}

/// A copy of the examples, for commands that write.
fn copy() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for name in names() {
        fs::create_dir(directory.path().join(&name)).expect("is made");
        for file in fs::read_dir(examples().join(&name)).expect("is there") {
            let file = file.expect("is readable");
            // Somebody may have tried the commands in the directory itself.
            if file.path().is_file() {
                let to = directory.path().join(&name).join(file.file_name());
                fs::copy(file.path(), to).expect("is copied");
            }
        }
    }
    directory
}

/// Each transcript is typed into a shell, in a directory with all examples.
#[test]
fn commands_print_what_the_cookbook_shows() {
    let program = Path::new(env!("CARGO_BIN_EXE_gatepost"));
    let path = format!("{}:/usr/bin:/bin", program.parent().expect("a directory").display());
    let mut count = 0;
    for Block { language, text, .. } in blocks() {
        if language != "console" {
            assert!(!text.contains("gatepost explain"), "its answer is not shown:\n{text}");
            continue;
        }
        let (commands, printed) = transcript(&text);
        let directory = copy();
        let mut shell = Command::new("sh");
        shell.env_clear().env("PATH", &path).current_dir(directory.path());
        let output = shell.args(["-c", &format!("exec 2>&1\n{commands}")]).output().expect("runs");
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(said, printed, "{commands}printed:\n{said}");
        count += 1;
    }
    assert!(count >= 7, "{count}");
}

/// The tables of entries, without the keys that were changed by hand after the import.
fn entries(items: &[Item], by_hand: &[&str]) -> Vec<Table> {
    let entries = items.iter().filter(|item| item.kind() == Kind::Entry);
    let without = |mut table: Table| {
        table.retain(|key, _| !by_hand.contains(&key));
        table
    };
    entries.map(|entry| without(entry.table())).collect()
}

#[test]
fn lists_become_the_policies_beside_them() {
    let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let postfix = Defaults {
        senders: owned(&["example.com", "*.example.com", "<>"]),
        description: Some("Taken over from Postfix".to_owned()),
        owner: Some("team-mail".to_owned()),
        ..Defaults::default()
    };
    let smartermail = Defaults {
        senders: owned(&["example.com", "*.example.com"]),
        description: None,
        ..postfix.clone()
    };
    for (format, list, defaults, by_hand) in [
        (Format::Postfix, "from-postfix/relay-clients.cidr", postfix, &[][..]),
        (Format::Smartermail, "from-smartermail/whitelist.csv", smartermail, &["senders"]),
    ] {
        let imported = exchange::import(format, &example(list), list, &defaults, &mut |_, _| {})
            .unwrap_or_else(|errors| panic!("{errors}"));
        let policy = Path::new(list).with_file_name("policy.toml");
        let written = item::items(&example(&policy), list).expect("loads");
        assert_eq!(entries(&imported.items, by_hand), entries(&written, by_hand), "{list}");
    }
}
