//! Certificates of clients: who gets in, and what endpoints are told of them.

use hyper::{HeaderMap, Request};
use plimsoll::observe::Metric;

use crate::harness::{
    Authority, Backend, Client, DEADLINE, Directory, Outgoing, Proxy, Raw, config, eventually,
    field, fields, showing,
};

struct Stage {
    /// Of the proxy's own certificate.
    authority: Authority,
    /// Of its clients.
    clients: Authority,
    _directory: Directory,
    _backend: Backend,
    proxy: Proxy,
}

impl Stage {
    async fn new(mode: &str) -> Self {
        let (authority, clients, directory) =
            (Authority::new(), Authority::new(), Directory::new());
        let (cert, key) = authority.identity(&["localhost"]).write(&directory, "web");
        let ca = clients.write(&directory, "clients.pem");
        let backend = Backend::start("a");
        let header =
            "{ X-Subject: subject, X-Names: names, X-Sha256: sha256, Client-Cert: certificate }";
        let tls = format!(
            "tls: {{ certificates: [ {{ cert: {cert:?}, key: {key:?} }} ], \
             client: {{ ca: {ca:?}, mode: {mode}, header: {header} }} }}"
        );
        let web = format!("web: {{ address: \"127.0.0.1:0\", {tls} }}");
        let plain = "plain: { address: \"127.0.0.1:0\", underscores: pass }";
        let yaml = config(&[backend.endpoint()], "", "", "").replace(
            "web: { address: \"127.0.0.1:0\",  }",
            &format!("{web}, {plain}"),
        );
        let proxy = Proxy::start(&yaml).await;
        Self {
            authority,
            clients,
            _directory: directory,
            _backend: backend,
            proxy,
        }
    }

    fn refused(&self, label: &str) -> u64 {
        self.proxy.listeners(Metric::ListenerRefused, label)
    }
}

/// A request that pretends to be somebody.
fn pretending() -> Request<Outgoing> {
    let request = Request::get("/headers")
        .header("x-subject", "CN=admin")
        .header("X-NAMES", "DNS:admin")
        .header("client-cert", ":AAAA:")
        .header("x_subject", "CN=admin");
    request.body(Outgoing::empty()).unwrap()
}

#[tokio::test]
async fn endpoints_are_told_who_the_client_is_and_by_nobody_else() {
    let stage = Stage::new("require").await;
    let ada = stage.clients.of_client("Ada, of a\r\nX-Admin: 1");
    for alpn in [&["h2"][..], &["http/1.1"]] {
        let showing = showing(&stage.authority, &ada, alpn);
        let web = stage.proxy.listener("web");
        let mut client = Client::tls(web, &showing).await;
        let told = client.send(pretending()).await.json();
        let one = |name: &str| {
            let all = fields(&told, name);
            assert_eq!(all.len(), 1, "{name}: {told}");
            all[0].to_owned()
        };
        assert_eq!(one("x-subject"), "CN=Ada\\, of a\\0D\\0AX-Admin: 1");
        assert_eq!(one("x-names"), "DNS:client.example");
        assert_eq!(one("x-sha256").len(), 64);
        let certificate = one("client-cert");
        assert!(certificate.starts_with(":MII") && certificate.ends_with(':'));
        assert_eq!(field(&told, "x_subject"), None);
        assert_eq!(field(&told, "x-admin"), None);
    }
    // Another listener asks nobody, and lets nobody pretend either.
    let plain = stage.proxy.listener("plain");
    let told = Client::h1(plain).await.send(pretending()).await.json();
    for name in ["x-subject", "x-names", "client-cert", "x_subject"] {
        assert_eq!(field(&told, name), None, "{name}: {told}");
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_gets_in_where_that_is_optional() {
    for (mode, gets_in) in [("require", false), ("optional", true)] {
        let stage = Stage::new(mode).await;
        let nobody = stage.authority.client(&["http/1.1"]);
        let web = stage.proxy.listener("web");
        // With TLS 1.3 the client learns of the refusal at its first read.
        let answered = async |config| -> Option<serde_json::Value> {
            let mut raw = Raw::try_tls(web, config, "localhost").await.ok()?;
            let request = "GET /headers HTTP/1.1\r\nHost: localhost\r\nX-Subject: CN=admin\r\n\r\n";
            raw.try_send(request).await.ok()?;
            Some(raw.try_response_to("GET").await.ok()?.json())
        };
        let told = answered(&nobody).await;
        assert_eq!(told.is_some(), gets_in, "{mode}");
        if let Some(told) = told {
            assert_eq!(field(&told, "x-subject"), None);
        } else {
            eventually(DEADLINE, || stage.refused("tls_no_certificate") == 1).await;
        }
        // One that is not believed is none that is optional.
        let stranger = Authority::new().of_client("Eve");
        let eve = showing(&stage.authority, &stranger, &["http/1.1"]);
        assert!(answered(&eve).await.is_none(), "{mode}");
        eventually(DEADLINE, || stage.refused("tls_bad_certificate") == 1).await;
    }
}

/// What an endpoint is told behind a body whose trailers pretend to be somebody.
async fn told_behind(client: &mut Client) -> String {
    const NAMES: [&str; 4] = ["x-subject", "x_names", "client-cert", "x-sum"];
    let (upload, body) = Outgoing::pieces();
    let request = Request::post("/checksum").header("trailer", NAMES.join(", "));
    let request = request.body(body).unwrap();
    let mut trailers = HeaderMap::new();
    for name in NAMES {
        trailers.insert(name, "CN=admin".parse().unwrap());
    }
    let feeding = tokio::spawn(upload.finish_with(trailers));
    let told = client.send(request).await.json();
    feeding.await.unwrap();
    told["trailers"].to_string()
}

#[tokio::test]
async fn trailers_tell_no_more_of_who_a_client_is_than_a_head() {
    let stage = Stage::new("require").await;
    let ada = stage.clients.of_client("Ada");
    for alpn in [&["h2"][..], &["http/1.1"]] {
        let showing = showing(&stage.authority, &ada, alpn);
        let mut client = Client::tls(stage.proxy.listener("web"), &showing).await;
        let told = told_behind(&mut client).await;
        assert_eq!(told.matches("admin").count(), 1, "{told}");
        assert!(told.contains("x-sum"), "{told}");
    }
    let plain = stage.proxy.listener("plain");
    for mut client in [Client::h1(plain).await, Client::h2(plain).await] {
        let told = told_behind(&mut client).await;
        assert_eq!(told.matches("admin").count(), 1, "{told}");
        assert!(told.contains("x-sum"), "{told}");
    }
}
