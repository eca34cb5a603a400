use gatepost_delivery::UpstreamConfig;
use gatepost_stream::Clock;

use super::*;
use crate::config::Config;

const CONFIG: &str = "hostname = \"relay.test\"\nstate_dir = \"state\"\n\
    [[listener]]\nname = \"smtp\"\nbind = [\"127.0.0.1:0\"]\ntls = \"none\"\n\
    [[upstream]]\nname = \"a\"\nhosts = [\"127.0.0.1:1\"]\ntls = \"none\"\n\
    recipient_rate = [\"100/s\", \"1000/d\"]\n\
    [[upstream]]\nname = \"b\"\nhosts = [\"127.0.0.1:1\"]\ntls = \"none\"\n\
    [policy]\nfile = \"policy.toml\"\n[delivery]\nmode = \"sync\"\nupstream = \"a\"\n";

fn upstreams(change: impl FnOnce(&mut Vec<UpstreamConfig>)) -> Vec<Arc<Upstream>> {
    let config = Config::from_text(CONFIG, Path::new("g.toml"), std::iter::empty());
    let mut upstreams = config.expect("a good configuration").upstreams;
    change(&mut upstreams);
    upstreams.into_iter().map(|config| Upstream::new(config, Clock::start())).collect()
}

fn used(upstreams: &[Arc<Upstream>]) -> u32 {
    upstreams[0].recipient_usage().last().map_or(0, |day| day.used)
}

fn take(upstreams: &[Arc<Upstream>], recipients: u32) {
    let rates = upstreams[0].recipient_rates();
    rates.try_take(recipients, Instant::now()).expect("within the rate");
}

#[tokio::test]
async fn an_end_in_order_keeps_the_exact_number() {
    let directory = tempfile::tempdir().expect("a directory");
    for already in [0, 7, 14] {
        let upstreams = upstreams(|_| {});
        let keeper = RateKeeper::open(directory.path(), &upstreams).expect("a rate per day");
        assert_eq!(used(&upstreams), already);
        take(&upstreams, 7);
        keeper.end().await;
    }
    assert!(!rates_path(directory.path()).with_extension("json.new").exists());
}

/// Nothing is done at the end, as when the process is killed.
#[tokio::test]
async fn a_kill_counts_too_much_and_not_too_little() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = upstreams(|_| {});
    let keeper = RateKeeper::open(directory.path(), &first);
    take(&first, 4);
    drop(keeper);
    let second = upstreams(|_| {});
    let keeper = RateKeeper::open(directory.path(), &second);
    assert_eq!(used(&second), 10, "a hundredth of the day");
    drop(keeper);
    let third = upstreams(|_| {});
    let _keeper = RateKeeper::open(directory.path(), &third);
    assert_eq!(used(&third), 20);
}

#[tokio::test]
async fn much_that_is_taken_is_written_down_soon() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = upstreams(|_| {});
    let _keeper = RateKeeper::open(directory.path(), &first);
    take(&first, 90);
    let is_written = || {
        let text = fs::read_to_string(rates_path(directory.path())).expect("readable");
        let file: RatesFile = serde_json::from_str(&text).expect("ours");
        let kept = &file.upstreams["a"];
        kept.taken.iter().map(|(_, count)| count).sum::<u64>() == 90 && kept.reserved == 10
    };
    let patience = Instant::now() + Duration::from_secs(10);
    while !is_written() {
        assert!(Instant::now() < patience, "it is not written");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_file_that_is_no_count_is_put_aside() {
    for text in ["", "{}", "nonsense", "{\"version\":2,\"upstreams\":{}}", "\u{0}"] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = rates_path(directory.path());
        fs::write(&path, text).expect("writes");
        let upstreams = upstreams(|_| {});
        let keeper = RateKeeper::open(directory.path(), &upstreams).expect("a rate per day");
        assert_eq!(used(&upstreams), 0);
        assert_eq!(fs::read_to_string(path.with_extension("json.bad")).expect("there"), text);
        keeper.end().await;
        assert!(read(&path).contains_key("a"), "and a good one is in its place");
    }
}

/// Renaming an upstream for a while, or a clock that is set back, is no way to a new quota.
#[tokio::test]
async fn what_is_not_ours_now_is_kept_for_a_day() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = rates_path(directory.path());
    let now = unix_seconds();
    let text = |written: u64| {
        format!("{{\"written\":{written},\"taken\":[[60,5],[86390,3]],\"reserved\":0}}")
    };
    let (young, old, later) = (text(now - 80_000), text(now - 90_000), text(now + 5000));
    let file = format!(
        "{{\"version\":1,\"upstreams\":{{\"young\":{young},\"old\":{old},\"a\":{later}}}}}"
    );
    fs::write(&path, file).expect("writes");
    let first = upstreams(|_| {});
    let keeper = RateKeeper::open(directory.path(), &first).expect("a rate per day");
    assert_eq!(used(&first), 8, "no time has passed for it");
    keeper.end().await;
    let kept = read(&path);
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["a", "young"]);
    let renamed = upstreams(|all| all[0].name = "young".into());
    let _keeper = RateKeeper::open(directory.path(), &renamed);
    assert_eq!(used(&renamed), 5, "the oldest are a day old");
}

#[tokio::test]
async fn without_a_rate_per_day_there_is_no_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let none = upstreams(|all| all[0].recipient_rates.truncate(1));
    assert!(RateKeeper::open(directory.path(), &none).is_none());
    assert!(!rates_path(directory.path()).exists());
}

#[tokio::test]
async fn a_directory_that_takes_nothing_does_not_stop_the_mail() {
    let upstreams = upstreams(|_| {});
    let keeper = RateKeeper::open(Path::new("/nowhere"), &upstreams).expect("a rate per day");
    take(&upstreams, 50);
    keeper.end().await;
    assert_eq!(used(&upstreams), 50);
}
