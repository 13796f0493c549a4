//! Our server, the library's client.

use std::future::poll_fn;
use std::time::Duration;

use ::h2::client::SendRequest;
use ::h2::{Reason, RecvStream};
use ::http::{HeaderMap, Method, Request};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::http::h2::Flood;

async fn handshake(
    stream: TcpStream,
) -> (
    SendRequest<Bytes>,
    tokio::task::JoinHandle<Result<(), ::h2::Error>>,
) {
    let (sender, connection) = ::h2::client::handshake(stream).await.unwrap();
    (
        sender.ready().await.unwrap(),
        tokio::task::spawn_local(connection),
    )
}

fn request(method: Method, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("http://example.com:81{path}"))
        .body(())
        .unwrap()
}

async fn text(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), ::h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    Ok((all, body.trailers().await?))
}

#[tokio::test(flavor = "local")]
async fn answers_a_get() {
    let (stream, server) = Server::start().await;
    let (mut sender, _driver) = handshake(stream).await;
    let mut asked = request(Method::GET, "/a?b=%2f");
    for crumb in ["a=1", "b=2", "c=3"] {
        asked.headers_mut().append("cookie", crumb.parse().unwrap());
    }
    asked.headers_mut().insert("host", "other".parse().unwrap());
    asked
        .headers_mut()
        .insert("te", "trailers".parse().unwrap());
    let (response, _) = sender.send_request(asked, true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(text(response.into_body()).await.unwrap().0, b"hello");
    let (target, length, fields) = server.site.last();
    assert_eq!((target.as_str(), length), ("/a?b=%2f", Length::Empty));
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        fields,
        [
            ("host", "example.com:81"),
            ("cookie", "a=1; b=2; c=3"),
            ("te", "trailers")
        ]
    );
}

#[tokio::test(flavor = "local")]
async fn echoes_more_than_the_windows_hold_and_passes_trailers() {
    let (stream, server) = Server::start().await;
    let (mut sender, _driver) = handshake(stream).await;
    let (response, mut upload) = sender
        .send_request(request(Method::POST, "/echo"), false)
        .unwrap();
    let sent: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let body = sent.clone();
    tokio::task::spawn_local(async move {
        for piece in body.chunks(10_000) {
            upload.reserve_capacity(piece.len());
            while upload.capacity() < piece.len() {
                poll_fn(|cx| upload.poll_capacity(cx))
                    .await
                    .unwrap()
                    .unwrap();
            }
            upload
                .send_data(Bytes::copy_from_slice(piece), false)
                .unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        upload.send_trailers(trailers).unwrap();
    });
    let response = response.await.unwrap();
    assert_eq!(response.headers()["x-answer"], "1");
    assert!(!response.headers().contains_key("connection"));
    assert!(!response.headers().contains_key("content-length"));
    let (received, trailers) = text(response.into_body()).await.unwrap();
    assert!(received == sent);
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
    assert_eq!(server.site.last().1, Length::Marked);
}

#[tokio::test(flavor = "local")]
async fn a_head_request_gets_the_length_and_no_body() {
    let (stream, _server) = Server::start().await;
    let (mut sender, _driver) = handshake(stream).await;
    let (response, _) = sender
        .send_request(request(Method::HEAD, "/echo"), true)
        .unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.headers()["content-length"], "7");
    assert!(response.into_body().is_end_stream());
}

#[tokio::test(flavor = "local")]
async fn a_body_that_ends_early_is_a_reset() {
    let (stream, _server) = Server::start().await;
    let (mut sender, _driver) = handshake(stream).await;
    let (response, _) = sender
        .send_request(request(Method::GET, "/cut"), true)
        .unwrap();
    // The head is lost too when it had not left yet.
    let error = match response.await {
        Ok(response) => text(response.into_body()).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
}

#[tokio::test(flavor = "local")]
async fn a_reset_by_the_client_is_seen_by_the_handler() {
    let (stream, server) = Server::start().await;
    let (mut sender, _driver) = handshake(stream).await;
    let (response, mut upload) = sender
        .send_request(request(Method::GET, "/hang"), true)
        .unwrap();
    let (other, _) = sender
        .send_request(request(Method::GET, "/"), true)
        .unwrap();
    other.await.unwrap();
    assert_eq!(server.site.0.gone.get(), 0);
    upload.send_reset(Reason::CANCEL);
    drop((response, upload));
    let (other, _) = sender
        .send_request(request(Method::GET, "/"), true)
        .unwrap();
    other.await.unwrap();
    while server.site.0.gone.get() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "local")]
async fn exchanges_end_with_their_connection() {
    let (stream, server) = Server::start().await;
    let (mut sender, driver) = handshake(stream).await;
    let (stuck, _) = sender
        .send_request(request(Method::GET, "/stuck"), true)
        .unwrap();
    let (other, _) = sender
        .send_request(request(Method::GET, "/"), true)
        .unwrap();
    other.await.unwrap();
    assert_eq!(server.site.0.dropped.get(), 1);
    drop((stuck, sender));
    driver.abort();
    assert_eq!(server.end.await.unwrap(), End::Closed);
    while server.site.0.dropped.get() < 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_wrong_content_length_is_a_stream_error() {
    let (stream, server) = Server::start().await;
    let (mut sender, _driver) = handshake(stream).await;
    for (announced, sent) in [("5", "123"), ("3", "12345"), ("0", "1")] {
        let mut asked = request(Method::POST, "/echo");
        asked
            .headers_mut()
            .insert("content-length", announced.parse().unwrap());
        let (response, mut upload) = sender.send_request(asked, false).unwrap();
        upload.send_data(Bytes::from(sent), true).unwrap();
        let error = match response.await {
            Ok(response) => text(response.into_body()).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR), "{announced}");
        sender = sender.ready().await.unwrap();
    }
    let (response, _) = sender
        .send_request(request(Method::GET, "/"), true)
        .unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    assert!(!server.end.is_finished());
}

#[tokio::test(flavor = "local")]
async fn an_extended_connect_becomes_a_tunnel() {
    let (stream, server) = Server::start().await;
    let (mut sender, _driver) = handshake(stream).await;
    while !sender.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    let mut asked = request(Method::CONNECT, "/chat");
    asked
        .extensions_mut()
        .insert(::h2::ext::Protocol::from("websocket"));
    let (response, mut upload) = sender.send_request(asked, false).unwrap();
    let mut body = response.await.unwrap().into_body();
    for piece in ["one", "two"] {
        upload.send_data(Bytes::from(piece), false).unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), piece);
    }
    upload.send_data(Bytes::new(), true).unwrap();
    assert_eq!(text(body).await.unwrap().0, b"");
    assert_eq!(server.site.last().1, Length::Close);
}

#[tokio::test(flavor = "local")]
async fn interim_responses_come_before_the_final_one() {
    let (stream, _server) = Server::start().await;
    let (mut sender, _driver) = handshake(stream).await;
    let (mut response, _) = sender
        .send_request(request(Method::GET, "/early"), true)
        .unwrap();
    let interim = poll_fn(|cx| response.poll_informational(cx))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(interim.status(), 103);
    assert!(interim.headers().contains_key("link"));
    assert!(
        poll_fn(|cx| response.poll_informational(cx))
            .await
            .is_none()
    );
    assert_eq!(
        text(response.await.unwrap().into_body()).await.unwrap().0,
        b"hello"
    );
}

#[tokio::test(flavor = "local")]
async fn refuses_what_the_library_lets_through() {
    let (stream, server) = Server::start().await;
    let (mut sender, _driver) = handshake(stream).await;
    let mut repeated = request(Method::POST, "/");
    repeated
        .headers_mut()
        .append("content-length", "0".parse().unwrap());
    repeated
        .headers_mut()
        .append("content-length", "0".parse().unwrap());
    let mut spaced = request(Method::GET, "/");
    spaced.headers_mut().insert("x", " a".parse().unwrap());
    let mut many = request(Method::GET, "/");
    for i in 0..101 {
        many.headers_mut()
            .append("x", i.to_string().parse().unwrap());
    }
    let mut user = request(Method::GET, "/");
    *user.uri_mut() = "http://user@example.com/".parse().unwrap();
    for (asked, status) in [(repeated, 400), (spaced, 400), (many, 431), (user, 400)] {
        let (response, _) = sender.send_request(asked, true).unwrap();
        assert_eq!(response.await.unwrap().status(), status);
        sender = sender.ready().await.unwrap();
    }
    let refusals = server.site.0.refusals.borrow().clone();
    assert_eq!(
        refusals,
        [
            "repeated_length",
            "bad_field_value",
            "too_many_fields",
            "malformed_host"
        ]
    );
}

#[tokio::test(flavor = "local")]
async fn a_head_that_is_too_large_is_answered_with_431() {
    let (stream, server) = Server::start().await;
    let (mut sender, _driver) = handshake(stream).await;
    let mut asked = request(Method::GET, "/");
    for name in ["a", "b", "c"] {
        asked
            .headers_mut()
            .insert(name, "x".repeat(16_000).parse().unwrap());
    }
    let (response, _) = sender.send_request(asked, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 431);
    sender = sender.ready().await.unwrap();
    let asked = request(Method::GET, &format!("/{}", "x".repeat(40_000)));
    let (response, _) = sender.send_request(asked, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 414);
    let refusals = server.site.0.refusals.borrow().clone();
    assert_eq!(refusals, ["too_many_bytes", "target_too_long"]);
}

#[tokio::test(flavor = "local")]
async fn draining_says_goaway_and_finishes_what_runs() {
    let (stream, server) = Server::start().await;
    let (mut sender, driver) = handshake(stream).await;
    let (response, mut upload) = sender
        .send_request(request(Method::POST, "/echo"), false)
        .unwrap();
    let response = response.await.unwrap();
    server.drain.begin();
    let refused = loop {
        match poll_fn(|cx| sender.poll_ready(cx)).await {
            Err(error) => break error,
            Ok(()) => tokio::task::yield_now().await,
        }
    };
    assert!(refused.is_go_away());
    assert_eq!(refused.reason(), Some(Reason::NO_ERROR));
    upload.send_data(Bytes::from("late"), true).unwrap();
    assert_eq!(text(response.into_body()).await.unwrap().0, b"late");
    assert_eq!(server.end.await.unwrap(), End::Drained);
    driver.await.unwrap().unwrap();
}

#[tokio::test(flavor = "local")]
async fn an_idle_connection_is_closed_and_a_silent_one_too() {
    let (stream, server) = Server::start().await;
    let (_sender, driver) = handshake(stream).await;
    assert_eq!(server.end.await.unwrap(), End::Idle);
    driver.await.unwrap().unwrap();

    let (mut stream, server) = Server::start().await;
    assert_eq!(server.end.await.unwrap(), End::Slow);
    let mut settings = Vec::new();
    stream.read_to_end(&mut settings).await.unwrap();

    // Preface and SETTINGS, but no answer to PING.
    let (mut stream, server) = Server::start().await;
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    assert_eq!(server.end.await.unwrap(), End::Idle);
}

#[tokio::test(flavor = "local")]
async fn a_ping_flood_ends_the_connection_calmly() {
    let (mut stream, server) = Server::start().await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(&b"\0\0\x08\x06\0\0\0\0\0pingpong".repeat(3000));
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert_eq!(server.end.await.unwrap(), End::Flood(Flood::Ping));
    read.unwrap().unwrap();
    // The last frame: GOAWAY with ENHANCE_YOUR_CALM.
    let frame = &answer[answer.len() - 17..];
    assert_eq!((frame[3], frame[16]), (7, 0xb));
}

#[tokio::test(flavor = "local")]
async fn bytes_read_ahead_are_put_back() {
    let (mut client, stream) = pair().await;
    let site = Site::default();
    let settings = Settings::new(ListenerLimits::default(), ListenerTimeouts::default());
    let unread = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0".to_vec();
    let end = tokio::task::spawn_local(serve(
        Stream::Tcp(stream),
        unread,
        peer(),
        InForce::new(settings),
        wheel().timer(),
        Drain::new(),
        site.0.buffers.clone(),
        site.clone(),
    ));
    // The rest of SETTINGS; a GET whose authority is `a`.
    client
        .write_all(b"\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x82\x84\x86\x41\x01a")
        .await
        .unwrap();
    while site.0.requests.borrow().is_empty() {
        tokio::task::yield_now().await;
    }
    client.shutdown().await.unwrap();
    client.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(end.await.unwrap(), End::Closed);
}
