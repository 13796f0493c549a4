//! Which fields end at the proxy, and what it says in fields of its own: X-Forwarded-*, Forwarded and Via.
//!
//! Not here: what a route adds, sets and removes; see [`super::routing`].

use hyper::Method;

use crate::harness::{
    Backend, Client, Outgoing, Proxy, Raw, Scripted, config, field, fields, request,
};

#[tokio::test]
async fn fields_of_one_connection_end_at_the_proxy() {
    let backend = Backend::start("a");
    let proxy = Proxy::start(&config(&[backend.endpoint()], "", "", "")).await;
    let mut raw = Raw::connect(proxy.address()).await;
    let asked = "GET /headers HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop, user-agent, Cookie\r\nX-Hop: 1\r\n\
                 User-Agent: c\r\nCookie: d\r\nKeep-Alive: 5\r\nTE: gzip\r\nProxy-Authorization: x\r\n\
                 Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-End: 2\r\nx-end: 3\r\n\r\n";
    let told = raw.ask(asked).await;
    assert_eq!(fields(&told, "cookie"), ["d"]);
    for gone in [
        "connection",
        "x-hop",
        "user-agent",
        "keep-alive",
        "te",
        "proxy-authorization",
        "proxy-connection",
        "upgrade",
    ] {
        assert!(fields(&told, gone).is_empty(), "{gone}: {told}");
    }
    assert_eq!(fields(&told, "x-end"), ["2", "3"]);

    let scripted = Scripted::start(vec![
        b"HTTP/1.1 200 OK\r\nConnection: X-Hop, Server, Set-Cookie\r\nX-Hop: 1\r\nServer: s\r\nSet-Cookie: c\r\nKeep-Alive: 5\r\nX-End: 2\r\nContent-Length: 0\r\n\r\n".to_vec(),
    ])
    .await;
    let endpoints = [scripted.address().to_string()];
    let proxy = Proxy::start(&config(&endpoints, "", "", "")).await;
    let answer = Client::h1(proxy.address()).await.get("/").await;
    assert!(
        ["x-hop", "keep-alive", "connection", "server", "set-cookie"]
            .iter()
            .all(|name| answer.header(name).is_none())
    );
    assert_eq!(answer.header("x-end"), Some("2"));
    assert!(answer.header("date").is_some(), "RFC 9110, 6.6.1");
}

#[tokio::test]
async fn forwarding_fields_are_rebuilt_for_strangers_and_extended_for_friends() {
    let backend = Backend::start("a");
    let asked = "GET /headers HTTP/1.1\r\nHost: a.example:80\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
                 X-Forwarded-Host: evil\r\nForwarded: for=192.0.2.1\r\nVia: 1.0 other\r\n\r\n";
    let endpoints = [backend.endpoint()];
    let proxy = Proxy::start(&config(&endpoints, "", "", "")).await;
    let told = Raw::connect(proxy.address()).await.ask(asked).await;
    assert_eq!(field(&told, "x-forwarded-for").unwrap(), "127.0.0.1");
    assert_eq!(field(&told, "x-forwarded-proto").unwrap(), "http");
    assert_eq!(field(&told, "x-forwarded-host").unwrap(), "a.example:80");
    assert_eq!(field(&told, "forwarded"), None);
    assert_eq!(fields(&told, "via"), ["1.0 other"]);

    let listener = "trusted_proxies: [127.0.0.0/8], forwarding: { forwarded: true, via: edge }";
    let proxy = Proxy::start(&config(&endpoints, listener, "", "")).await;
    let mut raw = Raw::connect(proxy.address()).await;
    let told = raw.ask(asked).await;
    assert_eq!(
        field(&told, "x-forwarded-for").unwrap(),
        "192.0.2.1, 127.0.0.1"
    );
    assert_eq!(field(&told, "x-forwarded-proto").unwrap(), "https");
    assert_eq!(field(&told, "x-forwarded-host").unwrap(), "evil");
    let forwarded = "for=192.0.2.1, for=127.0.0.1;host=\"a.example:80\";proto=http";
    assert_eq!(field(&told, "forwarded").unwrap(), forwarded);
    assert_eq!(fields(&told, "via"), ["1.0 other", "1.1 edge"]);
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.response().await.field("via"), Some("1.1 edge"));

    let proxy = Proxy::start(&config(
        &endpoints,
        "forwarding: { x_forwarded: false }",
        "",
        "",
    ))
    .await;
    let told = Raw::connect(proxy.address()).await.ask(asked).await;
    assert_eq!(
        field(&told, "x-forwarded-for"),
        None,
        "what a stranger says is dropped all the same"
    );
}

#[tokio::test]
async fn relatives_of_forwarding_fields_and_underscores_pass_from_friends_alone() {
    const FAMILY: [&str; 5] = [
        "x_forwarded_for",
        "X-Forwarded_Host",
        "x-forwarded-port",
        "X-Forwarded-Server",
        "X-Real-IP",
    ];
    let backend = Backend::start("a");
    let endpoints = [backend.endpoint()];
    for (listener, family, underscored) in [
        ("", 0, 0),
        ("underscores: pass", 0, 1),
        ("underscores: refuse, trusted_proxies: [127.0.0.1]", 1, 1),
    ] {
        let proxy = Proxy::start(&config(&endpoints, listener, "", "")).await;
        for mut client in [
            Client::h1(proxy.address()).await,
            Client::h2(proxy.address()).await,
        ] {
            let mut asked = request(Method::GET, "/headers", Outgoing::empty());
            for name in FAMILY.iter().chain(&["X_User", "Content_Length", "X-Kept"]) {
                let name = hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap();
                asked.headers_mut().insert(name, "6".parse().unwrap());
            }
            let told = client.send(asked).await.json();
            for name in FAMILY {
                assert_eq!(
                    fields(&told, name).len(),
                    family,
                    "{listener}, {name}: {told}"
                );
            }
            for name in ["x_user", "content_length"] {
                assert_eq!(fields(&told, name).len(), underscored, "{listener}: {told}");
            }
            assert_eq!(fields(&told, "x-kept"), ["6"]);
        }
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send(
            "POST /echo HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: X_Sum, X-Real-IP, X-Sum\r\n\
             Transfer-Encoding: chunked\r\n\r\n\
             0\r\nX_Sum: 1\r\nX-Real-IP: 6.6.6.6\r\nX-Sum: 2\r\n\r\n",
        )
        .await;
        let trailers = raw.response().await.trailers;
        let count = |name: &str| {
            let named = trailers
                .iter()
                .filter(|(spelt, _)| spelt.eq_ignore_ascii_case(name));
            named.count()
        };
        assert_eq!(
            (count("x_sum"), count("x-sum"), count("x-real-ip")),
            (underscored, 1, 0),
            "{listener}: {trailers:?}"
        );
    }
}

#[tokio::test]
async fn an_ipv6_client_is_told_in_quotes_and_brackets() {
    let backend = Backend::start("a");
    let yaml = format!(
        "workers: 1\n\
         listeners: {{ six: {{ address: \"[::1]:0\", forwarding: {{ forwarded: true, via: edge }} }} }}\n\
         routes: [ {{ match: {{ path: / }}, upstream: pool }} ]\n\
         upstreams: {{ pool: {{ endpoints: [{:?}] }} }}\n",
        backend.endpoint()
    );
    let proxy = Proxy::start(&yaml).await;
    let address = proxy.address();
    for (mut client, via) in [
        (Client::h1(address).await, "1.1 edge"),
        (Client::h2(address).await, "2 edge"),
    ] {
        let told = client.get("/headers").await.json();
        let expected = format!("for=\"[::1]\";host=\"{address}\";proto=http");
        assert_eq!(field(&told, "forwarded"), Some(&expected[..]));
        assert_eq!(field(&told, "x-forwarded-for"), Some("::1"));
        assert_eq!(field(&told, "x-forwarded-proto"), Some("http"));
        assert_eq!(field(&told, "via"), Some(via));
    }
}
