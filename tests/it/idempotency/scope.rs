//! A key is good for one client, one host, one path and one method; nobody is shown the result of another.

use hyper::Method;

use super::{before, is_replayed, keyed, post, with, yaml};
use crate::harness::{Backend, Proxy};

#[tokio::test]
async fn no_client_reads_the_answer_of_another() {
    let backend = Backend::start("a");
    let proxy = before(&backend.endpoint(), "", "").await;
    let base = || keyed("once", "/headers", "pay 5");
    let mut patch = base();
    *patch.method_mut() = Method::PATCH;
    let requests = [
        base(),
        with(base(), "authorization", "Bearer alice"),
        with(base(), "authorization", "Bearer bob"),
        with(base(), "cookie", "session=alice"),
        with(base(), "cookie", "session=bob"),
        with(base(), "host", "other.example.com"),
        keyed("once", "/headers/2", "pay 5"),
        keyed("twice", "/headers", "pay 5"),
        patch,
    ];
    let count = requests.len() as u64;
    for request in requests {
        let name = format!("{:?}", request.headers());
        assert!(!is_replayed(&post(&proxy, request).await), "{name}");
    }
    assert_eq!(backend.counters().requests(), count);
    let again = with(base(), "authorization", "Bearer bob");
    let again = post(&proxy, again).await;
    assert!(is_replayed(&again));
    let told = again.json();
    assert_eq!(
        crate::harness::field(&told, "authorization"),
        Some("Bearer bob")
    );
}

#[tokio::test]
async fn the_fields_that_tell_clients_apart_are_the_operators_choice() {
    let backend = Backend::start("a");
    let rules = "credentials: [X-Api-Key]";
    let proxy = before(&backend.endpoint(), rules, "").await;
    let with_key = |key: &str| with(keyed("once", "/", ""), "x-api-key", key);
    assert!(!is_replayed(&post(&proxy, with_key("alice")).await));
    assert!(!is_replayed(&post(&proxy, with_key("bob")).await));
    let other_cookie = with(with_key("bob"), "cookie", "visits=2");
    assert!(is_replayed(&post(&proxy, other_cookie).await));
    assert_eq!(backend.counters().requests(), 2);
}

#[tokio::test]
async fn cookies_that_the_proxy_sets_do_not_tell_clients_apart() {
    let backend = Backend::start("a");
    let yaml = yaml(&[backend.endpoint()], "", "sticky: {}");
    let proxy = Proxy::start(&yaml).await;
    let first = post(&proxy, keyed("once", "/", "")).await;
    let cookie = first.header("set-cookie").unwrap().split(';').next();
    let cookie = cookie.unwrap().to_owned();
    let again = with(keyed("once", "/", ""), "cookie", &cookie);
    assert!(is_replayed(&post(&proxy, again).await));
    assert_eq!(backend.counters().requests(), 1);
}
