//! All cells of all workers, by the identity of what they count for, so that a reload keeps every number.
//!
//! A worker asks for cells when a snapshot is installed and keeps them, indexed like the snapshot; no request comes here.
//! The locks guard only the tables and the slots of windows, never the cells.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::metrics::{
    Cells, EndpointCells, Labels, ListenerCells, RouteCells, UpstreamCells, WorkerCells,
};
use super::names::Metric;
use super::window::{Fold, Merged, SLOT, Window};
use crate::clock::Instant;

/// The cells of every worker for one route, endpoint, listener, or thread.
#[derive(Debug)]
pub(super) struct Series<C> {
    /// The values of the labels that identify it.
    pub(super) identity: Vec<String>,
    workers: Box<[OnceLock<Arc<C>>]>,
    fold: Mutex<Fold>,
}

impl<C: Cells> Series<C> {
    fn new(identity: Vec<String>, workers: usize) -> Self {
        let workers = (0..workers).map(|_| OnceLock::new()).collect();
        Self {
            identity,
            workers,
            fold: Mutex::default(),
        }
    }

    fn present(&self) -> impl Iterator<Item = &C> + Clone {
        self.workers
            .iter()
            .filter_map(|cells| cells.get().map(|cells| &**cells))
    }

    /// What was counted within a window, summed over workers.
    pub(super) fn read(&self, window: Window, now: Instant) -> Merged {
        // Held while the cells are read: a fold in between would count what it takes in twice.
        let fold = locked(&self.fold);
        let mut merged = Merged::default();
        self.present().for_each(|cells| merged.add_cells(cells));
        fold.narrow(&mut merged, window, now);
        merged
    }

    /// One of the counters alone, by its own label.
    pub(super) fn counts(
        &self,
        metric: Metric,
        window: Window,
        now: Instant,
    ) -> Vec<(&'static str, u64)> {
        let fold = locked(&self.fold);
        let mut merged = Merged::default();
        self.present().for_each(|cells| merged.add_counters(cells));
        fold.narrow(&mut merged, window, now);
        let counters = merged.counters.iter();
        counters
            .filter(|counter| counter.0 == metric)
            .map(|counter| (counter.1, counter.2))
            .collect()
    }

    /// One of the counters alone, summed over its own label.
    pub(super) fn count(&self, metric: Metric, window: Window, now: Instant) -> u64 {
        let counts = self.counts(metric, window, now).into_iter();
        counts.map(|(_, count)| count).sum()
    }
}

/// The series of one kind.
#[derive(Debug)]
pub(super) struct Table<C>(Mutex<BTreeMap<Vec<String>, Arc<Series<C>>>>);

impl<C: Cells> Table<C> {
    fn new() -> Self {
        Self(Mutex::default())
    }

    fn cells(&self, identity: &[&str], worker: usize, registry: &Registry) -> Arc<C> {
        let identity: Vec<String> = identity.iter().map(|value| (*value).to_owned()).collect();
        let series = {
            let mut table = locked(&self.0);
            let new = || Arc::new(Series::new(identity.clone(), registry.workers + 1));
            table.entry(identity.clone()).or_insert_with(new).clone()
        };
        // Made on the worker's own thread, so that its allocator keeps it off the cache lines of other workers.
        series.workers[worker]
            .get_or_init(|| Arc::new(C::new(&registry.labels)))
            .clone()
    }

    /// All series, in the order of their identities.
    pub(super) fn all(&self) -> Vec<Arc<Series<C>>> {
        locked(&self.0).values().cloned().collect()
    }

    fn retain(&self, keep: impl Fn(&[String]) -> bool) {
        locked(&self.0).retain(|identity, _| keep(identity));
    }

    fn close(&self, now: Instant) {
        for series in self.all() {
            locked(&series.fold).close(series.present(), now);
        }
    }
}

/// Everything that is counted in the process.
#[derive(Debug)]
pub struct Registry {
    workers: usize,
    labels: Labels,
    started: Instant,
    pub(super) routes: Table<RouteCells>,
    pub(super) upstreams: Table<UpstreamCells>,
    pub(super) endpoints: Table<EndpointCells>,
    pub(super) listeners: Table<ListenerCells>,
    pub(super) threads: Table<WorkerCells>,
    /// When slots were closed, oldest first.
    closed: Mutex<VecDeque<Instant>>,
}

impl Registry {
    /// For so many workers, numbered from zero, and the control thread.
    pub fn new(workers: usize, labels: Labels, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            workers,
            labels,
            started: now,
            routes: Table::new(),
            upstreams: Table::new(),
            endpoints: Table::new(),
            listeners: Table::new(),
            threads: Table::new(),
            closed: Mutex::default(),
        })
    }

    /// The door of worker `index`. Ask on that worker's thread and count only there: cells have one writer.
    ///
    /// # Panics
    /// When there are not that many workers.
    pub fn worker(self: &Arc<Self>, index: usize) -> Door {
        assert!(index < self.workers, "worker {index} of {}", self.workers);
        Door {
            registry: self.clone(),
            index,
        }
    }

    /// The door of the control thread, which counts what probes and discovery do.
    pub fn control(self: &Arc<Self>) -> Door {
        Door {
            registry: self.clone(),
            index: self.workers,
        }
    }

    /// Closes a slot of every series when ten seconds have passed since the last; says whether it did. To be called
    /// from the control thread's tick.
    pub fn fold(&self, now: Instant) -> bool {
        {
            let mut closed = locked(&self.closed);
            let last = closed.back().copied().unwrap_or(self.started);
            if now.since(last) < SLOT {
                return false;
            }
            // One more than the longest window needs, since a slot begins where the one before it ended.
            let beyond = closed
                .iter()
                .rposition(|end| !Window::Minute.holds(*end, now))
                .unwrap_or(0);
            closed.drain(..beyond);
            closed.push_back(now);
        }
        self.routes.close(now);
        self.upstreams.close(now);
        self.endpoints.close(now);
        self.listeners.close(now);
        self.threads.close(now);
        true
    }

    /// How much time a window covers at `now`: what a rate is divided by.
    pub fn span(&self, window: Window, now: Instant) -> Duration {
        let closed = locked(&self.closed);
        let first = closed
            .iter()
            .position(|end| window.holds(*end, now))
            .unwrap_or(closed.len());
        let begin = match first.checked_sub(1) {
            Some(before) if window != Window::Lifetime => closed[before],
            _ => self.started,
        };
        now.since(begin)
    }

    /// Drops the numbers of routes that are gone.
    pub fn retain_routes(&self, keep: impl Fn(&str) -> bool) {
        self.routes.retain(|identity| keep(&identity[0]));
    }

    /// Drops the numbers of upstreams that are gone.
    pub fn retain_upstreams(&self, keep: impl Fn(&str) -> bool) {
        self.upstreams.retain(|identity| keep(&identity[0]));
    }

    /// Drops the numbers of endpoints, by upstream and id, that are gone.
    pub fn retain_endpoints(&self, keep: impl Fn(&str, &str) -> bool) {
        self.endpoints
            .retain(|identity| keep(&identity[0], &identity[1]));
    }

    /// Drops the numbers of listeners that are gone.
    pub fn retain_listeners(&self, keep: impl Fn(&str) -> bool) {
        self.listeners.retain(|identity| keep(&identity[0]));
    }
}

/// One thread's way to its cells. The same identity gives the same cells, also after a reload.
#[derive(Debug, Clone)]
pub struct Door {
    registry: Arc<Registry>,
    index: usize,
}

impl Door {
    /// What this thread counts for a route.
    pub fn route(&self, name: &str) -> Arc<RouteCells> {
        self.registry
            .routes
            .cells(&[name], self.index, &self.registry)
    }

    /// What this thread counts for an upstream as a whole.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamCells> {
        self.registry
            .upstreams
            .cells(&[name], self.index, &self.registry)
    }

    /// What this thread counts for an endpoint.
    pub fn endpoint(&self, upstream: &str, id: &str) -> Arc<EndpointCells> {
        self.registry
            .endpoints
            .cells(&[upstream, id], self.index, &self.registry)
    }

    /// What this thread counts for a listener.
    pub fn listener(&self, name: &str) -> Arc<ListenerCells> {
        self.registry
            .listeners
            .cells(&[name], self.index, &self.registry)
    }

    /// What this thread counts for itself.
    pub fn thread(&self) -> Arc<WorkerCells> {
        let control = self.index == self.registry.workers;
        let name = if control {
            "control".to_owned()
        } else {
            self.index.to_string()
        };
        self.registry
            .threads
            .cells(&[&name], self.index, &self.registry)
    }
}

/// A poisoned lock is taken all the same: what it guards are counts, whole after every step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
