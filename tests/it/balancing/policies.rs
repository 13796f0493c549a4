//! Every policy by the line of YAML that chooses it: all endpoints are used, weights count, a slow endpoint gets less, and
//! a key meets the same endpoint.

use std::sync::Arc;

use hyper::{Method, Request};

use super::{
    LABELS, Pool, Tally, ask, count, endpoint, hang, load, of, picks, reached, reload, start, yaml,
    yaml_with,
};
use crate::harness::{
    Backend, Client, DEADLINE, Outgoing, Proxy, Raw, Scripted, Step, eventually, request,
};
use plimsoll::observe::Metric;

const ALGORITHMS: [&str; 3] = ["ring", "maglev", "rendezvous"];

fn hashing(key: &str, algorithm: &str) -> String {
    format!("balance: {{ consistent_hash: {{ key: {key}, algorithm: {algorithm} }} }}")
}

#[tokio::test]
async fn every_policy_carries_traffic_over_all_endpoints() {
    let pool = Pool::start(3);
    (0..3).for_each(|i| pool.slow(i, "2ms"));
    let plain = [
        "round_robin",
        "weighted_round_robin",
        "random",
        "least_connections",
        "p2c",
        "peak_ewma",
        "prequal",
    ];
    let plain = plain.map(|policy| format!("balance: {policy}"));
    let by_path = ALGORITHMS.map(|algorithm| hashing("path", algorithm));
    for policy in plain.iter().chain(&by_path) {
        let proxy = start(&pool, policy).await;
        for is_h2 in [false, true] {
            let tally = load(proxy.address(), is_h2, 12, 72).await;
            // Of three Prequal always takes the fastest of the two with the least in flight, so that one which was once
            // slow may wait for seconds.
            let least = if policy.contains("prequal") { 2 } else { 3 };
            assert!(tally.len() >= least, "{policy}, h2: {is_h2}: {tally:?}");
        }
        let counted = || proxy.routes(Metric::Requests, "2xx");
        eventually(DEADLINE, || counted() == 144).await;
    }
}

#[tokio::test]
async fn round_robin_holds_weights_exactly_on_one_worker() {
    let pool = Pool::start(4);
    let weights = ["weight: 3", "weight: 2", "", "weight: 0"];
    let proxy = Proxy::start(&yaml(&pool.written(&weights), "balance: round_robin")).await;
    let exact: Tally = [("a", 30), ("b", 20), ("c", 10)]
        .map(|(label, count)| (label.to_owned(), count))
        .into();
    assert_eq!(ask(&mut Client::h1(proxy.address()).await, 60).await, exact);
    assert_eq!(ask(&mut Client::h2(proxy.address()).await, 60).await, exact);
}

/// The bound is six standard deviations of a binomial count, which one run in 500 million leaves.
#[tokio::test]
async fn random_holds_weights_on_average() {
    let pool = Pool::start(2);
    let written = pool.written(&["weight: 3"]);
    let proxy = Proxy::start(&yaml(&written, "balance: random")).await;
    let tally = ask(&mut Client::h1(proxy.address()).await, 800).await;
    assert!(of(&tally, "a").abs_diff(600) < 74, "{tally:?}");
}

#[tokio::test]
async fn what_is_in_flight_is_divided_by_weight() {
    for policy in ["least_connections", "p2c"] {
        let pool = Pool::start(2);
        let written = pool.written(&["weight: 3"]);
        let proxy = Proxy::start(&yaml(&written, &format!("balance: {policy}"))).await;
        let mut held = Vec::new();
        for _ in 0..40 {
            held.push(hang(proxy.address(), "").await);
        }
        pool.holds(40).await;
        assert!(
            pool.in_flight()[0].abs_diff(30) <= 1,
            "{policy}: {:?}",
            pool.in_flight()
        );
    }
}

/// Latencies are measured and jitter with the machine, so the bounds are wide: the heavier one gets more.
#[tokio::test]
async fn policies_by_latency_heed_weights() {
    for policy in ["peak_ewma: { decay: 100ms }", "prequal: { q_rif: 0% }"] {
        let pool = Pool::start(2);
        (0..2).for_each(|i| pool.slow(i, "20ms"));
        let written = pool.written(&["weight: 5"]);
        let proxy = Proxy::start(&yaml(&written, &format!("balance: {{ {policy} }}"))).await;
        let tally = load(proxy.address(), true, 24, 192).await;
        assert!(of(&tally, "a") > of(&tally, "b"), "{policy}: {tally:?}");
    }
}

/// 400 keys, whose owners are the same in every run.
#[tokio::test]
async fn keys_are_divided_by_weight() {
    let pool = Pool::start(2);
    let written = pool.written(&["weight: 3"]);
    for algorithm in ALGORITHMS {
        let proxy = Proxy::start(&yaml(&written, &hashing("path", algorithm))).await;
        let tally = load(proxy.address(), true, 10, 400).await;
        assert!(
            (260..340).contains(&of(&tally, "a")),
            "{algorithm}: {tally:?}"
        );
    }
}

#[tokio::test]
async fn a_slow_endpoint_gets_less_where_load_or_latency_counts() {
    for policy in [
        "least_connections",
        "p2c",
        "peak_ewma",
        "prequal",
        "round_robin",
    ] {
        let pool = Pool::start(3);
        pool.slow(0, "2ms");
        pool.slow(1, "2ms");
        pool.slow(2, "80ms");
        let proxy = start(&pool, &format!("balance: {policy}")).await;
        let tally = load(proxy.address(), true, 9, 180).await;
        let slow = of(&tally, "c");
        if policy == "round_robin" {
            // What the others are better than.
            assert_eq!(slow, 60, "{tally:?}");
        } else {
            assert!(slow < 30, "{policy}: {tally:?}");
        }
    }
}

/// A part of a request that keys are made of.
struct Kind {
    written: &'static str,
    /// A request with the key of this number, spelt in one way or another.
    request: fn(usize, bool) -> String,
}

const KINDS: [Kind; 6] = [
    Kind {
        written: "host",
        request: |key, other| match other {
            false => format!("GET / HTTP/1.1\r\nHost: k{key}.example\r\n\r\n"),
            true => format!("GET /x HTTP/1.1\r\nHost: K{key}.EXAMPLE:8080\r\n\r\n"),
        },
    },
    Kind {
        written: "path",
        request: |key, other| match other {
            false => format!("GET /k{key} HTTP/1.1\r\nHost: a\r\n\r\n"),
            true => format!("GET http://b/k{key}?x=1 HTTP/1.1\r\nHost: b\r\n\r\n"),
        },
    },
    Kind {
        written: "{ header: X-User }",
        request: |key, other| match other {
            false => format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: k{key}\r\n\r\n"),
            true => {
                format!("GET /x HTTP/1.1\r\nHost: b\r\nx-uSER:   k{key}  \r\nX-User: z\r\n\r\n")
            }
        },
    },
    Kind {
        written: "{ query: user }",
        request: |key, other| match other {
            false => format!("GET /?user=k{key}+1 HTTP/1.1\r\nHost: a\r\n\r\n"),
            true => format!("GET /x?user=&a=1&%75ser=%6B{key}%201 HTTP/1.1\r\nHost: a\r\n\r\n"),
        },
    },
    Kind {
        written: "{ cookie: visitor }",
        request: |key, other| match other {
            false => format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: visitor=k{key}\r\n\r\n"),
            true => format!(
                "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: xvisitor=1;visitor=k{key}; b=2\r\n\r\n"
            ),
        },
    },
    Kind {
        written: "client_ip",
        request: |key, other| match other {
            false => format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.1.0.{key}\r\n\r\n"),
            true => format!(
                "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\
                 X-Forwarded-For: [::ffff:10.1.0.{key}]:99, 127.0.0.9\r\n\r\n"
            ),
        },
    },
];

/// The label of who answers.
async fn answering(raw: &mut Raw, request: &str) -> String {
    raw.send(request).await;
    let answer = raw.response().await;
    answer.field("x-backend").unwrap().to_owned()
}

#[tokio::test]
async fn the_same_key_meets_the_same_endpoint_however_it_is_spelt() {
    let pool = Pool::start(5);
    for Kind { written, request } in KINDS {
        for algorithm in ALGORITHMS {
            let yaml = yaml_with(
                &pool.written(&[]),
                "trusted_proxies: [127.0.0.0/8]",
                "",
                &hashing(written, algorithm),
            );
            let proxy = Proxy::start(&yaml).await;
            let mut raw = Raw::connect(proxy.address()).await;
            let mut tally = Tally::new();
            for key in 0..24 {
                let first = answering(&mut raw, &request(key, false)).await;
                let again = answering(&mut raw, &request(key, true)).await;
                assert_eq!(first, again, "{written}, {algorithm}, {key}");
                *tally.entry(first).or_default() += 1;
            }
            assert!(tally.len() >= 4, "{written}, {algorithm}: {tally:?}");
            assert_eq!(picks(&proxy, "policy"), 48);
        }
    }
}

#[tokio::test]
async fn protocols_agree_about_keys() {
    let pool = Pool::start(5);
    let proxy = start(&pool, &hashing("host", "ring")).await;
    let mut h1 = Client::h1(proxy.address()).await;
    let mut h2 = Client::h2(proxy.address()).await;
    for key in 0..12 {
        let old = Request::get("/").header("host", format!("K{key}.example"));
        let old = h1.send(old.body(Outgoing::empty()).unwrap()).await;
        let new = Request::get(format!("http://k{key}.example/"));
        let new = h2.send(new.body(Outgoing::empty()).unwrap()).await;
        assert_eq!(old.backend(), new.backend(), "{key}");
    }
}

#[tokio::test]
async fn a_stranger_cannot_choose_its_address() {
    let pool = Pool::start(5);
    let proxy = start(&pool, &hashing("client_ip", "ring")).await;
    let mut raw = Raw::connect(proxy.address()).await;
    let mut tally = Tally::new();
    for key in 0..24 {
        let forged = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.1.0.{key}\r\nX-Real-IP: 10.1.0.{key}\r\n\
             Forwarded: for=10.1.0.{key}\r\n\r\n"
        );
        *tally.entry(answering(&mut raw, &forged).await).or_default() += 1;
    }
    assert_eq!(tally.len(), 1, "{tally:?}");
}

#[tokio::test]
async fn a_cookie_to_be_hashed_by_is_created_where_asked_for() {
    let pool = Pool::start(5);
    let key = "{ cookie: { name: visitor, create: true, ttl: 1h, path: /shop } }";
    let proxy = start(&pool, &hashing(key, "ring")).await;
    let mut tally = Tally::new();
    for is_h2 in [false, true] {
        for _ in 0..12 {
            let mut client = match is_h2 {
                false => Client::h1(proxy.address()).await,
                true => Client::h2(proxy.address()).await,
            };
            let first = client.get("/").await;
            count(&mut tally, &first);
            let (pair, attributes) = first
                .header("set-cookie")
                .unwrap()
                .split_once("; ")
                .unwrap();
            assert_eq!(
                attributes,
                "Path=/shop; Max-Age=3600; HttpOnly; SameSite=Lax"
            );
            let value = pair.strip_prefix("visitor=").unwrap();
            assert!(value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit()));
            for _ in 0..3 {
                let again = Request::get("/").header("cookie", format!("a=b; {pair}"));
                let again = client.send(again.body(Outgoing::empty()).unwrap()).await;
                assert_eq!(again.backend(), first.backend());
                assert_eq!(again.header("set-cookie"), None);
            }
        }
    }
    // 24 random keys fall on one of five endpoints once in 10^16 runs.
    assert!(tally.len() > 1, "{tally:?}");
    assert_eq!(picks(&proxy, "no_key"), 0);
}

#[tokio::test]
async fn a_request_without_the_key_is_balanced() {
    let pool = Pool::start(3);
    for key in [
        "{ header: X-User }",
        "{ query: user }",
        "{ cookie: visitor }",
    ] {
        let proxy = start(&pool, &hashing(key, "maglev")).await;
        let tally = ask(&mut Client::h1(proxy.address()).await, 30).await;
        assert_eq!(tally.len(), 3, "{key}: {tally:?}");
        eventually(DEADLINE, || picks(&proxy, "no_key") == 30).await;
    }
}

/// Who answers for each of 150 keys.
async fn owners(client: &mut Client) -> Vec<String> {
    let mut owners = Vec::new();
    for key in 0..150 {
        let answer = client.get(&format!("/k{key}")).await;
        owners.push(answer.backend().unwrap().to_owned());
    }
    owners
}

#[tokio::test]
async fn only_the_keys_of_a_removed_endpoint_move() {
    let pool = Pool::start(5);
    let all = pool.written(&[]);
    let four = [&all[..1], &all[2..]].concat();
    for algorithm in ALGORITHMS {
        let policy = hashing("path", algorithm);
        let proxy = Proxy::start(&yaml(&all, &policy)).await;
        let mut client = Client::h2(proxy.address()).await;
        let before = owners(&mut client).await;
        reload(&proxy, &yaml(&four, &policy)).await;
        let after = owners(&mut client).await;
        assert!(after.iter().all(|owner| owner != "b"));
        let moved = before.iter().zip(&after);
        let moved = moved.filter(|(before, after)| *before != "b" && before != after);
        // Maglev fills its table anew, which moves a few more (Eisenbud et al. 2016, figure 12).
        let most = if algorithm == "maglev" { 15 } else { 0 };
        assert!(moved.count() <= most, "{algorithm}");
        reload(&proxy, &yaml(&all, &policy)).await;
        assert!(owners(&mut client).await == before, "{algorithm}");
    }
}

#[tokio::test]
async fn keys_and_numbers_stay_with_the_id_when_the_address_changes() {
    let pool = Pool::start(3);
    let all = pool.written(&[]);
    let policy = hashing("path", "ring");
    let proxy = Proxy::start(&yaml(&all, &policy)).await;
    let mut client = Client::h1(proxy.address()).await;
    let before = owners(&mut client).await;
    let signals = reached(&proxy, "a").signals.clone();
    let other = Backend::start("new a");
    let moved = [&[endpoint(LABELS[0], &other.endpoint(), "")], &all[1..]].concat();
    reload(&proxy, &yaml(&moved, &policy)).await;
    // Its idle connections are closed.
    eventually(DEADLINE, || pool.backends[0].counters().open() == 0).await;
    let expected: Vec<&str> = before
        .iter()
        .map(|owner| if owner == "a" { "new a" } else { owner })
        .collect();
    assert_eq!(owners(&mut client).await, expected);
    assert!(Arc::ptr_eq(&signals, &reached(&proxy, "a").signals));
    let of_a = before.iter().filter(|owner| *owner == "a").count() as u64;
    let ended = || {
        let report = proxy.report();
        let a = report
            .endpoints
            .iter()
            .find(|one| one.identity == ["pool", "a"]);
        a.unwrap().sum(Metric::Attempts)
    };
    eventually(DEADLINE, || ended() == 2 * of_a).await;
}

#[tokio::test]
async fn a_request_of_any_method_has_a_key() {
    let pool = Pool::start(5);
    let proxy = start(&pool, &hashing("path", "rendezvous")).await;
    let mut client = Client::h1(proxy.address()).await;
    for key in 0..6 {
        let path = format!("/k{key}");
        let got = client.get(&path).await;
        for method in [Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let other = client.send(request(method, &path, Outgoing::empty())).await;
            assert_eq!(got.backend(), other.backend());
        }
    }
}

#[tokio::test]
async fn prequal_believes_what_an_endpoint_says_of_its_own_load() {
    let answer =
        || Step::write("HTTP/1.1 200 OK\r\nX-In-Flight: 50\r\nContent-Length: 2\r\n\r\nok");
    let one = || [Step::ReadHead, answer()];
    let endpoint_of_many = Scripted::play(vec![[one(), one()].concat()]).await;
    let endpoints = [endpoint("a", &endpoint_of_many.address().to_string(), "")];
    let policy = "balance: { prequal: { report: x-in-flight } }";
    let proxy = Proxy::start(&yaml(&endpoints, policy)).await;
    let signals = Arc::clone(&reached(&proxy, "a").signals);
    let now = || proxy.live().clock.now();
    assert_eq!(signals.load(now()), 0);
    let mut client = Client::h1(proxy.address()).await;
    assert_eq!(client.get("/").await.text(), "ok");
    // Its own was among those under way when it said so, and has ended since.
    eventually(DEADLINE, || signals.load(now()) >= 49).await;
    // Without the option nobody is believed.
    reload(&proxy, &yaml(&endpoints, "balance: prequal")).await;
    eventually(DEADLINE, || signals.load(now()) == 0).await;
    assert_eq!(client.get("/").await.text(), "ok");
    // The client may have its answer a moment before its attempt has ended.
    eventually(DEADLINE, || signals.in_flight.load() == 0).await;
    assert_eq!(signals.load(now()), 0);
}
