//! TLS towards endpoints: who is trusted, under which name, with which certificate, and what is then spoken.

use hyper::StatusCode;

use crate::harness::{Answer, Authority, Backend, Client, Directory, Proxy, config};

/// The protocol asked for, what the endpoint offers by ALPN, and what is then spoken.
const PROTOCOLS: [(&str, &[&str], &str); 4] = [
    ("h1", &["http/1.1"], "1.1"),
    ("h2", &["h2", "http/1.1"], "2"),
    ("auto", &["h2", "http/1.1"], "2"),
    ("auto", &["http/1.1"], "1.1"),
];

async fn before(backend: &Backend, protocol: &str, tls: &str) -> Proxy {
    let upstream = format!("protocol: {protocol}, tls: {{ {tls} }}, breaker: off");
    Proxy::start(&config(&[backend.endpoint()], "", "", &upstream)).await
}

/// The answers to a client of either version.
async fn ask(proxy: &Proxy) -> Vec<Answer> {
    let mut answers = Vec::new();
    for mut client in [
        Client::h1(proxy.address()).await,
        Client::h2(proxy.address()).await,
    ] {
        answers.push(client.get("/headers").await);
        answers.push(client.post("/checksum", vec![7; 100_000]).await);
    }
    answers
}

fn assert_refused(answers: &[Answer], what: &str) {
    for answer in answers {
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{what}: {answer:?}");
        let told = answer.header("proxy-status").unwrap();
        assert!(told.contains("error=tls_"), "{what}: {told}");
    }
}

#[tokio::test]
async fn an_endpoint_is_trusted_by_its_authority_and_its_name() {
    let directory = Directory::new();
    let (authority, other) = (Authority::new(), Authority::new());
    let ca = authority.write(&directory, "ca.pem");
    let foreign = other.write(&directory, "other.pem");
    for (protocol, alpn, spoken) in PROTOCOLS {
        let identity = authority.identity(&["127.0.0.1", "app.internal"]);
        let tls = authority.server(&identity, alpn);
        let backend = Backend::labelled("a").tls(tls).start();
        for trusted in [
            // By the address, and by a name that is asked for instead.
            format!("ca: {ca:?}"),
            format!("ca: {ca:?}, name: app.internal"),
            "verify: false".to_owned(),
        ] {
            let what = format!("{protocol} {alpn:?} {trusted}");
            let accepted = backend.counters().accepted();
            let proxy = before(&backend, protocol, &trusted).await;
            let answers = ask(&proxy).await;
            for answer in &answers {
                assert_eq!(answer.status, StatusCode::OK, "{what}: {answer:?}");
            }
            assert_eq!(answers[0].json()["version"], spoken, "{what}");
            assert_eq!(answers[1].json()["length"], 100_000, "{what}");
            assert_eq!(backend.counters().accepted(), accepted + 1, "{what}");
        }
        let requests = backend.counters().requests();
        for refused in [
            format!("ca: {foreign:?}"),
            format!("ca: {ca:?}, name: other.internal"),
        ] {
            let proxy = before(&backend, protocol, &refused).await;
            assert_refused(&ask(&proxy).await, &format!("{protocol} {refused}"));
        }
        assert_eq!(backend.counters().requests(), requests);
    }
}

#[tokio::test]
async fn a_certificate_is_shown_to_an_endpoint_that_asks_for_one() {
    let directory = Directory::new();
    let authority = Authority::new();
    let ca = authority.write(&directory, "ca.pem");
    let (cert, key) = authority
        .identity(&["proxy.internal"])
        .write(&directory, "client");
    let foreign = Authority::new().identity(&["proxy.internal"]);
    let (foreign_cert, foreign_key) = foreign.write(&directory, "foreign");
    for (protocol, alpn, _) in PROTOCOLS {
        let identity = authority.identity(&["127.0.0.1"]);
        let tls = authority.mutual_server(&identity, alpn);
        let backend = Backend::labelled("a").tls(tls).start();
        let shown = format!("ca: {ca:?}, certificate: {{ cert: {cert:?}, key: {key:?} }}");
        let proxy = before(&backend, protocol, &shown).await;
        for answer in ask(&proxy).await {
            assert_eq!(answer.status, StatusCode::OK, "{protocol}: {answer:?}");
        }
        let requests = backend.counters().requests();
        for refused in [
            format!("ca: {ca:?}"),
            format!("ca: {ca:?}, certificate: {{ cert: {foreign_cert:?}, key: {foreign_key:?} }}"),
        ] {
            let proxy = before(&backend, protocol, &refused).await;
            for answer in ask(&proxy).await {
                // With TLS 1.3 the endpoint judges after its own part is done: it shows as a connection that ends.
                assert_eq!(
                    answer.status,
                    StatusCode::BAD_GATEWAY,
                    "{protocol} {refused}"
                );
            }
        }
        assert_eq!(backend.counters().requests(), requests);
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_agree_to_the_protocol_or_to_tls_is_a_bad_gateway() {
    let authority = Authority::new();
    let identity = authority.identity(&["127.0.0.1"]);
    let tls = authority.server(&identity, &["http/1.1"]);
    let backend = Backend::labelled("a").tls(tls).start();
    let proxy = before(&backend, "h2", "verify: false").await;
    assert_refused(&ask(&proxy).await, "HTTP/1.1 where HTTP/2 is asked for");
    let clear = Backend::start("a");
    let proxy = before(&clear, "h1", "verify: false").await;
    assert_refused(&ask(&proxy).await, "clear text");
}
