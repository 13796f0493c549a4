//! What each kind of check asks, and which answers pass.

use plimsoll::upstream::health::{Check, Outcome};

use super::{QUICK, checked, first, health, several, upstream, written, yaml};
use crate::harness::{Authority, Backend, Closed, Directory, Proxy, Scripted, Step, within};

/// One check of each: the keys, the address, and why it fails; `None`: it passes.
struct Case {
    protocol: &'static str,
    active: String,
    address: String,
    reason: Option<&'static str>,
}

fn case(protocol: &'static str, active: &str, address: &str, reason: Option<&'static str>) -> Case {
    Case {
        protocol,
        active: active.to_owned(),
        address: address.to_owned(),
        reason,
    }
}

/// Puts every case before one proxy, each as an upstream of its own.
async fn assert_all(cases: &[Case], more: &str) {
    let names: Vec<String> = (0..cases.len())
        .map(|number| format!("c{number}"))
        .collect();
    let endpoints: Vec<[String; 1]> = cases
        .iter()
        .map(|case| [written("a", &case.address, "")])
        .collect();
    let active: Vec<String> = cases
        .iter()
        .map(|case| match case.active.contains("timeout") {
            true => format!("{}, initial: first_check", case.active),
            false => format!("timeout: 10s, initial: first_check, {}", case.active),
        })
        .collect();
    let upstreams: Vec<String> = cases
        .iter()
        .map(|case| format!("protocol: {}, {more}", case.protocol))
        .collect();
    let all: Vec<(&str, &[String], &str, &str)> = (0..cases.len())
        .map(|i| (&*names[i], &endpoints[i][..], &*active[i], &*upstreams[i]))
        .collect();
    let proxy = Proxy::start(&several(&all)).await;
    for (case, name) in cases.iter().zip(&names) {
        let check = first(&upstream(&proxy, name).endpoints[0]).await;
        assert_ended(case, &check);
    }
}

fn assert_ended(case: &Case, check: &Check) {
    let what = format!(
        "{} {} {}: {check:?}",
        case.protocol, case.active, case.address
    );
    match case.reason {
        None => assert_eq!(check.outcome, Outcome::Passed, "{what}"),
        Some(part) => {
            assert_eq!(check.outcome, Outcome::Failed, "{what}");
            let reason = check.reason.as_deref().unwrap();
            assert!(reason.contains(part), "{part:?} is not in {what}");
        }
    }
}

#[tokio::test]
async fn an_answer_passes_by_its_status_its_fields_and_its_body() {
    let backend = Backend::start("a");
    let at = backend.endpoint();
    let mut cases = Vec::new();
    for protocol in ["h1", "h2"] {
        for (active, reason) in [
            ("", None),
            ("path: /status/302", None),
            ("path: /status/404", Some("it answered 404")),
            ("path: /status/500", Some("it answered 500")),
            ("path: /status/404, status: [200, 404-410]", None),
            ("status: 204", Some("it answered 200")),
            ("method: HEAD", None),
            ("method: POST, path: /echo", None),
            ("body: a", None),
            (
                "body: aa",
                Some("the first 2 bytes of its answer do not hold the text"),
            ),
            ("path: /status/204, body: a", Some("the first 0 bytes")),
            // It spans two pieces.
            ("path: /chunked/1000/7/0, body: abcdefghij", None),
            (
                "path: /bytes/200000, body: zzz",
                Some("the first 65536 bytes"),
            ),
            ("header: { x-backend: a }", None),
            (
                "header: { X-Backend: b }",
                Some("`x-backend` of its answer has another value"),
            ),
            (
                "header: { X-Other: a }",
                Some("`x-other` of its answer is missing"),
            ),
            // What decides nothing is not waited for: neither a stream without an end nor an early word.
            ("path: /sse/1000000/60000", None),
            ("path: /early/0", None),
            (
                "path: /hang, timeout: 200ms",
                Some("there was no answer within 200ms"),
            ),
            (
                "path: /delay/10000, timeout: 200ms",
                Some("there was no answer within 200ms"),
            ),
            ("path: /reset", Some("it broke the exchange off")),
            (
                "path: /drop/10, body: zzz",
                Some("it broke the exchange off"),
            ),
        ] {
            cases.push(case(protocol, active, &at, reason));
        }
    }
    assert_all(&cases, "").await;
}

#[tokio::test]
async fn what_is_no_answer_fails() {
    let closed = Closed::new().endpoint();
    let garbage = Scripted::start(vec![b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()]).await;
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let huge = Scripted::start(vec![huge.into_bytes()]).await;
    let silent = Scripted::play(vec![vec![Step::ReadHead]]).await;
    let stalled = Scripted::play(vec![vec![Step::Stall]]).await;
    let broken = Some("it broke the exchange off");
    let cases = [
        case(
            "h1",
            "",
            &closed,
            Some("the endpoint refused the connection"),
        ),
        case(
            "h2",
            "type: grpc",
            &closed,
            Some("the endpoint refused the connection"),
        ),
        case(
            "h1",
            "type: tcp",
            &closed,
            Some("the endpoint refused the connection"),
        ),
        case("h1", "", &garbage.address().to_string(), broken),
        case("h2", "", &garbage.address().to_string(), broken),
        case("h1", "", &huge.address().to_string(), broken),
        case("h1", "", &silent.address().to_string(), broken),
        case(
            "h1",
            "timeout: 200ms",
            &stalled.address().to_string(),
            Some("no answer within 200ms"),
        ),
        case(
            "h2",
            "timeout: 200ms",
            &stalled.address().to_string(),
            Some("no answer within 200ms"),
        ),
        case(
            "h1",
            "",
            "unix:/nowhere/at/all.sock",
            Some("the endpoint refused the connection"),
        ),
        // A port is all that this one asks for.
        case("h1", "type: tcp", &stalled.address().to_string(), None),
    ];
    assert_all(&cases, "").await;
}

#[tokio::test]
async fn checks_speak_the_tls_of_the_upstream() {
    let directory = Directory::new();
    let authority = Authority::new();
    let ca = authority.write(&directory, "ca.pem");
    let foreign = Authority::new().write(&directory, "foreign.pem");
    let identity = authority.identity(&["app.internal"]);
    for (protocol, alpn) in [
        ("h1", &["http/1.1"][..]),
        ("h2", &["h2"]),
        ("auto", &["h2", "http/1.1"]),
        ("auto", &["http/1.1"]),
    ] {
        let backend = Backend::labelled("a")
            .tls(authority.server(&identity, alpn))
            .start();
        let clear = Backend::start("b");
        let at = backend.endpoint();
        let cases = [
            case(protocol, "body: a", &at, None),
            case(protocol, "type: tcp", &at, None),
            case(
                protocol,
                "type: tcp",
                &clear.endpoint(),
                Some("does not speak TLS"),
            ),
        ];
        assert_all(
            &cases,
            &format!("tls: {{ ca: {ca:?}, name: app.internal }}"),
        )
        .await;
        let unknown = Some("signed by an unknown authority");
        let cases = [
            case(protocol, "", &at, unknown),
            case(protocol, "type: tcp", &at, unknown),
        ];
        assert_all(
            &cases,
            &format!("tls: {{ ca: {foreign:?}, name: app.internal }}"),
        )
        .await;
        let other = Some("is for another name");
        let cases = [case(protocol, "", &at, other)];
        assert_all(&cases, &format!("tls: {{ ca: {ca:?} }}")).await;
    }
}

#[tokio::test]
async fn a_check_is_sent_as_it_is_written_to_its_own_port() {
    let server = Scripted::start(vec![b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()]).await;
    let port = server.address().port();
    // Nobody serves there; whoever is asked answers for it.
    let closed = Closed::new();
    let endpoints = [written("a", &closed.endpoint(), "")];
    let asked =
        format!("port: {port}, method: OPTIONS, path: \"/up?deep=1\", headers: {{ X-Key: k }}");
    let proxy = Proxy::start(&yaml(&endpoints, &format!("{asked}, {QUICK}"), "")).await;
    first(&super::endpoint(&proxy, "a")).await;
    let head = &server.heads()[0];
    assert_eq!(head.first_line, "OPTIONS /up?deep=1 HTTP/1.1");
    assert_eq!(head.field("host"), Some(&*format!("127.0.0.1:{port}")));
    assert_eq!(head.field("x-key"), Some("k"));
    let agent = head.field("user-agent").unwrap();
    assert!(
        agent.starts_with("plimsoll/") && agent.ends_with("(health check)"),
        "{agent}"
    );
    assert_eq!(head.field("connection"), Some("close"));

    let asked = format!("port: {port}, host: \"app.internal:81\", headers: {{ user-agent: me }}");
    let seen = server.heads().len();
    within(proxy.reload(&yaml(&endpoints, &format!("{asked}, {QUICK}"), "")))
        .await
        .unwrap();
    let found = |head: &crate::harness::Head| head.field("host") == Some("app.internal:81");
    crate::harness::eventually(crate::harness::DEADLINE, || {
        server.heads()[seen..].iter().any(found)
    })
    .await;
    let heads = server.heads();
    let head = heads.iter().find(|head| found(head)).unwrap();
    assert_eq!(head.first_line, "GET /healthz HTTP/1.1");
    assert_eq!(head.field("user-agent"), Some("me"));
    assert_eq!(health(&proxy, "a").turns(), 0);
}

#[tokio::test]
async fn an_endpoint_at_a_unix_socket_is_checked_as_localhost() {
    let directory = Directory::new();
    let path = directory.path().join("app.sock");
    let backend = Backend::labelled("a").at_unix(&path).start();
    let endpoints = [written("a", &backend.endpoint(), "")];
    let told = "path: /headers, body: '\"localhost\"'";
    let proxy = Proxy::start(&yaml(&endpoints, &format!("{told}, {QUICK}"), "")).await;
    let check = first(&super::endpoint(&proxy, "a")).await;
    assert_eq!(check.outcome, Outcome::Passed, "{check:?}");
}

#[tokio::test]
async fn what_comes_after_a_good_head_decides_nothing() {
    let endless = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    let script = vec![Step::ReadRequest, Step::write(endless), Step::ReadToEnd];
    let slow = Scripted::play(vec![script]).await;
    // Shorter than what is waited for the rest.
    let active = QUICK.replace("timeout: 5s", "timeout: 60ms");
    let endpoints = [written("a", &slow.address().to_string(), "")];
    let proxy = Proxy::start(&yaml(&endpoints, &active, "")).await;
    checked(&proxy, "a", Outcome::Passed, 3).await;
}
