//! Active checks that cannot be made as they are written, or whose keys contradict each other.

use super::fields::Meaning;
use super::{child, is_off, warn};
use crate::config::cursor::Reader;
use crate::config::diagnostic::Problem;
use crate::config::schema::{ActiveHealth, CheckType, Upstream};
use crate::config::tree::Entry;
use crate::config::units::Target;

pub(super) fn check(name: &str, entry: &Entry, upstream: &Upstream, reader: &mut Reader<'_>) {
    let health = upstream.health.as_ref();
    let Some(active) = health.and_then(|health| health.active.as_ref()) else {
        return;
    };
    let mut finding = Finding {
        path: format!("upstreams.{name}.health.active"),
        entry,
        reader,
    };
    requests(active, &mut finding);
    times(active, &mut finding);
    idle_keys(active, upstream, &mut finding);
}

/// What was found in one block.
struct Finding<'f, 'r> {
    path: String,
    entry: &'f Entry,
    reader: &'f mut Reader<'r>,
}

impl<'f> Finding<'f, '_> {
    /// Where a key was written. Only what somebody wrote is worth a word.
    fn written(&self, key: &str) -> Option<&'f Entry> {
        let written = child(&self.entry.node, &["health", "active", key]);
        written.filter(|written| !is_off(&written.node))
    }

    fn warn(&mut self, key: &str, message: &str, help: &str) {
        if let Some(written) = self.written(key) {
            let path = format!("{}.{key}", self.path);
            warn(self.reader, written.node.mark, path, message, help);
        }
    }
}

/// What no request can be.
fn requests(active: &ActiveHealth, finding: &mut Finding<'_, '_>) {
    for (field, _) in &active.headers {
        let framing = Meaning::of(field) == Some(Meaning::Framing);
        let written = finding.written("headers");
        let written = written.and_then(|headers| headers.node.child(field));
        if let (true, Some(written)) = (framing, written) {
            let message = "the check itself writes this field";
            let help = if field.eq_ignore_ascii_case("host") {
                "write `host: …` beside `headers`"
            } else {
                "remove it"
            };
            let path = format!("{}.headers.{field}", finding.path);
            let problem = Problem::error(written.mark, path, message);
            finding.reader.problems.push(problem.help(help));
        }
    }
    if let (true, Some(written)) = (active.method == "CONNECT", finding.written("method")) {
        let message = "CONNECT opens a tunnel, and asks for nothing";
        let path = format!("{}.method", finding.path);
        let problem = Problem::error(written.node.mark, path, message);
        let help = "write `GET`, or check by `type: tcp`";
        finding.reader.problems.push(problem.help(help));
    }
}

fn times(active: &ActiveHealth, finding: &mut Finding<'_, '_>) {
    if active.timeout > active.interval {
        let message =
            "longer than `interval`: an endpoint that hangs is checked less often than that";
        let key = match finding.written("timeout") {
            Some(_) => "timeout",
            None => "interval",
        };
        finding.warn(key, message, "raise `interval` or lower `timeout`");
    }
    if active.fast_interval > active.interval {
        let message = "longer than `interval`, which is then used instead";
        finding.warn("fast_interval", message, "lower it");
    }
}

/// Keys that checks of this type do not look at.
fn idle_keys(active: &ActiveHealth, upstream: &Upstream, finding: &mut Finding<'_, '_>) {
    const HTTP: &[&str] = &["path", "method", "status", "body", "header"];
    const REQUEST: &[&str] = &["host", "headers"];
    let (kind, idle): (_, &[&[&str]]) = match active.kind {
        CheckType::Http => ("http", &[&["service"]]),
        CheckType::Tcp => ("tcp", &[HTTP, REQUEST, &["service"]]),
        CheckType::Grpc => ("grpc", &[HTTP]),
    };
    for key in idle.iter().copied().flatten() {
        let message = format!("without effect on checks of type `{kind}`");
        finding.warn(key, &message, "remove it, or choose another `type`");
    }
    let is_http = active.kind == CheckType::Http;
    if is_http && active.method == "HEAD" && active.body.is_some() {
        let message = "an answer to HEAD has no body: no check would ever pass";
        finding.warn("body", message, "write `method: GET`");
    }
    let is_unix = |endpoint: &crate::config::schema::Endpoint| {
        matches!(endpoint.target(), Ok(Target::Unix(_)))
    };
    if active.port.is_some() && upstream.endpoints.iter().any(is_unix) {
        let message = "an endpoint at a Unix socket has no port; it is checked at its socket";
        finding.warn("port", message, "remove it, or put that endpoint elsewhere");
    }
}
