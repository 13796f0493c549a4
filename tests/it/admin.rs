//! What operators see: liveness, readiness, metrics, status.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::{Method, StatusCode};
use plimsoll::admin::status::{EndpointStatus, Status};
use plimsoll::clock::{Clock, Instant};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{
    Answer, Backend, Client, DEADLINE, Directory, Outgoing, Process, Proxy, Raw, eventually, plain,
    within,
};

async fn get(admin: SocketAddr, path: &str) -> Answer {
    Client::h1(admin).await.get(path).await
}

async fn status(proxy: &Proxy) -> Status {
    let answer = get(proxy.admin(), "/api/v1/status").await;
    serde_json::from_slice(&answer.body).unwrap()
}

/// The status once it is as wanted.
async fn status_when(proxy: &Proxy, holds: impl Fn(&Status) -> bool) -> Status {
    within(async {
        loop {
            let seen = status(proxy).await;
            if holds(&seen) {
                return seen;
            }
        }
    })
    .await
}

/// The value of a sample, by its name and labels as they stand in the text.
async fn sample(admin: SocketAddr, name: &str) -> Option<f64> {
    let answer = get(admin, "/metrics").await;
    let mut lines = answer.text().lines();
    let line = lines.find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(' '))
    });
    line.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

fn endpoint<'a>(status: &'a Status, id: &str) -> &'a EndpointStatus {
    let mut all = status
        .upstreams
        .iter()
        .flat_map(|upstream| &upstream.endpoints);
    all.find(|endpoint| endpoint.id == id).unwrap()
}

#[tokio::test]
async fn a_running_process_is_live_and_soon_ready() {
    let backend = Backend::start("a");
    let proxy = Proxy::before(&[backend.endpoint()]).await;
    let live = get(proxy.admin(), "/live").await;
    assert_eq!(
        (live.status, live.json()),
        (StatusCode::OK, json!({ "live": true }))
    );
    eventually(DEADLINE, || proxy.live().reasons().is_empty()).await;
    let ready = get(proxy.admin(), "/ready").await;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(ready.json(), json!({ "ready": true, "reasons": [] }));
}

#[tokio::test]
async fn the_root_lists_what_there_is_and_anything_else_is_404() {
    let proxy = Proxy::before(&["127.0.0.1:1".to_owned()]).await;
    let root = get(proxy.admin(), "/").await;
    for path in ["/live", "/ready", "/metrics", "/api/v1/status"] {
        assert!(root.text().contains(path), "{}", root.text());
    }
    let missing = get(proxy.admin(), "/metric").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.json()["error"], "there is nothing at /metric");
}

#[tokio::test]
async fn only_reading_is_allowed() {
    let proxy = Proxy::before(&["127.0.0.1:1".to_owned()]).await;
    let mut client = Client::h1(proxy.admin()).await;
    let refused = client.post("/ready", "x").await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    let mut client = Client::h1(proxy.admin()).await;
    let head = client
        .try_send(Method::HEAD, "/metrics", Outgoing::empty())
        .await
        .unwrap();
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    let length: usize = head.header("content-length").unwrap().parse().unwrap();
    assert!(length > 100);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let proxy = Proxy::before(&["127.0.0.1:1".to_owned()]).await;
    let mut raw = Raw::connect(proxy.admin()).await;
    let line = format!("X-Long: {}\r\n", "x".repeat(20_000));
    raw.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n"))
        .await;
    assert_eq!(raw.response().await.status(), 431);
}

#[tokio::test]
async fn metrics_count_exactly_the_requests_that_were_made() {
    let backend = Backend::start("a");
    let proxy = Proxy::before(&[backend.endpoint()]).await;
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..37 {
        client.get("/").await;
    }
    for _ in 0..5 {
        client.get("/status/500").await;
    }
    // A request is counted when its exchange has ended, which is after the client has its answer.
    let requests = |status: &Status| status.routes[0].requests.lifetime.count;
    let seen = status_when(&proxy, |status| requests(status) >= 42).await;
    assert_eq!(requests(&seen), 42);
    let of_endpoint = endpoint(&seen, &backend.endpoint());
    assert_eq!(of_endpoint.attempts.lifetime.classes["2xx"], 37);
    assert_eq!(of_endpoint.attempts.lifetime.classes["5xx"], 5);

    let admin = proxy.admin();
    let names = [
        "plimsoll_requests_total{route=\"/*\",class=\"2xx\"}".to_owned(),
        "plimsoll_listener_requests_total{listener=\"web\",class=\"2xx\"}".to_owned(),
        format!(
            "plimsoll_attempt_responses_total{{upstream=\"pool\",endpoint=\"{}\",class=\"2xx\"}}",
            backend.endpoint()
        ),
    ];
    for name in names {
        assert_eq!(sample(admin, &name).await, Some(37.0), "{name}");
    }
    let refused = "plimsoll_requests_total{route=\"/*\",class=\"5xx\"}";
    assert_eq!(sample(admin, refused).await, Some(5.0));
    let duration = "plimsoll_request_duration_seconds_count{route=\"/*\",outcome=\"completed\"}";
    assert_eq!(sample(admin, duration).await, Some(42.0));
    let version = concat!(
        "plimsoll_build_info{version=\"",
        env!("CARGO_PKG_VERSION"),
        "\"}"
    );
    assert_eq!(sample(admin, version).await, Some(1.0));
    assert_eq!(sample(admin, "plimsoll_config_generation").await, Some(1.0));
}

#[tokio::test]
async fn what_is_under_way_is_shown() {
    let backend = Backend::labelled("a").latency("3s").start();
    let proxy = Proxy::before(&[backend.endpoint()]).await;
    let mut client = Client::h1(proxy.address()).await;
    let waiting =
        tokio::spawn(async move { client.try_get("/").await.map(|answer| answer.status) });
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    let seen = status(&proxy).await;
    assert_eq!(endpoint(&seen, &backend.endpoint()).in_flight, 1);
    assert_eq!(endpoint(&seen, &backend.endpoint()).connections_open, 1);
    assert_eq!(
        (seen.connections_open, seen.listeners[0].connections_open),
        (1, 1)
    );
    let labels = format!("{{upstream=\"pool\",endpoint=\"{}\"}}", backend.endpoint());
    let in_flight = format!("plimsoll_endpoint_in_flight{labels}");
    assert_eq!(sample(proxy.admin(), &in_flight).await, Some(1.0));
    let idle = format!("plimsoll_endpoint_connections_idle{labels}");
    assert_eq!(sample(proxy.admin(), &idle).await, Some(0.0));
    backend.cut_connections();
    waiting.await.unwrap().unwrap();
    eventually(DEADLINE, || {
        proxy.live().snapshot.load().upstreams[0].endpoints[0]
            .signals
            .in_flight
            .load()
            == 0
    })
    .await;
}

#[tokio::test]
async fn percentiles_are_those_of_the_answers() {
    let (quick, slow) = (
        Backend::start("quick"),
        Backend::labelled("slow").latency("30ms").start(),
    );
    let yaml = plain(&[quick.endpoint(), slow.endpoint()]);
    let yaml = yaml.replace("pool: { ", "pool: { balance: round_robin, ");
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..80 {
        client.get("/").await;
    }
    let seen = status_when(&proxy, |status| status.requests.minute.count >= 80).await;
    let of_slow = &endpoint(&seen, &slow.endpoint())
        .attempts
        .minute
        .duration_seconds;
    let of_quick = &endpoint(&seen, &quick.endpoint())
        .attempts
        .minute
        .duration_seconds;
    assert_eq!((of_slow.count, of_quick.count), (40, 40));
    // Within one percent.
    assert!(of_slow.p50.unwrap() >= 0.0297, "{of_slow:?}");
    assert!(of_slow.max.unwrap() >= 0.03, "{of_slow:?}");
    assert!(of_quick.p50.unwrap() < 0.0297, "{of_quick:?}");
    // Ten samples must lie beyond a percentile.
    assert!(of_slow.p95.is_none() && of_quick.p999.is_none());
    let span = seen.requests.minute.span_seconds;
    assert!((seen.requests.minute.per_second - 80.0 / span).abs() < 0.01);
}

#[tokio::test]
async fn status_is_a_table_and_health_an_exit_code() {
    let backend = Backend::start("a");
    let proxy = Proxy::before(&[backend.endpoint()]).await;
    eventually(DEADLINE, || proxy.live().reasons().is_empty()).await;
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..30 {
        client.get("/").await;
    }
    let admin = proxy.admin().to_string();
    let mut table = Process::start(&["status", "--admin", &admin, "--lifetime"]);
    assert_eq!(table.wait(), Some(0), "{}", table.stderr());
    let text = table.stdout();
    for part in [
        "ready",
        "LISTENER",
        "web",
        "/*",
        "pool (p2c)",
        &backend.endpoint(),
        "P99.9",
        "ms",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let mut json = Process::start(&["status", "--admin", &admin, "--json"]);
    assert_eq!(json.wait(), Some(0), "{}", json.stderr());
    let status: Status = serde_json::from_str(&json.stdout()).unwrap();
    assert_eq!(status.upstreams[0].balance, "p2c");
    let mut healthy = Process::start(&["health", "--admin", &admin]);
    assert_eq!(healthy.wait(), Some(0), "{}", healthy.stderr());
    drop(proxy);
    let mut gone = Process::start(&["health", "--admin", &admin]);
    assert_eq!(gone.wait(), Some(1));
    assert!(gone.stderr().contains(&admin), "{}", gone.stderr());
}

/// As a container's HEALTHCHECK asks: without arguments, beside the file that the process runs from.
#[tokio::test]
async fn health_finds_the_address_in_the_configuration() {
    let proxy = Proxy::before(&["127.0.0.1:1".to_owned()]).await;
    eventually(DEADLINE, || proxy.live().reasons().is_empty()).await;
    let port = proxy.admin().port();
    let directory = Directory::new();
    let ask = |host: &str, command: &str| {
        let yaml = plain(&["127.0.0.1:1".to_owned()]);
        // The process itself asks for no token; the file of them is for others.
        let own = format!("admin: {{ address: \"{host}:{port}\", token_file: tokens }}");
        let yaml = yaml.replace("admin: { address: \"127.0.0.1:0\" }", &own);
        directory.write("plimsoll.yaml", yaml);
        let mut process = Process::start_in(directory.path(), &[command]);
        (process.wait(), process.stderr())
    };
    for host in ["127.0.0.1", "0.0.0.0"] {
        for command in ["health", "status"] {
            let (code, stderr) = ask(host, command);
            assert_eq!((code, stderr.as_str()), (Some(0), ""), "{command} {host}");
        }
    }
    drop(proxy);
    let (code, stderr) = ask("0.0.0.0", "health");
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&format!("127.0.0.1:{port}")), "{stderr}");
}

#[tokio::test]
async fn the_admin_api_may_stand_on_a_unix_socket() {
    let directory = Directory::new();
    let socket = format!("unix:{}", directory.path().join("admin.sock").display());
    let yaml = format!(
        "listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ respond: {{ status: 200 }} }} ]\n\
         admin: {{ address: {socket:?} }}\n"
    );
    let proxy = Proxy::start(&yaml).await;
    eventually(DEADLINE, || proxy.live().reasons().is_empty()).await;
    let mut healthy = Process::start(&["health", "--admin", &socket]);
    assert_eq!(healthy.wait(), Some(0), "{}", healthy.stderr());
}

#[tokio::test]
async fn a_client_that_stalls_does_not_keep_others_out() {
    let proxy = Proxy::before(&["127.0.0.1:1".to_owned()]).await;
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut raw = Raw::connect(proxy.admin()).await;
        raw.send(b"GET /live HTTP/1.1\r\n").await;
        stalled.push(raw);
    }
    let answer = tokio::time::timeout(Duration::from_secs(5), get(proxy.admin(), "/live")).await;
    assert_eq!(answer.unwrap().status, StatusCode::OK);
}

/// More connections than there are places: those that have waited longest for their clients make room.
#[tokio::test]
async fn those_who_say_nothing_make_room_for_those_who_ask() {
    const PLACES: usize = 64;
    let proxy = Proxy::before(&["127.0.0.1:1".to_owned()]).await;
    let mut stalled = Vec::new();
    for _ in 0..2 * PLACES {
        let mut raw = Raw::connect(proxy.admin()).await;
        raw.send(b"GET /live HTTP/1.1\r\n").await;
        stalled.push(raw);
    }
    let clock = Clock::system();
    assert_eq!(get(proxy.admin(), "/live").await.status, StatusCode::OK);
    // Half of what a head may take, after which they would have made room by themselves.
    assert!(clock.now() < Instant(2_500_000_000));
    stalled.remove(0).expect_closed().await;
}

/// Those who read no answers do so as well, and lose their connections with nobody waiting.
#[tokio::test]
async fn those_who_read_nothing_hold_no_place() {
    const PLACES: usize = 64;
    let proxy = Proxy::before(&["127.0.0.1:1".to_owned()]).await;
    let requests = "GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2000);
    let mut deaf = Vec::new();
    for _ in 0..PLACES {
        let mut stream = TcpStream::connect(proxy.admin()).await.unwrap();
        // As many as it takes until nothing more is taken.
        loop {
            let sent = stream.write_all(requests.as_bytes());
            let in_time = tokio::time::timeout(Duration::from_millis(20), sent).await;
            if !in_time.is_ok_and(|sent| sent.is_ok()) {
                break;
            }
        }
        deaf.push(stream);
    }
    let clock = Clock::system();
    assert_eq!(get(proxy.admin(), "/live").await.status, StatusCode::OK);
    assert!(clock.now() < Instant(2_500_000_000));
    // What does not read loses its connection to the deadline of writing.
    for mut stream in deaf {
        let closed = async { while stream.write_all(b"GET ").await.is_ok() {} };
        tokio::time::timeout(DEADLINE, closed).await.unwrap();
    }
}
