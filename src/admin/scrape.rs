//! Everything for Prometheus: what the registry counts, and what only the process as a whole knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use super::auth::Denied;
use super::limits;
use super::live::Live;
use super::status;
use crate::attempt::idempotency::Guard;
use crate::clock::Instant;
use crate::config::{Priority, Protocol};
use crate::limit::auth::Way;
use crate::observe::prometheus::{self, Exposition};
use crate::observe::{Amplification, Imbalance, Metric, Picks, Window};
use crate::snapshot::Snapshot;
use crate::upstream::breaker::{Phase, Switch};
use crate::upstream::bulkhead::{Configured, Refusal};
use crate::upstream::client_tls::ClientTls;
use crate::upstream::health::{Outcome, Verdict};
use crate::upstream::outlook::Outlook;
use crate::upstream::{Upstream, pool};

/// The text of a scrape. Takes microseconds for each object in use: not for a worker's thread.
pub fn scrape(live: &Live) -> String {
    let now = live.clock.now();
    let mut out = Exposition::new();
    process(live, &mut out);
    let snapshot = live.snapshot.load_full();
    let picks = live.metrics.picks(Window::Minute, now);
    let amplification = live.metrics.amplification(Window::Minute, now);
    for upstream in &snapshot.upstreams {
        gauges(upstream, &mut out);
        retries(upstream, &amplification, &mut out);
        balancing(upstream, &picks, now, &mut out);
        breakers(upstream, &mut out);
        bulkhead(upstream, now, &mut out);
        checks(upstream, &mut out);
        sources(upstream, now, &mut out);
    }
    for guard in snapshot.guards.iter().flatten() {
        idempotency(guard, now, &mut out);
    }
    limits::expose(&snapshot.limits, &mut out);
    certificates(live, &snapshot, &mut out);
    gates(&snapshot, &mut out);
    route_breakers(&snapshot, &mut out);
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
    out.seconds(
        Metric::ConfigAge,
        &[],
        reloads.in_force_since.elapsed().unwrap_or_default(),
    );
    if let Some(last) = &reloads.last {
        out.seconds(Metric::ConfigLastReloadDuration, &[], last.took);
    }
    let older = live.older();
    out.sample(Metric::ConfigGenerationsAlive, &[], 1 + older.len() as u64);
    let streams: usize = older.iter().map(|one| one.streams).sum();
    out.sample(Metric::ConfigOlderStreams, &[], streams as u64);
    let oldest = older.first().map_or(0, |one| one.replaced_seconds);
    out.sample(Metric::ConfigOldestReplaced, &[], oldest);
    for (result, count) in live.credentials.read() {
        out.sample(Metric::CredentialSwaps, &[result], count);
    }
    for (denied, count) in Denied::ALL.iter().zip(&live.denied) {
        let count = count.load(Ordering::Relaxed);
        out.sample(Metric::AdminDenied, &[denied.label()], count);
    }
    out.sample(Metric::Ready, &[], u64::from(live.reasons().is_empty()));
    out.sample(Metric::Draining, &[], u64::from(live.is_draining()));
    memory(live, out);
    out.sample(Metric::ConsoleDropped, &[], live.said.dropped());
    for (kind, count) in live.events.counts() {
        out.sample(Metric::Events, &[kind.label()], count);
    }
    if let Some(log) = &live.log {
        out.sample(Metric::AccessLogLines, &[], log.written());
        out.sample(Metric::AccessLogDropped, &[], log.dropped());
    }
}

/// When certificates run out, and what came of changes to their files.
fn certificates(live: &Live, snapshot: &Snapshot, out: &mut Exposition) {
    let seconds = |since_1970: i64| u64::try_from(since_1970).unwrap_or_default();
    for (result, count) in live.certificates.read() {
        out.sample(Metric::CertificateSwaps, &[result], count);
    }
    for listener in &snapshot.listeners {
        let Some(tls) = &listener.tls else { continue };
        let in_force = tls.now();
        // A file may be listed twice.
        let files = in_force.shown.iter();
        let files: BTreeMap<_, _> = files.map(|one| (&one.file, one.not_after)).collect();
        for (file, until) in files {
            let labels = [listener.name.as_str(), &file.display().to_string()];
            out.sample(Metric::CertificateExpires, &labels, seconds(until));
        }
    }
    for upstream in &snapshot.upstreams {
        if let Some((file, (_, until))) = upstream.tls.as_ref().and_then(ClientTls::shown) {
            let labels = [upstream.name.as_str(), &file.display().to_string()];
            out.sample(Metric::UpstreamCertificateExpires, &labels, seconds(until));
        }
    }
}

/// How requests fared that were asked who it is.
fn gates(snapshot: &Snapshot, out: &mut Exposition) {
    let routes = snapshot.routes.routes().iter().zip(&snapshot.gates);
    let mut remembered = None;
    for (route, gate) in routes {
        let Some((gate, way)) = gate
            .as_ref()
            .and_then(|gate| Some((gate, gate.way.as_ref()?)))
        else {
            continue;
        };
        for (verdict, count) in gate.counts.all() {
            out.sample(Metric::AuthRequests, &[&route.name, verdict.label()], count);
        }
        if let Way::Basic(basic) = way {
            remembered = Some(basic.checks().remembered());
        }
    }
    if let Some(remembered) = remembered {
        out.sample(Metric::AuthPasswords, &[], remembered as u64);
    }
}

/// How memory stands, and how many addresses are counted.
fn memory(live: &Live, out: &mut Exposition) {
    if let Some((used, limit)) = live.memory.usage() {
        out.sample(Metric::MemoryUsed, &[], used);
        out.sample(Metric::MemoryLimit, &[], limit);
    }
    let is_shedding = live.memory.is_shedding();
    out.sample(Metric::MemoryShedding, &[], u64::from(is_shedding));
    out.sample(Metric::MemorySheds, &[], live.memory.sheds());
    for bound in live.listeners.load().iter() {
        let addresses = bound.gate.addresses() as u64;
        out.sample(Metric::ListenerAddresses, &[&bound.name], addresses);
    }
}

/// The idempotency keys of one route.
fn idempotency(guard: &Guard, now: Instant, out: &mut Exposition) {
    let (store, route) = (&guard.store, guard.route());
    for (met, count) in store.counts.all_met() {
        out.sample(Metric::IdempotencyRequests, &[route, met.label()], count);
    }
    for (end, count) in store.counts.all_ended() {
        out.sample(Metric::IdempotencyExecutions, &[route, end.label()], count);
    }
    let lost = store.counts.all_lost();
    for (what, count) in [("result", lost.results), ("key", lost.keys)] {
        out.sample(Metric::IdempotencyLost, &[route, what], count);
    }
    let reading = store.read(now, &guard.limits);
    for (state, count) in [
        ("running", reading.running),
        ("stored", reading.stored),
        ("unknown", reading.unknown),
    ] {
        out.sample(Metric::IdempotencyKeys, &[route, state], count as u64);
    }
    out.sample(Metric::IdempotencyBytes, &[route], reading.bytes as u64);
    out.sample(Metric::IdempotencyHeld, &[route], reading.held as u64);
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

/// Where endpoints come from that come and go.
fn sources(upstream: &Upstream, now: Instant, out: &mut Exposition) {
    for used in upstream.sources() {
        let reading = used.feed.reading(now);
        let source = used.feed.source.to_string();
        let labels = [upstream.name.as_str(), source.as_str()];
        if let Some(age) = reading.age {
            out.seconds(Metric::DiscoveryAge, &labels, age);
        }
        out.sample(Metric::DiscoveryEntries, &labels, reading.entries as u64);
        let failing = u64::from(reading.error.is_some());
        out.sample(Metric::DiscoveryFailing, &labels, failing);
        out.sample(Metric::DiscoveryFailures, &labels, reading.failures);
        out.sample(Metric::DiscoveryChanges, &labels, reading.changes);
    }
}

/// What retries and hedges cost, and what their budget has left.
fn retries(upstream: &Upstream, amplification: &Amplification, out: &mut Exposition) {
    let name = upstream.name.as_str();
    if let Some(terms) = upstream.terms {
        let tokens = upstream.retries.tokens(terms);
        out.fraction(Metric::UpstreamRetryBudget, &[name], tokens);
    }
    let after = upstream
        .hedge
        .as_ref()
        .and_then(|hedge| hedge.hedging.after());
    if let Some(after) = after {
        out.seconds(Metric::UpstreamHedgeAfter, &[name], after);
    }
    if let Some(ratio) = amplification.of(name) {
        out.fraction(Metric::UpstreamAmplification, &[name], ratio);
    }
}

/// What active checks say, where there are any.
fn checks(upstream: &Upstream, out: &mut Exposition) {
    let Some(checks) = &upstream.checks else {
        return;
    };
    let name = upstream.name.as_str();
    out.sample(
        Metric::HealthChecksRunning,
        &[name],
        checks.running() as u64,
    );
    for endpoint in &upstream.endpoints {
        let Some(health) = endpoint.health().clone() else {
            continue;
        };
        let id = endpoint.id.as_str();
        let is_healthy = health.verdict() == Verdict::Healthy;
        out.sample(Metric::HealthVerdict, &[name, id], u64::from(is_healthy));
        for outcome in Outcome::ALL {
            let labels = [name, id, outcome.label()];
            out.sample(Metric::HealthChecks, &labels, health.count(outcome));
        }
    }
}

/// Those that are asked: of each endpoint, or of all together under the name of none. And who is an outlier.
fn breakers(upstream: &Upstream, out: &mut Exposition) {
    let mut one = |endpoint: &str, switch: &Switch| {
        let labels = [upstream.name.as_str(), endpoint];
        out.sample(Metric::BreakerState, &labels, switch.phase() as u64);
        for (phase, count) in Phase::ALL.iter().zip(switch.changes()) {
            let labels = [labels[0], labels[1], phase.label()];
            out.sample(Metric::BreakerChanges, &labels, count);
        }
    };
    let breaker = upstream.breaker.as_ref();
    match breaker.map(|breaker| &breaker.shared) {
        None => {}
        Some(Some(shared)) => one("", shared),
        Some(None) => {
            let endpoints = upstream.endpoints.iter();
            endpoints.for_each(|endpoint| one(&endpoint.id, &endpoint.breaker));
        }
    }
    if upstream.outlier.rules.is_none() {
        return;
    }
    for (place, endpoint) in upstream.endpoints.iter().enumerate() {
        let labels = [upstream.name.as_str(), endpoint.id.as_str()];
        let member = upstream.outlier.member(upstream.groups.identity(place));
        let member = member.unwrap_or_default();
        let is_ejected = u64::from(member.ejected.is_some());
        out.sample(Metric::EndpointEjected, &labels, is_ejected);
        out.sample(Metric::EndpointEjections, &labels, member.ejected_in_all);
    }
}

fn route_breakers(snapshot: &Snapshot, out: &mut Exposition) {
    let routes = snapshot.routes.routes().iter().zip(&snapshot.breakers);
    for (route, breaker) in routes {
        let switch = breaker.as_ref().and_then(|breaker| breaker.shared.as_ref());
        let Some(switch) = switch else { continue };
        out.sample(
            Metric::RouteBreakerState,
            &[&route.name],
            switch.phase() as u64,
        );
        for (phase, count) in Phase::ALL.iter().zip(switch.changes()) {
            let labels = [&*route.name, phase.label()];
            out.sample(Metric::RouteBreakerChanges, &labels, count);
        }
    }
}

/// What the policy goes by, what comes of it, and how far that is from what should. What there is no sample of is left out.
fn balancing(upstream: &Upstream, picks: &Picks, now: Instant, out: &mut Exposition) {
    let outlook = Outlook::of(upstream);
    let measured = status::measure(upstream, &outlook, picks, now);
    let name = upstream.name.as_str();
    for (endpoint, one) in upstream.endpoints.iter().zip(&measured.endpoints) {
        let labels = [name, endpoint.id.as_str()];
        let mut gauge = |metric, value: f64| out.fraction(metric, &labels, value);
        gauge(Metric::EndpointShareExpected, one.share_expected);
        gauge(Metric::EndpointWeightFactor, one.factor.into());
        gauge(Metric::EndpointFailuresAsLoad, one.failures_as_load.into());
        let sampled = [
            (Metric::EndpointShare, one.share),
            (Metric::EndpointLatency, one.latency_seconds),
            (Metric::EndpointInFlightMean, one.in_flight_mean),
        ];
        for (metric, value) in sampled {
            value.into_iter().for_each(|value| gauge(metric, value));
        }
    }
    let imbalance = &measured.imbalance;
    for (of, imbalance) in [
        ("picks", imbalance.picks),
        ("in_flight", imbalance.in_flight),
    ] {
        for (index, value) in imbalance.iter().flat_map(Imbalance::indices) {
            out.fraction(Metric::UpstreamImbalance, &[name, of, index], value);
        }
    }
    let panicking = u64::from(outlook.is_panicking());
    out.sample(Metric::UpstreamPanicking, &[name], panicking);
    if let Some(share) = status::hottest_share(upstream) {
        out.fraction(Metric::UpstreamHottestKey, &[name], share);
    }
}

/// How much room there is, who waits for it, and who was refused.
fn bulkhead(upstream: &Upstream, now: Instant, out: &mut Exposition) {
    let Some(Configured { state, .. }) = &upstream.bulkhead else {
        return;
    };
    let name = upstream.name.as_str();
    let (limit, in_flight) = (state.limit(), state.in_flight());
    let remaining = limit.saturating_sub(in_flight);
    out.sample(Metric::BulkheadInFlight, &[name], in_flight.into());
    out.sample(Metric::BulkheadLimit, &[name], limit.into());
    out.sample(Metric::BulkheadRemaining, &[name], remaining.into());
    let standing = state.standing(now);
    for (class, count) in Priority::ALL.into_iter().zip(standing.waiting) {
        let labels = [name, class.name()];
        out.sample(Metric::BulkheadWaiting, &labels, count as u64);
    }
    out.sample(Metric::BulkheadStanding, &[name], standing.stands.into());
    out.sample(Metric::BulkheadWaited, &[name], state.waited());
    for reason in Refusal::ALL {
        let labels = [name, reason.label()];
        out.sample(Metric::BulkheadRefused, &labels, state.refused_by(reason));
    }
    let Some(inputs) = state.inputs().filter(|inputs| inputs.windows > 0) else {
        return;
    };
    out.seconds(Metric::BulkheadLatency, &[name], inputs.latency);
    out.seconds(Metric::BulkheadBaseline, &[name], inputs.baseline);
    if let Some(gradient) = inputs.gradient {
        out.fraction(Metric::BulkheadGradient, &[name], gradient);
    }
    if let Some(queue) = inputs.queue {
        out.fraction(Metric::BulkheadQueuedUpstream, &[name], queue);
    }
}
