//! Bodies so large that they are moved within the kernel: they end where they should, break visibly, and share the
//! worker with others.

use crate::harness::{
    Backend, Client, DEADLINE, Proxy, Raw, Scripted, Step, config, eventually, pattern,
};

/// Large enough to leave a great deal after what is read together with the head.
const LARGE: usize = 3 << 20;

async fn before(endpoint: String) -> Proxy {
    Proxy::start(&config(&[endpoint], "", "", "")).await
}

fn answer(announced: usize, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {announced}\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

#[tokio::test]
async fn a_connection_goes_on_after_a_large_body_in_either_direction() {
    let backend = Backend::start("a");
    let proxy = before(backend.endpoint()).await;
    let mut client = Client::h1(proxy.address()).await;
    let sent = pattern(LARGE);
    for _ in 0..3 {
        let answer = client.get(&format!("/bytes/{LARGE}")).await;
        assert!(answer.body == sent);
        let answer = client.post("/checksum", sent.clone()).await;
        assert_eq!(answer.json()["length"], LARGE);
        assert_eq!(client.get("/").await.text(), "a\n");
    }
    assert_eq!(backend.counters().accepted(), 1, "it was reused");
    assert_eq!(backend.counters().malformed(), 0);
}

#[tokio::test]
async fn what_follows_a_large_request_is_the_next_request() {
    let backend = Backend::start("a");
    let proxy = before(backend.endpoint()).await;
    let mut raw = Raw::connect(proxy.address()).await;
    let body = pattern(LARGE);
    let head = format!("POST /checksum HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n");
    let mut both = head.into_bytes();
    both.extend_from_slice(&body);
    both.extend_from_slice(b"GET /status/418 HTTP/1.1\r\nHost: a\r\n\r\n");
    raw.send(both).await;
    assert_eq!(raw.response_to("POST").await.status(), 200);
    assert_eq!(raw.response().await.status(), 418);
}

#[tokio::test]
async fn bytes_beyond_a_large_answer_are_not_passed_on() {
    let body = pattern(LARGE);
    let mut said = answer(LARGE, &body);
    said.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    let scripted = Scripted::play(vec![
        vec![Step::ReadHead, Step::Write(said), Step::Stall],
        vec![Step::ReadHead, Step::Write(answer(4, b"good"))],
    ])
    .await;
    let proxy = before(scripted.address().to_string()).await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(raw.response().await.body == body);
    raw.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.response().await.text(), "good");
}

#[tokio::test]
async fn a_large_answer_that_breaks_off_is_not_a_whole_one() {
    for last in [Step::Reset, Step::FinishSending] {
        let script = vec![
            Step::ReadHead,
            Step::Write(answer(LARGE, &pattern(LARGE / 2))),
            last,
        ];
        let scripted = Scripted::play(vec![script]).await;
        let proxy = before(scripted.address().to_string()).await;
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(raw.head().await.status(), 200);
        raw.try_exactly(LARGE).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_large_answer_ends_it_at_the_endpoint() {
    let backend = Backend::start("a");
    let proxy = before(backend.endpoint()).await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send(format!(
        "GET /bytes/{} HTTP/1.1\r\nHost: a\r\n\r\n",
        256 << 20
    ))
    .await;
    raw.exactly(LARGE).await;
    raw.reset();
    eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
}

#[tokio::test]
async fn many_large_answers_at_once_arrive_whole() {
    // More than a worker has pipes: the others are copied.
    let backend = Backend::start("a");
    let proxy = before(backend.endpoint()).await;
    let expected = pattern(LARGE);
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send(format!("GET /bytes/{LARGE} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        // Its head is here, and its body waits for a reader, in a pipe if there was one.
        raw.head().await;
        clients.push(raw);
    }
    for raw in &mut clients {
        assert!(raw.exactly(LARGE).await == expected);
    }
}

#[tokio::test]
async fn a_large_answer_to_http10_ends_by_closing() {
    let backend = Backend::start("a");
    let proxy = before(backend.endpoint()).await;
    let mut raw = Raw::connect(proxy.address()).await;
    // Chunks as large as the body: announced data towards a client that knows no chunks.
    raw.send(format!("GET /chunked/{LARGE}/1000000 HTTP/1.0\r\n\r\n"))
        .await;
    let answer = raw.response().await;
    assert!(answer.until_close);
    assert!(answer.body == pattern(LARGE));
}
