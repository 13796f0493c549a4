//! What an operator is shown: counts and percentiles of every object over one window.

use std::sync::Arc;
use std::time::Duration;

use super::distribution::Summary;
use super::metrics::{Cells, EndpointCells};
use super::names::{Kind, Metric};
use super::record::Phase;
use super::registry::{Registry, Series, Table};
use super::window::{Merged, Window};
use crate::clock::Instant;

/// The numbers of one object.
#[derive(Debug, Clone)]
pub struct Reading {
    /// What identifies it: the name of a route or listener, upstream and id of an endpoint, nothing for the process.
    pub identity: Vec<String>,
    /// Duration of its requests (of its attempts for endpoints and upstreams) that were tried to their end.
    pub total: Summary,
    /// The time of all of them together, those that `total` leaves out included. Over the span of the window it is how many
    /// were under way in the mean, by Little's law.
    pub spent: Duration,
    counters: Vec<(Metric, &'static str, u64)>,
    summaries: Vec<(Metric, &'static str, Summary)>,
}

impl Reading {
    fn new(identity: Vec<String>, merged: &Merged) -> Self {
        let used = merged
            .histograms
            .iter()
            .filter(|histogram| histogram.2.count() > 0);
        Self {
            identity,
            total: merged.total().summary(),
            spent: merged.spent(),
            counters: merged
                .counters
                .iter()
                .map(|&(metric, word, count)| (metric, word, settle(metric, count)))
                .collect(),
            summaries: used
                .map(|(metric, word, distribution)| (*metric, *word, distribution.summary()))
                .collect(),
        }
    }

    /// A counter by the value of its own label; one without such a label by `""`.
    pub fn count(&self, metric: Metric, word: &str) -> u64 {
        self.counts(metric)
            .find(|(known, _)| *known == word)
            .map_or(0, |(_, count)| count)
    }

    /// A counter summed over its own label.
    pub fn sum(&self, metric: Metric) -> u64 {
        self.counts(metric).map(|(_, count)| count).sum()
    }

    /// All values of a counter with their label.
    pub fn counts(&self, metric: Metric) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counters
            .iter()
            .filter(move |counter| counter.0 == metric)
            .map(|counter| (counter.1, counter.2))
    }

    /// The percentiles of one histogram by the value of its own label; one without by `""`.
    pub fn summary(&self, metric: Metric, word: &str) -> Summary {
        let mut found = self
            .summaries
            .iter()
            .filter(|summary| summary.0 == metric && summary.1 == word);
        found
            .next()
            .map_or_else(Summary::default, |summary| summary.2)
    }

    /// The percentiles of one phase, of a route or of an endpoint.
    pub fn phase(&self, phase: Phase) -> Summary {
        let of_route = self.summary(Metric::RequestPhase, phase.label());
        if of_route.count > 0 {
            of_route
        } else {
            self.summary(Metric::AttemptPhase, phase.label())
        }
    }
}

/// The numbers of everything over one window.
#[derive(Debug, Clone)]
pub struct Report {
    /// The time covered: what a rate is divided by.
    pub span: Duration,
    /// All listeners together.
    pub process: Reading,
    pub listeners: Vec<Reading>,
    pub routes: Vec<Reading>,
    /// Their endpoints together.
    pub upstreams: Vec<Reading>,
    /// How the picks of each upstream came about.
    pub picks: Vec<Reading>,
    pub endpoints: Vec<Reading>,
    /// One per worker, and the control thread.
    pub threads: Vec<Reading>,
}

/// How often each endpoint was picked within a window.
#[derive(Debug, Clone)]
pub struct Picks {
    /// Sorted by identity.
    of_endpoints: Vec<(Vec<String>, u64)>,
}

impl Picks {
    /// Picks of one endpoint; 0 where nothing was counted for it yet.
    pub fn of(&self, upstream: &str, id: &str) -> u64 {
        let identity = [upstream, id];
        let known = |(known, _): &(Vec<String>, u64)| {
            known
                .iter()
                .map(String::as_str)
                .cmp(identity.iter().copied())
        };
        let found = self.of_endpoints.binary_search_by(known);
        found.map_or(0, |place| self.of_endpoints[place].1)
    }
}

impl Registry {
    /// Reads how often endpoints were picked, and no more of them: no histogram is looked at.
    pub fn picks(&self, window: Window, now: Instant) -> Picks {
        let all = self.endpoints.all().into_iter();
        let count = |series: Arc<Series<EndpointCells>>| {
            (
                series.identity.clone(),
                series.count(Metric::Picks, window, now),
            )
        };
        Picks {
            of_endpoints: all.map(count).collect(),
        }
    }

    /// Reads everything over a window. Takes microseconds for each object in use: not for a worker's thread.
    pub fn read(&self, window: Window, now: Instant) -> Report {
        let (process, listeners) = read_table(&self.listeners, window, now, |_| Vec::new());
        let (upstreams, endpoints) = read_table(&self.endpoints, window, now, upstream_of);
        Report {
            span: self.span(window, now),
            process: process
                .into_iter()
                .next()
                .unwrap_or_else(|| Reading::new(Vec::new(), &Merged::default())),
            listeners,
            routes: read_all(&self.routes, window, now),
            upstreams,
            picks: read_all(&self.upstreams, window, now),
            endpoints,
            threads: read_all(&self.threads, window, now),
        }
    }
}

/// The identity of the upstream that an endpoint belongs to.
pub(super) fn upstream_of(endpoint: &[String]) -> Vec<String> {
    endpoint[..1].to_vec()
}

/// A gauge is a difference of counters that are not read at one moment; it may look negative for an instant.
pub(super) fn settle(metric: Metric, count: u64) -> u64 {
    if metric.family().kind == Kind::Gauge {
        (count as i64).max(0) as u64
    } else {
        count
    }
}

fn read_all<C: Cells>(table: &Table<C>, window: Window, now: Instant) -> Vec<Reading> {
    let read =
        |series: &Arc<Series<C>>| Reading::new(series.identity.clone(), &series.read(window, now));
    table.all().iter().map(read).collect()
}

/// The readings of a table, and those of the groups that its members, which are sorted, belong to.
fn read_table<C: Cells>(
    table: &Table<C>,
    window: Window,
    now: Instant,
    group: impl Fn(&[String]) -> Vec<String>,
) -> (Vec<Reading>, Vec<Reading>) {
    let (mut groups, mut members): (Vec<(Vec<String>, Merged)>, Vec<Reading>) = Default::default();
    for series in table.all() {
        let merged = series.read(window, now);
        members.push(Reading::new(series.identity.clone(), &merged));
        let name = group(&series.identity);
        match groups.last_mut() {
            Some((last, sum)) if *last == name => sum.merge(&merged),
            _ => groups.push((name, merged)),
        }
    }
    let groups = groups
        .into_iter()
        .map(|(name, merged)| Reading::new(name, &merged))
        .collect();
    (groups, members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::{Labels, RouteCells};
    use crate::observe::record::{Attempt, AttemptKind, AttemptOutcome, Outcome, Record, Times};

    const LABELS: Labels = Labels {
        errors: &["connection_timeout"],
        refusals: &["head_too_large"],
        reasons: &["policy"],
        decisions: &[],
        hedges: &[],
    };

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    fn record(cells: &RouteCells, count: u64, millis: u64) {
        let times = Times {
            total: millis * 1_000_000,
            first_byte: Some(millis * 900_000),
            ..Times::default()
        };
        let record = Record {
            status: 200,
            bytes_out: 10,
            attempts: 1,
            times,
            ..Record::default()
        };
        (0..count).for_each(|_| cells.record(&record));
    }

    fn route(registry: &Registry, window: Window, seconds: u64) -> Reading {
        registry.read(window, at(seconds)).routes.remove(0)
    }

    #[test]
    fn a_window_forgets_what_is_older_and_the_lifetime_does_not() {
        let registry = Registry::new(1, LABELS, at(0));
        let cells = registry.worker(0).route("r");
        record(&cells, 100, 50);
        assert!(!registry.fold(at(5)));
        assert!(registry.fold(at(10)));
        record(&cells, 200, 5);
        // The slot being filled is part of every window.
        assert_eq!(route(&registry, Window::Minute, 11).total.count, 300);
        for tick in 2..=6 {
            assert!(registry.fold(at(tick * 10)));
        }
        assert_eq!(route(&registry, Window::Minute, 65).total.count, 300);
        assert_eq!(
            registry.span(Window::Minute, at(65)),
            Duration::from_secs(65)
        );
        registry.fold(at(70));
        let minute = route(&registry, Window::Minute, 70);
        assert_eq!(minute.total.count, 200);
        assert_eq!(minute.count(Metric::Requests, "2xx"), 200);
        assert_eq!(minute.count(Metric::ResponseBytes, ""), 2000);
        assert!(
            minute.total.max.unwrap() < Duration::from_millis(6),
            "the old maximum is gone: {:?}",
            minute.total
        );
        assert_eq!(
            registry.span(Window::Minute, at(70)),
            Duration::from_secs(60)
        );
        registry.fold(at(80));
        assert_eq!(
            route(&registry, Window::Minute, 80).total,
            Summary::default()
        );
        let life = route(&registry, Window::Lifetime, 80);
        assert_eq!(
            (life.total.count, life.total.max),
            (300, Some(Duration::from_millis(50)))
        );
        assert_eq!(
            registry.span(Window::Lifetime, at(80)),
            Duration::from_secs(80)
        );
    }

    #[test]
    fn ten_seconds_hold_the_last_slot_and_the_one_being_filled() {
        let registry = Registry::new(1, LABELS, at(0));
        let cells = registry.worker(0).route("r");
        for tick in 1..=4 {
            record(&cells, tick, 1);
            registry.fold(at(tick * 10));
        }
        record(&cells, 100, 1);
        assert_eq!(route(&registry, Window::TenSeconds, 45).total.count, 104);
        assert_eq!(
            registry.span(Window::TenSeconds, at(45)),
            Duration::from_secs(15)
        );
        assert_eq!(route(&registry, Window::TenSeconds, 55).total.count, 100);
    }

    #[test]
    fn workers_are_summed_and_a_reload_finds_the_same_cells() {
        let registry = Registry::new(2, LABELS, at(0));
        record(&registry.worker(0).route("r"), 30, 10);
        record(&registry.worker(1).route("r"), 30, 20);
        record(&registry.worker(1).route("r"), 5, 20);
        let reading = route(&registry, Window::Minute, 1);
        assert_eq!(reading.total.count, 65);
        assert_eq!(reading.phase(Phase::FirstByte).count, 65);
        assert_eq!(reading.sum(Metric::Requests), 65);
        registry.retain_routes(|name| name != "r");
        assert!(registry.read(Window::Minute, at(1)).routes.is_empty());
    }

    #[test]
    fn refusals_and_cancelled_attempts_do_not_flatter_percentiles() {
        let registry = Registry::new(1, LABELS, at(0));
        let door = registry.worker(0);
        let (listener, cells) = (door.listener("web"), door.route("r"));
        record(&cells, 20, 10);
        for outcome in [Outcome::Refused, Outcome::ClientGone, Outcome::Failed] {
            let record = Record {
                outcome,
                status: 503,
                error: Some("connection_timeout"),
                ..Record::default()
            };
            cells.record(&record);
            listener.record(&record);
        }
        let reading = route(&registry, Window::Lifetime, 0);
        assert_eq!(
            (
                reading.total.count,
                reading.count(Metric::RequestErrors, "connection_timeout")
            ),
            (21, 3)
        );
        assert_eq!(reading.count(Metric::RequestOutcomes, "refused"), 1);
        assert_eq!(
            registry
                .read(Window::Lifetime, at(0))
                .process
                .count(Metric::ListenerRequests, "5xx"),
            3
        );

        let mut attempt = Attempt {
            kind: AttemptKind::Hedge,
            outcome: AttemptOutcome::Cancelled,
            status: 0,
            reused: true,
            bytes_sent: 0,
            bytes_received: 0,
            times: Times {
                total: 5_000_000,
                first_byte: Some(5_000_000),
                ..Times::default()
            },
            error: None,
        };
        door.endpoint("api", "a").record(&attempt);
        attempt.outcome = AttemptOutcome::Answered;
        door.endpoint("api", "b").record(&attempt);
        let report = registry.read(Window::Lifetime, at(0));
        let api = &report.upstreams[0];
        assert_eq!(
            (
                report.upstreams.len(),
                report.endpoints.len(),
                api.identity[0].as_str()
            ),
            (1, 2, "api")
        );
        assert_eq!((api.total.count, api.phase(Phase::FirstByte).count), (1, 1));
        assert_eq!(api.summary(Metric::AttemptDuration, "cancelled").count, 1);
        assert_eq!(api.count(Metric::EndpointConnectionsReused, ""), 2);
    }

    #[test]
    fn picks_are_those_of_the_window_and_time_is_that_of_all() {
        let registry = Registry::new(2, LABELS, at(0));
        let (first, second) = (registry.worker(0), registry.worker(1));
        first.endpoint("api", "a").picks.add(2);
        registry.fold(at(10));
        second.endpoint("api", "a").picks.add(3);
        first.endpoint("api", "b").picks.add(1);
        let picks = |window, seconds| {
            let picks = registry.picks(window, at(seconds));
            ["a", "b", "c"].map(|id| picks.of("api", id))
        };
        assert_eq!(picks(Window::Minute, 11), [5, 1, 0]);
        assert_eq!(picks(Window::TenSeconds, 25), [3, 1, 0]);
        assert_eq!(picks(Window::Lifetime, 99), [5, 1, 0]);
        assert_eq!(registry.picks(Window::Minute, at(11)).of("b", "a"), 0);
        let cells = first.route("r");
        record(&cells, 3, 10);
        cells.record(&Record {
            outcome: Outcome::ClientGone,
            times: Times {
                total: 5_000_000,
                ..Times::default()
            },
            ..Record::default()
        });
        let reading = route(&registry, Window::Minute, 11);
        assert_eq!((reading.total.count, reading.spent.as_millis()), (3, 35));
    }

    #[test]
    fn a_gauge_is_read_as_it_stands_in_every_window() {
        let registry = Registry::new(2, LABELS, at(0));
        let (first, second) = (
            registry.worker(0).listener("web"),
            registry.worker(1).listener("web"),
        );
        first.accepted.add(5);
        registry.fold(at(10));
        second.closed.add(2);
        registry.fold(at(20));
        assert_eq!(
            registry
                .read(Window::TenSeconds, at(39))
                .process
                .count(Metric::ListenerOpen, ""),
            3
        );
    }
}
