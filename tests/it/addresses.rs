//! Who is let in by address, at listeners and at routes, and how many connections one address may have.

use plimsoll::observe::Metric;

use crate::harness::{Backend, Client, DEADLINE, Proxy, Raw, config, eventually, expect_no_panic};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn a_listener_closes_what_its_lists_keep_out_and_a_reload_changes_them() {
    let backend = Backend::start("a");
    let with = |lists: &str| config(&[backend.endpoint()], lists, "", "");
    let proxy = Proxy::start(&with("addresses: { deny: [127.0.0.0/8] }")).await;
    let denied = || proxy.listeners(Metric::ListenerRefused, "address_denied");
    let mut raw = Raw::connect(proxy.address()).await;
    raw.expect_closed().await;
    eventually(DEADLINE, || denied() == 1).await;
    assert_eq!(backend.counters().accepted(), 0);
    let lists = "addresses: { deny: [127.0.0.0/8], allow: [127.0.0.1] }";
    proxy.reload(&with(lists)).await.unwrap();
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send(GET).await;
    assert_eq!(raw.response().await.status(), 200);
    assert_eq!(denied(), 1);
}

#[tokio::test]
async fn a_route_answers_403_to_whom_its_lists_keep_out() {
    let backend = Backend::start("a");
    let yaml = format!(
        "listeners: {{ web: {{ address: \"127.0.0.1:0\", trusted_proxies: [127.0.0.1] }} }}\n\
         routes:\n  \
         - {{ match: {{ path: /inner }}, addresses: {{ allow: [10.0.0.0/8], deny: [10.6.6.6] }}, upstream: pool }}\n  \
         - {{ match: {{ path: /direct }}, addresses: {{ deny: [192.0.2.0/24] }}, respond: {{ body: hello }} }}\n  \
         - {{ match: {{ path: / }}, upstream: pool }}\n\
         upstreams: {{ pool: {{ endpoints: [\"{}\"] }} }}\n",
        backend.endpoint()
    );
    let proxy = Proxy::start(&yaml).await;
    let mut raw = Raw::connect(proxy.address()).await;
    for (path, client, status) in [
        ("/inner", "10.1.1.1", 200),
        ("/inner", "10.6.6.6", 403),
        ("/inner", "192.0.2.1", 403),
        ("/inner", "::ffff:10.1.1.1", 200),
        ("/direct", "10.1.1.1", 200),
        ("/direct", "192.0.2.1", 403),
        ("/", "192.0.2.1", 200),
    ] {
        // The connection goes on: nothing is wrong with it.
        raw.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n"
        ))
        .await;
        let answer = raw.response().await;
        assert_eq!(answer.status(), status, "{path} {client}");
        if status == 403 {
            let told = answer.field("proxy-status").unwrap();
            assert!(told.contains("http_request_denied"), "{told}");
            assert!(told.contains("address_denied"), "{told}");
        }
    }
    assert_eq!(backend.counters().requests(), 3);
    assert_eq!(proxy.routes(Metric::RequestErrors, "address_denied"), 3);
    let mut client = Client::h2(proxy.address()).await;
    assert_eq!(client.get("/inner").await.status, 403);
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn an_address_has_only_so_many_connections_and_gets_them_back() {
    let backend = Backend::start("a");
    let yaml = config(&[backend.endpoint()], "limits: { per_address: 3 }", "", "");
    let proxy = Proxy::start(&yaml.replace("workers: 1", "workers: 2")).await;
    let full = || proxy.listeners(Metric::ListenerRefused, "address_full");
    let tracked = || proxy.live().listeners.load()[0].gate.addresses();
    for round in 1..=20 {
        let mut inside = Vec::new();
        for _ in 0..3 {
            let mut raw = Raw::connect(proxy.address()).await;
            raw.send(GET).await;
            assert_eq!(raw.response().await.status(), 200);
            inside.push(raw);
        }
        assert_eq!(tracked(), 1);
        let metrics = plimsoll::admin::scrape::scrape(proxy.live());
        let counted = "plimsoll_listener_addresses{listener=\"web\"} 1\n";
        assert!(metrics.contains(counted), "{metrics}");
        let mut fourth = Raw::connect(proxy.address()).await;
        fourth.expect_closed().await;
        eventually(DEADLINE, || full() == round).await;
        if round % 2 == 0 {
            inside.into_iter().for_each(Raw::reset);
        } else {
            drop(inside);
        }
        eventually(DEADLINE, || tracked() == 0).await;
    }
    expect_no_panic();
}
