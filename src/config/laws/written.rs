//! Configurations as an operator might write them, by chance.

use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::entering::auth;
use super::keyed::idempotency;
use super::limiters::limiters;
use crate::config::schema::*;
use crate::config::units::{Decimal, Share};

/// Texts with all that has a meaning in YAML, in variables and in terminals.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,12}",
        "\\PC{0,8}",
        "[${}:#\\-\"'\\\\\\n\\t a]{0,10}",
        "(true|off|null|~|1e3|0x1f|10s|1_000)"
    ]
}

fn value_match() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![
        any_text().prop_map(ValueMatch::Exact),
        "[a-z]{1,4}[+*$]?".prop_map(ValueMatch::Regex),
        Just(ValueMatch::Present),
        Just(ValueMatch::Absent),
    ]
}

fn matcher() -> impl Strategy<Value = Match> {
    let path = prop_oneof![
        "/[a-z%/]{0,8}".prop_map(PathMatch::Prefix),
        "/[a-z.~]{0,8}".prop_map(PathMatch::Exact),
        "/[a-z]{0,4}(\\$|\\.\\*)?".prop_map(PathMatch::Regex),
    ];
    let host = prop_oneof![
        "[a-z]{1,5}\\.[a-z]{2,3}",
        "\\*\\.[a-z]{1,5}",
        Just("off".to_owned())
    ];
    (
        prop_oneof![Just(Vec::new()), Just(vec!["web".to_owned()])],
        vec(host, 0..3),
        of(path),
        vec("[A-Z]{1,6}", 0..3),
        btree_map("[A-Za-z][A-Za-z-]{0,6}", value_match(), 0..3),
        btree_map(any_text(), value_match(), 0..3),
    )
        .prop_map(|(listener, host, path, method, header, query)| {
            // A merge key is not a name.
            let query = query.into_iter().filter(|(name, _)| name != "<<").collect();
            Match {
                listener,
                host,
                path,
                method,
                header: header.into_iter().collect(),
                query,
            }
        })
}

fn edits() -> impl Strategy<Value = FieldEdits> {
    let fields = || btree_map("[A-Za-z][A-Za-z-]{0,6}", "[ -~]{0,10}", 0..3);
    (vec("[A-Z][a-z-]{0,5}", 0..3), fields(), fields()).prop_map(|(remove, set, add)| FieldEdits {
        remove,
        set: set.into_iter().collect(),
        add: add.into_iter().collect(),
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Upstream("api".to_owned())),
        (1_u32..1000).prop_map(|weight| Action::Split(vec![("api".to_owned(), weight)])),
        (200_u16..600, any_text()).prop_map(|(status, body)| {
            Action::Respond(Respond {
                status,
                body,
                ..Respond::default()
            })
        }),
        (of("[a-z]{1,5}(:80)?"), of("/[a-z?=]{0,5}")).prop_map(|(host, path)| {
            Action::Redirect(Redirect {
                host,
                path,
                scheme: Some("https".to_owned()),
                status: 301,
            })
        }),
    ]
}

fn rewrite() -> impl Strategy<Value = Rewrite> {
    prop_oneof![
        "/[a-z]{0,4}".prop_map(Rewrite::Prefix),
        "/[a-z]{0,4}".prop_map(Rewrite::Path),
        ("[a-z]{1,4}", any_text()).prop_map(|(regex, to)| Rewrite::Regex { regex, to }),
    ]
}

fn distribution() -> impl Strategy<Value = Distribution> {
    let tail = || (millis(1, 1000), millis(1000, 3_600_000));
    prop_oneof![
        millis(1, 3_600_000).prop_map(Distribution::Constant),
        millis(1, 3_600_000).prop_map(Distribution::Exponential),
        tail().prop_map(|(median, p99)| Distribution::Lognormal(Lognormal { median, p99 })),
        tail().prop_map(|(minimum, p99)| Distribution::Pareto(Pareto { minimum, p99 })),
        (tail(), share(1)).prop_map(|((usual, rare), share)| {
            Distribution::Bimodal(Bimodal { usual, rare, share })
        }),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    let delay = (distribution(), share(1), millis(1, 3_600_000));
    let delay = delay.prop_map(|(distribution, share, max)| FaultDelay {
        distribution,
        share,
        max,
    });
    let abort = (400_u16..600, share(1)).prop_map(|(status, share)| FaultAbort { status, share });
    (
        btree_map("[A-Za-z][A-Za-z-]{0,6}", value_match(), 0..3),
        of(delay),
        of(abort),
        of(1_u64..1 << 40),
    )
        .prop_map(|(header, delay, abort, bandwidth)| Fault {
            only_with_header: header.into_iter().collect(),
            delay,
            abort,
            bandwidth,
        })
}

fn route() -> impl Strategy<Value = Route> {
    let host = prop_oneof![
        Just(HostRewrite::Endpoint),
        "[a-d]{1,4}".prop_map(HostRewrite::To)
    ];
    (
        matcher(),
        action(),
        of(rewrite()),
        of(host),
        edits(),
        edits(),
        of(any_text().prop_filter("a value", |text| !text.is_empty())),
        (of(idempotency()), of(auth())),
        priority(),
        of(fault()),
    )
        .prop_map(
            |(
                matcher,
                action,
                rewrite,
                host,
                request_fields,
                response_fields,
                subset,
                (idempotency, auth),
                priority,
                fault,
            )| {
                let regex = matches!(matcher.path, Some(PathMatch::Regex(_)));
                // There is no prefix to replace in what an expression matched.
                let rewrite = rewrite.filter(|to| !regex || !matches!(to, Rewrite::Prefix(_)));
                Route {
                    name: None,
                    matcher,
                    action,
                    subset,
                    breaker: None,
                    priority: priority.0,
                    priority_header: priority.1,
                    rewrite,
                    host,
                    request_fields,
                    response_fields,
                    fault,
                    idempotency,
                    addresses: Addresses::default(),
                    limits: Vec::new(),
                    auth,
                }
            },
        )
}

fn priority() -> impl Strategy<Value = (Priority, Option<String>)> {
    (select(&Priority::ALL[..]), of("[A-Za-z-]{1,6}"))
}

fn bulkhead() -> impl Strategy<Value = Bulkhead> {
    let orders = [QueueOrder::Fifo, QueueOrder::Lifo, QueueOrder::Adaptive];
    let algorithms = [LimitAlgorithm::Gradient2, LimitAlgorithm::Vegas];
    let standing = (millis(1, 86_400_000), millis(1, 86_400_000))
        .prop_map(|(after, timeout)| StandingQueue { after, timeout });
    let shed = (of(millis(1, 86_400_000)), of(millis(1, 86_400_000)))
        .prop_map(|(low, normal)| Shedding { low, normal });
    let some = 1_usize..=1_000_000;
    let adaptive = (
        select(algorithms.to_vec()),
        [some.clone(), some.clone(), some.clone()],
        decimal(1000..=10_000),
    )
        .prop_map(
            |(algorithm, [min, max, initial], tolerance)| AdaptiveLimit {
                algorithm,
                min,
                max,
                initial,
                tolerance,
            },
        );
    (
        [some.clone(), some],
        0_usize..=1_000_000,
        millis(1, 86_400_000),
        select(orders.to_vec()),
        (standing, shed, of(adaptive)),
    )
        .prop_map(|(caps, queue, queue_timeout, order, rest)| Bulkhead {
            max_in_flight: caps[0],
            per_endpoint: caps[1],
            queue,
            queue_timeout,
            order,
            standing: rest.0,
            shed: rest.1,
            adaptive: rest.2,
        })
}

fn share(low: u32) -> impl Strategy<Value = Share> {
    (low..=1_000_000).prop_map(|millionths| Share { millionths })
}

fn decimal(thousandths: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = Decimal> {
    thousandths.prop_map(|thousandths| Decimal { thousandths })
}

fn millis(low: u64, high: u64) -> impl Strategy<Value = Duration> {
    (low..=high).prop_map(Duration::from_millis)
}

fn hash_key() -> impl Strategy<Value = HashKey> {
    let create = (of(millis(1000, 86_400_000)), "/[a-z]{0,4}")
        .prop_map(|(ttl, path)| CreateCookie { ttl, path });
    prop_oneof![
        Just(HashKey::ClientIp),
        Just(HashKey::Host),
        Just(HashKey::Path),
        "[A-Za-z-]{1,6}".prop_map(HashKey::Header),
        any_text()
            .prop_filter("a name", |text| !text.is_empty())
            .prop_map(HashKey::Query),
        ("[A-Za-z_]{1,6}", of(create)).prop_map(|(name, create)| HashKey::Cookie { name, create }),
    ]
}

fn balance() -> impl Strategy<Value = Balance> {
    let algorithm = prop_oneof![
        Just(HashAlgorithm::Ring),
        Just(HashAlgorithm::Maglev),
        Just(HashAlgorithm::Rendezvous)
    ];
    let size = prop_oneof![Just(3), Just(65_537), Just(655_373), Just(5_000_011)];
    let hash = (
        hash_key(),
        algorithm,
        1_u32..=10_000,
        size,
        of(decimal(1001..=10_000)),
    );
    let prequal = (share(0), 2_usize..=64, 1_usize..=16, of("[A-Za-z-]{1,6}"));
    prop_oneof![
        Just(Balance::RoundRobin),
        Just(Balance::Random),
        Just(Balance::LeastConnections),
        (2_usize..=16).prop_map(|choices| Balance::P2c { choices }),
        (millis(100, 3_600_000), 2_usize..=16)
            .prop_map(|(decay, choices)| Balance::PeakEwma(PeakEwma { decay, choices })),
        prequal.prop_map(|(q_rif, pool, probes, report)| Balance::Prequal(Prequal {
            q_rif,
            pool,
            probes,
            report
        })),
        hash.prop_map(
            |(key, algorithm, virtual_nodes, table_size, bounded_load)| {
                Balance::ConsistentHash(ConsistentHash {
                    key,
                    algorithm,
                    virtual_nodes,
                    table_size,
                    bounded_load,
                })
            }
        ),
    ]
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    (
        0_u32..=1000,
        of("[a-z]{1,5}"),
        0_u8..=15,
        any::<(bool, bool)>(),
        of("[a-z]{1,5}"),
        btree_map("[a-z]{1,5}", any_text(), 0..3),
    )
        .prop_map(
            |(weight, id, priority, (backup, draining), zone, metadata)| Endpoint {
                address: String::new(),
                id,
                weight,
                priority,
                backup,
                zone,
                draining,
                metadata,
            },
        )
}

/// What weighs endpoints, then what narrows them.
fn scaling() -> impl Strategy<Value = (Option<SlowStart>, Option<FailurePenalty>, Decisions)> {
    let slow_start = (
        millis(100, 86_400_000),
        decimal(100..=10_000),
        share(10_000),
    )
        .prop_map(|(window, aggression, min_weight)| SlowStart {
            window,
            aggression,
            min_weight,
        });
    let penalty = millis(1000, 600_000).prop_map(|window| FailurePenalty { window });
    let decisions =
        (share(0), 1_usize..=4096).prop_map(|(sample, keep)| Decisions { sample, keep });
    (of(slow_start), of(penalty), decisions)
}

fn breaker() -> impl Strategy<Value = Breaker> {
    let scope = prop_oneof![Just(BreakerScope::Endpoint), Just(BreakerScope::Upstream)];
    let limits = (
        of(1_u32..=1_000_000),
        of(share(10_000)),
        of(millis(1, 3_600_000)),
    );
    let stays = (millis(10, 3_600_000), of(millis(1, 3_600_000)), share(0));
    (scope, limits, stays, 1_u32..=1000, any::<bool>()).prop_map(
        |(scope, limits, stays, probes, count_500)| Breaker {
            scope,
            consecutive_failures: limits.0,
            failure_rate: limits.1,
            slow_call: limits.2,
            open_for: stays.0,
            ramp: stays.1,
            jitter: stays.2,
            probes,
            count_500,
            ..Breaker::default()
        },
    )
}

fn outlier() -> impl Strategy<Value = Outlier> {
    let limits = (
        of(1_u32..=1_000_000),
        of(share(10_000)),
        of(decimal(1100..=1_000_000)),
    );
    (
        limits,
        2_usize..=1000,
        1_usize..=100_000,
        millis(100, 3_600_000),
    )
        .prop_map(|(limits, min_endpoints, keep, interval)| Outlier {
            consecutive_gateway_failures: limits.0,
            failure_rate: limits.1,
            latency: limits.2,
            min_endpoints,
            keep,
            interval,
            ..Outlier::default()
        })
}

fn narrowing()
-> impl Strategy<Value = (Option<Sticky>, Option<Panic>, Option<Subset>, Option<usize>)> {
    let same_site = prop_oneof![
        Just(SameSite::Lax),
        Just(SameSite::Strict),
        Just(SameSite::None)
    ];
    // Longer than the names of cookies to hash by, which must be others.
    let sticky = (
        "[a-z]{7,9}",
        millis(1000, 86_400_000),
        of("[a-z .]{1,5}"),
        "/[a-z]{0,4}",
        same_site,
    )
        .prop_map(|(cookie, ttl, secret_file, path, same_site)| Sticky {
            cookie,
            ttl,
            secret_file: secret_file.map(Into::into),
            path,
            same_site,
        });
    let rule = prop_oneof![Just(PanicRule::FailOpen), Just(PanicRule::FailClosed)];
    let panic = (share(0), rule).prop_map(|(threshold, rule)| Panic { threshold, rule });
    let otherwise = prop_oneof![Just(Otherwise::Any), Just(Otherwise::None)];
    let subset = ("[a-z]{1,5}", of("[A-Za-z-]{1,6}"), otherwise).prop_map(
        |(metadata, header, otherwise)| Subset {
            metadata,
            header,
            otherwise,
        },
    );
    (of(sticky), of(panic), of(subset), of(2_usize..=100_000))
}

fn health() -> impl Strategy<Value = Health> {
    let kind = prop_oneof![
        Just(CheckType::Http),
        Just(CheckType::Tcp),
        Just(CheckType::Grpc)
    ];
    let initial = prop_oneof![
        Just(InitialHealth::Healthy),
        Just(InitialHealth::Unhealthy),
        Just(InitialHealth::FirstCheck)
    ];
    let range = (200_u16..=599, 0_u16..100).prop_map(|(first, more)| StatusRange {
        first,
        last: (first + more).min(599),
    });
    let fields = || vec(("X-[A-Z][a-z]{0,3}", "[ -~]{0,6}"), 0..2);
    let asked = (
        kind,
        "/[a-z?=]{0,6}",
        of("[a-z]{1,5}(:80)?"),
        fields(),
        of(1_u16..),
        vec(range, 1..4),
        of(any_text().prop_filter("a text", |text| !text.is_empty())),
        of(fields()),
    );
    let judged = (
        millis(10, 86_400_000),
        of(millis(10, 86_400_000)),
        share(0).prop_map(|share| share.min(Share::percent(90))),
        (1_u32..=100, 1_u32..=100, 1_usize..=256, 1_usize..=1024),
        initial,
    );
    let active = (asked, judged).prop_map(|(asked, judged)| {
        let (kind, path, host, headers, port, status, body, header) = asked;
        let (interval, slow_interval, jitter, (rise, fall, history, at_once), initial) = judged;
        ActiveHealth {
            kind,
            path,
            host,
            headers,
            port,
            status,
            body: body.clone(),
            header,
            service: body,
            interval,
            slow_interval,
            jitter,
            rise,
            fall,
            initial,
            history,
            at_once,
            ..ActiveHealth::default()
        }
    });
    of(active).prop_map(|active| Health { active })
}

fn discovery() -> impl Strategy<Value = (Option<std::path::PathBuf>, Discovery)> {
    let family = prop_oneof![Just(Family::Any), Just(Family::Ipv4), Just(Family::Ipv6)];
    let server = any::<([u8; 4], u16)>()
        .prop_map(|(ip, port)| std::net::SocketAddr::from((ip, port.max(1))));
    let rules = (
        vec(server, 0..3),
        family,
        millis(100, 5000),
        millis(5000, 86_400_000),
        millis(10, 60_000),
        any::<bool>(),
    );
    let rules = rules.prop_map(
        |(servers, family, refresh_min, refresh_max, timeout, allow_empty)| Discovery {
            servers,
            family,
            refresh_min,
            refresh_max,
            timeout,
            allow_empty,
            ..Discovery::default()
        },
    );
    (of("[a-z ]{1,9}"), rules).prop_map(|(file, rules)| (file.map(Into::into), rules))
}

fn upstream() -> impl Strategy<Value = Upstream> {
    let tls =
        (of(any::<bool>()), of("[a-z]{1,5}"), any::<bool>()).prop_map(|(ca, name, verify)| {
            ClientTls {
                ca: ca.map(|_| "ca file.pem".into()),
                name,
                certificate: None,
                verify,
            }
        });
    let times = (millis(1, 86_400_000), of(millis(1, 86_400_000)));
    (
        balance(),
        scaling(),
        narrowing(),
        (of(breaker()), of(outlier())),
        of(tls),
        times,
        (vec(endpoint(), 1..4), discovery()),
        (of(bulkhead()), of(health())),
    )
        .prop_map(
            |(
                balance,
                scaling,
                narrowing,
                watched,
                tls,
                times,
                (mut endpoints, found),
                (bulkhead, health),
            )| {
                for (index, endpoint) in endpoints.iter_mut().enumerate() {
                    endpoint.address = format!("host-{index}:80");
                    endpoint.id = endpoint.id.take().map(|id| format!("{id}{index}"));
                }
                let (slow_start, failure_penalty, decisions) = scaling;
                let (sticky, panic, subset, random_subset) = narrowing;
                let (total, max_duration) = times;
                let (endpoints_file, discovery) = found;
                Upstream {
                    endpoints_file,
                    discovery,
                    balance,
                    slow_start,
                    failure_penalty,
                    sticky,
                    panic,
                    subset,
                    random_subset,
                    decisions,
                    proxy_protocol: max_duration.map(|_| ProxyProtocol::V1),
                    breaker: watched.0,
                    outlier: watched.1,
                    tls,
                    bulkhead,
                    health,
                    timeouts: UpstreamTimeouts {
                        total,
                        max_duration,
                        ..UpstreamTimeouts::default()
                    },
                    ..Upstream::new(endpoints)
                }
            },
        )
}

fn network() -> impl Strategy<Value = TrustedProxy> {
    any::<Option<[u8; 4]>>().prop_map(|address| {
        address.map_or(TrustedProxy::Unix, |address| {
            TrustedProxy::Network(Network {
                address: address.into(),
                prefix: 32,
            })
        })
    })
}

fn addresses() -> impl Strategy<Value = Addresses> {
    // Each address once: what stands in both lists is a mistake.
    proptest::collection::hash_set(network(), 0..5).prop_map(|all| {
        let mut all: Vec<_> = all.into_iter().collect();
        let deny = all.split_off(all.len() / 2);
        Addresses { allow: all, deny }
    })
}

/// What of a configuration stands at the door: PROXY headers, lists of addresses, caps.
fn door() -> impl Strategy<Value = (ProxyProtocolIn, Addresses, Option<usize>, AddressPrefix)> {
    let others = select(vec![
        ProxyProtocolOthers::Plain,
        ProxyProtocolOthers::Refuse,
    ]);
    let from = (vec(network(), 1..3), others);
    let from = from.prop_map(|(from, others)| ProxyProtocolFrom { from, others });
    let told = prop_oneof![
        Just(ProxyProtocolIn::Off),
        Just(ProxyProtocolIn::Require),
        from.prop_map(ProxyProtocolIn::From),
    ];
    let prefix = (1_u8..=32, 1_u8..=128).prop_map(|(v4, v6)| AddressPrefix { v4, v6 });
    (told, addresses(), of(1_usize..1000), prefix)
}

/// What is said of the process as a whole, and of its log.
fn process() -> impl Strategy<Value = (Option<String>, Option<Memory>, Redaction)> {
    let memory = of(of(1_u64 << 20..1 << 40)).prop_map(|limit| {
        limit.map(|limit| Memory {
            limit,
            ..Memory::default()
        })
    });
    let redaction = prop_oneof![
        Just(Redaction::All),
        vec("[ -~]{1,8}", 0..3).prop_map(Redaction::Names),
    ];
    (of("[a-z]{1,5}"), memory, redaction)
}

fn file_watch() -> impl Strategy<Value = FileWatch> {
    (1_u64..100).prop_map(|seconds| FileWatch {
        poll: Duration::from_secs(seconds),
    })
}

fn admin() -> impl Strategy<Value = Admin> {
    of("[a-z/.]{1,12}").prop_map(|token_file| Admin {
        // Any address may be open to all when tokens are asked for.
        address: Address::Tcp(
            (
                if token_file.is_some() {
                    [0; 4]
                } else {
                    [127, 0, 0, 1]
                },
                9,
            )
                .into(),
        ),
        token_file: token_file.map(Into::into),
    })
}

fn server_tls() -> impl Strategy<Value = ServerTls> {
    let facts = [
        ClientFact::Subject,
        ClientFact::Names,
        ClientFact::Certificate,
    ];
    let modes = [ClientAuthMode::Require, ClientAuthMode::Optional];
    let header = btree_map("X-[A-Z][a-z-]{0,6}", select(facts.to_vec()), 0..3);
    let client = ("[a-z ]{1,6}", select(modes.to_vec()), header);
    let client = client.prop_map(|(ca, mode, header)| ClientAuth {
        ca: ca.into(),
        mode,
        header: header.into_iter().collect(),
    });
    let pair = ("[a-z.]{1,6}", of("[a-z]{1,5}")).prop_map(|(name, ocsp)| Certificate {
        cert: name.clone().into(),
        key: name.into(),
        ocsp: ocsp.map(Into::into),
    });
    let warning = of(millis(3_600_000, 315_360_000_000));
    let others = (any::<bool>(), 1_usize..=10_000, warning);
    (vec(pair, 1..3), of(client), others).prop_map(|(certificates, client, others)| {
        let (sni_matches_host, handshakes, expiry_warning) = others;
        ServerTls {
            client,
            sni_matches_host,
            handshakes,
            expiry_warning,
            ..ServerTls::new(certificates)
        }
    })
}

pub(super) fn config() -> impl Strategy<Value = Config> {
    (
        vec(route(), 0..4),
        upstream(),
        of("[a-z]{1,5}"),
        of(0_u64..1 << 40),
        of("[a-z]{1,5}"),
        vec(any::<[u8; 4]>(), 0..3),
        (of(file_watch()), of(admin()), of(server_tls())),
        limiters(),
        (door(), process(), addresses()),
    )
        .prop_map(
            |(routes, upstream, via, body_bytes, zone, explain_to, process, limiters, edge)| {
                let (watch, admin, tls) = process;
                let (door, (user, memory, redact_query), of_routes) = edge;
                // Only an upstream with a subset can be asked for one.
                let has_subset = upstream.subset.is_some();
                let named = |(index, route): (usize, Route)| Route {
                    name: Some(format!("route-{index}")),
                    subset: route.subset.filter(|_| has_subset),
                    addresses: of_routes.clone(),
                    ..route
                };
                let (rate_limits, concurrency_limits, bandwidth_limits) = limiters;
                let mut routes: Vec<Route> = routes.into_iter().enumerate().map(named).collect();
                let names = rate_limits.keys().chain(concurrency_limits.keys());
                let names: Vec<String> = names.chain(bandwidth_limits.keys()).cloned().collect();
                if let Some(route) = routes.first_mut() {
                    route.limits = names.clone();
                }
                let mut web = Listener::new(Address::Tcp(([127, 0, 0, 1], 0).into()));
                web.forwarding.via = via;
                web.limits.body_bytes = body_bytes;
                (
                    web.proxy_protocol,
                    web.addresses,
                    web.limits.per_address,
                    web.limits.per_address_prefix,
                ) = door;
                web.limits.apply = names;
                let network = |address: [u8; 4]| {
                    TrustedProxy::Network(Network {
                        address: address.into(),
                        prefix: 32,
                    })
                };
                web.explain_to = explain_to.into_iter().map(network).collect();
                web.tls = tls;
                Config {
                    listeners: [("web".to_owned(), web)].into(),
                    routes,
                    upstreams: [("api".to_owned(), upstream)].into(),
                    zone,
                    group: user.clone(),
                    user,
                    memory,
                    access_log: Some(AccessLog {
                        redact_query,
                        ..AccessLog::default()
                    }),
                    watch,
                    admin,
                    rate_limits,
                    concurrency_limits,
                    bandwidth_limits,
                    ..Config::default()
                }
            },
        )
}
