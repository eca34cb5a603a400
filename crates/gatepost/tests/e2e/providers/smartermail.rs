//! A SmarterMail server: whoever is not on its whitelist logs in.

use super::*;

/// Not on the whitelist: mail to the outside waits, mail to the server's own domains goes through.
#[tokio::test]
async fn without_the_whitelist_only_local_mail_passes() {
    in_time(async {
        let addresses = vec!["192.0.2.1/32".parse().expect("a network")];
        let options =
            SimulatorOptions { addresses, ..SimulatorOptions::new(Provider::Smartermail) };
        let setup = Setup::with(options).await;
        let harness = setup.gateway("");
        let mut client = harness.client().await;
        client.send_line(&format!("MAIL FROM:<{APP}> BODY=8BITMIME")).await;
        client.expect("250").await;
        client.send_line("RCPT TO:<b@elsewhere.example>").await;
        client.expect("451 4.3.5 the relay's upstream is not set up right").await;
        client.send_line("RCPT TO:<b@example.com>").await;
        client.expect("250").await;
        client.send_line("DATA").await;
        client.expect("354").await;
        client.send(MESSAGE).await;
        client.send(b".\r\n").await;
        client.expect("250").await;
        assert_envelope_faults(&harness, 1).await;
        setup.obeyed(harness).await;
    })
    .await;
}

/// With a mailbox, senders are those of its domain.
#[tokio::test]
async fn a_mailbox_sends_for_its_domain() {
    in_time(async {
        let setup = Setup::start(Provider::Smartermail).await;
        let auth = "auth = { mechanism = \"login\", username = \"relay@example.com\", \
                    password_file = \"DIR/secret\" }";
        let harness = setup.gateway(auth);
        let mut client = harness.client().await;
        deliver(&mut client).await;
        let reply = send(&mut client, STRANGER).await;
        assert!(reply.starts_with("550 5."), "{reply}");
        assert!(reply.contains("From domain must match authenticated domain"), "{reply}");
        deliver(&mut client).await;
        assert_envelope_faults(&harness, 1).await;
        let record = setup.obeyed(harness).await;
        assert_eq!((record.logins, record.connections), (1, 1));
    })
    .await;
}
