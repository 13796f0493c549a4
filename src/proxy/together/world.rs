//! The real upstream, carried out as the proxy does it but for sockets and tasks: the time is what the test says it is.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::events::Rules;
use super::reference::queue::Waits;
use super::reference::{Expected, MS, Reference};
use crate::attempt::retry::Decision;
use crate::balance::{self, Lack, Memory, Signals, Totals};
use crate::clock::Instant;
use crate::config::{self, units::Share};
use crate::entropy::Random;
use crate::observe::{self, Labels, UpstreamCells};
use crate::proxy::verdict::Verdict;
use crate::tls::Shared;
use crate::upstream::Upstream;
use crate::upstream::bulkhead::{Bulkhead, Grant, Refusal, Wait};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::groups::Ask;
use crate::upstream::registry::Registry;

static TLS: LazyLock<Shared> = LazyLock::new(|| Shared::new().expect("a provider"));

/// A configuration with what a worker keeps for it.
pub(super) struct Generation {
    pub(super) number: usize,
    pub(super) upstream: Arc<Upstream>,
    memories: RefCell<Vec<Memory>>,
}

/// What is to be sent, and where it has been.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) of: Rc<Generation>,
    pub(super) tried: Vec<usize>,
    pub(super) class: config::Priority,
    pub(super) span: u64,
}

/// One attempt under way.
pub(super) struct Attempt {
    pub(super) number: usize,
    pub(super) request: Request,
    pub(super) i: usize,
    pub(super) taken: Instant,
    pub(super) load: u32,
    pub(super) verdict: Verdict,
    /// Its head came.
    pub(super) status: Option<u16>,
}

impl Attempt {
    pub(super) fn upstream(&self) -> Arc<Upstream> {
        Arc::clone(&self.request.of.upstream)
    }

    pub(super) fn endpoint(&self) -> Arc<Endpoint> {
        Arc::clone(&self.request.of.upstream.endpoints[self.i])
    }
}

/// One request that waits.
pub(super) struct Waiter {
    pub(super) number: usize,
    pub(super) request: Request,
    pub(super) waits: Waits,
    /// Where it stands in the queue, if it has to.
    pub(super) has_place: bool,
    pub(super) wait: Wait,
}

impl Waiter {
    /// What came of its wait so far.
    pub(super) fn poll(&mut self) -> Option<Result<Grant, Refusal>> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.wait).poll(&mut cx) {
            Poll::Ready(verdict) => Some(verdict),
            Poll::Pending => None,
        }
    }
}

pub(super) struct World {
    pub(super) registry: Registry,
    _metrics: Arc<observe::Registry>,
    pub(super) cells: Arc<UpstreamCells>,
    pub(super) current: Rc<Generation>,
    pub(super) members: Vec<(usize, u16)>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) waiters: Vec<Waiter>,
    pub(super) random: Random,
    pub(super) reference: Reference,
    next: usize,
}

impl World {
    pub(super) fn new(rules: Rules) -> Self {
        let members: Vec<(usize, u16)> = vec![(0, 1), (1, 2), (2, 3)];
        let metrics = observe::Registry::new(1, LABELS, Instant(0));
        let registry = Registry::default();
        let now = Instant(MS);
        let upstream = compiled(&registry, &rules, &members);
        let mut random = Random::seeded(7);
        put_in_force(&registry, &upstream, None, now, &mut random);
        let mut world = Self {
            cells: metrics.worker(0).upstream("pool"),
            _metrics: metrics,
            current: Rc::new(Generation::new(0, upstream)),
            registry,
            attempts: Vec::new(),
            waiters: Vec::new(),
            random,
            reference: Reference::new(rules, &members),
            members,
            next: 0,
        };
        world.join();
        world
    }

    pub(super) fn now(&self) -> Instant {
        Instant(self.reference.now)
    }

    pub(super) fn bulkhead(&self) -> Arc<Bulkhead> {
        let bulkhead = self.current.upstream.bulkhead.as_ref();
        Arc::clone(&bulkhead.expect("it has one").state)
    }

    pub(super) fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// The configuration is read again.
    pub(super) fn reload(&mut self) {
        let now = self.now();
        let upstream = compiled(&self.registry, &self.reference.rules, &self.members);
        put_in_force(&self.registry, &upstream, Some(now), now, &mut self.random);
        let served = self.reference.reload(&self.members);
        let number = self.reference.current();
        self.current = Rc::new(Generation::new(number, upstream));
        self.join();
        self.settle_looked(served);
    }

    /// What its successes bring in is counted from now on.
    fn join(&mut self) {
        let upstream = &self.current.upstream;
        upstream.retries.join(&self.cells);
        let hedge = upstream.hedge.as_ref().expect("it hedges");
        hedge.hedging.fund.join(&self.cells);
    }

    /// Picks an endpoint and takes a slot of it. What comes of it is what the reference expects.
    pub(super) fn pick(&mut self, request: &Request, number: usize) -> Result<Attempt, Lack> {
        let expected = self.reference.expected(request.of.number, &request.tried);
        let picked = self.choose(request);
        match (&picked, &expected) {
            (Ok((i, _)), Expected::Among(all)) if all.contains(i) => {}
            (Err(lack), Expected::Lack(expected)) if lack == expected => {}
            _ => panic!(
                "{:?} was picked, {expected:?} was expected",
                picked.map(|(i, _)| i)
            ),
        }
        let (i, verdict) = picked?;
        let now = self.now();
        let signals = &request.of.upstream.endpoints[i].signals;
        let load = signals.in_flight.load() - 1;
        signals.picked(now);
        self.reference.begins(number, request.of.number, i);
        let is_probe = self.reference.attempts[&number].is_probe();
        assert_eq!(verdict.is_probe(), is_probe);
        let mut request = request.clone();
        request.tried.push(i);
        Ok(Attempt {
            number,
            request,
            i,
            taken: now,
            load,
            verdict,
            status: None,
        })
    }

    fn choose(&mut self, request: &Request) -> Result<(usize, Verdict), Lack> {
        let (of, now) = (&request.of, self.now());
        let shared = &of.upstream;
        let narrowed = shared.groups.narrowed();
        let live = Live {
            request,
            now: self.now(),
        };
        for _ in 0..=shared.endpoints.len() {
            let mut memories = of.memories.borrow_mut();
            let picked = shared.groups.pick(
                &narrowed,
                &Ask::default(),
                &live,
                &mut memories,
                &mut self.random,
                None,
            );
            let spread = narrowed.section(0);
            let is_candidate = |i: usize| {
                let mut groups = spread.groups().iter();
                groups.any(|group| group.members.is_candidate(i))
            };
            let mut untried = (0..shared.endpoints.len())
                .filter(|i| is_candidate(*i) && !request.tried.contains(i));
            let picked = match picked {
                Err(Lack::Capacity) if untried.all(|i| shared.endpoints[i].breaker.is_taken()) => {
                    return Err(if request.tried.is_empty() {
                        Lack::BreakerOpen
                    } else {
                        Lack::Untried
                    });
                }
                picked => picked?,
            };
            let endpoint = &shared.endpoints[picked.endpoint];
            let mut verdict = Verdict::default();
            if verdict.ask_endpoint(now, shared, endpoint)
                && endpoint
                    .signals
                    .in_flight
                    .reserve(shared.attempt_cap(endpoint, now))
            {
                return Ok((picked.endpoint, verdict));
            }
        }
        Err(Lack::Capacity)
    }
}

impl Generation {
    fn new(number: usize, upstream: Upstream) -> Self {
        let memories = upstream.groups.groups().iter().map(|_| Memory::default());
        Self {
            number,
            memories: RefCell::new(memories.collect()),
            upstream: Arc::new(upstream),
        }
    }
}

struct Live<'a> {
    request: &'a Request,
    now: Instant,
}

impl balance::Live for Live<'_> {
    fn now(&self) -> Instant {
        self.now
    }

    fn signals(&self, i: usize) -> &Signals {
        &self.request.of.upstream.endpoints[i].signals
    }

    fn totals(&self) -> &Totals {
        &self.request.of.upstream.groups.totals
    }

    fn full(&self, i: usize) -> bool {
        let upstream = &self.request.of.upstream;
        let endpoint = &upstream.endpoints[i];
        endpoint.breaker.is_taken()
            || endpoint.signals.in_flight.load() >= upstream.attempt_cap(endpoint, self.now)
    }

    fn tried(&self, i: usize) -> bool {
        self.request.tried.contains(&i)
    }
}

const LABELS: Labels = Labels {
    errors: &[],
    refusals: &[],
    reasons: &[],
    decisions: &Decision::LABELS,
    hedges: &[],
};

fn put_in_force(
    registry: &Registry,
    upstream: &Upstream,
    after: Option<Instant>,
    now: Instant,
    random: &mut Random,
) {
    registry.put_in_force(upstream.endpoints.iter(), after);
    upstream.enroll(now, random);
    upstream.look(now);
}

fn compiled(registry: &Registry, rules: &Rules, members: &[(usize, u16)]) -> Upstream {
    let endpoints = members.iter().map(|(id, port)| config::Endpoint {
        id: Some(id.to_string()),
        ..config::Endpoint::new(format!("127.0.0.1:{port}"))
    });
    let written = config::Upstream {
        timeouts: config::UpstreamTimeouts {
            total: millis(Rules::TOTAL),
            ..config::UpstreamTimeouts::default()
        },
        breaker: Some(config::Breaker {
            consecutive_failures: Some(rules.consecutive),
            failure_rate: Some(Share::percent(Rules::FAILURE_RATE)),
            slow_call: Some(millis(Rules::SLOW_CALL)),
            slow_rate: Share::percent(Rules::SLOW_RATE),
            min_samples: Rules::MIN_SAMPLES,
            window: millis(Rules::WINDOW),
            open_for: millis(Rules::OPEN_FOR),
            open_for_max: millis(Rules::OPEN_FOR_MAX),
            jitter: Share::percent(rules.jitter),
            probes: rules.probes,
            ramp: None,
            ..config::Breaker::default()
        }),
        outlier: Some(config::Outlier {
            consecutive_gateway_failures: Some(rules.in_row),
            failure_rate: Some(Share::percent(Rules::WORSE_BY)),
            min_samples: Rules::MIN_SAMPLES,
            interval: millis(Rules::INTERVAL),
            keep: rules.keep,
            eject_for: millis(Rules::EJECT_FOR),
            eject_for_max: millis(Rules::EJECT_FOR_MAX),
            jitter: Share::percent(rules.jitter),
            ..config::Outlier::default()
        }),
        bulkhead: Some(config::Bulkhead {
            max_in_flight: rules.max_in_flight,
            per_endpoint: rules.per_endpoint,
            queue: rules.capacity,
            order: rules.order,
            standing: config::StandingQueue {
                after: millis(Rules::STANDING_AFTER),
                timeout: millis(Rules::STANDING_TIMEOUT),
            },
            ..config::Bulkhead::default()
        }),
        retry: Some(config::Retry {
            budget: Some(Share::percent(Rules::RETRIES.0)),
            budget_cap: Rules::RETRIES.1,
            ..config::Retry::default()
        }),
        hedge: Some(config::Hedge {
            max: Share::percent(Rules::HEDGES.0),
            ..config::Hedge::default()
        }),
        health: Some(config::Health {
            active: Some(config::ActiveHealth {
                rise: rules.rise,
                fall: rules.fall,
                initial: if rules.is_healthy_at_first {
                    config::InitialHealth::Healthy
                } else {
                    config::InitialHealth::Unhealthy
                },
                ..config::ActiveHealth::default()
            }),
        }),
        ..config::Upstream::new(endpoints.collect())
    };
    Upstream::compile("pool", &written, None, registry, &TLS).expect("it can be used")
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
