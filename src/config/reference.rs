//! The reference: one file that shows every key with its documentation, default and range.
//!
//! It is `config/reference.yaml`; a test holds the shipped file to what is rendered here. To write
//! it anew: `PLIMSOLL_WRITE_REFERENCE=1 cargo test --lib config::reference`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::emit::{Yaml, file};
use super::schema::*;
use super::setting::Setting as _;
use super::units::{Decimal, Rate, Share};

const HEADER: &str = "\
# Every key of the configuration, with what it means, its default and its range.
#
# A key that is left out has its default, so a real file is much shorter: see minimal.yaml. The
# values here are the defaults; where that is `off` or must be given, they are examples, and so are
# the options of a policy.
# Durations are written 250ms, 10s, 5m, 1h; sizes 512B, 64KiB, 10MiB, 1GiB. `off` switches off
# whatever can be switched off. A value may hold ${VAR} or ${VAR:-default}, replaced from the
# environment after the file was parsed; $${ stands for the characters ${.
#
# Made from the schema in the source: PLIMSOLL_WRITE_REFERENCE=1 cargo test --lib config::reference

";

/// The text of `config/reference.yaml`.
pub fn render() -> String {
    format!("{HEADER}{}", file(&Config::write(&specimen()), true))
}

/// A configuration as YAML, without what only repeats a default. Reading it gives it back.
pub fn to_yaml(config: &Config) -> String {
    let yaml = Config::write(config);
    match file(&yaml, false) {
        text if text.is_empty() => format!("{}\n", Yaml::Map(Vec::new())),
        text => text,
    }
}

/// A configuration in which every block appears. What has a default other than `off` keeps it.
fn specimen() -> Config {
    Config {
        listeners: [("web".to_owned(), listener())].into(),
        routes: routes(),
        upstreams: upstreams(),
        rate_limits: [(text("per_client"), rate_limit())].into(),
        concurrency_limits: [(text("uploads"), concurrency_limit())].into(),
        bandwidth_limits: [(
            text("thin"),
            BandwidthLimit::new(vec![KeyPart::client_ip()], 1 << 20),
        )]
        .into(),
        zone: Some(text("eu-1")),
        admin: Some(Admin {
            address: Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 9900))),
            token_file: Some(PathBuf::from("/etc/plimsoll/admin.tokens")),
        }),
        access_log: Some(AccessLog::default()),
        user: Some(text("plimsoll")),
        group: Some(text("plimsoll")),
        memory: Some(Memory {
            limit: Some(1 << 30),
            ..Memory::default()
        }),
        ..Config::default()
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn rate_limit() -> RateLimit {
    let own = RateOverride {
        rate: Rate::per_second(1000),
        burst: Some(2000),
    };
    RateLimit {
        burst: Some(200),
        overrides: vec![(text("10.0.0.5"), Some(own)), (text("10.1.0.0/16"), None)],
        ..RateLimit::new(vec![KeyPart::client_ip()], Rate::per_second(100))
    }
}

fn concurrency_limit() -> ConcurrencyLimit {
    let key = vec![
        KeyPart::ClientIp { v4: 24, v6: 56 },
        KeyPart::Header(text("X-Team")),
    ];
    ConcurrencyLimit {
        overrides: vec![(text("10.0.0.5 ops"), Some(100))],
        ..ConcurrencyLimit::new(key, 10)
    }
}

fn listener() -> Listener {
    let address = Address::Tcp(SocketAddr::from(([0, 0, 0, 0], 8443)));
    Listener {
        tls: Some(server_tls()),
        limits: ListenerLimits {
            per_address: Some(100),
            ..ListenerLimits::default()
        },
        proxy_protocol: ProxyProtocolIn::From(ProxyProtocolFrom {
            from: vec![network("10.0.0.0/24")],
            others: ProxyProtocolOthers::Plain,
        }),
        addresses: Addresses {
            allow: vec![network("10.0.0.0/8")],
            deny: vec![network("10.9.0.0/16")],
        },
        ..Listener::new(address)
    }
}

fn server_tls() -> ServerTls {
    let certificate = Certificate {
        cert: PathBuf::from("site.pem"),
        key: PathBuf::from("site.key"),
        ocsp: Some(PathBuf::from("site.ocsp")),
    };
    let client = ClientAuth {
        ca: PathBuf::from("clients.pem"),
        mode: ClientAuthMode::Require,
        header: vec![
            (text("X-Client-Subject"), ClientFact::Subject),
            (text("X-Client-Sha256"), ClientFact::Sha256),
        ],
    };
    ServerTls {
        client: Some(client),
        ..ServerTls::new(vec![certificate])
    }
}

fn network(text: &str) -> TrustedProxy {
    let network = text.parse();
    TrustedProxy::Network(network.expect("the example is a network"))
}

fn routes() -> Vec<Route> {
    let all = Match {
        listener: vec![text("web")],
        host: vec![text("api.example.com"), text("*.api.example.com")],
        path: Some(PathMatch::Prefix(text("/v1"))),
        method: vec![text("GET"), text("POST")],
        header: vec![
            (text("X-Beta"), ValueMatch::Exact(text("1"))),
            (text("X-Team"), ValueMatch::Regex(text("[a-z]+"))),
            (text("X-Debug"), ValueMatch::Absent),
        ],
        query: vec![(text("preview"), ValueMatch::Present)],
    };
    let path = |path: PathMatch| Match {
        path: Some(path),
        ..Match::default()
    };
    vec![
        Route {
            name: Some(text("beta")),
            matcher: all,
            action: Action::Upstream(text("app")),
            subset: Some(text("v2")),
            breaker: Some(RouteBreaker::default()),
            priority: Priority::High,
            priority_header: Some(text("X-Priority")),
            rewrite: Some(Rewrite::Prefix(text("/"))),
            host: Some(HostRewrite::Endpoint),
            request_fields: FieldEdits {
                remove: vec![text("X-Debug")],
                set: vec![(text("X-Route"), text("beta"))],
                add: Vec::new(),
            },
            response_fields: FieldEdits::default(),
            fault: Some(fault(Distribution::Lognormal(Lognormal {
                median: Duration::from_millis(20),
                p99: Duration::from_millis(200),
            }))),
            idempotency: Some(Idempotency::default()),
            addresses: Addresses::default(),
            limits: vec![text("per_client"), text("uploads"), text("thin")],
            auth: Some(auth(AuthWay::ApiKey(ApiKeyAuth {
                keys_file: PathBuf::from("keys"),
                header: Some(text("X-Api-Key")),
                query: Some(text("key")),
            }))),
        },
        Route {
            matcher: path(PathMatch::Exact(text("/ping"))),
            action: Action::Respond(Respond {
                body: text("pong"),
                ..Respond::default()
            }),
            ..Route::default()
        },
        Route {
            matcher: path(PathMatch::Regex(text("/old(/.*)?"))),
            action: Action::Redirect(Redirect {
                scheme: Some(text("https")),
                host: Some(text("www.example.com")),
                path: Some(text("/new")),
                ..Redirect::default()
            }),
            ..Route::default()
        },
        Route {
            matcher: path(PathMatch::Prefix(text("/remote"))),
            action: Action::Upstream(text("remote")),
            fault: Some(fault(Distribution::Pareto(Pareto {
                minimum: Duration::from_millis(20),
                p99: Duration::from_secs(2),
            }))),
            auth: Some(auth(AuthWay::Forward(ForwardAuth {
                upstream: text("app"),
                path: text("/verify"),
                timeout: Duration::from_secs(1),
                copy: vec![text("X-Groups")],
                identity: Some(text("X-User")),
                on_failure: OnAuthFailure::Closed,
            }))),
            ..Route::default()
        },
        Route {
            matcher: path(PathMatch::Prefix(text("/fleet"))),
            action: Action::Upstream(text("fleet")),
            fault: Some(fault(Distribution::Bimodal(Bimodal {
                usual: Duration::from_millis(5),
                rare: Duration::from_secs(1),
                share: Share::percent(1),
            }))),
            auth: Some(auth(AuthWay::Basic(BasicAuth {
                users_file: PathBuf::from("users"),
                realm: text("restricted"),
            }))),
            ..Route::default()
        },
        Route {
            matcher: path(PathMatch::Prefix(text("/cache"))),
            action: Action::Upstream(text("cache")),
            ..Route::default()
        },
        Route {
            action: Action::Split(vec![(text("app"), 95), (text("canary"), 5)]),
            ..Route::default()
        },
    ]
}

fn auth(way: AuthWay) -> Auth {
    Auth {
        way,
        identity_header: Some(text("X-User")),
        keep_credentials: false,
    }
}

fn fault(distribution: Distribution) -> Fault {
    Fault {
        only_with_header: vec![(text("X-Fault"), ValueMatch::Exact(text("1")))],
        delay: Some(FaultDelay {
            distribution,
            share: Share::percent(100),
            max: Duration::from_secs(10),
        }),
        abort: Some(FaultAbort {
            share: Share::percent(10),
            ..FaultAbort::default()
        }),
        bandwidth: Some(64 * 1024),
    }
}

fn upstream() -> Upstream {
    let certificate = ClientCertificate {
        cert: PathBuf::from("client.pem"),
        key: PathBuf::from("client.key"),
    };
    let tls = ClientTls {
        ca: Some(PathBuf::from("ca.pem")),
        name: Some(text("app.example.com")),
        certificate: Some(certificate),
        verify: true,
    };
    let first = Endpoint {
        id: Some(text("a")),
        zone: Some(text("eu-1")),
        metadata: [(text("version"), text("v2"))].into(),
        ..Endpoint::new("127.0.0.1:9001")
    };
    let sticky = Sticky {
        secret_file: Some(PathBuf::from("sticky.secrets")),
        ..Sticky::default()
    };
    let subset = Subset {
        metadata: text("version"),
        header: Some(text("X-Version")),
        otherwise: Otherwise::Any,
    };
    Upstream {
        endpoints_file: Some(PathBuf::from("endpoints.yaml")),
        slow_start: Some(SlowStart::default()),
        hedge: Some(Hedge::default()),
        retry: Some(Retry {
            grpc_on: vec![GrpcStatus::Unavailable],
            attempt_header: Some(text("X-Attempt")),
            ..Retry::default()
        }),
        timeouts: UpstreamTimeouts {
            deadline_header: Some(text("X-Deadline-Ms")),
            ..UpstreamTimeouts::default()
        },
        outlier: Some(Outlier::default()),
        sticky: Some(sticky),
        panic: Some(Panic::default()),
        subset: Some(subset),
        random_subset: Some(50),
        tls: Some(tls),
        bulkhead: Some(Bulkhead {
            adaptive: Some(AdaptiveLimit::default()),
            ..Bulkhead::default()
        }),
        health: Some(health()),
        ..Upstream::new(vec![first, Endpoint::new("app.internal:9001")])
    }
}

/// Checks over gRPC have no body to look into: these are over HTTP.
fn health() -> Health {
    let active = ActiveHealth {
        host: Some(text("app.example.com")),
        headers: vec![(text("X-Check"), text("plimsoll"))],
        port: Some(9100),
        body: Some(text("ready")),
        header: Some(vec![(text("X-Service"), text("app"))]),
        slow_interval: Some(Duration::from_secs(15)),
        ..ActiveHealth::default()
    };
    Health {
        active: Some(active),
    }
}

/// One upstream for each policy that has options.
fn upstreams() -> BTreeMap<String, Upstream> {
    let ewma = PeakEwma {
        decay: Duration::from_secs(5),
        ..PeakEwma::default()
    };
    let prequal = Prequal {
        report: Some(text("X-In-Flight")),
        ..Prequal::default()
    };
    let create = CreateCookie {
        ttl: Some(Duration::from_secs(24 * 3600)),
        path: text("/"),
    };
    let hash = ConsistentHash {
        key: HashKey::Cookie {
            name: text("visitor"),
            create: Some(create),
        },
        bounded_load: Some(Decimal { thousandths: 1250 }),
        ..ConsistentHash::default()
    };
    let others = [
        ("canary", Balance::P2c { choices: 3 }),
        ("remote", Balance::PeakEwma(ewma)),
        ("fleet", Balance::Prequal(prequal)),
        ("cache", Balance::ConsistentHash(hash)),
    ];
    let others = others.into_iter().map(|(name, balance)| {
        let endpoints = vec![Endpoint::new(format!("{name}.internal:9001"))];
        let upstream = Upstream {
            balance,
            ..Upstream::new(endpoints)
        };
        (text(name), upstream)
    });
    others.chain([(text("app"), upstream())]).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value as Json;

    use super::super::read::from_text;
    use super::super::setting::Book;
    use super::*;

    #[test]
    fn the_shipped_reference_is_what_the_schema_renders() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/reference.yaml");
        if std::env::var_os("PLIMSOLL_WRITE_REFERENCE").is_some() {
            std::fs::write(&path, render()).unwrap();
        }
        let shipped = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            shipped == render(),
            "write it anew: PLIMSOLL_WRITE_REFERENCE=1 cargo test --lib config::reference"
        );
    }

    #[test]
    fn the_reference_reads_back_as_the_specimen() {
        let loaded = from_text("reference.yaml", &render(), &|_| None)
            .unwrap_or_else(|refusal| panic!("{refusal}"));
        assert_eq!(loaded.config, specimen());
        // It shows how faults are injected, of which a real file is warned.
        let mut warnings = loaded.warnings;
        warnings.retain(|warning| !warning.path.ends_with(".fault"));
        assert_eq!(warnings, []);
    }

    #[test]
    fn the_reference_shows_every_key_of_every_block() {
        let mut book = Book::default();
        Config::shape(&mut book);
        let mut shown = BTreeSet::new();
        collect(&Config::write(&specimen()), &mut shown);
        for (block, schema) in &book.blocks {
            for key in schema["properties"].as_object().unwrap().keys() {
                assert!(
                    shown.contains(&(block.clone(), key.clone())),
                    "{block}.{key} is missing"
                );
            }
        }
    }

    fn collect(yaml: &Yaml, shown: &mut BTreeSet<(String, String)>) {
        match yaml {
            Yaml::Block(entries) => {
                for (key, value) in entries {
                    shown.insert((key.block.to_owned(), key.name.to_owned()));
                    collect(value, shown);
                }
            }
            Yaml::Map(entries) => entries.iter().for_each(|(_, value)| collect(value, shown)),
            Yaml::List(items) => items.iter().for_each(|item| collect(item, shown)),
            _ => {}
        }
    }

    #[test]
    fn every_key_has_a_meaning_and_every_reference_a_block() {
        let schema = super::super::json_schema();
        let blocks = schema["$defs"].as_object().unwrap();
        for (block, schema) in blocks {
            for (key, property) in schema["properties"].as_object().unwrap() {
                let words = property["description"].as_str().unwrap_or_default();
                assert!(words.len() > 20, "{block}.{key} is not documented");
            }
        }
        let text = schema.to_string();
        for part in text.split("#/$defs/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(
                blocks.contains_key(name),
                "{name} is referred to and not described"
            );
        }
        assert_eq!(
            schema["$schema"],
            Json::from("https://json-schema.org/draft/2020-12/schema")
        );
    }
}
