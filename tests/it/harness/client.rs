//! A well-behaved client of either protocol, on hyper.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::within;

/// The body of a request: whole, or sent piece by piece.
pub enum Outgoing {
    Whole(Full<Bytes>),
    Pieces(mpsc::Receiver<io::Result<Frame<Bytes>>>),
}

impl Outgoing {
    pub fn empty() -> Self {
        Self::whole(Bytes::new())
    }

    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(bytes.into()))
    }

    /// A body of unknown length and the hand that feeds it.
    pub fn pieces() -> (Upload, Self) {
        let (sender, receiver) = mpsc::channel(1);
        (Upload(sender), Self::Pieces(receiver))
    }
}

/// Feeds a body; it ends when this is dropped.
pub struct Upload(mpsc::Sender<io::Result<Frame<Bytes>>>);

impl Upload {
    /// Waits until there is room; false when nobody reads any more.
    pub async fn send(&mut self, bytes: impl Into<Bytes>) -> bool {
        within(self.0.send(Ok(Frame::data(bytes.into()))))
            .await
            .is_ok()
    }

    pub async fn finish_with(self, trailers: HeaderMap) {
        let _ = within(self.0.send(Ok(Frame::trailers(trailers)))).await;
    }

    /// The body breaks off: the connection is closed, or the stream reset.
    pub async fn fail(self) {
        let _ = within(self.0.send(Err(io::ErrorKind::BrokenPipe.into()))).await;
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Whole(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Self::Pieces(pieces) => pieces.poll_recv(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// To be sent by [`Client::send`] or [`Client::open`].
pub fn request(method: Method, path: &str, body: Outgoing) -> Request<Outgoing> {
    let request = Request::builder().method(method).uri(path);
    request.body(body).unwrap()
}

enum Sender {
    H1(http1::SendRequest<Outgoing>),
    H2(http2::SendRequest<Outgoing>),
}

/// One connection to a server.
pub struct Client {
    sender: Sender,
    /// `http://host:port` of the requests.
    scheme: &'static str,
    authority: String,
}

impl Client {
    /// HTTP/1.1 in clear text.
    pub async fn h1(address: SocketAddr) -> Self {
        let sender = h1(connect(address).await).await;
        Self {
            sender,
            scheme: "http",
            authority: address.to_string(),
        }
    }

    /// HTTP/2 in clear text, by prior knowledge.
    pub async fn h2(address: SocketAddr) -> Self {
        let sender = h2(connect(address).await).await;
        Self {
            sender,
            scheme: "http",
            authority: address.to_string(),
        }
    }

    /// Over TLS with the name `localhost`: HTTP/2 if ALPN chose it, else HTTP/1.1.
    pub async fn tls(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self::tls_named(address, config, "localhost").await.unwrap()
    }

    /// The same with another name, where the handshake may be refused.
    pub async fn tls_named(
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> io::Result<Self> {
        let server = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = within(connector.connect(server, connect(address).await)).await?;
        let sender = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            h2(stream).await
        } else {
            h1(stream).await
        };
        let authority = format!("{name}:{}", address.port());
        Ok(Self {
            sender,
            scheme: "https",
            authority,
        })
    }

    /// Whether it speaks HTTP/2.
    pub fn is_h2(&self) -> bool {
        matches!(self.sender, Sender::H2(_))
    }

    /// Another hand on the same HTTP/2 connection.
    pub fn another(&self) -> Self {
        let Sender::H2(sender) = &self.sender else {
            panic!("HTTP/1.1 carries one request at a time");
        };
        let authority = self.authority.clone();
        Self {
            sender: Sender::H2(sender.clone()),
            scheme: self.scheme,
            authority,
        }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.try_get(path).await.unwrap()
    }

    pub async fn try_get(&mut self, path: &str) -> hyper::Result<Answer> {
        self.try_send(Method::GET, path, Outgoing::empty()).await
    }

    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.try_send(Method::POST, path, Outgoing::whole(body))
            .await
            .unwrap()
    }

    pub async fn try_send(
        &mut self,
        method: Method,
        path: &str,
        body: Outgoing,
    ) -> hyper::Result<Answer> {
        let response = self.open(request(method, path, body)).await?;
        within(Answer::read(response)).await
    }

    /// Sends a request and reads the whole answer. `Host`, scheme and authority are filled in where they are missing.
    pub async fn send(&mut self, request: Request<Outgoing>) -> Answer {
        let response = self.open(request).await.unwrap();
        within(Answer::read(response)).await.unwrap()
    }

    /// Sends a request and gives back the head of the answer as soon as it comes, with the body still to be read.
    pub async fn open(
        &mut self,
        mut request: Request<Outgoing>,
    ) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::H1(sender) => {
                if !request.headers().contains_key(HOST) {
                    let host = HeaderValue::try_from(&self.authority).unwrap();
                    request.headers_mut().insert(HOST, host);
                }
                within(sender.ready()).await?;
                within(sender.send_request(request)).await
            }
            Sender::H2(sender) => {
                if request.uri().authority().is_none() {
                    let uri = format!("{}://{}{}", self.scheme, self.authority, request.uri());
                    *request.uri_mut() = uri.parse::<Uri>().unwrap();
                }
                within(sender.ready()).await?;
                within(sender.send_request(request)).await
            }
        }
    }

    /// Opens a tunnel to this protocol: an upgrade over HTTP/1.1, extended CONNECT (RFC 8441) over HTTP/2. Where the
    /// server does not agree, the head of its answer.
    pub async fn tunnel(
        &mut self,
        protocol: &'static str,
        path: &str,
    ) -> Result<TokioIo<Upgraded>, Response<Incoming>> {
        let mut request = Request::new(Outgoing::empty());
        *request.uri_mut() = path.parse().unwrap();
        let agreed = if self.is_h2() {
            *request.method_mut() = Method::CONNECT;
            let extension = hyper::ext::Protocol::from_static(protocol);
            request.extensions_mut().insert(extension);
            StatusCode::OK
        } else {
            let fields = request.headers_mut();
            fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            fields.insert(UPGRADE, HeaderValue::from_static(protocol));
            StatusCode::SWITCHING_PROTOCOLS
        };
        let response = self.open(request).await.unwrap();
        if response.status() != agreed {
            return Err(response);
        }
        let upgraded = within(hyper::upgrade::on(response)).await.unwrap();
        Ok(TokioIo::new(upgraded))
    }

    /// Whether the server has closed or is about to.
    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::H1(sender) => sender.is_closed(),
            Sender::H2(sender) => sender.is_closed(),
        }
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = within(TcpStream::connect(address)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Upgrades are possible, since the driver allows them. It ends with its sender.
async fn h1(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
) -> Sender {
    let handshake = http1::Builder::new().handshake(TokioIo::new(stream));
    let (sender, driver) = within(handshake).await.unwrap();
    tokio::spawn(driver.with_upgrades());
    Sender::H1(sender)
}

async fn h2(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
) -> Sender {
    let handshake = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream));
    let (sender, driver) = within(handshake).await.unwrap();
    tokio::spawn(driver);
    Sender::H2(sender)
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Answer {
    pub async fn read(response: Response<Incoming>) -> hyper::Result<Self> {
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Self {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
            trailers,
        })
    }

    /// An error of the proxy's own: with this status, told in `Proxy-Status` and in the body.
    #[track_caller]
    pub fn assert_told(&self, status: u16, error: &str, label: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        let told = format!("plimsoll; error={error}; details=\"{label}\"");
        assert_eq!(self.header("proxy-status"), Some(&told[..]), "{self:?}");
        assert!(self.text().contains(label), "{self:?}");
    }

    /// The first value of this field as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name.parse::<HeaderName>().unwrap());
        value.map(|value| value.to_str().unwrap())
    }

    /// The label of the backend that answered.
    pub fn backend(&self) -> Option<&str> {
        self.header("x-backend")
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}
