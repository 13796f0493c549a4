//! Everything that is kept has a bound, and what happens at it can be seen.

use std::sync::Arc;

use hyper::Method;
use tokio::sync::Notify;

use std::time::Duration;

use plimsoll::clock::Clock;

use super::{before, is_replayed, keyed, post, with, yaml};
use crate::harness::{
    Backend, Client, DEADLINE, FAST, Outgoing, Proxy, Scripted, Step, eventually, pattern, request,
};

#[tokio::test]
async fn what_is_no_key_is_400() {
    let backend = Backend::start("a");
    let rules = "required: true, key_bytes: 40B";
    let proxy = before(&backend.endpoint(), rules, "").await;
    let long = "k".repeat(41);
    for (request, label) in [
        (keyed(&long, "/", ""), "idempotency_key_too_long"),
        (
            keyed(&format!("\"{long}\""), "/", ""),
            "idempotency_key_too_long",
        ),
        (keyed("", "/", ""), "idempotency_key_malformed"),
        (keyed("\"open", "/", ""), "idempotency_key_malformed"),
        (keyed("two words", "/", ""), "idempotency_key_malformed"),
        (
            with(keyed("a", "/", ""), "idempotency-key", "a"),
            "idempotency_key_malformed",
        ),
        (
            request(Method::POST, "/", Outgoing::empty()),
            "idempotency_key_missing",
        ),
        (
            request(Method::PATCH, "/", Outgoing::whole("x")),
            "idempotency_key_missing",
        ),
    ] {
        let answer = post(&proxy, request).await;
        answer.assert_told(400, "http_request_error", label);
    }
    assert_eq!(backend.counters().requests(), 0);
    assert_eq!(
        post(&proxy, keyed(&"k".repeat(40), "/", "")).await.status,
        200
    );
}

#[tokio::test]
async fn a_request_too_large_to_be_held_is_413() {
    let backend = Backend::start("a");
    let proxy = before(&backend.endpoint(), "request_bytes: 1KiB", "").await;
    let announced = post(&proxy, keyed("once", "/echo", vec![b'x'; 1025])).await;
    announced.assert_told(413, "http_request_denied", "body_too_large");
    let mut client = Client::h1(proxy.address()).await;
    let (mut upload, body) = Outgoing::pieces();
    let request = with(
        request(Method::POST, "/echo", body),
        "idempotency-key",
        "once",
    );
    let feed = async {
        for _ in 0..3 {
            upload.send(vec![b'x'; 512]).await;
        }
        drop(upload);
    };
    let (streamed, ()) = tokio::join!(client.send(request), feed);
    streamed.assert_told(413, "http_request_denied", "body_too_large");
    assert_eq!(backend.counters().requests(), 0);
    let fits = post(&proxy, keyed("once", "/echo", vec![b'x'; 1024])).await;
    assert_eq!(fits.body.len(), 1024);
}

#[tokio::test]
async fn a_result_too_large_to_be_kept_reaches_its_client_and_no_other() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let upstream = format!("protocol: {protocol}");
        let proxy = before(&backend.endpoint(), "body_bytes: 1KiB", &upstream).await;
        for (number, path) in ["/bytes/500000", "/chunked/500000/1000/0", "/bytes/1025"]
            .into_iter()
            .enumerate()
        {
            let key = format!("key-{number}");
            let answer = post(&proxy, keyed(&key, path, "")).await;
            let length = if path.ends_with("1025") {
                1025
            } else {
                500_000
            };
            assert!(answer.body == pattern(length), "{path}");
            let again = post(&proxy, keyed(&key, path, "")).await;
            again.assert_told(409, "http_request_denied", "idempotency_outcome_unknown");
            assert!(again.text().contains("too large to be kept"));
        }
        let fits = post(&proxy, keyed("fits", "/bytes/1024", "")).await;
        assert_eq!(fits.body.len(), 1024);
        assert!(is_replayed(
            &post(&proxy, keyed("fits", "/bytes/1024", "")).await
        ));
        assert_eq!(backend.counters().requests(), 4);
    }
}

/// What the admin API says at this path.
async fn told(proxy: &Proxy, path: &str) -> String {
    let answer = Client::h1(proxy.admin()).await.get(path).await;
    answer.text().to_owned()
}

#[tokio::test]
async fn the_oldest_result_makes_room_and_is_not_executed_again() {
    let backend = Backend::start("a");
    let rules = "bytes: 10KiB, body_bytes: 8KiB";
    let proxy = before(&backend.endpoint(), rules, "").await;
    for key in ["first", "second", "third"] {
        post(&proxy, keyed(key, "/bytes/4000", "")).await;
    }
    let first = post(&proxy, keyed("first", "/bytes/4000", "")).await;
    first.assert_told(409, "http_request_denied", "idempotency_outcome_unknown");
    assert!(first.text().contains("made room"));
    assert!(is_replayed(
        &post(&proxy, keyed("second", "/bytes/4000", "")).await
    ));
    assert_eq!(backend.counters().requests(), 3);
    let metrics = told(&proxy, "/metrics").await;
    for line in [
        "plimsoll_idempotency_lost_total{route=\"pay\",what=\"result\"} 1",
        "plimsoll_idempotency_requests_total{route=\"pay\",met=\"executed\"} 3",
        "plimsoll_idempotency_requests_total{route=\"pay\",met=\"replayed\"} 1",
        "plimsoll_idempotency_requests_total{route=\"pay\",met=\"unknown\"} 1",
        "plimsoll_idempotency_executions_total{route=\"pay\",end=\"stored\"} 3",
        "plimsoll_idempotency_keys{route=\"pay\",state=\"stored\"} 2",
        "plimsoll_idempotency_keys{route=\"pay\",state=\"unknown\"} 1",
        "plimsoll_events_total{kind=\"idempotency\"} 1",
    ] {
        assert!(
            metrics.lines().any(|told| told == line),
            "{line}\n{metrics}"
        );
    }
    let events = told(&proxy, "/api/v1/events").await;
    assert!(
        events.contains("1 results displaced before their ttl"),
        "{events}"
    );
    assert!(events.contains("\"route\":\"pay\""), "{events}");
    let status = told(&proxy, "/api/v1/status").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let keys = &status["routes"][0]["idempotency"];
    assert_eq!(keys["keys"]["stored"], 2, "{keys}");
    assert_eq!(keys["keys"]["unknown"], 1);
    assert_eq!(keys["lost_results"], 1);
    assert_eq!(keys["requests"]["replayed"], 1);
    let bytes = keys["stored_bytes"].as_u64().unwrap();
    assert!((8000..10_240).contains(&bytes), "{keys}");
}

#[tokio::test]
async fn the_oldest_key_makes_room_and_is_executed_again() {
    let backend = Backend::start("a");
    let proxy = before(&backend.endpoint(), "entries: 2", "").await;
    for key in ["first", "second", "third"] {
        assert!(!is_replayed(&post(&proxy, keyed(key, "/", "")).await));
    }
    assert!(is_replayed(&post(&proxy, keyed("second", "/", "")).await));
    assert!(!is_replayed(&post(&proxy, keyed("first", "/", "")).await));
    assert_eq!(backend.counters().requests(), 4);
    let events = told(&proxy, "/api/v1/events").await;
    assert!(
        events.contains("1 keys displaced before their ttl"),
        "{events}"
    );
}

#[tokio::test]
async fn where_all_keys_are_running_the_route_says_what_happens() {
    for (choice, expected) in [("closed", 503), ("open", 200)] {
        let word = Arc::new(Notify::new());
        let first = vec![Step::ReadRequest, Step::Wait(Arc::clone(&word)), Step::ok()];
        let endpoint = Scripted::play(vec![first, vec![Step::ReadRequest, Step::ok()]]).await;
        let rules = format!("entries: 1, on_store_failure: {choice}");
        let proxy = before(&endpoint.address().to_string(), &rules, "").await;
        let address = proxy.address();
        let running = tokio::spawn(async move {
            let mut client = Client::h1(address).await;
            client.send(keyed("first", "/", "pay 5")).await
        });
        eventually(DEADLINE, || endpoint.requests().len() == 1).await;
        let second = post(&proxy, keyed("second", "/", "pay 6")).await;
        assert_eq!(second.status, expected);
        if expected == 503 {
            second.assert_told(503, "http_request_denied", "idempotency_store_full");
        } else {
            assert_eq!(endpoint.requests()[1].body, b"pay 6");
        }
        word.notify_one();
        assert_eq!(running.await.unwrap().status, 200);
        // It made room for it, since its outcome is known.
        assert_eq!(
            post(&proxy, keyed("second", "/", "pay 6")).await.status,
            200
        );
    }
}

#[tokio::test]
async fn requests_that_are_held_have_a_bound_in_sum() {
    for choice in ["closed", "open"] {
        let word = Arc::new(Notify::new());
        let first = vec![Step::ReadRequest, Step::Wait(Arc::clone(&word)), Step::ok()];
        let endpoint = Scripted::play(vec![first, vec![Step::ReadRequest, Step::ok()]]).await;
        let rules = format!("bytes: 2000B, request_bytes: 1024B, on_store_failure: {choice}");
        let proxy = before(&endpoint.address().to_string(), &rules, "").await;
        let address = proxy.address();
        let running = tokio::spawn(async move {
            let mut client = Client::h1(address).await;
            client.send(keyed("first", "/", vec![b'x'; 1024])).await
        });
        eventually(DEADLINE, || endpoint.requests().len() == 1).await;
        let second = post(&proxy, keyed("second", "/", vec![b'x'; 1024])).await;
        second.assert_told(503, "http_request_denied", "idempotency_store_full");
        let metrics = told(&proxy, "/metrics").await;
        assert!(metrics.contains("plimsoll_idempotency_held_bytes{route=\"pay\"} 1024\n"));
        let fits = post(&proxy, keyed("second", "/", vec![b'x'; 900])).await;
        assert_eq!(fits.status, 200);
        word.notify_one();
        assert_eq!(running.await.unwrap().status, 200);
        let third = post(&proxy, keyed("third", "/", vec![b'x'; 1024])).await;
        assert_eq!(third.status, 200, "there is room again");
        assert_eq!(endpoint.requests().len(), 3);
    }
}

#[tokio::test]
async fn results_are_given_no_faster_than_their_bandwidth() {
    let backend = Backend::start("a");
    let slow = "fault: { bandwidth: 10000B/s }, idempotency: {";
    let yaml = yaml(&[backend.endpoint()], "", "").replace("idempotency: {", slow);
    let proxy = Proxy::start_on(Clock::scaled(FAST), &yaml).await;
    for is_kept in [false, true] {
        let clock = Clock::scaled(FAST);
        let began = clock.now();
        let answer = post(&proxy, keyed("once", "/bytes/200000", "")).await;
        let took = clock.now().since(began);
        assert!(answer.body == pattern(200_000) && is_replayed(&answer) == is_kept);
        assert!(took >= Duration::from_secs(19), "{took:?}");
    }
}

#[tokio::test]
async fn a_large_result_on_its_way_does_not_keep_what_is_out_of_force() {
    let backend = Backend::start("a");
    let before = yaml(&[backend.endpoint()], "body_bytes: 1KiB", "");
    let proxy = Proxy::start(&before).await;
    let mut client = Client::h1(proxy.address()).await;
    let request = keyed("once", "/chunked/100000/1000/1000", "");
    let streaming = client.open(request).await.unwrap();
    let old = Arc::downgrade(&proxy.live().snapshot.load_full());
    proxy
        .reload(&(before + "drain_timeout: 9s\n"))
        .await
        .unwrap();
    eventually(DEADLINE, || old.strong_count() == 0).await;
    assert_eq!(backend.counters().in_flight(), 1, "it streams");
    drop(streaming);
}
