//! An upstream of known capacity under more load than that, on a virtual clock: the limit settles, and what is let in is
//! answered in time.

use std::collections::VecDeque;

use super::*;
use crate::config::{AdaptiveLimit, LimitAlgorithm, QueueOrder};

/// What the server can do at once; more queue in it, in turn.
const SERVERS: usize = 10;
/// What one takes: a capacity of 200 a second.
const SERVICE_MILLIS: f64 = 50.0;
const CAPACITY: f64 = SERVERS as f64 * 1000.0 / SERVICE_MILLIS;
/// What is played in all, and from when on is looked.
const MILLIS: u64 = 300_000;
const SETTLED: u64 = 20_000;

#[derive(Debug, Default)]
struct Outcome {
    /// Of what was let in and ended after it had settled, in milliseconds at the server.
    latencies: Vec<u64>,
    /// From their arrival on, those included.
    totals: Vec<u64>,
    limits: Vec<u32>,
    refused: u64,
    answered: u64,
}

struct Attempt {
    arrived: u64,
    let_in: u64,
    in_flight: u32,
}

fn percentile(values: &mut [u64], share: f64) -> u64 {
    values.sort_unstable();
    values[((values.len() - 1) as f64 * share) as usize]
}

/// How the times are distributed that one takes.
#[derive(Clone, Copy, PartialEq)]
enum Service {
    Constant,
    Exponential,
}

/// Plays an open load of this many times the capacity in steps of a millisecond.
fn play(rules: &Rules, load: f64, service: Service) -> Outcome {
    let bulkhead = bulkhead(rules);
    let samples = bulkhead.samples(0);
    let mut random = Random::seeded(7);
    let mut exponential = move |mean: f64| -mean * (1.0 - random.unit()).ln();
    let mut outcome = Outcome::default();
    let mut waits: Vec<(u64, Wait)> = Vec::new();
    let mut queued: VecDeque<Attempt> = VecDeque::new();
    let mut serving: Vec<(u64, Attempt)> = Vec::new();
    let mut next = 0.0;
    for now in 0..MILLIS {
        // 1. What is answered gives its permit back.
        let (done, rest) = serving.into_iter().partition(|(end, _)| *end <= now);
        serving = rest;
        let done: Vec<(u64, Attempt)> = done;
        for (_, attempt) in done {
            let latency = now - attempt.let_in;
            samples.answered(Duration::from_millis(latency), attempt.in_flight);
            give(&bulkhead, now);
            if now >= SETTLED {
                outcome.latencies.push(latency);
                outcome.totals.push(now - attempt.arrived);
                outcome.answered += 1;
            }
        }
        // 2. What arrives is let in, waits or is refused.
        while next <= now as f64 {
            next += exponential(1000.0 / (CAPACITY * load));
            if let Some(in_flight) = bulkhead.take() {
                queued.push_back(Attempt {
                    arrived: now,
                    let_in: now,
                    in_flight,
                });
                continue;
            }
            match bulkhead.enter(ask(Priority::Normal, now), at(now)) {
                Ok(wait) => waits.push((now, wait)),
                Err(_) => outcome.refused += 1,
            }
        }
        // 3. Who was called goes on.
        waits.retain_mut(|(arrived, wait)| match polled(wait) {
            Some(Ok(grant)) => {
                let in_flight = grant.keep(at(now));
                queued.push_back(Attempt {
                    arrived: *arrived,
                    let_in: now,
                    in_flight,
                });
                false
            }
            Some(Err(_)) => {
                outcome.refused += 1;
                false
            }
            None => true,
        });
        // 4. The server takes what it can.
        while serving.len() < SERVERS
            && let Some(attempt) = queued.pop_front()
        {
            let takes = match service {
                Service::Constant => SERVICE_MILLIS as u64,
                Service::Exponential => exponential(SERVICE_MILLIS).max(1.0) as u64,
            };
            serving.push((now + takes, attempt));
        }
        if now % 100 == 0 {
            bulkhead.look(at(now), rules);
            if now >= SETTLED {
                outcome.limits.push(bulkhead.limit());
            }
        }
    }
    outcome
}

fn adaptive(algorithm: LimitAlgorithm) -> Rules {
    rules(|written| {
        written.queue = 50;
        written.adaptive = Some(AdaptiveLimit {
            algorithm,
            min: 5,
            ..AdaptiveLimit::default()
        });
    })
}

/// What is let in is answered fast, and hardly anything of the capacity is lost. Without the limit the 1024 permits would
/// all be taken, and an answer would take five seconds.
fn settles(algorithm: LimitAlgorithm, limits: std::ops::RangeInclusive<u32>, p99: u64) {
    let mut outcome = play(&adaptive(algorithm), 1.4, Service::Exponential);
    let seconds = (MILLIS - SETTLED) as f64 / 1000.0;
    let share = outcome.answered as f64 / seconds / CAPACITY;
    let (least, most) = (outcome.limits.iter().min(), outcome.limits.iter().max());
    let latency = percentile(&mut outcome.latencies, 0.99);
    let total = percentile(&mut outcome.totals, 0.99);
    eprintln!(
        "{algorithm:?}: limit {least:?} to {most:?}, p99 {latency} ms at the server, {total} ms in all, {share:.3} of the capacity"
    );
    assert!(
        outcome.limits.iter().all(|limit| limits.contains(limit)),
        "{least:?} to {most:?}"
    );
    assert!(latency <= p99, "{latency} ms");
    assert!(share > 0.95, "{share}");
}

#[test]
fn vegas_settles_under_overload() {
    settles(LimitAlgorithm::Vegas, 7..=30, 300);
}

#[test]
fn gradient2_settles_under_overload() {
    settles(LimitAlgorithm::Gradient2, 20..=60, 600);
}

#[test]
fn without_it_latency_is_what_the_permits_allow() {
    let fixed = small(1024, 50, QueueOrder::Adaptive);
    let mut outcome = play(&fixed, 1.4, Service::Exponential);
    let latency = percentile(&mut outcome.latencies, 0.5);
    assert!(latency > 4000, "{latency} ms");
}

/// Well below its capacity nothing is refused. Vegas takes for a queue what is only chance, and is not for times that vary so
/// much.
#[test]
fn with_capacity_to_spare_nothing_is_refused() {
    for (algorithm, service) in [
        (LimitAlgorithm::Vegas, Service::Constant),
        (LimitAlgorithm::Gradient2, Service::Constant),
        (LimitAlgorithm::Gradient2, Service::Exponential),
    ] {
        let outcome = play(&adaptive(algorithm), 0.6, service);
        assert_eq!(outcome.refused, 0, "{algorithm:?}");
    }
}
