//! The pages about providers: every configuration and policy on them loads, is one that Gatepost has
//! nothing to say against, and names the figures that the profile has.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use gatepost::config::Config;
use gatepost_delivery::Profile;
use gatepost_delivery::profile::built_in;
use gatepost_policy::ruleset::Ruleset;
use gatepost_policy::units::Span;
use gatepost_testkit::ThrowAwayCa;
use tempfile::TempDir;
use toml::Table;

const CONFIG: &str = "# gatepost.toml\n";
const POLICY: &str = "# policy.toml\n";
/// How a block begins that takes the place of the page's upstream.
const SAME_UPSTREAM: &str = "# the same upstream, ";
/// The files that the pages name.
const SECRETS: [&str; 5] = [
    "google.password",
    "m365-client.secret",
    "sendgrid.key",
    "ses.password",
    "smartermail.password",
];
const SIMULATOR_ROOTS: [&str; 5] =
    ["google-ca.pem", "m365-ca.pem", "sendgrid-ca.pem", "ses-ca.pem", "smartermail-ca.pem"];

/// A page and what is in it.
struct Page {
    name: String,
    text: String,
    config: String,
    policy: String,
}

impl Page {
    /// The provider's pages: those with a whole configuration on them.
    fn all() -> Vec<Self> {
        let mut pages: Vec<Self> = fs::read_dir(folder())
            .expect("is there")
            .filter_map(|file| {
                let path = file.expect("is readable").path();
                Self::read(&path)
            })
            .collect();
        pages.sort_by(|one, other| one.name.cmp(&other.name));
        pages
    }

    fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).expect("UTF-8");
        let name = path.file_name()?.to_string_lossy().into_owned();
        let only = |mark: &str| {
            let mut found = blocks(&text).into_iter().filter(|block| block.starts_with(mark));
            let block = found.next();
            assert!(found.next().is_none(), "{name}: two blocks that begin with {mark}");
            block
        };
        let (config, policy) = match (only(CONFIG), only(POLICY)) {
            (Some(config), Some(policy)) => (config, policy),
            (None, None) => return None,
            _ => panic!("{name}: a configuration without a policy, or the reverse"),
        };
        Some(Self { name, text, config, policy })
    }

    /// As the page has it, with the files that it names, readable for nobody else.
    fn installed(&self) -> TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        let put = |name: &str, text: &str| {
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600);
            let mut file = file.open(directory.path().join(name)).expect("creates");
            file.write_all(text.as_bytes()).expect("writes");
        };
        put("gatepost.toml", &self.config);
        put("policy.toml", &self.policy);
        let ca = ThrowAwayCa::new();
        let identity = ca.issue(&["relay.example.com"]);
        put("m365-client.pem", &(identity.certificate + &ca.pem()));
        put("m365-client.key", &identity.key);
        put("roots.pem", &ca.pem());
        for name in SECRETS {
            put(name, "simulated\n");
        }
        for name in SIMULATOR_ROOTS {
            put(name, &ca.pem());
        }
        directory
    }

    fn profile(&self) -> std::sync::Arc<Profile> {
        let directory = self.installed();
        let config = load(&self.config, directory.path(), &self.name);
        config.upstreams[0].profile.clone()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations")
}

/// The blocks of TOML in a page.
fn blocks(page: &str) -> Vec<String> {
    let behind = page.split("\n```toml\n").skip(1);
    behind.map(|rest| rest.split("\n```").next().unwrap_or_default().to_owned() + "\n").collect()
}

fn load(text: &str, directory: &Path, page: &str) -> Config {
    Config::from_text(text, &directory.join("gatepost.toml"), [])
        .unwrap_or_else(|errors| panic!("{page}: {errors:?}"))
}

/// A page for every provider that has a profile, and no page twice.
#[test]
fn every_provider_has_its_page() {
    let pages: Vec<_> = Page::all().into_iter().map(|page| page.name).collect();
    let named = built_in().iter().filter(|profile| &*profile.name != "generic");
    let mut expected: Vec<_> = named.map(|profile| format!("{}.md", profile.name)).collect();
    expected.sort();
    assert_eq!(pages, expected);
}

#[test]
fn what_a_page_shows_loads_and_keeps_its_expectations() {
    for page in Page::all() {
        let directory = page.installed();
        let config = load(&page.config, directory.path(), &page.name);
        assert_eq!(config.warnings, [], "{}", page.name);
        assert_eq!(format!("{}.md", config.upstreams[0].profile.name), page.name);
        let compiled = Ruleset::compile(&page.policy, "policy.toml", &config.site)
            .unwrap_or_else(|errors| panic!("{}: {errors}", page.name));
        assert_eq!(compiled.warnings, [], "{}", page.name);
        assert!(compiled.ruleset.expectations() >= 2, "{}", page.name);
    }
}

#[test]
fn gatepost_check_has_nothing_against_a_page() {
    for page in Page::all() {
        let directory = page.installed();
        let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .env_clear()
            .env("SSL_CERT_FILE", directory.path().join("roots.pem"))
            .arg("check")
            .arg("--config")
            .arg(directory.path().join("gatepost.toml"))
            .output()
            .expect("runs");
        let shown = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        assert_eq!(shown(&output.stderr), "", "{}", page.name);
        assert!(output.status.success(), "{}", page.name);
        assert!(shown(&output.stdout).ends_with("ok\n"), "{}", page.name);
    }
}

/// The other ways to write the upstream: with a password as well, or at the simulator.
#[test]
fn every_other_upstream_of_a_page_loads_in_its_place() {
    for page in Page::all() {
        let directory = page.installed();
        let others = blocks(&page.text);
        let others: Vec<_> =
            others.iter().filter(|block| block.starts_with(SAME_UPSTREAM)).collect();
        assert!(!others.is_empty(), "{}: no simulator", page.name);
        for other in others {
            let mut config: Table = page.config.parse().expect("loaded above");
            let mut other: Table =
                other.parse().unwrap_or_else(|error| panic!("{}: {error}", page.name));
            config.insert("upstream".to_owned(), other.remove("upstream").expect("an upstream"));
            let config = load(&config.to_string(), directory.path(), &page.name);
            assert_eq!(format!("{}.md", config.upstreams[0].profile.name), page.name);
        }
    }
}

/// A page has its limits in words of its own; behind them stands what the profile does.
#[test]
fn a_page_has_the_figures_of_its_profile() {
    for page in Page::all() {
        let figures = figures(&page.profile());
        let (_, limits) = page.text.split_once("\n## Limits\n").expect("a section about limits");
        let limits = limits.split("\n## ").next().unwrap_or_default();
        assert!(limits.contains(&figures), "{}: the limits have to end with\n{figures}", page.name);
    }
}

fn figures(profile: &Profile) -> String {
    let limits = &profile.limits;
    let count = |limit: Option<u32>| limit.map_or_else(|| "none".to_owned(), |it| it.to_string());
    let span = |span: Duration| Span::new(span).to_string();
    let rates: Vec<_> = limits.recipient_rate.default.iter().map(|it| format!("{it:?}")).collect();
    format!(
        "The profile has `max_connections` {}, `max_messages_per_connection` {}, `max_recipients` {},\n\
         `idle_timeout` {}, `max_age` {}, `client_stall` {}, `recipient_rate` [{}];\n\
         [profiles.md](profiles.md#{}) has the sources.\n",
        limits.max_connections.default,
        count(limits.max_messages_per_connection.default),
        count(limits.max_recipients.default),
        span(limits.idle_timeout.default),
        span(limits.max_age.default),
        span(limits.client_stall.default),
        rates.join(", "),
        profile.name,
    )
}
