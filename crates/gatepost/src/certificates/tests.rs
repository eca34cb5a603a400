//! Files of certificates, good and bad, at the start and on a reload.

use std::fs::write;

use gatepost_testkit::{Issued, ThrowAwayCa};
use tempfile::TempDir;

use super::*;

struct Files {
    directory: TempDir,
    ca: ThrowAwayCa,
    tls: TlsFiles,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let place = |name: &str| directory.path().join(name);
        let pair = |name: &str| PairFiles {
            certificate: place(&format!("{name}.pem")),
            private_key: place(&format!("{name}.key")),
        };
        let tls = TlsFiles {
            mode: TlsMode::StartTls,
            certificate: pair("default"),
            sni: vec![pair("other")],
            client_ca: Some(place("ca.pem")),
        };
        let files = Self { ca: ThrowAwayCa::new(), tls, directory };
        files.put("default", &files.ca.issue(&["relay.test"]));
        files.put("other", &files.ca.issue(&["Other.test", "*.other.test"]));
        write(files.directory.path().join("ca.pem"), files.ca.pem()).expect("writes");
        files
    }

    fn put(&self, name: &str, Issued { certificate, key }: &Issued) {
        write(self.directory.path().join(format!("{name}.pem")), certificate).expect("writes");
        write(self.directory.path().join(format!("{name}.key")), key).expect("writes");
    }

    fn error(&self) -> String {
        let error = identity(&self.tls).expect_err("it is wrong");
        assert_eq!(error.exit(), crate::exit::Exit::Config);
        let place = self.directory.path().display().to_string();
        error.to_string().replace(&place, "etc")
    }

    fn served(&self) -> Served {
        let identity = identity(&self.tls).expect("good files");
        Served::new(&"smtp".into(), &self.tls, &identity).expect("random numbers")
    }
}

#[test]
fn good_files_say_who_a_listener_is() {
    let files = Files::new();
    let identity = identity(&files.tls).expect("good files");
    assert_eq!(identity.certificate.names(), ["relay.test".into()]);
    assert_eq!(identity.sni[0].names(), ["other.test".into(), "*.other.test".into()]);
    // The first second of 2999.
    assert_eq!(identity.certificate.not_after(), 32_472_144_000);
    assert!(identity.client_ca.is_some() && !identity.certificate.is_out_of_date());
}

#[test]
fn a_bad_file_is_named_with_the_mend() {
    let files = Files::new();
    let stranger = files.ca.issue(&["relay.test"]);
    let put = |name: &str, text: &str| {
        write(files.directory.path().join(name), text).expect("writes");
    };
    put("default.key", &stranger.key);
    assert_eq!(
        files.error(),
        "etc/default.key: the key is not that of the certificate; write both files of one pair"
    );
    put("default.key", &stranger.certificate);
    assert!(files.error().starts_with("etc/default.key: no private key is in it; it must be PEM"));
    files.put("default", &stranger);
    put("default.pem", "relay");
    assert!(files.error().starts_with("etc/default.pem: no certificate is in it; it must be PEM"));
    put("default.pem", &stranger.certificate.replace("MII", "MIX"));
    assert!(files.error().starts_with("etc/default.pem: a certificate in it cannot be read"));
    files.put("default", &stranger);
    files.put("other", &files.ca.issue(&[]));
    assert!(files.error().starts_with("etc/other.pem: the certificate has no DNS name"));
    files.put("other", &stranger);
    put("ca.pem", "");
    assert!(files.error().starts_with("etc/ca.pem: no certificate is in it"));
    std::fs::remove_file(files.directory.path().join("ca.pem")).expect("removes");
    assert!(files.error().starts_with("etc/ca.pem: cannot be read: No such file"));
}

#[test]
fn a_reload_takes_what_is_good_and_keeps_the_rest() {
    let files = Files::new();
    let served = files.served();
    let names = |served: &Served| {
        let held = served.held.lock().expect("no panic");
        pairs(&held).map(|pair| pair.names()[0].to_string()).collect::<Vec<_>>()
    };
    files.put("default", &files.ca.issue(&["new.test"]));
    write(files.directory.path().join("other.key"), "broken").expect("writes");
    served.reload();
    assert_eq!(names(&served), ["new.test", "other.test"]);
    // Half of a pair has been replaced, and then all of it.
    let next = files.ca.issue(&["next.test"]);
    write(files.directory.path().join("default.pem"), &next.certificate).expect("writes");
    served.reload();
    assert_eq!(names(&served), ["new.test", "other.test"]);
    files.put("default", &next);
    served.reload();
    assert_eq!(names(&served), ["next.test", "other.test"]);
}

#[test]
fn one_that_is_out_of_date_is_used_and_told() {
    let files = Files::new();
    files.put("other", &files.ca.issue_until(&["old.test"], 2001));
    let identity = identity(&files.tls).expect("it can be used");
    let told: Vec<_> = pairs(&identity).map(KeyPair::is_out_of_date).collect();
    assert_eq!(told, [false, true]);
}
