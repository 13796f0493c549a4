//! Why an endpoint was picked, as a client that may ask is told and as the ring of the upstream keeps it.

use hyper::Request;
use serde_json::Value;

use super::{LABELS, Pool, ask, endpoint, hang, hold, start, upstream, yaml, yaml_with};
use crate::harness::{Answer, Backend, Client, Closed, Outgoing, Proxy, Raw, field, fields};

const ALLOWED: &str = "explain_to: [127.0.0.0/8]";

async fn allowed(pool: &Pool, more: &[&str], keys: &str) -> Proxy {
    Proxy::start(&yaml_with(&pool.written(more), ALLOWED, "", keys)).await
}

/// Asks why, with these further fields.
async fn explained(client: &mut Client, path: &str, more: &[(&str, &str)]) -> (Answer, Vec<Value>) {
    let mut request = Request::get(path).header("plimsoll-explain", "1");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let answer = client.send(request.body(Outgoing::empty()).unwrap()).await;
    let told = decisions(&answer);
    (answer, told)
}

/// What an answer tells, attempt by attempt.
fn decisions(answer: &Answer) -> Vec<Value> {
    let lines = answer.headers.get_all("plimsoll-decision").iter();
    let read = |line: &hyper::header::HeaderValue| serde_json::from_slice(line.as_bytes());
    lines.map(|line| read(line).unwrap()).collect()
}

/// Endpoints with their reasons, as `b: full`.
fn excluded(decision: &Value) -> Vec<String> {
    let all = decision["excluded"].as_array().unwrap().iter();
    all.map(|one| format!("{}: {}", one["endpoint"], one["reason"]).replace('"', ""))
        .collect()
}

fn considered(decision: &Value) -> Vec<&str> {
    let all = decision["candidates"].as_array().unwrap().iter();
    all.map(|one| one["endpoint"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_client_that_may_ask_is_told_who_answered_and_why() {
    let pool = Pool::start(3);
    for policy in ["least_connections", "p2c", "peak_ewma", "prequal"] {
        let keys = format!("balance: {policy}, sticky: {{}}");
        let proxy = allowed(&pool, &["weight: 2"], &keys).await;
        hold(&proxy, &["c"], true);
        for is_h2 in [false, true] {
            let mut client = match is_h2 {
                false => Client::h1(proxy.address()).await,
                true => Client::h2(proxy.address()).await,
            };
            let (answer, told) = explained(&mut client, "/some/path?x=1", &[]).await;
            let [decision] = &told[..] else {
                panic!("{policy}: {told:?}");
            };
            assert_eq!(decision["picked"].as_str(), answer.backend(), "{policy}");
            assert_eq!(decision["upstream"], "pool");
            assert_eq!(decision["balance"], policy);
            assert_eq!(decision["method"], "GET");
            assert_eq!(decision["target"], "/some/path?...");
            assert_eq!(decision["attempt"], 1);
            assert_eq!(excluded(decision), ["c: unhealthy"]);
            let mut compared = considered(decision);
            compared.sort_unstable();
            assert_eq!(compared, ["a", "b"], "{policy}");
            // The one picked has the lowest score; Prequal compares the cold ones by latency, and no hot one with them.
            let all = decision["candidates"].as_array().unwrap().iter();
            let scores = all.filter(|one| one["note"] != "hot");
            let score = |one: &Value| one["score"].as_f64().unwrap();
            let least = scores.min_by(|a, b| score(a).total_cmp(&score(b))).unwrap();
            assert_eq!(least["endpoint"], decision["picked"], "{decision}");
            let mut all = decision["candidates"].as_array().unwrap().iter();
            let a = all.find(|one| one["endpoint"] == "a").unwrap();
            assert_eq!(a["weight"], 2, "{decision}");
            assert_eq!(decision["groups"][0]["name"], "priority 0");
            assert_eq!(decision["groups"][0]["candidates"], 2);
        }
    }
}

#[tokio::test]
async fn a_key_and_its_owner_are_told_and_a_secret_is_not() {
    let pool = Pool::start(4);
    let by = |key: &str| format!("balance: {{ consistent_hash: {{ key: {key} }} }}");
    let proxy = allowed(&pool, &[], &by("path")).await;
    let mut client = Client::h1(proxy.address()).await;
    let (answer, told) = explained(&mut client, "/k1", &[]).await;
    let owner = answer.backend().unwrap().to_owned();
    assert_eq!(told[0]["key"]["text"], "/k1");
    assert_eq!(told[0]["candidates"][0]["note"], "owner");
    assert_eq!(told[0]["reason"], "policy");
    hold(&proxy, &[&owner], true);
    let (answer, told) = explained(&mut client, "/k1", &[]).await;
    assert_eq!(told[0]["reason"], "spilled");
    assert_eq!(told[0]["picked"].as_str(), answer.backend());
    assert_eq!(excluded(&told[0]), [format!("{owner}: unhealthy")]);

    let proxy = allowed(&pool, &[], &by("{ header: Authorization }")).await;
    let mut client = Client::h1(proxy.address()).await;
    let (answer, told) = explained(&mut client, "/", &[("authorization", "hunter2")]).await;
    assert_eq!(told[0]["key"]["hash"].as_str().unwrap().len(), 16);
    assert_eq!(told[0]["key"].get("text"), None);
    assert!(!format!("{answer:?}").contains("hunter2"));
    let (_, told) = explained(&mut client, "/", &[]).await;
    assert_eq!(told[0]["reason"], "no_key");
    assert_eq!(told[0].get("key"), None);
}

#[tokio::test]
async fn each_attempt_is_told_and_why_the_first_was_not_taken_again() {
    let (closed, pool) = (Closed::new(), Pool::start(2));
    let endpoints = [
        endpoint("gone", &closed.endpoint(), ""),
        endpoint("a", &pool.backends[0].endpoint(), "priority: 1"),
        endpoint("b", &pool.backends[1].endpoint(), "priority: 2"),
    ];
    let proxy = Proxy::start(&yaml_with(&endpoints, ALLOWED, "", "")).await;
    let mut client = Client::h1(proxy.address()).await;
    let (answer, told) = explained(&mut client, "/", &[]).await;
    assert_eq!(answer.backend(), Some("a"));
    let [first, second] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(
        (&first["picked"], &first["attempt"]),
        (&"gone".into(), &1.into())
    );
    assert_eq!(excluded(first), ["a: other_tier", "b: other_tier"]);
    assert_eq!(
        (&second["picked"], &second["attempt"]),
        (&"a".into(), &2.into())
    );
    assert_eq!(second["reason"], "other_group");
    // That it is of another tier is not why.
    assert_eq!(excluded(second), ["gone: tried", "b: other_tier"]);
    let asked = |group: usize| second["groups"][group]["asked"].as_bool();
    assert_eq!(
        (asked(0), asked(1), asked(2)),
        (Some(true), Some(true), Some(false))
    );
}

/// However many there are, an answer stays small enough for clients to read, and the last one is told.
#[tokio::test]
async fn many_attempts_do_not_make_a_head_that_nobody_reads() {
    let closed: Vec<Closed> = (0..40).map(|_| Closed::new()).collect();
    let gone = closed.iter().enumerate();
    let mut endpoints: Vec<String> = gone
        .map(|(i, closed)| endpoint(&format!("gone-{i}"), &closed.endpoint(), ""))
        .collect();
    let backend = Backend::start("a");
    endpoints.push(endpoint("a", &backend.endpoint(), "backup: true"));
    let yaml = yaml_with(&endpoints, ALLOWED, "", "balance: round_robin");
    let proxy = Proxy::start(&yaml).await;
    for is_h2 in [false, true] {
        let mut client = match is_h2 {
            false => Client::h1(proxy.address()).await,
            true => Client::h2(proxy.address()).await,
        };
        let (answer, told) = explained(&mut client, "/", &[]).await;
        assert_eq!(answer.backend(), Some("a"));
        assert_eq!(told[0]["attempt"], 1);
        let last = told.last().unwrap();
        assert_eq!(
            (&last["picked"], &last["attempt"]),
            (&"a".into(), &41.into())
        );
        let lines = answer.headers.get_all("plimsoll-decision").iter();
        assert!(lines.map(|line| line.len()).sum::<usize>() <= 8192);
    }
}

#[tokio::test]
async fn a_refusal_is_explained_too() {
    let pool = Pool::start(2);
    let proxy = allowed(&pool, &["", "draining: true"], "connections: { max: 1 }").await;
    let mut client = Client::h1(proxy.address()).await;
    let held = hang(proxy.address(), "").await;
    pool.holds(1).await;
    let (answer, told) = explained(&mut client, "/", &[]).await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        (&told[0]["picked"], &told[0]["reason"]),
        (&Value::Null, &"full".into())
    );
    assert_eq!(excluded(&told[0]), ["a: full", "b: draining"]);
    drop(held);
    hold(&proxy, &["a"], true);
    let (answer, told) = explained(&mut client, "/", &[]).await;
    answer.assert_told(503, "destination_unavailable", "no_endpoint");
    assert_eq!(told[0]["reason"], "no_endpoint");
    assert_eq!(excluded(&told[0]), ["a: unhealthy", "b: draining"]);
}

#[tokio::test]
async fn a_session_and_why_it_left_its_endpoint_are_told() {
    let pool = Pool::start(2);
    let proxy = allowed(&pool, &[], "sticky: {}").await;
    let mut client = Client::h1(proxy.address()).await;
    let (first, _) = explained(&mut client, "/", &[]).await;
    let cookie = first
        .header("set-cookie")
        .unwrap()
        .split("; ")
        .next()
        .unwrap();
    let (_, told) = explained(&mut client, "/", &[("cookie", cookie)]).await;
    assert_eq!(told[0]["reason"], "bound");
    assert_eq!(told[0]["picked"].as_str(), first.backend());
    assert_eq!(excluded(&told[0]), [""; 0]);
    hold(&proxy, &[first.backend().unwrap()], true);
    let (_, told) = explained(&mut client, "/", &[("cookie", cookie)]).await;
    assert_eq!(told[0]["unbound"], "unhealthy");
    // The cookie is a secret of the client.
    assert!(!told[0].to_string().contains(&cookie[10..]));
}

#[tokio::test]
async fn nobody_else_is_told_and_nothing_is_recorded() {
    let pool = Pool::start(2);
    for listener in ["", "explain_to: [10.0.0.0/8]"] {
        let proxy = Proxy::start(&yaml_with(&pool.written(&[]), listener, "", "")).await;
        for is_h2 in [false, true] {
            let mut client = match is_h2 {
                false => Client::h1(proxy.address()).await,
                true => Client::h2(proxy.address()).await,
            };
            let (answer, told) =
                explained(&mut client, "/", &[("x-forwarded-for", "10.0.0.1")]).await;
            assert_eq!((answer.status.as_u16(), told.len()), (200, 0));
        }
        hold(&proxy, &["a", "b"], true);
        let mut client = Client::h1(proxy.address()).await;
        let (answer, told) = explained(&mut client, "/", &[]).await;
        assert_eq!((answer.status.as_u16(), told.len()), (503, 0));
        assert_eq!(kept(&proxy).len(), 0);
    }
    // Nor is one that may ask and does not, or asks for something else.
    let proxy = allowed(&pool, &[], "").await;
    let mut client = Client::h1(proxy.address()).await;
    assert_eq!(decisions(&client.get("/").await).len(), 0);
    for value in ["0", "yes", "", "11"] {
        let request = Request::get("/").header("plimsoll-explain", value);
        let answer = client.send(request.body(Outgoing::empty()).unwrap()).await;
        assert_eq!(decisions(&answer).len(), 0, "{value:?}");
    }
    assert_eq!(kept(&proxy).len(), 0);
}

/// A proxy behind this one may trust it, which is no reason to trust its clients.
#[tokio::test]
async fn a_stranger_cannot_ask_the_next_proxy_through_this_one() {
    let pool = Pool::start(2);
    let inner = allowed(&pool, &[], "").await;
    let endpoints = [endpoint("inner", &inner.address().to_string(), "")];
    let outer = Proxy::start(&yaml(&endpoints, "")).await;
    for is_h2 in [false, true] {
        let mut client = match is_h2 {
            false => Client::h1(outer.address()).await,
            true => Client::h2(outer.address()).await,
        };
        let (answer, told) = explained(&mut client, "/headers", &[]).await;
        assert_eq!(field(&answer.json(), "plimsoll-explain"), None);
        assert_eq!(told.len(), 0);
    }
    // A client that may ask hears both.
    let outer = Proxy::start(&yaml_with(&endpoints, ALLOWED, "", "")).await;
    let mut client = Client::h1(outer.address()).await;
    let (answer, told) = explained(&mut client, "/headers", &[]).await;
    assert_eq!(fields(&answer.json(), "plimsoll-explain"), ["1"]);
    let picked: Vec<&Value> = told.iter().map(|one| &one["picked"]).collect();
    assert_eq!(picked.len(), 2);
    assert!(picked.contains(&&"inner".into()), "{told:?}");
}

/// The records that the ring keeps, oldest first.
fn kept(proxy: &Proxy) -> Vec<(u64, String)> {
    let now = proxy.live().clock.now();
    let records = upstream(proxy).decisions.latest(0, false, now);
    let shown = records
        .iter()
        .map(|record| (record.sequence, record.target.clone()));
    shown.collect()
}

#[tokio::test]
async fn the_ring_keeps_the_latest_of_a_sample() {
    let pool = Pool::start(2);
    let proxy = start(&pool, "decisions: { sample: 100%, keep: 5 }").await;
    let mut client = Client::h1(proxy.address()).await;
    for number in 1..=12 {
        client.get(&format!("/{number}")).await;
    }
    let expected: Vec<(u64, String)> = (8..=12)
        .map(|number| (number, format!("/{number}")))
        .collect();
    assert_eq!(kept(&proxy), expected);
    // It is kept over a reload, and becomes as long as that says.
    let shorter = yaml(&pool.written(&[]), "decisions: { sample: 100%, keep: 2 }");
    super::reload(&proxy, &shorter).await;
    assert_eq!(kept(&proxy), expected);
    client.get("/13").await;
    assert_eq!(
        kept(&proxy),
        [(12, "/12".to_owned()), (13, "/13".to_owned())]
    );
    let off = yaml(&pool.written(&[]), "");
    super::reload(&proxy, &off).await;
    ask(&mut client, 10).await;
    assert_eq!(kept(&proxy).last().unwrap().0, 13);
}

/// 400 requests with a sample of a quarter; the bound is six standard deviations.
#[tokio::test]
async fn a_sample_is_as_large_as_it_is_asked_for() {
    let pool = Pool::start(2);
    let proxy = start(&pool, "decisions: { sample: 25%, keep: 4096 }").await;
    ask(&mut Client::h1(proxy.address()).await, 400).await;
    let count = kept(&proxy).len();
    assert!(count.abs_diff(100) < 52, "{count}");
}

#[tokio::test]
async fn what_a_client_asked_for_stands_in_the_ring_as_well() {
    let pool = Pool::start(2);
    let proxy = allowed(&pool, &[], "").await;
    let mut client = Client::h1(proxy.address()).await;
    let (answer, told) = explained(&mut client, "/x", &[]).await;
    let now = proxy.live().clock.now();
    let records = upstream(&proxy).decisions.latest(0, false, now);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].pick.picked.as_deref(), answer.backend());
    assert_eq!(told[0]["request"], records[0].request);
    assert!(LABELS.contains(&answer.backend().unwrap()));
}

/// Targets and keys may hold anything; a header may not.
#[tokio::test]
async fn a_decision_is_one_line_whatever_it_tells_of() {
    let backend = Backend::start("a");
    let endpoints = [endpoint("a", &backend.endpoint(), "")];
    let by = |key: &str| {
        let policy = format!("balance: {{ consistent_hash: {{ key: {key} }} }}");
        yaml_with(&endpoints, ALLOWED, "", &policy)
    };
    let proxy = Proxy::start(&by("{ query: k }")).await;
    let mut client = Client::h1(proxy.address()).await;
    let long = "x".repeat(3000);
    let target = format!("/%0D%0Ax:y?k=%0d%0aSet-Cookie:%20a=b&{long}");
    let (answer, told) = explained(&mut client, &target, &[]).await;
    assert_eq!(answer.header("set-cookie"), None);
    assert_eq!(told[0]["target"], "/%0D%0Ax:y?...");
    // Letters that are no ASCII, where they are shown.
    let proxy = Proxy::start(&by("path")).await;
    let mut raw = Raw::connect(proxy.address()).await;
    let request = "GET /gr\u{fc}n/\u{1f600}%ff HTTP/1.1\r\nHost: a\r\nPlimsoll-Explain: 1\r\n\r\n";
    raw.send(request).await;
    let answer = raw.response().await;
    let line = answer.field("plimsoll-decision").unwrap();
    assert!(
        line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "{line}"
    );
    let told: Value = serde_json::from_str(line).unwrap();
    for shown in [&told["target"], &told["key"]["text"]] {
        assert_eq!(*shown, "/gr\u{fc}n/\u{1f600}%ff");
    }
}
