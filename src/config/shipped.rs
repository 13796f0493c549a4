//! Tests: what ships in `config/` loads, and the shape of the design is read as meant.

use std::time::Duration;

use super::read::{Loaded, from_text, load};
use super::units::{Decimal, Share};
use super::*;

fn read(text: &str) -> Loaded {
    from_text("test.yaml", text, &|_| None).unwrap_or_else(|refusal| panic!("{refusal}"))
}

#[test]
fn every_example_loads_without_a_warning() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let loaded = load(&path, &|_| None).unwrap_or_else(|refusal| panic!("{refusal}"));
            // The reference shows how faults are injected, of which a real file is warned.
            let mut warnings = loaded.warnings;
            warnings.retain(|warning| !warning.path.ends_with(".fault"));
            assert_eq!(warnings, [], "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 6, "only {count} examples were found");
}

#[test]
fn reads_the_shape_of_the_design() {
    let config = read(
        r#"
listeners:
  web:    { address: "0.0.0.0:8080" }
  secure:
    address: "0.0.0.0:8443"
    tls: { certificates: [ { cert: site.pem, key: site.key } ] }
    timeouts: { head: 10s, keep_alive: 75s, body: 60s }
routes:
  - match: { host: api.example.com, path: /v1/ }
    upstream: api
  - match: { listener: secure, host: "*.example.com", method: [GET, HEAD], header: { X-Beta: "1" } }
    upstream: canary
  - match: { path: / }
    split: { api: 95, canary: 5 }
upstreams:
  api:
    endpoints: ["127.0.0.1:9001", { address: "127.0.0.1:9002", weight: 2, id: b }]
    protocol: h1
    balance: p2c
    timeouts: { connect: 1s, first_byte: 10s, total: 30s, idle: 60s, tunnel_idle: 1h }
    connections: { max: 1024, idle: 64, idle_timeout: 30s, lifetime: 1h }
  canary: { endpoints: ["127.0.0.1:9003"] }
admin: { address: "127.0.0.1:9900" }
"#,
    )
    .config;
    let secure = &config.listeners["secure"];
    assert_eq!(
        secure.address,
        Address::Tcp("0.0.0.0:8443".parse().unwrap())
    );
    let tls = secure.tls.as_ref().unwrap();
    assert_eq!(tls.certificates[0].key, std::path::Path::new("site.key"));
    assert_eq!(tls.alpn, [Alpn::H2, Alpn::Http11]);
    assert_eq!(secure.timeouts, ListenerTimeouts::default());
    assert_eq!(
        config.routes[0].matcher.path,
        Some(PathMatch::Prefix("/v1/".to_owned()))
    );
    assert_eq!(config.routes[0].action, Action::Upstream("api".to_owned()));
    assert_eq!(config.routes[1].matcher.method, ["GET", "HEAD"]);
    assert_eq!(
        config.routes[1].matcher.header,
        [("X-Beta".to_owned(), ValueMatch::Exact("1".to_owned()))]
    );
    assert_eq!(
        config.routes[2].action,
        Action::Split(vec![("api".to_owned(), 95), ("canary".to_owned(), 5)])
    );
    let api = &config.upstreams["api"];
    assert_eq!(api.endpoints[0], Endpoint::new("127.0.0.1:9001"));
    assert_eq!(
        api.endpoints[1],
        Endpoint {
            id: Some("b".to_owned()),
            weight: 2,
            ..Endpoint::new("127.0.0.1:9002")
        }
    );
    assert_eq!(api.balance, Balance::P2c { choices: 2 });
    assert_eq!(api.timeouts.tunnel_idle, Duration::from_secs(3600));
    assert_eq!(
        config.admin.unwrap().address,
        Address::Tcp("127.0.0.1:9900".parse().unwrap())
    );
    assert_eq!(config.drain_timeout, Duration::from_secs(25));
}

#[test]
fn what_is_not_written_has_its_default() {
    let config = read(
        "listeners: { web: { address: '[::1]:0' } }\nroutes: [{ respond: { status: 204 } }]\n",
    )
    .config;
    let web = &config.listeners["web"];
    assert_eq!(*web, Listener::new("[::1]:0".parse().unwrap()));
    assert_eq!((web.limits.fields, web.limits.body_bytes), (100, None));
    assert_eq!(
        Config {
            listeners: Default::default(),
            routes: vec![],
            ..config
        },
        Config::default()
    );
}

fn balance(text: &str) -> Balance {
    let text = format!(
        "listeners: {{ web: {{ address: '127.0.0.1:0' }} }}\nroutes: [{{ upstream: a }}]\nupstreams: {{ a: {{ endpoints: ['h:1'], balance: {text} }} }}\n"
    );
    read(&text).config.upstreams["a"].balance.clone()
}

#[test]
fn accepts_the_second_name_of_round_robin_and_options() {
    assert_eq!(balance("weighted_round_robin"), Balance::RoundRobin);
    assert_eq!(
        balance("{ p2c: { choices: 3 } }"),
        Balance::P2c { choices: 3 }
    );
    assert_eq!(balance("{ p2c: {} }"), Balance::P2c { choices: 2 });
    assert_eq!(balance("{ random: {} }"), Balance::Random);
    let ewma = PeakEwma {
        decay: Duration::from_secs(10),
        choices: 2,
    };
    assert_eq!(balance("peak_ewma"), Balance::PeakEwma(ewma));
    let prequal = Prequal {
        q_rif: Share::percent(84),
        pool: 16,
        probes: 3,
        report: None,
    };
    assert_eq!(balance("{ prequal: {} }"), Balance::Prequal(prequal));
}

#[test]
fn reads_what_a_request_is_hashed_by() {
    let hash = |options: &str| match balance(&format!("{{ consistent_hash: {{ {options} }} }}")) {
        Balance::ConsistentHash(hash) => hash,
        other => panic!("{other:?}"),
    };
    let default = ConsistentHash {
        key: HashKey::ClientIp,
        algorithm: HashAlgorithm::Ring,
        virtual_nodes: 160,
        table_size: 65_537,
        bounded_load: None,
    };
    assert_eq!(
        balance("consistent_hash"),
        Balance::ConsistentHash(default.clone())
    );
    assert_eq!(hash(""), default);
    let key = |key: &str| hash(&format!("key: {key}")).key;
    let name = || "a".to_owned();
    let cookie = |create| HashKey::Cookie {
        name: name(),
        create,
    };
    assert_eq!(key("path"), HashKey::Path);
    assert_eq!(key("{ header: a }"), HashKey::Header(name()));
    assert_eq!(key("{ query: a }"), HashKey::Query(name()));
    assert_eq!(key("{ cookie: a }"), cookie(None));
    assert_eq!(key("{ cookie: { name: a } }"), cookie(None));
    let create = CreateCookie {
        ttl: None,
        path: "/".to_owned(),
    };
    assert_eq!(
        key("{ cookie: { name: a, create: true } }"),
        cookie(Some(create))
    );
    let bound = |bound: &str| hash(&format!("bounded_load: {bound}")).bounded_load;
    assert_eq!(bound("off"), None);
    assert_eq!(bound("on"), Some(Decimal { thousandths: 1250 }));
    assert_eq!(bound("2"), Some(Decimal { thousandths: 2000 }));
}

#[test]
fn the_example_of_balancing_shows_every_policy() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/balancing.yaml");
    let config = load(&path, &|_| None).unwrap().config;
    let shown = |name: &str| {
        let upstreams = config.upstreams.values();
        let mut named = upstreams.map(|upstream| upstream.balance.name());
        named.any(|shown| shown == name)
    };
    let (second_name, names) = Balance::NAMES.split_last().unwrap();
    assert_eq!(*second_name, "weighted_round_robin");
    for name in names {
        assert!(shown(name), "{name} is missing");
    }
    let shop = &config.upstreams["shop"];
    assert_eq!(shop.sticky.as_ref().unwrap().same_site, SameSite::Lax);
    assert_eq!(shop.failure_penalty, Some(FailurePenalty::default()));
    let search = &config.upstreams["search"].endpoints;
    assert_eq!(search[0].zone, config.zone);
    assert_eq!((search[3].priority, search[4].backup), (1, true));
    assert_eq!(config.routes[11].subset.as_deref(), Some("v2"));
}

#[test]
fn blocks_are_switched_off_and_on() {
    let upstream = |keys: &str| {
        let text = format!(
            "listeners: {{ web: {{ address: '127.0.0.1:0' }} }}\nroutes: [{{ upstream: a }}]\nupstreams: {{ a: {{ endpoints: ['h:1'], {keys} }} }}\n"
        );
        read(&text).config.upstreams["a"].clone()
    };
    let on = upstream("slow_start: {}, sticky: {}, panic: {}, hedge: {}, retry: {}");
    assert_eq!(on.slow_start, Some(SlowStart::default()));
    assert_eq!(on.sticky, Some(Sticky::default()));
    assert_eq!(on.panic, Some(Panic::default()));
    assert_eq!(on.hedge, Some(Hedge::default()));
    assert_eq!(on.retry, Some(Retry::default()));
    let shed = upstream("bulkhead: { shed: { low: off }, adaptive: {} }");
    let shed = shed.bulkhead.unwrap();
    assert_eq!((shed.shed.low, shed.shed.normal), (None, None));
    assert_eq!(shed.adaptive, Some(AdaptiveLimit::default()));
    let off = upstream(
        "slow_start: off, failure_penalty: off, sticky: off, panic: off, random_subset: off, hedge: off, bulkhead: off, retry: off",
    );
    let expected = Upstream {
        failure_penalty: None,
        bulkhead: None,
        retry: None,
        ..Upstream::new(vec![Endpoint::new("h:1")])
    };
    assert_eq!(off, expected);
}

#[test]
fn a_buffer_for_replays_has_a_size_or_is_off() {
    let buffer = |keys: &str| {
        let text = format!(
            "listeners: {{ web: {{ address: '127.0.0.1:0' }} }}\nroutes: [{{ upstream: a }}]\nupstreams: {{ a: {{ endpoints: ['h:1']{keys} }} }}\n"
        );
        read(&text).config.upstreams["a"]
            .retry
            .as_ref()
            .unwrap()
            .buffer
    };
    assert_eq!(buffer(""), Some(65_536));
    assert_eq!(buffer(", retry: { buffer: 1MiB }"), Some(1 << 20));
    assert_eq!(buffer(", retry: { buffer: 0B }"), Some(0));
    assert_eq!(buffer(", retry: { buffer: off }"), None);
}
