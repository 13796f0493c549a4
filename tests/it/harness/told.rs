//! An endpoint that reads a PROXY header before all else, and answers with what it tells.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use plimsoll::proxy_protocol::{self, Header};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::message::Reader;

/// What is spoken after the header.
#[derive(Clone)]
pub enum Speaks {
    H1,
    H2,
    /// HTTP/1.1 over TLS.
    Tls(Arc<ServerConfig>),
}

/// Headers as they came, and what they tell.
type Seen = Vec<(Vec<u8>, Header)>;

/// A running endpoint; it stops when dropped. It keeps connections open, so that it shows whether they are used again.
pub struct Told {
    address: SocketAddr,
    headers: Arc<Mutex<Seen>>,
    accepting: AbortHandle,
}

impl Told {
    pub async fn start(speaks: Speaks) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let headers = Arc::<Mutex<Vec<_>>>::default();
        let noted = Arc::clone(&headers);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (noted, speaks) = (Arc::clone(&noted), speaks.clone());
                connections.spawn(async move {
                    // How a connection ends is told by what its client sees.
                    let _ = serve(stream, speaks, &noted).await;
                });
            }
        });
        Self {
            address,
            headers,
            accepting: accepting.abort_handle(),
        }
    }

    /// As it is written in the configuration.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// The header of each connection that has sent one, with its bytes.
    pub fn headers(&self) -> Vec<(Vec<u8>, Header)> {
        self.headers.lock().unwrap().clone()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    speaks: Speaks,
    noted: &Mutex<Vec<(Vec<u8>, Header)>>,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    // One by one: what follows belongs to another reader.
    let header = loop {
        bytes.push(stream.read_u8().await?);
        match proxy_protocol::read(&bytes) {
            Ok(Some(found)) => break found.header,
            Ok(None) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
    };
    let text = format!("{header:?}");
    noted.lock().unwrap().push((bytes, header));
    match speaks {
        Speaks::H1 => answer(stream, &text).await,
        Speaks::Tls(config) => answer(TlsAcceptor::from(config).accept(stream).await?, &text).await,
        Speaks::H2 => answer_h2(stream, &text).await,
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> io::Result<()> {
    let mut reader = Reader::new(stream);
    while reader.request().await?.is_some() {
        let length = text.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
        reader.stream.write_all(answer.as_bytes()).await?;
        reader.stream.flush().await?;
    }
    Ok(())
}

async fn answer_h2(stream: TcpStream, text: &str) -> io::Result<()> {
    let connection = h2::server::handshake(stream).await;
    let mut connection = connection.map_err(io::Error::other)?;
    while let Some(request) = connection.accept().await {
        let (_, mut respond) = request.map_err(io::Error::other)?;
        let head = respond.send_response(hyper::Response::new(()), false);
        let body = Bytes::from(text.to_owned());
        let mut sending = head.map_err(io::Error::other)?;
        sending.send_data(body, true).map_err(io::Error::other)?;
    }
    Ok(())
}
