//! Certificates that look after themselves: their files change, and what clients are shown changes with them.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use plimsoll::clock::Clock;
use plimsoll::observe::Metric;

use crate::harness::{
    Authority, Backend, Client, DEADLINE, Directory, FAST, Identity, Outgoing, Process, Program,
    Proxy, config, eventually,
};

struct Stage {
    authority: Authority,
    directory: Directory,
    backend: Backend,
}

impl Stage {
    fn new() -> Self {
        Self {
            authority: Authority::new(),
            directory: Directory::new(),
            backend: Backend::start("a"),
        }
    }

    fn yaml(&self, more: &str) -> String {
        let path = |name: &str| self.directory.path().join(name);
        let (cert, key) = (path("live.pem"), path("live.key"));
        let tls =
            format!("tls: {{ certificates: [ {{ cert: {cert:?}, key: {key:?} }} ], {more} }}");
        config(&[self.backend.endpoint()], &tls, "", "") + "admin: { address: \"127.0.0.1:0\" }\n"
    }

    /// Puts a certificate for this name where it is served from.
    fn write(&self, name: &str) -> Identity {
        let identity = self.authority.identity(&[name]);
        identity.write(&self.directory, "live");
        identity
    }

    /// Whether a client that wants this name is content.
    async fn serves(&self, proxy: &Proxy, name: &str) -> bool {
        let trusting = self.authority.client(&["http/1.1"]);
        let client = Client::tls_named(proxy.address(), &trusting, name).await;
        client.is_ok()
    }

    async fn serves_soon(&self, proxy: &Proxy, name: &str) {
        let polling = async {
            while !self.serves(proxy, name).await {
                tokio::task::yield_now().await;
            }
        };
        let served = tokio::time::timeout(DEADLINE, polling).await;
        assert!(served.is_ok(), "{name} is not served:\n{}", told(proxy));
    }
}

/// What was told of certificates.
fn told(proxy: &Proxy) -> String {
    let (events, _) = proxy.live().events.after(0);
    let lines = events.iter().map(|event| format!("{event}\n"));
    lines.collect()
}

fn swaps(proxy: &Proxy) -> (u64, u64) {
    let [(_, applied), (_, refused)] = proxy.live().certificates.read();
    (applied, refused)
}

#[tokio::test]
async fn a_pair_is_exchanged_however_its_files_are_written() {
    let stage = Stage::new();
    stage.write("a.example");
    let proxy = Proxy::start(&stage.yaml("")).await;
    let trusting = stage.authority.client(&["http/1.1"]);
    let open = Client::tls_named(proxy.address(), &trusting, "a.example").await;
    let mut open = open.unwrap();
    assert_eq!(open.get("/").await.backend(), Some("a"));

    // In place.
    stage.write("b.example");
    stage.serves_soon(&proxy, "b.example").await;
    // Renamed over the old ones, one after the other.
    let next = stage.authority.identity(&["c.example"]);
    next.write(&stage.directory, "new");
    for file in ["key", "pem"] {
        let new = stage.directory.path().join(format!("new.{file}"));
        fs::rename(new, stage.directory.path().join(format!("live.{file}"))).unwrap();
    }
    stage.serves_soon(&proxy, "c.example").await;
    // By a link to a folder, as Kubernetes mounts secrets.
    for (folder, name) in [("one", "d.example"), ("two", "e.example")] {
        let path = stage.directory.path().join(folder);
        fs::create_dir(&path).unwrap();
        let (cert, key) = stage
            .authority
            .identity(&[name])
            .write(&stage.directory, folder);
        fs::rename(cert, path.join("live.pem")).unwrap();
        fs::rename(key, path.join("live.key")).unwrap();
        let data = stage.directory.path().join("data.new");
        symlink(&path, &data).unwrap();
        fs::rename(data, stage.directory.path().join("data")).unwrap();
        if folder == "one" {
            for file in ["live.pem", "live.key"] {
                let link = stage.directory.path().join("link");
                symlink(format!("data/{file}"), &link).unwrap();
                fs::rename(link, stage.directory.path().join(file)).unwrap();
            }
        }
        stage.serves_soon(&proxy, name).await;
    }
    // What was open before goes on, and so does the configuration.
    assert_eq!(open.get("/").await.backend(), Some("a"));
    assert_eq!(proxy.live().snapshot.load().generation, 1);
    let (applied, refused) = swaps(&proxy);
    assert!(applied >= 4 && refused == 0, "{applied} {refused}");
    assert!(told(&proxy).contains("certificate: listeners.web.tls serves what its files hold now"));
}

#[tokio::test]
async fn a_pair_of_no_use_keeps_the_old_one_and_says_so_once() {
    let stage = Stage::new();
    stage.write("a.example");
    // Half a pair is given five seconds to become a whole one.
    let proxy = Proxy::start_on(Clock::scaled(FAST), &stage.yaml("")).await;
    let stranger = stage.authority.identity(&["b.example"]);
    let (cert, _) = stranger.write(&stage.directory, "stranger");
    fs::copy(cert, stage.directory.path().join("live.pem")).unwrap();
    eventually(DEADLINE, || swaps(&proxy) == (0, 1)).await;
    assert!(stage.serves(&proxy, "a.example").await);
    let told_of = told(&proxy);
    assert!(
        told_of.contains("listeners.web.tls keeps what it has: the key in")
            && told_of.contains("does not belong to the certificate"),
        "{told_of}"
    );
    let status = status(&proxy).await;
    let certificates = &status["listeners"][0]["certificates"];
    assert!(
        certificates["trouble"]
            .as_str()
            .unwrap()
            .contains("does not belong")
    );
    assert_eq!(certificates["shown"][0]["names"][0], "a.example");
    // It is put right, and that counts.
    stage.write("c.example");
    stage.serves_soon(&proxy, "c.example").await;
    eventually(DEADLINE, || swaps(&proxy) == (1, 1)).await;
}

#[tokio::test]
async fn a_reload_names_the_certificates_of_listeners_that_it_changed() {
    let stage = Stage::new();
    stage.write("a.example");
    let other = stage.authority.identity(&["b.example"]);
    let (cert, key) = other.write(&stage.directory, "other");
    let one = stage.yaml("");
    let more = format!(" }}, {{ cert: {cert:?}, key: {key:?} }} ]");
    let two = one.replacen(" } ]", &more, 1);
    let proxy = Proxy::start(&one).await;
    let name = |file: &str| format!("web/{}", stage.directory.path().join(file).display());
    let (live, other) = (name("live.pem"), name("other.pem"));

    let changes = proxy.reload(&one).await.unwrap();
    assert!(changes.is_nothing(), "{changes}");
    assert_eq!(changes.certificates.kept, [live.as_str()]);
    let changes = proxy.reload(&two).await.unwrap();
    assert_eq!(changes.certificates.added, [other.as_str()]);
    assert_eq!(changes.listeners.changed, ["web"]);
    // Whether the watch or the reload is first to read it makes no difference to what is told.
    stage.write("c.example");
    stage.serves_soon(&proxy, "c.example").await;
    let changes = proxy.reload(&two).await.unwrap();
    let text = format!("certificates: changed {live}; 1 kept");
    assert!(changes.to_string().contains(&text), "{changes}");
    assert!(changes.listeners.changed.is_empty(), "{changes}");
    let changes = proxy.reload(&one).await.unwrap();
    assert_eq!(changes.certificates.removed, [other]);
    let json = serde_json::to_value(&changes).unwrap();
    assert_eq!(json["certificates"]["kept"][0], live.as_str(), "{json}");
}

#[test]
fn diff_names_the_certificates_that_are_not_those_that_are_served() {
    let stage = Stage::new();
    stage.write("a.example");
    let other = stage.authority.identity(&["b.example"]);
    other.write(&stage.directory, "other");
    let path = |name: &str| stage.directory.path().join(name);
    let yaml = |names: &[&str]| {
        let pairs = names.iter().map(|name| {
            let (cert, key) = (path(&format!("{name}.pem")), path(&format!("{name}.key")));
            format!("{{ cert: {cert:?}, key: {key:?} }}")
        });
        let pairs: Vec<String> = pairs.collect();
        format!(
            "watch: off\nlisteners:\n  plain: {{ address: \"127.0.0.1:0\" }}\n  \
             web: {{ address: \"127.0.0.1:0\", tls: {{ certificates: [ {} ] }} }}\n\
             routes: [ {{ respond: {{}} }} ]\nadmin: {{ address: \"127.0.0.1:0\" }}\n",
            pairs.join(", ")
        )
    };
    let program = Program::start(&yaml(&["live"]));
    let differs = || {
        let (code, told, error) = program.ask(&["diff"]);
        assert_eq!(code, Some(0), "{error}");
        told
    };
    assert!(differs().contains("as it is in force"), "{}", differs());
    program
        .directory
        .write("plimsoll.yaml", yaml(&["live", "other"]));
    let added = format!(
        "certificates: added web/{}; 1 kept",
        path("other.pem").display()
    );
    assert!(differs().contains(&added), "{}", differs());
    // Without its key it is of no use, so that the old one is served on.
    program.directory.write("plimsoll.yaml", yaml(&["live"]));
    fs::copy(path("other.pem"), path("live.pem")).unwrap();
    let changed = format!(
        "certificates: changed web/{}; 0 kept",
        path("live.pem").display()
    );
    assert!(differs().contains(&changed), "{}", differs());
}

async fn status(proxy: &Proxy) -> serde_json::Value {
    let answer = Client::h1(proxy.admin()).await.get("/api/v1/status").await;
    answer.json()
}

#[tokio::test]
async fn when_certificates_run_out_is_measured_and_told() {
    let stage = Stage::new();
    let expired = stage.authority.expired(&["a.example"]);
    expired.write(&stage.directory, "live");
    let proxy = Proxy::start(&stage.yaml("")).await;
    let has_told = || told(&proxy).contains("has run out on Sun, 31 Dec 2000");
    eventually(DEADLINE, has_told).await;
    let metrics = Client::h1(proxy.admin()).await.get("/metrics").await;
    let text = metrics.text();
    let series = format!(
        "plimsoll_certificate_expires_seconds{{listener=\"web\",certificate={:?}}} 978220800",
        stage.directory.path().join("live.pem")
    );
    assert!(text.contains(&series), "no {series} in\n{text}");
    // It is served all the same: clients say what they think of it.
    assert!(!stage.serves(&proxy, "a.example").await);
    let failures = || proxy.listeners(Metric::ListenerRefused, "tls_refused");
    eventually(DEADLINE, || failures() == 1).await;
}

#[test]
fn check_tells_what_is_wrong_with_the_files_of_certificates() {
    let stage = Stage::new();
    let check = |yaml: &str| {
        let file = stage.directory.write("plimsoll.yaml", yaml);
        let mut process = Process::start(&["check", file.to_str().unwrap()]);
        let code = process.wait();
        (code, process.stdout() + &process.stderr())
    };
    let yaml = stage.yaml("");
    let (code, text) = check(&yaml);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("warning: listeners.web.tls.certificates[0]: cannot read"),
        "{text}"
    );
    stage.write("a.example");
    let (code, text) = check(&yaml);
    assert!(code == Some(0) && !text.contains("certificates"), "{text}");
    let soon = stage.yaml("expiry_warning: 3650d");
    let expired = stage.authority.expired(&["a.example"]);
    expired.write(&stage.directory, "live");
    let (code, text) = check(&soon);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("has run out on Sun, 31 Dec 2000"), "{text}");
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (file, contents, part) in [
        (
            "live.key",
            encrypted,
            "is encrypted, and nobody could type its passphrase",
        ),
        ("live.key", "", "holds no private key"),
        ("live.pem", "nothing", "holds no certificate"),
    ] {
        stage.write("a.example");
        stage.directory.write(file, contents);
        let (code, text) = check(&yaml);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(part), "no {part:?} in\n{text}");
        let config = stage.directory.path().join("plimsoll.yaml");
        let mut process = Process::start(&["run", "-c", config.to_str().unwrap()]);
        assert_eq!(process.wait(), Some(3));
        assert!(process.stderr().contains(part), "{}", process.stderr());
    }
}

#[tokio::test]
async fn a_name_that_was_not_asked_for_is_sent_elsewhere() {
    let stage = Stage::new();
    let identity = stage.authority.identity(&["a.example", "b.example"]);
    identity.write(&stage.directory, "live");
    let proxy = Proxy::start(&stage.yaml("sni_matches_host: true")).await;
    for alpn in [&["h2"][..], &["http/1.1"]] {
        let trusting = stage.authority.client(alpn);
        let client = Client::tls_named(proxy.address(), &trusting, "a.example").await;
        let mut client = client.unwrap();
        assert_eq!(client.get("/").await.backend(), Some("a"));
        // As a browser does that knows the certificate to be for both (RFC 9113, 9.1.1).
        let mut other = hyper::Request::get("/");
        if client.is_h2() {
            other = hyper::Request::get(format!("https://b.example:{}/", proxy.address().port()));
        } else {
            other = other.header("host", "b.example");
        }
        let request = other.body(Outgoing::empty()).unwrap();
        let answer = client.send(request).await;
        answer.assert_told(421, "http_request_error", "misdirected");
        // The connection is as good as before.
        assert_eq!(client.get("/").await.backend(), Some("a"));
    }
}

#[tokio::test]
async fn sessions_that_resume_are_counted_on_both_sides() {
    let (authority, directory) = (Authority::new(), Directory::new());
    let identity = authority.identity(&["localhost", "127.0.0.1"]);
    let server = authority.server(&identity, &["http/1.1"]);
    let backend = Backend::labelled("a").tls(server).start();
    let ca = authority.write(&directory, "ca.pem");
    let (cert, key) = identity.write(&directory, "live");
    let listener = format!("tls: {{ certificates: [ {{ cert: {cert:?}, key: {key:?} }} ] }}");
    let upstream = format!("tls: {{ ca: {ca:?} }}, connections: {{ idle: 0 }}");
    let proxy = Proxy::start(&config(&[backend.endpoint()], &listener, "", &upstream)).await;
    let trusting = authority.client(&["http/1.1"]);
    for _ in 0..3 {
        let mut client = Client::tls(proxy.address(), &Arc::clone(&trusting)).await;
        assert_eq!(client.get("/").await.backend(), Some("a"));
    }
    let counts = || {
        (
            proxy.listeners(Metric::ListenerHandshakesResumed, ""),
            proxy.endpoints(Metric::EndpointHandshakesResumed, ""),
        )
    };
    eventually(DEADLINE, || counts() == (2, 2)).await;
    assert_eq!(proxy.listeners(Metric::ListenerHandshakesWaiting, ""), 0);
}
