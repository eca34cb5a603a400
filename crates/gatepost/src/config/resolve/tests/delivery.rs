//! What is kept: its mode, its times, its limits, and whoever is told in the end.

use gatepost_policy::entry::Mode;
use gatepost_relay::Bounces;
use gatepost_spool::SpoolOptions;

use super::*;

/// A configuration with these lines in `[delivery]`.
fn delivery(lines: &str) -> Result<Config, String> {
    read(&GOOD.replace("mode = \"sync\"", lines), &[])
}

/// What is warned of, a line each.
fn warned(config: &Config) -> Vec<String> {
    config.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_not_written_is_the_contract() {
    let text = GOOD.replace("[delivery]\nmode = \"sync\"\n", "");
    let config = good(&text);
    assert_eq!(config.site.default_mode, Mode::Hybrid);
    let relay = &config.relay;
    assert_eq!((&*relay.hostname, relay.answer_within.as_secs()), ("relay.example.com", 20));
    let retry = [1, 2, 4, 8, 15, 30, 60].map(minutes);
    assert_eq!(
        (&relay.queue.retry[..], relay.queue.expire_after),
        (&retry[..], minutes(5 * 24 * 60))
    );
    assert_eq!((relay.bounces.bounces, &relay.bounces.upstream), (Bounces::Dsn, &None));
    assert_eq!(config.spool.directory, Path::new("etc/state/spool"));
    let SpoolOptions { free_space_floor, body_memory, body_memory_each } = config.spool.options;
    assert_eq!((free_space_floor, body_memory, body_memory_each), (1 << 30, 256 << 20, 8 << 20));
    assert_eq!(config.warnings, []);
}

#[test]
fn what_is_written_is_taken() {
    let lines = "mode = \"spool\"\nanswer_within = \"5s\"\nretry = [\"30s\", \"1 h\"]\nexpire_after = \"2d\"\n\
                 bounces = \"dsn\"\nbounce_upstream = \"smarthost\"\n\
                 [limits]\nmessage_memory = \"1 MiB\"\nfree_space_floor = \"64 MiB\"";
    let config = delivery(lines).expect("good");
    assert_eq!(config.site.default_mode, Mode::Spool);
    let relay = &config.relay;
    assert_eq!(relay.answer_within.as_secs(), 5);
    assert_eq!(relay.queue.retry, [Duration::from_secs(30), minutes(60)]);
    assert_eq!(relay.queue.expire_after, minutes(48 * 60));
    assert_eq!(relay.bounces.upstream.as_deref(), Some("smarthost"));
    let SpoolOptions { free_space_floor, body_memory, body_memory_each } = config.spool.options;
    assert_eq!((free_space_floor, body_memory, body_memory_each), (64 << 20, 1 << 20, 1 << 20));
    assert_eq!(config.warnings, []);
    let retry = [("GATEPOST_DELIVERY__RETRY", "[\"10s\"]")];
    let config = read(GOOD, &retry).expect("good");
    assert_eq!(config.relay.queue.retry, [Duration::from_secs(10)]);
}

#[test]
fn a_client_waits_less_than_an_upstream_may_take() {
    // Who has written only the one has not asked for the other.
    let config = delivery("mode = \"sync\"\nfinal_reply_timeout = \"10s\"").expect("good");
    assert_eq!(config.relay.answer_within.as_secs(), 5);
    let told = delivery("final_reply_timeout = \"10s\"\nanswer_within = \"10s\"");
    let told = told.expect_err("as long");
    assert!(
        told.starts_with("etc/g.toml:15:17: delivery.answer_within: 10s is not shorter than final_reply_timeout, which is 10s; write"),
        "{told}"
    );
    let config = delivery("answer_within = \"2m\"").expect("good");
    let [told] = &warned(&config)[..] else { panic!("one warning: {:?}", config.warnings) };
    assert!(
        told.starts_with(
            "etc/g.toml:14:17: delivery.answer_within: many clients wait no longer than 1m"
        ),
        "{told}"
    );
    assert_eq!(delivery("answer_within = \"1m\"").expect("good").warnings, []);
}

#[test]
fn times_that_make_no_sense_are_told_with_place_and_mend() {
    let many = format!("retry = [{}]", "\"1m\",".repeat(101));
    for (lines, told) in [
        (
            "retry = []",
            "14:9: delivery.retry: has 0 durations; write 1 to 100, the last repeats, or",
        ),
        (&many, "14:9: delivery.retry: has 101 durations; write 1 to 100"),
        (
            "retry = [\"1m\", \"0s\"]",
            "14:16: delivery.retry[1]: must not be zero; write at least 1s",
        ),
        ("retry = [\"1m\", \"soon\"]", "14:16: delivery.retry[1]: \"soon\": expected a duration"),
        ("retry = [\"2d\"]", "14:10: delivery.retry[0]: 2d is too long; write at most 1d"),
        (
            "expire_after = \"0s\"\nretry = [\"1m\"]",
            "14:16: delivery.expire_after: must not be zero; the default is 5d",
        ),
        (
            "expire_after = \"31d\"",
            "14:16: delivery.expire_after: 31d is too long; write at most 30d",
        ),
        (
            "expire_after = \"1m\"",
            "14:16: delivery.expire_after: 1m is not longer than the first wait of retry, which is 1m: a",
        ),
        (
            "answer_within = \"0s\"",
            "14:17: delivery.answer_within: must not be zero; the default is 20s",
        ),
        (
            "bounces = \"drop\"",
            "14:11: delivery.bounces: \"drop\" is unknown; write \"dsn\" or \"keep\"",
        ),
        (
            "bounce_upstream = \"x\"",
            "14:19: delivery.bounce_upstream: there is no upstream \"x\"; known are smarthost",
        ),
        (
            "[limits]\nmessage_memory = \"0 B\"",
            "15:18: limits.message_memory: must not be zero; the default",
        ),
        (
            "[limits]\nfree_space_floor = \"0 B\"",
            "15:20: limits.free_space_floor: must not be zero; the default is 1 GiB",
        ),
    ] {
        let error = delivery(lines).expect_err(lines);
        assert!(error.starts_with(&format!("etc/g.toml:{told}")), "{lines}:\n  {error}\n  {told}");
    }
}

#[test]
fn a_provider_that_refuses_notifications_is_told_of() {
    let with = |delivery: &str| {
        let ses = "[[upstream]]\nname = \"ses\"\nprofile = \"ses\"\nhosts = [\"email-smtp.eu-west-1.amazonaws.com:587\"]\n\
                   auth = { mechanism = \"plain\", username = \"a\", password_file = \"p\" }\n[policy]";
        let text = GOOD.replace("[policy]", ses).replace("mode = \"sync\"", delivery);
        let config = read(&text, &[]).unwrap_or_else(|errors| panic!("{errors}"));
        warned(&config)
    };
    let told = "the provider of ses refuses mail from <>, and that is what notifications are from; name an \
                upstream that takes them in bounce_upstream, or write bounces = \"keep\"";
    let upstream = "upstream = \"smarthost\"";
    for (lines, place) in [
        ("", Some("etc/g.toml: delivery.bounces")),
        ("bounces = \"dsn\"", Some("etc/g.toml:19:11: delivery.bounces")),
        ("mode = \"sync\"\nbounces = \"dsn\"", Some("etc/g.toml:20:11: delivery.bounces")),
        ("bounce_upstream = \"ses\"", Some("etc/g.toml:19:19: delivery.bounce_upstream")),
        ("bounce_upstream = \"smarthost\"", None),
        ("bounces = \"keep\"", None),
        ("mode = \"sync\"", None),
    ] {
        let expected: Vec<_> = place.map(|place| format!("{place}: {told}")).into_iter().collect();
        assert_eq!(with(&format!("{lines}\n{upstream}")), expected, "{lines}");
    }
    let useless = with(&format!("bounces = \"keep\"\nbounce_upstream = \"smarthost\"\n{upstream}"));
    assert!(useless[0].contains("delivery.bounce_upstream: has no effect with bounces = \"keep\""));
}
