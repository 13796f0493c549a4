//! The four forms of a request target (RFC 9112, 3.2).

use memchr::memchr;

use super::error::ParseError;
use crate::http::target;

/// Copies what is forwarded of the target to `out`; gives the authority when the target names one.
pub(super) fn take<'t>(
    method: &::http::Method,
    target: &'t [u8],
    out: &mut Vec<u8>,
) -> Result<Option<&'t [u8]>, ParseError> {
    // A fragment is never sent; readers differ on whether they cut it off.
    if memchr(b'#', target).is_some() {
        return Err(ParseError::BadTarget);
    }
    if *method == ::http::Method::CONNECT {
        if !target::is_host_and_port(target) {
            return Err(ParseError::BadTarget);
        }
        out.extend_from_slice(target);
        return Ok(Some(target));
    }
    match target {
        [b'/', ..] => {
            out.extend_from_slice(target);
            Ok(None)
        }
        b"*" if *method == ::http::Method::OPTIONS => {
            out.push(b'*');
            Ok(None)
        }
        _ => take_absolute(method, target, out).map(Some),
    }
}

/// `http://authority/path?query` (RFC 9112, 3.2.2).
fn take_absolute<'t>(
    method: &::http::Method,
    target: &'t [u8],
    out: &mut Vec<u8>,
) -> Result<&'t [u8], ParseError> {
    let rest = [&b"http://"[..], b"https://"]
        .iter()
        .find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })
        .ok_or(ParseError::BadTarget)?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !target::is_authority(authority) {
        return Err(ParseError::BadTarget);
    }
    match path {
        // RFC 9112, 3.2.4: OPTIONS on no path is OPTIONS on the server.
        [] if *method == ::http::Method::OPTIONS => out.push(b'*'),
        [b'/', ..] => {}
        _ => out.push(b'/'),
    }
    out.extend_from_slice(path);
    Ok(authority)
}
