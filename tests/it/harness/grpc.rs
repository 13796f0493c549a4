//! gRPC by hand: the protocol's own framing over HTTP/2 (gRPC over HTTP2, PROTOCOL-HTTP2.md), so that every frame is seen
//! as it passes; what a generated stub would add is above what a proxy sees.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::{Outgoing, Upload, within};

/// A message with its prefix: not compressed, and its length.
pub fn message(text: &str) -> Bytes {
    let mut framed = vec![0];
    framed.extend((text.len() as u32).to_be_bytes());
    framed.extend(text.as_bytes());
    framed.into()
}

/// Messages as they come out of a body, wherever its pieces end.
pub struct Messages {
    body: Incoming,
    ahead: Vec<u8>,
    pub trailers: HeaderMap,
}

impl Messages {
    pub fn of(body: Incoming) -> Self {
        Self {
            body,
            ahead: Vec::new(),
            trailers: HeaderMap::new(),
        }
    }

    /// `None` at the end of the body, whose trailers are then known.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((prefix, rest)) = self.ahead.split_at_checked(5) {
                let length = u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize;
                if let Some(text) = rest.get(..length) {
                    let text = String::from_utf8(text.to_vec()).unwrap();
                    self.ahead.drain(..5 + length);
                    return Some(text);
                }
            }
            match within(self.body.frame()).await.transpose().unwrap() {
                None => {
                    assert!(self.ahead.is_empty(), "a message was cut short");
                    return None;
                }
                Some(frame) => match frame.into_data() {
                    Ok(data) => self.ahead.extend(data),
                    Err(frame) => self.trailers = frame.into_trailers().unwrap(),
                },
            }
        }
    }
}

fn status(code: &'static str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("grpc-status", code.parse().unwrap());
    fields.insert("grpc-message", "as%20asked".parse().unwrap());
    fields
}

/// Answers each message with one of its own as soon as it comes, then with status 0.
async fn echo(mut asked: Messages, mut upload: Upload) {
    while let Some(text) = asked.next().await {
        if !upload.send(message(&format!("echo {text}"))).await {
            return;
        }
    }
    upload.finish_with(status("0")).await;
}

async fn serve(request: Request<Incoming>) -> Result<Response<Outgoing>, Infallible> {
    assert_eq!(request.headers()["te"], "trailers");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    let is_known = request.uri().path() == "/test.Echo/Talk";
    let (upload, body) = Outgoing::pieces();
    let mut response = Response::new(body);
    if is_known {
        tokio::spawn(echo(Messages::of(request.into_body()), upload));
    } else {
        // A status alone stands in the head, and there is no body.
        *response.body_mut() = Outgoing::empty();
        *response.headers_mut() = status("12");
    }
    let kind = "application/grpc".parse().unwrap();
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}

/// Serves `/test.Echo/Talk` on the caller's runtime.
pub async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service_fn(serve));
            tokio::spawn(connection);
        }
    });
    address
}

/// The same on a thread of its own, which ends with the process.
pub fn serve_apart() -> SocketAddr {
    let (told, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            told.send(server().await).unwrap();
            std::future::pending::<()>().await;
        });
    });
    address.recv().unwrap()
}

/// A call whose deadline is far away.
pub fn call(path: &str, body: Outgoing) -> Request<Outgoing> {
    let request = Request::post(path)
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "20S");
    request.body(body).unwrap()
}
