//! Heads between the library's types and the model.
//!
//! Towards the model everything is checked that RFC 9113, 8.2 and 8.3, asks of an intermediary and the library does
//! not check; towards the wire whatever may not stand in an HTTP/2 message is left out.
//!
//! What cannot be seen here: the library reads `:path` into a `Uri`, which cuts a fragment off without a word. `/a#b`,
//! which HTTP/1 answers with 400, is `/a` by then, for routes and endpoints alike. The bytes on the wire are compressed,
//! so that nothing beneath the library could tell either.

use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ::http::request;

use crate::config::ListenerLimits;
use crate::http::fields::{Fields, Name, Names};
use crate::http::h1::body::DecodeError;
use crate::http::h1::framing;
use crate::http::h1::parse::ParseError;
use crate::http::head::{Length, RequestHead, ResponseHead, Version};
use crate::http::headers::{self, DROPPED_TRAILERS, HOP_BY_HOP, REFUSED_TRAILERS};
use crate::http::outgoing::Outgoing;
use crate::http::{target, upgrade};

/// Fields of one connection: a message that has one is malformed (RFC 9113, 8.2.2). `TE` is judged by its value.
const FORBIDDEN: Names = Names::of(&[
    Name::Connection,
    Name::KeepAlive,
    Name::ProxyConnection,
    Name::TransferEncoding,
    Name::Upgrade,
]);
/// Never copied from a received head: written anew, or not at all.
const OWN: Names = HOP_BY_HOP.and(Names::of(&[Name::ContentLength]));
/// Fields of a trailer section.
const TRAILER_FIELDS: usize = 64;

/// Reads a request. `ends`: END_STREAM came with the head. The length of a tunnel (CONNECT) is `Close`.
pub(super) fn read_request(
    parts: request::Parts,
    ends: bool,
    limits: &ListenerLimits,
    head: &mut RequestHead,
) -> Result<(), ParseError> {
    head.clear();
    let authority = parts
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    if let Some(authority) = authority {
        if !target::is_authority(authority) {
            return Err(ParseError::MalformedHost);
        }
        head.fields.push_known(Name::Host, b"host", authority);
    }
    let content_length = read_fields(
        &parts.headers,
        limits.fields,
        authority.is_some(),
        &mut head.fields,
    )?;
    let protocol = parts.extensions.get::<::h2::ext::Protocol>();
    let is_connect = parts.method == ::http::Method::CONNECT;
    match (is_connect, protocol) {
        (true, None) => {
            let authority = authority.filter(|authority| target::is_host_and_port(authority));
            head.target
                .extend_from_slice(authority.ok_or(ParseError::BadTarget)?);
        }
        _ => head.target.extend_from_slice(path(&parts)?),
    }
    check_size(parts.method.as_str().len(), limits.head_bytes, head)?;
    if authority.is_none() {
        check_host(&head.fields)?;
    }
    if let Some(protocol) = protocol {
        // The library looks only for UTF-8 in it, line ends and all.
        let protocol = protocol.as_str().as_bytes();
        if !upgrade::is_protocol(protocol) {
            return Err(ParseError::BadProtocol);
        }
        head.upgrade = Some(protocol.to_vec());
    }
    head.expects_continue = head
        .fields
        .get(Name::Expect)
        .is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    head.length = match content_length {
        _ if is_connect => Length::Close,
        Some(length) => Length::Exact(length),
        None if ends => Length::Empty,
        None => Length::Marked,
    };
    head.method = parts.method;
    head.version = Version::Http2;
    head.keep_alive = true;
    Ok(())
}

/// Path and query as received: `/` and what follows, or `*` for OPTIONS (RFC 9113, 8.3.1).
fn path(parts: &request::Parts) -> Result<&[u8], ParseError> {
    let path = parts
        .uri
        .path_and_query()
        .ok_or(ParseError::BadTarget)?
        .as_str()
        .as_bytes();
    let is_asterisk = path == b"*" && parts.method == ::http::Method::OPTIONS;
    if path.first() == Some(&b'/') || is_asterisk {
        Ok(path)
    } else {
        Err(ParseError::BadTarget)
    }
}

/// Measures a head as HTTP/1 would write it, so that one limit means the same in both.
fn check_size(method: usize, limit: usize, head: &RequestHead) -> Result<(), ParseError> {
    let line = method + head.target.len() + b"  HTTP/1.1\r\n".len();
    if line > limit {
        Err(ParseError::TargetTooLong)
    } else if line + head.fields.wire_length() + b"\r\n".len() > limit {
        Err(ParseError::TooManyBytes)
    } else {
        Ok(())
    }
}

/// Exactly one valid `Host` must stand among the fields: `http` and `https` have a mandatory authority.
fn check_host(fields: &Fields) -> Result<(), ParseError> {
    let mut hosts = fields.all(Name::Host);
    let host = hosts.next().ok_or(ParseError::MissingHost)?;
    if hosts.next().is_some() {
        return Err(ParseError::RepeatedHost);
    }
    if target::is_authority(host) {
        Ok(())
    } else {
        Err(ParseError::MalformedHost)
    }
}

/// Reads a response. `ends`: END_STREAM came with the head; `is_head`: it answers HEAD.
pub(super) fn read_response(
    status: u16,
    map: &HeaderMap,
    ends: bool,
    is_head: bool,
    limit: usize,
    head: &mut ResponseHead,
) -> Result<(), ParseError> {
    head.clear();
    let content_length = read_fields(map, limit, false, &mut head.fields)?;
    head.status = status;
    head.version = Version::Http2;
    head.keep_alive = true;
    head.length = match content_length {
        _ if is_head || matches!(status, 100..200 | 204 | 304) => Length::Empty,
        Some(length) => Length::Exact(length),
        None if ends => Length::Empty,
        None => Length::Marked,
    };
    Ok(())
}

/// Reads trailers. Those that would have changed framing or routing make the message malformed.
pub(super) fn read_trailers(map: &HeaderMap) -> Result<Option<Box<Fields>>, DecodeError> {
    let mut fields = Box::<Fields>::default();
    read_fields(map, TRAILER_FIELDS, false, &mut fields).map_err(DecodeError::BadTrailer)?;
    if fields.present().meets(REFUSED_TRAILERS) {
        return Err(DecodeError::ForbiddenTrailer);
    }
    Ok((!fields.is_empty()).then_some(fields))
}

/// Copies fields and gives the content length that they tell. Cookies become one field again (RFC 9113, 8.2.3).
fn read_fields(
    map: &HeaderMap,
    limit: usize,
    without_host: bool,
    fields: &mut Fields,
) -> Result<Option<u64>, ParseError> {
    if map.len() > limit {
        return Err(ParseError::TooManyFields);
    }
    let mut content_length = None;
    for (spelt, value) in map {
        let (spelt, value) = (spelt.as_str().as_bytes(), value.as_bytes());
        if is_space(value.first()) || is_space(value.last()) {
            return Err(ParseError::BadFieldValue);
        }
        let name = Name::of(spelt);
        match name {
            Name::Other => {}
            Name::Host if without_host => continue,
            // All values of a name follow one another: the first brings the others along.
            Name::Cookie if fields.contains(Name::Cookie) => continue,
            Name::Cookie => {
                push_cookies(map, fields);
                continue;
            }
            Name::ContentLength if content_length.is_some() => {
                return Err(ParseError::RepeatedLength);
            }
            Name::ContentLength => {
                content_length =
                    Some(framing::content_length(value).ok_or(ParseError::MalformedLength)?);
            }
            Name::Te if !value.eq_ignore_ascii_case(b"trailers") => {
                return Err(ParseError::BadFieldValue);
            }
            _ if FORBIDDEN.contains(name) => return Err(ParseError::BadFieldName),
            _ => {}
        }
        fields.push_known(name, spelt, value);
    }
    Ok(content_length)
}

fn is_space(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b' ' | b'\t'))
}

fn push_cookies(map: &HeaderMap, fields: &mut Fields) {
    let mut crumbs = map.get_all(header::COOKIE).iter();
    let Some(first) = crumbs.next() else { return };
    let Some(second) = crumbs.next() else {
        fields.push_known(Name::Cookie, b"cookie", first.as_bytes());
        return;
    };
    let mut cookie = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        cookie.extend_from_slice(b"; ");
        cookie.extend_from_slice(crumb.as_bytes());
    }
    fields.push_known(Name::Cookie, b"cookie", &cookie);
}

/// The fields of a request, without its pseudo-fields and without `Host`, which `:authority` replaces.
pub(super) fn write_request(head: &Outgoing<'_>) -> HeaderMap {
    let mut map = write_fields(head, OWN.and(Names::of(&[Name::Host])));
    // Trailers are passed on, so an endpoint may be told so; gRPC asks for it.
    if [head.fields, head.extra]
        .iter()
        .any(|fields| headers::accepts_trailers(fields))
    {
        map.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Length::Exact(length) = head.length {
        map.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    map
}

/// The fields of a final response. `bodiless`: no body follows, whatever the length is (HEAD, 204, 304); then the
/// length that a body would have is still told where it is known (RFC 9110, 8.6). `is_tunnel`: raw bytes follow.
pub(super) fn write_response(
    status: u16,
    head: &Outgoing<'_>,
    bodiless: bool,
    is_tunnel: bool,
) -> HeaderMap {
    let mut map = write_fields(head, OWN);
    let length = match head.length {
        _ if status == 204 || is_tunnel => None,
        Length::Exact(length) => Some(length),
        _ if bodiless => head
            .fields
            .get(Name::ContentLength)
            .and_then(framing::content_length),
        Length::Empty => Some(0),
        Length::Marked | Length::Close => None,
    };
    if let Some(length) = length {
        map.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    map
}

/// The fields of an interim response.
pub(super) fn write_interim(head: &Outgoing<'_>) -> HeaderMap {
    write_fields(head, OWN)
}

/// Trailers, without those that may not be any; `None` when nothing is left.
pub(super) fn write_trailers(trailers: &Fields) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(trailers.len());
    append(
        &mut map,
        trailers,
        REFUSED_TRAILERS.and(DROPPED_TRAILERS),
        &[],
    );
    (!map.is_empty()).then_some(map)
}

fn write_fields(head: &Outgoing<'_>, own: Names) -> HeaderMap {
    // One more for the length.
    let mut map = HeaderMap::with_capacity(head.fields.len() + head.extra.len() + 1);
    append(&mut map, head.fields, head.skip.and(own), head.omit);
    append(&mut map, head.extra, own, &[]);
    map
}

/// Appends what is neither in `skip` nor in `omit`. A field that the library would not take is left out: the parsers
/// let none through, and a head that cannot be sent helps nobody.
fn append(map: &mut HeaderMap, fields: &Fields, skip: Names, omit: &[Vec<u8>]) {
    for (name, spelt, value) in fields.iter() {
        if skip.contains(name)
            || omit
                .iter()
                .any(|omitted| spelt.eq_ignore_ascii_case(omitted))
        {
            continue;
        }
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(spelt),
            HeaderValue::from_bytes(value),
        ) {
            // Fails only beyond 24 576 fields.
            let _ = map.try_append(name, value);
        }
    }
}
