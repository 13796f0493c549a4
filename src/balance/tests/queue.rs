//! A queueing system under a virtual clock that drives the real policies: arrivals by chance, backends that serve in order
//! of arrival, and [`Signals`] and [`Totals`] told what the proxy would tell them.
//!
//! 1. A request arrives (Poisson): the policy picks, a slot is taken, the backend serves it or lets it wait.
//! 2. It ends: the slot is given back, and the endpoint's numbers hear how it went.
//! 3. Every 100 ms all endpoints are appraised.

use super::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Between two appraisals, as in the proxy.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// How soon a request fails that is to fail, whatever else is under way.
pub(super) const FAILS_AFTER: Duration = Duration::from_millis(1);

/// How long a backend works on a request; the mean.
#[derive(Debug, Clone, Copy)]
pub(super) enum Service {
    Exponential(Duration),
    Constant(Duration),
}

/// What stands behind an endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backend {
    pub(super) service: Service,
    /// Requests worked on at once; the others wait.
    pub(super) slots: usize,
    /// The chance of a request to fail.
    pub(super) failing: f64,
}

impl Backend {
    pub(super) fn new(service: Service) -> Self {
        Self {
            service,
            slots: 1,
            failing: 0.0,
        }
    }

    pub(super) fn slots(self, slots: usize) -> Self {
        Self { slots, ..self }
    }
}

/// A request at a backend. In the order in which they end.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Attempt {
    ends: Instant,
    /// Counts up, so that those that end at once do so in a fixed order.
    number: u64,
    endpoint: usize,
    taken: Instant,
    /// What else was under way at the endpoint then.
    load: u32,
    fails: bool,
}

/// The whole system.
pub(super) struct Queue {
    pub(super) policy: Policy,
    pub(super) rules: appraisal::Rules,
    pub(super) members: Members,
    pub(super) backends: Vec<Backend>,
    /// Mean arrivals in a second.
    pub(super) per_second: f64,
    pub(super) live: Numbers,
    pub(super) seen: Seen,
    memory: Memory,
    /// Of the policy.
    random: Random,
    /// Of arrivals and of what backends do: the same for every policy.
    chance: Random,
    /// When each slot of a backend is free again.
    free_at: Vec<Vec<Instant>>,
    under_way: BinaryHeap<Reverse<Attempt>>,
    arrived: u64,
    arrives: Instant,
    look: Instant,
}

impl Queue {
    /// Idle endpoints of weight 1.
    pub(super) fn new(policy: &Policy, backends: Vec<Backend>, per_second: f64, seed: u64) -> Self {
        let count = backends.len();
        let live = Numbers::idle(count);
        if let Policy::Prequal(_) = policy {
            live.signals
                .iter()
                .for_each(|signals| signals.by_load.enable());
        }
        let mut queue = Self {
            policy: policy.clone(),
            rules: RULES,
            members: weighing(&vec![1; count]),
            per_second,
            live,
            seen: Seen::new(Instant::default(), count),
            memory: Memory::default(),
            random: Random::seeded(seed),
            chance: Random::seeded(!seed),
            free_at: vec![Vec::new(); count],
            backends,
            under_way: BinaryHeap::new(),
            arrived: 0,
            arrives: Instant::default(),
            look: Instant::default(),
        };
        queue.arrives = queue.next_arrival();
        queue
    }

    /// From now on these belong to the upstream. Whoever decides that looks at them all before a request can meet them.
    pub(super) fn change(&mut self, members: Members) {
        self.members = members;
        self.appraise();
    }

    /// Lets so much time pass.
    pub(super) fn run(&mut self, span: Duration) {
        self.run_watched(span, |_, _| {});
    }

    /// The same; `watch` sees each pick, before its slot is taken.
    pub(super) fn run_watched(&mut self, span: Duration, mut watch: impl FnMut(&Numbers, usize)) {
        let until = self.live.now + span;
        loop {
            let ends = self
                .under_way
                .peek()
                .map_or(Instant::FAR, |next| next.0.ends);
            let next = ends.min(self.arrives).min(self.look);
            if next > until {
                break;
            }
            self.live.now = next;
            if next == ends {
                self.end();
            } else if next == self.arrives {
                self.arrive(&mut watch);
            } else {
                self.appraise();
            }
        }
        self.live.now = until;
        self.seen.until = until;
    }

    /// Forgets what was seen so far: what follows is measured.
    pub(super) fn measure(&mut self) {
        let seen = Seen::new(self.live.now, self.backends.len());
        let before = std::mem::replace(&mut self.seen, seen);
        for (held, before) in self.seen.held.iter_mut().zip(before.held) {
            held.load = before.load;
        }
    }

    fn next_arrival(&mut self) -> Instant {
        let mean = Duration::from_secs_f64(1.0 / self.per_second);
        self.live.now + exponential(mean, &mut self.chance)
    }

    fn arrive(&mut self, watch: &mut impl FnMut(&Numbers, usize)) {
        self.arrives = self.next_arrival();
        let now = self.live.now;
        let key = Some(self.chance.next_u64());
        let view = View::new(&self.members, &self.live);
        let picked = self
            .policy
            .pick(&mut self.memory, &view, key, &mut self.random, None);
        let endpoint = picked.expect("an endpoint is free").endpoint;
        watch(&self.live, endpoint);
        let signals = &self.live.signals[endpoint];
        let load = signals.in_flight.load();
        signals.in_flight.reserve(u32::MAX);
        signals.picked(now);
        self.seen.picked(now, endpoint);
        self.arrived += 1;
        let fails = self.chance.unit() < self.backends[endpoint].failing;
        let attempt = Attempt {
            ends: if fails {
                now + FAILS_AFTER
            } else {
                self.serve(endpoint)
            },
            number: self.arrived,
            endpoint,
            taken: now,
            load,
            fails,
        };
        self.under_way.push(Reverse(attempt));
    }

    /// When a request that comes now will have been served.
    fn serve(&mut self, endpoint: usize) -> Instant {
        let backend = &self.backends[endpoint];
        let span = match backend.service {
            Service::Constant(span) => span,
            Service::Exponential(mean) => exponential(mean, &mut self.chance),
        };
        let free_at = &mut self.free_at[endpoint];
        if free_at.len() < backend.slots {
            free_at.push(Instant::default());
        }
        let next = free_at.iter_mut().min().expect("a backend has a slot");
        *next = (*next).max(self.live.now) + span;
        *next
    }

    fn end(&mut self) {
        let Some(Reverse(attempt)) = self.under_way.pop() else {
            return;
        };
        let now = self.live.now;
        let signals = &self.live.signals[attempt.endpoint];
        signals.in_flight.release();
        let (spent, decay) = (now.since(attempt.taken), self.rules.latency_decay);
        if attempt.fails {
            signals.failed(now, spent, decay);
        } else {
            signals.answered(now, spent, attempt.load, decay);
        }
        self.seen.ended(now, attempt.endpoint, spent, attempt.fails);
    }

    fn appraise(&mut self) {
        self.look = self.live.now + LOOK;
        self.live.appraise(&self.members, &self.rules);
    }
}

fn exponential(mean: Duration, chance: &mut Random) -> Duration {
    // `1 - unit` is never 0.
    mean.mul_f64(-(1.0 - chance.unit()).ln())
}

/// What happened since the measuring began.
pub(super) struct Seen {
    since: Instant,
    until: Instant,
    picks: Vec<u64>,
    failures: u64,
    /// From arrival to answer, in nanoseconds; failures left out.
    times: Vec<u64>,
    held: Vec<Held>,
}

/// What an endpoint held, summed over time in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    load: u32,
    changed: Instant,
    load_nanos: f64,
    busy_nanos: f64,
}

impl Held {
    fn settle(&mut self, now: Instant) {
        let nanos = now.since(self.changed).as_nanos() as f64;
        self.changed = now;
        self.load_nanos += f64::from(self.load) * nanos;
        if self.load > 0 {
            self.busy_nanos += nanos;
        }
    }
}

impl Seen {
    fn new(now: Instant, endpoints: usize) -> Self {
        let held = Held {
            changed: now,
            ..Held::default()
        };
        Self {
            since: now,
            until: now,
            picks: vec![0; endpoints],
            failures: 0,
            times: Vec::new(),
            held: vec![held; endpoints],
        }
    }

    fn picked(&mut self, now: Instant, endpoint: usize) {
        self.picks[endpoint] += 1;
        let held = &mut self.held[endpoint];
        held.settle(now);
        held.load += 1;
    }

    fn ended(&mut self, now: Instant, endpoint: usize, spent: Duration, failed: bool) {
        let held = &mut self.held[endpoint];
        held.settle(now);
        held.load -= 1;
        if failed {
            self.failures += 1;
        } else {
            self.times.push(spent.as_nanos() as u64);
        }
    }

    fn span(&self) -> Duration {
        self.until.since(self.since)
    }

    pub(super) fn requests(&self) -> u64 {
        self.picks.iter().sum()
    }

    /// The part of all requests that went there.
    pub(super) fn share(&self, endpoint: usize) -> f64 {
        self.picks[endpoint] as f64 / self.requests() as f64
    }

    pub(super) fn shares(&self) -> Vec<f64> {
        (0..self.picks.len()).map(|i| self.share(i)).collect()
    }

    /// The mean number of requests at an endpoint.
    pub(super) fn in_flight(&self, endpoint: usize) -> f64 {
        self.held(endpoint).load_nanos / self.span().as_nanos() as f64
    }

    /// The part of the time in which an endpoint had a request at all.
    pub(super) fn busy(&self, endpoint: usize) -> f64 {
        self.held(endpoint).busy_nanos / self.span().as_nanos() as f64
    }

    fn held(&self, endpoint: usize) -> Held {
        let mut held = self.held[endpoint];
        held.settle(self.until);
        held
    }

    /// From arrival to answer.
    pub(super) fn mean_time(&self) -> Duration {
        let sum: f64 = self.times.iter().map(|&nanos| nanos as f64).sum();
        Duration::from_nanos((sum / self.times.len() as f64) as u64)
    }

    /// The time that so many of a thousand answers did not exceed.
    pub(super) fn permille(&self, rank: usize) -> Duration {
        let mut times = self.times.clone();
        let place = (times.len() * rank / 1000).min(times.len() - 1);
        let (_, nanos, _) = times.select_nth_unstable(place);
        Duration::from_nanos(*nanos)
    }
}

/// In units of service, the mean and the 99th percentile of this queue after the warm-up.
fn times(service: Service, servers: usize, load: f64) -> (f64, f64) {
    let (Service::Exponential(unit) | Service::Constant(unit)) = service;
    let per_second = load * servers as f64 / unit.as_secs_f64();
    let backend = Backend::new(service).slots(servers);
    let mut queue = Queue::new(&Policy::RoundRobin, vec![backend], per_second, 5);
    queue.run(unit * 1_000);
    queue.measure();
    queue.run(unit * 40_000);
    let in_units = |time: Duration| time.as_secs_f64() / unit.as_secs_f64();
    (
        in_units(queue.seen.mean_time()),
        in_units(queue.seen.permille(990)),
    )
}

/// One endpoint, so that all that decides is the queue: the textbook's means, and percentiles where they are simple.
#[test]
fn a_queue_waits_as_long_as_in_the_textbook() {
    let unit = Duration::from_millis(10);
    let near = |value: f64, expected: f64| {
        assert!(
            (value / expected - 1.0).abs() < 0.04,
            "{value} instead of {expected}"
        );
    };
    // M/M/1 at 0.5: the time is exponential with mean 1 / (1 - 0.5), its 99th percentile ln 100 times that.
    let (mean, slowest) = times(Service::Exponential(unit), 1, 0.5);
    near(mean, 2.0);
    near(slowest, 2.0 * 100f64.ln());
    // M/D/1 at 0.5: 1 + 0.5 / (2 · (1 - 0.5)).
    let (mean, _) = times(Service::Constant(unit), 1, 0.5);
    near(mean, 1.5);
    // M/M/2 at 0.5: 1 / (1 - 0.5²).
    let (mean, _) = times(Service::Exponential(unit), 2, 0.5);
    near(mean, 1.0 / 0.75);
}
