//! When each request of a load is due: fixed before the first is sent, whatever the answers do (pure).

use std::time::Duration;

use crate::entropy::Random;

/// How the requests are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrivals {
    /// One every `1 / rate`: smooth, so that what is seen is the system's doing.
    Uniform,
    /// Independent clients: exponential gaps with the mean `1 / rate`, bursts included.
    Poisson,
}

/// The times, from the start of the load, at which requests are due. Never goes back in time.
#[derive(Debug, Clone)]
pub struct Schedule {
    arrivals: Arrivals,
    /// Requests per second.
    rate: f64,
    /// `None`: without end.
    length: Option<Duration>,
    random: Random,
    sent: u64,
    /// Of the last Poisson arrival, in seconds.
    last: f64,
}

impl Schedule {
    /// `rate` is in requests per second; one that is not above zero gives an empty schedule.
    pub fn new(arrivals: Arrivals, rate: f64, length: Option<Duration>, random: Random) -> Self {
        Self {
            arrivals,
            rate,
            length,
            random,
            sent: 0,
            last: 0.0,
        }
    }

    /// Requests per second that are meant to be sent.
    pub fn rate(&self) -> f64 {
        self.rate
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let rated = self.rate > 0.0 && self.rate.is_finite();
        if !rated {
            return None;
        }
        let seconds = match self.arrivals {
            // From the count and not by adding gaps, so that rounding does not drift.
            Arrivals::Uniform => self.sent as f64 / self.rate,
            Arrivals::Poisson => {
                self.last += -(1.0 - self.random.unit()).ln() / self.rate;
                self.last
            }
        };
        let due = Duration::try_from_secs_f64(seconds).ok()?;
        if self.length.is_some_and(|length| due >= length) {
            return None;
        }
        self.sent += 1;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn time_never_goes_back(poisson: bool, rate in 0.1..10_000.0f64, seed: u64) {
            let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Uniform };
            let schedule = Schedule::new(arrivals, rate, None, Random::seeded(seed));
            let due: Vec<Duration> = schedule.take(200).collect();
            prop_assert_eq!(due.len(), 200);
            prop_assert!(due.is_sorted());
        }

        #[test]
        fn a_uniform_schedule_sends_rate_times_length(rate in 1u32..5_000, seconds in 1u64..20) {
            let length = Some(Duration::from_secs(seconds));
            let schedule =
                Schedule::new(Arrivals::Uniform, f64::from(rate), length, Random::seeded(0));
            prop_assert_eq!(schedule.count() as u64, u64::from(rate) * seconds);
        }
    }

    #[test]
    fn a_poisson_schedule_keeps_its_rate() {
        let length = Some(Duration::from_secs(100));
        let schedule = Schedule::new(Arrivals::Poisson, 1000.0, length, Random::seeded(4));
        let count = schedule.count();
        assert!((98_500..101_500).contains(&count), "{count}");
    }

    #[test]
    fn a_rate_of_nothing_sends_nothing() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let mut schedule = Schedule::new(Arrivals::Uniform, rate, None, Random::seeded(0));
            assert_eq!(schedule.next(), None);
        }
    }
}
