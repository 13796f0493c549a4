//! TLS on both sides of the proxy.

use plimsoll::clock::Instant;
use plimsoll::observe::{Metric, Window};

use crate::forwarding::config;
use crate::harness::{
    Authority, Backend, Client, DEADLINE, Directory, Identity, Proxy, Scripted, Step, eventually,
};

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
