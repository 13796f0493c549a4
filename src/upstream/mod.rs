//! What do we know of the other side, and how do we reach it?
//!
//! An [`Upstream`] is compiled from the configuration; its [`endpoint::Endpoint`]s are State: they are taken from the
//! [`registry::Registry`] by identity, so that a new configuration finds their live numbers as they were.

pub mod absence;
pub mod breaker;
pub mod bulkhead;
pub mod census;
pub mod client_tls;
pub mod connect;
pub mod endpoint;
pub mod explain;
pub mod groups;
pub mod health;
pub mod hedging;
pub mod members;
pub mod outlier;
pub mod outlook;
pub mod pool;
pub mod probe;
pub mod registry;
pub mod retries;
pub mod selectors;

use std::collections::HashMap;
use std::sync::Arc;

use crate::attempt::{Backoff, budget, hedge, retry};
use crate::balance::{appraisal, narrow};
use crate::clock::Instant;
use crate::config;
use crate::observe::decision::Decisions;
use crate::observe::event::{Events, Kind};
use crate::proxy_protocol;
use crate::tls::{Shared, TlsError};
use breaker::Breaker;
use census::Census;
use client_tls::ClientTls;
use endpoint::Endpoint;
use groups::Groups;
use hedging::Hedging;
use members::{Member, Used};
use outlier::Outlier;
use probe::Checks;
use registry::Registry;
use retries::Retries;
use selectors::{SecretError, Selectors};

/// A named group of interchangeable endpoints under one policy.
pub struct Upstream {
    pub name: String,
    pub endpoints: Vec<Arc<Endpoint>>,
    /// What those were made of that are written as names or stand in a file.
    found: Vec<Used>,
    /// Who of them can be picked, and how.
    pub groups: Groups,
    /// The name of the policy.
    pub balance: &'static str,
    /// By what of a request they are chosen; `None`: by nothing of it.
    pub selectors: Option<Arc<Selectors>>,
    /// Which keys it is asked for most, where it hashes any.
    pub census: Option<Arc<Census>>,
    /// Values of the subset's metadata by their number.
    pub subsets: HashMap<u32, String>,
    /// The response header in which an endpoint says what it has in flight.
    pub report: Option<Box<str>>,
    /// Decisions that were written down, and which are to be.
    pub decisions: Arc<Decisions>,
    pub recording: config::Decisions,
    /// When attempts are let through no more. Off: they always are.
    pub breaker: Option<Breaker>,
    /// Who is worse than their peers.
    pub outlier: Outlier,
    /// Where it is noted what changes by itself.
    pub events: Arc<Events>,
    pub protocol: config::Protocol,
    /// How endpoints are spoken to over TLS; off: clear text.
    pub tls: Option<ClientTls>,
    /// How endpoints are told whose connection it is; then none is used for another request.
    pub proxy_protocol: Option<proxy_protocol::Version>,
    pub timeouts: config::UpstreamTimeouts,
    pub connections: config::Connections,
    /// How many attempts at once; off: as many as come.
    pub bulkhead: Option<bulkhead::Configured>,
    /// How its endpoints are checked; `None`: they are not.
    pub checks: Option<Arc<Checks>>,
    /// When a request is sent again.
    pub retry: config::Retry,
    /// The same, as far as the plan of a request goes by it.
    pub tries: retry::Rules,
    /// What fills the budget; `None`: retries are not bounded by one.
    pub terms: Option<budget::Terms>,
    pub retries: Arc<Retries>,
    /// When requests are hedged; `None`: they are not.
    pub hedge: Option<Hedge>,
}

/// How requests to an upstream are hedged.
pub struct Hedge {
    pub rules: hedge::Rules,
    /// What pays for hedges, beside the budget of retries.
    pub terms: budget::Terms,
    pub hedging: Arc<Hedging>,
}

/// Hedges that are saved up at most. A few, for requests that come in bursts.
const HEDGES: f64 = 10.0;

/// Why an upstream cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error(
        "upstreams.{upstream}: endpoint `{address}`: {reason}; write `host:port`, `[v6]:port`, `srv:name` or `unix:/path`"
    )]
    Malformed {
        upstream: String,
        address: String,
        reason: config::units::UnitError,
    },
    #[error("upstreams.{upstream}.tls: {source}")]
    Tls { upstream: String, source: TlsError },
    #[error("upstreams.{upstream}.health.active: {source}")]
    Checks {
        upstream: String,
        source: probe::CompileError,
    },
    #[error("upstreams.{upstream}.sticky: {source}")]
    Secret {
        upstream: String,
        source: SecretError,
    },
}

impl Upstream {
    /// Finds the endpoints of one upstream and what is known of them. `zone` is that of this proxy. Blocks on files.
    pub fn compile(
        name: &str,
        written: &config::Upstream,
        zone: Option<&str>,
        registry: &Registry,
        shared: &Shared,
    ) -> Result<Self, CompileError> {
        Self::compile_after(None, name, written, zone, registry, shared)
    }

    /// The same; `before` is what was compiled of the same configuration, in which only the endpoints have changed. No file is
    /// read again: a certificate that somebody is about to replace must not keep a new list out.
    pub fn compile_after(
        before: Option<&Self>,
        name: &str,
        written: &config::Upstream,
        zone: Option<&str>,
        registry: &Registry,
        shared: &Shared,
    ) -> Result<Self, CompileError> {
        let failed = |source| CompileError::Tls {
            upstream: name.to_owned(),
            source,
        };
        let tls = match (before, &written.tls) {
            (Some(before), _) => before.tls.clone(),
            (None, Some(tls)) => {
                Some(ClientTls::compile(tls, written.protocol, shared).map_err(failed)?)
            }
            (None, None) => None,
        };
        let checks = match before {
            Some(before) => before.checks.clone(),
            None => compile_checks(name, written, tls.as_ref(), shared)?.map(Arc::new),
        };
        let gathered = members::gather(name, written, registry.supply());
        let (members, found) = gathered.map_err(|(address, reason)| CompileError::Malformed {
            upstream: name.to_owned(),
            address,
            reason,
        })?;
        let mut endpoints = Vec::with_capacity(members.len());
        let mut places = Vec::with_capacity(members.len());
        for member in &members {
            if let Some(tls) = &tls {
                tls.check(&member.target).map_err(failed)?;
            }
            places.push(place(&member.written, &member.id, written, zone));
            endpoints.push(registry.endpoint(
                name,
                &member.id,
                &member.authority,
                member.target.clone(),
            ));
        }
        let rules = (
            narrow_rules(written, zone, registry),
            appraisal_rules(written),
        );
        let totals = registry.totals(name);
        let groups = Groups::compile(&places, &endpoints, &written.balance, rules, totals);
        let selectors = match before {
            Some(before) => Ok(before.selectors.clone()),
            None => Selectors::compile(name, written, registry).map(|all| all.map(Arc::new)),
        };
        let selectors = selectors.map_err(|source| CompileError::Secret {
            upstream: name.to_owned(),
            source,
        })?;
        let key = selectors.as_ref().and_then(|all| all.key.as_ref());
        let census = key.map(|key| registry.census(name, key));
        let retry = written.retry.clone().unwrap_or_else(|| config::Retry {
            max_attempts: 1,
            ..config::Retry::default()
        });
        let breaker = written.breaker.as_ref().map(|breaker| {
            let shared = || registry.breaker(name);
            let breaker = Breaker::of_upstream(name, breaker, registry.events(), shared);
            begin(&breaker, &endpoints);
            breaker
        });
        Ok(Self {
            name: name.to_owned(),
            endpoints,
            found,
            groups,
            census,
            balance: written.balance.name(),
            selectors,
            subsets: subsets(written, &members),
            report: match &written.balance {
                config::Balance::Prequal(options) => options.report.as_deref().map(Into::into),
                _ => None,
            },
            decisions: registry.decisions(name),
            recording: written.decisions.clone(),
            breaker,
            outlier: Outlier::new(
                name,
                written.outlier.as_ref(),
                registry.watch(name),
                registry.events(),
            ),
            events: registry.events(),
            protocol: written.protocol,
            tls,
            proxy_protocol: written.proxy_protocol.map(Into::into),
            timeouts: written.timeouts.clone(),
            connections: written.connections.clone(),
            bulkhead: written
                .bulkhead
                .as_ref()
                .map(|written| bulkhead::Configured::new(registry.bulkhead(name), written.into())),
            checks,
            tries: retry_rules(&retry),
            terms: retry.budget.map(|share| budget::Terms {
                share: share.fraction(),
                cap: retry.budget_cap.into(),
            }),
            retry,
            retries: registry.retries(name),
            hedge: written.hedge.as_ref().map(|written| Hedge {
                rules: hedge::Rules {
                    quantile: written.after.quantile(),
                    min_samples: written.min_samples.into(),
                },
                terms: budget::Terms {
                    share: written.max.fraction(),
                    cap: HEDGES,
                },
                hedging: registry.hedging(name),
            }),
        })
    }

    /// The names and files that its endpoints come from, and which of their lists was used.
    pub fn sources(&self) -> &[Used] {
        &self.found
    }

    /// Whether what its endpoints were made of has changed since.
    pub fn is_outdated(&self) -> bool {
        self.found.iter().any(Used::is_outdated)
    }

    /// How many connections an endpoint may have now: fewer in slow start, at least one.
    pub fn connection_cap(&self, endpoint: &Endpoint, now: Instant) -> usize {
        let cap = self.connections.max;
        if !endpoint.signals.is_ramping() {
            return cap;
        }
        ((cap as f64 * self.groups.in_force(endpoint, now)) as usize).max(1)
    }

    /// How many attempts may be under way at an endpoint now: fewer in slow start, at least one.
    pub fn attempt_cap(&self, endpoint: &Endpoint, now: Instant) -> u32 {
        let Some(bulkhead) = &self.bulkhead else {
            return u32::MAX;
        };
        let cap = bulkhead.rules.per_endpoint;
        if endpoint.signals.ramping_since().is_none() {
            return cap;
        }
        ((f64::from(cap) * self.groups.in_force(endpoint, now)) as u32).max(1)
    }

    /// Finds out how the endpoints stand and fare; to be called from a tick, and when something has changed.
    pub fn look(&self, now: Instant) {
        self.look_at_breakers(now);
        self.outlier.look(&self.endpoints, &self.groups, now);
        self.groups.look(&self.endpoints, now);
        if let Some(census) = &self.census {
            census.tick(now);
        }
        if let Some(bulkhead) = &self.bulkhead
            && let Some(text) = bulkhead.state.look(now, &bulkhead.rules)
        {
            self.events
                .note(now, Kind::Bulkhead, &self.name, None, text);
        }
        if let Some(hedge) = &self.hedge {
            hedge.hedging.tick(now, hedge.rules);
        }
    }

    fn look_at_breakers(&self, now: Instant) {
        match &self.breaker {
            Some(breaker) if breaker.shared.is_none() => {
                let endpoints = self.endpoints.iter();
                endpoints.for_each(|endpoint| breaker.look(endpoint, now));
            }
            whole => {
                if let Some(breaker) = whole {
                    breaker.look_shared(now, Some(ended(&self.endpoints)));
                }
                let endpoints = self.endpoints.iter();
                endpoints.for_each(|endpoint| breaker::release(endpoint, now));
            }
        }
    }
}

/// Breakers that nobody looked at before count from now on, not what ended in the life of their endpoints.
fn begin(breaker: &Breaker, endpoints: &[Arc<Endpoint>]) {
    match &breaker.shared {
        Some(switch) => switch.begin(ended(endpoints)),
        None => {
            for endpoint in endpoints {
                endpoint.breaker.begin(endpoint.signals.ends().0);
            }
        }
    }
}

/// Attempts that ended so far at all of these; it wraps.
fn ended(endpoints: &[Arc<Endpoint>]) -> u32 {
    let ends = endpoints.iter().map(|endpoint| endpoint.signals.ends().0);
    ends.fold(0, u32::wrapping_add)
}

fn compile_checks(
    name: &str,
    written: &config::Upstream,
    tls: Option<&ClientTls>,
    shared: &Shared,
) -> Result<Option<Checks>, CompileError> {
    let health = written.health.as_ref();
    let Some(active) = health.and_then(|health| health.active.as_ref()) else {
        return Ok(None);
    };
    let checks = Checks::compile(active, written, tls, shared);
    checks.map(Some).map_err(|source| CompileError::Checks {
        upstream: name.to_owned(),
        source,
    })
}

/// An endpoint, known by its id, as it is narrowed.
fn place(
    written: &config::Endpoint,
    id: &str,
    upstream: &config::Upstream,
    zone: Option<&str>,
) -> narrow::Place {
    let subset = upstream.subset.as_ref();
    let value = subset.and_then(|subset| written.metadata.get(&subset.metadata));
    narrow::Place {
        identity: xxhash_rust::xxh3::xxh3_64(id.as_bytes()),
        weight: written.weight,
        priority: written.priority,
        backup: written.backup,
        draining: written.draining,
        is_local: zone.is_some() && written.zone.as_deref() == zone,
        subset: value.map(|value| groups::subset(value.as_bytes())),
    }
}

/// The values of the subset's metadata that endpoints have, by the numbers that stand for them.
fn subsets(written: &config::Upstream, members: &[Member]) -> HashMap<u32, String> {
    let Some(subset) = &written.subset else {
        return HashMap::new();
    };
    let metadata = members.iter().map(|member| &member.written.metadata);
    let values = metadata.filter_map(|metadata| metadata.get(&subset.metadata));
    values
        .map(|value| (groups::subset(value.as_bytes()), value.clone()))
        .collect()
}

fn narrow_rules(
    written: &config::Upstream,
    zone: Option<&str>,
    registry: &Registry,
) -> narrow::Rules {
    narrow::Rules {
        prefer_local: zone.is_some(),
        random_subset: written.random_subset.map(|size| narrow::RandomSubset {
            size,
            seed: registry.seed(),
        }),
        panic: written.panic.as_ref().map(|panic| narrow::Panic {
            threshold: panic.threshold.fraction(),
            rule: match panic.rule {
                config::PanicRule::FailOpen => narrow::PanicRule::FailOpen,
                config::PanicRule::FailClosed => narrow::PanicRule::FailClosed,
            },
        }),
    }
}

fn retry_rules(written: &config::Retry) -> retry::Rules {
    retry::Rules {
        max_attempts: written.max_attempts,
        backoff: Backoff {
            base: written.backoff.base,
            max: written.backoff.max,
        },
        retry_after_max: written.retry_after_max,
    }
}

fn appraisal_rules(written: &config::Upstream) -> appraisal::Rules {
    let latency_decay = match &written.balance {
        config::Balance::PeakEwma(options) => options.decay,
        _ => config::PeakEwma::default().decay,
    };
    appraisal::Rules {
        slow_start: written
            .slow_start
            .as_ref()
            .map(|slow_start| appraisal::SlowStart {
                window: slow_start.window,
                aggression: slow_start.aggression.value(),
                min_weight: slow_start.min_weight.fraction(),
            }),
        failure_window: written
            .failure_penalty
            .as_ref()
            .map(|penalty| penalty.window),
        latency_decay,
    }
}
