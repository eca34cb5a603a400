//! Keys of upstreams, good and bad, at the start and on a reload.

use std::fs::{self, Permissions, write};
use std::path::PathBuf;

use gatepost_testkit::{Issued, ThrowAwayCa};
use tempfile::TempDir;

use super::*;
use crate::config::PairFiles;

struct Files {
    directory: TempDir,
    ca: ThrowAwayCa,
    named: UpstreamFiles,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let place = |name: &str| directory.path().join(name);
        let pair = PairFiles { certificate: place("relay.pem"), private_key: place("relay.key") };
        let proof = Proof::Password { mechanism: Mechanism::Plain, file: place("password") };
        let named = UpstreamFiles {
            ca: Some(place("ca.pem")),
            client: Some(pair),
            auth: Some(Auth { username: "tim".into(), proof }),
        };
        let files = Self { ca: ThrowAwayCa::new(), named, directory };
        files.pair(&files.ca.issue(&["relay.test"]));
        files.put("ca.pem", &files.ca.pem());
        files.put("password", "hunter2\n");
        files
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        write(&path, text).expect("writes");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("it is ours");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn pair(&self, Issued { certificate, key }: &Issued) {
        self.put("relay.pem", certificate);
        self.put("relay.key", key);
    }

    fn read(&self) -> Result<LoadedKeys, LoadError> {
        LoadedKeys::read(&"sink".into(), TlsPolicy::Required, &self.named)
    }

    fn error(&self) -> String {
        let Err(error) = self.read() else { panic!("it is wrong") };
        assert_eq!(error.exit(), crate::exit::Exit::Config);
        error.to_string().replace(&self.directory.path().display().to_string(), "etc")
    }
}

#[test]
fn a_bad_file_is_named_with_the_mend() {
    let files = Files::new();
    files.put("relay.key", &files.ca.issue(&["relay.test"]).key);
    assert!(files.error().starts_with("etc/relay.key: the key is not that of the certificate; "));
    files.put("relay.pem", "relay");
    assert!(files.error().starts_with("etc/relay.pem: no certificate is in it; it must be PEM"));
    files.pair(&files.ca.issue(&[]));
    files.read().expect("a client needs no name");
    for (text, told) in [
        ("", "it is empty; write the secret into it"),
        ("\n", "it is empty; write the secret into it"),
        ("a\nb\n", "it has more than one line, or a NUL in it; write the secret alone"),
        (&"x".repeat(20_000), "it has more than 8192 octets, which no mechanism can say"),
    ] {
        files.put("password", text);
        let error = files.error();
        assert!(error.starts_with(&format!("etc/password: {told}")), "{error}");
    }
    fs::remove_file(files.path("password")).expect("removes");
    assert!(files.error().starts_with("etc/password: cannot be read: No such file"));
    files.put("ca.pem", "ca");
    assert!(files.error().starts_with("etc/ca.pem: no certificate is in it; it must be PEM"));
}

#[test]
fn what_is_used_all_the_same_is_told() {
    let files = Files::new();
    let warnings = |files: &Files| files.read().expect("good").warnings(&files.named);
    assert_eq!(warnings(&files), [""; 0]);
    files.pair(&files.ca.issue_until(&["relay.test"], 2001));
    for name in ["password", "relay.key"] {
        fs::set_permissions(files.path(name), Permissions::from_mode(0o644)).expect("it is ours");
    }
    let told = warnings(&files).join("\n");
    assert!(told.contains("relay.pem: the certificate is not valid today; an upstream"), "{told}");
    for name in ["password", "relay.key"] {
        assert!(told.contains(&format!("{name}: everybody on this machine can read")), "{told}");
    }
    assert!(!told.contains("hunter2"));
}

#[test]
fn keys_of_an_upstream_are_replaced_together_or_not_at_all() {
    let files = Files::new();
    let held = Held {
        upstream: "sink".into(),
        policy: TlsPolicy::Required,
        files: files.named.clone(),
        access: Arc::default(),
        expiry: None,
    };
    let take = || held.take(files.read().expect("good")).expect("good");
    assert!(take(), "nothing was there");
    assert!(!take(), "nothing has changed");
    files.put("password", "other\n");
    assert!(take());
    let pair = files.ca.issue(&["relay.test"]);
    files.pair(&pair);
    assert!(take());
    // A good password beside a broken pair: nothing is taken over.
    files.put("relay.key", "broken");
    files.put("password", "third\n");
    held.reload();
    files.pair(&pair);
    files.put("password", "other\n");
    assert!(!take(), "all is as it was");
    files.put("password", "third\n");
    held.reload();
    assert!(!take(), "it was taken over");
}

/// An upstream that verifies nobody needs no roots, and one in plain text reads nothing.
#[test]
fn only_what_is_needed_is_read() {
    let files = Files::new();
    files.put("ca.pem", "broken");
    assert!(LoadedKeys::read(&"sink".into(), TlsPolicy::Opportunistic, &files.named).is_ok());
    assert!(files.read().is_err());
}

/// It goes into a form, which is text.
#[test]
fn a_client_secret_is_text() {
    let mut files = Files::new();
    let proof = Proof::Token {
        endpoint: "https://login.test/token".parse().expect("an endpoint"),
        client_id: "gatepost".into(),
        client_secret: files.path("client-secret"),
        scope: None,
    };
    files.named.auth = Some(Auth { username: "a@b.test".into(), proof });
    write(files.path("client-secret"), b"caf\xe9\n").expect("writes");
    assert_eq!(
        files.error(),
        "etc/client-secret: it is not UTF-8, which a client secret has to be"
    );
}
