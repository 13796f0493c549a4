//! Responses: what an endpoint answers, to us and to hyper's client. Told apart message by message, each on a connection
//! of its own for hyper, which then says how many bytes it left over.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use plimsoll::http::h1::parse;
use plimsoll::http::head::{ResponseHead, Version};

use super::memory::{Memory, drive};
use super::{LIMITS, Payload};
use crate::Decoded;

/// The first byte chooses what is answered.
pub fn run(data: &[u8]) {
    let Some((choice, mut rest)) = data.split_first() else {
        return;
    };
    let method = match choice % 3 {
        0 => Method::GET,
        1 => Method::HEAD,
        _ => Method::CONNECT,
    };
    loop {
        let ours = read_by_us(&method, rest);
        if ours.heads.is_empty() {
            return;
        }
        for head in &ours.heads {
            compare_to_httparse(head);
        }
        compare_to_hyper(&ours, &read_by_hyper(&method, rest), rest);
        match (&ours.body, ours.heads.last()) {
            (Some(body), Some(last)) if last.head.keep_alive => rest = &ours.rest[body.consumed..],
            _ => return,
        }
    }
}

/// An answer: its interim heads and its final one, as far as we accepted them.
struct Ours<'a> {
    heads: Vec<OurHead<'a>>,
    /// Of the final head.
    body: Option<Decoded>,
    /// What follows the last head.
    rest: &'a [u8],
    /// HTTP ends with the final head.
    is_tunnel: bool,
}

struct OurHead<'a> {
    head: ResponseHead,
    bytes: &'a [u8],
}

fn read_by_us<'a>(method: &Method, data: &'a [u8]) -> Ours<'a> {
    let mut ours = Ours {
        heads: Vec::new(),
        body: None,
        rest: data,
        is_tunnel: false,
    };
    loop {
        let mut head = ResponseHead::default();
        let Ok(Some(end)) = parse::response(ours.rest, &LIMITS, method, &mut head) else {
            return ours;
        };
        let (bytes, rest) = ours.rest.split_at(end);
        ours.rest = rest;
        let is_final = !head.is_interim();
        if is_final {
            ours.body = super::body(head.length, rest);
            let is_connected = *method == Method::CONNECT && matches!(head.status, 200..300);
            ours.is_tunnel = is_connected || head.status == 101;
        }
        ours.heads.push(OurHead { head, bytes });
        if is_final {
            return ours;
        }
    }
}

fn compare_to_httparse(ours: &OurHead<'_>) {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut response = httparse::Response::new(&mut fields);
    let length = response
        .parse(ours.bytes)
        .expect("httparse reads what we read")
        .unwrap();
    let head = &ours.head;
    assert_eq!(length, ours.bytes.len());
    assert_eq!(response.code, Some(head.status));
    assert_eq!(
        response.reason.map(str::as_bytes),
        Some(&head.reason[..]),
        "{}",
        ours.bytes.escape_ascii()
    );
    assert_eq!(
        response.version,
        Some(u8::from(head.version == Version::Http11))
    );
    super::compare_to_httparse(&head.fields, response.headers, None);
}

/// An answer as hyper read it.
struct Theirs {
    heads: Vec<TheirHead>,
    /// `None` when it broke off, or there was no final head.
    body: Option<Payload>,
    /// What was not read, or read for nobody.
    left: Vec<u8>,
    error: Option<hyper::Error>,
}

struct TheirHead {
    status: u16,
    version: http::Version,
    fields: HeaderMap,
}

fn compare_to_hyper(ours: &Ours<'_>, theirs: &Theirs, data: &[u8]) {
    let shown = data.escape_ascii();
    for (i, OurHead { head, .. }) in ours.heads.iter().enumerate() {
        let Some(theirs) = theirs.heads.get(i) else {
            assert!(
                super::is_too_long_for_hyper(head.length),
                "hyper refuses ({:?}) what we accept: {shown}",
                theirs.error
            );
            return;
        };
        assert_eq!(head.status, theirs.status, "{shown}");
        let is_old = head.version == Version::Http10;
        assert_eq!(is_old, theirs.version == http::Version::HTTP_10, "{shown}");
        assert_eq!(
            super::fields(&head.fields, None),
            super::in_order_of_names_by_hyper(&theirs.fields),
            "{shown}"
        );
    }
    let Some(body) = &ours.body else { return };
    // What follows belongs to the tunnel: hyper leaves it over, for us it is the body.
    if ours.is_tunnel {
        assert_eq!((&body.data, ours.rest), (&theirs.left, &theirs.left[..]));
        return;
    }
    let read = theirs.body.as_ref();
    let read =
        read.unwrap_or_else(|| panic!("a body that breaks off ({:?}): {shown}", theirs.error));
    read.compare(body, &shown);
    assert_eq!(ours.rest[body.consumed..], theirs.left, "{shown}");
}

fn read_by_hyper(method: &Method, data: &[u8]) -> Theirs {
    let mut cx = Context::from_waker(Waker::noop());
    let mut builder = http1::Builder::new();
    builder.max_headers(100);
    let mut handshake = pin!(builder.handshake(Memory::of_server(data)));
    let (mut sender, mut connection): (SendRequest<Empty<Bytes>>, Connection<_, _>) =
        drive(|| handshake.as_mut().poll(&mut cx))
            .expect("a handshake of HTTP/1 waits for nobody")
            .expect("a handshake of HTTP/1 does not fail");

    let heads: Arc<Mutex<Vec<TheirHead>>> = Arc::default();
    let mut exchange = pin!(exchange(&mut sender, request(method, &heads), &heads));
    let mut body = None;
    let result = drive(|| {
        // The exchange before and after, for what the connection has left it at its end.
        if body.is_none() {
            body = ready(exchange.as_mut().poll(&mut cx));
        }
        let end = connection.poll_without_shutdown(&mut cx);
        if body.is_none() {
            body = ready(exchange.as_mut().poll(&mut cx));
        }
        end
    });
    let parts = connection.into_parts();
    let heads = std::mem::take(&mut *heads.lock().expect("nobody panics with it"));
    Theirs {
        heads,
        body: body.flatten(),
        left: [&parts.read_buf[..], parts.io.unread()].concat(),
        error: result.and_then(Result::err),
    }
}

/// Asks, and reads the answer to its end.
async fn exchange(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    heads: &Mutex<Vec<TheirHead>>,
) -> Option<Payload> {
    let response: Response<Incoming> = sender.send_request(request).await.ok()?;
    let (head, body) = response.into_parts();
    heads
        .lock()
        .expect("nobody panics with it")
        .push(TheirHead {
            status: head.status.as_u16(),
            version: head.version,
            fields: head.headers,
        });
    Payload::read(body).await
}

/// A request whose interim answers are kept too.
fn request(method: &Method, heads: &Arc<Mutex<Vec<TheirHead>>>) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method.clone();
    if *method == Method::CONNECT {
        *request.uri_mut() = http::Uri::from_static("a:1");
    }
    let heads = Arc::clone(heads);
    hyper::ext::on_informational(&mut request, move |head| {
        heads
            .lock()
            .expect("nobody panics with it")
            .push(TheirHead {
                status: head.status().as_u16(),
                version: head.version(),
                fields: head.headers().clone(),
            });
    });
    request
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
