//! Does an overload end with what caused it?  The recipe of a metastable failure (Bronson et al., "Metastable Failures in
//! Distributed Systems", HotOS 2021, 2.1): a server that can do just more than its load, requests that are tried again,
//! and a stall. While it stands still, requests pile up; what has waited for too long is tried again and doubles the
//! load, so that what comes later waits for too long as well. Nothing ends that but a queue that is short enough.
//!
//! - [`arm`]: the configurations that are compared (pure).
//! - [`outcome`]: goodput second by second, and what must have been seen of it (pure).
//! - here: one arm after the other, on real sockets.

pub mod arm;
pub mod outcome;

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::Context;

use self::arm::Arm;
use self::outcome::Outcome;
use super::backend::{Backend, Behaviour, Group, Settings};
use super::generator::{self, Load, Tally};
use super::schedule::{Arrivals, Schedule};
use super::stage::{Stage, endpoint};
use crate::clock::Clock;
use crate::entropy::Random;

/// How long the backend works on requests before it stalls, how long it stalls and how long is looked on afterwards are
/// whole seconds, so that seconds of the chart are of one kind.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Requests per second that the backend can do.
    pub capacity: f64,
    /// Requests per second that come.
    pub rate: f64,
    pub before: u64,
    pub stall: u64,
    pub after: u64,
}

/// How long one attempt may take, which the backend's queue must be shorter than.
pub const ATTEMPT: Duration = Duration::from_secs(1);
/// How long a client waits: two attempts and what lies between.
pub const PATIENCE: Duration = Duration::from_millis(2500);

impl Plan {
    /// Of one arm.
    pub fn seconds(&self) -> u64 {
        self.before + self.stall + self.after
    }

    fn service(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.capacity)
    }

    /// Requests that wait at once at most: all that come while a client waits, and some room.
    fn connections(&self) -> usize {
        (self.rate * PATIENCE.as_secs_f64() * 1.5) as usize + 50
    }
}

/// Runs one arm to the last answer.
pub fn run(plan: &Plan, arm: &Arm) -> anyhow::Result<Outcome> {
    let backends = Group::start(vec![Settings::local(Behaviour {
        service: Some(plan.service()),
        ..Behaviour::labelled("lab")
    })]);
    let backends = backends.context("cannot start the backend")?;
    let backend = backends.backends().first().context("no backend")?;
    let stage = Stage::start(&arm.yaml(endpoint(backend)?))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the load")?;
    let tally = Tally::default();
    let load = load(plan, stage.address()?);
    let (attempts, ()) = runtime.block_on(async {
        let load = generator::run(load, Clock::system(), Arc::clone(&tally));
        tokio::join!(watch(plan, backend), load)
    });
    let report = tally.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Outcome {
        seconds: report.seconds.clone(),
        attempts,
        kept_pace: report.kept_pace(),
    })
}

/// Lets the backend stall when it is time, and counts the requests that it gets in each second.
async fn watch(plan: &Plan, backend: &Backend) -> Vec<u64> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await;
    let (mut attempts, mut before) = (Vec::new(), 0);
    for second in 0..plan.seconds() {
        if second == plan.before {
            backend.stall(Duration::from_secs(plan.stall));
        }
        ticks.tick().await;
        let all = backend.counters().requests();
        attempts.push(all - before);
        before = all;
    }
    attempts
}

fn load(plan: &Plan, address: SocketAddr) -> Load {
    let length = Duration::from_secs(plan.seconds());
    Load {
        address,
        host: address.to_string(),
        targets: vec!["/".to_owned()],
        field: None,
        // Evenly: what is seen is then the doing of queues and retries alone.
        schedule: Schedule::new(
            Arrivals::Uniform,
            plan.rate,
            Some(length),
            Random::seeded(0),
        ),
        warm_up: Duration::ZERO,
        connections: plan.connections(),
        timeout: PATIENCE,
    }
}
