//! Configurations as an operator might write them, by chance.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::doors::{addresses, door, server_tls};
use super::limiters::limiters;
use super::routes::route;
use super::upstreams::upstream;
use super::values::{millis, share};
use crate::config::schema::*;

/// What is said of the process as a whole, of its log, and of its end.
fn process() -> impl Strategy<Value = (Option<String>, Option<Memory>, Redaction, End)> {
    let shares = (share(10_000), share(10_000));
    let memory = (of(1_u64 << 20..1 << 40), shares).prop_map(|(limit, (one, other))| Memory {
        limit,
        shed_at: one.max(other),
        resume_at: one.min(other),
    });
    let redaction = prop_oneof![
        Just(Redaction::All),
        vec("[ -~]{1,8}", 0..3).prop_map(Redaction::Names),
    ];
    (of("[a-z]{1,5}"), of(memory), redaction, end())
}

/// How a process ends, and another one takes over.
#[derive(Debug)]
struct End {
    delay: Duration,
    timeout: Duration,
    upgrade: Upgrade,
}

fn end() -> impl Strategy<Value = End> {
    let spans = (millis(0, 3_600_000), millis(0, 86_400_000));
    (spans, millis(1000, 3_600_000)).prop_map(|((delay, drain), timeout)| End {
        delay,
        timeout: drain,
        upgrade: Upgrade { timeout },
    })
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
                let (door, (user, memory, redact_query, end), of_routes) = edge;
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
                    drain_delay: end.delay,
                    drain_timeout: end.timeout,
                    upgrade: end.upgrade,
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
