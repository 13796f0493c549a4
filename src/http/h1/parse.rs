//! Message heads of HTTP/1: bytes in, model out.
//!
//! httparse reads the grammar. It forgives bare LF and knows nothing of what fields mean, so the line ends are
//! checked before it runs and the rules of RFC 9112 on `Host` and framing after it. What is refused is refused with
//! its cause; nothing is repaired, because the next reader might repair it differently.
//!
//! Accepted beyond the letter of the RFC, since common peers need it: UTF-8 in targets, a status line without the
//! space before an empty reason, statuses up to 999, one or two empty lines before a request line.

use std::mem::MaybeUninit;

use memchr::memchr_iter;

pub use super::error::ParseError;
use super::framing::Framing;
use super::request_target;
use crate::http::fields::{Fields, Name};
use crate::http::head::{Length, RequestHead, ResponseHead, Version};
use crate::http::upgrade::is_protocol;
use crate::http::{headers, target};

/// Bounds of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes from the first of the start line to the last of the empty line.
    pub head_bytes: usize,
    /// Number of fields.
    pub fields: usize,
}

/// Fields that are parsed without a buffer on the heap.
const ON_STACK: usize = 128;
/// An incomplete head is parsed for early errors only up to this many bytes, so that a peer that sends byte by byte
/// does not make us parse a long head again and again; beyond it only line ends are looked for.
const EARLY: usize = 4 * 1024;
/// Empty lines before a request line that are skipped (RFC 9112, 2.2).
const EMPTY_LINES: usize = 2;
/// A longer name could not be told by the model.
const NAME_BYTES: usize = u16::MAX as usize;

type Slot<'b> = MaybeUninit<httparse::Header<'b>>;

/// Reads a request head into `head`. `None`: nothing wrong so far, but incomplete. `Some(n)`: the first n bytes of
/// `input` were the head. After an error the connection is of no further use.
pub fn request(
    input: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Option<usize>, ParseError> {
    let skipped = empty_lines(input);
    let input = &input[skipped..];
    if input.len() < 2 && input.iter().all(|byte| *byte == b'\r') {
        return Ok(None);
    }
    let extent = Extent::of(input, limits.head_bytes, ParseError::TargetTooLong)?;
    if extent.lines > limits.fields.saturating_add(1) {
        return Err(ParseError::TooManyFields);
    }
    if extent.lines == 0 && extent.end.is_some() {
        return Err(ParseError::BadMethod);
    }
    let Some(bytes) = extent.bytes(input) else {
        return Ok(None);
    };

    let mut stack: [Slot<'_>; ON_STACK] = [const { MaybeUninit::uninit() }; ON_STACK];
    let mut heap = Vec::new();
    let slots = extent.slots(&mut stack, &mut heap);
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, slots) {
        Err(error) => return Err(ParseError::of(error, bytes)),
        Ok(httparse::Status::Complete(length)) if Some(length) == extent.end => {}
        Ok(_) => return extent.partial(),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(ParseError::BadMethod);
    };

    head.clear();
    head.version = version(minor);
    head.method =
        ::http::Method::from_bytes(method.as_bytes()).map_err(|_| ParseError::BadMethod)?;
    let authority = request_target::take(&head.method, target.as_bytes(), &mut head.target)?;
    request_fields(parsed.headers, authority, head)?;
    Ok(Some(skipped + bytes.len()))
}

/// Reads a response head, interim ones included, into `head`; results as of [`request`]. The method that is answered
/// decides whether a body follows.
pub fn response(
    input: &[u8],
    limits: &Limits,
    request_method: &::http::Method,
    head: &mut ResponseHead,
) -> Result<Option<usize>, ParseError> {
    let extent = Extent::of(input, limits.head_bytes, ParseError::TooManyBytes)?;
    if extent.lines > limits.fields.saturating_add(1) {
        return Err(ParseError::TooManyFields);
    }
    // Only servers have to bear with empty lines; here they are left over from a body of the wrong length.
    if matches!(input.first(), Some(b'\r' | b'\n')) {
        return Err(ParseError::MalformedVersion);
    }
    let Some(bytes) = extent.bytes(input) else {
        return Ok(None);
    };

    let mut stack: [Slot<'_>; ON_STACK] = [const { MaybeUninit::uninit() }; ON_STACK];
    let mut heap = Vec::new();
    let slots = extent.slots(&mut stack, &mut heap);
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, bytes, slots) {
        Err(error) => return Err(ParseError::of(error, bytes)),
        Ok(httparse::Status::Complete(length)) if Some(length) == extent.end => {}
        Ok(_) => return extent.partial(),
    }
    let (Some(status), Some(minor)) = (parsed.code, parsed.version) else {
        return Err(ParseError::BadStatus);
    };
    if status < 100 {
        return Err(ParseError::BadStatus);
    }

    head.clear();
    head.status = status;
    head.version = version(minor);
    head.reason
        .extend_from_slice(parsed.reason.unwrap_or_default().as_bytes());
    let mut framing = Framing::default();
    for field in parsed.headers.iter() {
        // The classes are for what strangers send; an endpoint's fields are not looked at for them.
        let name = Name::known(field.name.as_bytes());
        push(&mut head.fields, field, name)?;
        framing.take(name, field.value)?;
    }
    framing.check(head.version)?;
    end_of_response(&framing, request_method, head);
    Ok(Some(bytes.len()))
}

/// Reads a trailer section, from the first field to the empty line, which ends `input`.
pub(super) fn trailers(input: &[u8], limit: usize, fields: &mut Fields) -> Result<(), ParseError> {
    let extent = Extent::of(input, input.len(), ParseError::TooManyBytes)?;
    if extent.lines > limit {
        return Err(ParseError::TooManyFields);
    }
    let mut slots = vec![httparse::EMPTY_HEADER; extent.lines];
    match httparse::parse_headers(input, &mut slots) {
        Err(error) => Err(ParseError::of(error, input)),
        Ok(httparse::Status::Partial) => Err(ParseError::BadFieldName),
        Ok(httparse::Status::Complete((_, parsed))) => {
            for field in parsed {
                push(fields, field, Name::of(field.name.as_bytes()))?;
            }
            Ok(())
        }
    }
}

/// Where the lines of a head are.
struct Extent {
    /// Complete lines before the empty one.
    lines: usize,
    /// Bytes of the head, when it is complete.
    end: Option<usize>,
}

impl Extent {
    /// Finds the end of the head within `limit` bytes, and that no line ends in a bare LF.
    fn of(input: &[u8], limit: usize, no_line: ParseError) -> Result<Self, ParseError> {
        let window = &input[..input.len().min(limit)];
        let mut extent = Self {
            lines: 0,
            end: None,
        };
        let mut start = 0;
        for at in memchr_iter(b'\n', window) {
            if at == start || window[at - 1] != b'\r' {
                return Err(ParseError::BareLineFeed);
            }
            if at - start == 1 {
                extent.end = Some(at + 1);
                break;
            }
            extent.lines += 1;
            start = at + 1;
        }
        if extent.end.is_none() && input.len() >= limit {
            return Err(if extent.lines == 0 {
                no_line
            } else {
                ParseError::TooManyBytes
            });
        }
        Ok(extent)
    }

    /// The bytes worth parsing now: the whole head, or the start of one that is still short.
    fn bytes<'b>(&self, input: &'b [u8]) -> Option<&'b [u8]> {
        match self.end {
            Some(end) => Some(&input[..end]),
            None if input.len() <= EARLY => Some(input),
            None => None,
        }
    }

    /// Room for as many fields as there are lines.
    fn slots<'s, 'b>(
        &self,
        stack: &'s mut [Slot<'b>; ON_STACK],
        heap: &'s mut Vec<Slot<'b>>,
    ) -> &'s mut [Slot<'b>] {
        // One more, for the line that is not complete yet.
        let count = self.lines + 1;
        if count <= ON_STACK {
            return stack;
        }
        heap.resize_with(count, MaybeUninit::uninit);
        heap
    }

    /// What it means that the parser did not find the same end.
    fn partial(&self) -> Result<Option<usize>, ParseError> {
        match self.end {
            None => Ok(None),
            // The two do not agree on where the head ends: then nobody shall act on it.
            Some(_) => Err(ParseError::BareCarriageReturn),
        }
    }
}

/// Bytes of the empty lines at the start.
fn empty_lines(input: &[u8]) -> usize {
    let lines = input.chunks_exact(2).take(EMPTY_LINES);
    2 * lines.take_while(|line| *line == b"\r\n").count()
}

fn version(minor: u8) -> Version {
    if minor == 0 {
        Version::Http10
    } else {
        Version::Http11
    }
}

#[inline]
fn push(fields: &mut Fields, field: &httparse::Header<'_>, known: Name) -> Result<(), ParseError> {
    let name = field.name.as_bytes();
    if name.is_empty() {
        return Err(ParseError::BadFieldName);
    }
    if name.len() > NAME_BYTES {
        return Err(ParseError::TooManyBytes);
    }
    fields.push_known(known, name, field.value);
    Ok(())
}

fn request_fields(
    parsed: &[httparse::Header<'_>],
    authority: Option<&[u8]>,
    head: &mut RequestHead,
) -> Result<(), ParseError> {
    let mut framing = Framing::default();
    let mut has_host = false;
    for field in parsed {
        if field.name.len() != 4 || !field.name.eq_ignore_ascii_case("host") {
            let name = Name::of(field.name.as_bytes());
            push(&mut head.fields, field, name)?;
            framing.take(name, field.value)?;
            continue;
        }
        if has_host {
            return Err(ParseError::RepeatedHost);
        }
        has_host = true;
        if !target::is_authority(field.value) {
            return Err(ParseError::MalformedHost);
        }
        // RFC 9112, 3.2.2: what the target says wins.
        let host = authority.unwrap_or(field.value);
        head.fields
            .push_known(Name::Host, field.name.as_bytes(), host);
    }
    if !has_host {
        if head.version >= Version::Http11 {
            return Err(ParseError::MissingHost);
        }
        if let Some(authority) = authority {
            head.fields.push_known(Name::Host, b"Host", authority);
        }
    }
    framing.check(head.version)?;
    end_of_request(&framing, head);
    if head.method == ::http::Method::CONNECT && !head.length.is_empty() {
        return Err(ParseError::LengthInConnect);
    }
    Ok(())
}

fn end_of_request(framing: &Framing, head: &mut RequestHead) {
    head.length = match framing.exact {
        Some(length) => Length::Exact(length),
        None if framing.chunked => Length::Marked,
        None => Length::Empty,
    };
    head.keep_alive = framing.persists(head.version);
    if head.version < Version::Http11 {
        return;
    }
    if framing.upgrade {
        head.upgrade = upgrade(&head.fields);
    }
    if head.fields.contains(Name::Expect) && !head.length.is_empty() {
        let mut expectations = head.fields.all(Name::Expect);
        head.expects_continue = expectations
            .next()
            .is_some_and(|it| it.eq_ignore_ascii_case(b"100-continue"))
            && expectations.next().is_none();
    }
}

/// The protocols of `Upgrade`, without those that nobody may ask for.
fn upgrade(fields: &Fields) -> Option<Vec<u8>> {
    let mut protocols = Vec::new();
    for protocol in fields.all(Name::Upgrade).flat_map(headers::items) {
        if !is_protocol(protocol) {
            continue;
        }
        if !protocols.is_empty() {
            protocols.extend_from_slice(b", ");
        }
        protocols.extend_from_slice(protocol);
    }
    (!protocols.is_empty()).then_some(protocols)
}

/// RFC 9112, 6.3.
fn end_of_response(framing: &Framing, request_method: &::http::Method, head: &mut ResponseHead) {
    let has_length = framing.chunked || framing.exact.is_some_and(|length| length > 0);
    head.keep_alive = framing.persists(head.version);
    head.length = match head.status {
        101 => Length::Close,
        // Any of them, 204 too: what follows is the tunnel's.
        200..300 if *request_method == ::http::Method::CONNECT => Length::Close,
        100..200 | 204 => {
            // It must not announce a body (RFC 9110, 8.6); should one follow, nobody takes it for the next answer.
            head.keep_alive &= !has_length;
            Length::Empty
        }
        304 => Length::Empty,
        _ if *request_method == ::http::Method::HEAD => Length::Empty,
        _ => match framing.exact {
            Some(length) => Length::Exact(length),
            None if framing.chunked => Length::Marked,
            None => Length::Close,
        },
    };
    head.keep_alive &= head.length != Length::Close;
}
