//! The same bytes for our parser, for httparse alone and for hyper's server: a message that we accept, they must not
//! read differently. They may refuse what we accept only for reasons that are named here.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Method, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use plimsoll::http::fields::{Fields, Name};
use plimsoll::http::h1::parse;
use plimsoll::http::head::{RequestHead, Version};

use crate::{Decoded, decode, pairs};

const LIMITS: parse::Limits = parse::Limits {
    head_bytes: 64 * 1024,
    fields: 100,
};

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

/// A request that we accepted, as far as its bytes went.
struct Ours<'a> {
    head: RequestHead,
    head_bytes: &'a [u8],
    body: Decoded,
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
        let Ok(body) = decode(head.length, after, after.len()) else {
            return messages;
        };
        if !body.done {
            return messages;
        }
        rest = &after[body.consumed..];
        let goes_on = head.keep_alive && head.method != Method::CONNECT && head.upgrade.is_none();
        messages.push(Ours {
            head,
            head_bytes,
            body,
        });
        if !goes_on {
            return messages;
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
    let named = |name: &str| !name.eq_ignore_ascii_case("host");
    let theirs: Vec<_> = request
        .headers
        .iter()
        .filter(|field| named(field.name))
        .map(|field| (field.name.as_bytes(), field.value))
        .collect();
    let fields = ours
        .head
        .fields
        .iter()
        .filter(|field| field.0 != Name::Host);
    let ours: Vec<_> = fields.map(|(_, name, value)| (name, value)).collect();
    assert_eq!(ours, theirs);
}

/// A request as hyper gave it to its service.
struct Theirs {
    head: http::request::Parts,
    /// `None` when it broke off.
    data: Option<Bytes>,
}

fn compare_to_hyper(ours: &Ours<'_>, theirs: &Theirs, data: &[u8]) {
    let shown = data.escape_ascii();
    let head = &theirs.head;
    assert_eq!(ours.head.method, head.method, "{shown}");
    let is_old = ours.head.version == Version::Http10;
    assert_eq!(is_old, head.version == http::Version::HTTP_10, "{shown}");
    compare_target(&ours.head, &head.uri, data);
    for (name, value) in pairs(&ours.head.fields) {
        if name == b"host" && head.uri.authority().is_some() {
            continue;
        }
        let name = http::HeaderName::from_bytes(&name).expect("a valid name");
        let found = head
            .headers
            .get_all(&name)
            .iter()
            .any(|other| other.as_bytes() == value);
        assert!(found, "{name} is not in hyper's head: {shown}");
    }
    // The Host of an absolute target is one field for us, and hyper may have none.
    let count = |fields: &Fields| fields.iter().filter(|field| field.0 != Name::Host).count();
    let host_fields = head.headers.get_all(http::header::HOST).iter().count();
    assert_eq!(
        count(&ours.head.fields),
        head.headers.len() - host_fields,
        "{shown}"
    );
    if ours.head.method == Method::CONNECT {
        return;
    }
    assert_eq!(theirs.data.as_deref(), Some(&ours.body.data[..]), "{shown}");
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
}

fn read_by_hyper(data: &[u8]) -> (Vec<Theirs>, Option<hyper::Error>) {
    let messages: Rc<RefCell<Vec<Theirs>>> = Rc::default();
    let service = hyper::service::service_fn(|request: http::Request<Incoming>| {
        let messages = Rc::clone(&messages);
        async move {
            let (head, body) = request.into_parts();
            let data = body.collect().await.ok().map(|body| body.to_bytes());
            messages.borrow_mut().push(Theirs { head, data });
            Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.max_headers(100).half_close(true);
    let connection = builder.serve_connection(
        Memory {
            input: data.to_vec(),
            at: 0,
        },
        service,
    );
    let mut connection = pin!(connection);
    let mut cx = Context::from_waker(Waker::noop());
    // Everything is ready at once; the bound is against a loop without an end.
    let mut result = None;
    for _ in 0..1000 {
        if let Poll::Ready(end) = connection.as_mut().poll(&mut cx) {
            result = end.err();
            break;
        }
    }
    let messages = std::mem::take(&mut *messages.borrow_mut());
    (messages, result)
}

/// A socket that holds all it will ever receive and forgets what is sent.
struct Memory {
    input: Vec<u8>,
    at: usize,
}

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let count = buffer.remaining().min(self.input.len() - self.at);
        let at = self.at;
        buffer.put_slice(&self.input[at..at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
