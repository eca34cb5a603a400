//! The written form with its complaints, and chance that repeats itself.

use super::*;

fn delay(text: &str) -> anyhow::Result<Delay> {
    text.parse()
}

fn fault(text: &str) -> Fault {
    text.parse().unwrap()
}

fn dice(delays: &[&str], faults: &[&str], seed: u64) -> Dice {
    let delays = delays.iter().map(|text| delay(text).unwrap()).collect();
    let faults = faults.iter().map(|text| fault(text)).collect();
    Dice::new(&Troubles::new(delays, faults, seed).unwrap()).unwrap()
}

#[test]
fn what_is_written_is_what_is_read() {
    for (written, shown) in [
        ("rcpt=10ms", "rcpt=10ms@100%"),
        ("dot=10ms-2s@5%", "dot=10ms-2s@5%"),
        ("connect=1m@0.125%", "connect=60s@0.125%"),
    ] {
        assert_eq!(delay(written).unwrap().to_string(), shown);
    }
    for written in [
        "connect=421@100%",
        "ehlo=close@0.001%",
        "mail=550@99.999%",
        "rcpt=reset@5%",
        "data=silence@0.1%",
        "dot=garbage@33.33%",
    ] {
        assert_eq!(fault(written).to_string(), written);
    }
    assert_eq!(fault("dot=599@005.10%").share(), Share(5_100));
}

#[test]
fn what_is_wrong_is_named_with_its_mend() {
    for (written, complaint) in [
        ("rcpt", "has no '=': write PHASE=DURATION"),
        (
            "quit=1s",
            "there is no phase \"quit\": write one of connect, ehlo, mail, rcpt, data, dot",
        ),
        ("rcpt=10", "duration \"10\" is no whole number with a unit: write it as 10ms"),
        ("rcpt=ms", "duration \"ms\" is no whole"),
        ("rcpt=1.5s", "duration \"1.5s\" is no whole"),
        ("rcpt=61m", "duration \"61m\" is too long"),
        ("rcpt=99999999999999999999s", "is too long"),
        ("rcpt=2s-1s", "the spread \"2s-1s\" is the wrong way round"),
        ("rcpt=1s@", "share \"\" is no percentage"),
        ("rcpt=1s@5", "share \"5\" is no percentage: write it as 5% or 0.125%"),
    ] {
        let error = delay(written).unwrap_err().to_string();
        assert!(error.contains(complaint), "{written}: {error}");
    }
    for (written, complaint) in [
        ("rcpt", "has no '=': write PHASE=KIND@PERCENT"),
        ("rcpt=451", "has no share: write how often, such as rcpt=451@5%"),
        ("RCPT=451@5%", "there is no phase \"RCPT\""),
        ("rcpt=250@5%", "reply code 250 refuses nothing: write one from 400 to 599"),
        ("rcpt=600@5%", "reply code 600"),
        ("rcpt=explode@5%", "there is no fault \"explode\": write close, garbage"),
        ("rcpt=+51@5%", "there is no fault \"+51\""),
        ("rcpt=451@0%", "share \"0%\" is out of range"),
        ("rcpt=451@0.000%", "out of range"),
        ("rcpt=451@100.001%", "share \"100.001%\" is out of range: write more than 0%"),
        ("rcpt=451@99999999999%", "out of range"),
        ("rcpt=451@0.0001%", "too many decimals: write at most 3"),
        ("rcpt=451@-5%", "share \"-5%\" is no percentage"),
        ("rcpt=451@.5%", "is no percentage"),
    ] {
        let error = written.parse::<Fault>().unwrap_err().to_string();
        assert!(error.contains(complaint), "{written}: {error}");
    }
}

#[test]
fn shares_of_a_phase_are_no_more_than_everything() {
    let faults = |texts: &[&str]| texts.iter().map(|text| fault(text)).collect::<Vec<_>>();
    Troubles::new(vec![], faults(&["rcpt=451@60%", "rcpt=550@40%", "dot=451@60%"]), 0).unwrap();
    let too_much = Troubles::new(vec![], faults(&["rcpt=451@60%", "rcpt=550@40.001%"]), 0);
    let error = too_much.unwrap_err().to_string();
    assert!(error.contains("all --fault rcpt=... together are 100.001%"), "{error}");
    let delays = vec![delay("dot=1s").unwrap(), delay("dot=2s@1%").unwrap()];
    let error = Troubles::new(delays, vec![], 0).unwrap_err().to_string();
    assert!(error.contains("all --delay dot=... together are 101%"), "{error}");
}

#[test]
fn the_same_seed_is_the_same_luck() {
    const FAULTS: &[&str] = &["rcpt=451@5%", "rcpt=550@1%", "dot=close@0.1%"];
    let luck = |dice: &Dice, phase| (0..10_000).map(|_| dice.draw(phase)).collect::<Vec<_>>();
    let (one, two) = (dice(&[], FAULTS, 7), dice(&["rcpt=1ms-9ms"], FAULTS, 7));
    let first = luck(&one, SinkPhase::Rcpt);
    // The other phase in between, and delays beside it, change nothing.
    luck(&two, SinkPhase::Dot);
    let second = luck(&two, SinkPhase::Rcpt);
    let faults = |luck: &[Drawn]| luck.iter().map(|drawn| drawn.fault).collect::<Vec<_>>();
    assert_eq!(faults(&first), faults(&second));
    assert_ne!(faults(&first), faults(&luck(&dice(&[], FAULTS, 8), SinkPhase::Rcpt)));
    // 500 and 100 are to be expected; six standard deviations are 131 and 60.
    let count = |number| faults(&first).iter().filter(|&&fault| fault == Some(number)).count();
    assert!((369..=631).contains(&count(0)), "{}", count(0));
    assert!((40..=160).contains(&count(1)), "{}", count(1));
    assert_eq!(count(2), 0, "a fault of another phase");
}

#[test]
fn everything_is_everything_and_spreads_are_kept() {
    let dice = dice(&["mail=2ms-5ms"], &["mail=451@100%"], 1);
    let (least, most) = (Duration::from_millis(2), Duration::from_millis(5));
    let mut seen = Vec::new();
    for _ in 0..1000 {
        let drawn = dice.draw(SinkPhase::Mail);
        assert_eq!(drawn.fault, Some(0));
        let delay = drawn.delay.unwrap();
        assert!((least..=most).contains(&delay), "{delay:?}");
        seen.push(delay);
    }
    assert!(seen.iter().max() > seen.iter().min(), "a spread, not one value");
    assert_eq!(dice.draw(SinkPhase::Rcpt), Drawn::default());
    assert_eq!(dice.play(0), fault("mail=451@1%").kind());
    assert_eq!(dice.counts().collect::<Vec<_>>(), [(fault("mail=451@100%"), 1, 1000)]);
    assert!(Dice::new(&Troubles::default()).is_none());
}
