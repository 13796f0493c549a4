//! From a path to an answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::auth::{self, Denied};
use super::command::{self, Command};
use super::live::Live;
use super::{decisions, events, scrape, signals, status};
use crate::observe::prometheus;

/// Each path that can be read, with what it answers. What can be ordered stands in [`Command::ALL`].
pub const PATHS: &[(&str, &str)] = &[
    ("/", "this list"),
    ("/live", "200 as long as the process runs"),
    (
        "/ready",
        "200 when traffic should be sent here, else 503 with the reasons",
    ),
    ("/metrics", "all counters and histograms for Prometheus"),
    (
        "/api/v1/status",
        "listeners, routes, upstreams and endpoints with their percentiles, as JSON",
    ),
    (
        "/api/v1/diff",
        "what a reload would change: the file beside what is in force, as JSON; 409 where it would be refused",
    ),
    (
        "/api/v1/signals",
        "what the policies know of every endpoint now, as JSON",
    ),
    (
        "/api/v1/decisions",
        "the latest picks with their grounds, as JSON; `?upstream=NAME&after=SEQUENCE&limit=COUNT&watch=1`",
    ),
    (
        "/api/v1/events",
        "what changed by itself of late, as JSON; `?upstream=NAME&after=SEQUENCE`",
    ),
];

type Answer = Response<Full<Bytes>>;

/// Answers one request. What takes long is done on a blocking thread, since the caller also watches the workers.
pub async fn answer<B>(live: Arc<Live>, request: &Request<B>) -> Answer {
    if let Err(denied) = judge(&live, request) {
        return not_let_in(&live, denied);
    }
    match (Command::at(request.uri().path()), request.method()) {
        (Some(command), &Method::POST) => return obeyed(&live, command).await,
        (None, &Method::GET | &Method::HEAD) => {}
        (command, method) => return not_allowed(method, command.is_some()),
    }
    match request.uri().path() {
        "/" => text_answer(PLAIN, listing()),
        "/live" => json_answer(StatusCode::OK, &json!({ "live": true })),
        "/ready" => ready(&live),
        "/metrics" => {
            let encoded = tokio::task::spawn_blocking(move || scrape::scrape(&live)).await;
            encoded.map_or_else(
                |_| broken(),
                |text| text_answer(prometheus::CONTENT_TYPE, text),
            )
        }
        "/api/v1/status" => read(move || status::read(&live)).await,
        "/api/v1/diff" => obeyed(&live, Command::Diff).await,
        "/api/v1/signals" => read(move || signals::read(&live)).await,
        "/api/v1/decisions" => match decisions::Query::of(request.uri().query().unwrap_or("")) {
            Err(error) => json_answer(StatusCode::BAD_REQUEST, &json!({ "error": error })),
            Ok(query) => read(move || decisions::read(&live, &query)).await,
        },
        "/api/v1/events" => match events::Query::of(request.uri().query().unwrap_or("")) {
            Err(error) => json_answer(StatusCode::BAD_REQUEST, &json!({ "error": error })),
            Ok(query) => read(move || events::read(&live, &query)).await,
        },
        path => {
            let known: Vec<&str> = paths().map(|(path, _)| path).collect();
            let error = format!("there is nothing at {path}");
            let body = json!({ "error": error, "paths": known });
            json_answer(StatusCode::NOT_FOUND, &body)
        }
    }
}

/// Whether it may be asked. Who only wants to know whether the process lives and is ready is told in any case.
fn judge<B>(live: &Live, request: &Request<B>) -> Result<(), Denied> {
    if matches!(request.uri().path(), "/live" | "/ready") {
        return Ok(());
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let tokens = live.tokens.load();
    let tokens = tokens.as_ref().map(|tokens| tokens.now());
    auth::judge(
        request.headers(),
        changes,
        tokens.as_deref().map(|tokens| &**tokens),
        live.admin.as_ref(),
    )
}

fn not_let_in(live: &Live, denied: Denied) -> Answer {
    live.denied[denied as usize].fetch_add(1, Ordering::Relaxed);
    let status = match denied {
        Denied::Token => StatusCode::UNAUTHORIZED,
        Denied::CrossSite | Denied::Host => StatusCode::FORBIDDEN,
    };
    let mut answer = json_answer(status, &json!({ "error": denied.text() }));
    if denied == Denied::Token {
        let challenge = HeaderValue::from_static("Bearer realm=\"plimsoll\"");
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    answer
}

/// Has a command carried out, and tells what came of it.
async fn obeyed(live: &Live, command: Command) -> Answer {
    let Some(told) = command::order(&live.orders, command).await else {
        let body = json!({ "error": "the process is about to end" });
        return json_answer(StatusCode::SERVICE_UNAVAILABLE, &body);
    };
    StatusCode::from_u16(told.status)
        .map_or_else(|_| broken(), |status| json_answer(status, &told.body))
}

fn not_allowed(method: &Method, is_command: bool) -> Answer {
    let message = format!("the method {method} is not known here");
    let mut answer = json_answer(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": message }));
    let allowed = if is_command { "POST" } else { "GET, HEAD" };
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// Answers with what `read` gives, as JSON.
async fn read<T: Serialize + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Answer {
    let read = move || text_of(&read());
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|_| broken())
}

fn text_of<T: Serialize>(answer: &T) -> Answer {
    match serde_json::to_string(answer) {
        Ok(text) => whole(StatusCode::OK, "application/json", format!("{text}\n")),
        Err(_) => broken(),
    }
}

fn ready(live: &Live) -> Answer {
    let reasons = live.reasons();
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    let mut body = json!({ "ready": reasons.is_empty(), "reasons": reasons });
    // What is in force serves; that it is not what the file says is no reason to send no traffic.
    if live.reloads().last.is_some_and(|last| !last.applied) {
        body["last_reload"] = json!("refused");
    }
    json_answer(status, &body)
}

/// The thread that was to encode it panicked.
fn broken() -> Answer {
    let body = json!({ "error": "the answer could not be made, which is a bug" });
    json_answer(StatusCode::INTERNAL_SERVER_ERROR, &body)
}

/// All paths with what is there.
fn paths() -> impl Iterator<Item = (&'static str, &'static str)> {
    let commands = Command::ALL.iter().map(|(_, path, what)| (*path, *what));
    PATHS.iter().copied().chain(commands)
}

fn listing() -> String {
    let mut text = format!("plimsoll {}\n\n", env!("CARGO_PKG_VERSION"));
    for (path, what) in paths() {
        text.push_str(&format!("{path:<18} {what}\n"));
    }
    text
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn text_answer(content_type: &'static str, text: String) -> Answer {
    whole(StatusCode::OK, content_type, text)
}

fn json_answer(status: StatusCode, body: &Json) -> Answer {
    whole(status, "application/json", format!("{body}\n"))
}

fn whole(status: StatusCode, content_type: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    let fields = answer.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // A readiness that was kept by a cache would be a lie.
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
