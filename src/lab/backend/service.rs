//! Requests in, answers out: the label on the spot, everything else as an exchange of its own.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http_body::Body;
use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::service::Service;
use hyper::{Request, Response, StatusCode};
use tokio::sync::Notify;

use super::answer::Exchange;
use super::payload::{Content, Payload};
use super::raw::Raw;
use super::socket::Tap;
use super::{InFlight, Prepared, State};

const X_BACKEND: HeaderName = HeaderName::from_static("x-backend");
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The answers of one connection.
#[derive(Clone)]
pub(super) struct Answers {
    state: Arc<State>,
    /// `None` over HTTP/2, where nothing is answered by hand.
    tap: Option<Tap>,
    handover: Arc<Mutex<Option<Raw>>>,
    closing: Arc<Notify>,
    /// Requests that its connection has brought so far.
    served: Arc<AtomicU64>,
}

impl Answers {
    pub(super) fn new(state: &Arc<State>, tap: Option<Tap>, served: &Arc<AtomicU64>) -> Self {
        Self {
            state: Arc::clone(state),
            tap,
            handover: Arc::default(),
            closing: Arc::default(),
            served: Arc::clone(served),
        }
    }

    pub(super) fn tap(&self) -> Option<&Tap> {
        self.tap.as_ref()
    }

    /// Where a request is left that is to be answered by hand.
    pub(super) fn handover(&self) -> Arc<Mutex<Option<Raw>>> {
        Arc::clone(&self.handover)
    }

    pub(super) fn hand_over(&self, raw: Raw) {
        *self.handover.lock().unwrap_or_else(PoisonError::into_inner) = Some(raw);
    }

    /// Keeps count of a request that is carried out.
    pub(super) fn count(&self, request: &Request<Incoming>) {
        let id = request.headers().get(X_REQUEST_ID);
        let id = id.and_then(|id| id.to_str().ok());
        if let (Some(executions), Some(id)) = (&self.state.executions, id) {
            executions.record(id);
        }
    }

    pub(super) fn close_soon(&self) {
        self.closing.notify_one();
    }

    /// Notified when the connection is to end after the answers that are under way.
    pub(super) fn closing(&self) -> Arc<Notify> {
        Arc::clone(&self.closing)
    }
}

/// The label's answer takes neither a box nor a task.
pub(super) enum Answering {
    Now(Option<Response<Payload>>),
    Later(Pin<Box<dyn Future<Output = io::Result<Response<Payload>>> + Send>>),
}

impl Future for Answering {
    type Output = io::Result<Response<Payload>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Now(response) => response
                .take()
                .map_or(Poll::Pending, |response| Poll::Ready(Ok(response))),
            Self::Later(answer) => answer.as_mut().poll(cx),
        }
    }
}

impl Service<Request<Incoming>> for Answers {
    type Response = Response<Payload>;
    type Error = io::Error;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let in_flight = InFlight::begin(&self.state);
        let prepared = self.state.prepared.load();
        let is_first = self.served.fetch_add(1, Ordering::Relaxed) == 0;
        let is_counted = self.state.executions.is_some();
        if prepared.prompt
            && !is_counted
            && request.uri().path() == "/"
            && request.body().is_end_stream()
        {
            let body = Content::Fixed(prepared.body.clone());
            return Answering::Now(Some(reply(&prepared, in_flight, StatusCode::OK, body)));
        }
        let exchange = Exchange {
            answers: self.clone(),
            prepared: Arc::clone(&prepared),
            in_flight,
            is_first,
        };
        Answering::Later(Box::pin(exchange.answer(request)))
    }
}

pub(super) fn reply(
    prepared: &Prepared,
    in_flight: InFlight,
    status: StatusCode,
    content: Content,
) -> Response<Payload> {
    let payload = Payload {
        content,
        _in_flight: in_flight,
    };
    let mut response = Response::new(payload);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(X_BACKEND, prepared.label.clone());
    response
}
