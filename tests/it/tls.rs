//! TLS on both sides of the proxy: which protocol is spoken and which certificate shown, what endpoints are told of it,
//! and what becomes of an endpoint that cannot be trusted or breaks off.

use std::net::SocketAddr;
use std::sync::Arc;

use plimsoll::observe::Metric;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::harness::{
    Authority, Backend, Client, DEADLINE, Directory, Identity, Proxy, Raw, Scripted, Step, config,
    eventually, field,
};

/// A listener's `tls` with these certificates.
fn certificates(directory: &Directory, identities: &[&Identity]) -> String {
    let pairs = identities.iter().enumerate().map(|(number, identity)| {
        let (cert, key) = identity.write(directory, &number.to_string());
        format!("{{ cert: {cert:?}, key: {key:?} }}")
    });
    let pairs: Vec<String> = pairs.collect();
    format!("tls: {{ certificates: [ {} ] }}", pairs.join(", "))
}

#[tokio::test]
async fn alpn_decides_what_is_spoken_with_clients_and_endpoints() {
    let (authority, directory) = (Authority::new(), Directory::new());
    let identity = authority.identity(&["localhost", "127.0.0.1"]);
    let ca = authority.write(&directory, "ca.pem");
    let listener =
        certificates(&directory, &[&identity]) + ", forwarding: { via: edge, forwarded: true }";
    for (protocol, offered, version) in [
        ("h1", &["http/1.1"][..], "1.1"),
        ("h2", &["h2"], "2"),
        ("auto", &["h2", "http/1.1"], "2"),
        ("auto", &["http/1.1"], "1.1"),
    ] {
        let server = authority.server(&identity, offered);
        let backend = Backend::labelled("a").tls(server).start();
        let upstream = format!("protocol: {protocol}, tls: {{ ca: {ca:?} }}");
        let yaml = config(&[backend.endpoint()], &listener, "", &upstream);
        let proxy = Proxy::start(&yaml).await;
        for (alpn, h2, via) in [
            (&["h2", "http/1.1"][..], true, "2 edge"),
            (&["http/1.1"], false, "1.1 edge"),
            (&[], false, "1.1 edge"),
        ] {
            let what = format!("{protocol} of {offered:?}, {alpn:?}");
            let mut client = Client::tls(proxy.address(), &authority.client(alpn)).await;
            assert_eq!(client.is_h2(), h2, "{what}");
            let told = client.get("/headers").await.json();
            assert_eq!(told["version"], version, "{what}: {told}");
            assert_eq!(field(&told, "via"), Some(via), "{what}");
            assert_eq!(field(&told, "x-forwarded-proto"), Some("https"), "{what}");
            let forwarded = field(&told, "forwarded").unwrap();
            assert!(
                forwarded.starts_with("for=127.0.0.1;") && forwarded.ends_with(";proto=https"),
                "{what}: {forwarded}"
            );
            let sent = vec![7; 300_000];
            let answer = client.post("/echo", sent.clone()).await;
            assert!(answer.body == sent, "{what}");
        }
        assert_eq!(
            backend.counters().accepted(),
            1,
            "{protocol} of {offered:?}"
        );
    }
}

#[tokio::test]
async fn the_name_asked_for_decides_which_certificate_is_shown() {
    let (authority, directory) = (Authority::new(), Directory::new());
    let first = authority.identity(&["a.example"]);
    let second = authority.identity(&["b.example"]);
    let wild = authority.identity(&["*.c.example"]);
    let backend = Backend::start("a");
    let listener = certificates(&directory, &[&first, &second, &wild]);
    let yaml = config(&[backend.endpoint()], &listener, "", "");
    let proxy = Proxy::start(&yaml).await;
    for alpn in [&["h2"][..], &["http/1.1"]] {
        let trusting = authority.client(alpn);
        for name in ["a.example", "b.example", "x.c.example"] {
            // The client checks that the certificate is for this name.
            let client = Client::tls_named(proxy.address(), &trusting, name).await;
            assert_eq!(
                client.unwrap().get("/").await.backend(),
                Some("a"),
                "{name}"
            );
        }
        for name in ["d.example", "c.example", "x.y.c.example"] {
            let client = Client::tls_named(proxy.address(), &trusting, name).await;
            assert!(client.is_err(), "{name}");
        }
    }
}

#[tokio::test]
async fn why_tls_with_an_endpoint_failed_is_told_and_counted() {
    let (authority, stranger, directory) = (Authority::new(), Authority::new(), Directory::new());
    let ca = authority.write(&directory, "ca.pem");
    let both = ["h2", "http/1.1"];
    let serving = |identity: &Identity, alpn: &[&str]| {
        let server = authority.server(identity, alpn);
        Backend::labelled("a").tls(server).start()
    };
    let wrong_name = serving(&authority.identity(&["b.example"]), &both);
    let unknown = serving(&stranger.identity(&["127.0.0.1"]), &both);
    let expired = serving(&authority.expired(&["127.0.0.1"]), &both);
    let only_h1 = serving(&authority.identity(&["127.0.0.1"]), &["http/1.1"]);
    let in_clear_text = Step::Write(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    let plain = Scripted::play(vec![vec![Step::ReadBytes(1), in_clear_text, Step::Stall]]).await;
    for (endpoint, protocol, kind, label) in [
        (
            wrong_name.endpoint(),
            "h1",
            "tls_certificate_error",
            "tls_wrong_name",
        ),
        (
            unknown.endpoint(),
            "h1",
            "tls_certificate_error",
            "tls_unknown_issuer",
        ),
        (
            expired.endpoint(),
            "h1",
            "tls_certificate_error",
            "tls_expired",
        ),
        (
            only_h1.endpoint(),
            "h2",
            "tls_protocol_error",
            "tls_no_protocol",
        ),
        (
            plain.address().to_string(),
            "h1",
            "tls_protocol_error",
            "tls_not_tls",
        ),
    ] {
        let upstream = format!("protocol: {protocol}, tls: {{ ca: {ca:?} }}");
        let proxy = Proxy::start(&config(&[endpoint], "", "", &upstream)).await;
        let answer = Client::h1(proxy.address()).await.get("/").await;
        answer.assert_told(502, kind, label);
        assert_eq!(proxy.endpoints(Metric::AttemptErrors, label), 1);
        assert_eq!(proxy.endpoints(Metric::EndpointHandshakes, ""), 0);
        let requests = || proxy.routes(Metric::RequestErrors, label);
        eventually(DEADLINE, || requests() == 1).await;
    }
}

/// An endpoint whose answer ends with its connection. `farewell`: TLS says that it was meant.
async fn closing(config: Arc<ServerConfig>, farewell: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = TlsAcceptor::from(Arc::clone(&config))
                .accept(stream)
                .await
                .unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut head).await.unwrap();
            }
            let answer = b"HTTP/1.1 200 OK\r\n\r\nto the end";
            stream.write_all(answer).await.unwrap();
            stream.flush().await.unwrap();
            if farewell {
                stream.shutdown().await.unwrap();
            }
        }
    });
    address
}

/// Truncation: whoever sits between could end such an answer anywhere by a FIN of his own (RFC 8446, 6.1).
#[tokio::test]
async fn an_answer_up_to_the_end_of_the_connection_is_whole_only_if_tls_says_so() {
    let (authority, directory) = (Authority::new(), Directory::new());
    let ca = authority.write(&directory, "ca.pem");
    let server = authority.server(&authority.identity(&["127.0.0.1"]), &["http/1.1"]);
    for farewell in [true, false] {
        let endpoint = closing(Arc::clone(&server), farewell).await;
        let upstream = format!("tls: {{ ca: {ca:?} }}");
        let yaml = config(&[endpoint.to_string()], "", "", &upstream);
        let proxy = Proxy::start(&yaml).await;
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        // Strict about the last chunk.
        let answer = raw.try_response_to("GET").await;
        assert_eq!(answer.is_ok(), farewell, "{answer:?}");
        let answer = Client::h2(proxy.address()).await.try_get("/").await;
        assert_eq!(answer.is_ok(), farewell, "{answer:?}");
        if farewell {
            assert_eq!(answer.unwrap().text(), "to the end");
        } else {
            let closed = || proxy.endpoints(Metric::AttemptErrors, "connection_closed");
            eventually(DEADLINE, || closed() == 2).await;
        }
        assert_eq!(proxy.endpoints(Metric::EndpointHandshakes, ""), 2);
    }
}

#[tokio::test]
async fn failed_handshakes_of_clients_are_counted() {
    let (authority, stranger, directory) = (Authority::new(), Authority::new(), Directory::new());
    let listener = certificates(&directory, &[&authority.identity(&["localhost"])]);
    let yaml = config(&["127.0.0.1:1".to_owned()], &listener, "", "");
    let proxy = Proxy::start(&yaml).await;
    let count = |metric| proxy.listeners(metric, "");
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.response().await.status(), 400);
    let distrusting = stranger.client(&["h2"]);
    let refused = Client::tls_named(proxy.address(), &distrusting, "localhost").await;
    assert!(refused.is_err());
    eventually(DEADLINE, || count(Metric::ListenerHandshakeFailures) == 2).await;
    let _client = Client::tls(proxy.address(), &authority.client(&["h2"])).await;
    eventually(DEADLINE, || count(Metric::ListenerHandshakes) == 1).await;
    assert_eq!(count(Metric::ListenerHandshakeFailures), 2);
}
