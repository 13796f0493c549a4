//! What says nothing of an endpoint, and never opens its breaker.

use super::*;

#[tokio::test]
async fn what_says_nothing_of_the_endpoint_does_not_open_it() {
    let backend = Backend::start("a");
    let proxy = start(&[backend.endpoint()], NEVER).await;
    let mut client = Client::h1(proxy.address()).await;
    for status in [429, 500, 501, 404, 304] {
        let answers = ask(&mut client, &format!("/status/{status}"), 10).await;
        assert_eq!(count(&answers, status), 10);
    }
    // Clients that leave.
    for _ in 0..10 {
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let before = backend.counters().requests();
        eventually(DEADLINE, || {
            backend.counters().in_flight() > 0 && backend.counters().requests() >= before
        })
        .await;
        drop(raw);
        eventually(DEADLINE, || {
            upstream(&proxy).endpoints[0].signals.in_flight.load() == 0
        })
        .await;
    }
    // Bodies that are no bodies, and ones cut short.
    for _ in 0..10 {
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send("POST /checksum HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n")
            .await;
        assert_eq!(raw.response().await.status(), 400);
    }
    // Connections that died while they were idle.
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status, StatusCode::OK);
        backend.cut_connections();
        // Else the one that the next request makes is cut as well, which is no idle one.
        eventually(DEADLINE, || backend.counters().open() == 0).await;
    }
    assert_eq!(breaker(&proxy, 0).phase(), Phase::Closed);
    assert_eq!(breaker(&proxy, 0).in_row(), 0);
    assert_eq!(events(&proxy), Vec::<String>::new());
}

#[tokio::test]
async fn our_own_caps_do_not_count() {
    let backend = Backend::start("a");
    let upstream = format!("connections: {{ max: 1, idle: 1 }}, {NEVER}");
    let proxy = start(&[backend.endpoint()], &upstream).await;
    let mut holder = Raw::connect(proxy.address()).await;
    holder.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    let mut client = Client::h1(proxy.address()).await;
    for answer in ask(&mut client, "/", 10).await {
        answer.assert_told(503, "connection_limit_reached", "endpoints_full");
    }
    assert_eq!(breaker(&proxy, 0).phase(), Phase::Closed);
    assert_eq!(breaker(&proxy, 0).in_row(), 0);
}

#[tokio::test]
async fn a_client_that_asks_for_a_tunnel_in_vain_does_not_open_it() {
    let refusal = Step::write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
    );
    let scripted = Scripted::play(vec![vec![Step::ReadHead, refusal]]).await;
    let proxy = start(&[scripted.address().to_string()], NEVER).await;
    for _ in 0..10 {
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").await;
        assert_eq!(raw.response().await.status(), 502);
    }
    assert_eq!(breaker(&proxy, 0).in_row(), 0);
}

/// Timeouts that no busy machine meets on a fast clock.
const FAR: &str = "connect: 1h, first_byte: 24h, total: 24h";

async fn fast(backend: &Backend, keys: &str) -> Proxy {
    let patient = "\"127.0.0.1:0\", timeouts: { head: 1h, keep_alive: 24h, body: 24h }";
    let yaml = yaml(1, &[backend.endpoint()], keys).replacen("\"127.0.0.1:0\"", patient, 1);
    Proxy::start_on(Clock::scaled(FAST), &yaml).await
}

#[tokio::test]
async fn clients_that_stop_reading_do_not_open_it() {
    let backend = Backend::start("a");
    let keys = format!("timeouts: {{ {FAR}, idle: 60s }}, {NEVER}");
    let proxy = fast(&backend, &keys).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send("GET /bytes/100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert_eq!(raw.head().await.status(), 200);
        clients.push(raw);
    }
    let slow = || proxy.routes(Metric::RequestErrors, "slow_read");
    eventually(DEADLINE, || slow() == 6).await;
    assert_eq!(breaker(&proxy, 0).phase(), Phase::Closed);
    assert_eq!(breaker(&proxy, 0).in_row(), 0);
    let (_, failed) = upstream_endpoint(&proxy, 0).signals.ends();
    assert_eq!(failed, 0);
}

#[tokio::test]
async fn tunnels_that_rest_do_not_open_it() {
    let backend = Backend::start("a");
    let keys = format!("timeouts: {{ {FAR}, tunnel_idle: 10s }}, {NEVER}");
    let proxy = fast(&backend, &keys).await;
    for _ in 0..6 {
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send(
            "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        )
        .await;
        assert_eq!(raw.head().await.status(), 101);
        raw.expect_closed().await;
    }
    let idle = || proxy.routes(Metric::RequestErrors, "tunnel_idle_timeout");
    eventually(DEADLINE, || idle() == 6).await;
    assert_eq!(breaker(&proxy, 0).phase(), Phase::Closed);
    assert_eq!(breaker(&proxy, 0).in_row(), 0);
    let (_, failed) = upstream_endpoint(&proxy, 0).signals.ends();
    assert_eq!(failed, 0);
}

/// `total` ends what `connect` would have allowed.
#[tokio::test]
async fn connections_that_were_given_no_time_do_not_open_it() {
    let scripted = Scripted::play(vec![vec![Step::Stall]]).await;
    let keys = format!("protocol: h2, timeouts: {{ connect: 10s, total: 30ms }}, {NEVER}");
    let proxy = start(&[scripted.address().to_string()], &keys).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/", 6).await;
    assert_eq!(count(&answers, 504), 6);
    assert_eq!(breaker(&proxy, 0).in_row(), 0);
}
