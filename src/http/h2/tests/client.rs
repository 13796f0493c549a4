//! Our client, the library's server.

use std::future::poll_fn;
use std::time::Duration;

use ::h2::server::{Builder, SendResponse};
use ::h2::{Reason, RecvStream};
use ::http::{HeaderMap, Method, Request, Response};
use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::ours::{Client, ClientError, Pending};
use super::*;
use crate::http::RequestLine;
use crate::http::body::{BodyError, Frame};
use crate::http::fields::Name;
use crate::http::head::ResponseHead;

/// An endpoint that answers each request by `answer`.
async fn endpoint<F>(
    builder: Builder,
    answer: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + 'static,
) -> Client
where
    F: Future<Output = ()> + 'static,
{
    let (stream, theirs) = pair().await;
    tokio::task::spawn_local(async move {
        let mut connection = builder.handshake::<_, Bytes>(theirs).await.unwrap();
        while let Some(Ok((request, response))) = connection.accept().await {
            if request.uri().path() == "/goaway" {
                connection.abrupt_shutdown(Reason::NO_ERROR);
                continue;
            }
            if request.uri().path() == "/leave" {
                connection.graceful_shutdown();
            }
            tokio::task::spawn_local(answer(request, response));
        }
    });
    let (client, driver) = ours::connect(
        Stream::Tcp(stream),
        ours::Settings::default(),
        Buffers::default(),
        wheel(),
    )
    .await
    .unwrap();
    tokio::task::spawn_local(driver);
    client
}

/// An endpoint that greets, and then neither reads nor writes any more.
async fn silent(wheel: Wheel) -> (Client, TcpStream) {
    /// SETTINGS, and the acknowledgement of ours.
    const GREETING: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";
    let (stream, mut theirs) = pair().await;
    theirs.write_all(GREETING).await.unwrap();
    let (settings, buffers) = (ours::Settings::default(), Buffers::default());
    let connecting = ours::connect(Stream::Tcp(stream), settings, buffers, wheel);
    let (client, driver) = connecting.await.unwrap();
    tokio::task::spawn_local(driver);
    (client, theirs)
}

#[tokio::test(flavor = "local")]
async fn a_connection_on_which_a_stream_waits_in_vain_takes_no_more() {
    let (client, _stalled) = silent(wheel()).await;
    let (_sink, pending) = get(&client, "/").unwrap();
    assert!(client.is_alive());
    pending.doubt();
    assert!(!client.is_alive() && client.in_use() == 1);

    let client = endpoint(Builder::new(), |request, response| async {
        if request.uri().path() != "/hang" {
            echo(request, response).await;
        } else {
            std::future::pending().await
        }
    })
    .await;
    let (_sink, hanging) = get(&client, "/hang").unwrap();
    let (_sink, mut answered) = get(&client, "/").unwrap();
    head(&mut answered).await.unwrap();
    hanging.doubt();
    assert!(client.is_alive(), "it has answered another request since");
}

#[tokio::test(flavor = "local")]
async fn a_connection_on_which_all_is_given_up_unheard_takes_no_more() {
    let wheel = Wheel::new(Clock::scaled(10_000));
    let (client, _stalled) = silent(wheel.clone()).await;
    for _ in 0..3 {
        assert!(client.is_alive());
        let begun = wheel.now();
        let request = get(&client, "/").unwrap();
        while wheel.now().since(begun) < Duration::from_secs(1) {
            tokio::task::yield_now().await;
        }
        drop(request);
    }
    assert!(!client.is_alive());
}

/// Sends back what it gets.
async fn echo(request: Request<RecvStream>, mut response: SendResponse<Bytes>) {
    let mut head = Response::new(());
    for (name, value) in request.headers() {
        head.headers_mut().append(name.clone(), value.clone());
    }
    head.headers_mut()
        .insert("x-uri", request.uri().to_string().parse().unwrap());
    head.headers_mut().remove("te");
    let mut body = request.into_body();
    let mut stream = response.send_response(head, false).unwrap();
    while let Some(data) = body.data().await {
        let Ok(data) = data else { return };
        body.flow_control().release_capacity(data.len()).unwrap();
        stream.send_data(data, false).unwrap();
    }
    match body.trailers().await.unwrap() {
        Some(trailers) => stream.send_trailers(trailers).unwrap(),
        None => stream.send_data(Bytes::new(), true).unwrap(),
    }
}

fn send(
    client: &Client,
    method: &Method,
    target: &str,
    fields: &Fields,
    length: Length,
) -> Result<(Sink, Pending), ClientError> {
    let line = RequestLine {
        method,
        target: target.as_bytes(),
        upgrade: None,
    };
    client.send(&line, "http", &outgoing(fields, &Fields::default(), length))
}

fn get(client: &Client, target: &str) -> Result<(Sink, Pending), ClientError> {
    send(
        client,
        &Method::GET,
        target,
        &fields(&[("Host", "example.com")]),
        Length::Empty,
    )
}

async fn head(pending: &mut Pending) -> Result<ResponseHead, ClientError> {
    let mut head = ResponseHead::default();
    poll_fn(|cx| pending.poll_head(cx, &mut head))
        .await
        .map(|()| head)
}

async fn text(mut body: Body) -> Result<(Vec<u8>, Option<Box<Fields>>), BodyError> {
    let mut all = Vec::new();
    let mut scratch = vec![0; 1024];
    loop {
        match poll_fn(|cx| {
            body.poll_frame(cx, &mut scratch)
                .map_ok(|frame| match frame {
                    Frame::Data(chunk) => Ok(chunk.into_bytes()),
                    Frame::End(trailers) => Err(trailers),
                })
        })
        .await?
        {
            Ok(data) => {
                body.passed_on(data.len());
                all.extend_from_slice(&data);
            }
            Err(trailers) => return Ok((all, trailers)),
        }
    }
}

#[tokio::test(flavor = "local")]
async fn sends_a_get_and_reads_the_answer() {
    let client = endpoint(Builder::new(), echo).await;
    assert_eq!((client.in_use(), client.capacity()), (0, 100));
    let fields = fields(&[
        ("Host", "a.example:8"),
        ("X-A", "1"),
        ("Connection", "x"),
        ("TE", "trailers, deflate"),
        ("Upgrade", "y"),
    ]);
    let (sink, mut pending) =
        send(&client, &Method::GET, "/p\"?q=%20", &fields, Length::Empty).unwrap();
    assert_eq!(client.in_use(), 1);
    let head = head(&mut pending).await.unwrap();
    assert_eq!((head.status, head.length), (200, Length::Marked));
    let list: Vec<_> = head
        .fields
        .iter()
        .map(|(_, name, value)| (name, value))
        .collect();
    assert_eq!(
        list,
        [
            (&b"x-a"[..], &b"1"[..]),
            (b"x-uri", b"http://a.example:8/p\"?q=%20")
        ]
    );
    let (body, trailers) = text(pending.body()).await.unwrap();
    assert!(body.is_empty() && trailers.is_none());
    drop((sink, pending));
    assert_eq!(client.in_use(), 0);
}

#[tokio::test(flavor = "local")]
async fn streams_more_than_the_windows_hold_both_ways_with_trailers() {
    let client = endpoint(Builder::new(), echo).await;
    let fields = fields(&[("Host", "a"), ("TE", "trailers")]);
    let (mut sink, mut pending) =
        send(&client, &Method::POST, "/", &fields, Length::Marked).unwrap();
    let sent: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let body = sent.clone();
    tokio::task::spawn_local(async move {
        for piece in body.chunks(50_000) {
            poll_fn(|cx| sink.poll_ready(cx)).await.unwrap();
            let chunk = crate::http::body::Chunk::Borrowed(piece);
            poll_fn(|cx| {
                std::task::Poll::Ready(
                    sink.send(cx, crate::http::body::Chunk::Borrowed(chunk.as_slice())),
                )
            })
            .await
            .unwrap();
        }
        let trailers = self::fields(&[("grpc-status", "0"), ("Content-Length", "1")]);
        sink.finish(Some(Box::new(trailers))).unwrap();
        poll_fn(|cx| sink.poll_complete(cx)).await.unwrap();
    });
    assert_eq!(head(&mut pending).await.unwrap().status, 200);
    let (received, trailers) = text(pending.body()).await.unwrap();
    assert!(received == sent);
    let trailers = trailers.unwrap();
    assert_eq!(
        trailers.iter().map(|(name, ..)| name).collect::<Vec<_>>(),
        [Name::GrpcStatus]
    );
    assert_eq!(trailers.get(Name::GrpcStatus), Some(&b"0"[..]));
}

#[tokio::test(flavor = "local")]
async fn interim_heads_come_first() {
    let client = endpoint(Builder::new(), |_, mut response| async move {
        for status in [100, 103] {
            response
                .send_informational(Response::builder().status(status).body(()).unwrap())
                .unwrap();
        }
        let mut stream = response.send_response(Response::new(()), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("content-length", "1".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    })
    .await;
    let (_sink, mut pending) = get(&client, "/").unwrap();
    for status in [100, 103, 200] {
        assert_eq!(head(&mut pending).await.unwrap().status, status);
    }
    assert!(matches!(
        text(pending.body()).await,
        Err(BodyError::Malformed(_))
    ));
}

#[tokio::test(flavor = "local")]
async fn errors_are_told_apart() {
    let client = endpoint(Builder::new(), |request, mut response| async move {
        match request.uri().path() {
            "/refused" => response.send_reset(Reason::REFUSED_STREAM),
            "/reset" => response.send_reset(Reason::INTERNAL_ERROR),
            "/lengths" => {
                let mut head = Response::new(());
                head.headers_mut()
                    .append("content-length", "0".parse().unwrap());
                head.headers_mut()
                    .append("content-length", "0".parse().unwrap());
                response.send_response(head, true).unwrap();
            }
            _ => {
                let head = Response::builder()
                    .header("content-length", "10")
                    .body(())
                    .unwrap();
                let mut stream = response.send_response(head, false).unwrap();
                stream.send_data(Bytes::from("short"), true).unwrap();
            }
        }
    })
    .await;
    let (_, mut refused) = get(&client, "/refused").unwrap();
    let (_, mut reset) = get(&client, "/reset").unwrap();
    let (_, mut lengths) = get(&client, "/lengths").unwrap();
    let (_, mut short) = get(&client, "/short").unwrap();
    assert!(matches!(
        head(&mut refused).await,
        Err(ClientError::Refused)
    ));
    assert!(matches!(
        head(&mut reset).await,
        Err(ClientError::Reset(Reason::INTERNAL_ERROR))
    ));
    assert!(matches!(
        head(&mut lengths).await,
        Err(ClientError::Head(_))
    ));
    match head(&mut short).await {
        Ok(head) => {
            assert_eq!(head.length, Length::Exact(10));
            assert!(matches!(
                text(short.body()).await,
                Err(BodyError::Reset(Reason::PROTOCOL_ERROR))
            ));
        }
        Err(error) => assert!(
            matches!(error, ClientError::Protocol(Reason::PROTOCOL_ERROR)),
            "{error}"
        ),
    }
    assert!(client.is_alive());
    assert!(matches!(get(&client, "/a b"), Err(ClientError::Unsendable)));
    assert!(matches!(get(&client, "/a#b"), Err(ClientError::Unsendable)));
    let line = RequestLine {
        method: &Method::GET,
        target: b"/",
        upgrade: Some(b"websocket"),
    };
    let none = Fields::default();
    let sent = client.send(&line, "http", &outgoing(&none, &none, Length::Empty));
    assert!(matches!(sent, Err(ClientError::NoExtendedConnect)));
}

#[tokio::test(flavor = "local")]
async fn goaway_refuses_what_it_does_not_cover_and_lets_the_rest_finish() {
    let client = endpoint(Builder::new(), echo).await;
    let fields = fields(&[("Host", "a")]);
    let (mut sink, mut covered) =
        send(&client, &Method::POST, "/leave", &fields, Length::Exact(4)).unwrap();
    assert_eq!(head(&mut covered).await.unwrap().status, 200);
    while client.is_alive() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(get(&client, "/"), Err(ClientError::Refused)));
    assert!(
        pump(
            &mut Body::Fixed("late".into()),
            &mut sink,
            &Buffers::default()
        )
        .await
    );
    assert_eq!(text(covered.body()).await.unwrap().0, b"late");
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_ends_is_lost() {
    let client = endpoint(Builder::new(), |request, response| async move {
        let _kept = (request, response);
        std::future::pending().await
    })
    .await;
    let (_sink, mut lost) = get(&client, "/").unwrap();
    let (_other, mut last) = get(&client, "/goaway").unwrap();
    // Both streams are covered by the GOAWAY; one is reset before the connection ends.
    let error = head(&mut lost).await.unwrap_err();
    assert!(matches!(error, ClientError::Lost), "{error:?}");
    assert!(head(&mut last).await.is_err());
    assert!(!client.is_alive());
}

#[tokio::test(flavor = "local")]
async fn streams_beyond_what_the_endpoint_allows_are_refused() {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(2);
    let client = endpoint(builder, echo).await;
    assert_eq!(client.capacity(), 2);
    let (_one, first) = get(&client, "/").unwrap();
    let (_two, mut second) = get(&client, "/").unwrap();
    assert_eq!(client.in_use(), client.capacity());
    assert!(matches!(get(&client, "/"), Err(ClientError::Refused)));
    drop((_one, first));
    assert_eq!(client.in_use(), 1);
    assert_eq!(head(&mut second).await.unwrap().status, 200);
    let (_three, mut third) = get(&client, "/").unwrap();
    assert_eq!(head(&mut third).await.unwrap().status, 200);
}

#[tokio::test(flavor = "local")]
async fn an_extended_connect_carries_raw_bytes() {
    let mut builder = Builder::new();
    builder.enable_connect_protocol();
    let client = endpoint(builder, echo).await;
    let line = RequestLine {
        method: &Method::GET,
        target: b"/chat",
        upgrade: Some(b"websocket"),
    };
    let fields = fields(&[("Host", "a")]);
    let none = Fields::default();
    let (mut sink, mut pending) = client
        .send(&line, "https", &outgoing(&fields, &none, Length::Empty))
        .unwrap();
    let head = head(&mut pending).await.unwrap();
    assert_eq!((head.status, head.length), (200, Length::Close));
    assert!(
        pump(
            &mut Body::Fixed("frame".into()),
            &mut sink,
            &Buffers::default()
        )
        .await
    );
    assert_eq!(text(pending.body()).await.unwrap().0, b"frame");
}

#[tokio::test(flavor = "local")]
async fn what_does_not_speak_http2_is_not_connected_to() {
    let (stream, mut theirs) = pair().await;
    tokio::task::spawn_local(async move {
        theirs
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
    });
    let connected = ours::connect(
        Stream::Tcp(stream),
        ours::Settings::default(),
        Buffers::default(),
        wheel(),
    )
    .await;
    assert!(connected.is_err());
}
