//! The real program: arguments, what it prints where, and how it ends.

use std::{fs, path::Path, process::Output};

use assert_cmd::Command;
use gatepost_testkit::ThrowAwayCa;
use tempfile::TempDir;

const CONFIG: &str = r#"
hostname = "relay.example.com"
state_dir = "state"
[[listener]]
name = "smtp"
bind = ["127.0.0.1:2525", "[::1]:2525"]
[[upstream]]
name = "smarthost"
hosts = ["smarthost.internal:25"]
tls = "none"
[policy]
file = "policy.toml"
[delivery]
mode = "sync"
[limits]
max_message_size = "1 MiB"
"#;

const POLICY: &str = r#"
[[entry]]
id = "billing"
networks = ["10.20.0.0/16"]
senders = ["billing.example.com", "<>"]
"#;

/// A configuration and a policy in a directory of their own.
struct Setup(TempDir);

impl Setup {
    fn new(config: &str, policy: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("gatepost.toml"), config).expect("writes");
        fs::write(directory.path().join("policy.toml"), policy).expect("writes");
        Self(directory)
    }

    /// The configuration after a replacement.
    fn with(from: &str, to: &str) -> Self {
        assert!(CONFIG.contains(from), "{from}");
        Self::new(&CONFIG.replace(from, to), POLICY)
    }

    fn check(&self) -> Answer {
        self.check_with(&[])
    }

    fn check_with(&self, variables: &[(&str, &str)]) -> Answer {
        let arguments = ["check", "--config", "gatepost.toml"];
        gatepost(&arguments, variables, self.0.path())
    }

    fn entry(&self, words: &[&str]) -> Answer {
        gatepost(&[&["entry"], words].concat(), &[], self.0.path())
    }

    fn explain(&self, arguments: &[&str]) -> Answer {
        let command = [&["explain", "--config", "gatepost.toml"], arguments].concat();
        gatepost(&command, &[], self.0.path())
    }
}

struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Answer {
    #[track_caller]
    fn refused(&self, code: i32, stderr: &str) {
        assert!(self.stderr.starts_with(stderr), "{}{}", self.stdout, self.stderr);
        assert_eq!((self.code, &*self.stdout), (code, ""), "{}", self.stderr);
    }
}

fn gatepost(arguments: &[&str], variables: &[(&str, &str)], directory: &Path) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.env_clear().envs(variables.iter().copied()).current_dir(directory).args(arguments);
    let Output { status, stdout, stderr } = command.output().expect("runs");
    let text = |octets| String::from_utf8(octets).expect("UTF-8");
    Answer {
        code: status.code().expect("was not killed"),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

fn alone(arguments: &[&str]) -> Answer {
    gatepost(arguments, &[], Path::new("/"))
}

#[test]
fn a_good_configuration_is_summed_up() {
    let answer = Setup::new(CONFIG, POLICY).check();
    let (summary, generation) = answer.stdout.split_once("generation ").expect(&answer.stderr);
    let told = "\
listener   smtp: 127.0.0.1:2525, [::1]:2525
upstream   smarthost: smarthost.internal:25 (default)
delivery   mode sync
policy     policy.toml: 1 entry, ";
    assert_eq!(summary, told);
    assert!(generation.starts_with("0-") && generation.ends_with("\nok\n"), "{generation}");
    assert_eq!((answer.code, &*answer.stderr), (0, ""));
}

#[test]
fn warnings_do_not_fail_a_check() {
    let services = "services = [\"smtp\", \"submission\"]\n";
    let answer = Setup::new(CONFIG, &format!("{POLICY}{services}")).check();
    let told = "warning: policy.toml:6:21: entry billing: service \"submission\" is not a listener";
    assert!(answer.stderr.starts_with(told), "{}", answer.stderr);
    assert_eq!(answer.code, 0);

    let host = "smtp.sendgrid.net:25";
    let answer = Setup::with("smarthost.internal:25", host).check();
    let told = "warning: gatepost.toml:9:9: upstream[0].profile: smtp.sendgrid.net:25 is a host of Twilio SendGrid; did you mean profile = \"sendgrid\"?\n";
    assert_eq!((answer.code, &*answer.stderr), (0, told));

    let answer = Setup::new(CONFIG, "# nobody yet\n").check();
    let told = "warning: policy.toml: there is no enabled allow entry: nobody may send\n";
    assert_eq!((answer.code, &*answer.stderr), (0, told));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (from, to, told) in [
        ("tls = \"none\"", "tsl = 1", "gatepost.toml:10:1: upstream[0].tsl: unknown key `tsl`"),
        (
            "[policy]",
            "[policy]\nstore = true",
            "gatepost.toml:13:8: policy.file: is named, and policy.store is true",
        ),
        (
            "\"sync\"",
            "\"queue\"",
            "gatepost.toml:14:8: delivery.mode: \"queue\" is unknown; write \"sync\" or \"hybrid\" or",
        ),
        ("[limits]", "[admin]", "gatepost.toml:15:1: admin: not built yet"),
        ("[::1]:2525", "::1", "gatepost.toml:6:27: listener[0].bind[1]: \"::1\" is not an address"),
        ("file = \"policy.toml\"", "file = \"p.toml\"", "p.toml: cannot be read: No such file"),
    ] {
        Setup::with(from, to).check().refused(78, &format!("error: {told}"));
    }
    let setup = Setup::new(CONFIG, &POLICY.replace("10.20.0.0/16", "10.20.0.1/16"));
    setup.check().refused(78, "error: policy.toml:4:13: entry billing: network \"10.20.0.1/16\"");
    let missing = ["check", "--config", "/nowhere/gatepost.toml"];
    alone(&missing).refused(78, "error: /nowhere/gatepost.toml: cannot be read: No such file");
}

#[test]
fn certificates_are_read_and_judged() {
    let ca = ThrowAwayCa::new();
    let tls = "bind = [\"127.0.0.1:2525\"]\ntls = \"starttls\"\ncertificate = \"relay.pem\"\n\
               private_key = \"relay.key\"";
    let setup = Setup::with("bind = [\"127.0.0.1:2525\", \"[::1]:2525\"]", tls);
    let put = |name: &str, text: &str| {
        fs::write(setup.0.path().join(name), text).expect("writes");
    };
    setup.check().refused(78, "error: relay.pem: cannot be read: No such file");
    let issued = ca.issue(&["relay.example.com"]);
    put("relay.pem", &issued.certificate);
    put("relay.key", &ca.issue(&["relay.example.com"]).key);
    setup.check().refused(78, "error: relay.key: the key is not that of the certificate; write");
    // `run` says the same, and ends the same way.
    let run = gatepost(&["run", "--config", "gatepost.toml"], &[], setup.0.path());
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert!(run.stderr.contains("relay.key: the key is not that of the certificate"));
    put("relay.key", &issued.key);
    let answer = setup.check();
    assert_eq!((answer.code, &*answer.stderr), (0, ""));
    let told = "listener   smtp: 127.0.0.1:2525 (STARTTLS)\n";
    assert!(answer.stdout.starts_with(told), "{}", answer.stdout);
    let old = ca.issue_until(&["relay.example.com"], 2001);
    put("relay.pem", &old.certificate);
    put("relay.key", &old.key);
    let answer = setup.check();
    let told = "warning: relay.pem: the certificate is not valid today; clients that look will not";
    assert!(answer.code == 0 && answer.stderr.starts_with(told), "{}", answer.stderr);
}

/// A configuration whose listener asks unknown clients for a password.
fn authenticating(policy: &str) -> Setup {
    let ca = ThrowAwayCa::new();
    let tls = "bind = [\"127.0.0.1:2525\"]\ntls = \"implicit\"\ncertificate = \"relay.pem\"\n\
               private_key = \"relay.key\"\nunknown_clients = \"authenticate\"";
    let config = CONFIG.replace("bind = [\"127.0.0.1:2525\", \"[::1]:2525\"]", tls);
    let setup = Setup::new(&config, policy);
    let issued = ca.issue(&["relay.example.com"]);
    fs::write(setup.0.path().join("relay.pem"), issued.certificate).expect("writes");
    fs::write(setup.0.path().join("relay.key"), issued.key).expect("writes");
    setup
}

/// The way of whoever runs a gateway: a password, its hash, a credential, and whether it is right.
#[test]
fn a_password_becomes_a_credential() {
    let hash = |input: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        let output = command.arg("hash-password").write_stdin(input).output().expect("runs");
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("text");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, made, told) = hash("correct horse\n");
    assert_eq!((code, &*told), (Some(0), ""));
    assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && made.ends_with('\n'), "{made}");
    assert_ne!(hash("correct horse\n").1, made, "another salt");
    for input in ["", "\n"] {
        let (code, made, told) = hash(input);
        assert_eq!((code, &*made), (Some(64), ""));
        assert!(told.starts_with("error: the password is empty"), "{told}");
    }
    let credential = format!(
        "[[credential]]\nid = \"legacy-crm\"\nusername = \"crm\"\npassword_hash = \"{}\"\n\
         senders = [\"crm.example.com\"]\nmessage_rate = \"60/min\"\n",
        made.trim_end()
    );
    let setup = authenticating(&credential);
    let answer = setup.check();
    assert_eq!((answer.code, &*answer.stderr), (0, ""));
    assert!(answer.stdout.contains("policy.toml: 0 entries, 1 credential, "), "{}", answer.stdout);
    let known = ["--ip=203.0.113.9", "--auth=crm", "--from=a@crm.example.com"];
    let answer = setup.explain(&known);
    assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
    for line in [
        "network         none around the client; it has to authenticate\n",
        "credential      legacy-crm\n",
        "authentication  crm is credential legacy-crm\n",
    ] {
        assert!(answer.stdout.contains(line), "{line} in {}", answer.stdout);
    }
    assert!(answer.stderr.starts_with("note: read from the files"), "{}", answer.stderr);
    for (arguments, verdict) in [
        (&["--ip=203.0.113.9", "--auth=erp"][..], "535 5.7.8 authentication failed"),
        (&["--ip=203.0.113.9", "--from=<>"], "530 5.7.0 authentication required: send AUTH"),
        (&["--ip=203.0.113.9", "--auth=crm", "--tls=none"], "538 5.7.11 "),
    ] {
        let answer = setup.explain(arguments);
        let told = format!("verdict         reject: {verdict}");
        assert!(answer.code == 1 && answer.stdout.contains(&told), "{}", answer.stdout);
    }
    authenticating(&credential.replace("$argon2id$", "$argon2i$")).check().refused(
        78,
        "error: policy.toml:4:17: credential legacy-crm: password_hash: it is not a hash of argon2id",
    );
}

/// A store keeps credentials like entries: they come in and go out whole, and are shown without their
/// hashes.
#[test]
fn a_store_keeps_credentials_and_does_not_show_their_hashes() {
    const HASH: &str =
        "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$WHwbVkQ5XzAMaltcqwxy+X9v0VxYTVTjS9BRTrowawM";
    let other = HASH.replace("WHwb", "bwHW");
    let setup = Setup::with("file = \"policy.toml\"", "store = true");
    let policy = |hash: &str| {
        format!(
            "{POLICY}[[credential]]\nid = \"crm\"\nusername = \"crm\"\npassword_hash = \"{hash}\"\n\
             senders = []\n"
        )
    };
    let gatepost = |arguments: &[&str]| {
        let answer = gatepost(arguments, &[], setup.0.path());
        assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
        answer.stdout
    };
    let import = ["entry", "import", "--config=gatepost.toml", "--format=toml", "policy.toml"];
    for hash in [HASH, &other] {
        fs::write(setup.0.path().join("policy.toml"), policy(hash)).expect("writes");
        gatepost(&import);
    }
    for form in ["toml", "json"] {
        let exported = gatepost(&["entry", "export", "--config=gatepost.toml", "--format", form]);
        assert!(exported.contains(&other), "{exported}");
    }
    for form in ["table", "json"] {
        for command in ["diff", "history"] {
            let shown = gatepost(&[command, "--config=gatepost.toml", "--output", form]);
            assert!(shown.contains("crm"), "{shown}");
            assert!(!shown.contains("bwHW") && !shown.contains("c2Fsd"), "{shown}");
        }
    }
    let diff = gatepost(&["diff", "--config=gatepost.toml"]);
    let lines: Vec<_> = diff.lines().collect();
    assert_eq!((lines[0], lines.len()), ("credential crm changed", 3), "{diff}");
    assert!(lines[1].starts_with("- password_hash = \"$argon2id$… ("), "{diff}");
    assert!(lines[2].starts_with("+ password_hash = \"$argon2id$… ("), "{diff}");
}

#[test]
fn several_errors_are_several_lines() {
    let config = CONFIG.replace("relay.example.com", "relay").replace("\"sync\"", "\"queue\"");
    let answer = Setup::new(&config, POLICY).check();
    let lines: Vec<_> = answer.stderr.lines().collect();
    assert_eq!((answer.code, lines.len()), (78, 2), "{}", answer.stderr);
    assert!(lines.iter().all(|line| line.starts_with("error: gatepost.toml:")));
}

#[test]
fn the_environment_is_read() {
    let setup = Setup::new(CONFIG, POLICY);
    let answer = setup.check_with(&[("GATEPOST_METRICS__BIND", "127.0.0.1:9925")]);
    assert!(answer.stdout.contains("metrics    127.0.0.1:9925\n"), "{}", answer.stderr);
    let answer = setup.check_with(&[("GATEPOST_LOG__LEVLE", "debug")]);
    answer.refused(78, "error: GATEPOST_LOG__LEVLE: log.levle: unknown key `levle`");
    assert_eq!(setup.check_with(&[("GATEPOST_SERVICE_HOST", "10.0.0.1")]).code, 0);
}

#[test]
fn an_accepted_message_is_explained() {
    let answer = Setup::new(CONFIG, POLICY).explain(&[
        "--ip=10.20.0.7",
        "--from=noreply@billing.example.com",
        "--rcpt=a@example.net",
        "--rcpt=<b@example.net>",
        "--helo=app",
        "--size=25 KiB",
    ]);
    let (first, steps) = answer.stdout.split_once('\n').expect(&answer.stderr);
    let told = "\
client          10.20.0.7
listener        smtp
network         10.20.0.0/16 is the longest match
entry           billing
max_connections no limit
dates           always valid
tls             skipped: not given
certificate     skipped: not given
helo            app: any name is allowed
sender          <noreply@billing.example.com> matches billing.example.com
size            25600 octets; the limit is 1 MiB
message_rate    no limit
recipient       <a@example.net>: any recipient is allowed
route           <a@example.net>: no route matches
upstream        smarthost (the default), mode sync
recipient       <b@example.net>: any recipient is allowed
route           <b@example.net>: no route matches
upstream        smarthost (the default), mode sync
header_from     skipped: not given
verdict         accept
";
    assert!(first.starts_with("generation      0-"), "{first}");
    assert_eq!((answer.code, steps, &*answer.stderr), (0, told, ""));
}

#[test]
fn what_is_not_given_is_skipped() {
    let answer = Setup::new(CONFIG, POLICY).explain(&["--ip=::ffff:10.20.0.7"]);
    for line in [
        "client          ::ffff:10.20.0.7 is IPv4-mapped: 10.20.0.7\n",
        "tls             skipped: not given\n",
        "certificate     skipped: not given\n",
        "helo            skipped: not given\n",
        "sender          skipped: not given\n",
        "size            skipped: not given\n",
        "recipient       skipped: not given\n",
        "header_from     skipped: not given\n",
        "verdict         accept\n",
    ] {
        assert!(answer.stdout.contains(line), "{line} in {}", answer.stdout);
    }
    assert_eq!(answer.code, 0);
}

#[test]
fn a_refusal_is_explained_with_its_reply() {
    let setup = Setup::new(CONFIG, POLICY);
    let answer = setup.explain(&["--ip=10.20.0.7", "--from=a@b.example", "--size=1"]);
    let refused = "<a@b.example> is not an allowed sender of entry billing (generation 0-";
    for line in [
        format!("sender          refused: {refused}"),
        "allowed         [billing.example.com, <>]\n".to_owned(),
        "size            skipped: not reached\n".to_owned(),
        "recipient       skipped: not reached\n".to_owned(),
        format!("verdict         reject: 550 5.7.1 {refused}"),
    ] {
        assert!(answer.stdout.contains(&line), "{line} in {}", answer.stdout);
    }
    assert_eq!(answer.code, 1);

    let answer = setup.explain(&["--ip=203.0.113.9", "--from=<>"]);
    let verdict = "verdict         reject: 554 5.7.1 relay.example.com: 203.0.113.9 is not on the allow-list\n";
    assert!(answer.stdout.ends_with(verdict), "{}", answer.stdout);
    assert_eq!(answer.code, 1);

    let answer = setup.explain(&["--ip=10.20.0.7", "--from=<>", "--size=2 MiB", "--rcpt=a@b"]);
    assert!(
        answer.stdout.contains("size            refused: the message is larger than the 1 MiB")
    );
    assert!(answer.stdout.contains("recipient       skipped: not reached\n"));
    assert!(answer.stdout.contains("verdict         reject: 552 5.3.4 "));
    assert_eq!(answer.code, 1);
}

/// Everything that can be asked, of an entry that asks for everything.
#[test]
fn every_input_has_its_check() {
    let entry = POLICY.to_owned()
        + "tls = \"required-1.3\"\nclient_certificate = [\"app.internal\"]\nhelo = [\"*.internal\"]\n\
           header_from = \"allowed\"\nexpires = 2030-01-01T00:00:00Z\nexpiry = \"defer\"\n";
    let setup = Setup::new(CONFIG, &entry);
    let good = [
        "--ip=10.20.0.7",
        "--from=a@billing.example.com",
        "--rcpt=b@example.net",
        "--helo=a.internal",
        "--tls",
        "--certificate=app.internal",
        "--header-from=c@billing.example.com",
        "--at=2029-12-31T23:59:59Z",
    ];
    let answer = setup.explain(&good);
    assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
    assert!(!answer.stdout.replace("size            skipped", "").contains("skipped"));
    for (other, code, told) in [
        ("--tls=1.2", 1, "tls             refused: entry billing must use TLS 1.3"),
        ("--tls=none", 1, "tls             refused: entry billing must use TLS 1.3"),
        (
            "--certificate=other",
            1,
            "certificate     refused: no name in the certificate is allowed",
        ),
        ("--helo=external", 1, "helo            refused: external is not an allowed HELO name"),
        (
            "--header-from=a@b.example",
            1,
            "header_from     refused: <a@b.example> is not an allowed",
        ),
        ("--at=2030-01-01T00:00:00Z", 75, "dates           refused: entry billing has expired at"),
    ] {
        let name = other.split('=').next().expect("a name");
        let asked: Vec<_> =
            good.iter().filter(|it| !it.starts_with(name)).copied().chain([other]).collect();
        let answer = setup.explain(&asked);
        assert!(answer.stdout.contains(told), "{told} in {}{}", answer.stdout, answer.stderr);
        assert_eq!(answer.code, code);
    }
}

#[test]
fn programs_get_json() {
    let setup = Setup::new(CONFIG, POLICY);
    let json = |arguments: &[&str]| {
        let answer = setup.explain(&[arguments, &["--output=json"]].concat());
        let object: serde_json::Value = serde_json::from_str(&answer.stdout).expect("JSON");
        (answer.code, object)
    };
    let (code, object) = json(&["--ip=10.20.0.7", "--from=a@billing.example.com"]);
    assert_eq!((code, &object["result"]), (0, &"accept".into()));
    assert_eq!((&object["entry"], &object["network"]), (&"billing".into(), &"10.20.0.0/16".into()));
    assert!(object["generation"].as_str().is_some_and(|text| text.starts_with("0-")));
    let steps = object["steps"].as_array().expect("steps");
    assert!(steps.iter().any(|step| step["name"] == "sender" && step["outcome"] == "passed"));

    let (code, object) =
        json(&["--ip=10.20.0.7", "--from=a@billing.example.com", "--size=99999999"]);
    assert_eq!((code, &object["result"]), (1, &"reject".into()));
    assert!(object["reply"].as_str().is_some_and(|reply| reply.starts_with("552 5.3.4 ")));
}

#[test]
fn the_service_is_a_listener() {
    let second = "[[listener]]\nname = \"submission\"\nbind = [\"127.0.0.1:2587\"]\n";
    let policy = format!("{POLICY}services = [\"submission\"]\n");
    let setup = Setup::new(&format!("{CONFIG}{second}"), &policy);
    let answer = setup.explain(&["--ip=10.20.0.7", "--service=submission"]);
    assert_eq!((answer.code, &*answer.stderr), (0, ""));
    let answer = setup.explain(&["--ip=10.20.0.7"]);
    let note = "note: explained for listener smtp; --service names another one\n";
    assert_eq!((answer.code, &*answer.stderr), (1, note));
    let answer = setup.explain(&["--ip=10.20.0.7", "--service=imap"]);
    let told = "error: --service: there is no listener \"imap\"; known are smtp, submission\n";
    answer.refused(64, told);
}

#[test]
fn wrong_usage_is_64() {
    for (arguments, told) in [
        (&[][..], "SMTP relay gateway"),
        (&["frobnicate"], "error: unrecognized subcommand 'frobnicate'"),
        (&["check", "--confg", "x"], "error: unexpected argument '--confg' found"),
        (&["explain"], "error: the following required arguments were not provided"),
        (&["explain", "--ip=10.0.0"], "error: invalid value '10.0.0' for '--ip <ADDRESS>'"),
        (&["explain", "--ip=::1", "--from=a"], "error: invalid value 'a' for '--from <MAILBOX>'"),
        (&["explain", "--ip=::1", "--from="], "error: invalid value '' for '--from <MAILBOX>'"),
        (&["explain", "--ip=::1", "--rcpt=<a@b> c"], "error: invalid value '<a@b> c' for '--rcpt"),
        (
            &["explain", "--ip=::1", "--tls=1.1"],
            "error: invalid value '1.1' for '--tls[=<VERSION>]'",
        ),
        (
            &["explain", "--ip=::1", "--at=now"],
            "error: invalid value 'now' for '--at <TIME>': a date",
        ),
        (
            &["explain", "--ip=::1", "--header-from=<a@b>"],
            "error: invalid value '<a@b>' for '--header",
        ),
        (&["explain", "--ip=::1", "--size=big"], "error: invalid value 'big' for '--size <SIZE>'"),
    ] {
        alone(arguments).refused(64, told);
    }
}

/// A policy that is a file is edited as a file; which file, is said.
#[test]
fn edits_of_a_file_are_made_in_the_file() {
    let setup = Setup::new(CONFIG, POLICY);
    for words in [
        &["add", "new", "--network", "10.0.0.1", "--sender=a@b", "--config", "gatepost.toml"][..],
        &["edit", "billing", "--config=gatepost.toml", "--unset=owner"],
        &["remove", "--config", "gatepost.toml", "billing"],
        &["enable", "billing", "--config", "gatepost.toml"],
        &["disable", "billing", "--config", "gatepost.toml"],
        &["import", "--format=toml", "policy.toml", "--config", "gatepost.toml"],
    ] {
        let answer = setup.entry(words);
        answer.refused(77, "error: the policy is in policy.toml: edit that file");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    let answer = alone(&["--help"]);
    assert_eq!((answer.code, &*answer.stderr), (0, ""));
    for line in [
        "Usage: gatepost <COMMAND>\n",
        "  run            Run the gateway in the foreground\n",
        "  check          Check configuration and policy, as `run` would read them\n",
        "  explain        Tell what would happen to a message, and why\n",
        "  entry          Show and edit the entries of the allow-list\n",
        "  upstream       Show the upstreams\n",
        "  demo           Show a gateway at work, without any configuration\n",
        "  78  an error in the configuration or the policy\n",
    ] {
        assert!(answer.stdout.contains(line), "{line} in {}", answer.stdout);
    }
    let longest = answer.stdout.lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(100), "{}", answer.stdout);
    let answer = alone(&["--version"]);
    assert_eq!(answer.stdout, concat!("gatepost ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(answer.code, 0);
    assert!(alone(&["explain", "--help"]).stdout.contains("--auth <USERNAME>"));
    // What every edit takes is not shown as a field of the entry.
    for command in ["add", "edit"] {
        let help = alone(&["entry", command, "--help"]).stdout;
        let (options, fields) = help.split_once("\nFields of the entry:\n").expect(&help);
        for option in ["--reason <", "--if-revision <", "--output <", "--config <"] {
            assert!(options.contains(option) && !fields.contains(option), "{option} in {help}");
        }
        assert!(fields.contains("--network <") && fields.contains("--acknowledge <"), "{help}");
    }
}

#[test]
fn profiles_are_listed_and_printed() {
    let answer = alone(&["upstream", "profile"]);
    assert_eq!((answer.code, &*answer.stderr), (0, ""));
    assert!(answer.stdout.starts_with("PROFILE         PROVIDER\ngeneric "), "{}", answer.stdout);
    assert!(answer.stdout.contains("\nses             Amazon SES\n"), "{}", answer.stdout);

    let answer = alone(&["upstream", "profile", "ses"]);
    assert_eq!((answer.code, &*answer.stderr), (0, ""));
    // What is printed can be taken as it is.
    let setup = Setup::with("tls = \"none\"", "tls = \"none\"\nprofile = \"copy.toml\"");
    fs::write(setup.0.path().join("copy.toml"), &answer.stdout).expect("writes");
    assert_eq!(setup.check().code, 0);

    let answer = alone(&["upstream", "profile", "pigeon"]);
    answer.refused(64, "error: there is no profile \"pigeon\"; known are generic, google-relay");
}

#[test]
fn the_demo_goes_as_promised() {
    let answer = alone(&["demo", "--once"]);
    assert_eq!((answer.code, &*answer.stderr), (0, ""), "{}", answer.stdout);
    for words in [
        "250 ",
        "127.0.0.1 matches entry billing: accept",
        "delivered, octet for octet",
        "550 5.7.1 <ceo@bank.example> is not an allowed sender of entry billing",
        "127.0.0.2 matches no entry: reject",
        "554 5.7.1 relay.example: 127.0.0.2 is not on the allow-list",
        "All went as promised.",
        "Try it by hand:",
    ] {
        assert!(answer.stdout.contains(words), "{words} in {}", answer.stdout);
    }
    assert!(!answer.stdout.contains("not as promised"), "{}", answer.stdout);
}
