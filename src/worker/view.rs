//! The snapshot as one worker sees it: joined with the idle connections, policy memories and cells that it keeps beside
//! it, and taken over from one snapshot to the next.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use crate::balance::narrow::GroupLabel;
use crate::balance::{HotKeys, Memory};
use crate::http::drain::Drain;
use crate::http::{InForce, h1, h2};
use crate::limit::Attached;
use crate::limit::auth::Gate;
use crate::observe::histogram::Histogram;
use crate::observe::{Door, EndpointCells, ListenerCells, RouteCells, UpstreamCells};
use crate::snapshot::{Listener, Snapshot};
use crate::upstream::Upstream;
use crate::upstream::breaker::Breaker;
use crate::upstream::bulkhead::Samples;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::groups::{Groups, Seen};
use crate::upstream::pool::{Limits, Pool};

/// An endpoint with what this worker keeps for it.
pub struct Reach {
    pub endpoint: Arc<Endpoint>,
    pub cells: Arc<EndpointCells>,
    pub pool: Pool,
    /// Held by whoever dials an HTTP/2 connection, so that others wait for it instead of dialling too.
    pub dialling: tokio::sync::Mutex<()>,
    /// When it could choose, it chose HTTP/1.1: there is nothing to wait for.
    pub chose_h1: Cell<bool>,
}

/// An upstream as this worker sees it.
pub struct UpstreamView {
    pub shared: Arc<Upstream>,
    pub reaches: Vec<Rc<Reach>>,
    /// Who can be picked now.
    pub seen: RefCell<Seen>,
    /// What the policy of each group remembers, in the order of the groups.
    pub memories: RefCell<Vec<Memory>>,
    /// Which keys this worker saw most, where requests are hashed.
    pub hot_keys: Option<Arc<Mutex<HotKeys>>>,
    pub cells: Arc<UpstreamCells>,
    /// Where this worker counts what an adaptive limit goes by, if there is one.
    pub samples: Option<Arc<Samples>>,
    /// What answers took, where requests are hedged by it.
    pub latencies: Option<Arc<Histogram>>,
    pub limits: Limits,
}

/// A route as this worker sees it: all of it that an exchange still needs once its answer streams.
pub struct RouteView {
    pub name: Arc<str>,
    pub cells: Arc<RouteCells>,
    /// A breaker of its own.
    pub breaker: Option<Arc<Breaker>>,
    /// What limits its clients.
    pub limiters: Option<Arc<Attached>>,
    /// What it asks of who wants to enter.
    pub gate: Option<Arc<Gate>>,
}

/// A listener as this worker sees it.
pub struct ListenerView {
    pub shared: Arc<Listener>,
    pub cells: Arc<ListenerCells>,
    /// In the order of the names, by which routes know it; of one that is gone, a place that no route names.
    pub place: usize,
    /// What it asks of its connections. Those that are open see it change.
    pub h1: InForce<h1::server::Settings>,
    pub h2: InForce<h2::server::Settings>,
    /// Tells its connections to finish what runs: when it is removed, or the process drains.
    pub drain: Drain,
}

impl ListenerView {
    /// `before` is what its connections know it by.
    fn new(shared: &Arc<Listener>, place: usize, door: &Door, before: Option<&Self>) -> Self {
        let h1 = h1::server::Settings {
            limits: h1::parse::Limits {
                head_bytes: shared.limits.head_bytes,
                fields: shared.limits.fields,
            },
            timeouts: shared.timeouts.clone(),
        };
        let h2 = h2::server::Settings::new(shared.limits.clone(), shared.timeouts.clone());
        Self {
            place,
            cells: door.listener(&shared.name),
            h1: taken_over(before.map(|before| &before.h1), h1),
            h2: taken_over(before.map(|before| &before.h2), h2),
            drain: before
                .map(|before| before.drain.clone())
                .unwrap_or_default(),
            shared: Arc::clone(shared),
        }
    }
}

/// Puts rules in force where others were before, if there were any.
fn taken_over<T>(before: Option<&InForce<T>>, rules: T) -> InForce<T> {
    match before {
        Some(before) => {
            before.put(rules);
            before.clone()
        }
        None => InForce::new(rules),
    }
}

/// The snapshot with what this worker keeps beside it. A request holds on to the one that it started with until its
/// head is answered; from then on to those parts that it is about.
pub struct View {
    pub snapshot: Arc<Snapshot>,
    pub upstreams: Vec<Rc<UpstreamView>>,
    /// In the order of the route table.
    pub routes: Vec<Rc<RouteView>>,
    /// In the order of their numbers.
    listeners: Vec<Rc<ListenerView>>,
}

impl View {
    /// Joins a snapshot with the idle connections and policy memories that its predecessor had for the same endpoints.
    /// `place` is the worker's index, and how many there are.
    pub(super) fn new(
        snapshot: &Arc<Snapshot>,
        place: (usize, usize),
        door: &Door,
        before: Option<&Self>,
    ) -> Self {
        let upstreams = snapshot.upstreams.iter().map(|shared| {
            let old = before.and_then(|view| {
                view.upstreams
                    .iter()
                    .find(|old| old.shared.name == shared.name)
            });
            let written =
                |snapshot: &Snapshot| snapshot.config.upstreams.get(&shared.name)?.tls.clone();
            // What was dialled in clear text, or to a name that is asked for no more, must carry no further request.
            let same_tls = before.is_some_and(|view| written(&view.snapshot) == written(snapshot));
            let reaches = shared.endpoints.iter().map(|endpoint| {
                let kept = old.filter(|_| same_tls).and_then(|old| {
                    old.reaches
                        .iter()
                        .find(|reach| Arc::ptr_eq(&reach.endpoint, endpoint))
                });
                kept.map_or_else(
                    || {
                        let cells = door.endpoint(&shared.name, &endpoint.id);
                        let dialling = tokio::sync::Mutex::new(());
                        Rc::new(Reach {
                            endpoint: Arc::clone(endpoint),
                            cells,
                            pool: Pool::default(),
                            dialling,
                            chose_h1: Cell::new(false),
                        })
                    },
                    Rc::clone,
                )
            });
            let connections = &shared.connections;
            let cells = door.upstream(&shared.name);
            shared.retries.join(&cells);
            let latencies = shared.hedge.as_ref().map(|hedge| {
                hedge.hedging.fund.join(&cells);
                hedge.hedging.of_worker(place.0)
            });
            Rc::new(UpstreamView {
                reaches: reaches.collect(),
                seen: RefCell::new(shared.groups.seen()),
                memories: RefCell::new(memories(&shared.groups, old)),
                hot_keys: shared
                    .census
                    .as_ref()
                    .map(|census| census.of_worker(place.0)),
                cells,
                samples: samples(shared, place.0),
                latencies,
                limits: Limits {
                    // What was told to be one client's must carry no request of another.
                    idle: match shared.proxy_protocol {
                        None => share(connections.idle, place.0, place.1),
                        Some(_) => 0,
                    },
                    idle_timeout: connections.idle_timeout,
                    lifetime: connections.lifetime,
                    streams: connections.streams,
                },
                shared: Arc::clone(shared),
            })
        });
        let asked = snapshot.breakers.iter().zip(&snapshot.gates);
        let routes = snapshot.routes.routes().iter().zip(asked);
        let routes = routes.zip(&snapshot.limits.routes);
        let routes = routes.map(|((route, (breaker, gate)), limiters)| {
            Rc::new(RouteView {
                breaker: breaker.clone(),
                gate: gate.clone(),
                limiters: limiters.clone(),
                name: Arc::clone(&route.name),
                cells: door.route(&route.name),
            })
        });
        Self {
            upstreams: upstreams.collect(),
            routes: routes.collect(),
            listeners: listeners(snapshot, door, before),
            snapshot: Arc::clone(snapshot),
        }
    }

    /// The listener of this number. There is one as long as anybody accepts for it or has been accepted.
    pub fn listener(&self, number: usize) -> Option<&Rc<ListenerView>> {
        // As long as no listener was ever removed the numbers are the places.
        let at = self.listeners.get(number);
        if let Some(listener) = at.filter(|one| one.shared.number == number) {
            return Some(listener);
        }
        let key = |one: &Rc<ListenerView>| one.shared.number;
        let place = self.listeners.binary_search_by_key(&number, key).ok()?;
        self.listeners.get(place)
    }

    /// Ends the connections that rest; see [`Drain::pulse`].
    pub(super) fn pulse(&self) {
        for listener in &self.listeners {
            listener.drain.pulse();
        }
    }

    /// All that have connections or accept some.
    pub(super) fn listeners(&self) -> impl Iterator<Item = &Rc<ListenerView>> {
        self.listeners.iter()
    }

    /// Tells all connections to finish what runs.
    pub(super) fn begin_draining(&self) {
        for listener in &self.listeners {
            listener.drain.begin();
        }
    }

    pub(super) fn reaches(&self) -> impl Iterator<Item = &Rc<Reach>> {
        let upstreams = self.upstreams.iter();
        upstreams.flat_map(|upstream| &upstream.reaches)
    }

    /// Closes the idle connections that `next` did not take over. A request that still runs on this view has the use
    /// of its own connection, and gives none back that nobody would look after.
    pub(super) fn leave_to(&self, next: &Self) {
        let taken: HashSet<*const Reach> = next.reaches().map(Rc::as_ptr).collect();
        for reach in self.reaches() {
            if !taken.contains(&Rc::as_ptr(reach)) {
                reach.pool.close();
            }
        }
    }
}

/// All listeners, those that are gone too, in the order of their numbers.
fn listeners(snapshot: &Snapshot, door: &Door, before: Option<&View>) -> Vec<Rc<ListenerView>> {
    let here = snapshot.listeners.iter().enumerate();
    let gone = snapshot.departed.iter().map(|one| (usize::MAX, one));
    let mut all: Vec<_> = here
        .chain(gone)
        .map(|(place, shared)| {
            let old = before.and_then(|view| view.listener(shared.number));
            let old = old.map(Rc::as_ref);
            Rc::new(ListenerView::new(shared, place, door, old))
        })
        .collect();
    all.sort_by_key(|one| one.shared.number);
    all
}

/// Where this worker counts what the adaptive limit of an upstream goes by.
fn samples(upstream: &Upstream, worker: usize) -> Option<Arc<Samples>> {
    let bulkhead = upstream.bulkhead.as_ref()?;
    bulkhead.rules.adaptive.as_ref()?;
    Some(bulkhead.state.samples(worker))
}

/// What the policies of these groups remember: what they did before, where they have the same label.
fn memories(groups: &Groups, before: Option<&Rc<UpstreamView>>) -> Vec<Memory> {
    let mut kept: HashMap<GroupLabel, Memory> = HashMap::new();
    if let Some(before) = before {
        let labels = before
            .shared
            .groups
            .groups()
            .iter()
            .map(|group| group.label);
        // A request of before may still pick: its policies begin anew, and find as many memories as they look for.
        let anew = labels.clone().map(|_| Memory::default()).collect();
        kept.extend(labels.zip(before.memories.replace(anew)));
    }
    let groups = groups.groups().iter();
    groups
        .map(|group| kept.remove(&group.label).unwrap_or_default())
        .collect()
}

/// The share of worker `index` of what the process may keep. All shares together are the whole: what cannot be divided
/// goes to the first workers, and to the others nothing when there is less than one for each.
pub(super) fn share(whole: usize, index: usize, workers: usize) -> usize {
    whole / workers + usize::from(index < whole % workers)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn the_shares_of_all_workers_are_the_whole() {
        for workers in 1..20 {
            for whole in 0..100 {
                let shares = (0..workers).map(|index| share(whole, index, workers));
                assert_eq!(shares.clone().sum::<usize>(), whole);
                let (least, most) = (shares.clone().min(), shares.max());
                assert!(most <= least.map(|least| least + 1));
            }
        }
    }
}
