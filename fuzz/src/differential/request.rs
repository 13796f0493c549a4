//! Requests: what a client sends, to us and to hyper's server.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{Method, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use plimsoll::http::fields::Name;
use plimsoll::http::h1::parse;
use plimsoll::http::head::{RequestHead, Version};

use super::memory::{Memory, drive};
use super::{LIMITS, Payload};
use crate::Decoded;

pub fn run(data: &[u8]) {
    let ours = read_by_us(data);
    let (theirs, error) = read_by_hyper(data);
    for (i, ours) in ours.iter().enumerate() {
        compare_to_httparse(ours);
        match theirs.get(i) {
            Some(theirs) => compare_to_hyper(ours, theirs, data),
            None => {
                // hyper closes where it likes; but what it calls malformed has to have a reason that we know.
                let excused = error.as_ref().is_none_or(|error| !error.is_parse())
                    || is_refused_by_hyper(&ours.head);
                assert!(
                    excused,
                    "hyper refuses ({error:?}) what we accept: {}",
                    data.escape_ascii()
                );
                return;
            }
        }
    }
}

/// A request whose head we accepted.
struct Ours<'a> {
    head: RequestHead,
    head_bytes: &'a [u8],
    body: Option<Decoded>,
}

fn read_by_us(data: &[u8]) -> Vec<Ours<'_>> {
    let mut messages = Vec::new();
    let mut rest = data;
    loop {
        let mut head = RequestHead::default();
        let Ok(Some(end)) = parse::request(rest, &LIMITS, &mut head) else {
            return messages;
        };
        let (head_bytes, after) = rest.split_at(end);
        let body = super::body(head.length, after);
        let next = body.as_ref().map(|body| &after[body.consumed..]);
        let goes_on = head.keep_alive && head.method != Method::CONNECT && head.upgrade.is_none();
        messages.push(Ours {
            head,
            head_bytes,
            body,
        });
        match next {
            Some(next) if goes_on => rest = next,
            _ => return messages,
        }
    }
}

fn compare_to_httparse(ours: &Ours<'_>) {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    let length = request
        .parse(ours.head_bytes)
        .expect("httparse reads what we read")
        .unwrap();
    assert_eq!(length, ours.head_bytes.len());
    assert_eq!(request.method, Some(ours.head.method.as_str()));
    assert_eq!(
        request.version,
        Some(u8::from(ours.head.version == Version::Http11))
    );
    super::compare_to_httparse(&ours.head.fields, request.headers, Some(Name::Host));
}

/// A request as hyper gave it to its service.
struct Theirs {
    head: http::request::Parts,
    /// `None` when it broke off.
    body: Option<Payload>,
}

fn compare_to_hyper(ours: &Ours<'_>, theirs: &Theirs, data: &[u8]) {
    let shown = data.escape_ascii();
    let head = &theirs.head;
    assert_eq!(ours.head.method, head.method, "{shown}");
    let is_old = ours.head.version == Version::Http10;
    assert_eq!(is_old, head.version == http::Version::HTTP_10, "{shown}");
    compare_target(&ours.head, &head.uri, data);
    // The Host of an absolute target is one field for us, and hyper may have none.
    let except = head.uri.authority().map(|_| Name::Host);
    let mut fields = super::in_order_of_names_by_hyper(&head.headers);
    fields.retain(|(name, _)| Some(Name::of(name)) != except);
    assert_eq!(super::fields(&ours.head.fields, except), fields, "{shown}");
    let Some(body) = &ours.body else { return };
    if ours.head.method != Method::CONNECT {
        let theirs = theirs.body.as_ref();
        let theirs = theirs.unwrap_or_else(|| panic!("a body that breaks off: {shown}"));
        theirs.compare(body, &shown);
    }
}

fn compare_target(ours: &RequestHead, uri: &Uri, data: &[u8]) {
    let theirs = match uri.path_and_query() {
        Some(path) => path.as_str(),
        None => uri.authority().map_or("", |authority| authority.as_str()),
    };
    let same = match &ours.target[..] {
        // Of OPTIONS on no path (RFC 9112, 3.2.4).
        b"*" if uri.authority().is_some() => theirs == "/",
        // An empty path is written as a slash (RFC 9112, 3.2.1).
        [b'/', query @ ..] if theirs.starts_with('?') => query == theirs.as_bytes(),
        target => target == theirs.as_bytes(),
    };
    assert!(same, "{theirs:?}: {}", data.escape_ascii());
    if let Some(authority) = uri.authority() {
        assert_eq!(
            ours.fields.get(Name::Host),
            Some(authority.as_str().as_bytes()),
            "{}",
            data.escape_ascii()
        );
    }
}

/// hyper takes no target that the crate `http` does not, and bounds its length.
fn is_refused_by_hyper(head: &RequestHead) -> bool {
    Uri::from_maybe_shared(Bytes::copy_from_slice(&head.target)).is_err()
        || head
            .fields
            .get(Name::Host)
            .is_some_and(|host| http::uri::Authority::try_from(host).is_err())
        || super::is_too_long_for_hyper(head.length)
}

fn read_by_hyper(data: &[u8]) -> (Vec<Theirs>, Option<hyper::Error>) {
    let messages: Rc<RefCell<Vec<Theirs>>> = Rc::default();
    let service = hyper::service::service_fn(|request: http::Request<Incoming>| {
        let messages = Rc::clone(&messages);
        async move {
            let (head, body) = request.into_parts();
            // At once, since hyper forgets the service when the body breaks off.
            messages.borrow_mut().push(Theirs { head, body: None });
            let body = Payload::read(body).await;
            if let Some(message) = messages.borrow_mut().last_mut() {
                message.body = body;
            }
            Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.max_headers(100).half_close(true);
    let mut connection = pin!(builder.serve_connection(Memory::of_client(data), service));
    let mut cx = Context::from_waker(Waker::noop());
    let result = drive(|| connection.as_mut().poll(&mut cx));
    let messages = std::mem::take(&mut *messages.borrow_mut());
    (messages, result.and_then(Result::err))
}
