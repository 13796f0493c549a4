//! Peak-EWMA against a trace worked out by hand.
//!
//! The cost is `(latency, decayed + latency, as measured · load) / weight in force`, in milliseconds here, with a decay of 10 s.

use super::*;

const DECAY: Duration = Duration::from_secs(10);

struct Trace {
    live: Numbers,
    members: Members,
}

impl Trace {
    fn new(weights: &[u32]) -> Self {
        Self {
            live: Numbers::idle(weights.len()),
            members: weighing(weights),
        }
    }

    /// So many seconds after the start.
    fn at(&mut self, seconds: f64) {
        self.live.now = Instant::default() + Duration::from_secs_f64(seconds);
    }

    fn answered(&self, i: usize, millis: u64) {
        let latency = Duration::from_millis(millis);
        self.live.signals[i].answered(self.live.now, latency, 0, DECAY);
    }

    fn look(&self) {
        self.live.appraise(&self.members, &RULES);
    }

    fn load(&self, loads: &[u32]) {
        for (i, load) in loads.iter().enumerate() {
            (0..*load).for_each(|_| self.live.reserve(i));
        }
    }

    /// Who is picked, and the cost of each.
    fn pick(&self) -> (usize, Vec<f64>) {
        let policy = Policy::PeakEwma {
            choices: 2,
            decay: DECAY,
        };
        let (mut memory, mut random) = (Memory::default(), Random::seeded(1));
        let mut decision = Decision::default();
        let view = View::new(&self.members, &self.live);
        let picked = policy
            .pick(&mut memory, &view, None, &mut random, Some(&mut decision))
            .unwrap();
        let mut costs = vec![0.0; self.members.len()];
        for entry in decision.considered {
            costs[entry.endpoint] = entry.score.unwrap() / 1e6;
        }
        (picked.endpoint, costs)
    }

    fn expect(&self, endpoint: usize, expected: &[f64]) {
        let (picked, costs) = self.pick();
        assert_eq!(picked, endpoint, "{costs:?}");
        for (cost, expected) in costs.iter().zip(expected) {
            assert!(
                (cost - expected).abs() < 0.001,
                "{costs:?} instead of {expected}"
            );
        }
    }
}

#[test]
fn the_cost_is_the_time_of_all_under_way_and_one_more_over_the_weight() {
    let mut trace = Trace::new(&[1, 2, 1]);
    trace.answered(0, 20);
    trace.answered(1, 40);
    trace.answered(2, 10);
    trace.look();
    // Idle: 20 / 1, 40 / 2 and 10 / 1.
    trace.expect(2, &[20.0, 20.0, 10.0]);
    // 20 + 20 · 1, (40 + 40 · 2) / 2 and 10 + 10 · 4.
    trace.load(&[1, 2, 4]);
    trace.expect(0, &[40.0, 60.0, 50.0]);
    // Five seconds later e^-0.5 = 0.60653 is left of what one more would take: 12.131 + 20, (24.261 + 80) / 2, 6.065 + 40.
    trace.at(5.0);
    trace.expect(0, &[32.131, 52.131, 46.065]);
    // A tenth of a request's weight is missing and two failures stand as load: (12.131 + 20 · 3) / 0.9.
    trace.live.signals[0].charge_with(Charge {
        factor: 0.9,
        ghosts: 2.0,
    });
    trace.expect(2, &[80.145, 52.131, 46.065]);
}

#[test]
fn a_slow_answer_counts_at_once_and_quick_ones_by_and_by() {
    let mut trace = Trace::new(&[1, 1]);
    trace.answered(0, 20);
    trace.answered(1, 30);
    trace.look();
    trace.expect(0, &[20.0, 30.0]);
    // Higher than ever.
    trace.answered(0, 100);
    trace.expect(1, &[100.0, 30.0]);
    // Lower, within the same moment: nothing has passed that could be forgotten.
    trace.answered(0, 0);
    trace.expect(1, &[100.0, 30.0]);
    // After 10 s e^-1 = 0.36788: 100 · 0.36788 + 20 · 0.63212 = 49.430, and 30 · 0.36788 unanswered.
    trace.at(10.0);
    trace.answered(0, 20);
    trace.expect(1, &[49.430, 11.036]);
    // After another 20 s e^-2 = 0.13534: 49.430 · 0.13534 = 6.690, and 30 · e^-3 = 1.494.
    trace.at(30.0);
    trace.expect(1, &[6.690, 1.494]);
    // What is under way counts as it was measured: 1.494 + 30.
    trace.load(&[0, 1]);
    trace.expect(0, &[6.690, 31.494]);
}

/// The median of 10, 20 and 60 is 20; of an even number it is the lower one of the middle.
#[test]
fn a_newcomer_begins_at_the_median() {
    let mut trace = Trace::new(&[1; 4]);
    // Before anybody has looked the load alone decides, as the costs of 1, 1, 1 and 1 say in nanoseconds.
    trace.answered(0, 10);
    trace.load(&[1, 1, 1, 0]);
    trace.expect(3, &[2e-6, 2e-6, 2e-6, 1e-6]);
    trace.answered(1, 20);
    trace.answered(2, 60);
    trace.look();
    // 10 + 10, 20 + 20, 60 + 60 and 20.
    let (picked, costs) = trace.pick();
    assert!(picked == 0 || picked == 3, "{costs:?}");
    assert_eq!(costs, [20.0, 40.0, 120.0, 20.0]);
    // A quick first answer after a second, e^-0.1 = 0.90484: 20 · 0.90484 + 1 · 0.09516 = 18.192. The others, unanswered: 9.048 + 10,
    // 18.097 + 20 and 54.290 + 60.
    trace.at(1.0);
    trace.answered(3, 1);
    trace.expect(3, &[19.048, 38.097, 114.290, 18.192]);
}
