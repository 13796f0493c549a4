//! What a request says decides where it goes, and a route may edit it and its answer.

use hyper::{Method, StatusCode};

use crate::harness::{Backend, Client, Outgoing, Proxy, Raw, config, field, fields, request};

#[tokio::test]
async fn routes_choose_by_what_a_request_says() {
    let (a, b) = (Backend::start("a"), Backend::start("b"));
    let yaml = format!(
        "workers: 1\n\
         listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes:\n\
         - {{ match: {{ host: b.example }}, upstream: b }}\n\
         - {{ match: {{ method: DELETE }}, upstream: b }}\n\
         - {{ match: {{ header: {{ X-To: b }} }}, upstream: b }}\n\
         - {{ match: {{ query: {{ to: b }} }}, upstream: b }}\n\
         - {{ match: {{ path: /gone }}, respond: {{ status: 410, body: gone }} }}\n\
         - {{ match: {{ path: /old }}, redirect: {{ host: new.example, status: 301 }} }}\n\
         - {{ match: {{ path: /split }}, split: {{ a: 3, b: 1 }} }}\n\
         - {{ match: {{ path: /a }}, upstream: a }}\n\
         upstreams: {{ a: {{ endpoints: [{:?}] }}, b: {{ endpoints: [{:?}] }} }}\n",
        a.endpoint(),
        b.endpoint()
    );
    let proxy = Proxy::start(&yaml).await;
    for h2 in [false, true] {
        let mut client = if h2 {
            Client::h2(proxy.address()).await
        } else {
            Client::h1(proxy.address()).await
        };
        assert_eq!(client.get("/a").await.backend(), Some("a"));
        assert_eq!(client.get("/a?x=1&to=b").await.backend(), Some("b"));
        let mut with = request(Method::GET, "/a", Outgoing::empty());
        with.headers_mut().insert("x-to", "b".parse().unwrap());
        assert_eq!(client.send(with).await.backend(), Some("b"));
        assert_eq!(
            client
                .send(request(Method::DELETE, "/a", Outgoing::empty()))
                .await
                .backend(),
            Some("b")
        );
        let gone = client.post("/gone", vec![0; 100_000]).await;
        assert_eq!((gone.status, gone.text()), (StatusCode::GONE, "gone"));
        let moved = client.get("/old/x?y").await;
        assert_eq!(
            (moved.status.as_u16(), moved.header("location")),
            (301, Some("http://new.example/old/x?y"))
        );
        let none = client.get("/nowhere").await;
        assert_eq!(none.status, StatusCode::NOT_FOUND);
        assert!(
            none.header("proxy-status")
                .unwrap()
                .contains("destination_not_found")
        );
        let mut from_b = 0;
        for _ in 0..200 {
            from_b += u32::from(client.get("/split").await.backend() == Some("b"));
        }
        // 50 expected; out of these bounds once in some 10^9 runs.
        assert!((14..=90).contains(&from_b), "{from_b}");
    }
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("GET /a HTTP/1.1\r\nHost: B.example:80\r\n\r\n")
        .await;
    assert_eq!(raw.response().await.text(), "b\n");
}

#[tokio::test]
async fn routes_do_not_see_what_a_stranger_may_not_say() {
    let backend = Backend::start("a");
    for (trusted, status) in [("[]", 200), ("[127.0.0.1]", 204)] {
        let yaml = format!(
            "listeners: {{ web: {{ address: \"127.0.0.1:0\", trusted_proxies: {trusted} }} }}\n\
             routes:\n\
             - {{ match: {{ header: {{ X-Forwarded-Proto: https }} }}, respond: {{ status: 204 }} }}\n\
             - {{ match: {{ path: / }}, upstream: pool }}\n\
             upstreams: {{ pool: {{ endpoints: [{:?}] }} }}\n",
            backend.endpoint()
        );
        let proxy = Proxy::start(&yaml).await;
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n")
            .await;
        assert_eq!(raw.response().await.status(), status, "{trusted}");
    }
}

#[tokio::test]
async fn a_route_edits_host_path_and_fields() {
    let backend = Backend::start("a");
    let endpoints = [backend.endpoint()];
    let route = "host: inner.example, rewrite: { prefix: /headers/ }, \
                 request_headers: { remove: [X-Forwarded-For, X-Old], set: { X-Forwarded-Proto: wss, X-Set: new }, add: { X-Add: more } }, \
                 response_headers: { remove: [X-Backend], set: { Date: never }, add: { X-Via: p } }";
    let proxy = Proxy::start(&config(&endpoints, "", route, "")).await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send(
        "GET /deep/path?q=1 HTTP/1.1\r\nHost: a\r\nX-Old: 1\r\nX-Set: old\r\nX-Add: 1\r\n\r\n",
    )
    .await;
    let answer = raw.response().await;
    assert_eq!(
        (
            answer.field("x-backend"),
            answer.field("date"),
            answer.field("x-via")
        ),
        (None, Some("never"), Some("p"))
    );
    let told = answer.json();
    assert_eq!(told["target"], "/headers/deep/path?q=1");
    assert_eq!(field(&told, "host").unwrap(), "inner.example");
    assert_eq!(field(&told, "x-forwarded-for"), None);
    assert_eq!(field(&told, "x-forwarded-proto").unwrap(), "wss");
    assert_eq!(field(&told, "x-old"), None);
    assert_eq!(field(&told, "x-set").unwrap(), "new");
    assert_eq!(fields(&told, "x-add"), ["1", "more"]);

    let proxy = Proxy::start(&config(&endpoints, "", "host: endpoint", "")).await;
    let told = Raw::connect(proxy.address())
        .await
        .ask("GET /headers HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(field(&told, "host"), Some(&backend.endpoint()[..]));
}

#[tokio::test]
async fn a_route_edits_its_own_answers_too() {
    let edits = "response_headers: { remove: [Location], set: { Content-Type: text/csv, Strict-Transport-Security: max-age=1 }, add: { X-A: b } }";
    let yaml = format!(
        "listeners: {{ web: {{ address: \"127.0.0.1:0\", forwarding: {{ via: edge }} }} }}\n\
         routes:\n\
         - {{ match: {{ path: /here }}, respond: {{ body: here }}, {edits} }}\n\
         - {{ match: {{ path: /there }}, redirect: {{ host: b }}, {edits} }}\n"
    );
    let proxy = Proxy::start(&yaml).await;
    for mut client in [
        Client::h1(proxy.address()).await,
        Client::h2(proxy.address()).await,
    ] {
        for (path, status) in [("/here", 200), ("/there", 308)] {
            let answer = client.get(path).await;
            assert_eq!(answer.status.as_u16(), status);
            for (name, value) in [
                ("strict-transport-security", Some("max-age=1")),
                ("content-type", Some("text/csv")),
                ("x-a", Some("b")),
                ("via", Some("1.1 edge")),
                ("location", None),
            ] {
                assert_eq!(answer.header(name), value, "{path}, {name}");
            }
        }
        let error = client.get("/nowhere").await;
        assert!(error.header("x-a").is_none());
    }
}
