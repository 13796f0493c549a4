//! The compiled tables in force: immutable, assembled from each stage's `compile`, swapped whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::attempt::idempotency::{Guard, Stores};
use crate::clock::Instant;
use crate::config::{
    self, Address, Balance, ClientFact, Config, EscapedSlashes, Forwarding, HashKey,
    ListenerLimits, ListenerTimeouts, ProxyProtocolIn, Slashes, TrustedProxy, Underscores,
};
use crate::limit::{self, Attached, Limits, auth};
use crate::listener::addresses::Addresses;
use crate::listener::server_tls::ServerTls;
use crate::route::{self, Table};
use crate::tls::{Shared, TlsError};
use crate::upstream::breaker::Breaker;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::registry::Registry;
use crate::upstream::{self, Upstream};

/// What one listener asks of its connections and requests.
#[derive(Debug, Clone)]
pub struct Listener {
    pub name: String,
    /// Given once in the life of the process: a listener that is removed and comes again has another.
    pub number: usize,
    /// Clear text without it.
    pub tls: Option<Arc<ServerTls>>,
    pub timeouts: ListenerTimeouts,
    pub limits: ListenerLimits,
    pub trusted_proxies: Vec<TrustedProxy>,
    pub underscores: Underscores,
    pub slashes: Slashes,
    pub escaped_slashes: EscapedSlashes,
    pub forwarding: Forwarding,
    /// Who may ask why an endpoint was picked.
    pub explain_to: Vec<TrustedProxy>,
    /// Whose connections begin with a PROXY header.
    pub proxy_protocol: ProxyProtocolIn,
    /// Whose connections are served; `None`: all.
    pub addresses: Option<Addresses>,
    /// What limits all of its clients.
    pub limiters: Option<Arc<Attached>>,
    /// What connections show of their clients; `None` where nothing follows from it.
    pub certified: Option<Box<Certified>>,
}

/// What follows from what a connection with TLS shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certified {
    /// Whether the host of a request must be the name that its connection asked for.
    pub sni_matches_host: bool,
    /// What endpoints are told of the client's certificate, by the names of fields.
    pub told: Vec<(String, ClientFact)>,
    /// Names of fields by which any listener tells endpoints who a client is: here nobody else may say anything in them.
    pub reserved: Vec<String>,
}

impl Certified {
    fn compile(written: &config::Listener, config: &Config) -> Option<Box<Self>> {
        let clients = |listener: &config::Listener| {
            let tls = listener.tls.as_ref()?;
            Some(tls.client.as_ref()?.header.clone())
        };
        let all = config.listeners.values().filter_map(clients).flatten();
        let tls = written.tls.as_ref();
        let this = Self {
            sni_matches_host: tls.is_some_and(|tls| tls.sni_matches_host),
            told: clients(written).unwrap_or_default(),
            reserved: all.map(|(name, _)| name).collect(),
        };
        (this != Self::default()).then(|| Box::new(this))
    }
}

/// The configuration as the workers use it.
pub struct Snapshot {
    /// Counts up with each configuration that was put in force.
    pub generation: u64,
    pub config: Arc<Config>,
    /// In the order of their names.
    pub listeners: Vec<Arc<Listener>>,
    /// Those of earlier configurations that are gone from this one and still have connections, which they rule to the end.
    pub departed: Vec<Arc<Listener>>,
    pub routes: Arc<Table>,
    /// Of the routes at the same places.
    pub breakers: Vec<Option<Arc<Breaker>>>,
    pub upstreams: Vec<Arc<Upstream>>,
    /// What routes ask of requests with an idempotency key, in the order of the routes.
    pub guards: Vec<Option<Arc<Guard>>>,
    /// Whose requests the routes answer, in their order; `None`: all.
    pub addresses: Arc<[Option<Addresses>]>,
    /// Every limiter, and those of the routes.
    pub limits: Arc<Limits>,
    /// What routes ask of who wants to enter, in the order of the routes.
    pub gates: Vec<Option<Arc<auth::Gate>>>,
}

/// The State that every configuration finds again.
#[derive(Clone, Copy)]
pub struct State<'a> {
    /// Endpoints by identity.
    pub endpoints: &'a Registry,
    /// Idempotency keys by route.
    pub keys: &'a Stores,
    /// What is known of those who showed who they are.
    pub ledger: &'a auth::Ledger,
    /// Ticket keys.
    pub tls: &'a Shared,
    /// What is known of clients, by limiter.
    pub limiters: &'a limit::Registry,
}

/// Why a valid configuration cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Routes(Vec<route::CompileError>),
    #[error(transparent)]
    Upstream(#[from] upstream::CompileError),
    #[error("listeners.{listener}.tls: {source}")]
    Tls { listener: String, source: TlsError },
    #[error(transparent)]
    Auth(#[from] auth::AuthError),
}

/// The numbers of listeners by name.
pub type Numbers = BTreeMap<String, usize>;

impl Listener {
    fn compile(
        name: &str,
        number: usize,
        written: &config::Listener,
        config: &Config,
        shared: &Shared,
        limits: &Limits,
    ) -> Result<Self, CompileError> {
        let tls = match (&written.tls, &written.address) {
            (None, _) => Ok(None),
            (Some(_), Address::Unix(path)) => Err(TlsError::UnixSocket { path: path.clone() }),
            (Some(tls), Address::Tcp(_)) => ServerTls::compile(tls, shared).map(Some),
        };
        let tls = tls.map_err(|source| CompileError::Tls {
            listener: name.to_owned(),
            source,
        })?;
        Ok(Self {
            tls,
            limiters: limits.of_listener(name).cloned(),
            number,
            certified: Certified::compile(written, config),
            ..Self::without_tls(name, written)
        })
    }

    /// What is asked of requests without State: neither certificates nor limiters.
    pub fn without_tls(name: &str, written: &config::Listener) -> Self {
        Self {
            name: name.to_owned(),
            number: 0,
            tls: None,
            timeouts: written.timeouts.clone(),
            limits: written.limits.clone(),
            trusted_proxies: written.trusted_proxies.clone(),
            underscores: written.underscores,
            slashes: written.slashes,
            escaped_slashes: written.escaped_slashes,
            forwarding: written.forwarding.clone(),
            explain_to: written.explain_to.clone(),
            proxy_protocol: written.proxy_protocol.clone(),
            addresses: Addresses::compile(&written.addresses),
            limiters: None,
            certified: None,
        }
    }
}

/// What the routes ask of requests with an idempotency key.
fn guards(config: &Config, routes: &Table, stores: &Stores) -> Vec<Option<Arc<Guard>>> {
    let each = config.routes.iter().zip(routes.routes());
    each.map(|(written, route)| {
        let upstreams = written.action.upstreams();
        let upstreams = upstreams.filter_map(|name| config.upstreams.get(name));
        let own = upstreams.flat_map(own_cookies).collect();
        Guard::compile(written, &route.name, own, stores).map(Arc::new)
    })
    .collect()
}

/// The cookies that an upstream has this proxy set.
fn own_cookies(upstream: &config::Upstream) -> impl Iterator<Item = String> {
    let sticky = upstream.sticky.as_ref().map(|sticky| &sticky.cookie);
    let key = match &upstream.balance {
        Balance::ConsistentHash(hash) => match &hash.key {
            HashKey::Cookie {
                name,
                create: Some(_),
            } => Some(name),
            _ => None,
        },
        _ => None,
    };
    sticky.into_iter().chain(key).cloned()
}

impl Snapshot {
    /// Compiles a configuration, by what is known of names and files of endpoints. Blocks: other files are read. A listener
    /// without a number of its own gets its place in the order of the names.
    pub fn compile(
        config: &Arc<Config>,
        generation: u64,
        numbers: &Numbers,
        state: State<'_>,
    ) -> Result<Self, CompileError> {
        let (registry, shared) = (state.endpoints, state.tls);
        let limits = Limits::compile(config, state.limiters);
        let listeners = config
            .listeners
            .iter()
            .enumerate()
            .map(|(place, (name, written))| {
                let number = numbers.get(name).copied().unwrap_or(place);
                Listener::compile(name, number, written, config, shared, &limits).map(Arc::new)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let listener_names: Vec<String> = config.listeners.keys().cloned().collect();
        let upstream_names: Vec<String> = config.upstreams.keys().cloned().collect();
        let routes = Table::compile(&config.routes, &listener_names, &upstream_names)
            .map_err(CompileError::Routes)
            .map(Arc::new)?;
        let upstreams = config
            .upstreams
            .iter()
            .map(|(name, written)| {
                let zone = config.zone.as_deref();
                Upstream::compile(name, written, zone, registry, shared).map(Arc::new)
            })
            .collect::<Result<_, _>>()?;
        let breakers = config.routes.iter().zip(routes.routes());
        let breakers = breakers.map(|(written, route)| {
            let switch = || registry.route_breaker(&route.name);
            let written = written.breaker.as_ref()?;
            let breaker = Breaker::of_route(&route.name, written, registry.events(), switch());
            Some(Arc::new(breaker))
        });
        let written = config.routes.iter();
        let addresses = written.map(|route| Addresses::compile(&route.addresses));
        Ok(Self {
            addresses: addresses.collect(),
            breakers: breakers.collect(),
            generation,
            config: Arc::clone(config),
            listeners,
            departed: Vec::new(),
            guards: guards(config, &routes, state.keys),
            limits: Arc::new(limits),
            gates: auth::compile(config, state.ledger)?,
            routes,
            upstreams,
        })
    }

    /// The same configuration with the endpoints that there are now: those upstreams that are outdated are compiled anew, all
    /// else is shared. What cannot be compiled stays as it was, and its error is given back.
    pub fn relisted(
        &self,
        registry: &Registry,
        shared: &Shared,
    ) -> (Self, Vec<(String, upstream::CompileError)>) {
        let zone = self.config.zone.as_deref();
        let mut errors = Vec::new();
        let mut anew = |old: &Arc<Upstream>| {
            let written = self.config.upstreams.get(&old.name);
            let Some(written) = written.filter(|_| old.is_outdated()) else {
                return Arc::clone(old);
            };
            let name = &old.name;
            match Upstream::compile_after(Some(old), name, written, zone, registry, shared) {
                Ok(upstream) => Arc::new(upstream),
                Err(error) => {
                    errors.push((name.clone(), error));
                    Arc::clone(old)
                }
            }
        };
        let relisted = Self {
            generation: self.generation,
            config: Arc::clone(&self.config),
            listeners: self.listeners.clone(),
            departed: self.departed.clone(),
            routes: Arc::clone(&self.routes),
            upstreams: self.upstreams.iter().map(&mut anew).collect(),
            guards: self.guards.clone(),
            limits: Arc::clone(&self.limits),
            gates: self.gates.clone(),
            breakers: self.breakers.clone(),
            addresses: Arc::clone(&self.addresses),
        };
        (relisted, errors)
    }

    /// Keeps the rules of those listeners of `before` that are gone and for which `has_guests` holds.
    pub fn keep_departed(&mut self, before: &Self, has_guests: impl Fn(usize) -> bool) {
        let old = before.listeners.iter().chain(&before.departed);
        let here: Vec<usize> = self.listeners.iter().map(|one| one.number).collect();
        let gone = old.filter(|one| !here.contains(&one.number) && has_guests(one.number));
        self.departed = gone.cloned().collect();
    }

    /// Finds out how all upstreams and their endpoints fare; from a tick.
    pub fn look(&self, now: Instant) {
        // Any number that counts up with the ticks.
        self.limits.sweep((now.0 / 100_000_000) as usize, now);
        for breaker in self.breakers.iter().flatten() {
            breaker.look_shared(now, None);
        }
        for upstream in &self.upstreams {
            upstream.look(now);
        }
    }

    /// Those of all upstreams.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let upstreams = self.upstreams.iter();
        upstreams.flat_map(|upstream| &upstream.endpoints)
    }
}
