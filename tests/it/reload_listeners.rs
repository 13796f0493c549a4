//! Listeners that come, go and move while the process runs.

use std::net::SocketAddr;

use hyper::StatusCode;
use plimsoll::lifecycle::ReloadError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{
    Backend, Client, DEADLINE, Directory, Proxy, Raw, WebSocket, eventually, within,
};

/// Listeners as YAML, a route of each that says its name, and one to the backend for paths of its own.
fn yaml(backend: &Backend, listeners: &[(&str, &str)]) -> String {
    let written = |(name, keys): &(&str, &str)| format!("  {name}: {{ {keys} }}\n");
    let says = |(name, _): &(&str, &str)| {
        format!(
            "  - {{ match: {{ listener: {name} }}, respond: {{ status: 200, body: {name} }} }}\n"
        )
    };
    let each = listeners.iter();
    format!(
        "workers: 2\nlisteners:\n{}routes:\n\
         \x20 - {{ match: {{ path: /pool/ }}, upstream: pool, rewrite: {{ prefix: / }} }}\n\
         {}upstreams: {{ pool: {{ endpoints: [\"{}\"] }} }}\n",
        each.clone().map(written).collect::<String>(),
        each.map(says).collect::<String>(),
        backend.endpoint(),
    )
}

const ANY: &str = "address: \"127.0.0.1:0\"";

fn at(address: SocketAddr) -> String {
    format!("address: \"{address}\"")
}

/// What a new connection to `address` is told; `None` when nobody answers it.
async fn asked(address: SocketAddr) -> Option<String> {
    let mut stream = within(TcpStream::connect(address)).await.ok()?;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some(body.trim().to_owned())
}

/// Waits until it is that.
async fn expect(address: SocketAddr, wanted: Option<&str>) {
    within(async { while asked(address).await.as_deref() != wanted {} }).await;
}

#[tokio::test]
async fn a_listener_that_is_added_serves_and_one_that_is_removed_finishes_what_runs() {
    let backend = Backend::start("a");
    let proxy = Proxy::start(&yaml(&backend, &[("web", ANY)])).await;
    let web = proxy.address();
    let both = yaml(&backend, &[("web", ANY), ("extra", ANY)]);
    let changes = proxy.reload(&both).await.unwrap();
    assert_eq!(changes.listeners.added, ["extra"]);
    let extra = proxy.listener("extra");
    assert_eq!(proxy.listener("web"), web);
    expect(extra, Some("extra")).await;

    let mut idle = Raw::connect(extra).await;
    idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(idle.response().await.status(), 200);
    let mut slow = Raw::connect(extra).await;
    slow.send("POST /pool/checksum HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nso")
        .await;
    let open = move || WebSocket::open(extra, "/pool/ws").unwrap();
    let mut socket = within(tokio::task::spawn_blocking(open)).await.unwrap();
    eventually(DEADLINE, || backend.counters().in_flight() == 2).await;

    let alone = yaml(&backend, &[("web", ANY)]);
    let changes = proxy.reload(&alone).await.unwrap();
    assert_eq!(changes.listeners.removed, ["extra"]);
    let refused = async || TcpStream::connect(extra).await.is_err();
    within(async { while !refused().await {} }).await;
    idle.expect_closed().await;
    slow.send("me").await;
    assert_eq!(slow.response().await.status(), 200);
    slow.expect_closed().await;
    // What streams goes on, however many configurations come and go.
    for _ in 0..3 {
        proxy.reload(&both).await.unwrap();
        proxy.reload(&alone).await.unwrap();
    }
    let echoed = tokio::task::spawn_blocking(move || {
        socket.expect_echo("still here");
        socket
    });
    let socket = within(echoed).await.unwrap();
    // Workers may take a moment to close their doors; until then a listener counts as one with guests.
    within(async {
        while proxy.live().snapshot.load().departed.len() > 1 {
            proxy.reload(&alone).await.unwrap();
        }
    })
    .await;
    assert_eq!(proxy.live().snapshot.load().departed.len(), 1);
    expect(web, Some("web")).await;

    drop(socket);
    eventually(DEADLINE, || proxy.live().connections() == 0).await;
    proxy.reload(&both).await.unwrap();
    within(async {
        while !proxy.live().snapshot.load().departed.is_empty() {
            proxy.reload(&both).await.unwrap();
        }
    })
    .await;
    expect(proxy.listener("extra"), Some("extra")).await;
}

#[tokio::test]
async fn connections_stay_under_the_rules_of_their_listener_when_others_come_and_go() {
    let backend = Backend::start("a");
    let named = "address: \"127.0.0.1:0\", forwarding: { via: b }";
    let alone = yaml(&backend, &[("b", named)]);
    let proxy = Proxy::start(&alone).await;
    let address = proxy.address();
    let (mut h1, mut h2) = (Client::h1(address).await, Client::h2(address).await);
    for client in [&mut h1, &mut h2] {
        assert_eq!(client.get("/").await.text().trim(), "b");
    }
    // It sorts before the other, whose place it takes in the order of the names.
    let both = yaml(&backend, &[("a", ANY), ("b", named)]);
    for yaml in [&both, &alone, &both] {
        proxy.reload(yaml).await.unwrap();
        for client in [&mut h1, &mut h2] {
            let answer = client.get("/").await;
            assert_eq!(answer.text().trim(), "b");
        }
    }
    expect(proxy.listener("a"), Some("a")).await;
}

#[tokio::test]
async fn a_new_name_takes_the_sockets_of_its_address_along() {
    let backend = Backend::start("a");
    let proxy = Proxy::start(&yaml(&backend, &[("old", ANY)])).await;
    let address = proxy.address();
    expect(address, Some("old")).await;
    let fixed = at(address);
    let changes = proxy
        .reload(&yaml(&backend, &[("new", &fixed)]))
        .await
        .unwrap();
    assert_eq!(
        (changes.listeners.added, changes.listeners.removed),
        (vec!["new".to_owned()], vec!["old".to_owned()])
    );
    assert_eq!(proxy.listener("new"), address);
    expect(address, Some("new")).await;
}

#[tokio::test]
async fn two_listeners_swap_their_addresses() {
    let backend = Backend::start("a");
    let proxy = Proxy::start(&yaml(&backend, &[("a", ANY), ("b", ANY)])).await;
    let (first, second) = (proxy.listener("a"), proxy.listener("b"));
    let mut kept = Client::h1(first).await;
    assert_eq!(kept.get("/").await.text().trim(), "a");
    let swapped = yaml(&backend, &[("a", &at(second)), ("b", &at(first))]);
    let changes = proxy.reload(&swapped).await.unwrap();
    assert_eq!(changes.listeners.changed, ["a", "b"]);
    assert_eq!((proxy.listener("a"), proxy.listener("b")), (second, first));
    expect(first, Some("b")).await;
    expect(second, Some("a")).await;
    // Nobody removed its listener.
    assert_eq!(kept.get("/").await.text().trim(), "a");
}

#[tokio::test]
async fn a_listener_moves_to_another_address_and_keeps_its_connections() {
    let backend = Backend::start("a");
    let proxy = Proxy::start(&yaml(&backend, &[("web", ANY)])).await;
    let before = proxy.address();
    let mut kept = Client::h1(before).await;
    kept.get("/").await;
    // On the same port, which this process has on a narrower address: that is no stranger's.
    let wide = SocketAddr::from(([0, 0, 0, 0], before.port()));
    proxy
        .reload(&yaml(&backend, &[("web", &at(wide))]))
        .await
        .unwrap();
    assert_eq!(proxy.address(), wide);
    expect(before, Some("web")).await;
    assert_eq!(kept.get("/").await.text().trim(), "web");

    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    proxy
        .reload(&yaml(&backend, &[("web", &at(free))]))
        .await
        .unwrap();
    let after = proxy.address();
    assert_ne!(after.port(), before.port());
    expect(after, Some("web")).await;
    expect(before, None).await;
    assert_eq!(kept.get("/").await.text().trim(), "web");
}

#[tokio::test]
async fn what_cannot_be_bound_changes_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    let backend = Backend::start("a");
    let proxy = Proxy::start(&yaml(&backend, &[("web", ANY)])).await;
    let wanted = yaml(&backend, &[("other", &at(taken.1)), ("more", ANY)]);
    match proxy.reload(&wanted).await {
        Err(ReloadError::Bind(error)) => {
            let text = error.to_string();
            assert!(text.contains("listener `other`"), "{text}");
            assert!(text.contains("in use by another process"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(proxy.live().snapshot.load().generation, 1);
    expect(proxy.address(), Some("web")).await;
}

#[tokio::test]
async fn unix_sockets_come_and_go_with_their_files() {
    let directory = Directory::new();
    let (first, second) = (
        directory.path().join("first"),
        directory.path().join("second"),
    );
    let unix = |path: &std::path::Path| format!("address: \"unix:{}\"", path.display());
    let backend = Backend::start("a");
    let proxy = Proxy::start(&yaml(&backend, &[("web", &unix(&first))])).await;
    let renamed = yaml(&backend, &[("local", &unix(&first)), ("web", ANY)]);
    proxy.reload(&renamed).await.unwrap();
    let says = async |path: &std::path::Path| {
        let mut raw = Raw::connect_unix(path).await;
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = raw.response().await;
        answer.text().trim().to_owned()
    };
    within(async { while says(&first).await != "local" {} }).await;
    let moved = yaml(&backend, &[("local", &unix(&second))]);
    proxy.reload(&moved).await.unwrap();
    assert!(!first.exists());
    within(async { while says(&second).await != "local" {} }).await;
    drop(proxy);
    assert!(!second.exists());
}

#[tokio::test]
async fn the_cap_on_connections_changes_with_the_file() {
    let backend = Backend::start("a");
    let capped = |count: u32| {
        let keys = format!("{ANY}, limits: {{ connections: {count} }}");
        yaml(&backend, &[("web", &keys)])
    };
    let proxy = Proxy::start(&capped(1)).await;
    let address = proxy.address();
    let mut first = Client::h1(address).await;
    assert_eq!(first.get("/").await.status, StatusCode::OK);
    let mut second = Raw::connect(address).await;
    second.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    proxy.reload(&capped(2)).await.unwrap();
    assert_eq!(second.response().await.status(), 200);
}
