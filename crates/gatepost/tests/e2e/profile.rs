//! Providers and their peculiar replies: what a client hears, who is alarmed, and who is not held up.

use gatepost_testkit::ScriptedUpstream;
use gatepost_testkit::upstream::{Action, END_OF_DATA};

use crate::harness::{Harness, Settings, converse, send_message};
use crate::program::Program;

const MESSAGE: &[u8] = b"Subject: hello\r\n\r\nworld\r\n";
const NOT_AUTHORIZED: &str = "403 You are not authorized to send from that email address";
const EHLO_REFUSED: &str = "421-4.7.0 Try again later, closing connection. (EHLO)\n\
                            421 4.7.0 For more information, go to https://support.google.com/a/answer/3221692";

fn settings(profile: &str) -> Settings {
    Settings { upstream: format!("profile = \"{profile}\""), ..Settings::default() }
}

fn faults(scope: &str) -> String {
    format!("gatepost_configuration_faults_total{{upstream=\"sink\",scope=\"{scope}\"}}")
}

const RAISED: &str = "gatepost_configuration_fault{upstream=\"sink\"}";

/// SendGrid's 403 begins like "try again later" and will never be anything else.
#[tokio::test]
async fn a_sender_that_is_not_verified_is_refused_and_holds_nobody_up() {
    let upstream = ScriptedUpstream::builder().on("MAIL FROM:<bad@", NOT_AUTHORIZED).start();
    let harness = Harness::with(upstream.addr(), &settings("sendgrid"));
    let (mut bad, mut good) = (harness.client().await, harness.client().await);
    for round in 1..=3 {
        let dialogue = [
            ("MAIL FROM:<bad@app.test>", "250"),
            ("RCPT TO:<b@b.test>", "550 5.7.1 You are not authorized to send from that"),
            ("RSET", "250"),
        ];
        converse(&mut bad, &dialogue).await;
        let reply = send_message(&mut good, MESSAGE).await;
        assert!(reply.starts_with("250"), "{reply}");
        assert_eq!(harness.metric(&faults("envelope")).await, round);
    }
    assert_eq!(harness.metric(&faults("upstream")).await, 0);
    assert_eq!(harness.metric(RAISED).await, 0);
    assert_eq!(upstream.messages().len(), 3);
    upstream.stop().await;
}

/// The same at the end of data, where SendGrid looks at the From field.
#[tokio::test]
async fn what_is_permanent_at_the_end_of_data_is_said_so() {
    let upstream = ScriptedUpstream::builder().on_nth(END_OF_DATA, 1, NOT_AUTHORIZED).start();
    let harness = Harness::with(upstream.addr(), &settings("sendgrid"));
    let mut client = harness.client().await;
    let reply = send_message(&mut client, MESSAGE).await;
    assert!(reply.starts_with("550 5.7.1 You are not authorized"), "{reply}");
    let reply = send_message(&mut client, MESSAGE).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(harness.metric(&faults("envelope")).await, 1);
    upstream.stop().await;
}

/// Google says "later" to an EHLO name that it will never take.
#[tokio::test]
async fn an_ehlo_name_that_is_refused_raises_the_alarm() {
    let refused = Action::ReplyThenClose(EHLO_REFUSED.into());
    let upstream = ScriptedUpstream::builder().on("EHLO", refused).start();
    let harness = Harness::with(upstream.addr(), &settings("google-relay"));
    assert_eq!(harness.metric(RAISED).await, 0);
    let mut client = harness.client().await;
    let dialogue = [("MAIL FROM:<a@app.test>", "250"), ("RCPT TO:<b@b.test>", "451 4.3.5 ")];
    converse(&mut client, &dialogue).await;
    assert_eq!(harness.metric(RAISED).await, 1);
    assert_eq!(harness.metric(&faults("upstream")).await, 1);
    upstream.stop().await;
}

/// Whoever reads the log knows what to change, and reads it once.
#[tokio::test]
async fn the_log_says_what_to_change() {
    let refused = Action::ReplyThenClose(EHLO_REFUSED.into());
    let upstream = ScriptedUpstream::builder().on("EHLO", refused).start();
    let mut program = Program::start(upstream.addr(), &settings("google-relay"));
    for _ in 0..2 {
        let mut client = gatepost_testkit::ByteClient::connect(program.addr).await;
        client.expect("220").await;
        let dialogue = [
            ("EHLO app.test", "250"),
            ("MAIL FROM:<a@app.test>", "250"),
            ("RCPT TO:<b@b.test>", "451 4."),
            ("QUIT", "221"),
        ];
        converse(&mut client, &dialogue).await;
    }
    let line = program.wait_for_line("objects to how it is used");
    for words in ["set ehlo_name to a domain of your Workspace", "sink", "ehlo-refused", "(EHLO)"] {
        assert!(line.contains(words), "{words}: {line}");
    }
    assert_eq!(program.count_lines("objects to how it is used"), 0, "one line a minute");
    program.end();
    upstream.stop().await;
}

/// SES throttles when it has the whole message.
#[tokio::test]
async fn throttling_at_the_end_of_data_is_the_clients_to_retry() {
    let throttled = "454 Throttling failure: Maximum sending rate exceeded";
    let upstream = ScriptedUpstream::builder().end_of_data(throttled).start();
    let harness = Harness::with(upstream.addr(), &settings("ses"));
    let reply = send_message(&mut harness.client().await, MESSAGE).await;
    assert!(reply.starts_with("454 4.0.0 Throttling failure"), "{reply}");
    for scope in ["envelope", "connection", "upstream"] {
        assert_eq!(harness.metric(&faults(scope)).await, 0, "nothing is set up wrong");
    }
    upstream.stop().await;
}

/// Nobody waits for a connection that nobody can have for half an hour.
#[tokio::test]
async fn who_comes_in_a_long_pause_is_told_at_once() {
    let used_up = "454 Throttling failure: Daily message quota exceeded";
    let upstream = ScriptedUpstream::builder().end_of_data(used_up).start();
    let harness = Harness::with(upstream.addr(), &settings("ses"));
    let mut client = harness.client().await;
    let reply = send_message(&mut client, MESSAGE).await;
    assert!(reply.starts_with("454 4.0.0 Throttling failure"), "{reply}");
    let began = std::time::Instant::now();
    let dialogue = [("MAIL FROM:<a@app.test>", "250"), ("RCPT TO:<b@b.test>", "451 4.4.1 ")];
    converse(&mut client, &dialogue).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(3), "{:?}", began.elapsed());
    upstream.stop().await;
}

/// What SES says to a connection that was idle for too long is no answer to MAIL.
#[tokio::test]
async fn a_connection_that_was_idle_for_too_long_is_replaced() {
    const IDLE: &str = "451 4.4.2 Timeout waiting for data from client.";
    let (said, closed) = (Action::from(IDLE), Action::ReplyThenClose(IDLE.into()));
    for (profile, action, second, opened) in [
        ("ses", closed, "250", 2),
        ("ses", said.clone(), "250", 2),
        ("generic", said, "451 4.4.2 Timeout", 1),
    ] {
        let upstream = ScriptedUpstream::builder().on_nth("MAIL", 2, action).start();
        let harness = Harness::with(upstream.addr(), &settings(profile));
        let mut client = harness.client().await;
        let reply = send_message(&mut client, MESSAGE).await;
        assert!(reply.starts_with("250"), "{reply}");
        client.send_line("MAIL FROM:<a@app.test>").await;
        client.expect("250").await;
        client.send_line("RCPT TO:<b@b.test>").await;
        client.expect(second).await;
        assert_eq!(upstream.connections_opened(), opened, "{profile}");
        upstream.stop().await;
    }
}

/// The 51st recipient of SES goes with another message.
#[tokio::test]
async fn the_provider_s_recipients_are_the_limit() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::with(upstream.addr(), &settings("ses"));
    let mut client = harness.client().await;
    converse(&mut client, &[("MAIL FROM:<a@app.test>", "250")]).await;
    for index in 1..=51 {
        client.send_line(&format!("RCPT TO:<b{index}@b.test>")).await;
        client.expect(if index <= 50 { "250" } else { "452 4.5.3" }).await;
    }
    upstream.stop().await;
}
