//! What is answered to one request: the wait, the drawn failure, and then what its path asks for.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy, split};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::ask::Ask;
use super::payload::{Content, LONGEST_PIECE, Payload, Step, pattern_piece};
use super::raw::{Act, Raw};
use super::service::{Answers, reply};
use super::socket::Tap;
use super::{InFlight, Prepared, received, websocket};
use crate::lab::distribution::StatusShare;

/// Resets a stream for this reason. hyper looks for it among the causes of the error, and an `io::Error` passes over what
/// it wraps itself.
pub(super) fn reset_with(reason: h2::Reason) -> io::Error {
    #[derive(Debug, thiserror::Error)]
    #[error("the stream is reset")]
    struct Reset(#[source] h2::Error);
    io::Error::other(Reset(reason.into()))
}

/// One request on its way to an answer.
pub(super) struct Exchange {
    pub(super) answers: Answers,
    pub(super) prepared: Arc<Prepared>,
    pub(super) in_flight: InFlight,
    /// Whether its connection has brought no other before.
    pub(super) is_first: bool,
}

impl Exchange {
    pub(super) async fn answer(self, request: Request<Incoming>) -> io::Result<Response<Payload>> {
        if let Some(fault) = self.prepared.behaviour.fault {
            return self.misbehave(fault, request).await;
        }
        self.answers.count(&request);
        self.behave(request).await
    }

    /// The wait, the drawn failure, and what the path asks for.
    pub(super) async fn behave(
        mut self,
        request: Request<Incoming>,
    ) -> io::Result<Response<Payload>> {
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
        if let Some(service) = self.prepared.behaviour.service {
            pause(self.in_flight.state.turn(service)).await;
        }
        if let Some(status) = failure {
            drain(request.into_body()).await?;
            return Ok(self.status(status));
        }

        if request.method() == Method::CONNECT {
            return self.tunnel(request).await;
        }
        match Ask::parse(request.uri().path()) {
            Some(ask) => self.carry_out(ask, request).await,
            None => Ok(self.status(StatusCode::BAD_REQUEST)),
        }
    }

    async fn carry_out(
        self,
        ask: Ask,
        request: Request<Incoming>,
    ) -> io::Result<Response<Payload>> {
        // These read the request's body themselves, or leave it unread on purpose.
        match ask {
            Ask::Echo => return Ok(self.echo(request)),
            Ask::Checksum | Ask::Expect(None) => return self.checksum(request).await,
            Ask::Expect(Some(status)) => return Ok(self.status(status)),
            Ask::Headers => return self.headers(request).await,
            Ask::WebSocket => return self.websocket(request).await,
            Ask::Upgrade => return self.tunnel(request).await,
            Ask::Reset(after) => return self.reset(&request, after).await,
            Ask::Identified(_) => return self.identified(request).await,
            Ask::Gone => {
                let answer = self.by_hand(&request, Act::Gone).await;
                return answer.map_err(|_| reset_with(h2::Reason::REFUSED_STREAM));
            }
            _ => {}
        }
        let (head, body) = request.into_parts();
        drain(body).await?;
        let request = Request::from_parts(head, ());
        match ask {
            Ask::Bytes(left) => {
                Ok(self.reply(StatusCode::OK, Content::Pattern { offset: 0, left }))
            }
            Ask::Chunked { length, size, gap } => {
                Ok(self.reply(StatusCode::OK, Content::steps(chunks(length, size, gap))))
            }
            Ask::Trailers => self.trailers(&request).await,
            Ask::Status(status) => Ok(self.status(status)),
            Ask::Health => match self.prepared.behaviour.health {
                StatusCode::OK => Ok(self.label()),
                status => Ok(self.status(status)),
            },
            Ask::Events { count, gap } => Ok(self.events(count, gap)),
            Ask::Early(pause) => {
                let body = self.prepared.body.clone();
                let answer = self.by_hand(&request, Act::Early { pause, body }).await;
                Ok(answer.unwrap_or_else(Self::label))
            }
            Ask::Drop { after, chunked } => {
                let after = after.min(LONGEST_PIECE);
                self.break_off(&request, after, chunked).await
            }
            Ask::Hang => std::future::pending().await,
            Ask::Close => {
                self.answers.close_soon();
                Ok(self.label())
            }
            Ask::Delay(span) => {
                pause(span).await;
                Ok(self.label())
            }
            _ => Ok(self.label()),
        }
    }

    pub(super) fn reply(self, status: StatusCode, content: Content) -> Response<Payload> {
        reply(&self.prepared, self.in_flight, status, content)
    }

    fn label(self) -> Response<Payload> {
        let body = Content::Fixed(self.prepared.body.clone());
        self.reply(StatusCode::OK, body)
    }

    pub(super) fn status(self, status: StatusCode) -> Response<Payload> {
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
        let tapped = self.answers.tap().map(Tap::bytes);
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

    fn events(self, count: u64, gap: Duration) -> Response<Payload> {
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

    pub(super) async fn reset<B>(
        self,
        request: &Request<B>,
        after: Option<u64>,
    ) -> io::Result<Response<Payload>> {
        let this = match self.by_hand(request, Act::Reset { after }).await {
            Ok(response) => return Ok(response),
            Err(this) => this,
        };
        match after {
            None => Err(reset_with(h2::Reason::INTERNAL_ERROR)),
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

    /// Leaves the request to be answered on the bare connection, and so never returns; unless that cannot be, and then
    /// gives itself back.
    pub(super) async fn by_hand<B>(
        self,
        request: &Request<B>,
        act: Act,
    ) -> Result<Response<Payload>, Self> {
        // Without a tap this is HTTP/2. A HEAD has no body to play with, and HTTP/1.0 knows no chunks.
        let plain = matches!(
            act,
            Act::Early { .. } | Act::Trailers { .. } | Act::Drop { .. }
        ) && (request.method() == Method::HEAD
            || request.version() == Version::HTTP_10);
        if plain || self.answers.tap().is_none() {
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
        self.answers.hand_over(raw);
        std::future::pending().await
    }
}

fn chunks(length: u64, size: u64, gap: Duration) -> impl Iterator<Item = Step> + Send + 'static {
    let size = size.clamp(1, LONGEST_PIECE);
    (0..length.div_ceil(size)).flat_map(move |number| {
        let offset = number * size;
        let left = size.min(length - offset);
        [before(number, gap), Step::Data(pattern_piece(offset, left))]
    })
}

/// The pause before piece `number`.
fn before(number: u64, gap: Duration) -> Step {
    Step::Pause(if number == 0 { Duration::ZERO } else { gap })
}

pub(super) async fn pause(span: Duration) {
    if !span.is_zero() {
        tokio::time::sleep(span).await;
    }
}

/// Reads a body to its end, so that the connection can carry another request.
pub(super) async fn drain(mut body: Incoming) -> io::Result<()> {
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
