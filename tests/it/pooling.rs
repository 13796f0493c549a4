//! Connections to endpoints are kept, used again, let go in time and bounded in number.

use std::time::Duration;

use plimsoll::clock::Clock;

use crate::harness::{
    Authority, Backend, Client, DEADLINE, FAST, Proxy, WebSocket, config, eventually, pass, within,
};

async fn before(backend: &Backend, upstream: &str) -> Proxy {
    let listener = "timeouts: { head: 1h, keep_alive: 24h, body: 24h }";
    let far = "timeouts: { connect: 1h, first_byte: 24h, total: 24h, idle: 24h }";
    let upstream = format!("{far}, {upstream}");
    let yaml = config(&[backend.endpoint()], listener, "", &upstream);
    Proxy::start_on(Clock::scaled(FAST), &yaml).await
}

/// Starts a request that is never answered.
async fn hang(proxy: &Proxy, backend: &Backend) -> tokio::task::AbortHandle {
    let address = proxy.address();
    let before = backend.counters().in_flight();
    let waiting = tokio::spawn(async move {
        let _ = Client::h1(address).await.try_get("/hang").await;
    });
    eventually(DEADLINE, || backend.counters().in_flight() > before).await;
    waiting.abort_handle()
}

#[tokio::test]
async fn connections_are_used_again() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let proxy = before(&backend, &format!("protocol: {protocol}")).await;
        for mut client in [
            Client::h1(proxy.address()).await,
            Client::h2(proxy.address()).await,
        ] {
            for path in [
                "/",
                "/status/204",
                "/bytes/100000",
                "/chunked/1000/100",
                "/trailers",
                "/status/500",
            ] {
                client.get(path).await;
                client.post("/checksum", vec![1; 50_000]).await;
            }
        }
        assert_eq!(backend.counters().accepted(), 1);
    }
}

#[tokio::test]
async fn without_idle_connections_each_request_has_its_own() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let upstream = format!("protocol: {protocol}, connections: {{ idle: 0 }}");
        let proxy = before(&backend, &upstream).await;
        let mut client = Client::h1(proxy.address()).await;
        for _ in 0..3 {
            client.get("/").await;
        }
        assert_eq!(backend.counters().accepted(), 3, "{protocol}");
        eventually(DEADLINE, || backend.counters().open() == 0).await;
    }
}

#[tokio::test]
async fn a_load_above_the_idle_limit_does_not_dial_again_and_again() {
    let backend = Backend::start("a");
    let upstream = "connections: { idle: 2 }";
    let proxy = Proxy::start(&config(&[backend.endpoint()], "", "", upstream)).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::h1(proxy.address()).await);
    }
    for _ in 0..10 {
        let mut requests = tokio::task::JoinSet::new();
        for mut client in clients.drain(..) {
            requests.spawn(async move {
                client.get("/delay/20").await;
                client
            });
        }
        clients = requests.join_all().await;
    }
    // Six of eight in each round, were the surplus closed at once; none, unless a round took longer than a second.
    assert!(backend.counters().accepted() <= 8 + 6);
    eventually(DEADLINE, || backend.counters().open() == 2).await;
}

#[tokio::test]
async fn a_connection_that_the_endpoint_closes_is_not_used_again() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let proxy = before(&backend, &format!("protocol: {protocol}")).await;
        let mut client = Client::h1(proxy.address()).await;
        for number in 1..4 {
            // Not harmless to repeat, so nothing covers up for a connection that is used when it is closed.
            let answer = client.post("/close", "body").await;
            assert_eq!(answer.backend(), Some("a"), "{protocol}: {answer:?}");
            assert_eq!(backend.counters().accepted(), number);
            // Before that the next request may cross the close on its way.
            eventually(DEADLINE, || backend.counters().open() == 0).await;
        }
    }
}

#[tokio::test]
async fn the_connection_used_last_is_used_first() {
    let backend = Backend::start("a");
    let proxy = before(&backend, "connections: { idle_timeout: 200s }").await;
    let (mut one, mut two) = (
        Client::h1(proxy.address()).await,
        Client::h1(proxy.address()).await,
    );
    tokio::join!(one.get("/delay/500"), two.get("/delay/500"));
    assert_eq!(
        (backend.counters().accepted(), backend.counters().open()),
        (2, 2)
    );
    // Were they used in turn, neither would ever be idle for so long.
    while backend.counters().open() == 2 {
        one.get("/").await;
        pass(Duration::from_secs(1)).await;
    }
    assert_eq!(
        (backend.counters().accepted(), backend.counters().open()),
        (2, 1)
    );
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let proxy = before(
            &backend,
            &format!("protocol: {protocol}, connections: {{ idle_timeout: 20s }}"),
        )
        .await;
        Client::h1(proxy.address()).await.get("/").await;
        eventually(DEADLINE, || backend.counters().open() == 0).await;
    }
}

#[tokio::test]
async fn a_connection_is_idle_from_the_end_of_its_answer_on() {
    let backend = Backend::start("a");
    let proxy = before(&backend, "connections: { idle_timeout: 150s }").await;
    let mut client = Client::h1(proxy.address()).await;
    // Longer than a connection may be idle: two seconds of ours, and one and a half.
    client.get("/chunked/10/1/200").await;
    client.get("/").await;
    assert_eq!(backend.counters().accepted(), 1);
}

#[tokio::test]
async fn connections_have_a_lifetime() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let connections = "connections: { lifetime: 20s, idle_timeout: 24h }";
        let proxy = before(&backend, &format!("protocol: {protocol}, {connections}")).await;
        let mut client = Client::h1(proxy.address()).await;
        client.get("/").await;
        pass(Duration::from_secs(25)).await;
        client.get("/").await;
        assert_eq!(backend.counters().accepted(), 2);
    }
}

#[tokio::test]
async fn no_more_connections_are_opened_than_allowed() {
    for upstream in [
        "connections: { max: 2 }",
        "protocol: h2, connections: { max: 1, streams: 2 }",
    ] {
        let backend = Backend::start("a");
        let proxy = before(&backend, upstream).await;
        let first = hang(&proxy, &backend).await;
        let second = hang(&proxy, &backend).await;
        let mut client = Client::h1(proxy.address()).await;
        let answer = client.get("/").await;
        assert_eq!(answer.status.as_u16(), 503, "{upstream}");
        let told = answer.header("proxy-status").unwrap();
        assert!(
            told.contains("connection_limit_reached") && told.contains("endpoints_full"),
            "{told}"
        );
        first.abort();
        // What was given up makes room.
        eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
        assert_eq!(client.get("/").await.status.as_u16(), 200, "{upstream}");
        second.abort();
    }
}

#[tokio::test]
async fn streams_beyond_those_of_a_connection_open_another() {
    let backend = Backend::start("a");
    let proxy = before(&backend, "protocol: h2, connections: { streams: 2 }").await;
    let mut waiting = Vec::new();
    for accepted in [1, 1, 2, 2, 3] {
        waiting.push(hang(&proxy, &backend).await);
        assert_eq!(backend.counters().accepted(), accepted);
    }
    for one in &waiting {
        one.abort();
    }
    eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
    Client::h1(proxy.address()).await.get("/").await;
    assert_eq!(backend.counters().accepted(), 3);
}

/// Fifty requests of one client at once.
async fn ask_at_once(proxy: &Proxy, path: &'static str) {
    let client = Client::h2(proxy.address()).await;
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let mut client = client.another();
            tokio::spawn(async move { client.get(path).await })
        })
        .collect();
    for one in asking {
        assert_eq!(one.await.unwrap().backend(), Some("a"));
    }
}

#[tokio::test]
async fn many_requests_at_once_share_one_new_connection() {
    let backend = Backend::start("a");
    let proxy = before(&backend, "protocol: h2").await;
    ask_at_once(&proxy, "/").await;
    assert_eq!(backend.counters().accepted(), 1);
}

#[tokio::test]
async fn many_requests_at_once_share_a_connection_that_turns_out_to_be_http2() {
    let authority = Authority::new();
    let identity = authority.identity(&["127.0.0.1"]);
    for (alpn, accepted) in [(&["h2", "http/1.1"][..], 1..=1), (&["http/1.1"], 2..=50)] {
        let tls = authority.server(&identity, alpn);
        let backend = Backend::labelled("a").tls(tls).start();
        let proxy = before(&backend, "protocol: auto, tls: { verify: false }").await;
        ask_at_once(&proxy, "/delay/100").await;
        let count = backend.counters().accepted();
        assert!(accepted.contains(&count), "{alpn:?}: {count}");
    }
}

#[tokio::test]
async fn no_more_connections_are_kept_idle_than_allowed() {
    for protocol in ["h1", "h2"] {
        let (one, two) = (Backend::start("one"), Backend::start("two"));
        let endpoints = [one.endpoint(), two.endpoint()];
        let upstream = format!("protocol: {protocol}, balance: round_robin");
        let yaml = config(&endpoints, "", "", &upstream) + "idle_connections: 1\n";
        let proxy = Proxy::start(&yaml).await;
        let mut client = Client::h1(proxy.address()).await;
        for _ in 0..4 {
            client.get("/").await;
        }
        let open = || one.counters().open() + two.counters().open();
        eventually(DEADLINE, || open() == 1).await;
    }
}

/// Puts `backend` alone behind the proxy, and waits until it is the one that answers.
async fn put_in_force(proxy: &Proxy, backend: &Backend, label: &str, settings: &str) {
    let yaml = config(&[backend.endpoint()], "", "", "") + settings;
    proxy.reload(&yaml).await.unwrap();
    let mut client = Client::h1(proxy.address()).await;
    // A worker reads its mail when it comes to it.
    within(async { while client.get("/").await.backend() != Some(label) {} }).await;
}

#[tokio::test]
async fn connections_to_endpoints_that_are_gone_count_no_more() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let settings = "idle_connections: 2\n";
    let proxy = Proxy::start(&(config(&[one.endpoint()], "", "", "") + settings)).await;
    for _ in 0..3 {
        put_in_force(&proxy, &two, "two", settings).await;
        put_in_force(&proxy, &one, "one", settings).await;
    }
    eventually(DEADLINE, || two.counters().open() == 0).await;
    let before = one.counters().accepted();
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..5 {
        client.get("/").await;
    }
    assert_eq!(one.counters().accepted(), before);
}

#[tokio::test]
async fn a_tunnel_does_not_keep_the_idle_connections_of_an_endpoint_that_is_gone() {
    let (old, new) = (Backend::start("old"), Backend::start("new"));
    let proxy = Proxy::start(&config(&[old.endpoint()], "", "", "")).await;
    let mut client = Client::h1(proxy.address()).await;
    let mut slow = Client::h1(proxy.address()).await;
    let address = proxy.address();
    let opening = move || WebSocket::open(address, "/ws").unwrap();
    let mut socket = within(tokio::task::spawn_blocking(opening)).await.unwrap();
    let waiting = tokio::spawn(async move { slow.get("/chunked/2/1/1000").await });
    eventually(DEADLINE, || old.counters().in_flight() == 2).await;
    client.get("/").await;
    assert_eq!(old.counters().open(), 3);

    put_in_force(&proxy, &new, "new", "").await;
    // What was idle is closed, and what a request leaves that ends later.
    eventually(DEADLINE, || old.counters().open() <= 2).await;
    assert_eq!(waiting.await.unwrap().status.as_u16(), 200);
    eventually(DEADLINE, || old.counters().open() == 1).await;
    let echoed = tokio::task::spawn_blocking(move || socket.expect_echo("still here"));
    within(echoed).await.unwrap();
}

#[tokio::test]
async fn idle_connections_of_one_worker_make_room_for_another() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let upstream = format!("protocol: {protocol}, connections: {{ max: 1, idle: 2 }}");
        let yaml = config(&[backend.endpoint()], "", "", &upstream);
        let proxy = Proxy::start(&yaml.replacen("workers: 1", "workers: 2", 1)).await;
        // Until both workers have clients.
        let busy = |worker: usize| {
            let connections = &proxy.live().mailboxes[worker].connections;
            connections.load(std::sync::atomic::Ordering::Relaxed) > 0
        };
        let mut clients = Vec::new();
        while clients.len() < 8 || !busy(0) || !busy(1) {
            clients.push(Client::h1(proxy.address()).await);
            clients.last_mut().unwrap().get("/").await;
        }
        for client in &mut clients {
            let answer = client.get("/").await;
            assert_eq!(answer.backend(), Some("a"), "{protocol}: {answer:?}");
        }
        eventually(DEADLINE, || backend.counters().open() == 1).await;
    }
}
