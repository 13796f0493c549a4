//! Clients that leave, or that are told that it took too long: the execution goes on without them.

use std::sync::Arc;
use std::time::Duration;

use plimsoll::lifecycle::Ended;
use plimsoll::observe::Metric;
use tokio::sync::Notify;

use super::{before, client, fast_before, is_replayed, keyed, post};
use crate::harness::{DEADLINE, Raw, Scripted, Step, eventually, within};

/// Reads one request, answers it when it is told to, and whatever comes after at once.
async fn slow(told: &Arc<Notify>) -> Scripted {
    let wait = Step::Wait(Arc::clone(told));
    let first = vec![Step::ReadRequest, wait, Step::ok()];
    Scripted::play(vec![first, vec![Step::ReadRequest, Step::ok()]]).await
}

/// The store's count of executions that ended so.
fn ended(proxy: &crate::harness::Proxy, how: &str) -> u64 {
    let snapshot = proxy.live().snapshot.load();
    let guard = snapshot.guards[0].as_ref().unwrap();
    let all = guard.store.counts.all_ended().into_iter();
    let found = all.filter(|(end, _)| end.label() == how);
    found.map(|(_, count)| count).sum()
}

#[tokio::test]
async fn a_client_that_leaves_gets_the_result_when_it_comes_back() {
    for h2 in [false, true] {
        let told = Arc::new(Notify::new());
        let endpoint = slow(&told).await;
        let proxy = before(&endpoint.address().to_string(), "", "").await;
        let mut leaving = client(h2, proxy.address()).await;
        let sent = tokio::spawn(async move {
            let _ = leaving.open(keyed("once", "/", "pay 5")).await;
        });
        eventually(DEADLINE, || endpoint.requests().len() == 1).await;
        sent.abort();
        assert!(sent.await.unwrap_err().is_cancelled());
        eventually(DEADLINE, || {
            proxy.routes(Metric::RequestOutcomes, "client_gone") == 1
        })
        .await;
        told.notify_one();
        // Whether it comes before the result or after it.
        let answer = post(&proxy, keyed("once", "/", "pay 5")).await;
        assert!(is_replayed(&answer), "{answer:?}");
        assert_eq!(answer.text(), "ok");
        assert_eq!(endpoint.requests().len(), 1, "it was executed once");
    }
}

#[tokio::test]
async fn a_client_that_leaves_at_once_does_not_keep_its_request_from_being_executed() {
    let told = Arc::new(Notify::new());
    told.notify_one();
    let endpoint = slow(&told).await;
    let proxy = before(&endpoint.address().to_string(), "", "").await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send(
        "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: once\r\nContent-Length: 5\r\n\r\npay 5",
    )
    .await;
    raw.reset();
    eventually(DEADLINE, || ended(&proxy, "stored") == 1).await;
    let mut repeat = keyed("once", "/", "pay 5");
    let host = "a".parse().unwrap();
    repeat.headers_mut().insert("host", host);
    assert!(is_replayed(&post(&proxy, repeat).await));
}

#[tokio::test]
async fn after_504_the_repeat_gets_the_result() {
    let told = Arc::new(Notify::new());
    let endpoint = slow(&told).await;
    let timeouts = "timeouts: { connect: 10s, total: 10s, first_byte: 1s }";
    let rules = "result_wait: 1h";
    let proxy = fast_before(&endpoint.address().to_string(), rules, timeouts).await;
    let answer = post(&proxy, keyed("once", "/", "pay 5")).await;
    answer.assert_told(504, "http_response_timeout", "total_timeout");
    eventually(DEADLINE, || proxy.routes(Metric::RequestAttempts, "") == 1).await;
    let answer = post(&proxy, keyed("once", "/", "pay 5")).await;
    answer.assert_told(409, "http_request_denied", "idempotency_key_in_use");
    told.notify_one();
    eventually(DEADLINE, || ended(&proxy, "stored") == 1).await;
    let answer = post(&proxy, keyed("once", "/", "pay 5")).await;
    assert!(is_replayed(&answer) && answer.text() == "ok", "{answer:?}");
    assert_eq!(endpoint.requests().len(), 1);
}

#[tokio::test]
async fn what_is_not_there_after_result_wait_is_unknown_until_its_ttl_ends() {
    let never = Arc::new(Notify::new());
    let endpoint = slow(&never).await;
    // The last request needs an answer in time.
    let timeouts = "timeouts: { connect: 1h, first_byte: 24h, total: 1m }";
    let rules = "result_wait: 2s, ttl: 10m";
    let proxy = fast_before(&endpoint.address().to_string(), rules, timeouts).await;
    let answer = post(&proxy, keyed("once", "/", "pay 5")).await;
    answer.assert_told(504, "http_response_timeout", "total_timeout");
    eventually(DEADLINE, || ended(&proxy, "unknown") == 1).await;
    let answer = post(&proxy, keyed("once", "/", "pay 5")).await;
    answer.assert_told(409, "http_request_denied", "idempotency_outcome_unknown");
    assert!(
        answer
            .text()
            .contains("did not answer for as long as it was waited for")
    );
    let started = proxy.live().clock.now();
    let ttl = Duration::from_secs(600);
    eventually(DEADLINE, || proxy.live().clock.now().since(started) > ttl).await;
    let answer = post(&proxy, keyed("once", "/", "pay 5")).await;
    assert!(answer.status == 200 && !is_replayed(&answer), "{answer:?}");
    assert_eq!(endpoint.requests().len(), 2);
}

#[tokio::test]
async fn a_body_that_never_comes_whole_executes_nothing() {
    let told = Arc::new(Notify::new());
    let endpoint = slow(&told).await;
    let proxy = before(&endpoint.address().to_string(), "", "").await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: once\r\nContent-Length: 5\r\n\r\npay")
        .await;
    raw.reset();
    eventually(DEADLINE, || {
        proxy.routes(Metric::RequestErrors, "client_gone") == 1
    })
    .await;
    assert!(endpoint.heads().is_empty());
}

#[tokio::test]
async fn draining_waits_for_what_is_executed_without_a_client() {
    let told = Arc::new(Notify::new());
    let endpoint = slow(&told).await;
    let proxy = before(&endpoint.address().to_string(), "", "").await;
    let mut leaving = client(false, proxy.address()).await;
    let sent = tokio::spawn(async move {
        let _ = leaving.open(keyed("once", "/", "pay 5")).await;
    });
    eventually(DEADLINE, || endpoint.requests().len() == 1).await;
    sent.abort();
    eventually(DEADLINE, || proxy.live().connections() == 0).await;
    let snapshot = proxy.live().snapshot.load_full();
    let mailboxes = Arc::clone(&proxy.live().mailboxes);
    proxy.drain();
    // The other worker has nothing to wait for.
    eventually(DEADLINE, || {
        mailboxes.iter().any(|one| one.inbox.is_closed())
    })
    .await;
    told.notify_one();
    assert_eq!(within(proxy.join()).await, Ended::Asked { cut: 0 });
    let store = &snapshot.guards[0].as_ref().unwrap().store;
    let all = store.counts.all_ended().into_iter();
    let known: Vec<u64> = all.map(|(_, count)| count).collect();
    assert_eq!(known, [1, 0, 0], "its result is known");
}
