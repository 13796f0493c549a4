//! What is compared: the load, the endpoints, the rounds, and the arithmetic behind them (pure).

use std::time::Duration;

use crate::lab::distribution::Latency;

/// The mean time that a usual endpoint works on a request. The runtime's timer, which rounds up to whole milliseconds,
/// makes it about 5 % longer; with a shorter one that would be more.
const MEAN: Duration = Duration::from_millis(10);
/// Of the logarithm of that time. A lognormal time has the shape that services show: most near the median, a few
/// several times longer (p99 at 3.2 times the median).
pub const SIGMA: f64 = 0.5;
/// What all endpoints together can do, as a multiple of the load. Twice: nobody would call it too small.
const HEADROOM: f64 = 2.0;
/// About how long a round is when nobody says how many there are, the warm-up included.
const ROUND: Duration = Duration::from_secs(2);
/// Workers of the proxy: a number of its own on every machine, so that results compare; two, so that what workers do
/// not share shows.
pub const WORKERS: usize = 2;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Requests per second.
    pub rate: f64,
    /// The slow one included; at least two.
    pub endpoints: usize,
    /// How many times longer the slow one works on a request.
    pub slow_factor: f64,
    /// Of the load for each policy, over all rounds.
    pub length: Duration,
    /// `None`: as many as make each about two seconds long.
    pub rounds: Option<u32>,
    /// How long a client waits for an answer.
    pub timeout: Duration,
    /// Of arrivals, users and service times.
    pub seed: u64,
}

impl Plan {
    /// How many rounds the load of each policy is spread over.
    pub fn rounds(&self) -> u32 {
        let usual = self.length.as_secs_f64() / ROUND.as_secs_f64();
        self.rounds.unwrap_or_else(|| usual.round() as u32).max(1)
    }

    /// The load of one round.
    pub fn round(&self) -> Duration {
        self.length / self.rounds()
    }

    /// The part of each round that is not counted: the first quarter, in which connections are opened, queues fill
    /// and policies learn.
    pub fn warm_up(&self) -> Duration {
        self.round() / 4
    }

    /// Requests that each endpoint works on at once; the others wait there.
    ///
    /// With `n` endpoints, the mean time `m` and the slow factor `f`, `s` slots can do `s/m` requests a second, those
    /// of the slow one `s/(m·f)`, and all together `(n - 1 + 1/f)·s/m`. That shall be twice the load `r`, hence
    /// `s = 2·r·m / (n - 1 + 1/f)`. The slow one's equal share `r/n` is then `f·(n - 1 + 1/f) / 2n` times what it can
    /// do, whatever the rate: about `f/2` times.
    pub fn slots(&self) -> usize {
        let slots = HEADROOM * self.rate * MEAN.as_secs_f64() / self.usual_ones();
        (slots.round() as usize).max(1)
    }

    /// The endpoints, counted by what they can do in usual ones.
    fn usual_ones(&self) -> f64 {
        (self.endpoints - 1) as f64 + 1.0 / self.slow_factor
    }

    /// The mean time that an endpoint works on a request.
    pub fn mean(&self, slow: bool) -> Duration {
        if slow {
            MEAN.mul_f64(self.slow_factor)
        } else {
            MEAN
        }
    }

    /// Requests per second that an endpoint can do.
    pub fn capacity(&self, slow: bool) -> f64 {
        self.slots() as f64 / self.mean(slow).as_secs_f64()
    }

    /// Requests per second that all can do together.
    pub fn capacity_of_all(&self) -> f64 {
        self.usual_ones() * self.capacity(false)
    }

    /// The part of all requests that an endpoint gets from a policy for which all are equal.
    pub fn equal_share(&self) -> f64 {
        1.0 / self.endpoints as f64
    }

    /// How many times what it can do an equal share is for the slow one.
    pub fn overload(&self) -> f64 {
        self.rate * self.equal_share() / self.capacity(true)
    }

    /// The distribution with that mean; a lognormal one's is `median·exp(sigma²/2)`.
    pub(super) fn latency(&self, slow: bool) -> Latency {
        Latency::Lognormal {
            median: self.mean(slow).mul_f64((-SIGMA * SIGMA / 2.0).exp()),
            sigma: SIGMA,
        }
    }

    /// Connections of the clients: enough for half of all requests to wait until their clients give up.
    pub(super) fn connections(&self) -> usize {
        let waiting = self.rate * self.timeout.as_secs_f64() / 2.0;
        (waiting.ceil() as usize).clamp(64, 10_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            rate: 2000.0,
            endpoints: 5,
            slow_factor: 10.0,
            length: Duration::from_secs(10),
            rounds: None,
            timeout: Duration::from_secs(1),
            seed: 1,
        }
    }

    #[test]
    fn all_can_do_twice_the_load_and_the_slow_one_a_quarter_of_an_equal_share() {
        let plan = plan();
        assert_eq!(plan.slots(), 10);
        assert!((plan.capacity(false) - 1000.0).abs() < 1e-6);
        assert!((plan.capacity(true) - 100.0).abs() < 1e-6);
        assert!((plan.capacity_of_all() - 4100.0).abs() < 1e-6);
        assert!((plan.overload() - 4.0).abs() < 1e-6);
        let mean = plan.latency(true).mean_seconds();
        assert!((mean - 0.1).abs() < 1e-6, "{mean}");
    }

    #[test]
    fn rounds_are_of_about_two_seconds_unless_their_number_is_given() {
        let length = |seconds| Plan {
            length: Duration::from_secs_f64(seconds),
            ..plan()
        };
        let rounds = [0.5, 2.9, 10.0].map(|seconds| length(seconds).rounds());
        assert_eq!(rounds, [1, 1, 5]);
        assert_eq!(length(10.0).round(), Duration::from_secs(2));
        assert_eq!(length(10.0).warm_up(), Duration::from_millis(500));
        let one = Plan {
            rounds: Some(1),
            ..plan()
        };
        assert_eq!(one.round(), Duration::from_secs(10));
    }
}
