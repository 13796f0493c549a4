//! Every metric, once: its name, kind, help and labels. Whoever counts, shows or documents a metric names it from here.

/// What Prometheus calls the type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

impl Kind {
    /// The word behind `# TYPE`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// One metric with all its series.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    /// In the order in which values are given: first what identifies the object, then what varies within it.
    pub labels: &'static [&'static str],
}

macro_rules! metrics {
    ($($metric:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        /// A metric of the table below.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Metric { $(#[doc = $help] $metric,)* }

        impl Metric {
            /// All of them, in the order in which they are exposed.
            pub const ALL: &'static [Self] = &[$(Self::$metric,)*];

            /// Its line of the table.
            pub const fn family(self) -> Family {
                match self {
                    $(Self::$metric => Family {
                        name: concat!("plimsoll_", $name),
                        kind: Kind::$kind,
                        help: $help,
                        labels: &[$($label),*],
                    },)*
                }
            }
        }
    };
}

metrics! {
    // The process.
    BuildInfo: Gauge "build_info" ["version"] "Always 1; the version is in the label.";
    Uptime: Gauge "uptime_seconds" [] "Time since the process started.";
    Workers: Gauge "workers" [] "Threads that carry traffic.";
    ConfigGeneration: Gauge "config_generation" [] "How many configurations have been in force.";
    ConfigReloads: Counter "config_reloads_total" ["result"] "Reloads asked for, by result.";
    ConfigLastReloadSuccessful: Gauge "config_last_reload_successful" [] "1 when the last reload was applied, 0 when it was refused.";
    ConfigInForceSince: Gauge "config_in_force_since_seconds" [] "When the configuration in force was put in force, in seconds since 1970.";
    ConfigAge: Gauge "config_age_seconds" [] "How long the configuration in force has been so.";
    ConfigLastReloadDuration: Gauge "config_last_reload_seconds" [] "How long the last reload took, applied or refused.";
    ConfigGenerationsAlive: Gauge "config_generations_alive" [] "Configurations on which anything runs, the one in force included.";
    ConfigOlderStreams: Gauge "config_older_streams" [] "Requests, streams and tunnels on configurations that were replaced.";
    ConfigOldestReplaced: Gauge "config_oldest_replaced_seconds" [] "How long ago the oldest configuration was replaced on which anything runs; 0 when there is none.";
    AdminDenied: Counter "admin_requests_denied_total" ["reason"] "Requests to the admin API that were denied: no valid token, the page of another site, a name that is not that of loopback.";
    Ready: Gauge "ready" [] "1 when traffic should be sent here, 0 when not, as /ready says.";
    Draining: Gauge "draining" [] "1 while the process finishes what it has and accepts nothing new.";
    MemoryUsed: Gauge "memory_used_bytes" [] "Memory used, where there is a limit to it.";
    MemoryLimit: Gauge "memory_limit_bytes" [] "Memory that may be used, where there is a limit.";
    MemoryShedding: Gauge "memory_shedding" [] "1 while memory is short: no connection is accepted, what rests is closed.";
    MemorySheds: Counter "memory_sheds_total" [] "How often memory became short.";
    WorkerPanics: Counter "worker_panics_total" ["worker"] "Connections and HTTP/2 streams ended by a panic, which is always a bug.";
    WorkerHandOvers: Counter "worker_hand_overs_total" ["worker"] "Accepted connections handed to a less loaded worker.";
    WorkerLag: Histogram "worker_lag_seconds" ["worker"] "How late the worker's own timer ran.";
    Events: Counter "events_total" ["kind"] "What changed by itself, by kind; /api/v1/events tells of each.";
    AccessLogLines: Counter "access_log_lines_total" [] "Access log lines written.";
    AccessLogDropped: Counter "access_log_dropped_total" [] "Access log lines lost because the target was too slow or failed.";
    ConsoleDropped: Counter "console_lines_dropped_total" [] "Lines for standard error lost because nobody read them.";

    // Listeners.
    ListenerAccepted: Counter "listener_connections_total" ["listener"] "Connections accepted.";
    ListenerOpen: Gauge "listener_connections_open" ["listener"] "Connections open now.";
    ListenerAddresses: Gauge "listener_addresses" ["listener"] "Addresses with connections that are counted for limits.per_address.";
    ListenerRefused: Counter "listener_refused_total" ["listener", "reason"] "Connections and requests refused before routing, by reason.";
    ListenerHandshakes: Counter "listener_handshakes_total" ["listener"] "TLS handshakes completed.";
    ListenerHandshakesResumed: Counter "listener_handshakes_resumed_total" ["listener"] "TLS handshakes completed that resumed a session.";
    ListenerHandshakesWaiting: Gauge "listener_handshakes_waiting" ["listener"] "TLS handshakes that wait for their turn now.";
    ListenerHandshakeFailures: Counter "listener_handshake_failures_total" ["listener"] "TLS handshakes failed.";
    ListenerHandshakeDuration: Histogram "listener_handshake_duration_seconds" ["listener"] "Time of a completed TLS handshake.";
    ListenerRequests: Counter "listener_requests_total" ["listener", "class"] "Requests ended, by class of the status sent.";
    ListenerReceivedBytes: Counter "listener_received_bytes_total" ["listener"] "Body bytes received from clients.";
    ListenerSentBytes: Counter "listener_sent_bytes_total" ["listener"] "Body bytes sent to clients.";
    ListenerDuration: Histogram "listener_request_duration_seconds" ["listener", "outcome"] "First byte of a request to last byte of its response, by outcome.";

    // Certificates.
    CertificateExpires: Gauge "certificate_expires_seconds" ["listener", "certificate"] "When the chain shown to clients runs out, in seconds since 1970.";
    UpstreamCertificateExpires: Gauge "upstream_certificate_expires_seconds" ["upstream", "certificate"] "When the chain shown to endpoints runs out, in seconds since 1970.";
    CredentialSwaps: Counter "credential_swaps_total" ["result"] "Changes of the files of users, keys, tokens and secrets, by what came of them.";
    CertificateSwaps: Counter "certificate_swaps_total" ["result"] "Changes of the files of certificates, by what came of them.";

    // Routes.
    Requests: Counter "requests_total" ["route", "class"] "Requests ended, by class of the status sent.";
    RequestOutcomes: Counter "request_outcomes_total" ["route", "outcome"] "Requests ended, by outcome.";
    RequestErrors: Counter "request_errors_total" ["route", "error"] "Requests that met an error, by its label.";
    RequestBytes: Counter "request_received_bytes_total" ["route"] "Body bytes received from clients.";
    ResponseBytes: Counter "response_sent_bytes_total" ["route"] "Body bytes sent to clients.";
    RequestAttempts: Counter "request_attempts_total" ["route"] "Attempts made for requests of the route.";
    Retries: Counter "request_retries_total" ["route"] "Attempts after the first, replays not counted.";
    Replays: Counter "request_replays_total" ["route"] "Attempts repeated free of charge because an idle connection had died.";
    RequestFaults: Counter "request_faults_total" ["route", "fault"] "Faults injected on purpose, by kind; a request may meet several.";
    RequestDuration: Histogram "request_duration_seconds" ["route", "outcome"] "First byte of a request to last byte of its response, by outcome.";
    RequestPhase: Histogram "request_phase_seconds" ["route", "phase"] "Time of a request in one phase; phase proxy is the proxy's own share.";
    RequestQuantiles: Summary "request_quantiles_seconds" ["route"] "Percentiles of the last minute over requests completed, broken or failed; sum and count since the start.";

    // Idempotency keys of routes.
    AuthRequests: Counter "auth_requests_total" ["route", "verdict"] "Requests of routes that ask who it is, by what came of it.";
    AuthDuration: Histogram "auth_duration_seconds" ["route"] "Time until the service that a route asks said whether a request may enter, or did not in time.";
    AuthPasswords: Gauge "auth_passwords_remembered" [] "Passwords that were found right and need not be hashed again for a while.";
    IdempotencyRequests: Counter "idempotency_requests_total" ["route", "met"] "Requests with an idempotency key, by what they met.";
    IdempotencyExecutions: Counter "idempotency_executions_total" ["route", "end"] "Executions of requests with an idempotency key that ended, by what is known of their outcome.";
    IdempotencyLost: Counter "idempotency_lost_total" ["route", "what"] "Results and keys that made room for others before their time.";
    IdempotencyKeys: Gauge "idempotency_keys" ["route", "state"] "Keys known, by state.";
    IdempotencyBytes: Gauge "idempotency_stored_bytes" ["route"] "Memory that results of requests with an idempotency key take.";
    IdempotencyHeld: Gauge "idempotency_held_bytes" ["route"] "Memory that bodies of requests with an idempotency key take whose outcome is not known yet.";

    // Limits on clients.
    LimitRequests: Counter "limit_requests_total" ["limit", "kind", "result"] "Requests that a rate or concurrency limit judged: passed, limited, or would_limit where it is on trial.";
    LimitKeys: Gauge "limit_keys" ["limit", "kind"] "Clients that a limit knows, idle ones too.";
    LimitEvictions: Counter "limit_evictions_total" ["limit", "kind"] "Idle clients that a limit forgot to make room for others.";
    LimitOverflow: Counter "limit_overflow_total" ["limit", "kind"] "Requests for whose client a limit had no room, so that they were judged together.";
    LimitInUse: Gauge "limit_in_use" ["limit"] "Requests under way that a concurrency limit counts.";
    LimitDelay: Counter "limit_delay_seconds_total" ["limit"] "Time for which a bandwidth limit held bodies back.";

    // Endpoints.
    Attempts: Counter "attempts_total" ["upstream", "endpoint", "outcome"] "Attempts ended, by outcome.";
    AttemptKinds: Counter "attempt_kinds_total" ["upstream", "endpoint", "kind"] "Attempts ended, by why they were made.";
    AttemptResponses: Counter "attempt_responses_total" ["upstream", "endpoint", "class"] "Attempts ended, by class of the endpoint's status.";
    AttemptErrors: Counter "attempt_errors_total" ["upstream", "endpoint", "error"] "Attempts that ended with an error, by its label.";
    Picks: Counter "endpoint_picks_total" ["upstream", "endpoint"] "How often the balancer chose the endpoint.";
    EndpointSentBytes: Counter "endpoint_sent_bytes_total" ["upstream", "endpoint"] "Body bytes sent to the endpoint.";
    EndpointReceivedBytes: Counter "endpoint_received_bytes_total" ["upstream", "endpoint"] "Body bytes received from the endpoint.";
    EndpointConnections: Counter "endpoint_connections_total" ["upstream", "endpoint"] "Connections made to the endpoint.";
    EndpointConnectionsFailed: Counter "endpoint_connections_failed_total" ["upstream", "endpoint"] "Connections to the endpoint that could not be made.";
    EndpointConnectionsReused: Counter "endpoint_connections_reused_total" ["upstream", "endpoint"] "Attempts that used an idle connection.";
    EndpointConnectionsOpen: Gauge "endpoint_connections_open" ["upstream", "endpoint"] "Connections open to the endpoint now.";
    EndpointHandshakes: Counter "endpoint_handshakes_total" ["upstream", "endpoint"] "TLS handshakes completed with the endpoint.";
    EndpointHandshakesResumed: Counter "endpoint_handshakes_resumed_total" ["upstream", "endpoint"] "TLS handshakes completed with the endpoint that resumed a session.";
    AttemptDuration: Histogram "attempt_duration_seconds" ["upstream", "endpoint", "outcome"] "Time of an attempt, by outcome; that of a cancelled one is a lower bound.";
    AttemptPhase: Histogram "attempt_phase_seconds" ["upstream", "endpoint", "phase"] "Time of an attempt in one phase.";
    AttemptQuantiles: Summary "attempt_quantiles_seconds" ["upstream", "endpoint"] "Percentiles of the last minute over attempts answered, broken or failed; sum and count since the start.";
    EndpointInFlight: Gauge "endpoint_in_flight" ["upstream", "endpoint"] "Attempts under way at the endpoint.";
    EndpointHealthy: Gauge "endpoint_healthy" ["upstream", "endpoint"] "1 when the endpoint may be picked, 0 when it may not.";
    HealthVerdict: Gauge "health_verdict" ["upstream", "endpoint"] "1 when active checks find the endpoint healthy, 0 when not, or not yet; absent where there are none.";
    HealthChecks: Counter "health_checks_total" ["upstream", "endpoint", "result"] "Active checks ended, by result; void ones were spoilt by a delay of this process, and do not count.";
    EndpointWeight: Gauge "endpoint_weight" ["upstream", "endpoint"] "Weight in force.";
    EndpointIdle: Gauge "endpoint_connections_idle" ["upstream", "endpoint"] "Idle connections kept to the endpoint.";
    EndpointShare: Gauge "endpoint_share" ["upstream", "endpoint"] "Part of the upstream's picks of the last minute that the endpoint got; absent while there are none.";
    EndpointShareExpected: Gauge "endpoint_share_expected" ["upstream", "endpoint"] "Part of the upstream's picks that the endpoint should get as things stand, by its group's share and its weight in force.";
    EndpointInFlightMean: Gauge "endpoint_in_flight_mean" ["upstream", "endpoint"] "Attempts under way at the endpoint, in the mean of about the last ten seconds.";
    EndpointLatency: Gauge "endpoint_latency_seconds" ["upstream", "endpoint"] "Latency that the balancer goes by: a slower answer counts at once, and is forgotten over the decay; absent where none is known.";
    EndpointWeightFactor: Gauge "endpoint_weight_factor" ["upstream", "endpoint"] "Part of the endpoint's weight that slow start and failures leave in force.";
    EndpointFailuresAsLoad: Gauge "endpoint_failures_as_load" ["upstream", "endpoint"] "Failures of late, as the attempts under way that the balancer counts them for.";
    BreakerState: Gauge "breaker_state" ["upstream", "endpoint"] "How the breaker stands: 0 closed, 1 half-open, 2 open; without an endpoint that of all together.";
    BreakerChanges: Counter "breaker_changes_total" ["upstream", "endpoint", "to"] "Changes of the breaker, by what it changed to.";
    RouteBreakerState: Gauge "route_breaker_state" ["route"] "How the breaker of the route stands: 0 closed, 1 half-open, 2 open.";
    RouteBreakerChanges: Counter "route_breaker_changes_total" ["route", "to"] "Changes of the breaker of the route, by what it changed to.";
    EndpointEjected: Gauge "endpoint_ejected" ["upstream", "endpoint"] "1 while outlier detection keeps the endpoint out.";
    EndpointEjections: Counter "endpoint_ejections_total" ["upstream", "endpoint"] "How often outlier detection took the endpoint out.";
    UpstreamPicks: Counter "upstream_picks_total" ["upstream", "reason"] "Picks of an endpoint, by how they came about.";
    UpstreamRetries: Counter "upstream_retries_total" ["upstream", "decision"] "Attempts that failed, by whether another was made and why not.";
    UpstreamHedges: Counter "upstream_hedges_total" ["upstream", "outcome"] "Attempts that took longer than their like, by what became of trying another beside them.";
    UpstreamHedgeAfter: Gauge "upstream_hedge_after_seconds" ["upstream"] "After what time requests are hedged now; absent while they are not.";
    UpstreamRetryBudget: Gauge "upstream_retry_budget_tokens" ["upstream"] "Retries and hedges that the budget would pay for now; absent without a budget.";
    UpstreamAmplification: Gauge "upstream_attempts_per_request" ["upstream"] "Attempts of the last minute for each first one: what retries and hedges add; absent while there are none.";
    UpstreamInFlight: Gauge "upstream_in_flight" ["upstream"] "Attempts under way at the upstream.";
    UpstreamImbalance: Gauge "upstream_imbalance" ["upstream", "of", "index"] "How unevenly endpoints have their picks of the last minute, and their attempts in flight of about ten seconds, beside the shares expected of them; absent while there are none.";
    HealthChecksRunning: Gauge "health_checks_running" ["upstream"] "Active checks under way; at_once of the configuration bounds them.";
    UpstreamPanicking: Gauge "upstream_panicking" ["upstream"] "1 while too few endpoints are healthy, so that the panic rule decides who serves.";
    UpstreamHottestKey: Gauge "upstream_hottest_key_share" ["upstream"] "Part of the picks by key of about the last two minutes that the hottest key surely had; absent while there are none.";
    BulkheadInFlight: Gauge "bulkhead_in_flight" ["upstream"] "Attempts under way that the bulkhead counts.";
    BulkheadLimit: Gauge "bulkhead_limit" ["upstream"] "Attempts that may be under way at once, as things stand.";
    BulkheadRemaining: Gauge "bulkhead_remaining" ["upstream"] "How many more attempts there is room for.";
    BulkheadWaiting: Gauge "bulkhead_waiting" ["upstream", "priority"] "Requests that wait for a place, by priority.";
    BulkheadStanding: Gauge "bulkhead_standing" ["upstream"] "1 while the queue has not been empty for longer than a burst takes.";
    BulkheadWaited: Counter "bulkhead_waited_total" ["upstream"] "Requests that had to wait for a place; request_phase_seconds tells how long.";
    BulkheadRefused: Counter "bulkhead_refused_total" ["upstream", "reason"] "Requests refused by the bulkhead: its queue was full, they waited too long, were pushed out by a higher priority, or the worker ran late.";
    BulkheadLatency: Gauge "bulkhead_latency_seconds" ["upstream"] "Mean latency of the last window that moved an adaptive limit; absent where there is none.";
    BulkheadBaseline: Gauge "bulkhead_baseline_latency_seconds" ["upstream"] "Latency that an adaptive limit compares with: a long mean, or the least one.";
    BulkheadGradient: Gauge "bulkhead_gradient" ["upstream"] "What gradient2 multiplied its limit by last; below 1 the upstream is slower than it was.";
    BulkheadQueuedUpstream: Gauge "bulkhead_queued_upstream" ["upstream"] "Attempts that vegas takes to queue at the upstream.";
    DiscoveryAge: Gauge "discovery_age_seconds" ["upstream", "source"] "Time since the source confirmed the list of endpoints in force; absent while it has none.";
    DiscoveryEntries: Gauge "discovery_entries" ["upstream", "source"] "Addresses or entries in the source's list in force.";
    DiscoveryFailing: Gauge "discovery_failing" ["upstream", "source"] "1 while the source gives no list that can be used, 0 when it does.";
    DiscoveryFailures: Counter "discovery_failures_total" ["upstream", "source"] "Times that the source was asked and gave no whole list that can be used.";
    DiscoveryChanges: Counter "discovery_changes_total" ["upstream", "source"] "Lists of the source that replaced another one.";
    UpstreamQuantiles: Summary "upstream_quantiles_seconds" ["upstream"] "Percentiles of the last minute over the attempts at all endpoints; sum and count since the start.";
}

/// The classes of a status: `none` when none was sent, else the hundreds. Those from 600 on have no meaning (RFC 9110, 15);
/// nginx and HAProxy pass them on, HAProxy counts them apart from the others, and so do we.
pub const CLASSES: [&str; 7] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// The place of a status in [`CLASSES`].
#[inline]
pub const fn class(status: u16) -> usize {
    match status / 100 {
        0 => 0,
        hundreds @ 1..=5 => hundreds as usize,
        _ => 6,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_end_as_prometheus_asks() {
        let mut names = HashSet::new();
        for metric in Metric::ALL {
            let Family {
                name,
                kind,
                help,
                labels,
            } = metric.family();
            assert!(names.insert(name), "{name} stands twice");
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            if matches!(kind, Kind::Histogram | Kind::Summary) {
                assert!(name.ends_with("_seconds"), "{name}");
            }
            assert!(
                help.ends_with('.') && !labels.contains(&"le") && !labels.contains(&"quantile")
            );
        }
    }

    #[test]
    fn a_status_without_meaning_has_a_class_of_its_own() {
        let classes: Vec<_> = [0, 99, 101, 204, 304, 404, 599, 600, 999]
            .map(|status| CLASSES[class(status)])
            .into();
        assert_eq!(
            classes,
            [
                "none", "none", "1xx", "2xx", "3xx", "4xx", "5xx", "other", "other"
            ]
        );
    }
}
