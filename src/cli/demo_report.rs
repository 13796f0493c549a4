//! The company of the demo: load before the proxy, and every few seconds a line that says how each endpoint fares.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use super::demo::UPSTREAM;
use super::status::latency;
use super::{print, say};
use crate::admin::Live;
use crate::clock::Clock;
use crate::config::Address;
use crate::entropy::Random;
use crate::lab::generator::{self, Load, Tally};
use crate::lab::schedule::{Arrivals, Schedule};
use crate::lifecycle::{Command, Commands, Running};
use crate::observe::{Metric, Window};

/// How often a line is printed.
const EVERY: Duration = Duration::from_secs(3);
/// Connections of the load, and so requests at once.
const CONNECTIONS: usize = 64;

/// The load.
pub(super) struct Plan {
    /// Requests per second.
    pub(super) rate: f64,
    /// `None`: until the demo is ended.
    pub(super) length: Option<Duration>,
}

/// Ends the load when dropped.
pub(super) struct Company {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Prints what to try, and starts the load on a thread of its own.
pub(super) fn begin(running: &Running, plan: Plan) -> anyhow::Result<Company> {
    let live = Arc::clone(&running.live);
    let listeners = live.listeners.load();
    let Some(Address::Tcp(address)) = listeners.first().map(|bound| bound.address.clone()) else {
        anyhow::bail!("the demo has no listener");
    };
    let admin = live
        .admin
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    print(&greeting(address, &admin, plan.rate))?;
    let commands = running.commands();
    let (stop, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the load")?;
    let thread = std::thread::Builder::new()
        .name("demo".to_owned())
        .spawn(move || runtime.block_on(keep_company(live, commands, address, plan, stopped)))?;
    Ok(Company {
        stop: Some(stop),
        thread: Some(thread),
    })
}

impl Drop for Company {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was already printed by the panic hook.
            let _ = thread.join();
        }
    }
}

fn greeting(address: SocketAddr, admin: &str, rate: f64) -> String {
    format!(
        "\
A proxy at http://{address} in front of four synthetic backends, one of them slower, under {rate} requests per second.

Try:
  curl -i http://{address}/                     who answered stands in X-Backend
  curl http://{address}/headers                 the head as the backend received it
  curl -T FILE http://{address}/checksum        an upload, and what arrived of it
  curl -N http://{address}/sse/5/500            server-sent events, without delay
  plimsoll status --admin {admin}          percentiles of every route and endpoint
  curl http://{admin}/metrics              the same for Prometheus
  plimsoll demo --balance round_robin            and see what the slow one does to p99
Ctrl-C ends it.

"
    )
}

async fn keep_company(
    live: Arc<Live>,
    commands: Commands,
    address: SocketAddr,
    plan: Plan,
    stopped: oneshot::Receiver<()>,
) {
    let tally = Tally::default();
    let load = Load {
        address,
        host: address.to_string(),
        targets: vec!["/".to_owned()],
        field: None,
        schedule: Schedule::new(
            Arrivals::Poisson,
            plan.rate,
            plan.length,
            Random::from_system(),
        ),
        warm_up: Duration::ZERO,
        connections: CONNECTIONS,
        timeout: Duration::from_secs(10),
    };
    let loading = generator::run(load, Clock::system(), Arc::clone(&tally));
    tokio::select! {
        () = loading => {}
        () = report(&live) => {}
        _ = stopped => return,
    }
    sum_up(&tally);
    // The control loop is there as long as this thread is.
    let _ = commands.send(Command::Drain);
}

/// Prints a line every few seconds, for ever.
async fn report(live: &Live) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every.tick().await;
    loop {
        every.tick().await;
        if let Err(error) = print(&line(live)) {
            say(&format!("plimsoll: {error}"));
        }
    }
}

/// `198 req/s | amber 61/s p50 4.1 ms p99 11.0 ms | ...` over the last minute.
fn line(live: &Live) -> String {
    let report = live.metrics.read(Window::Minute, live.clock.now());
    let seconds = report.span.as_secs_f64().max(0.001);
    let all = report.process.sum(Metric::ListenerRequests) as f64 / seconds;
    let mut text = format!("{all:.0} req/s");
    let ours = report
        .endpoints
        .iter()
        .filter(|reading| reading.identity[0] == UPSTREAM);
    for endpoint in ours {
        let rate = endpoint.sum(Metric::AttemptResponses) as f64 / seconds;
        let time = |time: Option<Duration>| latency(time.map(|time| time.as_secs_f64()));
        let (p50, p99) = (time(endpoint.total.p50), time(endpoint.total.p99));
        let id = &endpoint.identity[1];
        text.push_str(&format!(" | {id} {rate:.0}/s p50 {p50} p99 {p99}"));
    }
    text.push('\n');
    text
}

fn sum_up(tally: &Tally) {
    let report = tally
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let time = |quantile: f64| {
        let micros = report.latency.value_at_quantile(quantile);
        latency(Some(micros as f64 / 1e6))
    };
    let text = format!(
        "Seen by the clients: {} requests, {} answered, {} failed; p50 {}, p95 {}, p99 {}.\n",
        report.due,
        report.answered(),
        report.failed(),
        time(0.5),
        time(0.95),
        time(0.99),
    );
    if let Err(error) = print(&text) {
        say(&format!("plimsoll: {error}"));
    }
}
