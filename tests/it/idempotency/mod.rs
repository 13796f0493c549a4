//! Requests with an idempotency key are executed once, whoever repeats them, leaves or fails meanwhile.

mod bounds;
mod chaos;
mod leaving;
mod outcomes;
mod scope;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::{Method, Request};
use plimsoll::clock::Clock;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::harness::{
    Answer, Backend, Client, DEADLINE, FAST, Outgoing, Proxy, Raw, Scripted, Step, eventually,
    request,
};

/// Two workers before these endpoints; `rules` are keys of `idempotency`, `upstream` of the upstream.
fn yaml(endpoints: &[String], rules: &str, upstream: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|one| format!("{one:?}")).collect();
    format!(
        "workers: 2\n\
         listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ name: pay, upstream: pool, idempotency: {{ {rules} }} }} ]\n\
         upstreams: {{ pool: {{ endpoints: [{}], {upstream} }} }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n",
        endpoints.join(", ")
    )
}

async fn before(endpoint: &str, rules: &str, upstream: &str) -> Proxy {
    Proxy::start(&yaml(&[endpoint.to_owned()], rules, upstream)).await
}

/// The same on a clock on which seconds are short; nothing of the client's is late.
async fn fast_before(endpoint: &str, rules: &str, upstream: &str) -> Proxy {
    let patient = "\"127.0.0.1:0\", timeouts: { head: 1h, keep_alive: 24h, body: 24h }";
    let yaml = yaml(&[endpoint.to_owned()], rules, upstream);
    let yaml = yaml.replacen("\"127.0.0.1:0\"", patient, 1);
    Proxy::start_on(Clock::scaled(FAST), &yaml).await
}

/// A POST with this key.
fn keyed(key: &str, path: &str, body: impl Into<bytes::Bytes>) -> Request<Outgoing> {
    let mut request = request(Method::POST, path, Outgoing::whole(body));
    let fields = request.headers_mut();
    fields.insert("idempotency-key", key.parse().unwrap());
    request
}

/// With a field more.
fn with(mut request: Request<Outgoing>, name: &'static str, value: &str) -> Request<Outgoing> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

async fn client(h2: bool, address: SocketAddr) -> Client {
    if h2 {
        Client::h2(address).await
    } else {
        Client::h1(address).await
    }
}

/// Sends on a connection of its own.
async fn post(proxy: &Proxy, request: Request<Outgoing>) -> Answer {
    Client::h1(proxy.address()).await.send(request).await
}

fn is_replayed(answer: &Answer) -> bool {
    match answer.header("idempotent-replayed") {
        None => false,
        Some("true") => true,
        Some(other) => panic!("{other}"),
    }
}

/// The field lines but the marker, and the body.
fn content(answer: &Answer) -> (u16, Vec<(String, Vec<u8>)>, bytes::Bytes) {
    let fields = answer.headers.iter();
    let fields = fields.filter(|(name, _)| *name != "idempotent-replayed");
    let fields = fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    (
        answer.status.as_u16(),
        fields.collect(),
        answer.body.clone(),
    )
}

#[tokio::test]
async fn a_repeat_gets_the_first_result_byte_for_byte() {
    for (h2, protocol) in [(false, "h1"), (true, "h1"), (false, "h2"), (true, "h2")] {
        let backend = Backend::start("a");
        let upstream = format!("protocol: {protocol}");
        let proxy = before(&backend.endpoint(), "", &upstream).await;
        let mut client = client(h2, proxy.address()).await;
        for (number, path) in [
            "/echo",
            "/trailers",
            "/status/500",
            "/status/204",
            "/chunked/9/2/0",
        ]
        .into_iter()
        .enumerate()
        {
            let key = format!("\"key-{number}\"");
            let first = client.send(keyed(&key, path, "pay 5")).await;
            assert!(!is_replayed(&first), "{path}: {first:?}");
            for _ in 0..3 {
                let again = client.send(keyed(&key, path, "pay 5")).await;
                assert!(is_replayed(&again), "{path}: {again:?}");
                assert_eq!(content(&again), content(&first), "{path}, {protocol}");
                assert_eq!(again.trailers, first.trailers, "{path}");
            }
            let executed = backend.counters().requests();
            assert_eq!(executed, number as u64 + 1, "{path}");
        }
    }
}

#[tokio::test]
async fn duplicates_at_once_wait_on_all_workers_for_one_execution() {
    const CLIENTS: usize = 24;
    let backend = Backend::labelled("a").latency("300ms").start();
    let proxy = before(&backend.endpoint(), "", "").await;
    let address = proxy.address();
    let mut answers = JoinSet::new();
    for number in 0..CLIENTS {
        answers.spawn(async move {
            let mut client = client(number % 2 == 1, address).await;
            client.send(keyed("once", "/echo", "pay 5")).await
        });
    }
    let answers = answers.join_all().await;
    assert_eq!(backend.counters().requests(), 1);
    let replayed = answers.iter().filter(|answer| is_replayed(answer)).count();
    assert_eq!(replayed, CLIENTS - 1);
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "pay 5"));
    }
}

#[tokio::test]
async fn a_duplicate_gets_409_where_it_shall_not_wait() {
    let word = Arc::new(Notify::new());
    let script = vec![Step::ReadRequest, Step::Wait(Arc::clone(&word)), Step::ok()];
    let endpoint = Scripted::play(vec![script]).await;
    let rules = "on_duplicate: conflict";
    let proxy = before(&endpoint.address().to_string(), rules, "").await;
    let address = proxy.address();
    let first = tokio::spawn(async move {
        let mut client = Client::h1(address).await;
        client.send(keyed("once", "/echo", "pay 5")).await
    });
    eventually(DEADLINE, || endpoint.requests().len() == 1).await;
    let mut client = Client::h1(address).await;
    let second = client.send(keyed("once", "/echo", "pay 5")).await;
    second.assert_told(409, "http_request_denied", "idempotency_key_in_use");
    word.notify_one();
    assert_eq!(first.await.unwrap().status, 200);
    // The same connection is still of use.
    assert!(is_replayed(
        &client.send(keyed("once", "/echo", "pay 5")).await
    ));
    assert_eq!(endpoint.requests().len(), 1);
}

#[tokio::test]
async fn another_request_with_the_same_key_is_refused_before_anything_is_shown() {
    let backend = Backend::start("a");
    let proxy = before(&backend.endpoint(), "", "").await;
    for h2 in [false, true] {
        let mut client = client(h2, proxy.address()).await;
        let key = if h2 { "two" } else { "one" };
        client.send(keyed(key, "/echo", "pay 5")).await;
        for request in [
            keyed(key, "/echo", "pay 6"),
            keyed(key, "/echo", ""),
            keyed(key, "/echo?amount=6", "pay 5"),
        ] {
            let answer = client.send(request).await;
            answer.assert_told(422, "http_request_denied", "idempotency_key_mismatch");
        }
    }
    assert_eq!(backend.counters().requests(), 2);
}

#[tokio::test]
async fn methods_without_keys_are_executed_as_ever() {
    let backend = Backend::start("a");
    let proxy = before(&backend.endpoint(), "required: true", "").await;
    let mut client = Client::h1(proxy.address()).await;
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        for _ in 0..2 {
            let mut request = request(method.clone(), "/", Outgoing::empty());
            let fields = request.headers_mut();
            fields.insert("idempotency-key", "once".parse().unwrap());
            let answer = client.send(request).await;
            assert!(answer.status == 200 && !is_replayed(&answer), "{answer:?}");
        }
    }
    assert_eq!(backend.counters().requests(), 8);
}

#[tokio::test]
async fn without_a_key_a_request_is_executed_as_ever() {
    let backend = Backend::start("a");
    let proxy = before(&backend.endpoint(), "", "").await;
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..2 {
        let answer = client.post("/echo", "pay 5").await;
        assert!(answer.status == 200 && !is_replayed(&answer), "{answer:?}");
    }
    assert_eq!(backend.counters().requests(), 2);
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_to_go_on_is() {
    let backend = Backend::start("a");
    let proxy = before(&backend.endpoint(), "", "").await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send(
        "POST /headers HTTP/1.1\r\nHost: a\r\nIdempotency-Key: \"1\"\r\nExpect: 100-continue\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
    )
    .await;
    assert_eq!(raw.head().await.status(), 100);
    raw.send("5\r\npay 5\r\n0\r\nChecksum: 1\r\n\r\n").await;
    let answer = raw.response().await;
    assert_eq!(answer.status(), 200);
    // What the endpoint gets is a whole message that nobody has to be asked for.
    let told = answer.json();
    let told = |name: &str| crate::harness::field(&told, name).map(str::to_owned);
    assert_eq!(told("expect"), None);
    assert_eq!(told("transfer-encoding"), None);
    assert_eq!(told("content-length").as_deref(), Some("5"));
    assert_eq!(told("idempotency-key").as_deref(), Some("\"1\""));
}

#[tokio::test]
async fn a_large_request_and_its_result_are_carried_whole() {
    let body = crate::harness::pattern(900_000);
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let upstream = format!("protocol: {protocol}");
        let proxy = before(&backend.endpoint(), "", &upstream).await;
        for h2 in [false, true] {
            let mut client = client(h2, proxy.address()).await;
            let answer = client.send(keyed("large", "/echo", body.clone())).await;
            assert!(answer.status == 200 && answer.body == body);
            assert_eq!(is_replayed(&answer), h2);
        }
        assert_eq!(backend.counters().requests(), 1);
    }
}
