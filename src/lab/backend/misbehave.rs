//! An answer as a [`Fault`] spoils it.

use std::io;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode, Version};

use super::answer::{Exchange, drain, pause, reset_with};
use super::ask::Ask;
use super::fault::{Fault, PIECES, identified};
use super::payload::{Content, LONGEST_PIECE, Payload, Step};
use super::raw::Act;
use super::service::X_REQUEST_ID;

/// Fields of a huge head, and the bytes of each: a mebibyte together, in pieces that no limit on one field catches.
const FIELDS: usize = 256;
const FIELD_BYTES: usize = 4096;

impl Exchange {
    /// What comes instead of the answer, or what becomes of it.
    pub(super) async fn misbehave(
        self,
        fault: Fault,
        request: Request<Incoming>,
    ) -> io::Result<Response<Payload>> {
        let closes = match fault {
            Fault::Gone => true,
            Fault::CloseOnReuse => !self.is_first,
            _ => false,
        };
        if closes && request.version() == Version::HTTP_2 {
            return Err(reset_with(h2::Reason::REFUSED_STREAM));
        }
        self.answers.count(&request);
        match fault {
            Fault::Refuse | Fault::Hang => std::future::pending().await,
            Fault::Gone => self.gone(&request).await,
            Fault::CloseOnReuse if closes => self.gone(&request).await,
            Fault::CloseOnReuse => self.behave(request).await,
            Fault::Reset => self.reset(&request, None).await,
            Fault::Slow(span) => {
                pause(span).await;
                self.behave(request).await
            }
            Fault::EarlyAnswer => {
                let body = self.usual_body(&request);
                Ok(self.reply(StatusCode::OK, Content::Fixed(body)))
            }
            Fault::Status(status) => {
                drain(request.into_body()).await?;
                Ok(self.status(status))
            }
            Fault::ResetAfterHead
            | Fault::ResetMidBody
            | Fault::Truncate
            | Fault::Trickle(_)
            | Fault::Garbage
            | Fault::HugeHead => {
                let body = self.usual_body(&request);
                let (head, unread) = request.into_parts();
                drain(unread).await?;
                self.spoil(fault, &Request::from_parts(head, ()), body)
                    .await
            }
        }
    }

    async fn gone<B>(self, request: &Request<B>) -> io::Result<Response<Payload>> {
        let answer = self.by_hand(request, Act::Gone).await;
        answer.map_err(|_| reset_with(h2::Reason::REFUSED_STREAM))
    }

    async fn spoil(
        self,
        fault: Fault,
        request: &Request<()>,
        body: Bytes,
    ) -> io::Result<Response<Payload>> {
        let half = body.slice(..body.len() / 2);
        let sent = match fault {
            Fault::ResetAfterHead => Bytes::new(),
            _ => half,
        };
        let act = match fault {
            Fault::Trickle(gap) => {
                let size = body.len().div_ceil(PIECES).max(1);
                let pieces: Vec<Bytes> = (0..body.len())
                    .step_by(size)
                    .map(|at| body.slice(at..body.len().min(at + size)))
                    .collect();
                let steps = pieces
                    .into_iter()
                    .flat_map(move |piece| [Step::Pause(gap), Step::Data(piece)]);
                return Ok(self.reply(StatusCode::OK, Content::steps(steps)));
            }
            Fault::Garbage => Act::Garbage,
            Fault::HugeHead => {
                let mut response = self.reply(StatusCode::OK, Content::Fixed(body));
                let value = HeaderValue::try_from("x".repeat(FIELD_BYTES));
                let value = value.map_err(io::Error::other)?;
                for number in 0..FIELDS {
                    let name = HeaderName::try_from(format!("x-huge-{number}"));
                    let fields = response.headers_mut();
                    fields.insert(name.map_err(io::Error::other)?, value.clone());
                }
                return Ok(response);
            }
            _ => Act::Broken {
                announced: body.len().max(1),
                sent: sent.clone(),
                reset: fault != Fault::Truncate,
            },
        };
        match self.by_hand(request, act).await {
            Ok(response) => Ok(response),
            Err(_) if fault == Fault::Garbage => Err(reset_with(h2::Reason::PROTOCOL_ERROR)),
            Err(this) => {
                let steps = [Step::Data(sent), Step::Fail(h2::Reason::INTERNAL_ERROR)];
                let steps = steps
                    .into_iter()
                    .skip(usize::from(fault == Fault::ResetAfterHead));
                Ok(this.reply(StatusCode::OK, Content::steps(steps)))
            }
        }
    }

    /// The body of the answer that a well-behaved backend would give.
    fn usual_body<B>(&self, request: &Request<B>) -> Bytes {
        match Ask::parse(request.uri().path()) {
            Some(Ask::Identified(length)) => identified(id(request), bounded(length)),
            _ => self.prepared.body.clone(),
        }
    }

    /// `/identified`
    pub(super) async fn identified(
        self,
        request: Request<Incoming>,
    ) -> io::Result<Response<Payload>> {
        let answer = self.usual_body(&request);
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let request = Request::from_parts(head, ());
        if body != identified(id(&request), body.len()) {
            return Ok(self.status(StatusCode::BAD_REQUEST));
        }
        Ok(self.reply(StatusCode::OK, Content::Fixed(answer)))
    }
}

fn bounded(length: usize) -> usize {
    length.min(LONGEST_PIECE as usize)
}

fn id<B>(request: &Request<B>) -> &str {
    let id = request.headers().get(X_REQUEST_ID);
    id.and_then(|id| id.to_str().ok()).unwrap_or_default()
}
