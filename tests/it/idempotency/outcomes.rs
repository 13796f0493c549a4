//! What an execution can come to: a result, nothing for certain, or nobody knows.

use hyper::StatusCode;

use super::{before, is_replayed, keyed, post, with, yaml};
use crate::harness::{Backend, Closed, Proxy, Scripted, Step};

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_executed_again() {
    for first in [
        vec![Step::ReadRequest],
        vec![Step::ReadRequest, Step::Reset],
        vec![
            Step::ReadRequest,
            Step::write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        ],
        vec![
            Step::ReadRequest,
            Step::write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        ],
        vec![Step::ReadRequest, Step::write("nonsense\r\n\r\n")],
    ] {
        let name = format!("{first:?}");
        let endpoint = Scripted::play(vec![first, vec![Step::ReadRequest, Step::ok()]]).await;
        let proxy = before(&endpoint.address().to_string(), "", "").await;
        let answer = post(&proxy, keyed("once", "/", "pay 5")).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{name}");
        for _ in 0..2 {
            let answer = post(&proxy, keyed("once", "/", "pay 5")).await;
            answer.assert_told(409, "http_request_denied", "idempotency_outcome_unknown");
            assert!(
                answer
                    .text()
                    .contains("the connection to the endpoint broke")
            );
        }
        let answer = post(&proxy, keyed("once", "/", "pay 6")).await;
        answer.assert_told(422, "http_request_denied", "idempotency_key_mismatch");
        assert_eq!(endpoint.requests().len(), 1, "{name}");
        let answer = post(&proxy, keyed("another", "/", "pay 5")).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn where_no_byte_was_sent_a_repeat_is_executed() {
    let closed = Closed::new();
    let proxy = before(&closed.endpoint(), "", "").await;
    for _ in 0..2 {
        let answer = post(&proxy, keyed("once", "/echo", "pay 5")).await;
        answer.assert_told(502, "connection_refused", "connection_refused");
    }
    let backend = Backend::start("a");
    let reloaded = proxy.reload(&yaml(&[backend.endpoint()], "", "")).await;
    reloaded.unwrap();
    let answer = post(&proxy, keyed("once", "/echo", "pay 5")).await;
    assert!(answer.status == 200 && !is_replayed(&answer), "{answer:?}");
    assert_eq!(backend.counters().requests(), 1);
}

#[tokio::test]
async fn a_keyed_request_goes_elsewhere_only_where_nothing_was_sent() {
    let closed = Closed::new();
    let backend = Backend::start("a");
    let endpoints = [closed.endpoint(), backend.endpoint()];
    let proxy = Proxy::start(&yaml(&endpoints, "", "balance: round_robin")).await;
    for number in 0..6 {
        let key = format!("key-{number}");
        let answer = post(&proxy, keyed(&key, "/echo", "pay 5")).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    assert_eq!(backend.counters().requests(), 6);
}

#[tokio::test]
async fn what_was_sent_goes_to_no_other_endpoint() {
    let unavailable = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 14\r\n\
                       Content-Length: 0\r\n\r\n";
    for (then, content, status) in [
        (None, "text/plain", StatusCode::BAD_GATEWAY),
        (Some(Step::Reset), "text/plain", StatusCode::BAD_GATEWAY),
        (
            Some(Step::write(unavailable)),
            "application/grpc",
            StatusCode::OK,
        ),
    ] {
        let script: Vec<Step> = [Step::ReadRequest].into_iter().chain(then).collect();
        let one = Scripted::play(vec![script.clone()]).await;
        let other = Scripted::play(vec![script]).await;
        let endpoints = [one.address().to_string(), other.address().to_string()];
        let retry = "breaker: off, retry: { max_attempts: 4, grpc_on: [unavailable] }";
        let proxy = Proxy::start(&yaml(&endpoints, "", retry)).await;
        let request = with(keyed("once", "/", "pay 5"), "content-type", content);
        let answer = post(&proxy, request).await;
        assert_eq!(answer.status, status, "{content}");
        let executed = one.requests().len() + other.requests().len();
        assert_eq!(executed, 1, "{content}");
    }
}

#[tokio::test]
async fn an_endpoint_that_looks_at_keys_itself_is_asked_again() {
    let endpoint = Scripted::play(vec![
        vec![Step::ReadRequest],
        vec![Step::ReadRequest, Step::ok()],
    ])
    .await;
    let rules = "backend_deduplicates: true";
    // Whether within this request or with its repeat.
    let proxy = before(&endpoint.address().to_string(), rules, "").await;
    let mut answer = post(&proxy, keyed("once", "/", "pay 5")).await;
    if answer.status == StatusCode::BAD_GATEWAY {
        answer = post(&proxy, keyed("once", "/", "pay 5")).await;
    }
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "ok"));
    let again = post(&proxy, keyed("once", "/", "pay 5")).await;
    assert!(is_replayed(&again));
    assert_eq!(endpoint.requests().len(), 2);
}

#[tokio::test]
async fn a_reload_keeps_results() {
    let backend = Backend::start("a");
    let proxy = before(&backend.endpoint(), "", "").await;
    let first = post(&proxy, keyed("once", "/echo", "pay 5")).await;
    assert!(!is_replayed(&first));
    let other = Backend::start("b");
    let changed = yaml(&[other.endpoint()], "ttl: 1h, replayed_header: X-Again", "");
    proxy.reload(&changed).await.unwrap();
    let again = post(&proxy, keyed("once", "/echo", "pay 5")).await;
    assert_eq!(again.header("x-again"), Some("true"));
    assert_eq!(again.text(), "pay 5");
    assert_eq!(other.counters().requests(), 0);
}
