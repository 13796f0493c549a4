//! What is answered to one request: the wait, the drawn failure, and then what its path asks for.

use std::io;
use std::pin::Pin;
use std::str::{FromStr, Split};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::service::Service;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy, split};
use tokio::sync::Notify;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::payload::{Content, LONGEST_PIECE, Payload, Step, pattern_piece};
use super::raw::{Act, Raw};
use super::socket::Tap;
use super::{InFlight, Prepared, State, received, websocket};
use crate::lab::distribution::StatusShare;

const X_BACKEND: HeaderName = HeaderName::from_static("x-backend");

/// The answers of one connection.
#[derive(Clone)]
pub(super) struct Answers {
    state: Arc<State>,
    /// `None` over HTTP/2, where nothing is answered by hand.
    tap: Option<Tap>,
    handover: Arc<Mutex<Option<Raw>>>,
    closing: Arc<Notify>,
}

impl Answers {
    pub(super) fn new(state: &Arc<State>, tap: Option<Tap>) -> Self {
        Self {
            state: Arc::clone(state),
            tap,
            handover: Arc::default(),
            closing: Arc::default(),
        }
    }

    /// Where a request is left that is to be answered by hand.
    pub(super) fn handover(&self) -> Arc<Mutex<Option<Raw>>> {
        Arc::clone(&self.handover)
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
        if prepared.prompt && request.uri().path() == "/" && request.body().is_end_stream() {
            let body = Content::Fixed(prepared.body.clone());
            return Answering::Now(Some(reply(&prepared, in_flight, StatusCode::OK, body)));
        }
        let exchange = Exchange {
            answers: self.clone(),
            prepared: Arc::clone(&prepared),
            in_flight,
        };
        Answering::Later(Box::pin(exchange.answer(request)))
    }
}

fn reply(
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

struct Exchange {
    answers: Answers,
    prepared: Arc<Prepared>,
    in_flight: InFlight,
}

impl Exchange {
    async fn answer(mut self, request: Request<Incoming>) -> io::Result<Response<Payload>> {
        if let Some(slots) = self.prepared.slots.clone() {
            self.in_flight.slot = slots.acquire_owned().await.ok();
        }
        let (latency, failure) = {
            let behaviour = &self.prepared.behaviour;
            let mut random = self
                .prepared
                .random
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            (
                behaviour.latency.sample(&mut random),
                StatusShare::pick(&behaviour.statuses, &mut random),
            )
        };
        pause(latency).await;
        if let Some(status) = failure {
            drain(request.into_body()).await?;
            return Ok(self.status(status));
        }

        if request.method() == Method::CONNECT {
            return self.tunnel(request).await;
        }
        let path = request.uri().path().to_owned();
        let mut segments = path.trim_start_matches('/').split('/');
        let name = segments.next().unwrap_or_default();
        match self.by_path(name, Arguments(segments), request).await {
            Ok(response) => Ok(response),
            Err(Unanswered::Broken(error)) => Err(error),
            Err(Unanswered::Malformed(exchange)) => Ok(exchange.status(StatusCode::BAD_REQUEST)),
        }
    }

    async fn by_path(
        self,
        name: &str,
        mut arguments: Arguments<'_>,
        request: Request<Incoming>,
    ) -> Result<Response<Payload>, Unanswered> {
        macro_rules! argument {
            ($default:expr) => {
                match arguments.next_or($default) {
                    Some(value) => value,
                    None => return Err(Unanswered::Malformed(Box::new(self))),
                }
            };
        }
        // These look at the request's body, or leave it unread on purpose.
        match name {
            "echo" => return Ok(self.echo(request)),
            "checksum" => return Ok(self.checksum(request).await?),
            "headers" => return Ok(self.headers(request).await?),
            "expect" => match arguments.next_or(StatusCode::CONTINUE) {
                Some(StatusCode::CONTINUE) => return Ok(self.checksum(request).await?),
                Some(status) => return Ok(self.status(status)),
                None => return Err(Unanswered::Malformed(Box::new(self))),
            },
            "ws" => return Ok(self.websocket(request).await?),
            "upgrade" => return Ok(self.tunnel(request).await?),
            "reset" => {
                let after = match arguments.peek_is_some() {
                    true => Some(argument!(0)),
                    false => None,
                };
                return Ok(self.reset(&request, after).await?);
            }
            "gone" => {
                let refused = io::Error::other(h2::Error::from(h2::Reason::REFUSED_STREAM));
                return Ok(self
                    .by_hand(&request, Act::Gone)
                    .await
                    .map_or(Err(refused), Ok)?);
            }
            _ => {}
        }
        let (head, body) = request.into_parts();
        drain(body).await?;
        let request = Request::from_parts(head, ());
        Ok(match name {
            "bytes" => {
                let left = argument!(0);
                self.reply(StatusCode::OK, Content::Pattern { offset: 0, left })
            }
            "chunked" => {
                let (length, size, gap) = (argument!(0), argument!(1000), argument!(0));
                self.reply(StatusCode::OK, Content::steps(chunks(length, size, gap)))
            }
            "status" => {
                let status = argument!(StatusCode::OK);
                self.status(status)
            }
            "delay" => {
                pause(Duration::from_millis(argument!(0))).await;
                self.label()
            }
            "hang" => std::future::pending().await,
            "close" => {
                self.answers.closing.notify_one();
                self.label()
            }
            "sse" => {
                let (count, gap) = (argument!(3), argument!(0));
                self.events(count, gap)
            }
            "trailers" => self.trailers(&request).await?,
            "early" => {
                let pause = Duration::from_millis(argument!(0));
                let body = self.prepared.body.clone();
                self.by_hand(&request, Act::Early { pause, body })
                    .await
                    .unwrap_or_else(Self::label)
            }
            "drop" => {
                let after = argument!(500u64).min(LONGEST_PIECE);
                let chunked = arguments.0.next() == Some("chunked");
                self.break_off(&request, after, chunked).await?
            }
            _ => self.label(),
        })
    }

    fn reply(self, status: StatusCode, content: Content) -> Response<Payload> {
        reply(&self.prepared, self.in_flight, status, content)
    }

    fn label(self) -> Response<Payload> {
        let body = Content::Fixed(self.prepared.body.clone());
        self.reply(StatusCode::OK, body)
    }

    fn status(self, status: StatusCode) -> Response<Payload> {
        let empty = matches!(status.as_u16(), 204 | 205 | 304);
        let body = if empty {
            Bytes::new()
        } else {
            Bytes::from(format!("{status}\n"))
        };
        self.reply(status, Content::Fixed(body))
    }

    fn json(self, value: &serde_json::Value) -> Response<Payload> {
        let body = Content::Fixed(Bytes::from(value.to_string()));
        let mut response = self.reply(StatusCode::OK, body);
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }

    fn echo(self, request: Request<Incoming>) -> Response<Payload> {
        let (head, body) = request.into_parts();
        let mut response = self.reply(StatusCode::OK, Content::Echo(body));
        for name in [header::CONTENT_TYPE, header::TRAILER] {
            if let Some(value) = head.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }

    async fn headers(self, request: Request<Incoming>) -> io::Result<Response<Payload>> {
        let (head, body) = request.into_parts();
        let tapped = self.answers.tap.as_ref().map(Tap::bytes);
        drain(body).await?;
        Ok(self.json(&received::describe(&head, tapped.as_deref())))
    }

    async fn checksum(self, request: Request<Incoming>) -> io::Result<Response<Payload>> {
        let (head, mut body) = request.into_parts();
        let (mut hash, mut length, mut trailers) = (Xxh3::new(), 0, Vec::new());
        while let Some(frame) = body.frame().await {
            match frame.map_err(io::Error::other)?.into_data() {
                Ok(data) => {
                    hash.update(&data);
                    length += data.len() as u64;
                }
                Err(frame) => trailers = received::listed(frame.trailers_ref()),
            }
        }
        let expect = head
            .headers
            .get(header::EXPECT)
            .map(|value| received::text(value.as_bytes()));
        Ok(self.json(&serde_json::json!({
            "length": length,
            "xxh3": format!("{:016x}", hash.digest()),
            "trailers": trailers,
            "expect": expect,
        })))
    }

    fn events(self, count: u64, gap: u64) -> Response<Payload> {
        let steps = (0..count).flat_map(move |number| {
            let event = format!("id: {number}\ndata: event {number}\n\n");
            [before(number, gap), Step::Data(Bytes::from(event))]
        });
        let mut response = self.reply(StatusCode::OK, Content::steps(steps));
        let events = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, events);
        response
    }

    async fn trailers(self, request: &Request<()>) -> io::Result<Response<Payload>> {
        let body = pattern_piece(0, 1000);
        let checksum = format!("{:016x}", xxh3_64(&body));
        let trailers = vec![
            ("X-Length", "1000".to_owned()),
            ("X-Checksum", checksum.clone()),
        ];
        let act = Act::Trailers {
            body: body.clone(),
            trailers,
        };
        let this = match self.by_hand(request, act).await {
            Ok(response) => return Ok(response),
            Err(this) => this,
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("x-length", HeaderValue::from_static("1000"));
        trailers.insert(
            "x-checksum",
            HeaderValue::try_from(checksum).map_err(io::Error::other)?,
        );
        let steps = [Step::Data(body), Step::Trailers(trailers)];
        Ok(this.reply(StatusCode::OK, Content::steps(steps)))
    }

    async fn break_off(
        self,
        request: &Request<()>,
        after: u64,
        chunked: bool,
    ) -> io::Result<Response<Payload>> {
        let this = match self.by_hand(request, Act::Drop { after, chunked }).await {
            Ok(response) => return Ok(response),
            Err(this) => this,
        };
        let steps = [
            Step::Data(pattern_piece(0, after)),
            Step::Fail(h2::Reason::INTERNAL_ERROR),
        ];
        Ok(this.reply(StatusCode::OK, Content::steps(steps)))
    }

    async fn reset<B>(
        self,
        request: &Request<B>,
        after: Option<u64>,
    ) -> io::Result<Response<Payload>> {
        let this = match self.by_hand(request, Act::Reset { after }).await {
            Ok(response) => return Ok(response),
            Err(this) => this,
        };
        match after {
            None => Err(io::Error::other(h2::Error::from(
                h2::Reason::INTERNAL_ERROR,
            ))),
            Some(after) => this.break_off(&Request::new(()), after, false).await,
        }
    }

    async fn websocket(self, request: Request<Incoming>) -> io::Result<Response<Payload>> {
        if request.version() == Version::HTTP_2 {
            return Ok(self.label());
        }
        let wanted = request.headers().get(header::UPGRADE);
        let wanted =
            wanted.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
        let Some(key) = key.and_then(|key| key.to_str().ok()).filter(|_| wanted) else {
            return Ok(self.status(StatusCode::UPGRADE_REQUIRED));
        };
        let act = Act::WebSocket {
            accept: websocket::accept_value(key),
        };
        Ok(self
            .by_hand(&request, act)
            .await
            .unwrap_or_else(Self::label))
    }

    /// CONNECT of either protocol, and upgrades of HTTP/1.1.
    async fn tunnel(self, mut request: Request<Incoming>) -> io::Result<Response<Payload>> {
        if request.version() != Version::HTTP_2 {
            let protocol = request.headers().get(header::UPGRADE).cloned();
            if protocol.is_none() && request.method() != Method::CONNECT {
                return Ok(self.status(StatusCode::UPGRADE_REQUIRED));
            }
            let act = Act::Tunnel { protocol };
            return Ok(self
                .by_hand(&request, act)
                .await
                .unwrap_or_else(Self::label));
        }
        if request.method() != Method::CONNECT {
            return Ok(self.status(StatusCode::UPGRADE_REQUIRED));
        }
        let protocol = request.extensions().get::<hyper::ext::Protocol>();
        let is_websocket = protocol.is_some_and(|protocol| protocol.as_str() == "websocket");
        let upgrading = hyper::upgrade::on(&mut request);
        let exchange = InFlight::begin_again(&self.in_flight);
        tokio::spawn(async move {
            let _exchange = exchange;
            let Ok(upgraded) = upgrading.await else {
                return;
            };
            let stream = TokioIo::new(upgraded);
            // The other side ends a tunnel as it likes.
            let _ = if is_websocket {
                websocket::echo(stream).await
            } else {
                echo_bytes(stream).await
            };
        });
        Ok(self.reply(StatusCode::OK, Content::Fixed(Bytes::new())))
    }

    /// Leaves the request to be answered on the bare connection, and so never returns, unless this is HTTP/2.
    async fn by_hand<B>(self, request: &Request<B>, act: Act) -> Result<Response<Payload>, Self> {
        if self.answers.tap.is_none() {
            return Err(self);
        }
        let connection = request.headers().get(header::CONNECTION);
        let close = connection.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let raw = Raw {
            act,
            label: self.prepared.label.clone(),
            keep_alive: !close && request.version() == Version::HTTP_11,
            in_flight: self.in_flight,
        };
        *self
            .answers
            .handover
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(raw);
        std::future::pending().await
    }
}

enum Unanswered {
    Broken(io::Error),
    /// An argument of the path is none.
    Malformed(Box<Exchange>),
}

impl From<io::Error> for Unanswered {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// The segments of a path behind its name.
struct Arguments<'a>(Split<'a, char>);

impl Arguments<'_> {
    /// `default` when there is no further segment, `None` when it does not read as what is asked for.
    fn next_or<T: FromStr>(&mut self, default: T) -> Option<T> {
        match self.0.next() {
            None | Some("") => Some(default),
            Some(segment) => segment.parse().ok(),
        }
    }

    fn peek_is_some(&self) -> bool {
        self.0
            .clone()
            .next()
            .is_some_and(|segment| !segment.is_empty())
    }
}

fn chunks(length: u64, size: u64, gap: u64) -> impl Iterator<Item = Step> + Send + 'static {
    let size = size.clamp(1, LONGEST_PIECE);
    (0..length.div_ceil(size)).flat_map(move |number| {
        let offset = number * size;
        let left = size.min(length - offset);
        [before(number, gap), Step::Data(pattern_piece(offset, left))]
    })
}

/// The pause before piece `number`.
fn before(number: u64, gap: u64) -> Step {
    Step::Pause(Duration::from_millis(if number == 0 { 0 } else { gap }))
}

async fn pause(span: Duration) {
    if !span.is_zero() {
        tokio::time::sleep(span).await;
    }
}

/// Reads a body to its end, so that the connection can carry another request.
async fn drain(mut body: Incoming) -> io::Result<()> {
    while let Some(frame) = body.frame().await {
        frame.map_err(io::Error::other)?;
    }
    Ok(())
}

async fn echo_bytes(stream: TokioIo<hyper::upgrade::Upgraded>) -> io::Result<()> {
    let (mut read, mut write) = split(stream);
    copy(&mut read, &mut write).await?;
    write.shutdown().await
}
