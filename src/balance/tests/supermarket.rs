//! The supermarket model, whose mean time is known: does a policy balance as well as the theory of its choices says?
//!
//! n servers serve in order of arrival, in an exponential time of mean 1; requests arrive at rate nλ and join the shortest of `d`
//! queues drawn by chance. As n grows the mean time tends to `Σ λ^((d^i - d) / (d - 1))` over `i >= 1` (Mitzenmacher 1996).
//! That the draws here are distinct, and that ties go by the rate of the last second, changes nothing: the lengths of the
//! queues develop in the same way.

use super::queue::{Backend, Queue, Service};
use super::*;

/// The unit of time.
const SERVICE: Duration = Duration::from_millis(10);
/// Into so many parts the time measured is cut, to tell how much chance is in the result.
const PARTS: usize = 20;
/// What the results may be off.
const TOLERANCE: f64 = 0.02;

/// One run.
#[derive(Clone, Copy)]
struct Run {
    servers: usize,
    load: f64,
    /// Units of time until the queues are as they stay, and units of time measured after that.
    warm_up: f64,
    span: f64,
}

/// In units of service.
#[derive(Debug)]
struct MeanTime {
    value: f64,
    /// Standard deviation of the value.
    error: f64,
}

impl Run {
    /// So many requests, after half as many that are not measured.
    fn of(requests: f64, servers: usize, load: f64) -> Self {
        let span = requests / (load * servers as f64);
        Self {
            servers,
            load,
            warm_up: span / 2.0,
            span,
        }
    }

    /// By Little's law from the mean number of requests in the system.
    ///
    /// Most of the noise of that is that more or fewer than usual happened to arrive, which shows in how many servers were
    /// busy as well, and of that the mean is known, nλ. So the part of the deviation that goes with it is taken away (a control
    /// variate; the slope is that of the parts measured): a fifth to a third of the noise is left.
    fn mean_time(&self, policy: &Policy, seed: u64) -> MeanTime {
        let arrivals = self.load * self.servers as f64;
        let backends = vec![Backend::new(Service::Exponential(SERVICE)); self.servers];
        let per_second = arrivals / SERVICE.as_secs_f64();
        let mut queue = Queue::new(policy, backends, per_second, seed);
        queue.run(SERVICE.mul_f64(self.warm_up));
        let part = |_| {
            queue.measure();
            queue.run(SERVICE.mul_f64(self.span / PARTS as f64));
            let seen = &queue.seen;
            let all = |number: &dyn Fn(usize) -> f64| (0..self.servers).map(number).sum::<f64>();
            (all(&|i| seen.in_flight(i)), all(&|i| seen.busy(i)))
        };
        let parts: Vec<(f64, f64)> = (0..PARTS).map(part).collect();
        let mean = |number: &dyn Fn(&(f64, f64)) -> f64| {
            parts.iter().map(number).sum::<f64>() / PARTS as f64
        };
        let (held, busy) = (mean(&|part| part.0), mean(&|part| part.1));
        let slope =
            mean(&|part| (part.0 - held) * (part.1 - busy)) / mean(&|part| (part.1 - busy).powi(2));
        let corrected = |part: &(f64, f64)| (part.0 - slope * (part.1 - arrivals)) / arrivals;
        let value = mean(&corrected);
        let variance = mean(&|part| (corrected(part) - value).powi(2)) / (PARTS - 1) as f64;
        MeanTime {
            value,
            error: variance.sqrt(),
        }
    }
}

/// As the number of servers grows.
fn expected(load: f64, choices: i32) -> f64 {
    let exponent = |i: i32| match choices {
        1 => f64::from(i - 1),
        d => f64::from(d.pow(i as u32) - d) / f64::from(d - 1),
    };
    // Beyond, a power of five is above what an `i32` holds, and the terms are nothing.
    match choices {
        1 => 1.0 / (1.0 - load),
        _ => (1..13).map(|i| load.powf(exponent(i))).sum(),
    }
}

/// With one queue for all servers (Erlang's C), which no rule that gives each request a server at once can beat.
fn one_queue(load: f64, servers: usize) -> f64 {
    let offered = load * servers as f64;
    // Erlang's B, by its recursion, then C from it.
    let blocked = (1..=servers).fold(1.0, |b, n| offered * b / (n as f64 + offered * b));
    let waits = blocked / (1.0 - load * (1.0 - blocked));
    1.0 + waits / (servers as f64 * (1.0 - load))
}

fn choosing(choices: i32) -> Policy {
    match choices {
        1 => Policy::Random,
        _ => Policy::P2c {
            choices: choices as usize,
        },
    }
}

fn is_within(time: &MeanTime, expected: f64) -> bool {
    (time.value / expected - 1.0).abs() < TOLERANCE
}

/// The table as it is published, so that the formulas here are those.
#[test]
fn the_formulas_give_the_published_table() {
    let table = [
        (0.5, [2.0, 1.266, 1.125, 1.031], 1.0),
        (0.7, [3.333, 1.614, 1.357, 1.168], 1.0),
        (0.8, [5.0, 1.947, 1.581, 1.329], 1.0),
        (0.9, [10.0, 2.614, 2.028, 1.633], 1.022),
        (0.95, [20.0, 3.383, 2.535, 1.989], 1.101),
        (0.99, [100.0, 5.432, 3.858, 2.902], 1.883),
    ];
    for (load, by_choices, central) in table {
        for (choices, published) in [1, 2, 3, 5].into_iter().zip(by_choices) {
            let formula = expected(load, choices);
            assert!(
                (formula - published).abs() < 0.0006,
                "{load} {choices}: {formula}"
            );
        }
        let formula = one_queue(load, 100);
        // Two entries of 1.00 are not published to more places, and one not at all.
        assert!((formula - central).abs() < 0.003, "{load}: {formula}");
    }
}

#[test]
fn few_choices_give_the_mean_time_of_the_supermarket_model() {
    // Of one choice the queues are long and slow to come to rest: at λ = 0.9 it would take three million requests.
    for (choices, load, requests) in [(1, 0.7, 1e5), (2, 0.9, 6e4), (3, 0.9, 6e4)] {
        let run = Run::of(requests, if choices == 1 { 100 } else { 1000 }, load);
        let (time, expected) = (
            run.mean_time(&choosing(choices), 1),
            expected(load, choices),
        );
        assert!(
            is_within(&time, expected),
            "{choices} at {load}: {time:?} instead of {expected}"
        );
    }
}

/// Its queues are shorter than those of five choices, and no shorter than one queue for all.
#[test]
fn the_least_loaded_of_all_is_close_to_one_queue() {
    for (servers, load) in [(30, 0.8), (100, 0.9)] {
        let run = Run::of(5e4, servers, load);
        let time = run.mean_time(&Policy::LeastConnections, 1);
        let bound = one_queue(load, servers);
        assert!(
            time.value > bound * (1.0 - TOLERANCE),
            "{time:?} below {bound}"
        );
        assert!(time.value < expected(load, 5), "{time:?}");
    }
}

/// The whole table; `cargo test --release -- --ignored --nocapture supermarket`.
#[test]
#[ignore = "takes minutes in release"]
#[allow(clippy::print_stdout, reason = "it is run for what it prints")]
fn supermarket_table() {
    println!(
        "mean time (its standard deviation), and of the formula; least_connections on 100 servers"
    );
    println!(
        "load     d=1                      d=2                      d=3                      d=5                      all of 100, one queue"
    );
    for (load, alone, several) in [
        (0.5, 1e6, 1e6),
        (0.7, 2e6, 1e6),
        (0.8, 4e6, 1e6),
        (0.9, 1e7, 1e6),
        (0.95, 4e7, 2e6),
        // Here a server that is chosen alone needs 40 000 units of time to forget how it began.
        (0.99, 4e8, 1e7),
    ] {
        print!("{load:<6}");
        let mut faults = Vec::new();
        for choices in [1, 2, 3, 5] {
            let run = match choices {
                1 => Run::of(alone, 100, load),
                _ => Run::of(several, 1000, load),
            };
            let time = run.mean_time(&choosing(choices), 1);
            let expected = expected(load, choices);
            print!(
                "   {:>7.3} (±{:.3}) {expected:>7.3}",
                time.value, time.error
            );
            if !is_within(&time, expected) {
                faults.push((choices, time, expected));
            }
        }
        let time = Run::of(several, 100, load).mean_time(&Policy::LeastConnections, 1);
        let bound = one_queue(load, 100);
        println!("   {:>7.3} (±{:.3}) {bound:>7.3}", time.value, time.error);
        assert!(
            time.value > bound * (1.0 - TOLERANCE),
            "{time:?} below {bound}"
        );
        assert!(faults.is_empty(), "{load}: {faults:?}");
    }
}
