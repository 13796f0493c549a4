//! A client that sends any bytes and reads strictly.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::message::Reader;
use super::{Head, Message, within};

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Lets the close that follows be a reset.
    fn reset_on_close(&self) {}
}

impl Stream for TcpStream {
    fn reset_on_close(&self) {
        self.set_zero_linger().unwrap();
    }
}

impl Stream for UnixStream {}

impl Stream for tokio_rustls::client::TlsStream<TcpStream> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}

/// One connection. Every wait has a deadline and panics at it.
pub struct Raw {
    reader: Reader<Box<dyn Stream>>,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    pub async fn connect_unix(path: &Path) -> Self {
        Self::over(within(UnixStream::connect(path)).await.unwrap())
    }

    /// Over TLS, with this name asked for.
    pub async fn connect_tls(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Self {
        Self::try_tls(address, config, name).await.unwrap()
    }

    /// The same where the handshake may be refused.
    pub async fn try_tls(
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> io::Result<Self> {
        Self::connect_tls_after(b"", address, config, name).await
    }

    /// The same with these bytes in clear text before.
    pub async fn connect_tls_after(
        opening: &[u8],
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> io::Result<Self> {
        let mut stream = within(TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        within(stream.write_all(opening)).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::clone(config));
        Ok(Self::over(within(connector.connect(name, stream)).await?))
    }

    fn over(stream: impl Stream + 'static) -> Self {
        Self {
            reader: Reader::new(Box::new(stream)),
        }
    }

    /// Sends these bytes and nothing else.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    /// The same where the other side may have closed already.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let stream = &mut self.reader.stream;
        within(async {
            stream.write_all(bytes.as_ref()).await?;
            stream.flush().await
        })
        .await
    }

    /// Sends the bytes one by one, each in a segment of its own as far as the kernel allows.
    pub async fn trickle(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send([*byte]).await;
            tokio::task::yield_now().await;
        }
    }

    /// Reads one response to a GET or POST.
    pub async fn response(&mut self) -> Message {
        self.response_to("GET").await
    }

    /// Reads one response to a request of this method, which decides about its body.
    pub async fn response_to(&mut self, method: &str) -> Message {
        self.try_response_to(method).await.unwrap()
    }

    /// The same where the response may break off: `UnexpectedEof` then, or `ConnectionReset`.
    pub async fn try_response_to(&mut self, method: &str) -> io::Result<Message> {
        within(self.reader.response(method)).await
    }

    /// Sends a request and reads the JSON that answers it.
    pub async fn ask(&mut self, request: &str) -> Value {
        self.send(request).await;
        let answer = self.response().await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        answer.json()
    }

    /// Reads one head, also of an interim response, and no further.
    pub async fn head(&mut self) -> Head {
        let head = within(self.reader.head()).await.unwrap();
        head.expect("a head, not the end of the stream")
    }

    /// Reads exactly this many bytes.
    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        self.try_exactly(count).await.unwrap()
    }

    /// The same where the stream may end before.
    pub async fn try_exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        within(self.reader.exactly(count)).await
    }

    /// Reads what there is, at least one byte unless the stream has ended.
    pub async fn some(&mut self) -> Vec<u8> {
        within(self.reader.some()).await.unwrap()
    }

    /// Reads to the end of the stream.
    pub async fn rest(&mut self) -> io::Result<Vec<u8>> {
        within(self.reader.rest()).await
    }

    /// The other side closes, cleanly or by a reset, without another byte.
    pub async fn expect_closed(&mut self) {
        match self.rest().await {
            Ok(rest) => assert!(rest.is_empty(), "more came: {}", rest.escape_ascii()),
            Err(error) => assert!(ends(error.kind()), "{error}"),
        }
    }

    /// Says that no more will be sent, and goes on reading.
    pub async fn finish_sending(&mut self) {
        within(self.reader.stream.shutdown()).await.unwrap();
    }

    /// Leaves by a TCP reset.
    pub fn reset(self) {
        self.reader.stream.reset_on_close();
    }
}

/// What a close looks like from here: after a reset, or without TLS's farewell.
fn ends(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
    )
}
