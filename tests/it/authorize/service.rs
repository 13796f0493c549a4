//! A service that is asked whether a request may enter.

#![allow(
    clippy::disallowed_methods,
    reason = "load is timed as its clients see it"
)]

use std::time::Duration;

use plimsoll::admin::scrape::scrape;

use super::*;
use crate::harness::{Authority, Client, Closed, Scripted, Step, field, fields, showing};

/// The route asks `gate` like this.
fn asking(keys: &str) -> String {
    format!("forward: {{ upstream: gate, {keys} }}, identity_header: X-User")
}

fn gate(endpoint: &str) -> String {
    format!("  gate: {{ endpoints: [{endpoint:?}], retry: off, timeouts: {{ connect: 1s }} }}\n")
}

async fn before(service: &str, keys: &str) -> Entrance {
    Entrance::between(&asking(keys), "", &gate(service)).await
}

/// A service that always says this.
async fn saying(answer: &str) -> Scripted {
    let once = vec![Step::ReadHead, Step::write(answer)];
    Scripted::play(vec![vec![once; 20].concat()]).await
}

#[tokio::test]
async fn whom_the_service_lets_in_enters_with_what_it_says() {
    let service = saying(
        "HTTP/1.1 200 OK\r\nX-Name: ann\r\nX-Groups: a\r\nX-Groups: b\r\nX-Else: no\r\nSet-Cookie: c=d\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let keys = "path: /verify?x=y, copy: [X-Groups], identity: X-Name";
    let door = before(&service.address().to_string(), keys).await;
    let mut client = door.connect().await;
    let asked = "POST /headers?q=1 HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer t\r\nCookie: s=1\r\n\
                 X-Groups: root\r\nX-User: root\r\nX-Forwarded-Uri: /public\r\nX-Forwarded-Method: HEAD\r\nX-Forwarded-For: 1.2.3.4\r\n\
                 If-None-Match: \"e\"\r\nRange: bytes=0-1\r\nIdempotency-Key: k\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc";
    let told = client.ask(asked).await;
    assert_eq!(fields(&told, "x-groups"), ["a", "b"]);
    assert_eq!(fields(&told, "x-user"), ["ann"]);
    for absent in ["x-else", "set-cookie", "x-name"] {
        assert!(fields(&told, absent).is_empty(), "{absent}");
    }
    // What the service may have judged by stays the application's own.
    assert_eq!(field(&told, "authorization"), Some("Bearer t"));
    assert_eq!(field(&told, "cookie"), Some("s=1"));
    assert_eq!(field(&told, "content-length"), Some("3"));
    let [head] = &service.heads()[..] else {
        panic!("it was asked once");
    };
    assert_eq!(head.first_line, "GET /verify?x=y HTTP/1.1");
    for (name, value) in [
        ("host", "shop.example"),
        ("authorization", "Bearer t"),
        ("cookie", "s=1"),
        ("x-forwarded-method", "POST"),
        ("x-forwarded-uri", "/headers?q=1"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(head.field(name), Some(value), "{name}");
    }
    for absent in [
        "content-length",
        "content-type",
        "transfer-encoding",
        "if-none-match",
        "range",
        "idempotency-key",
        "x-groups",
        "x-user",
    ] {
        assert!(head.field(absent).is_none(), "{absent}");
    }
    // Its connection is used again.
    client.ask(asked).await;
    assert_eq!(service.heads().len(), 2);
    assert_eq!(service.ended(), 0);
    assert_eq!(door.judged("allowed"), 2);
}

/// Neither the service nor the endpoint is told by the client what only they and the proxy may say.
#[tokio::test]
async fn no_spelling_speaks_for_the_service_or_to_it() {
    let answer = "HTTP/1.1 200 OK\r\nX-Name: ann\r\nX-Groups: a\r\nContent-Length: 0\r\n\r\n";
    for listener in [", underscores: pass", ", trusted_proxies: [127.0.0.0/8]"] {
        let service = saying(answer).await;
        let auth = asking("copy: [X-Groups], identity: X-Name");
        let upstreams = gate(&service.address().to_string());
        let door = Entrance::between(&auth, listener, &upstreams).await;
        let forged = "X_Groups: root\r\nX-Groups: root\r\nX_User: root\r\nX_Forwarded_Uri: /public\r\nX-Forwarded_Method: HEAD\r\n";
        let told = door.told(forged).await;
        assert_eq!(fields(&told, "x-groups"), ["a"], "{listener}");
        assert_eq!(fields(&told, "x-user"), ["ann"], "{listener}");
        let [head] = &service.heads()[..] else {
            panic!("it was asked once");
        };
        assert_eq!(head.field("x-forwarded-uri"), Some("/headers"));
        assert_eq!(head.field("x-forwarded-method"), Some("GET"));
        for absent in [
            "x_groups",
            "x-groups",
            "x_user",
            "x_forwarded_uri",
            "x-forwarded_method",
        ] {
            assert!(head.field(absent).is_none(), "{listener}: {absent}");
        }
        for absent in ["x_groups", "x_user"] {
            assert!(fields(&told, absent).is_empty(), "{listener}: {absent}");
        }
    }
}

/// What is known of the client by its certificate is part of what the service judges by.
#[tokio::test]
async fn the_service_is_told_whose_certificate_it_is() {
    let (authority, clients, files) = (Authority::new(), Authority::new(), Directory::new());
    let (cert, key) = authority.identity(&["localhost"]).write(&files, "web");
    let ca = clients.write(&files, "clients.pem");
    let (backend, service) = (
        Backend::start("a"),
        saying("HTTP/1.1 204 No Content\r\nX-Name: ada\r\n\r\n").await,
    );
    let proxy = Proxy::start(&format!(
        "workers: 1\nlisteners: {{ web: {{ address: \"127.0.0.1:0\", underscores: pass, \
         tls: {{ certificates: [ {{ cert: {cert:?}, key: {key:?} }} ], \
         client: {{ ca: {ca:?}, mode: optional, header: {{ X-Client-Subject: subject }} }} }} }} }}\n\
         routes: [ {{ upstream: pool, auth: {{ {} }} }} ]\n\
         upstreams:\n  pool: {{ endpoints: [{:?}] }}\n{}",
        asking("identity: X-Name"),
        backend.endpoint(),
        gate(&service.address().to_string()),
    ))
    .await;
    let forged = "X-Client-Subject: CN=root\r\nX_Client_Subject: CN=root\r\n";
    let ada = showing(&authority, &clients.of_client("Ada"), &["http/1.1"]);
    for (config, subject) in [
        (ada, Some("CN=Ada")),
        (authority.client(&["http/1.1"]), None),
    ] {
        let mut client = Raw::try_tls(proxy.address(), &config, "localhost")
            .await
            .unwrap();
        let told = client.ask(&get("/headers", forged)).await;
        assert_eq!(field(&told, "x-client-subject"), subject);
        assert_eq!(field(&told, "x-user"), Some("ada"));
        let heads = service.heads();
        let head = heads.last().expect("it was asked");
        assert_eq!(head.field("x-client-subject"), subject);
        assert_eq!(head.field("x_client_subject"), None);
    }
    assert_eq!(service.heads().len(), 2);
}

#[tokio::test]
async fn what_the_service_answers_otherwise_is_given_to_the_client() {
    for (answer, status, field, body) in [
        (
            "HTTP/1.1 302 Found\r\nLocation: https://login.example/?to=x\r\nSet-Cookie: state=1\r\nContent-Length: 5\r\n\r\nlogin",
            302,
            ("location", "https://login.example/?to=x"),
            "login",
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nSet-Cookie: state=1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            401,
            ("www-authenticate", "Bearer"),
            "no",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nX-Why: not yours\r\nSet-Cookie: state=1\r\nContent-Length: 0\r\n\r\n",
            403,
            ("x-why", "not yours"),
            "",
        ),
    ] {
        let service = saying(answer).await;
        let door = before(&service.address().to_string(), "path: /").await;
        let mut client = door.connect().await;
        for method in ["GET", "HEAD", "POST"] {
            let length = if method == "POST" {
                "Content-Length: 3\r\n\r\nabc"
            } else {
                "\r\n"
            };
            client
                .send(format!("{method} / HTTP/1.1\r\nHost: a\r\n{length}"))
                .await;
            let got = client.response_to(method).await;
            assert_eq!(got.status(), status, "{method}");
            assert_eq!(got.field(field.0), Some(field.1));
            assert_eq!(got.field("set-cookie"), Some("state=1"));
            assert!(got.field("proxy-status").is_none());
            assert_eq!(got.text(), if method == "HEAD" { "" } else { body });
        }
        assert_eq!(door.judged("refused"), 3);
        assert_eq!(
            Client::h2(door.proxy.address()).await.get("/").await.status,
            status
        );
        let mut tunnel = Client::h2(door.proxy.address()).await;
        assert_eq!(
            tunnel
                .tunnel("websocket", "/ws")
                .await
                .unwrap_err()
                .status(),
            status
        );
        assert_eq!(door.backend.counters().requests(), 0);
    }
}

#[tokio::test]
async fn when_nobody_can_say_the_route_is_closed_or_open_as_configured() {
    let closed = Closed::new();
    let failing =
        saying("HTTP/1.1 500 Internal Server Error\r\nX-Name: ann\r\nContent-Length: 0\r\n\r\n")
            .await;
    let garbage = saying("nonsense\r\n\r\n").await;
    let silent = Scripted::play(vec![vec![Step::ReadHead, Step::Stall]]).await;
    let endless = Scripted::play(vec![vec![
        Step::ReadHead,
        Step::write("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nab"),
        Step::Stall,
    ]])
    .await;
    let huge = format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 300000\r\n\r\n{}",
        "x".repeat(300_000)
    );
    let huge = saying(&huge).await;
    for (name, service) in [
        ("nobody listens", closed.endpoint()),
        ("it fails", failing.address().to_string()),
        ("it makes no sense", garbage.address().to_string()),
        ("it says nothing", silent.address().to_string()),
        ("it does not end", endless.address().to_string()),
        ("it says too much", huge.address().to_string()),
    ] {
        let keys = "timeout: 300ms, identity: X-Name, on_failure: ";
        let door = before(&service, &format!("{keys}closed")).await;
        let begun = std::time::Instant::now();
        let answer = Client::h1(door.proxy.address()).await.get("/").await;
        answer.assert_told(503, "destination_unavailable", "auth_unavailable");
        assert!(begun.elapsed() < Duration::from_secs(5), "{name}");
        assert_eq!(door.judged("unavailable"), 1, "{name}");
        let text = scrape(door.proxy.live());
        let asked = "plimsoll_auth_duration_seconds_count{route=\"/*\"} 1\n";
        assert!(text.contains(asked), "{name}: {text}");
        if name == "it says nothing" {
            let sum = "plimsoll_auth_duration_seconds_sum{route=\"/*\"} ";
            let sum = text.split(sum).nth(1).unwrap().lines().next().unwrap();
            assert!(sum.parse::<f64>().unwrap() >= 0.29, "{sum}");
        }
        assert_eq!(door.backend.counters().requests(), 0, "{name}");
        let door = before(&service, &format!("{keys}open")).await;
        let told = door.told("X-User: root\r\n").await;
        // It is let in, and it is still nobody.
        assert!(fields(&told, "x-user").is_empty(), "{name}");
        assert_eq!(door.judged("failed_open"), 1, "{name}");
    }
}

#[tokio::test]
async fn its_upstream_has_its_own_bulkhead_and_the_route_keeps_its_breaker() {
    let service = Backend::start("gate");
    let files = Directory::new();
    let backend = Backend::start("a");
    let _ = &files;
    let proxy = Proxy::start(&format!(
        "workers: 1\nlisteners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\nroutes:\n\
         - {{ match: {{ path: /open }}, respond: {{}} }}\n\
         - {{ upstream: pool, breaker: {{ consecutive_failures: 1 }}, auth: {{ forward: {{ upstream: gate, path: /hang, timeout: 500ms }} }} }}\n\
         upstreams:\n  pool: {{ endpoints: [{:?}] }}\n  \
         gate: {{ endpoints: [{:?}], bulkhead: {{ max_in_flight: 1, queue: 0 }} }}\n",
        backend.endpoint(),
        service.endpoint()
    ))
    .await;
    let mut first = Raw::connect(proxy.address()).await;
    first.send(get("/", "")).await;
    crate::harness::eventually(crate::harness::DEADLINE, || {
        service.counters().in_flight() == 1
    })
    .await;
    // There is room for one question only; the other is answered at once.
    let answer = Client::h1(proxy.address()).await.get("/").await;
    answer.assert_told(503, "destination_unavailable", "auth_unavailable");
    assert_eq!(service.counters().requests(), 1);
    assert_eq!(first.response().await.status(), 503);
    // That was no failure of the route's own endpoints.
    let live = proxy.live().snapshot.load_full();
    let breaker = live.breakers[1].as_ref().unwrap();
    assert!(!format!("{breaker:?}").is_empty());
    assert_eq!(backend.counters().requests(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_question() {
    let service = Backend::start("gate");
    let keys = "path: /hang, timeout: 1m";
    let door = before(&service.endpoint(), keys).await;
    let mut client = door.connect().await;
    client.send(get("/", "")).await;
    crate::harness::eventually(crate::harness::DEADLINE, || {
        service.counters().in_flight() == 1
    })
    .await;
    drop(client);
    crate::harness::eventually(crate::harness::DEADLINE, || {
        service.counters().in_flight() == 0
    })
    .await;
    assert_eq!(door.backend.counters().requests(), 0);
}
