//! The proxy under test, inside the test's process.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use plimsoll::admin::Live;
use plimsoll::clock::Clock;
use plimsoll::config::read::from_text;
use plimsoll::config::{Address, Config};
use plimsoll::http::Handler;
use plimsoll::lifecycle::{self, Changes, Ended, Handle, ReloadError};
use plimsoll::observe::{Metric, Reading, Report, Window};
use plimsoll::worker::Worker;

/// A running proxy; it stops, and cuts what it has, when dropped.
pub struct Proxy {
    handle: Handle,
}

impl Proxy {
    /// Starts with this configuration. Listeners ask for port 0.
    pub async fn start(yaml: &str) -> Self {
        Self::start_on(Clock::system(), yaml).await
    }

    /// The same on a clock of its own: [`Clock::scaled`] makes long timeouts short.
    pub async fn start_on(clock: Clock, yaml: &str) -> Self {
        Self::start_with(clock, yaml, plimsoll::proxy::Proxy::new).await
    }

    /// With other code that answers requests: `handler` makes it for each worker.
    pub async fn start_with<H: Handler>(
        clock: Clock,
        yaml: &str,
        handler: impl Fn(&Rc<Worker>) -> H + Clone + Send + 'static,
    ) -> Self {
        // Compiling may ask the resolver, which blocks.
        let config = parsed(yaml);
        let start = move || lifecycle::start_with(config, clock, handler);
        let started = tokio::task::spawn_blocking(start);
        let running = started.await.unwrap().unwrap();
        let say = Arc::new(|line: &str| eprintln!("{line}"));
        Self {
            handle: running.spawn(say).unwrap(),
        }
    }

    /// The shortest useful configuration: one listener in front of these endpoints, and an admin API.
    pub async fn before(endpoints: &[String]) -> Self {
        Self::start(&plain(endpoints)).await
    }

    /// Of the only listener.
    pub fn address(&self) -> SocketAddr {
        let listeners = self.live().listeners.load();
        let [bound] = &listeners[..] else {
            panic!("which of several listeners?");
        };
        tcp(&bound.address)
    }

    /// Of the listener of this name.
    pub fn listener(&self, name: &str) -> SocketAddr {
        let listeners = self.live().listeners.load();
        let bound = listeners.iter().find(|bound| bound.name == name);
        tcp(&bound.expect("a listener of this name").address)
    }

    /// Of the admin API.
    pub fn admin(&self) -> SocketAddr {
        tcp(self.live().admin.as_ref().expect("an admin API"))
    }

    /// What can be seen of it from within the process.
    pub fn live(&self) -> &Live {
        &self.handle.live
    }

    /// What was counted since it started.
    pub fn report(&self) -> Report {
        let live = self.live();
        live.metrics.read(Window::Lifetime, live.clock.now())
    }

    /// A counter by the value of its own label, `""` where it has none, over all listeners.
    pub fn listeners(&self, metric: Metric, label: &str) -> u64 {
        sum(&self.report().listeners, metric, label)
    }

    /// The same over all routes. A request is counted when its exchange has ended, which may be after the client has
    /// its answer.
    pub fn routes(&self, metric: Metric, label: &str) -> u64 {
        sum(&self.report().routes, metric, label)
    }

    /// The same over all endpoints.
    pub fn endpoints(&self, metric: Metric, label: &str) -> u64 {
        sum(&self.report().endpoints, metric, label)
    }

    /// The same over all workers.
    pub fn workers(&self, metric: Metric, label: &str) -> u64 {
        sum(&self.report().threads, metric, label)
    }

    /// Puts another configuration in force, or changes nothing and says why.
    pub async fn reload(&self, yaml: &str) -> Result<Changes, ReloadError> {
        self.handle.reload(parsed(yaml)).await
    }

    /// Begins to drain.
    pub fn drain(&self) {
        self.handle.drain();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits for the end of what was asked to drain.
    pub async fn join(self) -> Ended {
        let joined = tokio::task::spawn_blocking(move || self.handle.join());
        joined.await.unwrap()
    }
}

fn sum(readings: &[Reading], metric: Metric, label: &str) -> u64 {
    let counts = readings.iter().map(|one| one.count(metric, label));
    counts.sum()
}

fn tcp(address: &Address) -> SocketAddr {
    match address {
        Address::Tcp(address) => *address,
        Address::Unix(path) => panic!("this one listens on {}", path.display()),
    }
}

fn parsed(yaml: &str) -> Config {
    match from_text("test.yaml", yaml, &|_| None) {
        Ok(loaded) => loaded.config,
        Err(refusal) => panic!("{refusal}"),
    }
}

/// The configuration of [`Proxy::before`].
pub fn plain(endpoints: &[String]) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|one| format!("{one:?}")).collect();
    format!(
        "listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ match: {{ path: / }}, upstream: pool }} ]\n\
         upstreams: {{ pool: {{ endpoints: [{}] }} }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n",
        endpoints.join(", ")
    )
}

/// One listener, one route and one upstream; `listener`, `route` and `upstream` add keys to each.
pub fn config(endpoints: &[String], listener: &str, route: &str, upstream: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|one| format!("{one:?}")).collect();
    format!(
        "workers: 1\n\
         listeners: {{ web: {{ address: \"127.0.0.1:0\", {listener} }} }}\n\
         routes: [ {{ match: {{ path: / }}, upstream: pool, {route} }} ]\n\
         upstreams: {{ pool: {{ endpoints: [{}], {upstream} }} }}\n",
        endpoints.join(", ")
    )
}
