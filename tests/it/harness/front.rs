//! A proxy that stands before what is hostile: what it refused is counted, and no panic of a worker goes unseen.

use std::net::SocketAddr;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use plimsoll::clock::Clock;
use plimsoll::observe::Metric;

use super::{DEADLINE, ON_PURPOSE, Proxy, eventually};

/// A proxy whose counters the tests read.
pub struct Front {
    proxy: Proxy,
    pub address: SocketAddr,
}

impl Front {
    /// Before one endpoint, with these keys of the listener.
    pub async fn before(endpoint: &str, listener: &str) -> Self {
        Self::on(Clock::system(), endpoint, listener).await
    }

    /// The same on a clock of its own.
    pub async fn on(clock: Clock, endpoint: &str, listener: &str) -> Self {
        let routes = "- { match: { path: / }, upstream: pool }\n";
        Self::start(clock, endpoint, listener, routes).await
    }

    /// With these routes, one a line.
    pub async fn routed(endpoint: &str, routes: &str) -> Self {
        Self::start(Clock::system(), endpoint, "", routes).await
    }

    /// Makes one attempt for each request, so that what is hostile is met once.
    async fn start(clock: Clock, endpoint: &str, listener: &str, routes: &str) -> Self {
        count_panics();
        // It is clients that are late here, on whatever clock.
        let far = "timeouts: { connect: 1h, first_byte: 24h, total: 24h }";
        let yaml = format!(
            "workers: 1\n\
             listeners: {{ web: {{ address: \"127.0.0.1:0\"{listener} }} }}\n\
             routes:\n{routes}\
             upstreams: {{ pool: {{ endpoints: [\"{endpoint}\"], retry: off, {far} }} }}\n"
        );
        let proxy = Proxy::start_on(clock, &yaml).await;
        let address = proxy.address();
        Self { proxy, address }
    }

    /// Requests refused for this reason: before routing, or after it.
    pub fn refused(&self, reason: &str) -> u64 {
        let before = self.proxy.listeners(Metric::ListenerRefused, reason);
        before + self.proxy.routes(Metric::RequestErrors, reason)
    }

    /// Attempts that ended with this error.
    pub fn failed(&self, error: &str) -> u64 {
        self.proxy.endpoints(Metric::AttemptErrors, error)
    }

    /// Requests that ended with a status of this class.
    pub fn ended(&self, class: &str) -> u64 {
        self.proxy.routes(Metric::Requests, class)
    }

    /// Downstream connections open now.
    pub fn open_connections(&self) -> u64 {
        self.proxy.listeners(Metric::ListenerOpen, "")
    }

    /// Waits until so many were refused for this reason.
    pub async fn expect_refused(&self, reason: &str, times: u64) {
        eventually(DEADLINE, || self.refused(reason) == times).await;
    }
}

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Notes panics of workers, which otherwise end one connection and are not seen from outside. Those that a test of this
/// process asks for are not meant.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let is_worker = thread
                .name()
                .is_some_and(|name| name.starts_with("worker-"));
            if is_worker && panic.payload_as_str() != Some(ON_PURPOSE) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(panic);
        }));
    });
}

/// No worker of this process has panicked so far.
pub fn expect_no_panic() {
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}
