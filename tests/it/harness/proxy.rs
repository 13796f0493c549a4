//! The proxy under test, inside the test's process.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A running proxy; it stops when dropped.
pub struct Proxy {
    running: Running,
}

/// What [`launch`] gives back.
struct Running {
    /// Where each listener was bound, by its name, with the port that it was given; `admin` among them.
    listeners: BTreeMap<String, SocketAddr>,
    /// Stops the proxy when dropped.
    _guard: Box<dyn Any + Send>,
}

impl Proxy {
    /// Starts with this configuration. Listeners ask for port 0.
    pub async fn start(yaml: &str) -> Self {
        Self {
            running: launch(yaml).await,
        }
    }

    /// The shortest useful configuration: one listener in front of these endpoints.
    pub async fn before(endpoints: &[String]) -> Self {
        Self::start(&plain(endpoints)).await
    }

    /// Of the only listener.
    pub fn address(&self) -> SocketAddr {
        let mut addresses = self
            .running
            .listeners
            .iter()
            .filter(|(name, _)| *name != "admin");
        let (_, address) = addresses.next().expect("a listener");
        assert!(addresses.next().is_none(), "which of several listeners?");
        *address
    }

    /// Of the listener of this name.
    pub fn listener(&self, name: &str) -> SocketAddr {
        self.running.listeners[name]
    }
}

fn plain(endpoints: &[String]) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|one| format!("{one:?}")).collect();
    format!(
        "listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ match: {{ path: / }}, upstream: pool }} ]\n\
         upstreams: {{ pool: {{ endpoints: [{}] }} }}\n",
        endpoints.join(", ")
    )
}

// ADAPTER: the only lines that know how the proxy is started. Here `config::read` turns the text into a `Config`, and
// `lifecycle::start::start` turns that into a handle with the bound addresses, which becomes `_guard`.
async fn launch(yaml: &str) -> Running {
    unimplemented!("`lifecycle::start` is not joined to the tests yet; given:\n{yaml}")
}
