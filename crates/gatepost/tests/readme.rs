//! The README's first steps work as they are written.

use std::path::Path;

use gatepost::config::Config;
use gatepost::policy;

const README: &str = include_str!("../../../README.md");

/// The text of the code block that follows `` `name`: ``.
fn block(name: &str) -> &'static str {
    let (_, after) = README.split_once(&format!("`{name}`:")).expect("the README names the file");
    let (_, after) = after.split_once("```toml\n").expect("a block follows");
    after.split_once("```").expect("the block ends").0
}

#[test]
fn the_files_of_the_readme_load() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gatepost.toml");
    std::fs::write(directory.path().join("policy.toml"), block("policy.toml")).expect("writes");
    let config = Config::from_text(block("gatepost.toml"), Path::new(&path), [])
        .unwrap_or_else(|errors| panic!("{errors:?}"));
    let compiled = policy::load(&config.policy, &config.site).expect("a good policy");
    assert_eq!((compiled.ruleset.entries().len(), compiled.warnings), (1, vec![]));
}
