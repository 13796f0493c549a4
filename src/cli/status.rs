//! `plimsoll status`: how a running process fares, as a table with percentiles.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use super::table::Table;
use super::{ask, balancing, print, retries};
use crate::admin::status::{
    BreakerStatus, BulkheadStatus, ConfigStatus, DrainingStatus, EndpointStatus, Figures,
    Percentiles, RouteStatus, Status, UpstreamStatus, Windows,
};
use crate::config::Address;
use crate::upstream::breaker;

/// Show how a running process fares: listeners, routes, upstreams and endpoints with their percentiles.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where its admin API listens; by default as plimsoll.yaml here or in /etc/plimsoll says, else 127.0.0.1:9900.
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<Address>,
    /// For programs: the answer of `/api/v1/status` as it is.
    #[arg(long)]
    pub json: bool,
    /// Numbers since the start instead of those of the last minute.
    #[arg(long)]
    pub lifetime: bool,
    /// How the upstreams balance instead: shares beside those expected, imbalance, what policies go by, the hottest keys.
    #[arg(long, conflicts_with = "lifetime")]
    pub balancing: bool,
}

/// Asks once.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let admin = ask::admin(args.admin.as_ref());
    let (status, body) = ask::ask(&admin, "/api/v1/status", Duration::from_secs(10))?;
    if !status.is_success() {
        bail!("the admin API at {admin} answers {status}");
    }
    if args.json {
        print(&String::from_utf8_lossy(&body))?;
    } else {
        let status: Status = serde_json::from_slice(&body)
            .with_context(|| format!("{admin} is no admin API of this version"))?;
        print(&if args.balancing {
            balancing::render(&status)
        } else {
            render(&status, args.lifetime)
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How the last reload went, and what still runs on what was replaced; nothing when there is nothing to say.
fn reload(config: &ConfigStatus) -> String {
    let mut text = String::new();
    if let Some(last) = &config.last_reload {
        let ago = crate::clock::wall().duration_since(std::time::UNIX_EPOCH);
        let ago = ago.unwrap_or_default().as_secs_f64() - last.at;
        let (by, ago) = (&last.by, span(ago.max(0.0)));
        let what = if last.applied {
            "applied"
        } else {
            "REFUSED, what was in force stays"
        };
        text.push_str(&format!("Last reload: {what}; {ago} ago, by {by}\n"));
        for line in last.text.lines().filter(|_| !last.applied) {
            text.push_str(&format!("  {line}\n"));
        }
    }
    for older in &config.older {
        text.push_str(&format!("{older}\n"));
    }
    if !config.departed.is_empty() {
        let gone = config.departed.join(", ");
        text.push_str(&format!(
            "Removed, with connections left at the last reload: {gone}\n"
        ));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn render(status: &Status, lifetime: bool) -> String {
    let window = |windows: &Windows| {
        if lifetime {
            windows.lifetime.clone()
        } else {
            windows.minute.clone()
        }
    };
    let ready = if status.ready {
        "ready".to_owned()
    } else {
        format!("NOT READY ({})", status.reasons.join("; "))
    };
    let mut text = format!(
        "plimsoll {}: {ready}{}, up {}, generation {}, {} connection{}\n{} per second and percentiles over {}\n\n",
        status.version,
        status.draining.as_ref().map_or_else(String::new, draining),
        span(status.uptime_seconds),
        status.config.generation,
        status.connections_open,
        if status.connections_open == 1 {
            ""
        } else {
            "s"
        },
        if lifetime {
            "Since the start:"
        } else {
            "The last minute:"
        },
        span(window(&status.requests).span_seconds),
    );
    text.push_str(&reload(&status.config));
    let log = status.access_log.as_ref();
    if let Some((log, why)) = log.and_then(|log| Some((log, log.failure.as_ref()?))) {
        let dropped = log.dropped;
        text.push_str(&format!(
            "Access log: LINES ARE LOST, {dropped} so far: {why}\n\n"
        ));
    }
    let mut listeners = Table::new(
        2,
        &[
            "LISTENER", "ADDRESS", "OPEN", "REQ/S", "5XX", "P50", "P95", "P99", "P99.9",
        ],
    );
    for listener in &status.listeners {
        let figures = window(&listener.requests);
        let head = [
            listener.name.clone(),
            listener.address.clone(),
            listener.connections_open.to_string(),
        ];
        listeners.row(row(head.into(), &figures, false));
    }
    let mut routes = Table::new(
        1,
        &[
            "ROUTE", "REQ/S", "5XX", "ERRORS", "P50", "P95", "P99", "P99.9",
        ],
    );
    for route in &status.routes {
        let mark = route.breaker.as_ref().and_then(breaker_mark);
        routes.row(row(
            vec![format!("{}{}", route.name, in_brackets(mark))],
            &window(&route.requests),
            true,
        ));
    }
    text.push_str(&listeners.render());
    text.push_str(&super::certificates::render(status));
    text.push('\n');
    text.push_str(&routes.render());
    for route in &status.routes {
        text.push_str(&faults(route));
    }
    text.push('\n');
    if let Some(gates) = gates(&status.routes) {
        text.push_str(&gates.render());
        text.push('\n');
    }
    if let Some(keys) = idempotency(&status.routes) {
        text.push_str(&keys.render());
        text.push('\n');
    }
    text.push_str(&super::limits::render(&status.limits));
    text.push_str(&upstreams(&status.upstreams, &window).render());
    text.push_str(&retries::table(&status.upstreams, lifetime));
    if let Some(checks) = super::checks::render(&status.upstreams) {
        text.push('\n');
        text.push_str(&checks);
    }
    text.push_str(&sources(&status.upstreams));
    text
}

/// How long the end may take.
fn draining(status: &DrainingStatus) -> String {
    match (status.accepting_seconds, status.cut_seconds) {
        (Some(accepting), _) => format!(", closes in {}", span(accepting)),
        (None, Some(cut)) => format!(", cut in {}", span(cut)),
        (None, None) => ", without a deadline".to_owned(),
    }
}

/// What a route injects on purpose, so that nobody takes it for a fault of an endpoint.
fn faults(route: &RouteStatus) -> String {
    let Some(fault) = &route.fault else {
        return String::new();
    };
    let met = fault.met.iter().filter(|(_, count)| **count > 0);
    let met: Vec<String> = met.map(|(kind, count)| format!("{kind} {count}")).collect();
    let met = if met.is_empty() {
        "none yet".to_owned()
    } else {
        met.join(", ")
    };
    format!(
        "{} INJECTS FAULTS: {}; met so far: {met}\n",
        route.name, fault.injects
    )
}

/// Who was let in by the routes that ask who it is, all since the start; `None` where none does.
fn gates(routes: &[RouteStatus]) -> Option<Table> {
    let heads = &[
        "WHO MAY ENTER",
        "BY",
        "KNOWN",
        "ALLOWED",
        "REFUSED",
        "UNAVAILABLE",
        "FAILED OPEN",
    ];
    let mut table = Table::new(2, heads);
    let mut is_any = false;
    for (name, auth) in routes
        .iter()
        .filter_map(|route| Some((&route.name, route.auth.as_ref()?)))
    {
        let sum = |words: &[&str]| {
            let counts = words.iter().filter_map(|word| auth.requests.get(*word));
            counts.sum::<u64>().to_string()
        };
        table.row(vec![
            name.clone(),
            auth.way.clone(),
            auth.known
                .map_or_else(|| "-".to_owned(), |known| known.to_string()),
            sum(&["allowed"]),
            sum(&["absent", "malformed", "wrong", "refused"]),
            sum(&["unavailable"]),
            sum(&["failed_open"]),
        ]);
        is_any = true;
    }
    is_any.then_some(table)
}

/// The idempotency keys of the routes that ask for such, all since the start; `None` where none does.
fn idempotency(routes: &[RouteStatus]) -> Option<Table> {
    let mut table = Table::new(
        1,
        &[
            "IDEMPOTENCY KEYS",
            "KNOWN",
            "RUNNING",
            "UNKNOWN",
            "KIB",
            "EXECUTED",
            "REPLAYED",
            "REFUSED",
            "LOST",
        ],
    );
    let keyed = routes.iter();
    let keyed = keyed.filter_map(|route| Some((&route.name, route.idempotency.as_ref()?)));
    let mut is_any = false;
    for (name, status) in keyed {
        let met = |words: &[&str]| {
            let counts = words.iter().filter_map(|word| status.requests.get(*word));
            counts.sum::<u64>().to_string()
        };
        let keys = &status.keys;
        table.row(vec![
            name.clone(),
            (keys.running + keys.stored + keys.unknown).to_string(),
            keys.running.to_string(),
            keys.unknown.to_string(),
            status.stored_bytes.div_ceil(1024).to_string(),
            met(&["executed", "unprotected"]),
            met(&["replayed"]),
            met(&["in_use", "mismatch", "unknown", "refused"]),
            (status.lost_results + status.lost_keys).to_string(),
        ]);
        is_any = true;
    }
    is_any.then_some(table)
}

/// Where endpoints come from that come and go, and why a source fails; nothing where all of them are fixed.
fn sources(all: &[UpstreamStatus]) -> String {
    let heading = [
        "UPSTREAM", "SOURCE", "STATE", "ENTRIES", "AGE", "CHANGES", "FAILURES",
    ];
    let mut table = Table::new(3, &heading);
    let mut errors = String::new();
    let each = all.iter().flat_map(|upstream| {
        let sources = upstream.sources.iter();
        sources.map(|source| (&upstream.name, source))
    });
    for (upstream, source) in each.clone() {
        let state = if source.error.is_none() {
            "ok"
        } else {
            "FAILS"
        };
        table.row(vec![
            upstream.clone(),
            source.source.clone(),
            state.to_owned(),
            source.entries.to_string(),
            source.age_seconds.map_or_else(|| "n/a".to_owned(), span),
            source.changes.to_string(),
            source.failures.to_string(),
        ]);
        if let Some(error) = &source.error {
            errors.push_str(&format!("{upstream}, {}: {error}\n", source.source));
        }
    }
    match each.count() {
        0 => String::new(),
        _ => format!("\n{}{errors}", table.render()),
    }
}

/// Each upstream with its endpoints below it, not beside it, so that 120 columns are enough where ids are addresses.
fn upstreams(all: &[UpstreamStatus], window: &impl Fn(&Windows) -> Figures) -> Table {
    let mut table = Table::new(
        2,
        &[
            "UPSTREAM, ENDPOINT",
            "ADDRESS",
            "IN FLIGHT",
            "OPEN",
            "REQ/S",
            "5XX",
            "ERRORS",
            "P50",
            "P95",
            "P99",
            "P99.9",
        ],
    );
    for upstream in all {
        let endpoints = upstream.endpoints.iter();
        let open: usize = endpoints.map(|endpoint| endpoint.connections_open).sum();
        let head = [
            format!(
                "{} ({}){}",
                upstream.name,
                upstream.balance,
                in_brackets(upstream.breaker.as_ref().and_then(breaker_mark))
            ),
            room(upstream.bulkhead.as_ref()),
            upstream.in_flight.to_string(),
            open.to_string(),
        ];
        table.row(row(head.into(), &window(&upstream.attempts), true));
        for endpoint in &upstream.endpoints {
            let mark = in_brackets(endpoint_mark(endpoint));
            // What is known by its address needs no second column of it.
            let address = Some(&endpoint.address).filter(|address| **address != endpoint.id);
            let head = [
                format!("  {}{mark}", endpoint.id),
                address.cloned().unwrap_or_default(),
                endpoint.in_flight.to_string(),
                endpoint.connections_open.to_string(),
            ];
            table.row(row(head.into(), &window(&endpoint.attempts), true));
        }
    }
    table
}

/// What keeps an endpoint out, and until when where that is known; or that it is on the way back.
fn endpoint_mark(endpoint: &EndpointStatus) -> Option<String> {
    let returns = endpoint.outlier.as_ref().and_then(|o| o.returns_in_seconds);
    match (endpoint.out.as_deref(), returns) {
        (Some("ejected"), Some(seconds)) => Some(format!("ejected, back in {}", short(seconds))),
        (Some(reason), _) if reason != "breaker_open" => Some(reason.to_owned()),
        (out, _) => {
            let mark = endpoint.breaker.as_ref().and_then(breaker_mark);
            mark.or_else(|| out.map(str::to_owned))
        }
    }
}

/// What there is to say of a breaker; nothing of one that lets all through.
fn breaker_mark(breaker: &BreakerStatus) -> Option<String> {
    match (breaker.state.as_str(), breaker.next_probe_seconds) {
        ("open", Some(seconds)) => Some(format!("breaker_open, probe in {}", short(seconds))),
        ("open", None) => Some("breaker_open".to_owned()),
        ("half_open", _) => Some("half_open".to_owned()),
        _ if breaker.share < 1.0 => Some(format!("ramp {:.0}%", breaker.share * 100.0)),
        _ => None,
    }
}

fn short(seconds: f64) -> String {
    breaker::span(Duration::from_secs_f64(seconds.max(0.0)))
}

fn in_brackets(mark: Option<String>) -> String {
    mark.map(|mark| format!(" ({mark})")).unwrap_or_default()
}

/// How many attempts an upstream may have under way, and how many wait for it.
fn room(bulkhead: Option<&BulkheadStatus>) -> String {
    let Some(bulkhead) = bulkhead else {
        return String::new();
    };
    let waiting: usize = bulkhead.queue.waiting.values().sum();
    if waiting == 0 {
        format!("limit {}", bulkhead.limit)
    } else {
        format!("limit {}, {waiting} wait", bulkhead.limit)
    }
}

/// The columns that all tables end with.
fn row(mut cells: Vec<String>, figures: &Figures, errors: bool) -> Vec<String> {
    cells.push(format!("{:.1}", figures.per_second));
    cells.push(
        figures
            .classes
            .get("5xx")
            .copied()
            .unwrap_or_default()
            .to_string(),
    );
    if errors {
        cells.push(figures.errors.values().sum::<u64>().to_string());
    }
    let Percentiles {
        p50,
        p95,
        p99,
        p999,
        ..
    } = figures.duration_seconds;
    cells.extend([p50, p95, p99, p999].map(latency));
    cells
}

/// A time in the unit that keeps it short; `n/a` where there are too few samples.
pub(super) fn latency(seconds: Option<f64>) -> String {
    match seconds {
        None => "n/a".to_owned(),
        Some(seconds) if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        Some(seconds) if seconds < 0.1 => format!("{:.1} ms", seconds * 1e3),
        Some(seconds) if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.2} s"),
    }
}

/// A long time in its two largest units.
pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::BreakerWindow;

    #[test]
    fn times_are_short_and_have_a_unit() {
        let shown = [None, Some(0.000_25), Some(0.0123), Some(0.25), Some(2.5)].map(latency);
        assert_eq!(shown, ["n/a", "250 µs", "12.3 ms", "250 ms", "2.50 s"]);
        let spans = [5.9, 65.0, 3700.0, 90_000.0].map(span);
        assert_eq!(spans, ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn a_breaker_that_holds_something_back_is_marked() {
        let mark = |state: &str, next_probe_seconds, share| {
            breaker_mark(&BreakerStatus {
                state: state.to_owned(),
                reason: None,
                since_seconds: 0.0,
                failures_in_row: 0,
                window: BreakerWindow {
                    attempts: 0,
                    failed: 0,
                    slow: 0,
                },
                openings: 1,
                next_probe_seconds,
                probes_under_way: 0,
                probes_succeeded: 0,
                share,
                opened_total: 1,
            })
        };
        let open = mark("open", Some(1.25), 1.0);
        assert_eq!(open.as_deref(), Some("breaker_open, probe in 1.2 s"));
        assert_eq!(mark("half_open", None, 1.0).as_deref(), Some("half_open"));
        assert_eq!(mark("closed", None, 0.5).as_deref(), Some("ramp 50%"));
        assert_eq!(mark("closed", None, 1.0), None);
        assert_eq!(in_brackets(open), " (breaker_open, probe in 1.2 s)");
    }
}
