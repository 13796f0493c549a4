//! The same bytes for our parser, for httparse alone and for hyper: a message that we accept, they must not read
//! differently. They may refuse what we accept only for reasons that are named here.

mod memory;
pub mod request;
pub mod response;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use plimsoll::http::fields::{Fields, Name};
use plimsoll::http::h1::parse::Limits;
use plimsoll::http::head::Length;
use plimsoll::http::headers;

use crate::{Decoded, decode, pairs};

const LIMITS: Limits = Limits {
    head_bytes: 64 * 1024,
    fields: 100,
};
/// hyper keeps two lengths for meanings of its own.
const LONGEST_OF_HYPER: u64 = u64::MAX - 2;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The body behind a head that we accepted; `None` when it is malformed or breaks off. One that ends with its
/// connection is whole, since the connection ends here.
fn body(length: Length, input: &[u8]) -> Option<Decoded> {
    let body = decode(length, input, input.len()).ok()?;
    (body.done || length == Length::Close).then_some(body)
}

/// httparse keeps names and values where they stood, as we do.
fn compare_to_httparse(ours: &Fields, theirs: &[httparse::Header<'_>], except: Option<Name>) {
    let is_compared = |name: Name| Some(name) != except;
    let ours: Vec<_> = ours
        .iter()
        .filter(|field| is_compared(field.0))
        .map(|(_, name, value)| (name, value))
        .collect();
    let theirs: Vec<_> = theirs
        .iter()
        .map(|field| (field.name.as_bytes(), field.value))
        .filter(|(name, _)| is_compared(Name::of(name)))
        .collect();
    assert_eq!(ours, theirs);
}

/// hyper keeps the order among fields of one name only.
fn in_order_of_names(mut fields: Pairs) -> Pairs {
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields
}

fn in_order_of_names_by_hyper(map: &HeaderMap) -> Pairs {
    in_order_of_names(
        map.iter()
            .map(|(name, value)| (name.as_str().into(), value.as_bytes().into()))
            .collect(),
    )
}

/// A body as hyper read it to its end.
struct Payload {
    data: Bytes,
    trailers: HeaderMap,
}

impl Payload {
    /// `None` when it broke off.
    async fn read(body: Incoming) -> Option<Self> {
        let body = body.collect().await.ok()?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Some(Self {
            data: body.to_bytes(),
            trailers,
        })
    }

    fn compare(&self, ours: &Decoded, shown: &dyn std::fmt::Display) {
        assert_eq!(ours.data, self.data, "{shown}");
        let mut trailers = in_order_of_names_by_hyper(&self.trailers);
        trailers.retain(|(name, _)| !headers::DROPPED_TRAILERS.contains(Name::of(name)));
        assert_eq!(
            in_order_of_names(ours.trailers.clone()),
            trailers,
            "{shown}"
        );
    }
}

/// Whether hyper refuses every head that announces so much.
fn is_too_long_for_hyper(length: Length) -> bool {
    matches!(length, Length::Exact(length) if length > LONGEST_OF_HYPER)
}

/// What is compared of the fields of a head.
fn fields(ours: &Fields, except: Option<Name>) -> Pairs {
    let mut fields = pairs(ours);
    fields.retain(|(name, _)| Some(Name::of(name)) != except);
    in_order_of_names(fields)
}
