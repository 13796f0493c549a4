//! Prequal against traces worked out by hand.

use super::*;
use crate::balance::prequal::Rules;

const SECOND: u64 = 1_000_000_000;

fn rules(q_rif: f64, pool: usize, probes: usize) -> Rules {
    Rules {
        q_rif,
        pool,
        probes,
    }
}

/// Endpoints with so much in flight that take so many milliseconds when nothing else is; `None`: nobody knows.
fn numbers(loads: &[u32], millis: &[Option<u64>]) -> Numbers {
    let live = Numbers::loaded(loads);
    for (signals, millis) in live.signals.iter().zip(millis) {
        signals.by_load.enable();
        if let Some(millis) = millis {
            answer(signals, *millis);
        }
    }
    live
}

fn answer(signals: &Signals, millis: u64) {
    let latency = Duration::from_millis(millis);
    signals.answered(Instant::default(), latency, 0, RULES.latency_decay);
}

/// Who is picked from readings of all, as shares of so many picks.
fn picked(rules: Rules, weights: &[u32], live: &Numbers) -> Vec<usize> {
    let picks = picks(&Policy::Prequal(rules), &weighing(weights), live, 300);
    counts(&picks, weights.len())
}

/// A worker whose draws can be told.
struct Worker {
    policy: Policy,
    probes: usize,
    members: Members,
    memory: Memory,
    random: Random,
}

impl Worker {
    fn new(rules: Rules, endpoints: usize, seed: u64) -> Self {
        Self {
            policy: Policy::Prequal(rules),
            probes: rules.probes,
            members: weighing(&vec![1; endpoints]),
            memory: Memory::default(),
            random: Random::seeded(seed),
        }
    }

    /// Whom it reads at its next pick.
    fn draws(&self) -> Vec<usize> {
        let mut random = self.random.clone();
        let draw = |_| self.members.sample(&mut random);
        (0..self.probes).map(draw).collect()
    }

    /// Picks, takes a slot, and tells what stood in the pool.
    fn pick(&mut self, live: &Numbers) -> (Picked, Vec<usize>, Decision) {
        let mut decision = Decision::default();
        let view = View::new(&self.members, live);
        let explain = Some(&mut decision);
        let picked = self
            .policy
            .pick(&mut self.memory, &view, None, &mut self.random, explain)
            .unwrap();
        live.reserve(picked.endpoint);
        let pool = decision.considered.iter().map(|c| c.endpoint).collect();
        (picked, pool, decision)
    }
}

/// Burdens 1, 2, 3, 4 and 10. The quantile is that of place `floor(q · 4)`: 0, 3 and 4, which makes 1, 4 and 10 the most that
/// is cold. Of the cold the fastest is picked.
#[test]
fn takes_the_fastest_of_those_below_the_quantile() {
    let millis = [50, 40, 30, 20, 10].map(Some);
    let live = numbers(&[0, 1, 2, 3, 9], &millis);
    for (q_rif, expected) in [(0.0, 0), (0.25, 1), (0.84, 3), (0.99, 3), (1.0, 4)] {
        let picked = picked(rules(q_rif, 16, 3), &[1; 5], &live);
        assert_eq!(picked[expected], 300, "{q_rif}: {picked:?}");
    }
}

#[test]
fn of_equally_fast_ones_the_least_loaded_and_of_equals_one_by_chance() {
    let live = numbers(&[2, 1, 1], &[20, 20, 20].map(Some));
    let picked = picked(rules(1.0, 16, 3), &[1; 3], &live);
    assert!(picked[0] == 0 && picked[1].abs_diff(150) < 40, "{picked:?}");
}

/// Burdens (3 + 1) / 4 = 1, (3 + 1) / 2 = 2 and (3 + 1) / 1 = 4; at q 0.5 the place is floor(0.5 · 2) = 1: at most 2 is cold.
#[test]
fn a_weight_divides_what_is_in_flight_and_not_the_latency() {
    let live = numbers(&[3, 3, 3], &[30, 20, 10].map(Some));
    assert_eq!(picked(rules(0.5, 16, 3), &[4, 2, 1], &live), [0, 300, 0]);
}

/// A latency that nobody knows is the lowest of the others, 10 ms, while the endpoint is idle; of equally fast ones it has the
/// least in flight. While it owes an answer it is the highest, 20 ms.
#[test]
fn an_endpoint_of_unknown_latency_is_tried_with_one_attempt_at_a_time() {
    let live = numbers(&[1, 1, 0], &[Some(10), Some(20), None]);
    let rules = rules(1.0, 16, 3);
    assert_eq!(picked(rules, &[1; 3], &live), [0, 0, 300]);
    live.reserve(2);
    assert_eq!(picked(rules, &[1; 3], &live), [300, 0, 0]);
    answer(&live.signals[2], 5);
    assert_eq!(picked(rules, &[1; 3], &live), [0, 0, 300]);
}

/// The bug was that an endpoint of unknown latency counted with the median of the peaks, which is above what anybody usually
/// takes: nobody asked it ever again.
#[test]
fn an_endpoint_that_was_slow_is_tried_again_when_that_is_old() {
    let mut live = numbers(&[1, 1, 0], &[10, 20, 90].map(Some));
    let rules = rules(1.0, 16, 3);
    let look = |live: &mut Numbers, seconds| {
        live.now = Instant(seconds * SECOND);
        live.appraise(&weighing(&[1; 3]), &RULES);
    };
    look(&mut live, 10);
    assert_eq!(picked(rules, &[1; 3], &live), [300, 0, 0]);
    live.signals[0].answered(
        Instant(10 * SECOND),
        Duration::from_millis(10),
        0,
        RULES.latency_decay,
    );
    look(&mut live, 11);
    assert_eq!(picked(rules, &[1; 3], &live)[2], 300);
}

/// `max(1, 2 / ((1 - m / n) · probes - 1))`, and no limit where that is not positive.
#[test]
fn readings_may_be_used_as_often_as_the_paper_says() {
    let reuse = |pool, probes, endpoints| rules(0.84, pool, probes).reuse(endpoints);
    // 2 / (0.84 · 3 - 1) = 2 / 1.52.
    assert!((reuse(16, 3, 100) - 1.3158).abs() < 1e-4);
    // 2 / (0.984 · 3 - 1) = 2 / 1.952.
    assert!((reuse(16, 3, 1000) - 1.0246).abs() < 1e-4);
    // 2 / (0.984 · 5 - 1) = 0.51.
    assert_eq!(reuse(16, 5, 1000), 1.0);
    // (1 / 17) · 3 < 1: they go faster than they come.
    assert_eq!(reuse(16, 3, 17), f64::INFINITY);
}

/// Eight endpoints of 10, 20, .. 80 ms, four places, two readings for each pick; with 0.5 · 2 - 1 = 0 they may be used without
/// limit. Entries are the burden of what is hot and the milliseconds of what is cold, in the order of the places. Nothing ever
/// ends.
#[test]
fn a_large_upstream_follows_the_rules_of_the_pool() {
    let millis: Vec<_> = (1..=8).map(|i| Some(10 * i)).collect();
    let live = numbers(&[0; 8], &millis);
    let mut worker = Worker::new(rules(0.84, 4, 2), 8, 7);
    let (hot, cold) = (Note::Hot, Note::Cold);
    type Entry = (usize, f64, Note);
    let trace: [(&[usize], &[Entry], usize); 9] = [
        // The threshold is that of place floor(0.84 · 1) = 0, a burden of 1, for eight picks. Of 70 and 20 ms the second is
        // picked, 6 goes as the oldest.
        (&[6, 1], &[(6, 70.0, cold), (1, 20.0, cold)], 1),
        // 1 has our own attempt, so that it is hot. Of 60 and 40 ms the second is picked. Worst are 1 and 3 with a burden of 2,
        // of which the later one, 3, goes.
        (
            &[5, 3],
            &[(1, 2.0, hot), (5, 60.0, cold), (3, 40.0, cold)],
            3,
        ),
        // 0 takes the place of 6. 1 is read again and stands there once. 5 goes as the oldest.
        (
            &[0, 1],
            &[(0, 10.0, cold), (1, 2.0, hot), (5, 60.0, cold)],
            0,
        ),
        // 6 takes the place of 5, 0 that of 3. Then all have a burden of 2: 0, read last, goes as the worst.
        (&[6, 0], &[(1, 2.0, hot), (6, 70.0, cold), (0, 2.0, hot)], 6),
        // All are hot and equally loaded: the first is picked. 6 goes as the oldest.
        (&[1, 3], &[(1, 2.0, hot), (3, 2.0, hot), (6, 2.0, hot)], 1),
        // 4 is the only cold one. 1 has a burden of 3 by now and goes as the worst.
        (
            &[4, 0],
            &[(1, 3.0, hot), (3, 2.0, hot), (4, 50.0, cold), (0, 2.0, hot)],
            4,
        ),
        // 7 takes the place of 1, 6 that of 3. 4 goes as the oldest.
        (
            &[7, 6],
            &[(7, 80.0, cold), (6, 2.0, hot), (4, 2.0, hot), (0, 2.0, hot)],
            7,
        ),
        // Drawn twice, it stands there once; it takes the place of 0. 7, picked, goes as the worst.
        (&[3, 3], &[(7, 2.0, hot), (6, 2.0, hot), (3, 2.0, hot)], 7),
        // The threshold is computed anew, that of place floor(0.84 · 1) = 0 of 2 and 2: both are cold.
        (&[6, 3], &[(6, 70.0, cold), (3, 40.0, cold)], 3),
    ];
    for (draws, pool, endpoint) in trace {
        assert_eq!(worker.draws(), draws);
        let (picked, _, decision) = worker.pick(&live);
        let entries = decision.considered.iter().map(|c| {
            let (score, note) = (c.score.unwrap(), c.note.unwrap());
            let is_cold = note == Note::Cold;
            (c.endpoint, if is_cold { score / 1e6 } else { score }, note)
        });
        assert_eq!(entries.collect::<Vec<_>>(), pool);
        assert_eq!((picked.endpoint, picked.by), (endpoint, Reason::Policy));
    }
}

#[test]
fn a_reading_goes_when_it_is_older_than_a_second() {
    let mut live = numbers(&[0; 100], &[Some(10); 100]);
    let mut worker = Worker::new(rules(0.84, 16, 3), 100, 1);
    let draws = worker.draws();
    let (picked, _, _) = worker.pick(&live);
    live.now = Instant(SECOND);
    let fresh = worker.draws();
    let (_, pool, _) = worker.pick(&live);
    // Of the three one went as the oldest, and the one that was picked perhaps by its use.
    let kept = draws
        .iter()
        .filter(|i| pool.contains(i) && !fresh.contains(i));
    assert!(kept.count() >= 1, "{draws:?} {picked:?} {pool:?}");
    live.now = Instant(2 * SECOND + 1);
    let mut expected = worker.draws();
    let (_, mut pool, _) = worker.pick(&live);
    expected.sort_unstable();
    pool.sort_unstable();
    assert_eq!(pool, expected);
}

/// With five readings for each pick of 1000 endpoints each may be used once.
#[test]
fn a_reading_that_was_used_is_not_used_again() {
    let live = numbers(&[0; 1000], &[Some(10); 1000]);
    let mut worker = Worker::new(rules(0.84, 16, 5), 1000, 1);
    let mut before = None;
    for _ in 0..200 {
        let draws = worker.draws();
        let (picked, pool, _) = worker.pick(&live);
        assert!(before.is_none_or(|i| draws.contains(&i) || !pool.contains(&i)));
        before = Some(picked.endpoint);
    }
}

/// With one reading for each pick, the first has that one.
#[test]
fn with_fewer_than_two_readings_chance_picks() {
    let live = numbers(&[0; 20], &[Some(10); 20]);
    let mut worker = Worker::new(rules(0.84, 4, 1), 20, 1);
    let (picked, _, _) = worker.pick(&live);
    assert_eq!(picked.by, Reason::ScanAfterMisses);
}
