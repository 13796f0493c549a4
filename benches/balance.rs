//! What one pick costs, for each policy at 3, 100 and 10 000 endpoints with one in ten ineligible.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use plimsoll::balance::{Exclusion, Load, Member, Members, Memory, Policy, View};
use plimsoll::entropy::Random;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// An endpoint's live number on a cache line of its own, as in the proxy.
#[repr(align(128))]
struct Live(AtomicU32);

struct Loads(Vec<Live>);

impl Load for Loads {
    fn load(&self, i: usize) -> u32 {
        self.0[i].0.load(Ordering::Relaxed)
    }
    fn full(&self, i: usize) -> bool {
        self.load(i) >= 256
    }
    fn tried(&self, _: usize) -> bool {
        false
    }
}

const POLICIES: [(&str, Policy); 5] = [
    ("round_robin", Policy::RoundRobin),
    ("random", Policy::Random),
    ("least_connections", Policy::LeastConnections),
    ("p2c", Policy::P2c { choices: 2 }),
    ("p2c_of_3", Policy::P2c { choices: 3 }),
];

/// Every tenth is out; with `weights` above 1 the others weigh 1 to that in turn.
fn members(count: u64, weights: u64) -> Members {
    let member = |i| Member {
        identity: i,
        weight: 1 + (i % weights) as u32,
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
        for (name, policy) in POLICIES {
            for count in [3, 100, 10_000] {
                let members = members(count, weights);
                let mut random = Random::seeded(1);
                let load = |_| Live(AtomicU32::new(random.below(8) as u32));
                let loads = Loads((0..count).map(load).collect());
                let mut memory = Memory::default();
                group.bench_function(BenchmarkId::new(name, count), |bencher| {
                    bencher.iter(|| {
                        let view = View::new(black_box(&members), &loads);
                        policy.pick(&mut memory, &view, None, &mut random, None)
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
        let loads = Loads((0..count).map(|_| Live(AtomicU32::new(0))).collect());
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

criterion_group!(benches, pick, change);
criterion_main!(benches);
