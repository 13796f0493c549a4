//! One policy for one round: backends, proxy and load, everything started anew, so that nothing of one policy (a queue, a
//! memory, a connection) is left to the next.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError};

use anyhow::Context;
use hyper::header::HeaderName;

use super::outcome::Seen;
use super::plan::{Plan, WORKERS};
use super::users;
use crate::clock::Clock;
use crate::config::{Action, Address, Balance, Config, Endpoint, Listener, Route, Upstream};
use crate::entropy::Random;
use crate::lab::backend::{Behaviour, Group, Settings};
use crate::lab::generator::{self, Load, Tally};
use crate::lab::schedule::{Arrivals, Schedule};
use crate::lifecycle::{self, Handle};

const UPSTREAM: &str = "lab";

/// Runs it to the last answer.
pub(super) fn run(plan: &Plan, balance: &Balance, round: u32) -> anyhow::Result<Seen> {
    // The same in each policy's turn: arrivals, users, service times by the count of requests.
    let mut random = Random::seeded(plan.seed.wrapping_add(u64::from(round)));
    let backends = backends(plan, &mut random).context("cannot start the backends")?;
    let clock = Clock::system();
    let proxy = lifecycle::start(config(balance, &backends), clock)?
        // What it has to say is where it listens.
        .spawn(Arc::new(|_| {}))
        .context("cannot start the proxy")?;
    let load = load(plan, address(&proxy)?, round, random);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the load")?;
    let tally = Tally::default();
    let ((), warm) = runtime.block_on(async {
        let counting = async {
            tokio::time::sleep(plan.warm_up()).await;
            received(&backends)
        };
        tokio::join!(generator::run(load, clock, Arc::clone(&tally)), counting)
    });
    let received = received(&backends).into_iter().zip(warm);
    let report = tally.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Seen {
        report: report.clone(),
        received: received.map(|(all, warm)| all - warm).collect(),
    })
}

/// The last one is slow.
fn is_slow(plan: &Plan, index: usize) -> bool {
    index + 1 == plan.endpoints
}

fn backends(plan: &Plan, random: &mut Random) -> std::io::Result<Group> {
    let settings = (0..plan.endpoints).map(|index| {
        Settings::local(Behaviour {
            latency: plan.latency(is_slow(plan, index)),
            slots: Some(plan.slots()),
            seed: Some(random.next_u64()),
            ..Behaviour::labelled(format!("endpoint-{index}"))
        })
    });
    Group::start(settings.collect())
}

/// Requests that each has received so far, whether or not anybody still waited for the answer.
fn received(backends: &Group) -> Vec<u64> {
    let each = backends.backends().iter();
    each.map(|backend| backend.counters().requests()).collect()
}

fn config(balance: &Balance, backends: &Group) -> Config {
    let endpoints = backends.backends().iter().zip(0..);
    let endpoints = endpoints.map(|(backend, index): (_, usize)| Endpoint {
        // What is hashed: the address has another port in each round.
        id: Some(format!("endpoint-{index}")),
        ..Endpoint::new(backend.address().to_string())
    });
    let upstream = Upstream {
        balance: balance.clone(),
        ..Upstream::new(endpoints.collect())
    };
    let route = Route {
        action: Action::Upstream(UPSTREAM.to_owned()),
        ..Route::default()
    };
    let anywhere = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    Config {
        listeners: [(UPSTREAM.to_owned(), Listener::new(anywhere))].into(),
        routes: vec![route],
        upstreams: [(UPSTREAM.to_owned(), upstream)].into(),
        workers: NonZeroUsize::new(WORKERS),
        ..Config::default()
    }
}

fn address(proxy: &Handle) -> anyhow::Result<SocketAddr> {
    let listeners = proxy.live.listeners.load();
    match listeners.first().map(|bound| &bound.address) {
        Some(Address::Tcp(address)) => Ok(*address),
        _ => anyhow::bail!("the proxy has no listener"),
    }
}

fn load(plan: &Plan, address: SocketAddr, round: u32, mut random: Random) -> Load {
    let requests = plan.rate * plan.round().as_secs_f64();
    let users = users::draw(requests.ceil() as usize, round, &mut random);
    let schedule = Schedule::new(Arrivals::Poisson, plan.rate, Some(plan.round()), random);
    Load {
        address,
        host: address.to_string(),
        targets: vec!["/".to_owned()],
        field: HeaderName::try_from(users::FIELD)
            .ok()
            .map(|name| (name, users)),
        schedule,
        warm_up: plan.warm_up(),
        connections: plan.connections(),
        timeout: plan.timeout,
    }
}
