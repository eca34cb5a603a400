//! What a policy file expects of itself: a gateway neither starts with a policy that does not do it,
//! nor takes one into use.

use gatepost_testkit::ScriptedUpstream;

use crate::harness::{converse, fleet};
use crate::place::Place;

const EXPECT: &str = "\
[[expect]]
ip = \"127.0.0.1\"
from = \"a@app.test\"
rcpt = \"b@b.test\"
result = \"accept\"
entry = \"fleet\"
upstream = \"sink\"

[[expect]]
ip = \"127.0.0.1\"
from = \"a@x.test\"
result = \"reject\"
";

/// A policy with this line in its entry, and both expectations.
fn expecting(line: &str) -> String {
    fleet(&format!("{line}\n{EXPECT}"))
}

/// Starting, checking and asking, with a policy that does not do what it says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_does_not_do_what_it_says_is_not_started() {
    let upstream = ScriptedUpstream::start();
    let place = Place::with_file(upstream.addr());
    place.write("policy.toml", &expecting("recipients = [\"c.test\"]"));
    let told = format!(
        "{}:6:1: expect: 127.0.0.1 from <a@app.test> to <b@b.test>: accept was expected, but: reject: 550 5.7.1 <b@b.test>",
        place.path("policy.toml").display()
    );
    for command in ["check", "run"] {
        let answer = place.refused(78, &told, &[command]);
        assert_eq!(answer.stderr.matches("error:").count(), 1, "one matter: {answer:?}");
        for line in
            ["    entry           fleet\n", "    recipient       refused: <b@b.test> is not"]
        {
            assert!(answer.stderr.contains(line), "{line} in {answer:?}");
        }
    }
    // Who wants to know why is answered all the same.
    let ask = ["explain", "--ip=127.0.0.1", "--from=a@app.test", "--rcpt=b@b.test"];
    let answer = place.gatepost(&ask);
    assert!(answer.stdout.contains("\nverdict         reject: 550 5.7.1 <b@b.test>"), "{answer:?}");
    assert_eq!(answer.code, Some(1));

    place.write("policy.toml", &expecting(""));
    assert!(place.done(&["check"]).contains("1 entry, 2 expectations hold, generation"));
    assert_eq!(place.gatepost(&ask).code, Some(0));
    place.run().end();
    upstream.stop().await;
}

/// A reload is no way around them: whether it is asked for or the file is seen to have changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_does_not_do_what_it_says_is_not_taken_into_use() {
    let upstream = ScriptedUpstream::start();
    let place = Place::with_file(upstream.addr());
    place.write("policy.toml", &expecting(""));
    let mut program = place.run();
    let mut open = program.client().await;
    let wide = expecting("").replace("senders = [\"app.test\"]", "senders = [\"*\"]");
    place.write("policy.toml", &wide);
    // Nobody has asked for it.
    let told = program.wait_for_line("policy not reloaded, the old one stays");
    assert!(told.contains("expect: 127.0.0.1 from <a@x.test>: reject was expected"), "{told}");
    program.signal("HUP");
    program.wait_for_line("policy not reloaded, the old one stays");
    converse(
        &mut open,
        &[("MAIL FROM:<a@x.test>", "550"), ("MAIL FROM:<a@app.test>", "250"), ("RSET", "250")],
    )
    .await;

    // Without the expectation it is what somebody wants.
    let (without, _) = wide.rsplit_once("[[expect]]").expect("two of them");
    place.write("policy.toml", without);
    program.signal("HUP");
    program.wait_for_line("policy reloaded");
    converse(&mut open, &[("MAIL FROM:<a@x.test>", "250"), ("QUIT", "221")]).await;
    program.end();
    upstream.stop().await;
}

/// What was expected of an entry that has ended since does not keep anybody from blocking another one.
/// What an edit itself breaks, or expects in vain, is refused all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_breaks_no_edit() {
    let upstream = ScriptedUpstream::start();
    let place = Place::filled(upstream.addr());
    let second = jiff::Timestamp::now().as_second() + 2;
    let soon = jiff::Timestamp::from_second(second).expect("a time");
    let temporary = format!(
        "[[entry]]\nid = \"temporary\"\nnetworks = [\"127.0.0.9\"]\nsenders = [\"app.test\"]\nexpires = {soon}\n\
         [[expect]]\nip = \"127.0.0.9\"\nfrom = \"a@app.test\"\nresult = \"accept\"\n\
         [[expect]]\nip = \"127.0.0.2\"\nfrom = \"a@app.test\"\nresult = \"accept\"\n"
    );
    place.write("temporary.toml", &temporary);
    let list = place.path("temporary.toml").display().to_string();
    let import = ["entry", "import", "--format=toml", &list];
    let made = place.gatepost(&import);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stderr.contains("give it at ="), "{made:?}");
    let program = place.run();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;

    let disabled = place.gatepost(&["entry", "disable", "fleet"]);
    assert_eq!(disabled.code, Some(0), "{disabled:?}");
    assert!(disabled.stderr.contains("because this was so before it"), "{disabled:?}");
    let told = |from: &str| {
        let store = place.path("state/policy.db");
        format!("{}: expect: {from}: accept was expected, but: reject", store.display())
    };
    place.refused(
        78,
        &told("127.0.0.2 from <a@app.test>"),
        &["entry", "edit", "other", "--sender=x.test"],
    );
    let gone = "[[expect]]\nip = \"127.0.0.9\"\nfrom = \"b@app.test\"\nresult = \"accept\"\n";
    place.write("temporary.toml", gone);
    place.refused(78, &told("127.0.0.9 from <b@app.test>"), &import);
    program.end();
    // Without a gateway it is the same; and who starts one is told.
    place.done(&["entry", "enable", "fleet"]);
    place.refused(78, &told("127.0.0.9 from <a@app.test>"), &["run"]);
    upstream.stop().await;
}
