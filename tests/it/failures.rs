//! What goes wrong at an endpoint or at the client is told for what it is, and never looks like a whole answer.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::harness::{
    Answer, Backend, Client, Closed, DEADLINE, Outgoing, Proxy, Raw, Scripted, Step, config,
    eventually, request, within,
};

async fn before(endpoints: &[String], upstream: &str) -> Proxy {
    Proxy::start(&config(endpoints, "", "", upstream)).await
}

#[tokio::test]
async fn a_refused_connection_goes_to_the_next_endpoint() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let closed = [Closed::new(), Closed::new()];
        let endpoints = [
            closed[0].endpoint(),
            backend.endpoint(),
            closed[1].endpoint(),
        ];
        let upstream = format!("protocol: {protocol}, balance: round_robin");
        let proxy = before(&endpoints, &upstream).await;
        let mut client = Client::h1(proxy.address()).await;
        for _ in 0..6 {
            assert_eq!(client.get("/").await.backend(), Some("a"));
            let answer = client.post("/checksum", vec![7; 100_000]).await;
            assert_eq!(
                answer.json()["length"],
                100_000,
                "nothing was sent yet, so a POST may go elsewhere"
            );
        }
    }
}

#[tokio::test]
async fn when_all_refuse_the_client_is_told() {
    let closed = [Closed::new(), Closed::new()];
    let endpoints = closed.each_ref().map(Closed::endpoint);
    let proxy = before(&endpoints, "").await;
    for mut client in [
        Client::h1(proxy.address()).await,
        Client::h2(proxy.address()).await,
    ] {
        let answer = client.post("/", vec![7; 100_000]).await;
        answer.assert_told(502, "connection_refused", "connection_refused");
        let answer = client.get("/").await;
        answer.assert_told(502, "connection_refused", "connection_refused");
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_speak_http2_is_told_apart() {
    let refusal = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec();
    for script in [
        vec![Step::Write(refusal)],
        vec![Step::ReadBytes(24), Step::Reset],
    ] {
        let scripted = Scripted::play(vec![script]).await;
        let endpoint = scripted.address().to_string();
        let proxy = before(std::slice::from_ref(&endpoint), "protocol: h2").await;
        let mut client = Client::h1(proxy.address()).await;
        let answer = client.post("/", "body").await;
        answer.assert_told(502, "http_protocol_error", "not_http2");

        // Nothing of the request was sent, so that another endpoint may have it.
        let backend = Backend::start("a");
        let upstream = "protocol: h2, balance: round_robin";
        let proxy = before(&[endpoint, backend.endpoint()], upstream).await;
        let mut client = Client::h1(proxy.address()).await;
        for _ in 0..4 {
            assert_eq!(client.post("/", "body").await.backend(), Some("a"));
        }
    }
}

#[tokio::test]
async fn a_request_that_met_a_stale_connection_is_replayed_once_if_harmless() {
    for second in [vec![Step::ReadHead], vec![Step::ReadHead, Step::Reset]] {
        let scripted = Scripted::stale(second.clone()).await;
        let proxy = before(&[scripted.address().to_string()], "").await;
        let mut client = Client::h1(proxy.address()).await;
        assert_eq!(client.get("/1").await.status, StatusCode::OK);
        assert_eq!(client.get("/2").await.status, StatusCode::OK);
        assert_eq!(scripted.heads().len(), 3, "the second was sent twice");

        let scripted = Scripted::stale(second).await;
        let proxy = before(&[scripted.address().to_string()], "").await;
        let mut client = Client::h1(proxy.address()).await;
        assert_eq!(client.get("/1").await.status, StatusCode::OK);
        let answer = client.post("/2", "body").await;
        answer.assert_told(502, "connection_terminated", "connection_closed");
        assert_eq!(scripted.heads().len(), 2);
    }
    // A byte of an answer came: nobody knows what was done.
    let scripted = Scripted::stale(vec![Step::ReadHead, Step::write("HTTP/1.1 2")]).await;
    let proxy = before(&[scripted.address().to_string()], "retry: off").await;
    let mut client = Client::h1(proxy.address()).await;
    assert_eq!(client.get("/1").await.status, StatusCode::OK);
    assert_eq!(client.get("/2").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(scripted.heads().len(), 2);
}

#[tokio::test]
async fn a_fresh_connection_that_dies_is_not_replayed() {
    let backend = Backend::start("a");
    let proxy = before(&[backend.endpoint()], "retry: off").await;
    let mut client = Client::h1(proxy.address()).await;
    let answer = client.get("/gone").await;
    answer.assert_told(502, "connection_terminated", "connection_closed");
    assert_eq!(backend.counters().requests(), 1);
}

#[tokio::test]
async fn a_stream_that_was_not_processed_is_sent_once_more_whatever_its_method() {
    let backend = Backend::start("a");
    let proxy = before(&[backend.endpoint()], "protocol: h2").await;
    let mut client = Client::h1(proxy.address()).await;
    let answer = client.post("/gone", "").await;
    answer.assert_told(502, "http_protocol_error", "unprocessed");
    assert_eq!(backend.counters().requests(), 2);
    assert_eq!(
        backend.counters().accepted(),
        2,
        "the second time on a new connection"
    );
}

#[tokio::test]
async fn what_an_endpoint_that_leaves_did_not_process_is_answered_on_a_new_connection() {
    // GOAWAY that covers no stream.
    let leave = || Step::write("\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let script = |answer: Step| {
        vec![
            Step::h2_greeting(),
            // More than what comes before the request, and less than with it.
            Step::ReadBytes(600),
            answer,
            Step::Stall,
        ]
    };
    let post = async |scripted: &Scripted| {
        let proxy = before(&[scripted.address().to_string()], "protocol: h2").await;
        let mut client = Client::h1(proxy.address()).await;
        let asked = hyper::Request::builder().method(Method::POST).uri("/");
        let asked = asked.header("x-long", "x".repeat(1000));
        client.send(asked.body(Outgoing::empty()).unwrap()).await
    };
    let scripted = Scripted::play(vec![script(leave()), script(Step::h2_ok())]).await;
    assert_eq!(post(&scripted).await.status, StatusCode::OK);
    let scripted = Scripted::play(vec![
        script(leave()),
        script(leave()),
        script(Step::h2_ok()),
    ])
    .await;
    let answer = post(&scripted).await;
    answer.assert_told(502, "http_protocol_error", "unprocessed");
}

#[tokio::test]
async fn a_body_cut_short_is_never_a_whole_one() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let upstream = format!("protocol: {protocol}, breaker: off");
        let proxy = before(&[backend.endpoint()], &upstream).await;
        for path in [
            "/drop/500",
            "/drop/500/chunked",
            "/drop/100000",
            "/reset/500",
            "/reset/0",
        ] {
            for h2 in [false, true] {
                let mut client = if h2 {
                    Client::h2(proxy.address()).await
                } else {
                    Client::h1(proxy.address()).await
                };
                let answer = client.try_get(path).await;
                let what = format!("{protocol}, h2 {h2}, {path}: {answer:?}");
                // A reset may overtake the head that it follows; then it is a 502. HTTP/2 knows no other break.
                let may_be_told = protocol == "h2" || path.starts_with("/reset");
                if let Ok(answer) = answer {
                    assert!(may_be_told, "{what}");
                    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{what}");
                }
            }
        }
        eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
    }
}

/// Its head and a part of its body have reached the client, so that no 502 can take their place.
#[tokio::test]
async fn a_stream_that_breaks_off_within_its_body_is_never_a_whole_answer() {
    /// HEADERS of stream 1 without an end: status 200; and DATA.
    const PART: &[u8] = b"\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x03\0\0\0\0\0\x01abc";
    // RST_STREAM of stream 1: INTERNAL_ERROR.
    let reset = Step::write("\0\0\x04\x03\0\0\0\0\x01\0\0\0\x02");
    for end in [vec![reset, Step::Stall], vec![Step::Reset], vec![]] {
        for h2 in [false, true] {
            let told = Arc::new(Notify::new());
            let mut script = vec![
                Step::h2_greeting(),
                // More than what comes before the request, and less than with it.
                Step::ReadBytes(600),
                Step::write(PART),
                Step::Wait(Arc::clone(&told)),
            ];
            script.extend(end.clone());
            let scripted = Scripted::play(vec![script]).await;
            let proxy = before(&[scripted.address().to_string()], "protocol: h2").await;
            let mut client = if h2 {
                Client::h2(proxy.address()).await
            } else {
                Client::h1(proxy.address()).await
            };
            let mut asked = request(Method::GET, "/", Outgoing::empty());
            let long = "x".repeat(1000).parse().unwrap();
            asked.headers_mut().insert("x-long", long);
            let response = client.open(asked).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{end:?}, h2 {h2}");
            let mut body = response.into_body();
            let piece = within(body.frame()).await.unwrap().unwrap();
            assert_eq!(piece.into_data().unwrap(), "abc", "{end:?}, h2 {h2}");
            told.notify_one();
            let rest = within(body.collect()).await;
            assert!(rest.is_err(), "{end:?}, h2 {h2}: {rest:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_marked_for_the_client() {
    let answer = b"HTTP/1.1 200 OK\r\n\r\nto the end".to_vec();
    let whole = vec![Step::ReadHead, Step::Write(answer.clone())];
    let cut = vec![
        Step::ReadHead,
        Step::Write(answer),
        Step::ReadBytes(1),
        Step::Reset,
    ];
    let scripted = Scripted::play(vec![whole, cut]).await;
    let proxy = before(&[scripted.address().to_string()], "").await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = raw.response().await;
    assert_eq!(
        (answer.field("transfer-encoding"), answer.text()),
        (Some("chunked"), "to the end")
    );
    assert!(answer.keeps_alive());
    // The body's byte lets the endpoint reset the connection after its answer was read.
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
        .await;
    assert_eq!(raw.head().await.status(), 200);
    raw.send("x").await;
    let rest = raw.rest().await;
    assert!(!rest.is_ok_and(|rest| rest.ends_with(b"0\r\n\r\n")));
}

#[tokio::test]
async fn a_malformed_answer_is_a_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 1\n\n",
        "nonsense\r\n\r\n",
    ] {
        let scripted = Scripted::start(vec![answer.into()]).await;
        let proxy = before(&[scripted.address().to_string()], "").await;
        let answer = Client::h1(proxy.address()).await.get("/").await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert!(
            answer
                .header("proxy-status")
                .unwrap()
                .contains("http_protocol_error")
        );
    }
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100);
    let scripted = Scripted::start(vec![interim.into()]).await;
    let proxy = before(&[scripted.address().to_string()], "").await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = raw.response().await;
    assert_eq!((answer.status(), answer.interim.len()), (502, 32));
}

#[tokio::test]
async fn an_early_answer_passes_while_the_body_still_comes() {
    let early =
        b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"
            .to_vec();
    let script = vec![Step::ReadHead, Step::Write(early), Step::Stall];
    let scripted = Scripted::play(vec![script]).await;
    let proxy = before(&[scripted.address().to_string()], "").await;
    let head = |length| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    // A short rest is read and thrown away: the connection goes on.
    let mut raw = Raw::connect(proxy.address()).await;
    for _ in 0..2 {
        raw.send(head(100_000)).await;
        assert_eq!(raw.response().await.status(), 413);
        raw.send(vec![0; 100_000]).await;
    }
    // A long one is not.
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send(head(1_000_000_000)).await;
    assert_eq!(raw.response().await.status(), 413);
    let piece = vec![0; 100_000];
    let mut pieces = 0;
    while raw.try_send(&piece).await.is_ok() {
        pieces += 1;
        assert!(pieces < 1000, "all of it is read");
    }

    let mut client = Client::h2(proxy.address()).await;
    let (mut upload, body) = Outgoing::pieces();
    let asked = request(Method::POST, "/", body);
    let response = client.open(asked).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(within(Answer::read(response)).await.unwrap().text(), "no");
    while upload.send(piece.clone()).await {}
    assert_eq!(
        client.try_get("/").await.unwrap().status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_refused() {
    let backend = Backend::start("a");
    let yaml = config(
        &[backend.endpoint()],
        "limits: { body_bytes: 1000B }",
        "",
        "",
    );
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::h1(proxy.address()).await;
    assert_eq!(
        client.post("/checksum", vec![0; 1000]).await.status,
        StatusCode::OK
    );
    let answer = client.post("/checksum", vec![0; 1001]).await;
    answer.assert_told(413, "http_request_denied", "body_too_large");
    assert_eq!(
        backend.counters().requests(),
        1,
        "it was known before an endpoint was asked"
    );
    let (mut upload, body) = Outgoing::pieces();
    let asked = request(Method::POST, "/checksum", body);
    let sending = tokio::spawn(async move { while upload.send(vec![0; 600]).await {} });
    let mut client = Client::h2(proxy.address()).await;
    assert_eq!(
        client.open(asked).await.unwrap().status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
    drop(client);
    within(sending).await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_holds_the_endpoint_back() {
    // More than all socket buffers on the way can take.
    const BODY: usize = 64 << 20;
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let proxy = before(&[backend.endpoint()], &format!("protocol: {protocol}")).await;
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send(format!("GET /bytes/{BODY} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(raw.head().await.status(), 200);
        // Nothing is read meanwhile: the backend cannot have written it all.
        assert_eq!(backend.counters().in_flight(), 1);
        let mut other = Client::h1(proxy.address()).await;
        for _ in 0..200 {
            other.get("/").await;
        }
        assert_eq!(backend.counters().in_flight(), 1);
        for _ in 0..BODY / (1 << 20) {
            raw.exactly(1 << 20).await;
        }
        eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_read_holds_the_client_back() {
    let scripted = Scripted::play(vec![vec![Step::ReadHead, Step::Stall]]).await;
    let proxy = before(&[scripted.address().to_string()], "").await;
    let mut stream = tokio::net::TcpStream::connect(proxy.address())
        .await
        .unwrap();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    eventually(DEADLINE, || scripted.heads().len() == 1).await;
    let piece = vec![0; 1 << 20];
    let mut sent = 0;
    // Until no more goes in for a while.
    while let Ok(count) =
        tokio::time::timeout(std::time::Duration::from_millis(300), stream.write(&piece)).await
    {
        sent += count.unwrap();
    }
    assert!(sent < 64 << 20, "{sent}");
}

#[tokio::test]
async fn an_error_is_told_in_the_form_that_is_asked_for_and_with_its_id() {
    let yaml = "listeners: { web: { address: \"127.0.0.1:0\" } }\nroutes: []\n";
    let proxy = Proxy::start(yaml).await;
    for mut client in [
        Client::h1(proxy.address()).await,
        Client::h2(proxy.address()).await,
    ] {
        let mut ids = Vec::new();
        for (accept, is_json) in [
            ("*/*", false),
            ("text/html, Application/JSON", true),
            ("application/json;q=0, text/plain", false),
            ("application/problem+json", true),
        ] {
            let asked = hyper::Request::get("/").header("accept", accept);
            let answer = client.send(asked.body(Outgoing::empty()).unwrap()).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
            let id = answer.header("x-request-id").unwrap().to_owned();
            assert_eq!(id.len(), 16, "{id}");
            if is_json {
                assert_eq!(answer.header("content-type"), Some("application/json"));
                assert_eq!(answer.json()["request_id"], *id, "{accept}");
            } else {
                let text = answer.text();
                assert!(text.contains(&format!("request {id}\n")), "{accept}");
            }
            assert!(!ids.contains(&id));
            ids.push(id);
        }
    }
}
