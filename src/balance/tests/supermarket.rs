//! The supermarket model, whose mean time is known.

use super::*;

/// The supermarket model (Mitzenmacher 1996): n servers, arrivals at rate nλ, service at rate 1, each
/// arrival joins the shorter of two queues. As n grows its mean time tends to Σ λ^(2^i - 2).
#[test]
fn p2c_has_the_mean_time_of_the_supermarket_model() {
    const SERVERS: usize = 500;
    const ARRIVALS: f64 = 0.9;
    let expected: f64 = (1..12).map(|i| ARRIVALS.powi((1 << i) - 2)).sum();
    let members = weighing(&[1; SERVERS]);
    let (mut memory, mut random) = (Memory::default(), Random::seeded(2024));
    let live = Numbers::idle(SERVERS);
    let (mut busy, mut jobs) = (Vec::new(), 0u32);
    let (mut job_time, mut time) = (0.0, 0.0);
    for event in 0..500_000 {
        let rate = ARRIVALS * SERVERS as f64 + busy.len() as f64;
        if event > 50_000 {
            // Each state counts for the mean time that it lasts, which is less noisy than a drawn one.
            job_time += f64::from(jobs) / rate;
            time += 1.0 / rate;
        }
        if random.unit() * rate >= busy.len() as f64 {
            let policy = Policy::P2c { choices: 2 };
            let view = View::new(&members, &live);
            let i = policy
                .pick(&mut memory, &view, None, &mut random, None)
                .unwrap()
                .endpoint;
            live.reserve(i);
            jobs += 1;
            if live.load(i) == 1 {
                busy.push(i);
            }
        } else {
            let place = random.below(busy.len());
            live.signals[busy[place]].in_flight.release();
            jobs -= 1;
            if live.load(busy[place]) == 0 {
                busy.swap_remove(place);
            }
        }
    }
    // Little's law: jobs in the system over arrivals per unit of time.
    let mean = job_time / time / (ARRIVALS * SERVERS as f64);
    // 500 servers for about 500 units of time are noisy: eleven seeds lay within 2.8 % of it.
    assert!(
        (mean / expected - 1.0).abs() < 0.04,
        "{mean} instead of {expected}"
    );
}
