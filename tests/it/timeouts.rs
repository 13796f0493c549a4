//! Every wait has an end, and an answer of its own; what moves, or may rest, is left alone. The proxy's clock runs
//! fast, so that long timeouts are short.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{Method, Request, StatusCode};
use plimsoll::clock::Clock;
use plimsoll::observe::{Metric, Phase};
use tokio::net::TcpStream;

use crate::harness::{
    Backend, Client, DEADLINE, FAST, Outgoing, Proxy, Raw, Scripted, Step, config, eventually,
    pass, within,
};

/// Other timeouts than the one under test, far away.
const LISTENER: &str = "head: 1h, keep_alive: 24h, body: 24h";
const UPSTREAM: &str = "connect: 1h, first_byte: 24h, total: 24h, idle: 24h";

/// With these timeouts, which stand before those that are far away.
async fn before(endpoint: String, listener: &str, upstream: &str, protocol: &str) -> Proxy {
    let yaml = config(
        &[endpoint],
        &format!("timeouts: {{ {} }}", merged(listener, LISTENER)),
        "",
        &format!(
            "protocol: {protocol}, timeouts: {{ {} }}",
            merged(upstream, UPSTREAM)
        ),
    );
    Proxy::start_on(Clock::scaled(FAST), &yaml).await
}

/// `own`, and what it does not name of `others`.
fn merged(own: &str, others: &str) -> String {
    let named = |key: &str| {
        own.split(", ")
            .any(|pair| pair.split(':').next() == Some(key))
    };
    let kept = others
        .split(", ")
        .filter(|pair| !named(pair.split(':').next().unwrap()));
    let own = Some(own).filter(|own| !own.is_empty());
    own.into_iter().chain(kept).collect::<Vec<_>>().join(", ")
}

async fn each_client(proxy: &Proxy) -> [Client; 2] {
    [
        Client::h1(proxy.address()).await,
        Client::h2(proxy.address()).await,
    ]
}

#[tokio::test]
async fn a_shared_connection_that_fell_silent_is_used_no_more() {
    let greet = Step::h2_greeting();
    let silent = vec![greet.clone(), Step::Stall];
    // More than what comes before the request, and less than with it.
    let answering = vec![greet, Step::ReadBytes(600), Step::h2_ok(), Step::Stall];
    let scripted = Scripted::play(vec![silent, answering]).await;
    let endpoint = scripted.address().to_string();
    let proxy = before(endpoint, "", "first_byte: 10s", "h2").await;
    let mut client = Client::h1(proxy.address()).await;
    let answer = client.get("/").await;
    answer.assert_told(504, "http_response_timeout", "first_byte_timeout");
    let asked = Request::builder().method(Method::POST).uri("/");
    let asked = asked.header("x-long", "x".repeat(1000));
    let answer = client.send(asked.body(Outgoing::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_slow_head_is_a_408_and_silence_is_closed() {
    let backend = Backend::start("a");
    let proxy = before(backend.endpoint(), "head: 10s", "", "h1").await;
    let mut silent = Raw::connect(proxy.address()).await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.response().await.status(), 200);
    raw.send("GET / HTTP/1.1\r\nHos").await;
    let answer = raw.response().await;
    assert_eq!((answer.status(), answer.keeps_alive()), (408, false));
    assert!(answer.field("proxy-status").unwrap().contains("slow_head"));
    raw.expect_closed().await;
    silent.expect_closed().await;
}

#[tokio::test]
async fn a_head_that_came_in_parts_counts_from_its_first_byte() {
    let backend = Backend::start("a");
    let proxy = before(backend.endpoint(), "", "", "h1").await;
    let mut raw = Raw::connect(proxy.address()).await;
    // Once in one piece, once in two: the time before the first byte is nobody's.
    pass(Duration::from_secs(20)).await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.response().await.status(), 200);
    eventually(DEADLINE, || proxy.report().routes[0].total.count == 1).await;
    let whole = proxy.report().routes[0].total.max.unwrap();
    assert!(whole < Duration::from_secs(20), "{whole:?}");
    raw.send("GET / HTTP/1.1\r\nHos").await;
    pass(Duration::from_secs(20)).await;
    raw.send("t: a\r\n\r\n").await;
    assert_eq!(raw.response().await.status(), 200);
    eventually(DEADLINE, || proxy.report().routes[0].total.count == 2).await;
    let route = &proxy.report().routes[0];
    assert!(route.total.max.unwrap() >= Duration::from_secs(18));
    // Waiting for the client is not the proxy's own work, and the endpoint knew nothing of it.
    assert!(route.phase(Phase::Own).max.unwrap() < Duration::from_secs(18));
    assert!(proxy.report().endpoints[0].total.max.unwrap() < Duration::from_secs(18));
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_silence() {
    let backend = Backend::start("a");
    let proxy = before(backend.endpoint(), "keep_alive: 10s", "", "h1").await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(raw.response().await.keeps_alive());
    raw.expect_closed().await;
    let mut client = Client::h2(proxy.address()).await;
    client.get("/").await;
    eventually(DEADLINE, || client.is_closed()).await;
}

#[tokio::test]
async fn a_stalled_request_body_is_a_408() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let proxy = before(backend.endpoint(), "body: 10s", "", protocol).await;
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send("POST /checksum HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
            .await;
        let answer = raw.response().await;
        assert_eq!((answer.status(), answer.keeps_alive()), (408, false));
        assert!(answer.field("proxy-status").unwrap().contains("slow_body"));
        raw.expect_closed().await;

        let mut client = Client::h2(proxy.address()).await;
        let (mut upload, body) = Outgoing::pieces();
        assert!(upload.send("abc").await);
        let asked = Request::post("/checksum").body(body).unwrap();
        let answer = client.send(asked).await;
        answer.assert_told(408, "http_request_error", "slow_body");
        drop(upload);
        eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_leaves_a_client_waiting_for_100_is_a_504() {
    let scripted = Scripted::play(vec![vec![Step::ReadHead, Step::Stall]]).await;
    let proxy = before(scripted.address().to_string(), "", "first_byte: 10s", "h1").await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
        .await;
    let answer = raw.response().await;
    assert_eq!(answer.status(), 504);
    assert!(
        answer
            .field("proxy-status")
            .unwrap()
            .contains("first_byte_timeout")
    );
}

#[tokio::test]
async fn a_late_answer_is_a_504() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let proxy = before(backend.endpoint(), "", "first_byte: 10s", protocol).await;
        for mut client in each_client(&proxy).await {
            let answer = client.get("/hang").await;
            answer.assert_told(504, "http_response_timeout", "first_byte_timeout");
        }
        let own = || proxy.report().routes[0].phase(Phase::Own);
        eventually(DEADLINE, || own().count == 2).await;
        // It was the endpoint that took its time.
        assert!(own().max.unwrap() < Duration::from_secs(9));
        eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
        let proxy = before(backend.endpoint(), "", "total: 10s", protocol).await;
        for mut client in each_client(&proxy).await {
            let answer = client.post("/hang", "body").await;
            answer.assert_told(504, "http_response_timeout", "total_timeout");
        }
        eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
    }
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_is_a_504() {
    // One that accepts nothing: once its queue is full, the system answers no further SYN.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    let is_full = loop {
        let connecting = TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(200), connecting).await {
            Ok(Ok(stream)) => queued.push(stream),
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => break true,
        }
        if queued.len() > 64 {
            break false;
        }
    };
    if !is_full {
        eprintln!("skipped: this system queues connections without end");
        return;
    }
    let proxy = before(address.to_string(), "", "connect: 10s", "h1").await;
    for mut client in each_client(&proxy).await {
        let answer = client.post("/", "body").await;
        answer.assert_told(504, "connection_timeout", "connect_timeout");
    }
    assert_eq!(proxy.endpoints(Metric::EndpointConnectionsFailed, ""), 2);

    // Where another endpoint answers, the time lost on the first is not the proxy's own.
    let backend = Backend::start("a");
    let upstream = format!(
        "balance: round_robin, timeouts: {{ {} }}",
        merged("connect: 10s", UPSTREAM)
    );
    let endpoints = [address.to_string(), backend.endpoint()];
    let proxy = Proxy::start_on(Clock::scaled(FAST), &config(&endpoints, "", "", &upstream)).await;
    for mut client in each_client(&proxy).await {
        assert_eq!(client.get("/").await.backend(), Some("a"));
    }
    let own = || proxy.report().routes[0].phase(Phase::Own);
    eventually(DEADLINE, || own().count == 2).await;
    let failed = proxy.endpoints(Metric::EndpointConnectionsFailed, "");
    assert!(failed >= 1, "one of two in turn began with it");
    let own = own().max.unwrap();
    assert!(own < Duration::from_secs(9), "{own:?}");
}

/// The second request waits for the first until less than half of its time is left.
#[tokio::test]
async fn an_endpoint_that_was_given_too_little_time_has_not_failed() {
    let backend = Backend::labelled("a").latency("24h").start();
    let upstream = format!(
        "bulkhead: {{ max_in_flight: 1, queue_timeout: 1h }}, retry: {{ max_attempts: 1 }}, breaker: off, timeouts: {{ {} }}",
        merged("total: 100s", UPSTREAM)
    );
    let yaml = config(&[backend.endpoint()], "", "", &upstream);
    let proxy = Proxy::start_on(Clock::scaled(FAST), &yaml).await;
    let [mut first, mut second] = each_client(&proxy).await;
    let first = tokio::spawn(async move { first.get("/").await.status });
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    pass(Duration::from_secs(30)).await;
    assert_eq!(second.get("/").await.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(within(first).await.unwrap(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(backend.counters().requests(), 2);
    let snapshot = proxy.live().snapshot.load();
    let failed = || snapshot.upstreams[0].endpoints[0].signals.ends().1;
    assert_eq!(failed(), 1);
}

#[tokio::test]
async fn a_long_upload_that_moves_is_not_cut() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let proxy = before(
            backend.endpoint(),
            "body: 100s",
            "total: 10s, first_byte: 10s",
            protocol,
        )
        .await;
        for mut client in each_client(&proxy).await {
            let (mut upload, body) = Outgoing::pieces();
            let feeding = tokio::spawn(async move {
                for _ in 0..10 {
                    pass(Duration::from_secs(3)).await;
                    assert!(upload.send("piece").await);
                }
            });
            let answer = client
                .send(Request::post("/checksum").body(body).unwrap())
                .await;
            assert_eq!(answer.json()["length"], 50);
            feeding.await.unwrap();
        }
    }
}

const PART: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";

/// In front of a backend, asking clients for so many bytes a second.
async fn demanding(backend: &Backend, min_rate: &str) -> Proxy {
    let listener = format!("timeouts: {{ {LISTENER} }}, limits: {{ min_rate: {min_rate} }}");
    let upstream = format!("timeouts: {{ {UPSTREAM} }}");
    let yaml = config(&[backend.endpoint()], &listener, "", &upstream);
    Proxy::start_on(Clock::scaled(FAST), &yaml).await
}

#[tokio::test]
async fn an_announced_body_that_drips_is_a_408_and_a_stream_may_drip() {
    let backend = Backend::start("a");
    for (min_rate, framing, is_cut) in [
        ("240B", "Content-Length: 100000", true),
        ("off", "Content-Length: 100000", false),
        ("240B", "Transfer-Encoding: chunked", false),
    ] {
        let proxy = demanding(&backend, min_rate).await;
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send(format!(
            "POST /checksum HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"
        ))
        .await;
        let clock = Clock::scaled(FAST);
        let begun = clock.now();
        let mut is_open = true;
        // A piece every second; the grace is ten of them.
        for second in 1..60 {
            let next = begun + Duration::from_secs(second);
            eventually(DEADLINE, || clock.now() > next).await;
            is_open = is_open && raw.try_send("1\r\nx\r\n").await.is_ok();
        }
        if is_cut {
            let answer = raw.try_response_to("POST").await;
            // What was sent after the cut may have turned the answer into a reset.
            if let Ok(answer) = answer {
                assert_eq!(answer.status(), 408);
            }
        } else {
            assert!(is_open, "{min_rate}, {framing}");
        }
        let slow = || proxy.routes(Metric::RequestErrors, "slow_body");
        eventually(DEADLINE, || slow() == u64::from(is_cut)).await;
    }
}

#[tokio::test]
async fn a_client_that_takes_an_answer_drop_by_drop_is_cut() {
    const ENOUGH: usize = 64 << 20;
    let backend = Backend::start("a");
    for (min_rate, is_cut) in [("1GiB", true), ("off", false)] {
        let proxy = demanding(&backend, min_rate).await;
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send(format!("GET /bytes/{ENOUGH} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        raw.head().await;
        let clock = Clock::scaled(FAST);
        let begun = clock.now();
        let mut is_open = true;
        for second in 1..60 {
            let next = begun + Duration::from_secs(second);
            eventually(DEADLINE, || clock.now() > next).await;
            is_open = is_open && raw.try_exactly(512 << 10).await.is_ok();
        }
        assert_eq!(is_open, !is_cut, "{min_rate}");
        let slow = || proxy.routes(Metric::RequestErrors, "slow_read");
        eventually(DEADLINE, || slow() == u64::from(is_cut)).await;
    }
}

#[tokio::test]
async fn a_stalled_answer_breaks_off() {
    let scripted = Scripted::play(vec![vec![
        Step::ReadHead,
        Step::Write(PART.to_vec()),
        Step::Stall,
    ]])
    .await;
    let proxy = before(scripted.address().to_string(), "", "idle: 10s", "h1").await;
    for mut client in each_client(&proxy).await {
        let response = client
            .open(Request::get("/").body(Outgoing::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(within(response.into_body().collect()).await.is_err());
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_too() {
    let backend = Backend::start("a");
    let proxy = before(backend.endpoint(), "", "idle: 30s", "h1").await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("GET /bytes/100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(raw.head().await.status(), 200);
    eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_our_own_answer_is_cut() {
    let yaml = format!(
        "workers: 1\n\
         listeners: {{ web: {{ address: \"127.0.0.1:0\", timeouts: {{ {} }} }} }}\n\
         routes: [ {{ match: {{ path: / }}, respond: {{ body: \"{}\" }} }} ]\n",
        merged("body: 10s", LISTENER),
        "x".repeat(50_000),
    );
    let proxy = Proxy::start_on(Clock::scaled(FAST), &yaml).await;
    let mut raw = Raw::connect(proxy.address()).await;
    // More answers than all socket buffers on the way can take, asked for until nobody takes another request.
    let asked = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    while raw.try_send(&asked).await.is_ok() {}
    let ended = |metric| proxy.routes(metric, "client_gone");
    eventually(DEADLINE, || ended(Metric::RequestOutcomes) == 1).await;
    eventually(DEADLINE, || ended(Metric::RequestErrors) == 1).await;
}

#[tokio::test]
async fn a_tunnel_has_a_patience_of_its_own() {
    let backend = Backend::start("a");
    let proxy = before(backend.endpoint(), "", "idle: 1s, tunnel_idle: 30s", "h1").await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .await;
    assert_eq!(raw.head().await.status(), 101);
    for _ in 0..8 {
        pass(Duration::from_secs(5)).await;
        raw.send("ping").await;
        assert_eq!(raw.exactly(4).await, b"ping");
    }
    raw.expect_closed().await;
    eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
    let told = || proxy.routes(Metric::RequestErrors, "tunnel_idle_timeout");
    eventually(DEADLINE, || told() == 1).await;
}

#[tokio::test]
async fn a_stream_may_rest_for_an_hour_if_it_is_told_so() {
    // An hour passes in 360 ms.
    let clock = Clock::scaled(10_000);
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let listener = format!("timeouts: {{ {LISTENER} }}");
        let timeouts = merged("idle: 2h", UPSTREAM);
        let upstream = format!("protocol: {protocol}, timeouts: {{ {timeouts} }}");
        let yaml = config(&[backend.endpoint()], &listener, "", &upstream);
        let proxy = Proxy::start_on(clock, &yaml).await;
        for mut client in each_client(&proxy).await {
            let answer = client
                .try_send(Method::GET, "/sse/2/400", Outgoing::empty())
                .await;
            assert!(answer.unwrap().text().ends_with("data: event 1\n\n"));
        }
    }
}

#[tokio::test]
async fn max_duration_ends_even_what_moves() {
    let backend = Backend::start("a");
    let proxy = before(backend.endpoint(), "", "max_duration: 20s", "h1").await;
    for mut client in each_client(&proxy).await {
        assert!(client.try_get("/sse/1000/10").await.is_err());
    }
    eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
}

/// More fields than a strict listener takes.
fn many_fields() -> Request<Outgoing> {
    let asked = (0..20).fold(Request::get("/"), |asked, number| {
        asked.header(format!("x-{number}"), "1")
    });
    asked.body(Outgoing::empty()).unwrap()
}

/// Waits until the worker has taken a reload over: new connections show it.
async fn in_force(proxy: &Proxy, status: StatusCode) {
    let asked = async || {
        let mut client = Client::h1(proxy.address()).await;
        client.send(many_fields()).await.status
    };
    within(async { while asked().await != status {} }).await;
}

#[tokio::test]
async fn a_reload_counts_for_connections_that_are_open() {
    const TOO_LARGE: StatusCode = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    let backend = Backend::start("a");
    let yaml = |listener: &str| config(&[backend.endpoint()], listener, "", "");
    let lax = yaml(&format!("timeouts: {{ {LISTENER} }}"));
    let strict =
        yaml("timeouts: { head: 10s, keep_alive: 20s, body: 10s }, limits: { fields: 10 }");
    let proxy = Proxy::start_on(Clock::scaled(FAST), &lax).await;
    let [mut one, mut other] = each_client(&proxy).await;
    let [mut resting, mut slow] = [
        Raw::connect(proxy.address()).await,
        Raw::connect(proxy.address()).await,
    ];
    for client in [&mut one, &mut other] {
        assert_eq!(client.send(many_fields()).await.status, StatusCode::OK);
    }
    for raw in [&mut resting, &mut slow] {
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(raw.response().await.keeps_alive());
    }

    proxy.reload(&strict).await.unwrap();
    in_force(&proxy, TOO_LARGE).await;
    for client in [&mut one, &mut other] {
        assert_eq!(client.send(many_fields()).await.status, TOO_LARGE);
    }
    // The time of a head that begins now, and of the rest behind an answer.
    slow.send("GET / HTTP/1.1\r\nHos").await;
    assert_eq!(slow.response().await.status(), 408);
    resting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(resting.response().await.status(), 200);
    resting.expect_closed().await;
    eventually(DEADLINE, || other.is_closed()).await;

    // What was strict when it was accepted is lax now.
    let mut client = Client::h2(proxy.address()).await;
    client.get("/").await;
    proxy.reload(&lax).await.unwrap();
    in_force(&proxy, StatusCode::OK).await;
    assert_eq!(client.send(many_fields()).await.status, StatusCode::OK);
    pass(Duration::from_secs(60)).await;
    assert_eq!(client.send(many_fields()).await.status, StatusCode::OK);
}
