//! gRPC through the proxy: calls of one message and streams in both directions, with their status in trailers.
//!
//! Client and server speak the protocol's own framing over HTTP/2 (gRPC over HTTP2, PROTOCOL-HTTP2.md), so that every
//! frame is seen as it passes; what a generated stub would add is above what a proxy sees.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::harness::{Answer, Client, Outgoing, Proxy, Upload, config, within};

/// A message with its prefix: not compressed, and its length.
pub(crate) fn message(text: &str) -> Bytes {
    let mut framed = vec![0];
    framed.extend((text.len() as u32).to_be_bytes());
    framed.extend(text.as_bytes());
    framed.into()
}

/// Messages as they come out of a body, wherever its pieces end.
pub(crate) struct Messages {
    body: Incoming,
    ahead: Vec<u8>,
    trailers: HeaderMap,
}

impl Messages {
    pub(crate) fn of(body: Incoming) -> Self {
        Self {
            body,
            ahead: Vec::new(),
            trailers: HeaderMap::new(),
        }
    }

    /// `None` at the end of the body, whose trailers are then known.
    pub(crate) async fn next(&mut self) -> Option<String> {
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

pub(crate) async fn server() -> SocketAddr {
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

async fn proxy() -> Proxy {
    let endpoint = server().await.to_string();
    Proxy::start(&config(&[endpoint], "", "", "protocol: h2")).await
}

pub(crate) fn call(path: &str, body: Outgoing) -> Request<Outgoing> {
    let request = Request::post(path)
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "20S");
    request.body(body).unwrap()
}

#[tokio::test]
async fn a_unary_call_has_its_status_in_trailers() {
    let proxy = proxy().await;
    let mut client = Client::h2(proxy.address()).await;
    for text in ["", "one", &"long ".repeat(100_000)] {
        let asked = call("/test.Echo/Talk", Outgoing::whole(message(text)));
        let answer: Answer = client.send(asked).await;
        assert_eq!(answer.status.as_u16(), 200);
        assert!(answer.body == message(&format!("echo {text}")));
        assert_eq!(answer.trailers["grpc-status"], "0");
        assert_eq!(answer.trailers["grpc-message"], "as%20asked");
    }
}

#[tokio::test]
async fn a_status_without_a_message_passes_in_the_head() {
    let proxy = proxy().await;
    let mut client = Client::h2(proxy.address()).await;
    let asked = call("/test.Echo/Unknown", Outgoing::whole(message("one")));
    let answer = client.send(asked).await;
    assert_eq!(answer.header("grpc-status"), Some("12"));
    assert!(answer.body.is_empty() && answer.trailers.is_empty());
}

#[tokio::test]
async fn each_message_of_a_stream_passes_before_the_next_is_sent() {
    let proxy = proxy().await;
    let client = Client::h2(proxy.address()).await;
    let talks = (0..8).map(|talk| {
        let mut client = client.another();
        tokio::spawn(async move {
            let (mut upload, body) = Outgoing::pieces();
            // The answer begins before the request ends.
            let response = client.open(call("/test.Echo/Talk", body)).await.unwrap();
            let mut answers = Messages::of(response.into_body());
            for number in 0..50 {
                let text = format!("{talk}.{number}");
                assert!(upload.send(message(&text)).await);
                assert_eq!(answers.next().await, Some(format!("echo {text}")));
            }
            drop(upload);
            assert_eq!(answers.next().await, None);
            assert_eq!(answers.trailers["grpc-status"], "0");
        })
    });
    for talk in talks.collect::<Vec<_>>() {
        talk.await.unwrap();
    }
}
