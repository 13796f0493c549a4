//! The head of a request as JSON: as it came over the wire where that is known, else as the library kept it.

use hyper::{HeaderMap, Version, http::request::Parts};
use serde_json::{Value, json};

/// Fields of one head that are looked at.
const MOST_FIELDS: usize = 256;

type Fields = Vec<(String, String)>;

/// `tapped` are the bytes that came in since the last answer.
///
/// `exact` tells whether order, spelling and target are those of the wire; they are not over HTTP/2, where the
/// fields of one name stand together, and for pipelined requests.
pub(super) fn describe(head: &Parts, tapped: Option<&[u8]>) -> Value {
    let wire = tapped.and_then(|bytes| on_the_wire(bytes, head));
    let exact = wire.is_some();
    let (target, fields) = wire.unwrap_or_else(|| {
        let target = head
            .uri
            .path_and_query()
            .map_or("*", |target| target.as_str());
        (target.to_owned(), listed(Some(&head.headers)))
    });
    let version = match head.version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    json!({
        "method": head.method.as_str(),
        "target": target,
        "version": version,
        "scheme": head.uri.scheme_str(),
        "authority": head.uri.authority().map(|authority| authority.as_str()),
        "fields": fields,
        "exact": exact,
    })
}

/// Target and fields of the head at the start of `bytes`, if it is the one that the library read.
fn on_the_wire(bytes: &[u8], head: &Parts) -> Option<(String, Fields)> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    parsed
        .parse(bytes)
        .ok()
        .filter(httparse::Status::is_complete)?;
    let target = head.uri.path_and_query()?.as_str();
    let same = parsed.method == Some(head.method.as_str())
        && parsed.headers.len() == head.headers.len()
        && parsed.path.is_some_and(|path| path.ends_with(target));
    let fields = parsed
        .headers
        .iter()
        .map(|field| (field.name.to_owned(), text(field.value)))
        .collect();
    same.then_some((parsed.path?.to_owned(), fields))
}

/// Every field, repeated ones too, in the order of the map.
pub(super) fn listed(fields: Option<&HeaderMap>) -> Fields {
    let fields = fields.into_iter().flatten();
    fields
        .map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())))
        .collect()
}

/// Each byte as the character of that number, so that no byte is lost in JSON.
pub(super) fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
