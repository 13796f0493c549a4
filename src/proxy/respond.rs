//! The only place where the proxy's own answers are made: errors, redirects, direct responses.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::error::ProxyError;
use crate::http::body::{Body, Pump};
use crate::http::fields::{Fields, Name, Names};
use crate::http::head::Length;
use crate::http::{Outgoing, Responder};
use crate::worker::Worker;

/// An answer that does not come from an endpoint.
pub struct Local {
    pub status: u16,
    pub content_type: std::borrow::Cow<'static, [u8]>,
    pub body: Bytes,
    /// For redirects.
    pub location: Option<Vec<u8>>,
    pub proxy_status: Option<String>,
    /// Told with errors, to be found in the log.
    pub request_id: Option<String>,
}

impl Local {
    /// The answer to an error: plain text, or JSON when the client prefers it.
    pub fn error(error: &ProxyError, request_id: &str, json: bool) -> Self {
        let (content_type, body) = if json {
            let body = serde_json::json!({
                "error": error.label(), "message": error.to_string(), "status": error.status(), "request_id": request_id,
            });
            ("application/json", format!("{body}\n"))
        } else {
            (
                "text/plain; charset=utf-8",
                format!("{} ({})\nrequest {request_id}\n", error, error.label()),
            )
        };
        Self {
            status: error.status(),
            content_type: content_type.as_bytes().into(),
            body: Bytes::from(body),
            location: None,
            proxy_status: Some(format!(
                "plimsoll; error={}; details=\"{}\"",
                error.proxy_status(),
                error.label()
            )),
            request_id: Some(request_id.to_owned()),
        }
    }
}

/// How much of a local answer was sent.
pub struct Sent {
    /// Bytes of body.
    pub bytes: u64,
    pub is_whole: bool,
}

/// Sends a local answer to its end, or for as long as a client may take that does not read it. `edit` has the last word
/// on its fields.
pub async fn send(
    worker: &Worker,
    responder: Responder,
    local: Local,
    head_only: bool,
    patience: Duration,
    edit: impl FnOnce(&mut Fields),
) -> Sent {
    let mut extra = worker.buffers.fields();
    extra.push_known(
        Name::Date,
        b"date",
        worker.date(worker.wheel.now()).as_bytes(),
    );
    if let Some(status) = &local.proxy_status {
        extra.push_known(Name::ProxyStatus, b"proxy-status", status.as_bytes());
    }
    if let Some(id) = &local.request_id {
        extra.push_known(Name::RequestId, b"x-request-id", id.as_bytes());
    }
    if let Some(location) = &local.location {
        extra.push_known(Name::Location, b"location", location);
    }
    if !local.body.is_empty() {
        extra.push_known(Name::ContentType, b"content-type", &local.content_type);
    }
    edit(&mut extra);
    let length = Length::Exact(local.body.len() as u64);
    let none = Fields::default();
    let head = Outgoing {
        fields: &none,
        skip: Names::NONE,
        omit: &[],
        extra: &extra,
        length,
    };
    let mut sink = responder.respond(local.status, b"", &head);
    let bodiless = head_only || matches!(local.status, 204 | 304);
    let mut body = if bodiless {
        Body::Empty
    } else {
        Body::Fixed(local.body)
    };
    let mut pump = Pump::default();
    // Most answers leave at once and need no timer.
    let mut timer = None;
    let is_whole = poll_fn(|cx| {
        if let Poll::Ready(sent) = pump.poll(cx, &mut body, &mut sink, &worker.buffers) {
            return Poll::Ready(sent.is_ok());
        }
        let timer = timer.get_or_insert_with(|| worker.wheel.after(patience));
        timer.poll(cx).map(|()| false)
    })
    .await;
    if !is_whole {
        sink.abort();
    }
    Sent {
        bytes: pump.bytes,
        is_whole,
    }
}
