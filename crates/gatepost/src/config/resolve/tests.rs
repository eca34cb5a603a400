use std::ffi::OsString;

use gatepost_delivery::IpVersion;
use gatepost_inbound::OnHiddenClients;
use gatepost_policy::{listener::ListenerId, site::UpstreamId};

use super::*;
use crate::config::TlsMode;

mod delivery;
mod upstream_security;

const GOOD: &str = r#"
hostname = "relay.example.com"
state_dir = "state"
[[listener]]
name = "smtp"
bind = ["0.0.0.0:25", "[::]:25"]
[[upstream]]
name = "smarthost"
hosts = ["smarthost.internal:25", "[2001:db8::1]:2525"]
tls = "none"
[policy]
file = "policy.toml"
[delivery]
mode = "sync"
"#;

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let environment =
        variables.iter().map(|&(name, value)| (OsString::from(name), OsString::from(value)));
    Config::from_text(text, Path::new("etc/g.toml"), environment)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn good(text: &str) -> Config {
    read(text, &[]).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is told about the good text after a replacement.
fn error(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    read(&GOOD.replace(from, to), &[]).expect_err(to)
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = good(GOOD);
    assert_eq!(config.state_dir, Path::new("etc/state"));
    assert_eq!(config.policy, policy::Source::File("etc/policy.toml".into()));
    assert_eq!(config.shadow, None);
    assert_eq!(config.site.listeners, ["smtp".into()]);
    let listener = &config.listeners[0];
    assert_eq!(listener.bind[1].to_string(), "[::]:25");
    assert_eq!(listener.config.id, ListenerId::new(0));
    assert_eq!(listener.config.hidden_clients, OnHiddenClients::Warn);
    assert_eq!(listener.config.max_connections, 10_000);
    assert_eq!(listener.config.max_connections_per_address, 100);

    assert_eq!(config.site.default_upstream, Some(UpstreamId::new(0)));
    let upstream = &config.upstreams[0];
    assert_eq!(upstream.hosts[1].to_string(), "[2001:db8::1]:2525");
    assert_eq!((upstream.ip, &*upstream.ehlo_name), (IpVersion::Any, "relay.example.com"));
    assert_eq!((upstream.max_connections, upstream.max_messages_per_connection), (100, None));
    assert_eq!((upstream.max_recipients, upstream.source_address), (None, None));
    let timeouts =
        [upstream.idle_timeout, upstream.max_age, upstream.connect_timeout, upstream.client_stall];
    assert_eq!(timeouts.map(|timeout| timeout.as_secs()), [30, 600, 10, 10]);

    let session = &config.session;
    assert_eq!((session.max_message_size, config.site.max_recipients), (50 << 20, 1000));
    assert_eq!((session.errors_max, session.received), (20, ReceivedStyle::Full));
    let timeouts = [session.command_timeout, session.data_timeout, session.session_timeout];
    assert_eq!(timeouts.map(|timeout| timeout.as_secs()), [300, 180, 3600]);
    assert_eq!((config.relay.final_reply_timeout, config.relay.received_max), (minutes(10), 50));
    assert_eq!(config.drain_timeout.as_secs(), 20);
    let log = LogConfig { level: "info", format: LogFormat::Pretty, mail: MailLogTarget::Stdout };
    assert_eq!((config.log, config.metrics_bind), (log, None));
}

#[test]
fn what_is_written_counts() {
    let text = GOOD
        .replace("name = \"smtp\"", "name = \"smtp\"\nmax_connections = 7\ntls = \"none\"")
        .replace("max_connections = 7", "max_connections = 7\nhidden_clients = \"refuse\"")
        .replace("[policy]", "ip = \"4\"\nehlo_name = \"a.example\"\nmax_age = \"2 h\"\n[policy]")
        .replace(
            "mode = \"sync\"",
            "mode = \"sync\"\nreceived = \"masked\"\nupstream = \"smarthost\"",
        )
        + "[limits]\nmax_message_size = \"1 MiB\"\nerrors_max = 3\n"
        + "[timeouts]\ndrain = \"1m\"\n"
        + "[log]\nlevel = \"debug\"\nformat = \"json\"\nmail = \"mail.jsonl\"\n"
        + "[metrics]\nbind = \"127.0.0.1:9925\"\n";
    let config = good(&text);
    assert_eq!(config.listeners[0].config.max_connections, 7);
    assert_eq!(config.listeners[0].config.hidden_clients, OnHiddenClients::Refuse);
    let upstream = &config.upstreams[0];
    assert_eq!((upstream.ip, &*upstream.ehlo_name), (IpVersion::V4, "a.example"));
    assert_eq!(upstream.max_age, minutes(120));
    assert_eq!((config.session.max_message_size, config.session.errors_max), (1 << 20, 3));
    assert_eq!(
        (config.session.received, config.drain_timeout),
        (ReceivedStyle::Masked, minutes(1))
    );
    assert_eq!((config.log.level, config.log.format), ("debug", LogFormat::Json));
    assert_eq!(config.log.mail, MailLogTarget::File("etc/mail.jsonl".into()));
    assert_eq!(config.metrics_bind.expect("is written").port(), 9925);
}

#[test]
fn the_environment_overrides_the_file() {
    let variables = [
        ("GATEPOST__HOSTNAME", "other.example.com"),
        ("GATEPOST_LOG__MAIL", "off"),
        ("GATEPOST_METRICS__BIND", "[::1]:9925"),
        ("GATEPOST_LIMITS__MAX_RECIPIENTS", "9"),
        ("GATEPOST_PORT_25_TCP", "tcp://10.0.0.1:25"),
    ];
    let config = read(GOOD, &variables).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(
        (&*config.hostname, &*config.upstreams[0].ehlo_name),
        ("other.example.com", "other.example.com")
    );
    assert_eq!((config.log.mail, config.site.max_recipients), (MailLogTarget::Off, 9));
    assert_eq!(config.metrics_bind.expect("is set").to_string(), "[::1]:9925");
}

#[test]
fn a_variable_is_named_when_its_value_makes_no_sense() {
    let variables = [
        ("GATEPOST__HOSTNAME", "relay"),
        ("GATEPOST_TIMEOUTS__DRAIN", "soon"),
        ("GATEPOST_DELIVERY__MODE", "queue"),
    ];
    let errors = read(GOOD, &variables).expect_err("three wrong values");
    let lines: Vec<_> = errors.lines().collect();
    assert_eq!(lines.len(), 3, "{errors}");
    assert!(
        lines[0].starts_with("GATEPOST__HOSTNAME: hostname: \"relay\" is not a full host name")
    );
    assert_eq!(
        lines[1],
        "GATEPOST_DELIVERY__MODE: delivery.mode: \"queue\" is unknown; write \"sync\" or \"hybrid\" or \"spool\""
    );
    assert!(lines[2].starts_with("GATEPOST_TIMEOUTS__DRAIN: timeouts.drain: \"soon\": expected"));
}

/// Each case is a replacement in the good text, and how the one error about it begins.
fn assert_told(cases: &[(&str, &str, &str)]) {
    for (from, to, told) in cases {
        let error = error(from, to);
        assert!(error.starts_with(told), "{to}:\n  {error}\n  {told}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_wrong_listener_is_told_with_place_and_mend() {
    assert_told(&[
        ("name = \"smtp\"", "", "etc/g.toml:4:1: listener[0].name: is missing or empty; give"),
        ("\"smtp\"", "\"SMTP\"", "etc/g.toml:5:8: listener[0].name: \"SMTP\" is not a slug"),
        ("[\"0.0.0.0:25\", \"[::]:25\"]", "[]", "etc/g.toml:4:1: listener[0].bind: is missing or"),
        ("\"[::]:25\"", "\"25\"", "etc/g.toml:6:23: listener[0].bind[1]: \"25\" is not an address"),
        (
            "\"[::]:25\"",
            "\"127.0.0.1:25\"",
            "etc/g.toml:6:23: listener[0].bind[1]: 127.0.0.1:25 collides with 0.0.0.0:25 of listener[0].bind[0]; leave",
        ),
        (
            "\"[::]:25\"",
            "\"[::ffff:10.0.0.1]:25\"",
            "etc/g.toml:6:23: listener[0].bind[1]: \"[::ffff:10.0.0.1]:25\" is an IPv4 address; write it as 10.0.0.1:25",
        ),
        (
            "[[upstream]]",
            "tls = \"yes\"\n[[upstream]]",
            "etc/g.toml:7:7: listener[0].tls: \"yes\" is unknown; write \"none\" or \"starttls\" or \"implicit\"",
        ),
        (
            "[[upstream]]",
            "hidden_clients = \"deny\"\n[[upstream]]",
            "etc/g.toml:7:18: listener[0].hidden_clients: \"deny\" is unknown; write \"off\" or \"warn\" or \"refuse\"",
        ),
        (
            "[[upstream]]",
            "max_connections = 0\n[[upstream]]",
            "etc/g.toml:7:19: listener[0].max_connections: must not be zero; the default is 10000",
        ),
    ]);
}

#[test]
fn proxies_are_trusted_in_writing() {
    let listener = &good(GOOD).listeners[0].config;
    assert_eq!(listener.proxy_protocol, ProxyProtocol::Off);
    let text = GOOD.replace(
        "[[upstream]]",
        "proxy_protocol = \"required\"\ntrusted_proxies = [\"10.0.0.5\", \"2001:db8::/64\"]\n\
         [[listener]]\nname = \"direct\"\nbind = [\"0.0.0.0:2525\"]\nproxy_protocol = \"off\"\n[[upstream]]",
    ) + "[timeouts]\nproxy = \"2s\"\n";
    let config = good(&text);
    let networks: Box<[Network]> =
        ["10.0.0.5", "2001:db8::/64"].map(|text| text.parse().expect(text)).into();
    assert_eq!(config.site.proxies, [networks.clone(), Box::default()]);
    let modes: Vec<_> =
        config.listeners.iter().map(|listener| &listener.config.proxy_protocol).collect();
    assert_eq!(modes, [&ProxyProtocol::Required(networks), &ProxyProtocol::Off]);
    assert_eq!(config.session.proxy_timeout.as_secs(), 2);
}

#[test]
fn wrong_proxies_are_told_with_place_and_mend() {
    let lines = |lines: &str| format!("{lines}\n[[upstream]]");
    let required =
        |list: &str| lines(&format!("proxy_protocol = \"required\"\ntrusted_proxies = {list}"));
    for (lines, told) in [
        (
            lines("proxy_protocol = \"required\""),
            "etc/g.toml:4:1: listener[0].trusted_proxies: is missing or empty; write trusted_proxies = [\"10.0.0.5\"], the addresses that the proxies connect from",
        ),
        (required("[]"), "etc/g.toml:4:1: listener[0].trusted_proxies: is missing or empty; write"),
        (
            required("[\"10.0.0.5\", \"0.0.0.0/0\"]"),
            "etc/g.toml:8:32: listener[0].trusted_proxies[1]: \"0.0.0.0/0\": covers every address, so anybody could claim to be any client; name the proxies",
        ),
        (
            required("[\"::/0\"]"),
            "etc/g.toml:8:20: listener[0].trusted_proxies[0]: \"::/0\": covers every address, so",
        ),
        (
            required("[\"10.0.0.5/24\"]"),
            "etc/g.toml:8:20: listener[0].trusted_proxies[0]: \"10.0.0.5/24\": bits behind the prefix are set; write 10.0.0.0/24",
        ),
        (
            required("[\"proxy.internal\"]"),
            "etc/g.toml:8:20: listener[0].trusted_proxies[0]: \"proxy.internal\": not an IPv4 or IPv6",
        ),
        (
            lines("trusted_proxies = [\"10.0.0.5\"]"),
            "etc/g.toml:7:19: listener[0].trusted_proxies: has no effect without proxy_protocol = \"required\"; add that, or leave this out",
        ),
        (
            lines("proxy_protocol = \"off\"\ntrusted_proxies = [\"10.0.0.5\"]"),
            "etc/g.toml:8:19: listener[0].trusted_proxies: has no effect without",
        ),
        (
            lines("proxy_protocol = \"optional\"\ntrusted_proxies = [\"10.0.0.5\"]"),
            "etc/g.toml:7:18: listener[0].proxy_protocol: \"optional\" is unknown; write",
        ),
    ] {
        assert_told(&[("[[upstream]]", &lines, told)]);
    }
    assert_told(&[(
        "mode = \"sync\"",
        "mode = \"sync\"\n[timeouts]\nproxy = \"0s\"",
        "etc/g.toml:16:9: timeouts.proxy: must not be zero; the default is 5s",
    )]);
}

#[test]
fn tls_of_a_listener_is_files_and_a_mode() {
    let text = GOOD.replace(
        "[[upstream]]",
        "tls = \"starttls\"\ncertificate = \"a.pem\"\nprivate_key = \"/keys/a.key\"\n\
         sni = [{ certificate = \"b.pem\", private_key = \"b.key\" }]\nclient_ca = \"ca.pem\"\n\
         [[upstream]]",
    ) + "[timeouts]\ntls = \"3s\"\n";
    let config = good(&text);
    let tls = config.listeners[0].tls.as_ref().expect("there is TLS");
    assert_eq!(tls.mode, TlsMode::StartTls);
    let files: Vec<_> = tls.all().map(|file| file.to_string_lossy()).collect();
    assert_eq!(files, ["etc/a.pem", "/keys/a.key", "etc/b.pem", "etc/b.key", "etc/ca.pem"]);
    assert_eq!(config.session.tls_timeout.as_secs(), 3);
    let default = good(GOOD);
    assert_eq!((&default.listeners[0].tls, default.session.tls_timeout.as_secs()), (&None, 10));
}

#[test]
fn half_of_tls_is_told_with_place_and_mend() {
    assert_told(&[
        (
            "[[upstream]]",
            "tls = \"implicit\"\ncertificate = \"a.pem\"\n[[upstream]]",
            "etc/g.toml:4:1: listener[0].private_key: is missing or empty; write the path of a PEM",
        ),
        (
            "[[upstream]]",
            "tls = \"starttls\"\nprivate_key = \"a.key\"\n[[upstream]]",
            "etc/g.toml:4:1: listener[0].certificate: is missing or empty; write the path of a PEM",
        ),
        (
            "[[upstream]]",
            "tls = \"starttls\"\ncertificate = \"a\"\nprivate_key = \"a\"\nclient_ca = \"\"\n[[upstream]]",
            "etc/g.toml:4:1: listener[0].client_ca: is missing or empty; write the path",
        ),
        (
            "[[upstream]]",
            "tls = \"starttls\"\ncertificate = \"a\"\nprivate_key = \"a\"\nsni = [{ certificate = \"b\" }]\n[[upstream]]",
            "etc/g.toml:10:8: listener[0].sni[0].private_key: is missing or empty; write the path",
        ),
        (
            "[[upstream]]",
            "certificate = \"a.pem\"\n[[upstream]]",
            "etc/g.toml:7:15: listener[0].certificate: this listener speaks plain text; write tls =",
        ),
        (
            "[[upstream]]",
            "tls = \"none\"\nclient_ca = \"a.pem\"\n[[upstream]]",
            "etc/g.toml:8:13: listener[0].client_ca: this listener speaks plain text; write tls =",
        ),
        (
            "[[upstream]]",
            "sni = []\n[[upstream]]",
            "etc/g.toml:7:7: listener[0].sni: this listener speaks plain text; write tls =",
        ),
    ]);
}

#[test]
fn a_wrong_upstream_is_told_with_place_and_mend() {
    assert_told(&[
        (
            "\ntls = \"none\"",
            "\ntls = \"no\"",
            "etc/g.toml:10:7: upstream[0].tls: \"no\" is unknown; write",
        ),
        (
            "smarthost.internal:25",
            "smarthost",
            "etc/g.toml:9:10: upstream[0].hosts[0]: \"smarthost\": expected host:port",
        ),
        (
            "[policy]",
            "profile = \"sess\"\n[policy]",
            "etc/g.toml:11:11: upstream[0].profile: \"sess\" is unknown; write generic, google-relay, m365-connector, m365-auth, sendgrid, ses, smartermail, or the path of a .toml file",
        ),
        (
            "[policy]",
            "profile = \"my.toml\"\n[policy]",
            "etc/g.toml:11:11: upstream[0].profile: etc/my.toml: cannot be read: No such",
        ),
        (
            "[policy]",
            "max_recipients = 0\n[policy]",
            "etc/g.toml:11:18: upstream[0].max_recipients: must not be zero; leave it out",
        ),
        (
            "[policy]",
            "recipient_rate = [\"14/s\", \"0/d\"]\n[policy]",
            "etc/g.toml:11:27: upstream[0].recipient_rate[1]: \"0/d\": expected a rate, like",
        ),
        (
            "[policy]",
            "recipient_rate = [\"14/s\", \"20 / s\"]\n[policy]",
            "etc/g.toml:11:27: upstream[0].recipient_rate[1]: 20/s is for the same period as 14/s;",
        ),
        (
            "[policy]",
            "ip = \"6\"\nsource_address = \"10.0.0.1\"\n[policy]",
            "etc/g.toml:12:18: upstream[0].source_address: 10.0.0.1 cannot reach",
        ),
    ]);
}

#[test]
fn every_other_error_names_its_place_and_the_mend() {
    assert_told(&[
        (
            "hostname = \"relay.example.com\"",
            "",
            "etc/g.toml: hostname: is missing or empty; write",
        ),
        (
            "\"relay.example.com\"",
            "\"10.0.0.1\"",
            "etc/g.toml:2:12: hostname: \"10.0.0.1\" is not a",
        ),
        ("\"state\"", "\"\"", "etc/g.toml: state_dir: is missing or empty; write a path"),
        (
            "file = \"policy.toml\"",
            "",
            "etc/g.toml: policy.file: is missing or empty; write a path, like policy.toml",
        ),
        (
            "\"sync\"",
            "\"Spool\"",
            "etc/g.toml:14:8: delivery.mode: \"Spool\" is unknown; write \"sync\" or \"hybrid\" or",
        ),
        (
            "\"sync\"",
            "\"sync\"\nupstream = \"x\"",
            "etc/g.toml:15:12: delivery.upstream: there is no upstream \"x\"; known are smarthost",
        ),
        (
            "\"sync\"",
            "\"sync\"\nfinal_reply_timeout = \"0s\"",
            "etc/g.toml:15:23: delivery.final_reply_timeout: must not be zero; the default is 10m",
        ),
        (
            "\"sync\"",
            "\"sync\"\n[limits]\nmax_message_size = \"0 B\"",
            "etc/g.toml:16:20: limits.max_message_size: must not be zero; the default is 50 MiB",
        ),
        (
            "\"sync\"",
            "\"sync\"\n[log]\nlevel = \"loud\"",
            "etc/g.toml:16:9: log.level: \"loud\" is unknown; write \"error\" or \"warn\"",
        ),
        (
            "\"sync\"",
            "\"sync\"\n[metrics]",
            "etc/g.toml:15:1: metrics.bind: is missing or empty; write an address",
        ),
        (
            "\"sync\"",
            "\"sync\"\n[metrics]\nbind = \"0.0.0.0:25\"",
            "etc/g.toml:16:8: metrics.bind: 0.0.0.0:25 collides with 0.0.0.0:25 of listener[0].bind[0]",
        ),
        ("\"sync\"", "\"sync\"\nmode = \"sync\"", "etc/g.toml:15:1: duplicate key"),
        (
            "[policy]",
            "[policies]",
            "etc/g.toml:11:2: policies: unknown key `policies`, expected one of",
        ),
    ]);
}

#[test]
fn keys_that_have_to_wait_are_refused_by_name() {
    let error = read("[admin]\nbind = true\n", &[]).expect_err("is not built");
    assert_eq!(error, "etc/g.toml:1:1: admin: not built yet");
}

#[test]
fn a_policy_is_in_one_place() {
    let with = |policy: &str| read(&GOOD.replace("file = \"policy.toml\"", policy), &[]);
    let stored = with("store = true\nshadow = \"candidate.toml\"").expect("a good configuration");
    assert_eq!(stored.policy, policy::Source::Store(stored.state_dir.join("policy.db")));
    assert_eq!(stored.shadow.as_deref(), Some(Path::new("etc/candidate.toml")));
    let both = with("store = true\nfile = \"p.toml\"").expect_err("two places");
    assert!(both.contains("policy.file: is named, and policy.store is true"), "{both}");
    for none in ["", "store = false"] {
        let none = with(none).expect_err("no place");
        assert!(none.contains("policy.file: is missing or empty; write a path, like"), "{none}");
    }
}

#[test]
fn several_errors_are_told_at_once_in_the_order_of_the_file() {
    let text = GOOD.replace("relay.example.com", "relay").replace("0.0.0.0:25", "25")
        + "received = \"none\"\n[[listener]]\nname = \"smtp\"\nbind = [\"10.0.0.1:587\"]\n\
           [[upstream]]\nname = \"b\"\nhosts = [\"b:25\"]\ntls = \"none\"\n";
    let errors = read(&text, &[]).expect_err("four errors");
    let places: Vec<_> =
        errors.lines().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    let told = [
        "etc/g.toml:2:12 hostname",
        "etc/g.toml:6:9 listener[0].bind[0]",
        "etc/g.toml:15:12 delivery.received",
        "etc/g.toml:17:8 listener[1].name",
    ];
    assert_eq!(places, told, "{errors}");
}

#[test]
fn an_empty_file_lacks_everything() {
    let errors = read("", &[]).expect_err("nothing is there");
    for key in ["hostname", "state_dir", "listener", "upstream", "policy.file"] {
        assert!(errors.contains(&format!("etc/g.toml: {key}: ")), "{key} in {errors}");
    }
}

#[test]
fn passwords_are_asked_for_behind_tls_only() {
    use gatepost_policy::site::AuthOffer;
    let tls = "tls = \"starttls\"\ncertificate = \"a\"\nprivate_key = \"b\"\n";
    for (lines, offer) in [
        (String::new(), AuthOffer::Nobody),
        ("unknown_clients = \"reject\"\n".to_owned(), AuthOffer::Nobody),
        (tls.to_owned(), AuthOffer::Required),
        (format!("{tls}unknown_clients = \"authenticate\"\n"), AuthOffer::Everybody),
    ] {
        let config = good(&GOOD.replace("[[upstream]]", &format!("{lines}[[upstream]]")));
        assert_eq!((config.listeners[0].config.auth, &config.site.auth[..]), (offer, &[offer][..]));
    }
    let told = error("[[upstream]]", "unknown_clients = \"authenticate\"\n[[upstream]]");
    assert!(
        told.starts_with(
            "etc/g.toml:7:19: listener[0].unknown_clients: needs TLS, because AUTH is not"
        ),
        "{told}"
    );
    let told = error("[[upstream]]", "unknown_clients = \"maybe\"\n[[upstream]]");
    assert!(told.ends_with("\"maybe\" is unknown; write \"reject\" or \"authenticate\""), "{told}");
}
