//! Limits on clients, for Prometheus.

use crate::limit::{Event, Kind, Limits};
use crate::observe::Metric;
use crate::observe::prometheus::Exposition;

/// Adds what every limiter has counted.
pub(super) fn expose(limits: &Limits, out: &mut Exposition) {
    for limiter in &limits.all {
        let (name, counts) = (&*limiter.name, limiter.counts());
        let kind = limiter.kind();
        let labels = [name, kind.name()];
        if kind == Kind::Bandwidth {
            out.seconds(Metric::LimitDelay, &[name], counts.delay());
        } else {
            for (event, result) in [
                (Event::Passed, "passed"),
                (Event::Limited, "limited"),
                (Event::WouldLimit, "would_limit"),
            ] {
                let labels = [name, kind.name(), result];
                out.sample(Metric::LimitRequests, &labels, counts.of(event));
            }
        }
        if kind == Kind::Concurrency {
            out.sample(Metric::LimitInUse, &[name], counts.under_way());
        }
        out.sample(Metric::LimitKeys, &labels, limiter.keys() as u64);
        out.sample(Metric::LimitEvictions, &labels, counts.of(Event::Evicted));
        out.sample(Metric::LimitOverflow, &labels, counts.of(Event::Overflow));
    }
}
