//! Endpoints that break the rules of HTTP: the client gets an error that it can tell from an answer, and no byte of
//! one answer ever becomes part of another.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{DEADLINE, Front, Raw, Scripted, Step, eventually, expect_no_panic, within};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// What an endpoint answers on a connection that should not have been used again.
const REUSED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nreused";

/// Answers the first request of each connection with these bytes, and every later one with [`REUSED`].
async fn endpoint(answer: &[u8]) -> Scripted {
    let mut script = vec![Step::ReadHead, Step::Write(answer.to_vec())];
    for _ in 0..3 {
        script.extend([Step::ReadHead, Step::Write(REUSED.to_vec())]);
    }
    Scripted::play(vec![script]).await
}

async fn front(endpoint: &Scripted) -> Front {
    Front::before(&endpoint.address().to_string(), "").await
}

#[tokio::test]
async fn a_malformed_head_is_a_502_and_its_connection_is_not_used_again() {
    let ok = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\nhello");
    let cases = [
        (
            "both lengths",
            ok("Content-Length: 5\r\nTransfer-Encoding: chunked"),
        ),
        (
            "both lengths turned",
            ok("Transfer-Encoding: chunked\r\nContent-Length: 5"),
        ),
        (
            "repeated and equal",
            ok("Content-Length: 5\r\nContent-Length: 5"),
        ),
        (
            "repeated and different",
            ok("Content-Length: 5\r\nContent-Length: 1"),
        ),
        ("list", ok("Content-Length: 5, 5")),
        ("signed", ok("Content-Length: +5")),
        ("negative", ok("Content-Length: -1")),
        ("hex", ok("Content-Length: 0x5")),
        ("empty", ok("Content-Length:")),
        ("overflow", ok("Content-Length: 18446744073709551616")),
        ("unknown coding", ok("Transfer-Encoding: gzip")),
        ("identity", ok("Transfer-Encoding: identity")),
        ("chunked first", ok("Transfer-Encoding: chunked, identity")),
        ("gzip first", ok("Transfer-Encoding: gzip, chunked")),
        ("chunked twice", ok("Transfer-Encoding: chunked, chunked")),
        (
            "two codings",
            ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
        ),
        ("vertical tab", ok("Transfer-Encoding: \x0bchunked")),
        ("obs-fold", ok("A: b\r\n c")),
        ("bare CR", ok("A: b\rContent-Length: 5")),
        ("bare LF", ok("A: b\nContent-Length: 5")),
        ("NUL", ok("A: b\0c")),
        ("space before the colon", ok("Content-Length : 5")),
        ("empty name", ok(": b\r\nContent-Length: 5")),
        ("no colon", ok("Content-Length")),
        ("DEL", ok("A: \x7f")),
        (
            "coding in HTTP/1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        ),
        (
            "HTTP/2.0",
            "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello".into(),
        ),
        (
            "HTTP/1.2",
            "HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello".into(),
        ),
        (
            "no status",
            "HTTP/1.1 OK\r\nContent-Length: 5\r\n\r\nhello".into(),
        ),
        (
            "short status",
            "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello".into(),
        ),
        (
            "long status",
            "HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello".into(),
        ),
        (
            "status below 100",
            "HTTP/1.1 099 No\r\nContent-Length: 5\r\n\r\nhello".into(),
        ),
        (
            "status with a sign",
            "HTTP/1.1 +20 No\r\nContent-Length: 5\r\n\r\nhello".into(),
        ),
        (
            "empty line before",
            "\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".into(),
        ),
        (
            "LF alone",
            "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello".into(),
        ),
        ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n\r\n".into()),
        ("HTTP/0.9", "<html></html>\r\n\r\n".into()),
        ("too many fields", ok(&"A: b\r\n".repeat(300))),
        ("too long", ok(&format!("A: {}", "b".repeat(70_000)))),
        (
            "a line without end",
            format!("HTTP/1.1 200 {}", "b".repeat(70_000)),
        ),
        (
            "too many options",
            ok(&format!("Connection: {}", "a,".repeat(40))),
        ),
    ];
    let mut faults = Vec::new();
    for (name, answer) in cases {
        let endpoint = endpoint(answer.as_bytes()).await;
        let front = front(&endpoint).await;
        let mut client = Raw::connect(front.address).await;
        for turn in 1..=2 {
            client.send(GET).await;
            let answer = client.response().await;
            let proxy_status = answer.field("proxy-status").unwrap_or_default();
            if answer.status() != 502
                || !proxy_status.contains("error=http_protocol_error")
                || !answer.keeps_alive()
            {
                faults.push(format!("{name}, {turn}: {answer:?}"));
                break;
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    expect_no_panic();
}

#[tokio::test]
async fn a_body_that_breaks_its_framing_never_ends_cleanly() {
    let chunked =
        |body: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let cases = [
        (
            "shorter than announced",
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello".into(),
        ),
        ("garbage", chunked("garbage\r\n")),
        ("no size", chunked("\r\nhello\r\n0\r\n\r\n")),
        ("sign", chunked("+5\r\nhello\r\n0\r\n\r\n")),
        ("0x", chunked("0x5\r\nhello\r\n0\r\n\r\n")),
        ("space before", chunked(" 5\r\nhello\r\n0\r\n\r\n")),
        (
            "overflow (RUSTSEC-2021-0079)",
            chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ),
        ("LF alone", chunked("5\nhello\n0\n\n")),
        ("chunk too long", chunked("5\r\nhello!\r\n0\r\n\r\n")),
        ("chunk too short", chunked("5\r\nhell\r\n0\r\n\r\n")),
        ("no last chunk", chunked("5\r\nhello\r\n")),
        ("cut within the last chunk", chunked("5\r\nhello\r\n0\r\n")),
        ("cut within a size", chunked("5\r\nhello\r\n5")),
        (
            "extension without end",
            chunked(&format!("5;{}", "a".repeat(5000))),
        ),
        (
            "trailers without end",
            chunked(&format!("0\r\n{}", "A: b\r\n".repeat(4000))),
        ),
        (
            "forbidden trailer",
            chunked("5\r\nhello\r\n0\r\nContent-Length: 1\r\n\r\n"),
        ),
    ];
    for (name, answer) in cases {
        let endpoint = Scripted::start(vec![answer.into_bytes()]).await;
        let front = front(&endpoint).await;
        let mut client = Raw::connect(front.address).await;
        client.send(GET).await;
        let answer = client.try_response_to("GET").await;
        assert!(answer.is_err(), "{name}: {answer:?}");
    }
    expect_no_panic();
}

#[tokio::test]
async fn what_was_wrong_with_an_answer_is_told_and_counted() {
    let head = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let chunked =
        |body: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    for (answer, reason) in [
        (
            head("Content-Length: 5\r\nTransfer-Encoding: chunked"),
            "response_both_lengths",
        ),
        (head("Content-Length: +5"), "response_malformed_length"),
        (
            head("Transfer-Encoding: gzip"),
            "response_unknown_transfer_coding",
        ),
        (head("A: b\r\n c"), "response_obs_fold"),
        (
            "SSH-2.0-OpenSSH_9.9\r\n\r\n".into(),
            "response_malformed_version",
        ),
        (chunked("x\r\n"), "response_bad_chunk_size"),
        (chunked("5\r\nhello!\r\n"), "response_bad_chunk_end"),
        (chunked("0\r\nA : b\r\n\r\n"), "response_bad_trailer"),
        (
            chunked("0\r\nContent-Length: 1\r\n\r\n"),
            "response_forbidden_trailer",
        ),
        (chunked("5\r\nhello\r\n"), "connection_closed"),
    ] {
        let endpoint = Scripted::start(vec![answer.into_bytes()]).await;
        let front = front(&endpoint).await;
        let mut client = Raw::connect(front.address).await;
        client.send(GET).await;
        // A fault within the body comes too late for an answer of the proxy's own.
        if let Ok(answer) = client.try_response_to("GET").await {
            let told = answer.field("proxy-status").unwrap();
            assert!(told.contains(&format!("details=\"{reason}\"")), "{told}");
        }
        front.expect_refused(reason, 1).await;
        eventually(DEADLINE, || front.failed(reason) == 1).await;
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_are_never_another_answer() {
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
    for (name, method, head, body) in [
        (
            "length",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "ok",
        ),
        (
            "length 0",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "",
        ),
        (
            "chunked",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "ok",
        ),
        (
            "HEAD",
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 46\r\n\r\n",
            "",
        ),
        ("204", "GET", "HTTP/1.1 204 No\r\n\r\n", ""),
        (
            "204 with a length",
            "GET",
            "HTTP/1.1 204 No\r\nContent-Length: 46\r\n\r\n",
            "",
        ),
        (
            "304",
            "GET",
            "HTTP/1.1 304 No\r\nContent-Length: 46\r\n\r\n",
            "",
        ),
    ] {
        let endpoint = endpoint(format!("{head}{smuggled}").as_bytes()).await;
        let front = front(&endpoint).await;
        let mut client = Raw::connect(front.address).await;
        for _ in 0..2 {
            client
                .send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"))
                .await;
            let answer = client.response_to(method).await;
            assert_eq!(answer.text(), body, "{name}");
            assert!(answer.status() < 400, "{name}: {answer:?}");
        }
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        let last = client.response().await;
        assert!(
            !["reused", "smuggled"].contains(&last.text()),
            "{name}: {last:?}"
        );
        client.expect_closed().await;
    }
    expect_no_panic();
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_a_502() {
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let endpoint = endpoint(answer).await;
    let front = front(&endpoint).await;
    let mut client = Raw::connect(front.address).await;
    for _ in 0..2 {
        client.send(GET).await;
        let answer = client.response().await;
        assert_eq!(answer.status(), 502);
        assert!(
            answer
                .field("proxy-status")
                .unwrap()
                .contains("unasked_switch")
        );
    }
    expect_no_panic();
}

/// CVE-2024-23326: 200 taken as agreement to an upgrade, so that what follows flows unchecked.
#[tokio::test]
async fn a_200_to_an_upgrade_switches_nothing() {
    let endpoint = endpoint(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let front = front(&endpoint).await;
    let mut client = Raw::connect(front.address).await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(client.response().await.text(), "ok");
    client
        .send(b"\x81\x05hello bytes that are no request\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status(), 400);
    client.expect_closed().await;
    assert_eq!(endpoint.heads().len(), 1);
}

/// CVE-2026-2833: bytes behind an upgrade request passed on before the endpoint agreed.
#[tokio::test]
async fn a_request_behind_a_refused_upgrade_is_a_request_of_its_own() {
    let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    let (early, held) = (
        tokio::sync::oneshot::channel(),
        tokio::net::TcpListener::bind("127.0.0.1:0"),
    );
    let listener = held.await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut seen).await.unwrap();
        }
        // Nothing more may come before the answer.
        early.0.send(seen).unwrap();
        stream.write_all(refused).await.unwrap();
        let mut second = Vec::new();
        while !second.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut second).await.unwrap();
        }
        stream.write_all(REUSED).await.unwrap();
        second
    });
    let front = Front::before(&address, "").await;
    let mut client = Raw::connect(front.address).await;
    client
        .send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n")
        .await;
    let first = String::from_utf8(within(early.1).await.unwrap()).unwrap();
    assert!(
        first.starts_with("GET /a ") && !first.contains("/b"),
        "{first}"
    );
    assert_eq!(client.response().await.status(), 403);
    assert_eq!(client.response().await.text(), "reused");
    let second = String::from_utf8(within(serving).await.unwrap()).unwrap();
    assert!(second.starts_with("GET /b "), "{second}");
    assert!(
        second
            .to_ascii_lowercase()
            .contains("x-forwarded-for: 127.0.0.1"),
        "{second}"
    );
}

#[tokio::test]
async fn interim_answers_without_end_are_cut() {
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    ] {
        let endpoint = endpoint(interim.repeat(2000).as_bytes()).await;
        let front = front(&endpoint).await;
        let mut client = Raw::connect(front.address).await;
        client.send(GET).await;
        let answer = client.response().await;
        assert_eq!(answer.status(), 502);
        assert!(answer.interim.len() <= 32, "{}", answer.interim.len());
    }
    expect_no_panic();
}

/// What an interim head says of its connection holds, whatever the final head says.
#[tokio::test]
async fn a_connection_that_an_interim_answer_closes_is_not_used_again() {
    for interim in [
        "HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.0 103 Early Hints\r\n\r\n",
    ] {
        let answer = format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let endpoint = endpoint(answer.as_bytes()).await;
        let front = front(&endpoint).await;
        let mut client = Raw::connect(front.address).await;
        for _ in 0..2 {
            client.send(GET).await;
            let answer = client.response().await;
            assert_eq!(
                (answer.interim.len(), answer.text()),
                (1, "ok"),
                "{interim}"
            );
        }
    }
}

/// A status that no standard gives a meaning is passed on, as nginx and HAProxy do, and counted apart.
#[tokio::test]
async fn a_status_without_meaning_passes_and_has_a_class() {
    let answer = b"HTTP/1.1 999 Request denied\r\nContent-Length: 2\r\n\r\nno";
    let endpoint = endpoint(answer).await;
    let front = front(&endpoint).await;
    let mut client = Raw::connect(front.address).await;
    client.send(GET).await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.text()), (999, "no"));
    eventually(DEADLINE, || front.ended("other") == 1).await;
}

#[tokio::test]
async fn a_client_that_asked_nothing_gets_no_answer_from_a_talkative_endpoint() {
    // The endpoint speaks before it is asked: its words are no answer to a request that comes later.
    let early = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
    let stale = b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n".to_vec();
    let endpoint = Scripted::play(vec![
        vec![
            Step::ReadHead,
            Step::Write(early.clone()),
            Step::Write(stale),
            Step::Stall,
        ],
        vec![Step::ReadHead, Step::Write(early), Step::Stall],
    ])
    .await;
    let front = front(&endpoint).await;
    let mut client = Raw::connect(front.address).await;
    for _ in 0..2 {
        client.send(GET).await;
        assert_eq!(client.response().await.status(), 200);
    }
    assert_eq!(endpoint.heads().len(), 2);
}

/// Response splitting, and its sister towards the endpoint: what a client writes in escapes stays in escapes.
#[tokio::test]
async fn escaped_line_ends_stay_escaped_in_redirects_and_rewrites() {
    let endpoint = endpoint(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let routes = "\
        - { match: { path: /old/ }, redirect: { host: b } }\n\
        - { match: { path: { regex: \"^/r/(.*)$\" } }, upstream: pool, rewrite: { regex: \"^/r/(.*)$\", to: \"/s/$1\" } }\n\
        - { match: { path: / }, upstream: pool }\n";
    let front = Front::routed(&endpoint.address().to_string(), routes).await;
    for path in [
        "/old/a%0d%0aSet-Cookie:%20b",
        "/old/a%0D%0A%0D%0Ahello",
        "/old/a?b%0d%0ac",
    ] {
        let mut client = Raw::connect(front.address).await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let answer = client.response().await;
        assert!((300..400).contains(&answer.status()), "{answer:?}");
        assert_eq!(answer.field("set-cookie"), None);
        let location = answer.field("location").unwrap().to_ascii_lowercase();
        assert!(location.contains("%0d%0a"), "{location}");
    }
    let mut client = Raw::connect(front.address).await;
    client
        .send("GET /r/a%0d%0aX:%20y%20z%20HTTP/1.1%0d%0a HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let answer = client.response().await;
    for head in endpoint.heads() {
        assert!(!head.fields.iter().any(|(name, _)| name == "X"), "{head:?}");
        assert_eq!(head.first_line.split(' ').count(), 3, "{head:?}");
    }
    assert!([200, 400].contains(&answer.status()), "{answer:?}");
    expect_no_panic();
}
