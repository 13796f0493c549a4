//! Does one slow upstream touch another?  Two upstreams behind one proxy, each with a load of its own. In half of the
//! rounds the first becomes slow, and what clients of the second see is compared with the other half.
//!
//! - [`outcome`]: what the rounds showed together, and whether it is what must be (pure).
//! - here: the rounds, on real sockets, everything started anew each time.

pub mod outcome;

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::Context;

use self::outcome::Round;
use super::backend::{Behaviour, Group, Settings};
use super::distribution::Latency;
use super::generator::{self, Load, Report, Tally};
use super::schedule::{Arrivals, Schedule};
use super::stage::{Stage, endpoint};
use crate::clock::Clock;
use crate::entropy::Random;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Requests per second to each upstream.
    pub rate: f64,
    /// How long the endpoints of both take, and those of the first when it is slow.
    pub usual: Duration,
    pub slow: Duration,
    /// Of one half of a round.
    pub length: Duration,
    pub rounds: u32,
}

/// Attempts at once at each upstream, and how many requests wait for one. Four times what the load has in flight when
/// all is well; few enough that a slow upstream is full after a fraction of a second.
const BULKHEAD: usize = 64;

impl Plan {
    fn warm_up(&self) -> Duration {
        self.length / 4
    }

    /// Connections of the clients of each upstream: of a slow one all that come may wait, up to the bound of its queue.
    fn connections(&self) -> usize {
        4 * BULKHEAD
    }

    /// The configuration of the proxy before these endpoints.
    pub fn yaml(&self, first: SocketAddr, second: SocketAddr) -> String {
        let upstream = |name: &str, endpoint: SocketAddr| {
            format!(
                "  {name}:\n    endpoints: [ \"{endpoint}\" ]\n    bulkhead: {{ max_in_flight: {BULKHEAD}, \
                 per_endpoint: {BULKHEAD}, queue: {BULKHEAD}, queue_timeout: 250ms }}\n"
            )
        };
        format!(
            "workers: 2\n\
             listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
             routes: [ {{ match: {{ path: /first }}, upstream: first }}, {{ upstream: second }} ]\n\
             upstreams:\n{}{}",
            upstream("first", first),
            upstream("second", second)
        )
    }
}

/// Runs all rounds; `started` hears the number of each, counted from 0, before it begins. Every other one begins with
/// the slow half, so that neither always follows the other.
pub fn run(plan: &Plan, mut started: impl FnMut(u32)) -> anyhow::Result<Vec<Round>> {
    let mut rounds = Vec::new();
    for number in 0..plan.rounds {
        started(number);
        let slow_first = number % 2 == 1;
        let one = half(plan, slow_first, number)?;
        let other = half(plan, !slow_first, number)?;
        rounds.push(match slow_first {
            false => Round::new(&one, &other),
            true => Round::new(&other, &one),
        });
    }
    Ok(rounds)
}

/// What clients of both upstreams saw in one half of a round.
pub(super) struct Half {
    pub(super) first: Report,
    pub(super) second: Report,
}

fn half(plan: &Plan, is_slow: bool, round: u32) -> anyhow::Result<Half> {
    let of_first = if is_slow { plan.slow } else { plan.usual };
    let backend = |latency: Duration| {
        Settings::local(Behaviour {
            latency: Latency::Constant(latency),
            ..Behaviour::labelled("lab")
        })
    };
    // Each on a thread of its own, as on a machine of its own.
    let start = |latency| Group::start(vec![backend(latency)]).context("cannot start a backend");
    let (first, second) = (start(of_first)?, start(plan.usual)?);
    let address = |group: &Group| endpoint(group.backends().first().context("no backend")?);
    let stage = Stage::start(&plan.yaml(address(&first)?, address(&second)?))?;
    let proxy = stage.address()?;
    let seed = u64::from(round) * 2;
    // The clients of each on a thread of their own too.
    let (first, second) = std::thread::scope(|scope| {
        let first = load(plan, proxy, "/first", seed);
        let first = scope.spawn(move || drive(first, plan.length));
        let second = drive(load(plan, proxy, "/second", seed + 1), plan.length);
        (first.join(), second)
    });
    let first = first.map_err(|_| anyhow::anyhow!("the clients of the first upstream panicked"))?;
    Ok(Half {
        first: first?,
        second: second?,
    })
}

/// How long after the last request answers are waited for.
const REST: Duration = Duration::from_millis(300);

/// Sends a load; what has no answer soon after its end is left out.
fn drive(load: Load, length: Duration) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the load")?;
    let tally = Tally::default();
    let run = generator::run(load, Clock::system(), Arc::clone(&tally));
    // Those of a slow upstream need not be waited for.
    let _ = runtime.block_on(async { tokio::time::timeout(length + REST, run).await });
    drop(runtime);
    let report = tally.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(report.clone())
}

fn load(plan: &Plan, address: SocketAddr, target: &str, seed: u64) -> Load {
    let random = Random::seeded(seed);
    Load {
        address,
        host: address.to_string(),
        targets: vec![target.to_owned()],
        field: None,
        schedule: Schedule::new(Arrivals::Poisson, plan.rate, Some(plan.length), random),
        warm_up: plan.warm_up(),
        connections: plan.connections(),
        timeout: Duration::from_secs(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::from_text;

    #[test]
    fn what_is_shown_is_a_configuration() {
        let plan = Plan {
            rate: 200.0,
            usual: Duration::from_millis(20),
            slow: Duration::from_secs(5),
            length: Duration::from_secs(3),
            rounds: 7,
        };
        let address = "127.0.0.1:1".parse().unwrap();
        let loaded = from_text("p.yaml", &plan.yaml(address, address), &|_| None);
        assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
    }
}
