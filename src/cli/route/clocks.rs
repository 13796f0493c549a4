//! The clocks that run on a request: which key sets each, how long it is, when it runs and what comes of it when it is up.

use std::time::Duration;

use serde::Serialize;

use crate::cli::table::Table;
use crate::config::units::format_duration;
use crate::config::{Listener, Upstream};
use crate::proxy::error::ProxyError;

/// One of them.
#[derive(Debug, Serialize)]
pub(super) struct Clock {
    /// Where it is set.
    pub(super) key: String,
    /// As it would be written; `None`: off.
    pub(super) span: Option<String>,
    pub(super) runs: &'static str,
    pub(super) ends: &'static str,
    /// What the client gets, where a request is under way that has no answer yet.
    pub(super) status: Option<u16>,
    /// As it stands in the access log and in metrics.
    pub(super) label: Option<&'static str>,
}

impl Clock {
    fn new(key: String, span: Option<Duration>, runs: &'static str, ends: &'static str) -> Self {
        Self {
            key,
            span: span.map(format_duration),
            runs,
            ends,
            status: None,
            label: None,
        }
    }

    fn answering(mut self, error: &ProxyError) -> Self {
        (self.status, self.label) = (Some(error.status()), Some(error.label()));
        self
    }
}

/// Those of the client's side.
pub(super) fn of_listener(name: &str, listener: &Listener) -> Vec<Clock> {
    let timeouts = &listener.timeouts;
    let clock = |key: &str, span, runs, ends| {
        Clock::new(
            format!("listeners.{name}.timeouts.{key}"),
            Some(span),
            runs,
            ends,
        )
    };
    let handshake = clock(
        "handshake",
        timeouts.handshake,
        "the TLS handshake",
        "closes",
    );
    let head =
        "from the first byte of a head to its end; of the first one from the connection's begin";
    let body = "between two pieces of the request body, and between two that the client reads";
    let mut clocks = vec![
        clock("head", timeouts.head, head, "answers").answering(&ProxyError::SlowHead),
        clock("body", timeouts.body, body, "answers").answering(&ProxyError::SlowBody),
        clock(
            "keep_alive",
            timeouts.keep_alive,
            "between two requests",
            "closes",
        ),
    ];
    if listener.tls.is_some() {
        clocks.insert(0, handshake);
    }
    clocks
}

/// Those of the endpoints' side.
pub(super) fn of_upstream(name: &str, upstream: &Upstream) -> Vec<Clock> {
    let timeouts = &upstream.timeouts;
    let clock = |key: &str, span, runs, ends, error| {
        let key = format!("upstreams.{name}.{key}");
        Clock::new(key, span, runs, ends).answering(&error)
    };
    let total = "from the end of the request head to the answer's, queue and all attempts included";
    let again = "tries again, or answers";
    let mut clocks = vec![
        clock(
            "timeouts.total",
            Some(timeouts.total),
            total,
            "answers",
            ProxyError::TotalTimeout,
        ),
        clock(
            "timeouts.connect",
            Some(timeouts.connect),
            "TCP and TLS of each attempt that finds no open connection",
            again,
            ProxyError::ConnectTimeout,
        ),
        clock(
            "timeouts.first_byte",
            Some(timeouts.first_byte),
            "of each attempt, from the request sent to the answer's head",
            again,
            ProxyError::FirstByteTimeout,
        ),
        clock(
            "timeouts.idle",
            Some(timeouts.idle),
            "while no byte moves either way after the answer's head",
            "cuts the answer",
            ProxyError::IdleTimeout,
        ),
        clock(
            "timeouts.tunnel_idle",
            Some(timeouts.tunnel_idle),
            "while no byte moves either way in a tunnel",
            "cuts the tunnel",
            ProxyError::TunnelIdleTimeout,
        ),
        clock(
            "timeouts.max_duration",
            timeouts.max_duration,
            "the whole exchange, to the last byte of the answer",
            "answers, or cuts the answer",
            ProxyError::MaxDuration,
        ),
    ];
    if let Some(bulkhead) = &upstream.bulkhead {
        let span = Some(bulkhead.queue_timeout);
        let runs = "while the request waits for a place, all its attempts together";
        let key = "bulkhead.queue_timeout";
        clocks.insert(
            1,
            clock(key, span, runs, "answers", ProxyError::QueueTimeout),
        );
    }
    clocks
}

/// For people.
pub(super) fn render(clocks: &[Clock]) -> String {
    let mut table = Table::new(4, &["  CLOCK", "IS", "RUNS", "THEN"]);
    for clock in clocks {
        let then = match (clock.status, clock.label) {
            (Some(status), Some(label)) => format!("{} ({status} {label})", clock.ends),
            _ => clock.ends.to_owned(),
        };
        table.row(vec![
            format!("  {}", clock.key),
            clock.span.clone().unwrap_or_else(|| "off".to_owned()),
            clock.runs.to_owned(),
            then,
        ]);
    }
    table.render()
}
