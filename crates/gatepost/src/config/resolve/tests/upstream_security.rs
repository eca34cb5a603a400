//! TLS and AUTH of upstreams: what is written, and what is wrong with it.

use gatepost_delivery::{Mechanism, TlsPolicy};

use super::*;
use crate::config::{Auth, PairFiles, Proof, UpstreamFiles};

/// The good text with these lines in its upstream.
fn with(lines: &str) -> String {
    GOOD.replace("tls = \"none\"\n", lines)
}

/// What is told about it. The lines begin with the tenth of the file.
fn told(lines: &str) -> String {
    read(&with(lines), &[]).expect_err(lines)
}

#[test]
fn upstreams_have_tls_unless_plain_text_is_wanted_in_writing() {
    for (lines, policy) in [
        ("", TlsPolicy::Required),
        ("tls = \"required\"\n", TlsPolicy::Required),
        ("tls = \"implicit\"\n", TlsPolicy::Implicit),
        ("tls = \"opportunistic\"\n", TlsPolicy::Opportunistic),
        ("tls = \"none\"\n", TlsPolicy::None),
    ] {
        let config = good(&with(lines));
        assert_eq!(config.upstreams[0].tls, policy);
        assert_eq!(config.upstream_files, [UpstreamFiles::default()]);
    }
}

/// The example of the contract, as it stands there.
#[test]
fn the_minimal_configuration_is_one() {
    let config = good(
        "hostname = \"relay.example.com\"\nstate_dir = \"/var/lib/gatepost\"\n[[listener]]\n\
         name = \"smtp\"\nbind = [\"0.0.0.0:25\", \"[::]:25\"]\ntls = \"none\"\n[[upstream]]\n\
         name = \"google\"\nhosts = [\"smtp-relay.gmail.com:587\"]\n[policy]\n\
         file = \"policy.toml\"\n[delivery]\nmode = \"sync\"\n",
    );
    assert_eq!(config.upstreams[0].tls, TlsPolicy::Required);
}

#[test]
fn files_of_an_upstream_are_where_they_are_written() {
    let config = good(&with(
        "ca_file = \"ca.pem\"\nserver_name = \"smtp.example.com\"\nclient_certificate = \"a.pem\"\n\
         client_key = \"/keys/a.key\"\n\
         auth = { mechanism = \"login\", username = \"tim\", password_file = \"password\" }\n",
    ));
    assert_eq!(config.upstreams[0].server_name.as_deref(), Some("smtp.example.com"));
    let proof =
        Proof::Password { mechanism: Mechanism::Login, file: PathBuf::from("etc/password") };
    let files = UpstreamFiles {
        ca: Some("etc/ca.pem".into()),
        client: Some(PairFiles {
            certificate: "etc/a.pem".into(),
            private_key: "/keys/a.key".into(),
        }),
        auth: Some(Auth { username: "tim".into(), proof }),
    };
    assert_eq!(config.upstream_files, [files]);
    let all: Vec<_> = config.upstream_files[0].all().map(|it| it.display().to_string()).collect();
    assert_eq!(all, ["etc/a.pem", "/keys/a.key", "etc/ca.pem", "etc/password"]);

    let config = good(&with(
        "tls = \"implicit\"\nauth = { mechanism = \"xoauth2\", username = \"a@b.example\", \
         token_endpoint = \"https://login.example.com/token\", client_id = \"gatepost\", \
         client_secret_file = \"secret\", scope = \"smtp\" }\n",
    ));
    let proof = Proof::Token {
        endpoint: "https://login.example.com/token".parse().expect("an endpoint"),
        client_id: "gatepost".into(),
        client_secret: "etc/secret".into(),
        scope: Some("smtp".into()),
    };
    let auth = Some(Auth { username: "a@b.example".into(), proof });
    assert_eq!(config.upstream_files[0].auth, auth);
}

#[test]
fn what_has_no_effect_or_half_of_one_is_told() {
    for (lines, expected) in [
        ("tls = \"no\"\n", "10:7: upstream[0].tls: \"no\" is unknown; write \"required\" or"),
        (
            "tls = \"none\"\nca_file = \"a\"\n",
            "11:11: upstream[0].ca_file: has no effect, this upstream is spoken to in plain text; write tls = \"required\"",
        ),
        (
            "tls = \"none\"\nserver_name = \"a.b\"\n",
            "11:15: upstream[0].server_name: has no effect, this upstream",
        ),
        (
            "tls = \"opportunistic\"\nca_file = \"a\"\n",
            "11:11: upstream[0].ca_file: has no effect, opportunistic TLS verifies no",
        ),
        (
            "client_key = \"a\"\n",
            "10:14: upstream[0].client_certificate: is missing or empty; write the path of a PEM file, like relay.pem: certificate and key go together",
        ),
        (
            "client_certificate = \"a\"\n",
            "10:22: upstream[0].client_key: is missing or empty; write the path",
        ),
        ("ca_file = \"\"\n", "10:11: upstream[0].ca_file: is empty; write the path of a PEM file"),
        (
            "server_name = \"a b\"\n",
            "10:15: upstream[0].server_name: \"a b\" is no name that a certificate",
        ),
    ] {
        let told = told(lines);
        assert!(told.starts_with(&format!("etc/g.toml:{expected}")), "{told}\n{expected}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    let told = told("tls = \"none\"\nclient_certificate = \"a\"\nclient_key = \"b\"\n");
    assert_eq!(told.lines().count(), 2, "{told}");
}

#[test]
fn a_login_has_all_it_needs_and_nothing_else() {
    for (auth, expected) in [
        (
            "{}",
            "10:8: upstream[0].auth.mechanism: is missing or empty; write mechanism = \"plain\"",
        ),
        (
            "{ mechanism = \"cram-md5\" }",
            "10:22: upstream[0].auth.mechanism: \"cram-md5\" is unknown; write \"plain\" or \"login\" or \"xoauth2\"",
        ),
        (
            "{ mechanism = \"plain\", password_file = \"p\" }",
            "10:8: upstream[0].auth.username: is missing or empty; write the name to log in with",
        ),
        (
            "{ mechanism = \"login\", username = \"t\" }",
            "10:8: upstream[0].auth.password_file: is missing or empty; write the path of a file with the password",
        ),
        (
            "{ mechanism = \"login\", username = \"t\", password = \"p\" }",
            "10:47: upstream[0].auth.password: unknown key `password`, expected one of",
        ),
        (
            "{ mechanism = \"plain\", username = \"t\\u0000\", password_file = \"p\" }",
            "10:42: upstream[0].auth.username: must have at most 255 octets",
        ),
        (
            "{ mechanism = \"plain\", username = \"t\", password_file = \"p\", scope = \"s\" }",
            "10:76: upstream[0].auth.scope: has no effect with PLAIN; leave it out",
        ),
        (
            "{ mechanism = \"xoauth2\", username = \"t\", token_endpoint = \"https://x/\", client_secret_file = \"s\" }",
            "10:8: upstream[0].auth.client_id: is missing or empty; write the id",
        ),
        (
            "{ mechanism = \"xoauth2\", username = \"t\", token_endpoint = \"http://x/\", client_id = \"c\", client_secret_file = \"s\" }",
            "10:66: upstream[0].auth.token_endpoint: \"http://x/\": must begin with https://",
        ),
        (
            "{ mechanism = \"xoauth2\", username = \"t\", token_endpoint = \"http://localhost@x/\", client_id = \"c\", client_secret_file = \"s\" }",
            "10:66: upstream[0].auth.token_endpoint: \"http://localhost@x/\": is not the address of a",
        ),
    ] {
        let told = told(&format!("auth = {auth}\n"));
        assert!(told.starts_with(&format!("etc/g.toml:{expected}")), "{told}\n{expected}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    for here in ["http://localhost/t", "http://127.0.0.1/t", "http://[::1]:8080/t"] {
        good(&with(&format!(
            "auth = {{ mechanism = \"xoauth2\", username = \"t\", token_endpoint = \"{here}\", \
             client_id = \"c\", client_secret_file = \"s\" }}\n"
        )));
    }
}

#[test]
fn a_password_needs_tls_that_is_certain() {
    let auth = "auth = { mechanism = \"plain\", username = \"t\", password_file = \"p\" }\n";
    for policy in ["none", "opportunistic"] {
        let told = told(&format!("tls = \"{policy}\"\n{auth}"));
        let expected = "etc/g.toml:11:8: upstream[0].auth: needs TLS that is certain, because a \
                        password is never sent in plain text; write tls = \"required\" or \"implicit\"";
        assert_eq!(told, expected);
    }
    let told = told(&format!("tls = \"no\"\n{auth}"));
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn nobody_else_is_told_that_we_are_localhost() {
    let elsewhere = GOOD.replace("relay.example.com", "localhost");
    let told = read(&elsewhere, &[]).expect_err("the hostname");
    assert!(
        told.starts_with("etc/g.toml:7:1: upstream[0].ehlo_name: is localhost, if only"),
        "{told}"
    );
    let named = elsewhere.replace("[policy]", "ehlo_name = \"LocalHost\"\n[policy]");
    let told = read(&named, &[]).expect_err("the name itself");
    assert!(told.starts_with("etc/g.toml:11:13: upstream[0].ehlo_name: is localhost"), "{told}");
    good(&elsewhere.replace("[policy]", "ehlo_name = \"a.example\"\n[policy]"));
    let hosts = "\"smarthost.internal:25\", \"[2001:db8::1]:2525\"";
    good(&elsewhere.replace(hosts, "\"localhost:25\", \"127.0.0.1:25\", \"[::1]:25\""));
}

/// DNS may say anything, and whoever it names has a certificate for that name.
#[test]
fn a_password_goes_to_nobody_whom_only_dns_names() {
    const AUTH: &str =
        "auth = { mechanism = \"plain\", username = \"a\", password_file = \"p\" }\n";
    let by_dns = GOOD.replace("smarthost.internal:25", "mx:example.com:25");
    let with = |lines: &str| read(&by_dns.replace("tls = \"none\"\n", lines), &[]);
    assert!(with("").is_ok());
    let told = with(AUTH).expect_err("anybody may get it");
    assert!(told.contains("upstream[0].auth: ") && told.contains("server_name"), "{told}");
    assert!(with(&format!("server_name = \"smtp.example.com\"\n{AUTH}")).is_ok());
}

#[test]
fn hosts_that_nobody_could_connect_to_are_told() {
    for host in ["10.0.0.256:25", "a..b:25", ".:25", "-:25", &format!("{}.test:25", "a".repeat(64))]
    {
        let told = error("smarthost.internal:25", host);
        assert!(told.contains("upstream[0].hosts[0]: "), "{told}");
    }
    for lines in ["ip = \"4\"\n", "source_address = \"192.0.2.1\"\n"] {
        let config = good(&with(lines));
        let told: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|it| it.contains("upstream[0].hosts[1]: 2001:db8::1")), "{told:?}");
    }
}

#[test]
fn a_canary_carries_no_header_of_its_own() {
    for wrong in [
        r"a@b.test\r\nBcc: c@d.test",
        r#"\"a\r\nBcc: x\"@b.test"#,
        r#"\"a\nb\"@b.test"#,
        r"a@b.test>",
        r"a@b.test, c@d.test",
        r"a@[127.0.0.1]\r\nX: y",
        "<>",
        "",
        "postmaster",
    ] {
        let told = told(&format!("canary = {{ from = \"{wrong}\", to = \"a@b.test\" }}\n"));
        assert!(told.contains("upstream[0].canary.from: "), "{told}");
    }
}
