//! scratch
use std::fmt::Write;
use std::time::Instant;
fn main() {
    let mut text = String::new();
    for n in 0..1_000_000u32 {
        let _ = write!(
            text,
            "[[entry]]\nid = \"e{n}\"\nnetworks = [\"10.{}.{}.{}\"]\ndescription = \"Host {n}\"\nsenders = [\"example.com\"]\n\n",
            n >> 16,
            (n >> 8) & 255,
            n & 255
        );
    }
    println!("{} MB", text.len() / 1_000_000);
    let rss = || {
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .filter(|l| l.starts_with("VmRSS") || l.starts_with("VmHWM"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    println!("{}", rss());
    let t = Instant::now();
    let d: toml::de::Deserializer = toml::de::Deserializer::parse(&text).unwrap();
    println!("toml parse {:?} {}", t.elapsed(), rss());
    drop(d);
    let t = Instant::now();
    let r = gatepost_policy::ruleset::Ruleset::compile(
        &text,
        "p",
        &["smtp", "submission", "submissions"],
    )
    .unwrap()
    .ruleset;
    println!("compile {:?} {}", t.elapsed(), rss());
    let t = Instant::now();
    let mut hits = 0;
    for i in 0..10_000_000u32 {
        let a = std::net::Ipv4Addr::from(0x0a00_0000 | (i.wrapping_mul(2_654_435_761) >> 11));
        hits += r.lookup(gatepost_policy::listener::ListenerId::new(1), a.into()).is_some() as u32;
    }
    println!("lookup {:?}/10M {hits}", t.elapsed());
    let t = Instant::now();
    let bad =
        text.replace("example.com", "exa mple.com").replace("Host 5\"", "Host 5\"\ntls = \"x\"");
    let t2 = Instant::now();
    println!("replace {:?}", t2 - t);
    let e = gatepost_policy::ruleset::Ruleset::compile(
        &bad,
        "p",
        &["smtp", "submission", "submissions"],
    )
    .unwrap_err();
    println!("bad {:?} {}", t2.elapsed(), e.count());
}
