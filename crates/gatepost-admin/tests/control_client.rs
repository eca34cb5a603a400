//! The client, against a gateway that answers whatever it was told to.

use gatepost_admin::control::{Client, ControlError, socket_path};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    task::JoinHandle,
};

const STATUS: &str = r#"{"version":"9.9.9","pid":1,"generation":"1-aaaaaa","entries":3,"new":[]}"#;
const CHANGED: (u16, &str) = (409, r#"{"error":"the policy has changed"}"#);

/// A gateway that gives one answer a connection and keeps what it was asked.
struct Scripted {
    directory: TempDir,
    asked: JoinHandle<Vec<String>>,
}

impl Scripted {
    /// After the answers to [`Client::connect`].
    async fn start(answers: &[(u16, &str)]) -> (Self, Client) {
        let answer = |(status, body): &(u16, &str)| {
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        let raw = answers.iter().map(answer).map(String::into_bytes).collect();
        Self::start_raw(raw).await
    }

    async fn start_raw(mut answers: Vec<Vec<u8>>) -> (Self, Client) {
        let status = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{STATUS}", STATUS.len());
        answers.insert(0, status.into_bytes());
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(socket_path(directory.path())).expect("binds");
        let asked = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("accepts");
                let mut request = [0; 4096];
                let octets = stream.read(&mut request).await.expect("reads");
                let request = String::from_utf8_lossy(&request[..octets]);
                asked.push(request.split(' ').nth(1).expect("a path").to_owned());
                // A client that has read enough may close.
                let _ = stream.write_all(&answer).await;
            }
            asked
        });
        let client = Client::connect(directory.path()).await.expect("answers");
        (Self { directory, asked }, client)
    }

    /// What was asked after connecting.
    async fn asked(self) -> Vec<String> {
        let asked = self.asked.await.expect("no panic");
        drop(self.directory);
        asked[1..].to_vec()
    }
}

fn page(id: &str, next: &str) -> String {
    format!(
        r#"{{"generation":"1-aaaaaa","items":[{{"id":"{id}","networks":[],"action":"deny"}}]{next}}}"#
    )
}

#[tokio::test]
async fn a_listing_that_nobody_has_seen_begins_again() {
    let (first, last) = (page("a", r#","next":"x""#), page("b", ""));
    let (gateway, client) =
        Scripted::start(&[(200, &first), CHANGED, (200, &first), (200, &last)]).await;
    let all = client.all_entries().await.expect("all");
    let ids: Vec<_> = all.items.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    let again = ["/v1/entries?", "/v1/entries?after=x"];
    assert_eq!(gateway.asked().await, [again, again].concat());
}

#[tokio::test]
async fn a_policy_that_never_rests_is_an_error() {
    let first = page("a", r#","next":"x""#);
    let answers = [(200, &*first), CHANGED].repeat(4);
    let (gateway, client) = Scripted::start(&answers).await;
    let error = client.all_entries().await.expect_err("never twice the same");
    assert!(matches!(error, ControlError::PolicyChanged), "{error}");
    assert_eq!(gateway.asked().await.len(), 8);
}

#[tokio::test]
async fn a_refusal_is_told() {
    let (_gateway, client) = Scripted::start(&[
        (500, r#"{"error":"out of order"}"#),
        (404, r#"{"error":"there are …"}"#),
        (500, "oops"),
    ])
    .await;
    let error = client.status().await.expect_err("500").to_string();
    assert_eq!(error, "the gateway refuses to answer (500): out of order");
    let error = client.upstreams().await.expect_err("404").to_string();
    assert_eq!(error, "the gateway refuses to answer (404): there are …");
    let error = client.entry("a").await.expect_err("500").to_string();
    assert_eq!(error, "the gateway refuses to answer (500): without a reason");
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error() {
    let head = |octets: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {octets}\r\n\r\n");
    let endless = [head(65 << 20).into_bytes(), vec![b' '; 65 << 20]].concat();
    let answers = vec![
        Vec::new(),
        b"220 relay.example.com ESMTP\r\n".to_vec(),
        head(100).into_bytes(),
        [head(2).as_bytes(), b"[]"].concat(),
        endless,
    ];
    let (_gateway, client) = Scripted::start_raw(answers).await;
    let error = client.status().await.expect_err("closed at once");
    assert!(matches!(error, ControlError::Exchange(_)), "{error:?}");
    let error = client.status().await.expect_err("not HTTP");
    assert!(matches!(error, ControlError::Exchange(_)), "{error:?}");
    let error = client.status().await.expect_err("cut short");
    assert!(matches!(error, ControlError::Body(_)), "{error:?}");
    let error = client.status().await.expect_err("of another form");
    assert!(matches!(error, ControlError::Answer(_)), "{error:?}");
    let error = client.status().await.expect_err("too long");
    assert!(matches!(error, ControlError::Body(_)), "{error:?}");
}
