//! Upstreams as an operator might write them, by chance.

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::values::{any_text, decimal, millis, share};
use crate::config::schema::*;
use crate::config::units::Share;

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

pub(super) fn upstream() -> impl Strategy<Value = Upstream> {
    let tls = (
        of("[a-z ]{1,9}"),
        of("[a-z]{1,5}"),
        of("[a-z]{1,5}"),
        any::<bool>(),
    )
        .prop_map(|(ca, name, pair, verify)| {
            let pair = pair.map(|name| ClientCertificate {
                cert: format!("{name}.pem").into(),
                key: format!("{name}.key").into(),
            });
            ClientTls {
                ca: ca.map(Into::into),
                name,
                certificate: pair,
                verify,
            }
        });
    let told = of(select(vec![ProxyProtocol::V1, ProxyProtocol::V2]));
    let times = (millis(1, 86_400_000), of(millis(1, 86_400_000)));
    (
        balance(),
        scaling(),
        narrowing(),
        (of(breaker()), of(outlier())),
        of(tls),
        times,
        (vec(endpoint(), 1..4), discovery()),
        (of(bulkhead()), of(health()), told),
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
                (bulkhead, health, proxy_protocol),
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
                    proxy_protocol,
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
