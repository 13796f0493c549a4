//! What fails is tried again where that is harmless, elsewhere, within a budget and in time.

use std::time::Duration;

use hyper::{Method, Request, StatusCode};
use plimsoll::clock::Clock;
use plimsoll::observe::Metric;

use crate::harness::{
    Answer, Backend, Client, Closed, DEADLINE, FAST, Outgoing, Proxy, Raw, Scripted, Step, config,
    eventually, field, within,
};

/// Timeouts that no busy machine meets.
const PATIENT: &str = "connect: 1h, total: 2h, idle: 24h";

async fn before(endpoints: &[String], upstream: &str) -> Proxy {
    let upstream = format!("balance: round_robin, {upstream}");
    Proxy::start(&config(endpoints, "", "", &upstream)).await
}

/// On a clock that runs fast.
async fn fast(endpoints: &[String], upstream: &str) -> Proxy {
    let upstream = format!("balance: round_robin, {upstream}");
    let patient = "timeouts: { head: 1h, keep_alive: 24h, body: 24h }";
    let yaml = config(endpoints, patient, "", &upstream);
    Proxy::start_on(Clock::scaled(FAST), &yaml).await
}

fn busy(fields: &str) -> Step {
    Step::write(format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n{fields}\r\nbusy"
    ))
}

/// Does this with each request, several on a connection.
async fn always(step: Step) -> Scripted {
    let one = [Step::ReadRequest, step];
    Scripted::play(vec![std::iter::repeat_n(one, 50).flatten().collect()]).await
}

/// How an endpoint can fail: it answers 503, breaks off, or is silent.
async fn failing() -> [Scripted; 3] {
    let silent = vec![Step::ReadRequest, Step::Stall];
    [
        always(busy("")).await,
        Scripted::play(vec![vec![Step::ReadRequest]]).await,
        Scripted::play(vec![silent]).await,
    ]
}

async fn send(client: &mut Client, method: Method, body: &str) -> Answer {
    let sent = client.try_send(method, "/", Outgoing::whole(body.to_owned()));
    sent.await.unwrap()
}

fn decided(proxy: &Proxy, decision: &str) -> u64 {
    let report = proxy.report();
    let readings = report.picks.iter();
    readings
        .map(|reading| reading.count(Metric::UpstreamRetries, decision))
        .sum()
}

#[tokio::test]
async fn what_fails_is_answered_by_another_endpoint_if_it_may_be_repeated() {
    for scripted in failing().await {
        let backend = Backend::start("b");
        let endpoints = [scripted.address().to_string(), backend.endpoint()];
        let timeouts = format!("timeouts: {{ {PATIENT}, first_byte: 1m }}");
        let proxy = fast(&endpoints, &timeouts).await;
        let mut client = Client::h1(proxy.address()).await;
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::GET] {
            let answer = send(&mut client, method, "body").await;
            assert_eq!(answer.backend(), Some("b"), "{answer:?}");
        }
        let failed = scripted.heads().len() as u64;
        assert!(failed >= 1);
        assert_eq!(decided(&proxy, "made"), failed);
        assert_eq!(backend.counters().requests(), 4);
    }
}

#[tokio::test]
async fn a_post_is_sent_once_and_its_answer_passed_on() {
    for (scripted, status) in failing().await.into_iter().zip([503, 502, 504]) {
        let backend = Backend::start("b");
        let endpoints = [scripted.address().to_string(), backend.endpoint()];
        let timeouts = format!("timeouts: {{ {PATIENT}, first_byte: 1m }}");
        let proxy = fast(&endpoints, &timeouts).await;
        let mut client = Client::h1(proxy.address()).await;
        let mut failed = 0;
        for _ in 0..6 {
            let answer = send(&mut client, Method::POST, "body").await;
            if answer.backend() != Some("b") {
                assert_eq!(answer.status.as_u16(), status, "{answer:?}");
                failed += 1;
            }
        }
        assert!(failed > 0);
        let requests = scripted.heads().len() as u64 + backend.counters().requests();
        assert_eq!(requests, 6, "each was sent once");
        assert_eq!(decided(&proxy, "not_replayable"), failed);
    }
}

#[tokio::test]
async fn an_answer_that_is_the_last_is_passed_on_as_it_is() {
    let scripted = always(busy("X-Own: yes\r\n")).await;
    for (upstream, requests) in [
        ("", 2),
        ("breaker: off, retry: { on: [502] }", 1),
        ("retry: off", 1),
    ] {
        let sent = scripted.heads().len();
        let proxy = before(&[scripted.address().to_string()], upstream).await;
        for h2 in [false, true] {
            let mut client = if h2 {
                Client::h2(proxy.address()).await
            } else {
                Client::h1(proxy.address()).await
            };
            let answer = client.get("/").await;
            assert_eq!((answer.status.as_u16(), answer.text()), (503, "busy"));
            assert_eq!(answer.header("x-own"), Some("yes"));
            assert_eq!(answer.header("proxy-status"), None);
        }
        assert_eq!(scripted.heads().len() - sent, 2 * requests, "{upstream}");
    }
}

#[tokio::test]
async fn a_body_is_sent_again_whole_as_often_as_need_be() {
    let body = "0123456789".repeat(6000);
    let first = always(busy("")).await;
    let second = Scripted::play(vec![vec![Step::ReadRequest]]).await;
    let third = always(Step::ok()).await;
    let endpoints = [&first, &second, &third].map(|one| one.address().to_string());
    let proxy = before(&endpoints, "breaker: off, retry: { max_attempts: 3 }").await;
    for h2 in [false, true] {
        let mut client = if h2 {
            Client::h2(proxy.address()).await
        } else {
            Client::h1(proxy.address()).await
        };
        for _ in 0..3 {
            let answer = send(&mut client, Method::PUT, &body).await;
            assert_eq!(answer.status, StatusCode::OK);
        }
    }
    assert_eq!(third.requests().len(), 6);
    for scripted in [&first, &second, &third] {
        let requests = scripted.requests();
        assert!(!requests.is_empty() && requests.iter().all(|one| one.text() == body));
    }
    let received = || proxy.routes(Metric::RequestBytes, "");
    eventually(DEADLINE, || received() == 6 * body.len() as u64).await;
}

#[tokio::test]
async fn a_body_larger_than_the_buffer_is_not_sent_again() {
    for (upstream, size) in [
        ("breaker: off, retry: { buffer: 1000B }", 1001),
        ("breaker: off, retry: { buffer: off }", 1),
        ("", 64 * 1024 + 1),
    ] {
        let scripted = always(busy("")).await;
        let proxy = before(&[scripted.address().to_string()], upstream).await;
        let mut client = Client::h1(proxy.address()).await;
        let answer = send(&mut client, Method::PUT, &"x".repeat(size)).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (503, "busy"));
        assert_eq!(scripted.heads().len(), 1, "{upstream}");
        assert_eq!(decided(&proxy, "not_replayable"), 1);
    }
}

#[tokio::test]
async fn an_outage_spends_the_budget_once_and_success_refills_it() {
    let backends = ["a", "b"].map(|label| Backend::labelled(label).status("503:1").start());
    let endpoints = backends.each_ref().map(Backend::endpoint);
    let upstream = "balance: round_robin, breaker: off, retry: { backoff: { base: 1ms } }";
    let yaml = config(&endpoints, "", "", upstream);
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::h1(proxy.address()).await;
    let requests = || {
        let counts = backends.iter().map(|one| one.counters().requests());
        counts.sum::<u64>()
    };
    for _ in 0..30 {
        assert_eq!(client.get("/").await.status.as_u16(), 503);
    }
    assert_eq!(requests(), 30 + 10);
    // It is no other budget after a reload.
    proxy
        .reload(&format!("{yaml}drain_timeout: 9s\n"))
        .await
        .unwrap();
    client.get("/").await;
    assert_eq!(requests(), 41);
    for (backend, label) in backends.iter().zip(["a", "b"]) {
        backend.change(Backend::labelled(label));
    }
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status, StatusCode::OK);
    }
    for (backend, label) in backends.iter().zip(["a", "b"]) {
        backend.change(Backend::labelled(label).status("503:1"));
    }
    for _ in 0..5 {
        client.get("/").await;
    }
    assert_eq!(requests(), 41 + 20 + 5 + 2, "a tenth of what succeeded");
    assert_eq!(
        (decided(&proxy, "made"), decided(&proxy, "no_budget")),
        (12, 24)
    );
}

#[tokio::test]
async fn without_a_budget_every_failure_is_tried_again() {
    let backend = Backend::labelled("a").status("503:1").start();
    let upstream = "breaker: off, retry: { budget: off, backoff: { base: 1ms } }";
    let proxy = before(&[backend.endpoint()], upstream).await;
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..30 {
        client.get("/").await;
    }
    assert_eq!(backend.counters().requests(), 60);
    assert_eq!(
        backend.counters().accepted(),
        1,
        "what was dropped was read"
    );
}

#[tokio::test]
async fn retry_after_is_heeded_and_capped() {
    // Behind the pause is the answer of another endpoint.
    for (asked, seconds) in [
        ("20", 20),
        ("86400", 30),
        ("Thu, 01 Jan 2150 00:00:00 GMT", 30),
    ] {
        let scripted = always(busy(&format!("Retry-After: {asked}\r\n"))).await;
        let proxy = fast(
            &[scripted.address().to_string()],
            &format!(
                "timeouts: {{ {PATIENT}, first_byte: 1h }}, retry: {{ retry_after_max: 30s }}"
            ),
        )
        .await;
        let mut client = Client::h1(proxy.address()).await;
        assert_eq!(client.get("/").await.status.as_u16(), 503);
        assert_eq!(scripted.heads().len(), 2);
        eventually(DEADLINE, || proxy.report().routes[0].total.count == 1).await;
        let spent = proxy.report().routes[0].total.max.unwrap();
        assert!(spent >= Duration::from_secs(seconds), "{asked}: {spent:?}");
    }
    // There is no time for it.
    let scripted = always(busy("Retry-After: 3600\r\n")).await;
    let upstream = "timeouts: { total: 30m }, retry: { retry_after_max: 1h }";
    let proxy = before(&[scripted.address().to_string()], upstream).await;
    let answer = Client::h1(proxy.address()).await.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (503, "busy"));
    assert_eq!((scripted.heads().len(), decided(&proxy, "no_time")), (1, 1));
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_pause_which_holds_no_slot() {
    for h2 in [false, true] {
        let scripted = always(busy("Retry-After: 3600\r\n")).await;
        let upstream = format!("timeouts: {{ {PATIENT} }}, retry: {{ retry_after_max: 1h }}");
        let proxy = before(&[scripted.address().to_string()], &upstream).await;
        let asking = {
            let address = proxy.address();
            tokio::spawn(async move {
                let mut client = if h2 {
                    Client::h2(address).await
                } else {
                    Client::h1(address).await
                };
                client.try_get("/").await.is_ok()
            })
        };
        eventually(DEADLINE, || decided(&proxy, "made") == 1).await;
        let endpoint = proxy.live().snapshot.load().upstreams[0].endpoints[0].clone();
        eventually(DEADLINE, || endpoint.signals.in_flight.load() == 0).await;
        assert_eq!(proxy.routes(Metric::RequestAttempts, ""), 0, "it waits");
        asking.abort();
        let gone = || proxy.routes(Metric::RequestOutcomes, "client_gone");
        eventually(DEADLINE, || gone() == 1).await;
        assert_eq!(scripted.heads().len(), 1);
    }
}

#[tokio::test]
async fn it_never_goes_back_while_another_endpoint_is_left() {
    let closed = Closed::new();
    let backends = ["a", "b", "c"].map(|label| Backend::labelled(label).status("502:1").start());
    let mut endpoints: Vec<String> = backends.iter().map(Backend::endpoint).collect();
    endpoints.push(closed.endpoint());
    let upstream = "breaker: off, retry: { max_attempts: 3, budget: off, backoff: { base: 1ms } }";
    let proxy = before(&endpoints, upstream).await;
    let mut client = Client::h1(proxy.address()).await;
    for round in 1..=10 {
        assert_eq!(client.get("/").await.status.as_u16(), 502);
        for backend in &backends {
            assert_eq!(backend.counters().requests(), round, "each was asked once");
        }
    }
}

#[tokio::test]
async fn endpoints_are_told_of_the_attempt_and_of_the_time_left() {
    let scripted = always(busy("")).await;
    let backend = Backend::start("b");
    let endpoints = [scripted.address().to_string(), backend.endpoint()];
    let upstream =
        "breaker: off, retry: { attempt_header: X-Attempt }, timeouts: { deadline_header: X-Left }";
    let proxy = before(&endpoints, upstream).await;
    let mut client = Client::h1(proxy.address()).await;
    let mut attempts = Vec::new();
    for _ in 0..2 {
        let request = Request::get("/headers").header("x-attempt", "7");
        let request = request.header("X-LEFT", "99999999");
        let answer = client.send(request.body(Outgoing::empty()).unwrap()).await;
        let told = answer.json();
        attempts.push(field(&told, "x-attempt").unwrap().to_owned());
        let left: u64 = field(&told, "x-left").unwrap().parse().unwrap();
        assert!((10_000..=30_000).contains(&left), "{left}");
        assert_eq!(field(&told, "grpc-timeout"), None);
    }
    assert!(attempts.contains(&"2".to_owned()), "{attempts:?}");
    for (own, kept) in [(Some("5S"), true), (Some("1H"), false), (None, false)] {
        let mut request = Request::post("/headers").header("content-type", "application/grpc");
        if let Some(own) = own {
            request = request.header("grpc-timeout", own);
        }
        let proxy = before(&[backend.endpoint()], upstream).await;
        let mut client = Client::h1(proxy.address()).await;
        let answer = client.send(request.body(Outgoing::empty()).unwrap()).await;
        let told = answer.json();
        let timeout = field(&told, "grpc-timeout").unwrap();
        assert_eq!(field(&told, "x-attempt"), Some("1"));
        assert_eq!(timeout == "5S", kept, "{timeout}");
        assert!(kept || timeout.ends_with('m'), "{timeout}");
    }
}

#[tokio::test]
async fn a_call_is_repeated_after_a_status_of_grpc_that_is_listed() {
    let unavailable = Step::write(
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 14\r\nContent-Length: 0\r\n\r\n",
    );
    let call = || {
        let request = Request::post("/service/call").header("content-type", "application/grpc");
        request.body(Outgoing::whole("call")).unwrap()
    };
    for (upstream, requests) in [
        ("", 1),
        ("breaker: off, retry: { grpc_on: [aborted] }", 1),
        (
            "breaker: off, retry: { grpc_on: [aborted, unavailable], buffer: 64KiB }",
            2,
        ),
    ] {
        let scripted = always(unavailable.clone()).await;
        let proxy = before(&[scripted.address().to_string()], upstream).await;
        let mut client = Client::h1(proxy.address()).await;
        let answer = client.send(call()).await;
        assert_eq!(answer.header("grpc-status"), Some("14"));
        assert_eq!(scripted.requests().len(), requests, "{upstream}");
    }
}

#[tokio::test]
async fn an_early_failure_does_not_wait_for_the_rest_of_a_body() {
    let early = vec![Step::ReadHead, busy("")];
    let first = Scripted::play(vec![early]).await;
    let second = always(Step::ok()).await;
    let endpoints = [first.address().to_string(), second.address().to_string()];
    let proxy = before(&endpoints, "").await;
    let mut raw = Raw::connect(proxy.address()).await;
    for _ in 0..2 {
        raw.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nsome")
            .await;
        // One of the two has the head and what there is of the body by now.
        let both = || first.heads().len() + proxy.live().connections();
        eventually(DEADLINE, || both() > 0).await;
        raw.send(" more").await;
        assert_eq!(within(raw.response()).await.status(), 200);
    }
    let requests = second.requests();
    assert!(requests.len() == 2 && requests.iter().all(|one| one.text() == "some more"));
}
