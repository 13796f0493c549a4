//! A few requests to idle endpoints: all look the same, and chance alone would give some three in a row while others wait. The
//! attempts of the last second break the tie, as in HAProxy's `random`.

use super::queue::{Backend, Queue, Service};
use super::*;

const COUNT: usize = 5;

/// Picks at ten requests a second, of which each has ended when the next one comes, nearly always.
fn few(policy: &Policy) -> Vec<usize> {
    let backend = Backend::new(Service::Constant(Duration::from_millis(1)));
    let mut queue = Queue::new(policy, vec![backend; COUNT], 10.0, 4);
    let mut picked = Vec::new();
    queue.run_watched(Duration::from_secs(200), |_, i| picked.push(i));
    picked
}

/// The part of the runs of five in which one endpoint gets at least so many.
fn crowded(picked: &[usize], times: usize) -> f64 {
    let runs = picked.windows(COUNT);
    let is_crowded = |run: &&[usize]| counts(run, COUNT).iter().any(|count| *count >= times);
    runs.clone().filter(is_crowded).count() as f64 / runs.len() as f64
}

/// The most picks in a row that leave an endpoint out.
fn longest_wait(picked: &[usize]) -> usize {
    let waits = |endpoint| {
        let runs = picked.split(move |&i| i == endpoint);
        runs.map(<[usize]>::len).max().unwrap_or(0)
    };
    (0..COUNT).map(waits).max().unwrap_or(0)
}

/// They go in rounds, each in an order by chance: where two rounds meet, one endpoint can have two of five in a row, but none
/// has three, and none is left out for more than twice four picks.
#[test]
fn few_requests_go_round_among_idle_endpoints() {
    for policy in [Policy::LeastConnections, Policy::P2c { choices: 2 }] {
        let picked = few(&policy);
        // The best that rounds can do where nothing links their orders is (1 + 1/5 + 1/10 + 1/10 + 1/5) / 5 = 0.32 without.
        assert!(crowded(&picked, 2) < 0.68, "{policy:?}");
        assert_eq!(crowded(&picked, 3), 0.0, "{policy:?}");
        assert!(longest_wait(&picked) <= 8, "{policy:?}");
    }
    // By chance 5! / 5^5 = 4 % are without two, and 28 % have three: 5 · (10 · 16 + 5 · 4 + 1) / 5^5 = 0.29.
    let by_chance = few(&Policy::Random);
    assert!(crowded(&by_chance, 2) > 0.9 && crowded(&by_chance, 3) > 0.2);
    assert!(longest_wait(&by_chance) > 16);
}
