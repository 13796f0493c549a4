//! A request reaches an endpoint and its answer the client, whole and unchanged but for what a proxy must change:
//! whichever versions of HTTP the two speak.

use http_body_util::BodyExt;
use hyper::{HeaderMap, Method, StatusCode};
use plimsoll::observe::Metric;
use xxhash_rust::xxh3::xxh3_64;

use crate::harness::{
    Answer, Backend, Client, DEADLINE, Directory, Outgoing, Proxy, Raw, config, eventually, field,
    fields, pattern, request, within,
};

/// In front of a backend that is spoken to in `protocol`.
async fn before(backend: &Backend, protocol: &str) -> Proxy {
    let upstream = format!("protocol: {protocol}");
    Proxy::start(&config(&[backend.endpoint()], "", "", &upstream)).await
}

/// A client of either version in front of an endpoint of either version.
async fn each(check: impl AsyncFn(&mut Client, &Backend, &str)) {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let proxy = before(&backend, protocol).await;
        for mut client in [
            Client::h1(proxy.address()).await,
            Client::h2(proxy.address()).await,
        ] {
            let version = if client.is_h2() { "h2" } else { "h1" };
            check(&mut client, &backend, &format!("{version} to {protocol}")).await;
        }
        assert_eq!(backend.counters().malformed(), 0);
    }
}

fn assert_received(answer: &Answer, sent: &[u8], what: &str) {
    let json = answer.json();
    assert_eq!(json["length"], sent.len(), "{what}");
    assert_eq!(json["xxh3"], format!("{:016x}", xxh3_64(sent)), "{what}");
}

#[tokio::test]
async fn methods_and_statuses_pass() {
    each(async |client, _, what| {
        let answer = client.get("/").await;
        assert_eq!(
            (answer.backend(), answer.text()),
            (Some("a"), "a\n"),
            "{what}"
        );
        for status in [200, 204, 304, 404, 418, 500] {
            let answer = client.get(&format!("/status/{status}")).await;
            assert_eq!(answer.status.as_u16(), status, "{what}");
            assert!(answer.header("proxy-status").is_none(), "{what}");
        }
        let answer = client
            .try_send(Method::HEAD, "/bytes/1000", Outgoing::empty())
            .await;
        let answer = answer.unwrap();
        assert_eq!(answer.header("content-length"), Some("1000"), "{what}");
        assert!(answer.body.is_empty(), "{what}");
        for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = client
                .send(request(method.clone(), "/headers", Outgoing::empty()))
                .await;
            assert_eq!(answer.json()["method"], method.as_str(), "{what}");
        }
    })
    .await;
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    each(async |client, _, what| {
        let sent = pattern(1 << 20);
        let answer = client.post("/checksum", sent.clone()).await;
        assert_received(&answer, &sent, what);
        let answer = client.get("/bytes/1048576").await;
        assert_eq!(answer.header("content-length"), Some("1048576"), "{what}");
        assert!(answer.body == sent, "{what}");
        let answer = client.get("/chunked/1048576/70000").await;
        assert_eq!(answer.header("content-length"), None, "{what}");
        assert!(answer.body == sent, "{what}");
    })
    .await;
}

#[tokio::test]
async fn bodies_without_a_length_and_trailers_pass_both_ways() {
    each(async |client, _, what| {
        let (mut upload, body) = Outgoing::pieces();
        let mut asked = request(Method::POST, "/echo", body);
        asked
            .headers_mut()
            .insert("trailer", "x-sum".parse().unwrap());
        asked
            .headers_mut()
            .insert("te", "trailers".parse().unwrap());
        let feeding = tokio::spawn(async move {
            for _ in 0..30 {
                assert!(upload.send(pattern(10_000)).await);
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "30".parse().unwrap());
            upload.finish_with(trailers).await;
        });
        let answer = client.send(asked).await;
        feeding.await.unwrap();
        assert_eq!(answer.body.len(), 300_000, "{what}");
        assert_eq!(answer.trailers.get("x-sum").unwrap(), "30", "{what}");
        let answer = client.get("/trailers").await;
        assert_eq!(answer.body, pattern(1000), "{what}");
        assert_eq!(answer.trailers.get("x-length").unwrap(), "1000", "{what}");
    })
    .await;
}

#[tokio::test]
async fn an_event_arrives_before_the_stream_ends() {
    each(async |client, _, what| {
        // The second event is an hour away.
        let asked = request(Method::GET, "/sse/2/3600000", Outgoing::empty());
        let mut response = client.open(asked).await.unwrap();
        assert_eq!(
            response.headers()["content-type"],
            "text/event-stream",
            "{what}"
        );
        let event = within(response.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(
            event.into_data().unwrap(),
            "id: 0\ndata: event 0\n\n",
            "{what}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_ends_it_at_the_endpoint() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let proxy = before(&backend, protocol).await;
        for mut client in [
            Client::h1(proxy.address()).await,
            Client::h2(proxy.address()).await,
        ] {
            let asked = request(Method::GET, "/sse/2/3600000", Outgoing::empty());
            let mut response = client.open(asked).await.unwrap();
            within(response.body_mut().frame()).await.unwrap().unwrap();
            assert_eq!(backend.counters().in_flight(), 1);
            drop((response, client));
            eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
        }
        for mut client in [
            Client::h1(proxy.address()).await,
            Client::h2(proxy.address()).await,
        ] {
            let before = backend.counters().requests();
            {
                let waiting = client.try_get("/hang");
                tokio::select! {
                    _ = waiting => panic!("answered"),
                    () = eventually(DEADLINE, || backend.counters().requests() > before) => {}
                }
            }
            drop(client);
            eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
        }
        // Two within the answer, two before it.
        let gone = || proxy.routes(Metric::RequestErrors, "client_gone");
        eventually(DEADLINE, || gone() == 4).await;
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::start("a");
    let proxy = before(&backend, "h1").await;
    let mut raw = Raw::connect(proxy.address()).await;
    let one = |status| format!("GET /status/{status} HTTP/1.1\r\nHost: a\r\n\r\n");
    raw.send([one(201), one(404), one(418)].concat()).await;
    for status in [201, 404, 418] {
        assert_eq!(raw.response().await.status(), status);
    }
    // A body between two heads, and the first byte of a third request with it.
    raw.send("POST /checksum HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /status/202 HTTP/1.1\r\n")
        .await;
    assert!(
        raw.response()
            .await
            .text()
            .contains(&format!("{:016x}", xxh3_64(b"abc")))
    );
    raw.send("Host: a\r\n\r\n").await;
    assert_eq!(raw.response().await.status(), 202);
    assert_eq!(backend.counters().accepted(), 1);
}

#[tokio::test]
async fn http10_is_answered_by_closing_unless_asked_to_keep() {
    let backend = Backend::start("a");
    let proxy = before(&backend, "h1").await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("GET / HTTP/1.0\r\n\r\n").await;
    let head = raw.head().await;
    assert_eq!(
        (head.status(), head.field("connection")),
        (200, Some("close"))
    );
    assert_eq!(raw.rest().await.unwrap(), b"a\n");

    let mut raw = Raw::connect(proxy.address()).await;
    for _ in 0..2 {
        raw.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .await;
        let answer = raw.response().await;
        assert_eq!(answer.field("connection"), Some("keep-alive"));
        assert_eq!(answer.text(), "a\n");
    }
    // Chunks are unknown to it: the end is told by closing.
    raw.send("GET /chunked/1000/10 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let answer = raw.response().await;
    assert!(answer.until_close && answer.field("transfer-encoding").is_none());
    assert_eq!(answer.body, pattern(1000));
}

#[tokio::test]
async fn an_endpoint_is_always_told_a_host() {
    let backend = Backend::start("a");
    for protocol in ["h1", "h2"] {
        let proxy = before(&backend, protocol).await;
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send("GET /headers HTTP/1.0\r\n\r\n").await;
        let told = raw.response().await.json();
        let host = match protocol {
            "h1" => field(&told, "host"),
            _ => told["authority"].as_str(),
        };
        assert_eq!(host, Some(&backend.endpoint()[..]));
    }
}

#[tokio::test]
async fn expect_continue_is_the_endpoints_to_answer() {
    let backend = Backend::start("a");
    let proxy = before(&backend, "h1").await;
    let mut raw = Raw::connect(proxy.address()).await;
    let head = |path| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
    };
    raw.send(head("/expect")).await;
    assert_eq!(raw.head().await.status(), 100);
    raw.send("hello").await;
    let answer = raw.response().await;
    let told = answer.json();
    assert_eq!(
        (&told["length"], &told["expect"]),
        (&5.into(), &"100-continue".into())
    );
    // A final answer instead: it is not known whether the body follows, so the connection ends.
    raw.send(head("/expect/417")).await;
    let answer = raw.response().await;
    assert_eq!((answer.status(), answer.keeps_alive()), (417, false));
    raw.expect_closed().await;
}

#[tokio::test]
async fn early_hints_pass() {
    let backend = Backend::start("a");
    let proxy = before(&backend, "h1").await;
    let mut raw = Raw::connect(proxy.address()).await;
    // The final answer is an hour away, the hints are not.
    raw.send("GET /early/3600000 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let hints = raw.head().await;
    assert_eq!(
        (hints.status(), hints.field("link")),
        (103, Some("</style.css>; rel=preload"))
    );
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("GET /early/0 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = raw.response().await;
    assert_eq!((answer.interim.len(), answer.text()), (1, "a\n"));
}

/// RFC 9110, 15.2: a client of HTTP/1.0 does not know them.
#[tokio::test]
async fn interim_answers_are_not_written_to_http10() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let proxy = before(&backend, protocol).await;
        for request in [
            "GET /early/0 HTTP/1.0\r\n\r\n",
            // An expectation has no meaning in HTTP/1.0 either.
            "POST /expect HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        ] {
            let mut raw = Raw::connect(proxy.address()).await;
            raw.send(request).await;
            let answer = raw.response().await;
            assert_eq!(answer.interim.len(), 0, "{request}");
            assert_eq!(answer.status(), 200, "{request}");
        }
    }
}

/// Trailers behind a body whose length was announced have a place in HTTP/2 alone.
#[tokio::test]
async fn announced_trailers_pass_from_http2_to_http1_behind_a_body_of_known_length() {
    let trailers = || {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "5".parse().unwrap());
        trailers
    };
    let backend = Backend::start("a");
    let proxy = before(&backend, "h1").await;
    let mut client = Client::h2(proxy.address()).await;
    for announced in [true, false] {
        let (mut upload, body) = Outgoing::pieces();
        let mut asked = request(Method::POST, "/checksum", body);
        let fields = asked.headers_mut();
        fields.insert("content-length", "5".parse().unwrap());
        if announced {
            fields.insert("trailer", "x-sum".parse().unwrap());
        }
        let feeding = tokio::spawn(async move {
            assert!(upload.send("hello").await);
            upload.finish_with(trailers()).await;
        });
        let told = client.send(asked).await.json();
        feeding.await.unwrap();
        assert_eq!(told["length"], 5);
        let received = told["trailers"].to_string();
        assert_eq!(received.contains("x-sum"), announced, "{told}");
    }

    // The other way: what an endpoint of HTTP/2 says, to a client of HTTP/1.1 and to one of HTTP/1.0.
    let endpoint = with_length_and_trailers(trailers()).await;
    let proxy = Proxy::start(&config(&[endpoint], "", "", "protocol: h2")).await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = raw.response().await;
    assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
    assert_eq!(answer.text(), "hello");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "5".to_owned())]);
    raw.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let answer = raw.response().await;
    assert_eq!(answer.field("content-length"), Some("5"));
    assert_eq!(answer.text(), "hello");
    let mut client = Client::h2(proxy.address()).await;
    let answer = client.get("/").await;
    assert_eq!(answer.header("content-length"), Some("5"));
    assert_eq!(answer.trailers.get("x-sum").unwrap(), "5");
}

/// An endpoint of HTTP/2 that has these trailers behind a body of announced length; its address.
async fn with_length_and_trailers(trailers: HeaderMap) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut response))) = connection.accept().await {
            let head = hyper::Response::builder()
                .header("content-length", "5")
                .header("trailer", "x-sum");
            let head = head.body(()).unwrap();
            let mut stream = response.send_response(head, false).unwrap();
            stream.send_data("hello".into(), false).unwrap();
            stream.send_trailers(trailers.clone()).unwrap();
        }
    });
    address
}

#[tokio::test]
async fn the_target_reaches_the_endpoint_as_received() {
    let backend = Backend::start("a");
    let proxy = before(&backend, "h1").await;
    let mut raw = Raw::connect(proxy.address()).await;
    for target in [
        "/headers/a%2Fb//c/../d?x=%7a&&y=/?",
        "/headers?",
        "/headers/%e2%82%ac;v=1?a=b=c",
    ] {
        let told = raw
            .ask(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(told["exact"], true);
        assert_eq!(told["target"], target);
    }
    // Of an absolute form the authority becomes the host.
    let told = raw
        .ask("GET http://b.example/headers?q HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(
        (told["target"].as_str(), field(&told, "host")),
        (Some("/headers?q"), Some("b.example"))
    );
}

/// RFC 9110, 7.6.2.
#[tokio::test]
async fn max_forwards_counts_down_and_ends_at_the_proxy() {
    each(async |client, backend, what| {
        let asked = |method: Method, left: &str| {
            let mut asked = request(method, "/headers", Outgoing::empty());
            let value = left.parse().unwrap();
            asked.headers_mut().insert("max-forwards", value);
            asked
        };
        let told = client.send(asked(Method::OPTIONS, "7")).await.json();
        assert_eq!(fields(&told, "max-forwards"), ["6"], "{what}");
        for (method, left) in [(Method::GET, "0"), (Method::OPTIONS, "many")] {
            let told = client.send(asked(method, left)).await.json();
            assert_eq!(fields(&told, "max-forwards"), [left], "{what}");
        }
        let before = backend.counters().requests();
        let answer = client.send(asked(Method::OPTIONS, "0")).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{what}");
        let answer = client.send(asked(Method::TRACE, "0")).await;
        assert_eq!(answer.status, StatusCode::NOT_IMPLEMENTED, "{what}");
        assert_eq!(backend.counters().requests(), before, "{what}");
    })
    .await;
}

#[tokio::test]
async fn unix_sockets_and_ipv6_carry_requests_too() {
    let directory = Directory::new();
    let backend = Backend::labelled("u")
        .at_unix(directory.path().join("backend"))
        .start();
    let listener = directory.path().join("proxy");
    let friends = directory.path().join("friends");
    let yaml = format!(
        "workers: 1\n\
         listeners: {{ six: {{ address: \"[::1]:0\" }}, unix: {{ address: \"unix:{}\" }}, \
         friends: {{ address: \"unix:{}\", trusted_proxies: [unix] }} }}\n\
         routes: [ {{ match: {{ path: / }}, upstream: pool }} ]\n\
         upstreams: {{ pool: {{ endpoints: [{:?}] }} }}\n",
        listener.display(),
        friends.display(),
        backend.endpoint()
    );
    let proxy = Proxy::start(&yaml).await;
    for (path, expected) in [(&listener, None), (&friends, Some("192.0.2.6"))] {
        let mut raw = Raw::connect_unix(path).await;
        let told = raw
            .ask("GET /headers HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.6\r\n\r\n")
            .await;
        assert_eq!(field(&told, "x-forwarded-for"), expected);
    }
    let mut raw = Raw::connect(proxy.listener("six")).await;
    let told = raw.ask("GET /headers HTTP/1.0\r\n\r\n").await;
    assert_eq!(field(&told, "x-forwarded-for").unwrap(), "::1");
    assert_eq!(field(&told, "host").unwrap(), "localhost");
}
