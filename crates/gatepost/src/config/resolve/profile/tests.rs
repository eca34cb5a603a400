use std::path::Path;

use crate::config::Config;

fn config(upstream: &str) -> Config {
    at(Path::new("etc/g.toml"), upstream).unwrap_or_else(|errors| panic!("{errors}"))
}

fn at(path: &Path, upstream: &str) -> Result<Config, String> {
    let text = format!(
        "hostname = \"relay.example.com\"\nstate_dir = \"state\"\n\
         [[listener]]\nname = \"smtp\"\nbind = [\"0.0.0.0:25\"]\n\
         [policy]\nfile = \"policy.toml\"\n[delivery]\nmode = \"sync\"\n\
         [[upstream]]\nname = \"a\"\ntls = \"none\"\n{upstream}\n"
    );
    Config::from_text(&text, path, std::iter::empty())
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn warnings(upstream: &str) -> Vec<String> {
    config(upstream).warnings.iter().map(ToString::to_string).collect()
}

/// That there is a warning that begins so.
fn assert_warned(upstream: &str, told: &str) {
    let warnings = warnings(upstream);
    assert!(warnings.iter().any(|warning| warning.starts_with(told)), "{told}\n{warnings:#?}");
}

/// That there is none about a key.
fn assert_quiet(upstream: &str, key: &str) {
    let about = format!("upstream[0].{key}: ");
    let warnings = warnings(upstream);
    assert!(!warnings.iter().any(|warning| warning.contains(&about)), "{warnings:#?}");
}

/// 10,000 recipients a day are what Microsoft takes of a mailbox, unless somebody knows better.
#[test]
fn a_profile_has_rates_too() {
    let mailbox = "profile = \"m365-auth\"\nhosts = [\"smtp.office365.com:587\"]";
    for (written, rates) in [
        ("", "10000/d"),
        ("recipient_rate = [\"9/s\", \"500/d\"]", "9/s 500/d"),
        ("recipient_rate = []", ""),
    ] {
        let upstream = &config(&format!("{mailbox}\n{written}")).upstreams[0];
        let shown: Vec<_> = upstream.recipient_rates.iter().map(ToString::to_string).collect();
        assert_eq!(shown.join(" "), rates);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let profile =
        "description = \"x\"\n[limits.recipient_rate]\ndefault = [\"many\"]\nsource = \"x\"\n";
    std::fs::write(directory.path().join("own.toml"), profile).expect("writes");
    let upstream = "profile = \"own.toml\"\nhosts = [\"mail.test:25\"]";
    let error = at(&directory.path().join("g.toml"), upstream).expect_err("no rate");
    assert!(error.contains("upstream[0].recipient_rate: \"many\" of the profile"), "{error}");
}

const SES: &str = "profile = \"ses\"\nhosts = [\"email-smtp.eu-west-1.amazonaws.com:587\"]";
const CONNECTOR: &str =
    "profile = \"m365-connector\"\nhosts = [\"a-example.mail.protection.outlook.com:25\"]";

#[test]
fn a_profile_has_the_defaults_and_what_is_written_counts_more() {
    let upstream = &config(SES).upstreams[0];
    assert_eq!(&*upstream.profile.name, "ses");
    let spans = [upstream.idle_timeout, upstream.max_age, upstream.client_stall];
    assert_eq!(spans.map(|span| span.as_secs()), [8, 300, 8]);
    let counts = (upstream.max_messages_per_connection, upstream.max_recipients);
    assert_eq!(counts, (Some(100), Some(50)));

    let written = "idle_timeout = \"5s\"\nmax_age = \"1m\"\nmax_recipients = 10\nmax_connections = 7\n\
                   max_messages_per_connection = 9\nclient_stall = \"3s\"\nip = \"6\"";
    let upstream = &config(&format!("{SES}\n{written}")).upstreams[0];
    let spans = [upstream.idle_timeout, upstream.max_age, upstream.client_stall];
    assert_eq!(spans.map(|span| span.as_secs()), [5, 60, 3]);
    let counts = (upstream.max_messages_per_connection, upstream.max_recipients);
    assert_eq!((counts, upstream.max_connections), ((Some(9), Some(10)), 7));
    assert_eq!(upstream.ip, gatepost_delivery::IpVersion::V6);
    assert_eq!(config(CONNECTOR).upstreams[0].ip, gatepost_delivery::IpVersion::V4);
}

#[test]
fn a_file_may_be_the_profile() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gatepost.toml");
    let upstream = "profile = \"shop.toml\"\nhosts = [\"127.0.0.1:2587\"]";
    let write = |text: &str| {
        std::fs::write(directory.path().join("shop.toml"), text).expect("writes");
    };
    write("extends = \"ses\"\n[limits.idle_timeout]\ndefault = \"3s\"\n");
    let config = at(&path, upstream).expect("is right");
    let upstream_config = &config.upstreams[0];
    assert_eq!(upstream_config.idle_timeout.as_secs(), 3);
    assert_eq!(upstream_config.max_recipients, Some(50));
    assert!(upstream_config.profile.name.ends_with("shop.toml"));

    write("extends = \"ses\"\nidle = 3\n");
    let error = at(&path, upstream).expect_err("an unknown key");
    assert!(error.contains("gatepost.toml:13:11: upstream[0].profile: "), "{error}");
    assert!(error.contains("shop.toml:2:1: unknown key `idle`"), "{error}");
}

#[test]
fn what_a_provider_does_not_bear_is_warned_of_with_the_mend() {
    let place = "etc/g.toml:";
    assert_warned(
        SES,
        &format!(
            "{place}12:7: upstream[0].tls: none does not work on port 587 of Amazon SES; write tls = \"required\""
        ),
    );
    assert_warned(
        &SES.replace("587", "465"),
        &format!(
            "{place}12:7: upstream[0].tls: none does not work on port 465 of Amazon SES; write tls = \"implicit\""
        ),
    );
    assert_warned(
        &SES.replace("587", "2525"),
        &format!(
            "{place}14:9: upstream[0].hosts: email-smtp.eu-west-1.amazonaws.com:2525: Amazon SES is not known to listen on that port; write one of 587 (required), 2587"
        ),
    );
    assert_warned(
        SES,
        &format!(
            "{place}10:1: upstream[0].auth: is missing, and Amazon SES takes nothing without; write it with mechanism plain or login"
        ),
    );
    for (key, value, told) in [
        ("idle_timeout", "\"1m\"", "1m is more than Amazon SES bears; write 9s or less"),
        ("max_age", "\"1h\"", "1h is more than Amazon SES bears; write 15m or less"),
        ("client_stall", "\"20s\"", "20s is more than Amazon SES bears; write 9s or less"),
        ("max_recipients", "100", "100 is more than Amazon SES bears; write 50 or less"),
    ] {
        let told = format!("{place}15:{}: upstream[0].{key}: {told}", key.len() + 4);
        assert_warned(&format!("{SES}\n{key} = {value}"), &told);
    }
    let mailbox =
        "profile = \"m365-auth\"\nhosts = [\"smtp.office365.com:587\"]\nmax_connections = 9";
    assert_warned(
        mailbox,
        &format!("{place}15:19: upstream[0].max_connections: 9 is more than Mic"),
    );
    let sendgrid = "profile = \"sendgrid\"\nhosts = [\"smtp.sendgrid.net:587\"]\n\
                    max_messages_per_connection = 6000";
    assert_warned(
        sendgrid,
        &format!("{place}15:31: upstream[0].max_messages_per_connection: 6000"),
    );
    let from = "ip = \"any\"\nsource_address = \"2001:db8::1\"";
    let connector = format!("{CONNECTOR}\n{from}");
    assert_warned(&connector, &format!("{place}15:6: upstream[0].ip: Microsoft 365 by an inbound"));
    assert_warned(&connector, &format!("{place}16:18: upstream[0].source_address: Microsoft 365"));
}

#[test]
fn the_profile_of_a_known_host_is_proposed() {
    for (host, name) in [
        ("email-smtp.us-east-1.amazonaws.com:25", "ses"),
        ("smtp-relay.gmail.com:587", "google-relay"),
        ("smtp.sendgrid.net:587", "sendgrid"),
        ("smtp.office365.com:587", "m365-auth"),
        ("a.mail.protection.outlook.com:25", "m365-connector"),
    ] {
        let hosts = format!("hosts = [\"relay.internal:25\", \"{host}\"]");
        let told = format!("etc/g.toml:13:9: upstream[0].profile: {host} is a host of ");
        assert_warned(&hosts, &told);
        let mend = format!("did you mean profile = \"{name}\"?");
        assert!(warnings(&hosts)[0].ends_with(&mend), "{:?}", warnings(&hosts));
    }
    assert_warned(
        &SES.replace("\"ses\"", "\"sendgrid\""),
        "etc/g.toml:13:11: upstream[0].profile: ",
    );
}

#[test]
fn what_a_provider_bears_is_not_warned_of() {
    assert_eq!(warnings("hosts = [\"relay.internal:2525\"]\nidle_timeout = \"1h\""), [""; 0]);
    assert_eq!(warnings(CONNECTOR), [""; 0]);
    let google = "profile = \"google-relay\"\nhosts = [\"smtp-relay.gmail.com:587\"]";
    assert_eq!(warnings(google), [""; 0]);
    for key in ["profile", "hosts", "idle_timeout", "max_age", "max_recipients", "ip"] {
        assert_quiet(SES, key);
    }
}
