//! TLS on both sides of the proxy.

use plimsoll::clock::Instant;
use plimsoll::observe::{Metric, Window};

use crate::forwarding::config;
use crate::harness::{
    Authority, Backend, Client, DEADLINE, Directory, Identity, Proxy, Raw, Scripted, Step,
    eventually,
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

/// Attempts that ended with this error.
fn attempt_errors(proxy: &Proxy, error: &str) -> u64 {
    let report = proxy.live().metrics.read(Window::Lifetime, Instant(0));
    let endpoints = report.endpoints.iter();
    endpoints
        .map(|one| one.count(Metric::AttemptErrors, error))
        .sum()
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
        let told = answer.header("proxy-status").unwrap();
        assert_eq!(answer.status.as_u16(), 502);
        assert_eq!(told, format!("plimsoll; error={kind}; details=\"{label}\""));
        assert_eq!(attempt_errors(&proxy, label), 1);
        let report = || proxy.live().metrics.read(Window::Lifetime, Instant(0));
        assert_eq!(report().endpoints[0].sum(Metric::EndpointHandshakes), 0);
        // A request is counted when its exchange has ended, which is after the client has its answer.
        let requests = || report().routes[0].count(Metric::RequestErrors, label);
        eventually(DEADLINE, || requests() == 1).await;
    }
}

#[tokio::test]
async fn failed_handshakes_of_clients_are_counted() {
    let (authority, stranger, directory) = (Authority::new(), Authority::new(), Directory::new());
    let listener = certificates(&directory, &[&authority.identity(&["localhost"])]);
    let yaml = config(&["127.0.0.1:1".to_owned()], &listener, "", "");
    let proxy = Proxy::start(&yaml).await;
    let count = |metric| {
        let report = proxy.live().metrics.read(Window::Lifetime, Instant(0));
        report.listeners[0].sum(metric)
    };
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
