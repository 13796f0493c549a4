//! Everything for Prometheus: what the registry counts, and what only the process as a whole knows.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::live::Live;
use crate::config::Protocol;
use crate::observe::Metric;
use crate::observe::prometheus::{self, Exposition};
use crate::upstream::{Upstream, pool};

/// The text of a scrape. Takes microseconds for each object in use: not for a worker's thread.
pub fn scrape(live: &Live) -> String {
    let now = live.clock.now();
    let mut out = Exposition::new();
    process(live, &mut out);
    let snapshot = live.snapshot.load_full();
    for upstream in &snapshot.upstreams {
        gauges(upstream, &mut out);
    }
    prometheus::expose(&live.metrics, now, &mut out);
    out.finish()
}

fn process(live: &Live, out: &mut Exposition) {
    let reloads = live.reloads();
    let since = reloads.in_force_since.duration_since(UNIX_EPOCH);
    let applied = reloads.last.as_ref().is_none_or(|last| last.applied);
    out.sample(Metric::BuildInfo, &[env!("CARGO_PKG_VERSION")], 1);
    out.seconds(Metric::Uptime, &[], live.clock.now().since(live.started));
    out.sample(Metric::Workers, &[], live.mailboxes.len() as u64);
    out.sample(
        Metric::ConfigGeneration,
        &[],
        live.snapshot.load().generation,
    );
    out.sample(Metric::ConfigReloads, &["applied"], reloads.applied);
    out.sample(Metric::ConfigReloads, &["refused"], reloads.refused);
    out.sample(Metric::ConfigLastReloadSuccessful, &[], u64::from(applied));
    out.seconds(Metric::ConfigInForceSince, &[], since.unwrap_or_default());
    out.sample(Metric::Ready, &[], u64::from(live.reasons().is_empty()));
    out.sample(Metric::Draining, &[], u64::from(live.is_draining()));
    if let Some(log) = &live.log {
        out.sample(Metric::AccessLogLines, &[], log.written());
        out.sample(Metric::AccessLogDropped, &[], log.dropped());
    }
}

fn gauges(upstream: &Arc<Upstream>, out: &mut Exposition) {
    let mut in_flight = 0;
    for (place, endpoint) in upstream.endpoints.iter().enumerate() {
        let labels = [upstream.name.as_str(), endpoint.id.as_str()];
        let here = u64::from(endpoint.signals.in_flight.load());
        in_flight += here;
        out.sample(Metric::EndpointInFlight, &labels, here);
        let may_be_picked = upstream.groups.standing(endpoint, place).is_none();
        out.sample(Metric::EndpointHealthy, &labels, u64::from(may_be_picked));
        let weight = upstream.groups.weight(endpoint, place);
        out.fraction(Metric::EndpointWeight, &labels, weight);
        if upstream.protocol == Protocol::H1 {
            // Over HTTP/1 a connection without an attempt is idle. The two numbers are not read at one moment.
            let open = pool::open(endpoint) as u64;
            out.sample(Metric::EndpointIdle, &labels, open.saturating_sub(here));
        }
    }
    out.sample(Metric::UpstreamInFlight, &[&upstream.name], in_flight);
}
