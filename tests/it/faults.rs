//! Faults that a route injects on purpose: who meets them, what comes of it, and where it is seen.

use std::time::Duration;

use hyper::{Method, StatusCode};
use plimsoll::clock::{Clock, Instant};
use plimsoll::observe::Metric;
use serde_json::Value;

use crate::harness::{
    Answer, Backend, Client, DEADLINE, Directory, FAST, Outgoing, Process, Proxy, Raw, config,
    eventually, pattern, request, within,
};

/// Timeouts that no busy machine meets on a fast clock.
const FAR: &str = "timeouts: { connect: 1h, first_byte: 24h, total: 24h, idle: 24h }";

/// A proxy whose only route injects this.
async fn injecting(backend: &Backend, fault: &str) -> Proxy {
    injecting_on(Clock::system(), backend, fault, "").await
}

async fn injecting_on(clock: Clock, backend: &Backend, fault: &str, upstream: &str) -> Proxy {
    let route = format!("fault: {{ {fault} }}");
    // Nothing of the client's is late, however fast the clock is.
    let patient = "timeouts: { head: 1h, keep_alive: 24h, body: 24h }";
    let yaml = config(&[backend.endpoint()], patient, &route, upstream);
    Proxy::start_on(clock, &yaml).await
}

async fn both(proxy: &Proxy) -> [Client; 2] {
    [
        Client::h1(proxy.address()).await,
        Client::h2(proxy.address()).await,
    ]
}

#[tokio::test]
async fn an_abort_is_an_answer_of_the_proxys_own_and_reaches_no_endpoint() {
    let backend = Backend::start("a");
    let proxy = injecting(&backend, "abort: { status: 418 }").await;
    for mut client in both(&proxy).await {
        let answer = client.get("/").await;
        answer.assert_told(418, "proxy_internal_response", "fault_abort");
        // What it sent is thrown away, and its connection carries on.
        let answer = client.post("/", vec![0; 100_000]).await;
        answer.assert_told(418, "proxy_internal_response", "fault_abort");
    }
    assert_eq!(backend.counters().requests(), 0);
    let counts = || {
        let met = proxy.routes(Metric::RequestFaults, "abort");
        (met, proxy.routes(Metric::RequestErrors, "fault_abort"))
    };
    eventually(DEADLINE, || counts() == (4, 4)).await;
    assert_eq!(proxy.routes(Metric::RequestFaults, "delay"), 0);
}

#[tokio::test]
async fn a_share_of_the_requests_is_aborted() {
    let backend = Backend::start("a");
    let proxy = injecting(&backend, "abort: { share: 30% }").await;
    let mut client = Client::h1(proxy.address()).await;
    let mut aborted = 0_u64;
    for _ in 0..1000 {
        aborted += u64::from(client.get("/").await.status == StatusCode::SERVICE_UNAVAILABLE);
    }
    // Chance within the proxy is not seeded: eight standard deviations, which no run will ever see.
    assert!((184..=416).contains(&aborted), "{aborted}");
    assert_eq!(backend.counters().requests(), 1000 - aborted);
}

#[tokio::test]
async fn only_who_asks_for_it_by_a_header_meets_it() {
    let backend = Backend::start("a");
    let fault = "abort: {}, only_with_header: { X-Fault: please }";
    let proxy = injecting(&backend, fault).await;
    for mut client in both(&proxy).await {
        assert_eq!(client.get("/").await.backend(), Some("a"));
        for (value, status) in [("please", 503), ("no", 200)] {
            let mut asking = request(Method::GET, "/", Outgoing::empty());
            let value = value.parse().unwrap();
            asking.headers_mut().insert("x-fault", value);
            assert_eq!(client.send(asking).await.status.as_u16(), status);
        }
    }
}

#[tokio::test]
async fn a_delay_is_waited_out_before_the_endpoint_is_asked() {
    let backend = Backend::start("a");
    // Nine seconds, of which a hundred pass in one of ours.
    let proxy = injecting_on(
        Clock::scaled(FAST),
        &backend,
        "delay: { distribution: 9s }",
        FAR,
    )
    .await;
    for mut client in both(&proxy).await {
        let clock = Clock::scaled(FAST);
        assert_eq!(client.get("/").await.backend(), Some("a"));
        let waited = clock.now().since(Instant(0));
        assert!(waited >= Duration::from_secs(9), "{waited:?}");
    }
    let met = || proxy.routes(Metric::RequestFaults, "delay");
    eventually(DEADLINE, || met() == 2).await;
}

#[tokio::test]
async fn a_delay_counts_into_the_total_of_the_upstream_which_ends_it() {
    let backend = Backend::start("a");
    let proxy = injecting_on(
        Clock::scaled(FAST),
        &backend,
        "delay: { distribution: 1h, max: 1h }",
        "timeouts: { total: 20s, first_byte: 10s }",
    )
    .await;
    for mut client in both(&proxy).await {
        let answer = client.get("/").await;
        answer.assert_told(504, "http_response_timeout", "total_timeout");
    }
    assert_eq!(backend.counters().requests(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_a_delay_is_let_go() {
    let backend = Backend::start("a");
    let proxy = injecting(&backend, "delay: { distribution: 10s }").await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let open = || proxy.live().connections();
    eventually(DEADLINE, || open() == 1).await;
    drop(raw);
    let gone = || proxy.routes(Metric::RequestErrors, "client_gone");
    eventually(Duration::from_secs(5), || gone() == 1).await;
    assert_eq!(backend.counters().requests(), 0);
}

#[tokio::test]
async fn answers_are_passed_on_no_faster_than_their_bandwidth() {
    let backend = Backend::start("a");
    // 200 kB at 10 kB/s are 20 s less what may come at once, of which a hundred pass in one of ours.
    let proxy = injecting_on(Clock::scaled(FAST), &backend, "bandwidth: 10000B/s", FAR).await;
    for path in ["/bytes/200000", "/chunked/200000/1000/0"] {
        for mut client in both(&proxy).await {
            let clock = Clock::scaled(FAST);
            let answer = client.get(path).await;
            let took = clock.now().since(Instant(0));
            assert_eq!(answer.body, pattern(200_000), "{path}");
            assert!(took >= Duration::from_secs(19), "{path}: {took:?}");
        }
    }
    let met = || proxy.routes(Metric::RequestFaults, "bandwidth");
    eventually(DEADLINE, || met() == 4).await;
}

#[tokio::test]
async fn a_slow_answer_holds_up_no_other_one() {
    let backend = Backend::start("a");
    let fault = "bandwidth: 1KiB/s, only_with_header: { X-Fault: slow }";
    let proxy = injecting(&backend, fault).await;
    let client = Client::h2(proxy.address()).await;
    let mut slow = request(Method::GET, "/bytes/1000000", Outgoing::empty());
    slow.headers_mut()
        .insert("x-fault", "slow".parse().unwrap());
    let body = client.another().open(slow).await.unwrap();
    let answer = client.another().get("/bytes/1000000").await;
    assert_eq!(answer.body.len(), 1_000_000);
    drop(body);
}

#[tokio::test]
async fn what_was_injected_stands_in_the_log_and_in_the_status() {
    let (backend, directory) = (Backend::start("a"), Directory::new());
    let log = directory.path().join("access.log");
    let fault = "delay: { distribution: 1ms }, abort: {}";
    let yaml =
        config(
            &[backend.endpoint()],
            "",
            &format!("fault: {{ {fault} }}"),
            "",
        ) + &format!("access_log: {{ path: {log:?} }}\nadmin: {{ address: \"127.0.0.1:0\" }}\n");
    let proxy = Proxy::start(&yaml).await;
    let answer = Client::h1(proxy.address()).await.get("/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let written = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually(DEADLINE, || written().ends_with('\n')).await;
    let line: Value = serde_json::from_str(written().trim_end()).unwrap();
    assert_eq!(line["faults"], "fault_delay,fault_abort", "{line}");
    assert_eq!(line["error"], "fault_abort");

    let ask = async {
        let mut admin = Client::h1(proxy.admin()).await;
        Answer::json(&admin.get("/api/v1/status").await)
    };
    let status = within(ask).await;
    let told = &status["routes"][0]["fault"];
    assert_eq!(
        told["injects"],
        "delay of 1ms to 100%, abort with 503 to 100%"
    );
    assert_eq!(
        (&told["met"]["delay"], &told["met"]["abort"]),
        (&1.into(), &1.into())
    );
    let arguments = ["status", "--admin", &proxy.admin().to_string()];
    let mut process = Process::start(&arguments);
    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
    let stdout = process.stdout();
    assert!(stdout.contains("INJECTS FAULTS: delay of 1ms"), "{stdout}");
    assert!(stdout.contains("met so far: abort 1, delay 1"), "{stdout}");
}

#[test]
fn a_route_that_injects_says_so_before_anybody_sends_a_request() {
    let directory = Directory::new();
    let fault = "fault: { abort: { status: 500, share: 1% } }";
    let yaml = config(&["127.0.0.1:1".to_owned()], "", fault, "");
    let file = directory.write("plimsoll.yaml", &yaml);
    let file = file.to_str().unwrap();
    let ask = |arguments: &[&str]| {
        let mut process = Process::start(arguments);
        assert_eq!(process.wait(), Some(0), "{}", process.stderr());
        process.stdout() + &process.stderr()
    };
    let told = ask(&["route", "-c", file, "/"]);
    let words = "injects faults on purpose: abort with 500 to 1%";
    assert!(told.contains(words), "{told}");
    let told = ask(&["check", file]);
    let words = "faults are injected on purpose: abort with 500 to 1%";
    assert!(told.contains(words), "{told}");
}

#[tokio::test]
async fn the_faults_of_a_backend_are_switched_by_a_signal() {
    let arguments = ["backend", "--listen", "127.0.0.1:0", "--fault", "gone"];
    let backend = Process::start(&arguments);
    let line = backend.wait_for_line("\tbackend");
    let address = line.split('\t').next().unwrap().parse().unwrap();
    let connect = async || Client::h1(address).await;
    assert!(connect().await.try_get("/").await.is_err());
    backend.signal(rustix::process::Signal::USR1);
    backend.wait_for_line("faults off");
    assert_eq!(connect().await.get("/").await.backend(), Some("backend"));
    backend.signal(rustix::process::Signal::USR1);
    backend.wait_for_line("faults on");
    assert!(connect().await.try_get("/").await.is_err());
}
