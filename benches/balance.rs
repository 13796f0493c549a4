//! What one pick costs, for each policy at 3, 100, 1 000 and 10 000 endpoints with one in ten ineligible.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use plimsoll::balance::appraisal::{Rules, Subject};
use plimsoll::balance::narrow::Place;
use plimsoll::balance::{
    Exclusion, Key, Live, Member, Members, Memory, Policy, Signals, Totals, View, prequal,
};
use plimsoll::clock::Instant;
use plimsoll::config::{self, HashAlgorithm};
use plimsoll::entropy::Random;
use plimsoll::upstream::census::{self, Census};
use std::hint::black_box;
use std::time::Duration;

const DECAY: Duration = Duration::from_secs(10);
const RULES: Rules = Rules {
    slow_start: None,
    failure_window: Some(DECAY),
    latency_decay: DECAY,
};

/// Endpoints with between 1 and 7 attempts in flight, so that none is idle, whose latencies are known.
struct Endpoints {
    signals: Vec<Signals>,
    totals: Totals,
}

impl Endpoints {
    fn new(count: u64) -> Self {
        let mut random = Random::seeded(1);
        let signals = |_| {
            let signals = Signals::with_load(1 + random.below(7) as u32);
            signals.by_load.enable();
            for load in 0..8 {
                let micros = 1000 + random.below(1000) as u64;
                signals.answered(Instant(1), Duration::from_micros(micros), load, DECAY);
            }
            signals
        };
        let endpoints = Self {
            signals: (0..count).map(signals).collect(),
            totals: Totals::default(),
        };
        let subject = |(identity, signals)| Subject {
            identity,
            signals,
            is_eligible: true,
            group: 0,
        };
        let subjects = (0..).zip(&endpoints.signals).map(subject);
        let subjects: Vec<Subject<'_>> = subjects.collect();
        endpoints.totals.appraise(Instant(1), &RULES, &subjects);
        endpoints
    }
}

impl Live for Endpoints {
    fn now(&self) -> Instant {
        Instant(1_000_000)
    }
    fn signals(&self, i: usize) -> &Signals {
        &self.signals[i]
    }
    fn totals(&self) -> &Totals {
        &self.totals
    }
    fn full(&self, i: usize) -> bool {
        self.signals[i].in_flight.load() >= 256
    }
    fn tried(&self, _: usize) -> bool {
        false
    }
}

const COUNTS: [u64; 4] = [3, 100, 1_000, 10_000];

/// Of `count` endpoints; those that hash are asked for another key each time.
fn policies(count: u64, weights: u64) -> Vec<(&'static str, Policy)> {
    let prequal = prequal::Rules {
        q_rif: 0.84,
        pool: 16,
        probes: 3,
    };
    let places: Vec<Place> = (0..count).map(|i| place(i, weights)).collect();
    let group: Vec<u32> = (0..count as u32).collect();
    let hash = |algorithm, bounded_load| {
        let options = config::ConsistentHash {
            algorithm,
            bounded_load,
            ..Default::default()
        };
        Policy::compile(&config::Balance::ConsistentHash(options), &places, &group)
    };
    let bound = "1.25".parse().ok();
    vec![
        ("ring", hash(HashAlgorithm::Ring, None)),
        ("maglev", hash(HashAlgorithm::Maglev, None)),
        ("maglev_bounded", hash(HashAlgorithm::Maglev, bound)),
        ("rendezvous", hash(HashAlgorithm::Rendezvous, None)),
        ("round_robin", Policy::RoundRobin),
        ("random", Policy::Random),
        ("least_connections", Policy::LeastConnections),
        ("p2c", Policy::P2c { choices: 2 }),
        ("p2c_of_3", Policy::P2c { choices: 3 }),
        (
            "peak_ewma",
            Policy::PeakEwma {
                choices: 2,
                decay: DECAY,
            },
        ),
        ("prequal", Policy::Prequal(prequal)),
    ]
}

fn place(i: u64, weights: u64) -> Place {
    Place {
        identity: i,
        weight: 1 + (i % weights) as u32,
        priority: 0,
        backup: false,
        draining: false,
        is_local: true,
        subset: None,
    }
}

/// Every tenth is out; with `weights` above 1 the others weigh 1 to that in turn.
fn members(count: u64, weights: u64) -> Members {
    let member = |i| Member {
        identity: i,
        weight: place(i, weights).weight,
        excluded: (i % 10 == 1).then_some(Exclusion::Unhealthy),
    };
    Members::new(&(0..count).map(member).collect::<Vec<_>>())
}

fn pick(criterion: &mut Criterion) {
    for (kind, weights) in [
        ("equal", 1),
        ("weights_1_to_7", 7),
        ("weights_1_to_1000", 1000),
    ] {
        let mut group = criterion.benchmark_group(format!("pick/{kind}"));
        group
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        for count in COUNTS {
            for (name, policy) in policies(count, weights) {
                let members = members(count, weights);
                let mut random = Random::seeded(1);
                let loads = Endpoints::new(count);
                let mut memory = Memory::default();
                let mut key = 0u64;
                group.bench_function(BenchmarkId::new(name, count), |bencher| {
                    bencher.iter(|| {
                        let view = View::new(black_box(&members), &loads);
                        key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
                        policy.pick(&mut memory, &view, Some(key), &mut random, None)
                    });
                });
            }
        }
        group.finish();
    }
}

/// What a change of health costs the worker that picks next.
fn change(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("round_robin_after_a_change");
    for count in [100, 10_000] {
        let both = [members(count, 1), members(count, 2)];
        let loads = Endpoints::new(count);
        let (mut memory, mut random) = (Memory::default(), Random::seeded(1));
        let mut turn = 0;
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                turn ^= 1;
                let view = View::new(&both[turn], &loads);
                Policy::RoundRobin.pick(&mut memory, &view, None, &mut random, None)
            });
        });
    }
    group.finish();
}

/// What it costs to count the keys that are picked by: keys of a Zipf distribution, most of which have no slot, and one key.
fn counting_keys(criterion: &mut Criterion) {
    const ENDPOINTS: u64 = 100;
    let mut random = Random::seeded(1);
    // The inverse of the distribution function for exponent 1, of 100 000 keys: rank = 100 000 ^ u.
    let mut rank = || 1e5f64.powf(random.unit()) as u64;
    let zipf: Vec<u64> = (0..1 << 16).map(|_| rank()).collect();
    let mut group = criterion.benchmark_group("keyed_pick");
    for (name, policy) in policies(ENDPOINTS, 1) {
        if !matches!(name, "ring" | "maglev") {
            continue;
        }
        for (kind, ranks) in [("zipf", &zipf[..]), ("one_key", &zipf[..1])] {
            for is_counted in [false, true] {
                let (members, loads) = (members(ENDPOINTS, 1), Endpoints::new(ENDPOINTS));
                let (mut memory, mut random) = (Memory::default(), Random::seeded(1));
                let census = Census::default();
                let own = census.of_worker(0);
                let mut ranks = ranks.iter().cycle();
                let how = if is_counted { "counted" } else { "not_counted" };
                let id = BenchmarkId::new(format!("{name}/{kind}"), how);
                group.bench_function(id, |bencher| {
                    bencher.iter(|| {
                        let view = View::new(black_box(&members), &loads);
                        let rank = ranks.next().copied().unwrap_or_default();
                        let hash = rank.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                        let picked = policy.pick(&mut memory, &view, Some(hash), &mut random, None);
                        if is_counted {
                            census::note(&own, &Key { hash, text: None }, false);
                        }
                        picked
                    });
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, pick, change, counting_keys);
criterion_main!(benches);
