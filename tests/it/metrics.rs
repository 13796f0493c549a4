//! Every metric that has a name is one that moves: a counter that nobody writes tells an operator that all is well.

use std::collections::HashSet;

use hyper::StatusCode;
use plimsoll::admin::scrape::scrape;
use plimsoll::balance::Exclusion;
use plimsoll::clock::Clock;
use plimsoll::observe::Metric;

use crate::harness::{
    Authority, Backend, Client, Closed, DEADLINE, Directory, NameServer, Proxy, Raw, Scripted,
    Step, Trouble, eventually, within,
};

/// Those that are not moved here, each with the reason.
const EXCUSED: &[(Metric, &str)] = &[
    (
        Metric::WorkerHandOvers,
        "which worker accepts a connection, and so whether one has too many, is the kernel's choice",
    ),
    (
        Metric::WorkerPanics,
        "nothing that a client does makes a worker panic",
    ),
    (
        Metric::UpstreamHedges,
        "takes a hundred answers within ten seconds first; `hedging` has it move",
    ),
    (Metric::UpstreamHedgeAfter, "the same"),
    (
        Metric::IdempotencyHeld,
        "held only while a keyed request with a body has no outcome; `idempotency::bounds` has it move",
    ),
    (
        Metric::LimitRequests,
        "clients that ask too much, or at once; `limiting` has each move",
    ),
    (Metric::LimitKeys, "the same"),
    (Metric::LimitEvictions, "the same"),
    (Metric::LimitOverflow, "the same"),
    (Metric::LimitInUse, "the same"),
    (Metric::LimitDelay, "the same"),
    (
        Metric::ConfigOlderStreams,
        "what outlasts a configuration; `reload` has it move",
    ),
    (Metric::ConfigOldestReplaced, "the same"),
    (
        Metric::AdminDenied,
        "an admin API that asks for tokens; `admin_access` has it move",
    ),
    (
        Metric::ConsoleDropped,
        "standard error that nobody reads; the tests of `observe::console` have it move",
    ),
    (
        Metric::ListenerHandshakesResumed,
        "clients that come again; `certificates` has it move",
    ),
    (
        Metric::ListenerHandshakesWaiting,
        "more clients at once than handshakes may run; `certificates` reads it",
    ),
    (
        Metric::UpstreamCertificateExpires,
        "a client certificate of our own; `certificates` has it move",
    ),
    (
        Metric::CertificateSwaps,
        "files that change; `certificates` has it move",
    ),
    (
        Metric::CredentialSwaps,
        "files that change; `authorize` has it move",
    ),
    (
        Metric::EndpointHandshakesResumed,
        "connections that are not kept; the same",
    ),
    (
        Metric::AuthRequests,
        "routes that ask who it is; `authorize` has each move",
    ),
    (Metric::AuthDuration, "routes that ask a service; the same"),
    (Metric::AuthPasswords, "the same"),
    (
        Metric::MemoryUsed,
        "of a machine with a limit; `watermark` has it move",
    ),
    (Metric::MemoryLimit, "the same"),
    (Metric::MemoryShedding, "the same"),
    (Metric::MemorySheds, "the same"),
    (
        Metric::ListenerAddresses,
        "a cap for each address; `addresses` has it move",
    ),
    (
        Metric::WorkerLag,
        "of the worker itself, like the two above, and nothing that traffic brings about",
    ),
];

/// Notes the families of which a sample is not zero.
fn note(text: &str, moved: &mut HashSet<String>) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = name.split_once('{').map_or(name, |(name, _)| name);
        if value.parse::<f64>().unwrap() != 0.0 {
            let family = name.strip_suffix("_count").unwrap_or(name);
            moved.insert(family.to_owned());
        }
    }
}

/// Metrics that have not moved and are not excused.
fn missing(moved: &HashSet<String>) -> Vec<&'static str> {
    let excused = |metric: &Metric| EXCUSED.iter().any(|(excused, _)| excused == metric);
    let names = Metric::ALL.iter().filter(|metric| !excused(metric));
    names
        .map(|metric| metric.family().name)
        .filter(|name| !moved.contains(*name))
        .collect()
}

/// All endpoints of an upstream are unhealthy from now on.
fn fall_ill(proxy: &Proxy, upstream: &str) {
    let (snapshot, now) = (proxy.live().snapshot.load(), proxy.live().clock.now());
    let mut upstreams = snapshot.upstreams.iter();
    let upstream = upstreams.find(|one| one.name == upstream).unwrap();
    for endpoint in &upstream.endpoints {
        endpoint.hold(Exclusion::Unhealthy, true, now);
    }
}

/// Lets the limits of two upstreams find something to go by, then fills the one that has a single place: what comes then waits
/// and is refused.
async fn overload(proxy: &Proxy, client: &mut Client, moved: &mut HashSet<String>) -> [Raw; 2] {
    let [gradient, queued] = [Metric::BulkheadGradient, Metric::BulkheadQueuedUpstream];
    let wanted = [gradient, queued].map(|metric| metric.family().name);
    within(async {
        while !wanted.iter().all(|name| moved.contains(*name)) {
            for path in ["/narrow", "/vegas"] {
                assert_eq!(client.get(path).await.status, StatusCode::OK);
            }
            note(&scrape(proxy.live()), moved);
        }
    })
    .await;
    let snapshot = proxy.live().snapshot.load_full();
    let mut upstreams = snapshot.upstreams.iter();
    let narrow = upstreams.find(|one| one.name == "narrow").unwrap();
    let state = &narrow.bulkhead.as_ref().unwrap().state;
    let hang = async |waiting: u32| {
        let mut raw = Raw::connect(proxy.listener("web")).await;
        raw.send("GET /narrow/hang HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        let stands = || (state.in_flight(), state.waiting()) == (1, waiting);
        eventually(DEADLINE, stands).await;
        raw
    };
    let held = [hang(0).await, hang(1).await];
    let refused = client.get("/narrow").await;
    refused.assert_told(503, "connection_limit_reached", "queue_full");
    held
}

/// Two requests with an idempotency key, of which one is displaced by the other.
async fn keyed(proxy: &Proxy) {
    for key in ["one", "two"] {
        let mut raw = Raw::connect(proxy.listener("web")).await;
        let head = "POST /keyed HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n";
        raw.send(format!("{head}Idempotency-Key: {key}\r\n\r\n"))
            .await;
        assert_eq!(raw.response().await.status(), 200);
    }
}

#[tokio::test]
async fn every_metric_moves_or_has_an_excuse() {
    let (authority, directory) = (Authority::new(), Directory::new());
    let identity = authority.identity(&["localhost", "127.0.0.1"]);
    let (cert, key) = identity.write(&directory, "proxy");
    let ca = authority.write(&directory, "ca.pem");
    let server = authority.server(&identity, &["http/1.1"]);
    let secure = Backend::labelled("secure").tls(server).start();
    let backend = Backend::start("a");
    let closed = [Closed::new(), Closed::new()];
    let names = NameServer::start();
    names.addresses("app.test", 0, &["127.0.0.1"]);
    let stale = Scripted::stale(vec![Step::ReadHead]).await;
    let silent = Scripted::play(vec![vec![Step::Stall]]).await;
    let tls = format!("tls: {{ certificates: [ {{ cert: {cert:?}, key: {key:?} }} ] }}");
    // Timeouts have no part in this.
    let patient = "timeouts: { head: 1h, keep_alive: 24h, body: 24h, handshake: 1h }";
    let far = "timeouts: { connect: 1h, first_byte: 24h, total: 24h, idle: 24h }, connections: { idle_timeout: 24h }";
    let opens = "{ consecutive_failures: 1, open_for: 1h, open_for_max: 1h }";
    let one =
        "queue_timeout: 24h, standing: { timeout: 24h }, adaptive: { min: 1, max: 1, initial: 1 }";
    let yaml = |log: &str| {
        format!(
            "workers: 1\n\
             listeners:\n\
             \x20 web: {{ address: \"127.0.0.1:0\", {patient} }}\n\
             \x20 secure: {{ address: \"127.0.0.1:0\", {patient}, {tls} }}\n\
             routes:\n\
             - {{ match: {{ path: /stale }}, upstream: stale }}\n\
             - {{ match: {{ path: /secure }}, upstream: secure }}\n\
             - {{ match: {{ path: /refused }}, upstream: refused }}\n\
             - {{ match: {{ path: /mixed }}, upstream: mixed }}\n\
             - {{ match: {{ path: /fragile }}, upstream: fragile, breaker: {opens} }}\n\
             - {{ match: {{ path: /odd }}, upstream: odd }}\n\
             - {{ match: {{ path: /narrow }}, upstream: narrow, rewrite: {{ prefix: / }} }}\n\
             - {{ match: {{ path: /vegas }}, upstream: vegas }}\n\
             - {{ match: {{ path: /status }}, upstream: pool }}\n\
             - {{ match: {{ path: /keyed }}, upstream: pool, idempotency: {{ entries: 1 }} }}\n\
             - {{ match: {{ path: /thin }}, upstream: pool, fault: {{ bandwidth: 1GiB/s }} }}\n\
             - {{ match: {{ path: / }}, upstream: pool }}\n\
             upstreams:\n\
             \x20 stale: {{ endpoints: [{:?}], {far} }}\n\
             \x20 secure: {{ endpoints: [{:?}], {far}, tls: {{ ca: {ca:?} }} }}\n\
             \x20 refused: {{ endpoints: [{:?}, {:?}], {far} }}\n\
             \x20 mixed: {{ endpoints: [{:?}, {:?}], {far}, panic: {{}},\n\
             \x20   balance: {{ consistent_hash: {{ key: path }} }} }}\n\
             \x20 fragile: {{ endpoints: [{:?}], {far}, breaker: {opens} }}\n\
             \x20 odd: {{ endpoints: [{:?}, {:?}], {far}, balance: round_robin, breaker: off,\n\
             \x20   outlier: {{ consecutive_gateway_failures: 1, eject_for: 1h, eject_for_max: 1h }} }}\n\
             \x20 narrow: {{ endpoints: [{:?}], {far}, bulkhead: {{ queue: 1, {one} }} }}\n\
             \x20 vegas: {{ endpoints: [{:?}], {far}, bulkhead: {{ adaptive: {{ algorithm: vegas }} }} }}\n\
             \x20 pool: {{ endpoints: [{:?}], {far} }}\n\
             \x20 checked: {{ endpoints: [{:?}, {:?}], health: {{}} }}\n\
             \x20 waited_for: {{ endpoints: [{:?}],\n\
             \x20   health: {{ active: {{ timeout: 1h, interval: 1h }} }} }}\n\
             \x20 named: {{ endpoints: [\"app.test:80\"], discovery: {{ servers: [{:?}], timeout: 1m }} }}\n\
             access_log: {{ path: {log:?} }}\n\
             admin: {{ address: \"127.0.0.1:0\" }}\n",
            stale.address().to_string(),
            secure.endpoint(),
            closed[0].endpoint(),
            closed[1].endpoint(),
            closed[0].endpoint(),
            backend.endpoint(),
            closed[0].endpoint(),
            closed[0].endpoint(),
            backend.endpoint(),
            backend.endpoint(),
            backend.endpoint(),
            backend.endpoint(),
            closed[0].endpoint(),
            backend.endpoint(),
            silent.address().to_string(),
            names.address().to_string()
        )
    };
    let log = directory.path().join("access.log");
    // A beat of the worker takes 20 ms of our time.
    let clock = Clock::scaled(50);
    let yaml_of_log = yaml(log.to_str().unwrap());
    let proxy = Proxy::start_on(clock, &yaml_of_log).await;
    let lossy = Proxy::start(&yaml("/dev/full")).await;

    // What clients do to the listeners.
    let mut plain = Raw::connect(proxy.listener("secure")).await;
    plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(plain.response().await.status(), 400);
    let mut encrypted = Client::tls(proxy.listener("secure"), &authority.client(&["h2"])).await;
    assert_eq!(encrypted.get("/").await.status, StatusCode::OK);
    let mut malformed = Raw::connect(proxy.listener("web")).await;
    malformed.send("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(malformed.response().await.status(), 400);
    // What endpoints do: answer, refuse, break off what was idle.
    let mut client = Client::h1(proxy.listener("web")).await;
    for path in ["/", "/", "/stale", "/stale", "/secure", "/thin"] {
        assert_eq!(client.get(path).await.status, StatusCode::OK, "{path}");
    }
    // Which is tried once more.
    assert_eq!(client.get("/status/503").await.status.as_u16(), 503);
    let answer = client.post("/checksum", vec![7; 100_000]).await;
    assert_eq!(answer.json()["length"], 100_000);
    let refused = client.get("/refused").await;
    assert_eq!(refused.status, StatusCode::BAD_GATEWAY);
    keyed(&proxy).await;
    let fragile = client.get("/fragile").await;
    assert_eq!(fragile.status, StatusCode::BAD_GATEWAY);
    for _ in 0..2 {
        assert_eq!(client.get("/odd").await.status, StatusCode::OK);
    }
    let mut unlogged = Client::h1(lossy.listener("web")).await;
    assert_eq!(unlogged.get("/").await.status, StatusCode::OK);
    // Some of these keys belong to the endpoint that refuses, and go to the other in the end. A failure counts as load for
    // no longer than an answer takes.
    let mut moved = HashSet::new();
    let failures = Metric::EndpointFailuresAsLoad.family().name;
    within(async {
        for key in 0.. {
            let answer = unlogged.get(&format!("/mixed/{key}")).await;
            assert_eq!(answer.status, StatusCode::OK);
            note(&scrape(lossy.live()), &mut moved);
            if key > 20 && moved.contains(failures) {
                break;
            }
        }
    })
    .await;
    fall_ill(&lossy, "mixed");
    let _held = overload(&lossy, &mut unlogged, &mut moved).await;
    // What name servers do: change their minds, then fail.
    names.addresses("app.test", 0, &["127.0.0.2"]);
    let changes = Metric::DiscoveryChanges.family().name;
    let changed = || {
        note(&scrape(proxy.live()), &mut moved);
        moved.contains(changes)
    };
    eventually(DEADLINE, changed).await;
    names.trouble("app.test", Trouble::Fails);
    // What the operator does.
    proxy.reload(&yaml_of_log).await.unwrap();

    let all = |moved: &HashSet<String>| missing(moved).is_empty();
    // Something under way, and draining, which is seen only as long as it is.
    let hanging = tokio::spawn(async move { client.try_get("/hang").await.is_err() });
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    let noting = eventually(DEADLINE, || {
        note(&scrape(proxy.live()), &mut moved);
        note(&scrape(lossy.live()), &mut moved);
        let draining = Metric::Draining.family().name;
        missing(&moved).iter().all(|name| *name == draining)
    });
    let _ = tokio::time::timeout(DEADLINE / 2, noting).await;
    proxy.drain();
    eventually(DEADLINE, || proxy.live().is_draining()).await;
    note(&scrape(proxy.live()), &mut moved);
    assert!(all(&moved), "never moved: {:?}", missing(&moved));
    drop(proxy);
    assert!(hanging.await.unwrap());
}
