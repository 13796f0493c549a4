//! The health service of gRPC, served here by hand: its messages are written and read apart from the program's own code.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll::upstream::health::Outcome;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{first, several, upstream, written};
use crate::harness::{Authority, Backend, Directory, Outgoing, Proxy};

/// Answers by the name of the service that is asked for.
async fn serve(request: Request<Incoming>) -> Result<Response<Outgoing>, Infallible> {
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    assert_eq!(request.method(), "POST");
    let fields = request.headers();
    assert_eq!(
        (&fields["te"], &fields["content-type"]),
        (
            &"trailers".parse().unwrap(),
            &"application/grpc".parse().unwrap()
        )
    );
    assert_eq!(fields["grpc-timeout"], "10000000u");
    let asked = request.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(asked[0], 0);
    assert_eq!(asked[1..5], (asked.len() as u32 - 5).to_be_bytes());
    let service = match &asked[5..] {
        [] => "",
        [0x0a, length, name @ ..] => {
            assert_eq!(usize::from(*length), name.len());
            std::str::from_utf8(name).unwrap()
        }
        other => panic!("{other:?} is no request"),
    };
    let (body, status): (&[u8], _) = match service {
        "" | "app.Users" => (b"\0\0\0\0\x02\x08\x01", Some("0")),
        "stopping" => (b"\0\0\0\0\x02\x08\x02", Some("0")),
        "nothing" => (b"\0\0\0\0\0", Some("0")),
        "late" => (b"\0\0\0\0\x02\x08\x01", Some("14")),
        "empty" => (b"", Some("0")),
        "unfinished" => (b"\0\0\0\0\x02\x08\x01", None),
        _ => {
            // A status alone stands in the head, and there is no body.
            let mut response = answer(Outgoing::empty());
            response.headers_mut().extend(trailers("5"));
            return Ok(response);
        }
    };
    let body = Bytes::copy_from_slice(body);
    let (mut upload, outgoing) = Outgoing::pieces();
    tokio::spawn(async move {
        // In two pieces, wherever they are cut.
        let half = body.len() / 2;
        for piece in [body.slice(..half), body.slice(half..)] {
            upload.send(piece).await;
        }
        if let Some(status) = status {
            upload.finish_with(trailers(status)).await;
        }
    });
    Ok(answer(outgoing))
}

fn answer(body: Outgoing) -> Response<Outgoing> {
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(body).unwrap()
}

fn trailers(status: &'static str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("grpc-status", status.parse().unwrap());
    fields.insert("grpc-message", "as asked".parse().unwrap());
    fields
}

async fn carry(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service_fn(serve));
    // How it ends is the client's affair.
    let _ = connection.await;
}

async fn server(tls: Option<Arc<rustls::ServerConfig>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => carry(stream).await,
                    Some(tls) => {
                        if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                            carry(stream).await;
                        }
                    }
                }
            });
        }
    });
    address
}

/// Asks for each service and tells what came of it.
async fn assert_all(address: &str, cases: &[(&str, Option<&str>)], more: &str) {
    let endpoints = [written("a", address, "")];
    let names: Vec<String> = (0..cases.len())
        .map(|number| format!("c{number}"))
        .collect();
    let active: Vec<String> = cases
        .iter()
        .map(|(service, _)| {
            let service = if service.is_empty() { "off" } else { service };
            format!(
                "type: grpc, timeout: 10s, interval: 10s, initial: first_check, service: {service}"
            )
        })
        .collect();
    let all: Vec<(&str, &[String], &str, &str)> = (0..cases.len())
        .map(|i| (&*names[i], &endpoints[..], &*active[i], more))
        .collect();
    let proxy = Proxy::start(&several(&all)).await;
    for ((service, reason), name) in cases.iter().zip(&names) {
        let check = first(&upstream(&proxy, name).endpoints[0]).await;
        let what = format!("{service} {more}: {check:?}");
        let outcome = match reason {
            None => Outcome::Passed,
            Some(_) => Outcome::Failed,
        };
        assert_eq!(check.outcome, outcome, "{what}");
        let told = check.reason.as_deref().unwrap_or_default();
        assert!(told.contains(reason.unwrap_or_default()), "{what}");
    }
}

#[tokio::test]
async fn a_service_passes_when_it_says_that_it_serves() {
    let address = server(None).await.to_string();
    let cases = [
        ("", None),
        ("app.Users", None),
        ("stopping", Some("its service is NOT_SERVING")),
        ("nothing", Some("its service is UNKNOWN")),
        ("unheard.of", Some("the gRPC status 5: as asked")),
        ("late", Some("the gRPC status 14: as asked")),
        ("empty", Some("it has no message")),
        ("unfinished", Some("it has no status")),
    ];
    // Over HTTP/2 in any case.
    for protocol in ["h1", "h2"] {
        assert_all(&address, &cases, &format!("protocol: {protocol}")).await;
    }
}

#[tokio::test]
async fn over_tls_the_check_offers_http_2_even_where_the_traffic_does_not() {
    let directory = Directory::new();
    let authority = Authority::new();
    let ca = authority.write(&directory, "ca.pem");
    let identity = authority.identity(&["127.0.0.1"]);
    let address = server(Some(authority.server(&identity, &["h2"]))).await;
    for protocol in ["h1", "h2", "auto"] {
        let more = format!("protocol: {protocol}, tls: {{ ca: {ca:?} }}");
        assert_all(&address.to_string(), &[("app.Users", None)], &more).await;
    }
}

#[tokio::test]
async fn a_server_that_is_no_grpc_server_fails() {
    let backend = Backend::start("a");
    let cases = [(
        "",
        Some("its answer is no gRPC: its content type is another"),
    )];
    assert_all(&backend.endpoint(), &cases, "protocol: h2").await;
}
