//! PROXY headers on both sides: whom they are believed, what comes of the address that they tell, what closes a
//! connection, and what endpoints are told.

use std::net::SocketAddr;
use std::time::Duration;

use plimsoll::clock::Clock;
use plimsoll::proxy_protocol::{Header, Version, write};

use crate::harness::{
    Authority, Backend, Client, DEADLINE, Directory, FAST, Front, Proxy, Raw, Speaks, Told, config,
    eventually, expect_no_panic, field,
};

const GET: &str = "GET /headers HTTP/1.1\r\nHost: a\r\n\r\n";

fn told(source: &str) -> Header {
    Header::Told {
        source: source.parse().unwrap(),
        destination: "192.0.2.254:443".parse().unwrap(),
    }
}

/// The client that the endpoint is told of.
async fn client(raw: &mut Raw) -> String {
    let told = raw.ask(GET).await;
    field(&told, "x-forwarded-for").unwrap().to_owned()
}

#[tokio::test]
async fn the_address_that_a_header_tells_is_the_clients() {
    let backend = Backend::start("a");
    let front = Front::before(&backend.endpoint(), ", proxy_protocol: require").await;
    let six = Header::Told {
        source: "[2001:db8::1]:7".parse().unwrap(),
        destination: "[2001:db8::2]:443".parse().unwrap(),
    };
    for version in [Version::V1, Version::V2] {
        for (header, expected) in [
            (told("192.0.2.1:7"), "192.0.2.1"),
            (six, "2001:db8::1"),
            (Header::Local, "127.0.0.1"),
            (Header::Unknown, "127.0.0.1"),
        ] {
            let bytes = write(version, &header);
            // In one piece with the request, and byte by byte.
            let mut raw = Raw::connect(front.address).await;
            raw.send([&bytes[..], GET.as_bytes()].concat()).await;
            let answer = raw.response().await.json();
            assert_eq!(field(&answer, "x-forwarded-for"), Some(expected));
            assert_eq!(client(&mut raw).await, expected);
            let mut raw = Raw::connect(front.address).await;
            raw.trickle(&bytes).await;
            assert_eq!(client(&mut raw).await, expected);
        }
        let mut raw = Raw::connect(front.address).await;
        raw.send(write(version, &told("192.0.2.9:7"))).await;
        raw.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await;
        assert_eq!(raw.exactly(4).await[3], 4, "SETTINGS");
    }
    expect_no_panic();
}

#[tokio::test]
async fn a_header_comes_before_tls() {
    let (authority, directory) = (Authority::new(), Directory::new());
    let (cert, key) = authority.identity(&["localhost"]).write(&directory, "a");
    let backend = Backend::start("a");
    let tls = format!(
        "tls: {{ certificates: [ {{ cert: {cert:?}, key: {key:?} }} ] }}, proxy_protocol: require"
    );
    let proxy = Proxy::start(&config(&[backend.endpoint()], &tls, "", "")).await;
    let trusting = authority.client(&["http/1.1"]);
    for version in [Version::V1, Version::V2] {
        let opening = write(version, &told("192.0.2.1:7"));
        let mut raw = Raw::connect_tls_after(&opening, proxy.address(), &trusting, "localhost")
            .await
            .unwrap();
        assert_eq!(client(&mut raw).await, "192.0.2.1");
    }
    // Without one, and with one behind the first byte of TLS.
    assert!(
        Raw::try_tls(proxy.address(), &trusting, "localhost")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_wrong_header_closes_the_connection_and_is_counted() {
    let backend = Backend::start("a");
    let front = Front::before(&backend.endpoint(), ", proxy_protocol: require").await;
    let mut damaged = write(Version::V2, &told("192.0.2.1:7"));
    damaged[13] = 0x41;
    for (bytes, reason) in [
        (GET.as_bytes(), "proxy_header_missing"),
        (b"\x16\x03\x01\0\x05hello", "proxy_header_missing"),
        (
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 99999\r\n",
            "proxy_header_malformed",
        ),
        (&[b'P'; 1], "proxy_header_malformed"),
        (&damaged, "proxy_header_malformed"),
    ] {
        let before = front.refused(reason);
        let mut raw = Raw::connect(front.address).await;
        raw.send(bytes).await;
        raw.finish_sending().await;
        raw.expect_closed().await;
        front.expect_refused(reason, before + 1).await;
    }
    // A check of a balancer that only connects is no mistake.
    let all = ["missing", "malformed", "untrusted", "timeout"];
    let refused = || all.map(|reason| front.refused(&format!("proxy_header_{reason}")));
    let before = refused();
    let mut raw = Raw::connect(front.address).await;
    raw.finish_sending().await;
    raw.expect_closed().await;
    assert_eq!(refused(), before);
    assert_eq!(backend.counters().accepted(), 0);
    eventually(DEADLINE, || front.open_connections() == 0).await;
    expect_no_panic();
}

#[tokio::test]
async fn only_those_who_are_believed_may_tell() {
    let backend = Backend::start("a");
    let header = write(Version::V1, &told("192.0.2.1:7"));
    // Who is believed has to tell.
    let front = Front::before(
        &backend.endpoint(),
        ", proxy_protocol: { from: [127.0.0.0/8] }",
    )
    .await;
    let mut raw = Raw::connect(front.address).await;
    raw.send(&header).await;
    assert_eq!(client(&mut raw).await, "192.0.2.1");
    let mut raw = Raw::connect(front.address).await;
    raw.send(GET).await;
    raw.expect_closed().await;
    front.expect_refused("proxy_header_missing", 1).await;
    // A stranger is served without a header, and closed with one.
    let front = Front::before(
        &backend.endpoint(),
        ", proxy_protocol: { from: [10.0.0.0/8] }",
    )
    .await;
    let mut raw = Raw::connect(front.address).await;
    assert_eq!(client(&mut raw).await, "127.0.0.1");
    for version in [Version::V1, Version::V2] {
        let before = front.refused("proxy_header_untrusted");
        let mut raw = Raw::connect(front.address).await;
        raw.send(write(version, &told("192.0.2.1:7"))).await;
        raw.expect_closed().await;
        front
            .expect_refused("proxy_header_untrusted", before + 1)
            .await;
    }
    // Or not served at all.
    let front = Front::before(
        &backend.endpoint(),
        ", proxy_protocol: { from: [10.0.0.0/8], others: refuse }",
    )
    .await;
    let mut raw = Raw::connect(front.address).await;
    raw.expect_closed().await;
    front.expect_refused("proxy_header_untrusted", 1).await;
}

#[tokio::test]
async fn a_header_that_comes_slowly_meets_the_deadline_of_a_head() {
    let backend = Backend::start("a");
    let listener = ", proxy_protocol: require, timeouts: { head: 20s }";
    let front = Front::on(Clock::scaled(FAST), &backend.endpoint(), listener).await;
    let mut silent = Raw::connect(front.address).await;
    silent.expect_closed().await;
    let mut half = Raw::connect(front.address).await;
    half.send("PROXY TCP4 192.0.2.1").await;
    half.expect_closed().await;
    front.expect_refused("proxy_header_timeout", 2).await;
}

#[tokio::test]
async fn limits_and_lists_go_by_the_address_that_is_told() {
    let backend = Backend::start("a");
    let listener = ", proxy_protocol: require, limits: { per_address: 2 }, addresses: { allow: [192.0.2.0/24], deny: [192.0.2.66] }";
    let front = Front::before(&backend.endpoint(), listener).await;
    let mut open = Vec::new();
    for port in 1..=2 {
        let mut raw = Raw::connect(front.address).await;
        raw.send(write(Version::V2, &told(&format!("192.0.2.1:{port}"))))
            .await;
        assert_eq!(client(&mut raw).await, "192.0.2.1");
        open.push(raw);
    }
    for (source, reason) in [
        ("192.0.2.1:3", "address_full"),
        ("192.0.2.66:1", "address_denied"),
        ("198.51.100.1:1", "address_denied"),
    ] {
        let before = front.refused(reason);
        let mut raw = Raw::connect(front.address).await;
        raw.send(write(Version::V2, &told(source))).await;
        raw.expect_closed().await;
        front.expect_refused(reason, before + 1).await;
    }
    let mut raw = Raw::connect(front.address).await;
    raw.send(write(Version::V2, &told("192.0.2.2:1"))).await;
    assert_eq!(client(&mut raw).await, "192.0.2.2");
}

#[tokio::test]
async fn the_log_shows_the_client_and_the_proxy_that_told_it() {
    let (backend, directory) = (Backend::start("a"), Directory::new());
    let log = directory.path().join("access.log");
    let yaml = config(&[backend.endpoint()], "proxy_protocol: require", "", "")
        + &format!("access_log: {{ path: {log:?} }}\n");
    let proxy = Proxy::start(&yaml).await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send(write(Version::V1, &told("192.0.2.1:7"))).await;
    raw.ask(GET).await;
    let text = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually(DEADLINE, || text().ends_with('\n')).await;
    let line: serde_json::Value = serde_json::from_str(&text()).unwrap();
    assert_eq!(
        (&line["client"], &line["proxy"]),
        (&"192.0.2.1".into(), &"127.0.0.1".into())
    );
}

/// The configuration before one endpoint that is told who the client is.
fn telling(endpoint: &Told, version: &str, more: &str) -> String {
    let listener = "trusted_proxies: [127.0.0.0/8]";
    let upstream = format!("proxy_protocol: {version}{more}");
    config(&[endpoint.endpoint()], listener, "", &upstream)
}

#[tokio::test]
async fn endpoints_are_told_the_client_before_all_else() {
    let (authority, directory) = (Authority::new(), Directory::new());
    let ca = authority.write(&directory, "ca.pem");
    let server = authority.server(&authority.identity(&["127.0.0.1"]), &["http/1.1"]);
    for version in ["v1", "v2"] {
        for (speaks, more) in [
            (Speaks::H1, String::new()),
            (Speaks::H2, ", protocol: h2".to_owned()),
            (
                Speaks::Tls(server.clone()),
                format!(", tls: {{ ca: {ca:?} }}"),
            ),
        ] {
            let endpoint = Told::start(speaks).await;
            let proxy = Proxy::start(&telling(&endpoint, version, &more)).await;
            let mut raw = Raw::connect(proxy.address()).await;
            for expected in 1..=3 {
                raw.send(GET).await;
                let answer = raw.response().await;
                assert_eq!(answer.status(), 200, "{version}{more}: {answer:?}");
                // Each request has a connection of its own.
                eventually(DEADLINE, || endpoint.headers().len() == expected).await;
            }
            for (bytes, header) in endpoint.headers() {
                assert_eq!(bytes.starts_with(b"PROXY "), version == "v1");
                let Header::Told {
                    source,
                    destination,
                } = header
                else {
                    panic!("{header:?}");
                };
                assert!(source.ip().is_loopback() && source.port() > 0);
                assert_eq!(destination, proxy.address());
            }
        }
    }
}

#[tokio::test]
async fn no_connection_is_shared_between_clients() {
    for (speaks, protocol) in [(Speaks::H1, "h1"), (Speaks::H2, "h2")] {
        let endpoint = Told::start(speaks).await;
        let more = format!(", protocol: {protocol}");
        let proxy = Proxy::start(&telling(&endpoint, "v2", &more)).await;
        let one = |client: &'static str, proxy: SocketAddr| async move {
            let mut raw = Raw::connect(proxy).await;
            let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n");
            for _ in 0..5 {
                raw.send(&request).await;
                let answer = raw.response().await;
                assert!(
                    answer.text().contains(client),
                    "{client}: {}",
                    answer.text()
                );
            }
        };
        tokio::join!(
            one("192.0.2.1", proxy.address()),
            one("192.0.2.2", proxy.address()),
            one("192.0.2.3", proxy.address()),
        );
        assert_eq!(endpoint.headers().len(), 15, "{protocol}");
        // Those of HTTP/2 end with their request, too.
        let open = || {
            proxy.live().snapshot.load().upstreams[0].endpoints[0]
                .open
                .load(std::sync::atomic::Ordering::Relaxed)
        };
        eventually(DEADLINE, || open() == 0).await;
    }
}

#[tokio::test]
async fn a_told_client_is_passed_on_with_where_it_connected_to() {
    let endpoint = Told::start(Speaks::H1).await;
    let yaml = config(
        &[endpoint.endpoint()],
        "proxy_protocol: require",
        "",
        "proxy_protocol: v2",
    );
    let proxy = Proxy::start(&yaml).await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send(write(Version::V1, &told("192.0.2.1:7"))).await;
    raw.send(GET).await;
    assert_eq!(raw.response().await.status(), 200);
    assert_eq!(endpoint.headers()[0].1, told("192.0.2.1:7"));
}

#[tokio::test]
async fn checks_of_health_say_that_they_speak_for_nobody() {
    for (version, expected) in [("v1", Header::Unknown), ("v2", Header::Local)] {
        let endpoint = Told::start(Speaks::H1).await;
        let checks = ", health: { active: { path: /, interval: 50ms } }";
        let proxy = Proxy::start(&telling(&endpoint, version, checks)).await;
        eventually(DEADLINE, || endpoint.headers().len() >= 2).await;
        assert!(
            endpoint
                .headers()
                .iter()
                .all(|(_, header)| *header == expected)
        );
        let mut client = Client::h1(proxy.address()).await;
        assert_eq!(client.get("/").await.status, 200);
    }
}

/// A connection that draining meets before its header is given a moment, and then closed.
#[tokio::test]
async fn draining_does_not_wait_for_headers() {
    let backend = Backend::start("a");
    let proxy = Proxy::start(&config(
        &[backend.endpoint()],
        "proxy_protocol: require",
        "",
        "",
    ))
    .await;
    let mut raw = Raw::connect(proxy.address()).await;
    eventually(DEADLINE, || proxy.live().connections() == 1).await;
    let begun = Clock::system();
    proxy.drain();
    raw.expect_closed().await;
    assert!(begun.now().since(plimsoll::clock::Instant(0)) < Duration::from_secs(8));
    proxy.join().await;
}
