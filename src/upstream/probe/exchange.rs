//! One request of a check and its answer, over HTTP/1.1 or HTTP/2.
//!
//! A library's client and not the proxy's own: a check needs no pool, no wheel and no worker. All that belongs to the
//! connection ends when the reply is dropped, whatever the endpoint does.

use std::time::Duration;

use ::http::uri::{Authority, PathAndQuery, Scheme};
use ::http::{HeaderMap, HeaderValue, Method, Request, Uri, header, response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use super::failure::{CheckFailure, Unsendable};
use crate::stream::Stream;

/// Bytes of a response head.
const HEAD_BYTES: usize = 64 * 1024;
/// Bytes and time for which a body is read on that decides nothing any more, so that the endpoint can end in peace.
pub(super) const REST_BYTES: usize = 64 * 1024;
const REST: Duration = Duration::from_millis(100);

/// What a check asks for.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) is_tls: bool,
    pub(super) fields: HeaderMap,
    pub(super) body: Bytes,
}

/// Ends the task that carries a connection, and with it the connection.
#[derive(Debug)]
struct Carrier(AbortHandle);

impl Carrier {
    fn spawn(carrying: impl Future + Send + 'static) -> Self {
        // How the connection ends shows at the exchange.
        Self(
            tokio::spawn(async {
                let _ = carrying.await;
            })
            .abort_handle(),
        )
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The rest of an answer after its head.
#[derive(Debug)]
pub(super) struct Reply {
    body: ReplyBody,
    _carrier: Carrier,
}

#[derive(Debug)]
enum ReplyBody {
    H1(Incoming),
    H2(::h2::RecvStream),
}

/// Sends the question on a new connection and waits for the head of the answer.
pub(super) async fn ask(
    question: &Question,
    authority: &str,
    stream: Stream,
    is_h2: bool,
) -> Result<(response::Parts, Reply), CheckFailure> {
    if is_h2 {
        ask_h2(question, authority, stream).await
    } else {
        ask_h1(question, authority, stream).await
    }
}

async fn ask_h1(
    question: &Question,
    authority: &str,
    stream: Stream,
) -> Result<(response::Parts, Reply), CheckFailure> {
    let broken = |error: hyper::Error| CheckFailure::broken(&error);
    let host = HeaderValue::try_from(authority);
    let host = host.map_err(|_| Unsendable { what: "the host" })?;
    let mut request = Request::new(Full::new(question.body.clone()));
    *request.method_mut() = question.method.clone();
    *request.uri_mut() = Uri::from(question.path.clone());
    *request.headers_mut() = question.fields.clone();
    request.headers_mut().insert(header::HOST, host);
    let close = HeaderValue::from_static("close");
    request.headers_mut().insert(header::CONNECTION, close);
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let carrier = Carrier::spawn(connection);
    let response = sender.send_request(request).await.map_err(broken)?;
    let (head, body) = response.into_parts();
    let reply = Reply {
        body: ReplyBody::H1(body),
        _carrier: carrier,
    };
    Ok((head, reply))
}

async fn ask_h2(
    question: &Question,
    authority: &str,
    stream: Stream,
) -> Result<(response::Parts, Reply), CheckFailure> {
    let broken = |error: ::h2::Error| CheckFailure::broken(&error);
    let authority: Result<Authority, _> = authority.parse();
    let scheme = if question.is_tls {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    };
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(authority.map_err(|_| Unsendable { what: "the host" })?)
        .path_and_query(question.path.clone())
        .build();
    let mut request = Request::new(());
    *request.method_mut() = question.method.clone();
    *request.uri_mut() = uri.map_err(|_| Unsendable { what: "the path" })?;
    *request.headers_mut() = question.fields.clone();
    let (sender, connection) = ::h2::client::Builder::new()
        .max_header_list_size(HEAD_BYTES as u32)
        .enable_push(false)
        .handshake(stream)
        .await
        .map_err(broken)?;
    let carrier = Carrier::spawn(connection);
    let mut sender = sender.ready().await.map_err(broken)?;
    let ends = question.body.is_empty();
    let (response, mut upload) = sender.send_request(request, ends).map_err(broken)?;
    if !ends {
        // A few bytes, which every first window has room for.
        upload
            .send_data(question.body.clone(), true)
            .map_err(broken)?;
    }
    let (head, body) = response.await.map_err(broken)?.into_parts();
    let reply = Reply {
        body: ReplyBody::H2(body),
        _carrier: carrier,
    };
    Ok((head, reply))
}

impl Reply {
    /// The next bytes of the body; `None` at its end. What else comes between them is passed over.
    pub(super) async fn data(&mut self) -> Result<Option<Bytes>, CheckFailure> {
        match &mut self.body {
            ReplyBody::H1(body) => {
                while let Some(frame) = body.frame().await {
                    let frame = frame.map_err(|error| CheckFailure::broken(&error))?;
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Ok(None)
            }
            ReplyBody::H2(body) => {
                let broken = |error: ::h2::Error| CheckFailure::broken(&error);
                let data = body.data().await.transpose().map_err(broken)?;
                if let Some(data) = &data {
                    // Fails only where the stream has ended, which the next read tells.
                    let _ = body.flow_control().release_capacity(data.len());
                }
                Ok(data)
            }
        }
    }

    /// The trailers, once the body has ended; `None` also over HTTP/1.1, where no check asks for them.
    pub(super) async fn trailers(&mut self) -> Result<Option<HeaderMap>, CheckFailure> {
        match &mut self.body {
            ReplyBody::H1(_) => Ok(None),
            ReplyBody::H2(body) => {
                let trailers = body.trailers().await;
                trailers.map_err(|error| CheckFailure::broken(&error))
            }
        }
    }

    /// Reads what is left, within bounds: many servers log a client that leaves before.
    pub(super) async fn finish(mut self) {
        if matches!(&self.body, ReplyBody::H1(body) if body.is_end_stream()) {
            return;
        }
        let reading = async {
            let mut left = REST_BYTES;
            while let Ok(Some(data)) = self.data().await {
                left = left.saturating_sub(data.len());
                if left == 0 {
                    return;
                }
            }
        };
        // What is not read by then is left unread.
        let _ = tokio::time::timeout(REST, reading).await;
    }
}
