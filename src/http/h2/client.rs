//! The client side of an HTTP/2 connection: many requests at once to one endpoint.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use ::h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use ::h2::{Reason, RecvStream};
use ::http::uri::{Authority, PathAndQuery, Scheme};
use ::http::{Method, Request, Uri, Version};

use super::outbox::Piece;
use super::slots::{Slot, Slots};
use super::tap::Tap;
use super::transfer::{Reader, Writer};
use super::{End, FRAME, REMEMBERED_RESETS, SEND_BUFFER, fields};
use crate::clock::wheel::Wheel;
use crate::http::body::{Body, Sink};
use crate::http::buffers::Buffers;
use crate::http::fields::Name;
use crate::http::h1::parse::ParseError;
use crate::http::head::{Length, ResponseHead};
use crate::http::outgoing::Outgoing;
use crate::http::outgoing::RequestLine;
use crate::stream::Stream;

/// Interim responses to one request. More are a way to make us write for ever.
const INTERIM: u32 = 32;

/// What is asked of a connection to an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Streams at once, if the endpoint allows as many.
    pub streams: usize,
    /// Bytes and number of the fields of a response head.
    pub head_bytes: u32,
    pub fields: usize,
    /// Bytes of a response body that the endpoint may send before any is passed on.
    pub stream_window: u32,
    /// The same for all bodies of a connection together.
    pub connection_window: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            streams: 100,
            head_bytes: 64 * 1024,
            fields: 200,
            stream_window: 256 * 1024,
            connection_window: 2 * 1024 * 1024,
        }
    }
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The endpoint did nothing with it (REFUSED_STREAM, GOAWAY with a lower id, no stream was opened): it may be
    /// sent again elsewhere, whatever its method.
    #[error("the endpoint refused the stream")]
    Refused,
    /// The endpoint gave the request up.
    #[error("the endpoint reset the stream: {0}")]
    Reset(Reason),
    /// The connection ended.
    #[error("the connection ended")]
    Lost,
    /// The endpoint broke the rules of HTTP/2.
    #[error("the endpoint broke the protocol: {0}")]
    Protocol(Reason),
    /// The response head broke a rule.
    #[error("the response is malformed: {0}")]
    Head(#[from] ParseError),
    /// More interim responses than anyone has a use for.
    #[error("too many interim responses")]
    TooManyInterim,
    /// The endpoint does not know extended CONNECT (RFC 8441).
    #[error("the endpoint does not know extended CONNECT")]
    NoExtendedConnect,
    /// The target or host of the request cannot be written in HTTP/2. Nothing was sent.
    #[error("the request cannot be expressed in HTTP/2")]
    Unsendable,
}

impl From<::h2::Error> for ClientError {
    fn from(error: ::h2::Error) -> Self {
        match error.reason() {
            Some(Reason::REFUSED_STREAM) if error.is_remote() => Self::Refused,
            // Streams that the endpoint's GOAWAY does not cover live on; these are the others (RFC 9113, 6.8).
            Some(_) if error.is_go_away() && error.is_remote() => Self::Refused,
            Some(reason) if error.is_remote() => Self::Reset(reason),
            Some(reason) => Self::Protocol(reason),
            None => Self::Lost,
        }
    }
}

/// Starts HTTP/2 on a connected stream and waits for the endpoint's SETTINGS, which tell how many streams it takes
/// and show that it speaks HTTP/2 at all. The caller bounds the time, and runs the driver as a local task until it
/// ends; it ends by itself once all clients and streams are dropped.
pub async fn connect(
    stream: Stream,
    settings: Settings,
    buffers: Buffers,
    wheel: Wheel,
) -> Result<(Client, impl Future<Output = End> + 'static), ClientError> {
    let slots = Slots::new(settings.streams, wheel.clone());
    let tap = Tap::client(stream, buffers, wheel);
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_frame_size(FRAME)
        .max_header_list_size(settings.head_bytes)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(REMEMBERED_RESETS);
    let (sender, connection) = builder.handshake::<_, Piece>(tap.clone()).await?;
    let mut driver = Driver {
        connection,
        tap,
        slots: Rc::clone(&slots),
    };
    poll_fn(|cx| match driver.poll(cx) {
        Poll::Ready(_) => Poll::Ready(Err(ClientError::Lost)),
        Poll::Pending if driver.tap.has_settings() => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    let client = Client(Rc::new(Shared {
        sender: RefCell::new(sender),
        authority: RefCell::new(None),
        slots,
        fields: settings.fields,
    }));
    Ok((client, poll_fn(move |cx| driver.poll(cx))))
}

/// Moves the frames of all streams.
struct Driver {
    connection: Connection<Tap, Piece>,
    tap: Tap,
    slots: Rc<Slots>,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let polled = Pin::new(&mut self.connection).poll(cx);
        self.slots.hear(self.tap.reads());
        if let Poll::Ready(result) = polled {
            return Poll::Ready(if result.is_ok() {
                End::Closed
            } else {
                End::Failed
            });
        }
        if let Some(flood) = self.tap.flood() {
            return Poll::Ready(End::Flood(flood));
        }
        if let Poll::Ready(Err(_)) = self.tap.poll_send(cx) {
            return Poll::Ready(End::Failed);
        }
        if !self.slots.is_open() && self.slots.in_use() == 0 {
            // Nothing comes from the endpoint any more: it is not waited for to take a farewell.
            return Poll::Ready(End::Failed);
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.slots.close();
    }
}

/// A connection to an endpoint. Cheap to clone; all clones are the same connection.
#[derive(Clone)]
pub struct Client(Rc<Shared>);

struct Shared {
    sender: RefCell<SendRequest<Piece>>,
    /// The last one sent, so that it is not checked and copied for each request.
    authority: RefCell<Option<Authority>>,
    slots: Rc<Slots>,
    fields: usize,
}

impl Client {
    /// Whether both are the same connection.
    pub fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Streams in use.
    pub fn in_use(&self) -> usize {
        self.0.slots.in_use()
    }

    /// Streams that may be in use at once: what the endpoint allows, or we do.
    pub fn capacity(&self) -> usize {
        self.0
            .sender
            .borrow()
            .current_max_send_streams()
            .min(self.0.slots.limit)
    }

    /// Whether it takes new streams: not after GOAWAY, nor after the connection ended or fell silent.
    pub fn is_alive(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.0.slots.is_open()
            && !matches!(
                self.0.sender.borrow_mut().poll_ready(&mut cx),
                Poll::Ready(Err(_))
            )
    }

    /// Lets go of the connection; what it gives ends once its driver has ended.
    pub fn end(self) -> impl Future<Output = ()> + 'static {
        let slots = Rc::clone(&self.0.slots);
        drop(self);
        poll_fn(move |cx| {
            if slots.is_open() {
                slots.wait(cx);
                return Poll::Pending;
            }
            Poll::Ready(())
        })
    }

    /// Writes a request head, on a stream of its own if one is free. `scheme` is `http` or `https`. `Host` among its
    /// fields becomes `:authority`. With `upgrade` it is an extended CONNECT (RFC 8441) whose body carries raw bytes.
    pub fn send(
        &self,
        line: &RequestLine<'_>,
        scheme: &str,
        head: &Outgoing<'_>,
    ) -> Result<(Sink, Pending), ClientError> {
        let is_tunnel = line.upgrade.is_some() || line.method == Method::CONNECT;
        let mut request = Request::new(());
        *request.headers_mut() = fields::write_request(head);
        request.method_mut().clone_from(line.method);
        if let Some(protocol) = line.upgrade {
            if !self
                .0
                .sender
                .borrow()
                .is_extended_connect_protocol_enabled()
            {
                return Err(ClientError::NoExtendedConnect);
            }
            let protocol = std::str::from_utf8(protocol).map_err(|_| ClientError::Unsendable)?;
            *request.method_mut() = Method::CONNECT;
            request
                .extensions_mut()
                .insert(::h2::ext::Protocol::from(protocol));
        }
        self.address(&mut request, line, scheme, head)?;

        let ends = head.length.is_empty() && !is_tunnel;
        if self.in_use() >= self.capacity() {
            return Err(ClientError::Refused);
        }
        let sent = self.0.sender.borrow_mut().send_request(request, ends);
        // Whatever is wrong: no stream was opened.
        let (response, stream) = sent.map_err(|_| ClientError::Refused)?;
        let slot = self.0.slots.take();
        let length = if is_tunnel {
            Length::Close
        } else {
            head.length
        };
        let sink = if ends {
            Sink::Nowhere
        } else {
            Sink::H2(Writer::new(
                stream,
                length,
                Reason::CANCEL,
                None,
                Some(Rc::clone(&slot)),
            ))
        };
        let pending = Pending {
            response: Some(response),
            is_head: line.method == Method::HEAD,
            is_tunnel,
            fields: self.0.fields,
            interim: 0,
            body: None,
            slot,
        };
        Ok((sink, pending))
    }

    /// Sets `:scheme`, `:authority` and `:path`.
    fn address(
        &self,
        request: &mut Request<()>,
        line: &RequestLine<'_>,
        scheme: &str,
        head: &Outgoing<'_>,
    ) -> Result<(), ClientError> {
        let mut parts = ::http::uri::Parts::default();
        if line.method == Method::CONNECT && line.upgrade.is_none() {
            parts.authority = Some(self.authority(line.target)?);
        } else {
            let path = PathAndQuery::try_from(line.target).map_err(|_| ClientError::Unsendable)?;
            // The library drops what looks like a fragment: the target would not be the one received.
            if path.as_str().len() != line.target.len() {
                return Err(ClientError::Unsendable);
            }
            parts.path_and_query = Some(path);
            let kept = if head.skip.contains(Name::Host) {
                None
            } else {
                head.fields.get(Name::Host)
            };
            match head.extra.get(Name::Host).or(kept) {
                Some(host) => {
                    parts.authority = Some(self.authority(host)?);
                    parts.scheme = Some(if scheme == "https" {
                        Scheme::HTTPS
                    } else {
                        Scheme::HTTP
                    });
                }
                // Only of an older version the library takes a request without an authority.
                None => *request.version_mut() = Version::HTTP_11,
            }
        }
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| ClientError::Unsendable)?;
        Ok(())
    }

    fn authority(&self, host: &[u8]) -> Result<Authority, ClientError> {
        let mut last = self.0.authority.borrow_mut();
        if let Some(authority) = last
            .as_ref()
            .filter(|last| last.as_str().as_bytes() == host)
        {
            return Ok(authority.clone());
        }
        let authority = Authority::try_from(host).map_err(|_| ClientError::Unsendable)?;
        *last = Some(authority.clone());
        Ok(authority)
    }
}

/// A request that waits for its answer. Dropping it, and the sink, gives the request up.
pub struct Pending {
    /// `None` once the final head was read.
    response: Option<ResponseFuture>,
    is_head: bool,
    is_tunnel: bool,
    fields: usize,
    interim: u32,
    /// Of the final response.
    body: Option<(RecvStream, Length)>,
    slot: Rc<Slot>,
}

impl Pending {
    /// The next response head: interim ones, then the final one.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), ClientError>> {
        let Some(response) = &mut self.response else {
            return Poll::Ready(Err(ClientError::Lost));
        };
        if let Some(interim) = ready!(response.poll_informational(cx)) {
            let (parts, ()) = interim?.into_parts();
            self.interim += 1;
            if self.interim > INTERIM {
                return Poll::Ready(Err(ClientError::TooManyInterim));
            }
            fields::read_response(
                parts.status.as_u16(),
                &parts.headers,
                false,
                false,
                self.fields,
                head,
            )?;
            return Poll::Ready(Ok(()));
        }
        let (parts, stream) = ready!(Pin::new(response).poll(cx))?.into_parts();
        self.response = None;
        self.slot.answered();
        let status = parts.status.as_u16();
        let ends = stream.is_end_stream();
        fields::read_response(
            status,
            &parts.headers,
            ends,
            self.is_head,
            self.fields,
            head,
        )?;
        if self.is_tunnel && parts.status.is_success() {
            head.length = Length::Close;
        }
        self.body = (!ends && head.length != Length::Empty).then_some((stream, head.length));
        Poll::Ready(Ok(()))
    }

    /// Something of the exchange moved, either way.
    pub fn moved(&self) {
        self.slot.moved();
    }

    /// The exchange waited in vain. If the endpoint said nothing at all meanwhile, on any stream, its connection takes
    /// no new ones.
    pub fn doubt(&self) {
        self.slot.doubt();
    }

    /// Whether the endpoint said nothing since the request was sent, on any stream.
    pub fn is_unheard(&self) -> bool {
        self.slot.is_unheard()
    }

    /// The body that follows the final head.
    pub fn body(&mut self) -> Body {
        match self.body.take() {
            Some((stream, length)) => {
                Body::H2(Reader::new(stream, length, Some(Rc::clone(&self.slot))))
            }
            None => Body::Empty,
        }
    }
}
