//! The harness tested against itself, without a proxy: what the backend says is what the clients see.

use std::process::Command;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{HeaderMap, Method, Request, StatusCode};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use xxhash_rust::xxh3::xxh3_64;

use plimsoll::lab::backend::{Executions, Fault, identified};
use std::sync::Arc;

use super::*;

#[tokio::test]
async fn a_backend_answers_both_protocols_on_one_port() {
    let backend = Backend::start("a");
    for mut client in [
        Client::h1(backend.address()).await,
        Client::h2(backend.address()).await,
    ] {
        let answer = client.get("/").await;
        assert_eq!(
            (answer.status, answer.backend(), answer.text()),
            (StatusCode::OK, Some("a"), "a\n")
        );
        assert_eq!(
            client.get("/status/418").await.status,
            StatusCode::IM_A_TEAPOT
        );
        assert_eq!(
            client.get("/status/x").await.status,
            StatusCode::BAD_REQUEST
        );
        assert_eq!(client.get("/bytes/300000").await.body, pattern(300_000));
        let chunked = client.get("/chunked/200000/70000").await;
        assert_eq!(
            (chunked.header("content-length"), &chunked.body),
            (None, &pattern(200_000))
        );
        let events = client.get("/sse/2/1").await;
        assert_eq!(events.header("content-type"), Some("text/event-stream"));
        assert_eq!(
            events.text(),
            "id: 0\ndata: event 0\n\nid: 1\ndata: event 1\n\n"
        );
        assert_eq!(client.get("/delay/1").await.backend(), Some("a"));
    }
    assert_eq!(backend.counters().accepted(), 2);
    assert_eq!(backend.counters().requests(), 14);
    eventually(DEADLINE, || backend.counters().open() == 0).await;
    assert_eq!(backend.counters().in_flight(), 0);
    assert_eq!(backend.counters().malformed(), 0);
}

#[tokio::test]
async fn alpn_chooses_the_protocol_over_tls() {
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let server = authority.server(&identity, &["h2", "http/1.1"]);
    let backend = Backend::labelled("tls").tls(server).start();
    for (alpn, h2) in [("h2", true), ("http/1.1", false)] {
        let mut client = Client::tls(backend.address(), &authority.client(&[alpn])).await;
        assert_eq!(client.is_h2(), h2);
        assert_eq!(client.get("/").await.backend(), Some("tls"));
    }
    let stranger = Authority::new().client(&[]);
    assert!(
        Client::tls_named(backend.address(), &stranger, "localhost")
            .await
            .is_err()
    );
    let mut raw = Raw::connect_tls(backend.address(), &authority.client(&[]), "localhost").await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(raw.response().await.text(), "tls\n");
    raw.expect_closed().await;
}

#[tokio::test]
async fn a_mutual_server_refuses_a_client_without_a_certificate() {
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let backend = Backend::labelled("m")
        .tls(authority.mutual_server(&identity, &[]))
        .start();
    // In TLS 1.3 the client's side is done before the server refuses.
    let mut client = Client::tls(backend.address(), &authority.client(&[])).await;
    assert!(client.try_get("/").await.is_err());
    assert_eq!(backend.counters().requests(), 0);
}

#[tokio::test]
async fn a_backend_serves_a_unix_socket() {
    let directory = Directory::new();
    let path = directory.path().join("backend.sock");
    let backend = Backend::labelled("unix").at_unix(&path).start();
    let mut raw = Raw::connect_unix(&path).await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.response().await.text(), "unix\n");
    drop(backend);
    assert!(!path.exists());
}

#[tokio::test]
async fn headers_come_back_as_they_were_sent() {
    let backend = Backend::start("a");
    let mut raw = Raw::connect(backend.address()).await;
    for turn in 0..2 {
        let head = format!(
            "POST http://x/headers?{turn} HTTP/1.1\r\nX-b: 1\r\nHost: x\r\nContent-Length: 2\r\nx-B: 2\r\nX-A: \x7f\r\n\r\nhi"
        );
        raw.trickle(head.replace('\x7f', "é")).await;
        let message = raw.response().await;
        let seen: serde_json::Value = serde_json::from_str(message.text()).unwrap();
        assert_eq!(seen["exact"], true);
        assert_eq!(seen["target"], format!("http://x/headers?{turn}"));
        let fields = serde_json::json!([
            ["X-b", "1"],
            ["Host", "x"],
            ["Content-Length", "2"],
            ["x-B", "2"],
            ["X-A", "Ã©"]
        ]);
        assert_eq!(seen["fields"], fields);
    }
    let mut client = Client::h2(backend.address()).await;
    let seen = client.get("/headers?a=1").await.json();
    assert_eq!(seen["target"], "/headers?a=1");
    assert_eq!(
        (&seen["version"], &seen["exact"]),
        (&"2".into(), &false.into())
    );
}

#[tokio::test]
async fn bodies_and_trailers_are_echoed_and_summed() {
    let backend = Backend::start("a");
    let body = pattern(1_000_000);
    let sum = format!("{:016x}", xxh3_64(&body));
    for mut client in [
        Client::h1(backend.address()).await,
        Client::h2(backend.address()).await,
    ] {
        let answer = client.post("/echo", body.clone()).await;
        assert_eq!(answer.body, body);
        let answer = client.post("/checksum", body.clone()).await.json();
        assert_eq!(
            (&answer["length"], &answer["xxh3"]),
            (&1_000_000.into(), &sum.clone().into())
        );

        let (mut upload, pieces) = Outgoing::pieces();
        let mut post = request(Method::POST, "/echo", pieces);
        post.headers_mut()
            .insert("trailer", "x-end".parse().unwrap());
        post.headers_mut().insert("te", "trailers".parse().unwrap());
        let mut response = client.open(post).await.unwrap().into_body();
        // Each piece comes back before the next is sent.
        for piece in ["one", "two"] {
            assert!(upload.send(piece).await);
            let frame = within(response.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", "yes".parse().unwrap());
        upload.finish_with(trailers.clone()).await;
        let frame = within(response.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_trailers().unwrap(), trailers);
    }
}

#[tokio::test]
async fn trailers_follow_a_body_over_both_protocols() {
    let backend = Backend::start("a");
    let mut raw = Raw::connect(backend.address()).await;
    for _ in 0..2 {
        raw.send("GET /trailers HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let message = raw.response().await;
        assert_eq!(message.body, pattern(1000));
        assert_eq!(
            message.trailers[0],
            ("X-Length".to_owned(), "1000".to_owned())
        );
        assert!(message.keeps_alive());
    }
    let answer = Client::h2(backend.address()).await.get("/trailers").await;
    assert_eq!(
        answer.trailers["x-checksum"],
        format!("{:016x}", xxh3_64(&pattern(1000)))
    );
}

#[tokio::test]
async fn early_hints_precede_the_answer_and_the_connection_goes_on() {
    let backend = Backend::start("a");
    let mut raw = Raw::connect(backend.address()).await;
    // Two at once: what hyper had already read must not be lost.
    raw.send("GET /early HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let message = raw.response().await;
    assert_eq!(message.interim.len(), 1);
    assert_eq!(message.interim[0].status(), 103);
    assert_eq!(message.text(), "a\n");
    assert_eq!(raw.response().await.text(), "a\n");
    raw.send("GET /early HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(!raw.response().await.keeps_alive());
    raw.expect_closed().await;
}

#[tokio::test]
async fn expectations_are_met_or_refused() {
    let backend = Backend::start("a");
    let mut raw = Raw::connect(backend.address()).await;
    raw.send(
        "POST /expect HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    )
    .await;
    assert_eq!(raw.head().await.status(), 100);
    raw.send("hi").await;
    assert!(
        raw.response()
            .await
            .text()
            .contains("\"expect\":\"100-continue\"")
    );
    raw.send(
        "POST /expect/417 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    )
    .await;
    let message = raw.response().await;
    assert_eq!((message.status(), message.interim.len()), (417, 0));
}

#[tokio::test]
async fn broken_answers_break_as_they_should() {
    let backend = Backend::start("a");
    for path in ["/drop/100", "/drop/100/chunked"] {
        let mut raw = Raw::connect(backend.address()).await;
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(raw.head().await.status(), 200);
        let rest = raw.rest().await.unwrap();
        assert!(
            rest.windows(100).any(|window| window == pattern(100)),
            "{path}"
        );
    }
    let mut raw = Raw::connect(backend.address()).await;
    raw.send("GET /gone HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.rest().await.unwrap(), b"");
    let mut raw = Raw::connect(backend.address()).await;
    raw.send("GET /reset HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(
        raw.rest().await.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    let mut client = Client::h2(backend.address()).await;
    for path in ["/drop/100", "/reset", "/reset/10", "/gone"] {
        assert!(client.try_get(path).await.is_err(), "{path}");
    }
    assert_eq!(client.get("/").await.status, StatusCode::OK);
    eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_exchange() {
    let backend = Backend::start("a");
    let mut raw = Raw::connect(backend.address()).await;
    raw.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    raw.reset();
    eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
}

#[tokio::test]
async fn websockets_and_tunnels_are_echoed() {
    let backend = Backend::start("a");
    let mut socket = WebSocket::open(backend.address(), "/ws").unwrap();
    for length in [0, 1, 125, 126, 65_535, 65_536] {
        socket.expect_echo(&"x".repeat(length));
    }
    socket.close();
    assert!(WebSocket::open(backend.address(), "/").is_err());

    let mut raw = Raw::connect(backend.address()).await;
    raw.send(
        "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x/1\r\n\r\nhello",
    )
    .await;
    let message = raw.response().await;
    assert_eq!(
        (message.status(), message.field("upgrade")),
        (101, Some("x/1"))
    );
    assert_eq!(raw.exactly(5).await, b"hello");
    let mut raw = Raw::connect(backend.address()).await;
    raw.send("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").await;
    assert_eq!(raw.response_to("CONNECT").await.status(), 200);
    raw.send("bytes").await;
    raw.finish_sending().await;
    assert_eq!(raw.rest().await.unwrap(), b"bytes");
}

#[tokio::test]
async fn tunnels_open_over_both_protocols() {
    let backend = Backend::start("a");
    for mut client in [
        Client::h1(backend.address()).await,
        Client::h2(backend.address()).await,
    ] {
        let mut tunnel = client.tunnel("x", "/upgrade").await.unwrap();
        within(tunnel.write_all(b"ping")).await.unwrap();
        let mut back = [0; 4];
        within(tunnel.read_exact(&mut back)).await.unwrap();
        assert_eq!(&back, b"ping");
        assert_eq!(backend.counters().in_flight(), 1);
        drop(tunnel);
        eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
    }
    // A masked text frame with the mask 0 and the payload "hi" (RFC 6455, 5.2).
    let mut client = Client::h2(backend.address()).await;
    let mut tunnel = client.tunnel("websocket", "/ws").await.unwrap();
    within(tunnel.write_all(b"\x81\x82\0\0\0\0hi"))
        .await
        .unwrap();
    let mut back = [0; 4];
    within(tunnel.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"\x81\x02hi");
    let mut plain = Client::h1(backend.address()).await;
    let refused = plain.tunnel("x", "/").await.unwrap_err();
    assert_eq!(refused.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_head_request_has_no_body_on_any_path() {
    let backend = Backend::start("a");
    let mut raw = Raw::connect(backend.address()).await;
    for path in [
        "/",
        "/bytes/10",
        "/trailers",
        "/early",
        "/chunked/10",
        "/headers",
    ] {
        raw.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(raw.response_to("HEAD").await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn behaviour_changes_while_it_runs() {
    // Where no other test binds a port meanwhile.
    let apart = ([127, 0, 0, 79], 0).into();
    let backend = Backend::labelled("a").status("503:1").at(apart).start();
    let mut client = Client::h1(backend.address()).await;
    assert_eq!(
        client.get("/").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    backend.change(Backend::labelled("b").size(3).latency("1ms").slots(1));
    let answer = client.get("/").await;
    assert_eq!((answer.backend(), &answer.body), (Some("b"), &pattern(3)));
    backend.cut_connections();
    eventually(DEADLINE, || client.is_closed()).await;
    let address = backend.address();
    drop(backend);
    let again = Backend::labelled("c").at(address).start();
    assert_eq!(
        Client::h1(again.address()).await.get("/").await.backend(),
        Some("c")
    );
}

#[tokio::test]
async fn a_connection_that_is_to_close_closes_after_its_answer() {
    let backend = Backend::start("a");
    for mut client in [
        Client::h1(backend.address()).await,
        Client::h2(backend.address()).await,
    ] {
        assert_eq!(client.get("/close").await.status, StatusCode::OK);
        eventually(DEADLINE, || client.is_closed()).await;
    }
}

#[tokio::test]
async fn malformed_requests_are_counted() {
    let backend = Backend::start("a");
    let mut raw = Raw::connect(backend.address()).await;
    raw.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n").await;
    assert_eq!(raw.response().await.status(), 400);
    eventually(DEADLINE, || backend.counters().malformed() == 1).await;
}

#[tokio::test]
async fn a_script_is_played_to_the_letter() {
    let server = Scripted::start(vec![
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi".to_vec(),
    ])
    .await;
    let mut first = Raw::connect(server.address()).await;
    first.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(first.response().await.text(), "hi");
    first.expect_closed().await;
    let mut second = Raw::connect(server.address()).await;
    second.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let error = second.try_response_to("GET").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    let lines: Vec<String> = server
        .heads()
        .into_iter()
        .map(|head| head.first_line)
        .collect();
    assert_eq!(lines, ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1"]);

    let resetting = Scripted::play(vec![vec![Step::ReadHead, Step::Reset]]).await;
    let mut raw = Raw::connect(resetting.address()).await;
    raw.send("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(
        raw.rest().await.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
}

#[tokio::test]
#[should_panic(expected = "both lengths")]
async fn the_strict_reader_refuses_two_lengths() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n";
    let server = Scripted::start(vec![answer.to_vec()]).await;
    let mut raw = Raw::connect(server.address()).await;
    raw.send("GET / HTTP/1.1\r\n\r\n").await;
    raw.response().await;
}

#[test]
fn a_process_is_read_signalled_and_awaited() {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap 'echo bye; exit 7' TERM; echo ready >&2; while :; do sleep 0.01; done",
    ]);
    let mut process = Process::spawn(command);
    assert_eq!(process.wait_for_line("rea"), "ready");
    process.wait_until(|| true);
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), Some(7));
    assert_eq!(
        (process.stdout(), process.stderr()),
        ("bye\n".to_owned(), "ready\n".to_owned())
    );
}

/// What a client sees of a backend: the status and body, or that the exchange broke.
async fn seen(client: &mut Client, path: &str, id: &str) -> Option<(u16, Bytes)> {
    let mut asking = request(Method::POST, path, Outgoing::whole(identified(id, 100)));
    asking
        .headers_mut()
        .insert("x-request-id", id.parse().unwrap());
    let response = client.open(asking).await.ok()?;
    let answer = within(Answer::read(response)).await.ok()?;
    Some((answer.status.as_u16(), answer.body))
}

#[tokio::test]
async fn a_backend_misbehaves_as_told_and_keeps_count_of_what_it_carried_out() {
    let executions = Arc::<Executions>::default();
    let backend = Backend::labelled("a").counted(&executions).start();
    let whole = |id: &str| Some((200, identified(id, 1000)));
    let broken = [
        "gone",
        "reset",
        "reset-after-head",
        "reset-mid-body",
        "truncate",
        "garbage",
    ];
    let kept = ["trickle:1ms", "slow:1ms", "early-answer"];
    for h2 in [false, true] {
        let connect = async || match h2 {
            false => Client::h1(backend.address()).await,
            true => Client::h2(backend.address()).await,
        };
        let fault = |text: &str| {
            backend.change(Backend::labelled("a").fault(text.parse::<Fault>().unwrap()))
        };
        for text in broken {
            fault(text);
            let id = format!("{text}-{h2}");
            let path = "/identified/1000";
            assert_eq!(seen(&mut connect().await, path, &id).await, None, "{id}");
            // A refused stream says that nothing was done.
            let executed = u32::from(!(h2 && text == "gone"));
            assert_eq!(executions.of(&id), executed, "{id}");
        }
        for text in kept {
            fault(text);
            let id = format!("{text}-{h2}");
            let answer = seen(&mut connect().await, "/identified/1000", &id).await;
            assert_eq!(answer, whole(&id), "{id}");
            assert_eq!(executions.of(&id), 1, "{id}");
        }
        fault("status:503");
        let answer = seen(&mut connect().await, "/identified/1", "burst").await;
        assert_eq!(answer.unwrap().0, 503);
        fault("close-on-reuse");
        let mut client = connect().await;
        let path = "/identified/1000";
        assert_eq!(seen(&mut client, path, "first").await, whole("first"));
        assert_eq!(seen(&mut client, path, "second").await, None);
        backend.change(Backend::labelled("a"));
        assert_eq!(
            seen(&mut connect().await, path, "well").await,
            whole("well")
        );
    }
    assert_eq!((executions.of("well"), executions.of("burst")), (2, 2));
}

#[tokio::test]
async fn a_backend_that_refuses_cuts_its_connections_and_comes_back_on_its_port() {
    let backend = Backend::start("a");
    let mut client = Client::h1(backend.address()).await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.backend(), Some("a"));
        backend.change(Backend::labelled("a").fault(Fault::Refuse));
        eventually(DEADLINE, || client.is_closed()).await;
        let refused = tokio::net::TcpStream::connect(backend.address()).await;
        let kind = refused.unwrap_err().kind();
        assert_eq!(kind, std::io::ErrorKind::ConnectionRefused);
        backend.change(Backend::labelled("a"));
        let address = backend.address();
        eventually(DEADLINE, || std::net::TcpStream::connect(address).is_ok()).await;
        client = Client::h1(address).await;
    }
}

#[tokio::test]
async fn a_huge_head_is_a_mebibyte() {
    let backend = Backend::labelled("a").fault(Fault::HugeHead).start();
    let mut stream = tokio::net::TcpStream::connect(backend.address())
        .await
        .unwrap();
    let ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.len() > 1024 * 1024, "{}", answer.len());
}
