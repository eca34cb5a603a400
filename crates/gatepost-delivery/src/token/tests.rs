use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Mutex as StdMutex;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response as Answer, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;

fn secret(text: &str) -> Secret {
    Secret::new(Zeroizing::new(text.as_bytes().to_vec())).expect("a secret")
}

/// A token endpoint on loopback that answers from a list, the last one for ever.
struct Endpoint {
    address: SocketAddr,
    asked: Arc<StdMutex<Vec<String>>>,
}

impl Endpoint {
    async fn start(answers: &[(u16, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let asked = Arc::new(StdMutex::new(Vec::new()));
        let answers: Arc<[(u16, String)]> =
            answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        let record = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (record, answers) = (Arc::clone(&record), Arc::clone(&answers));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (record, answers) = (Arc::clone(&record), Arc::clone(&answers));
                    async move {
                        let form = read(request).await;
                        let mut asked = record.lock().expect("no panic holds it");
                        asked.push(form);
                        let (status, body) =
                            answers.get(asked.len() - 1).or(answers.last()).expect("an answer");
                        let mut answer = Answer::new(body.clone());
                        *answer.status_mut() = StatusCode::from_u16(*status).expect("a status");
                        answer.headers_mut().insert("location", "/elsewhere".parse().expect("x"));
                        Ok::<_, Infallible>(answer)
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service);
                tokio::spawn(connection);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic holds it").clone()
    }

    fn source(&self) -> Arc<TokenSource> {
        source(&format!("http://{}/token", self.address))
    }
}

/// The method and the body.
async fn read(request: Request<Incoming>) -> String {
    use hyper::body::Body as _;
    let mut text = format!("{} ", request.method());
    let mut body = std::pin::pin!(request.into_body());
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let data = frame.expect("arrives").into_data().expect("has no trailers");
        text.push_str(std::str::from_utf8(&data).expect("a form is ASCII"));
    }
    text
}

fn source(endpoint: &str) -> Arc<TokenSource> {
    let ca = gatepost_testkit::ThrowAwayCa::new();
    TokenSource::new(TokenConfig {
        upstream: "sink".into(),
        endpoint: endpoint.parse().expect("an endpoint"),
        roots: Roots::from_pem(ca.pem().as_bytes()).expect("roots"),
        client_id: "app id".into(),
        client_secret: secret("s&cret=").into(),
        scope: Some("https://outlook.example/.default".into()),
    })
}

const GOOD: &str = r#"{"token_type":"Bearer","expires_in":3599,"access_token":"aaa.bbb"}"#;
const BETTER: &str = r#"{"token_type":"bearer","expires_in":"3599","access_token":"ccc"}"#;

#[tokio::test]
async fn one_request_for_all_who_ask_and_none_while_the_token_is_good() {
    let endpoint = Endpoint::start(&[(200, GOOD)]).await;
    let source = endpoint.source();
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let source = Arc::clone(&source);
            tokio::spawn(async move { source.token().await })
        })
        .collect();
    for one in asking {
        let token = one.await.expect("no panic").expect("a token");
        assert_eq!(token.expose(), b"aaa.bbb");
    }
    let form = "POST grant_type=client_credentials&client_id=app+id&client_secret=s%26cret%3D\
                &scope=https%3A%2F%2Foutlook.example%2F.default";
    assert_eq!(endpoint.asked(), [form]);
}

#[tokio::test]
async fn a_token_that_was_not_taken_is_replaced() {
    let endpoint = Endpoint::start(&[(200, GOOD), (200, BETTER)]).await;
    let source = endpoint.source();
    let first = source.token().await.expect("a token");
    source.invalidate(&secret("another")).await;
    assert_eq!(source.token().await.expect("a token"), first);
    source.invalidate(&first).await;
    assert_eq!(source.token().await.expect("a token").expose(), b"ccc");
}

#[expect(clippy::unnecessary_wraps, reason = "what the endpoint has said")]
fn granted(text: &str, seconds: u64) -> Result<Granted, TokenError> {
    let lifetime = Duration::from_secs(seconds);
    Ok(Granted { token: secret(text), lifetime })
}

#[test]
fn a_token_is_renewed_before_its_end_and_used_until_then() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let down = || Err(TokenError::Unreachable("down".into()));
    let mut state = State::default();
    assert_eq!(state.known(start), None);
    let first = state.learn(granted("first", 3600), start).expect("a token");
    assert_eq!(state.known(at(3299)), Some(Ok(Arc::clone(&first))));
    assert_eq!(state.known(at(3300)), None, "five minutes before its end another is wanted");
    assert_eq!(state.learn(down(), at(3300)), Ok(Arc::clone(&first)));
    assert_eq!(state.known(at(3301)), Some(Ok(Arc::clone(&first))), "nobody asks meanwhile");
    assert_eq!(state.known(at(3302)), None);
    assert_eq!(state.learn(down(), at(3600)), down().map(|_: Granted| first), "it has ended");
    let second = state.learn(granted("second", 40), at(3700)).expect("a token");
    assert_eq!(state.known(at(3729)), Some(Ok(second)), "a short life is used for three quarters");
    assert_eq!(state.known(at(3730)), None);
}

#[test]
fn pauses_grow_and_end_with_a_success() {
    let start = Instant::now();
    let down = || Err(TokenError::Unreachable("down".into()));
    let mut state = State::default();
    let mut now = start;
    let mut pauses = Vec::new();
    for _ in 0..10 {
        state.learn(down(), now).expect_err("is down");
        let again_at = state.failed.as_ref().expect("has failed").again_at;
        pauses.push((again_at - now).as_secs());
        now = again_at;
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    state.learn(granted("a", 60), now).expect("a token");
    state.held = None;
    state.learn(down(), now).expect_err("is down");
    assert_eq!(state.known(now + PAUSES[0]), None);
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_not_asked_again_at_once() {
    let refusal =
        "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215:\\r\\nwrong\"}";
    let endpoint = Endpoint::start(&[(401, refusal)]).await;
    let source = endpoint.source();
    let error = source.token().await.expect_err("is refused");
    assert_eq!(
        error.to_string(),
        "the token endpoint refuses: 401 Unauthorized: invalid_client: AADSTS7000215:  wrong"
    );
    for _ in 0..5 {
        assert_eq!(source.token().await.expect_err("is refused"), error);
    }
    assert_eq!(endpoint.asked().len(), 1);
}

#[tokio::test]
async fn what_is_no_token_is_not_taken_for_one() {
    let long =
        format!(r#"{{"token_type":"Bearer","access_token":"{}"}}"#, "a".repeat(8 * 1024 + 1));
    let endless = "x".repeat(ANSWER_OCTETS_MAX + 1);
    for (status, body, words) in [
        (200, "<html>", "not the JSON"),
        (200, "{}", "not the JSON"),
        (200, r#"{"token_type":"mac","access_token":"a"}"#, "not a bearer token"),
        (200, r#"{"token_type":"Bearer","access_token":""}"#, "not a token"),
        (200, "{\"token_type\":\"Bearer\",\"access_token\":\"a\\u0001auth=\"}", "not a token"),
        (200, r#"{"token_type":"Bearer","access_token":"a","expires_in":"soon"}"#, "expires_in"),
        (200, &long, "longer than 8 KiB"),
        (200, &endless, "longer than 64 KiB"),
        (302, "", "refuses: 302 Found: no reason given"),
        (503, "busy", "503 Service Unavailable"),
    ] {
        let endpoint = Endpoint::start(&[(status, body)]).await;
        let error = endpoint.source().token().await.expect_err("is no token").to_string();
        assert!(error.contains(words), "{status}: {error}");
        assert_eq!(endpoint.asked().len(), 1, "nobody follows a redirect");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_named() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        listener.local_addr().expect("is bound")
    };
    let error = source(&format!("http://{closed}/token")).token().await.expect_err("nobody there");
    let text = error.to_string();
    assert!(text.starts_with("the token endpoint cannot be reached: "), "{text}");
    assert!(text.contains("refused"), "{text}");
    assert!(!text.contains("s&cret"), "{text}");
}

#[test]
fn a_secret_goes_to_nobody_who_could_be_overheard() {
    for good in [
        "https://login.microsoftonline.com/tenant/oauth2/v2.0/token",
        "http://127.0.0.1:8080/token",
        "http://[::1]/token",
        "http://localhost/token",
    ] {
        assert!(good.parse::<TokenEndpoint>().is_ok(), "{good}");
    }
    for plain in ["http://login.example.com/token", "http://10.0.0.1/token"] {
        assert_eq!(plain.parse::<TokenEndpoint>(), Err(TokenEndpointError::Plain));
    }
    for wrong in
        ["", "login.example.com", "ftp://a/b", "https://user:pw@a/b", "https://a/b#c", "https:///"]
    {
        assert_eq!(wrong.parse::<TokenEndpoint>(), Err(TokenEndpointError::Malformed), "{wrong}");
    }
}

/// Whoever opens a connection gives up sooner than the endpoint: it is left alone all the same.
#[tokio::test]
async fn a_request_that_nobody_waits_for_is_still_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let source = source(&format!("http://{}/token", listener.local_addr().expect("is bound")));
    for _ in 0..3 {
        let given_up = tokio::time::timeout(Duration::from_millis(50), source.token()).await;
        assert!(given_up.is_err(), "nobody answers");
    }
    let mut asked = 0;
    while let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await
    {
        asked += 1;
    }
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn an_endpoint_that_repeats_the_secret_is_not_quoted() {
    let refusal = r#"{"error":"invalid_client","error_description":"no such secret: s&cret="}"#;
    let endpoint = Endpoint::start(&[(401, refusal)]).await;
    let error = endpoint.source().token().await.expect_err("is refused").to_string();
    assert!(!error.contains("s&cret"), "{error}");
}
