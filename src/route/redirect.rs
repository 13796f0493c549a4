//! Answers that need no upstream: a redirect, or a response as written.

use bytes::Bytes;

use super::error::Fault;
use super::fields::{authority, field_value};
use super::path::canonical;
use super::rewrite::{make_visible, split_query};
use crate::config;

/// Sends the client elsewhere; parts that are not given are kept from the request.
#[derive(Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    scheme: Option<&'static str>,
    host: Option<Box<[u8]>>,
    /// Path and query.
    path: Option<Box<[u8]>>,
}

/// Answered by the proxy itself.
#[derive(Debug)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    pub body: Bytes,
    pub content_type: Box<[u8]>,
}

impl Redirect {
    pub(super) fn compile(written: &config::Redirect) -> Result<Self, Vec<(&'static str, Fault)>> {
        let mut faults = Vec::new();
        if !matches!(written.status, 301 | 302 | 303 | 307 | 308) {
            faults.push(("status", Fault::RedirectStatus(written.status)));
        }
        let scheme = written.scheme.as_deref().and_then(|text| match text {
            "http" => Some("http"),
            "https" => Some("https"),
            _ => {
                let text = text.to_owned();
                faults.push(("scheme", Fault::Scheme { text }));
                None
            }
        });
        let host = written.host.as_deref().and_then(|text| {
            authority(text)
                .map_err(|fault| faults.push(("host", fault)))
                .ok()
        });
        let path = written.path.as_deref().and_then(|text| {
            path_and_query(text)
                .map_err(|fault| faults.push(("path", fault)))
                .ok()
        });
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            status: written.status,
            scheme,
            host,
            path,
        })
    }

    /// The value of `Location`. `scheme` and `host` (with its port) are those of the request; `target` is its path
    /// and query in origin form, as received or as rewritten. A request without a host is sent to a bare path.
    pub fn location(&self, scheme: &str, host: &[u8], target: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(host.len() + target.len() + 16);
        let to_scheme = self.scheme.unwrap_or(scheme);
        let host = match &self.host {
            Some(host) => host,
            None if to_scheme != scheme => without_default_port(scheme, host),
            None => host,
        };
        let mut target = self.path.as_deref().unwrap_or(target);
        if !target.starts_with(b"/") {
            // `*`, or the authority of CONNECT: there is no path to keep.
            target = b"/";
        }
        if !host.is_empty() {
            out.extend_from_slice(to_scheme.as_bytes());
            out.extend_from_slice(b"://");
            out.extend_from_slice(host);
        } else if matches!(target.get(1), Some(b'/' | b'\\')) {
            // Two slashes would name another host; browsers take a backslash for one (RFC 3986, 4.2 and 5.2.4).
            out.extend_from_slice(b"/.");
        }
        out.extend_from_slice(target);
        make_visible(&mut out, 0);
        out
    }
}

impl Respond {
    pub(super) fn compile(written: &config::Respond) -> Result<Self, Vec<(&'static str, Fault)>> {
        let mut faults = Vec::new();
        let status = written.status;
        if !(200..=599).contains(&status) {
            faults.push(("status", Fault::RespondStatus(status)));
        }
        if matches!(status, 204 | 205 | 304) && !written.body.is_empty() {
            faults.push(("body", Fault::BodyNotAllowed(status)));
        }
        let content_type = field_value(&written.content_type);
        match content_type {
            Ok(content_type) if faults.is_empty() => Ok(Self {
                status,
                body: Bytes::copy_from_slice(written.body.as_bytes()),
                content_type,
            }),
            Ok(_) => Err(faults),
            Err(fault) => {
                faults.push(("content_type", fault));
                Err(faults)
            }
        }
    }
}

/// The port that a client left to the old scheme would be a wrong one under the new scheme.
fn without_default_port<'a>(scheme: &str, host: &'a [u8]) -> &'a [u8] {
    let port: &[u8] = match scheme {
        "http" => b":80",
        "https" => b":443",
        _ => return host,
    };
    host.strip_suffix(port).unwrap_or(host)
}

fn path_and_query(text: &str) -> Result<Box<[u8]>, Fault> {
    let (path, query) = split_query(text.as_bytes());
    canonical(&text[..path.len()])?;
    let mut out = text.as_bytes().to_vec();
    if query.contains(&b'#') {
        return Err(Fault::Path {
            text: text.to_owned(),
            reason: "a fragment cannot be redirected to from here",
        });
    }
    make_visible(&mut out, 0);
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(scheme: Option<&str>, host: Option<&str>, path: Option<&str>) -> Redirect {
        let written = config::Redirect {
            status: 308,
            scheme: scheme.map(Into::into),
            host: host.map(Into::into),
            path: path.map(Into::into),
        };
        Redirect::compile(&written).unwrap()
    }

    fn location(redirect: &Redirect, host: &str, target: &str) -> String {
        String::from_utf8(redirect.location("http", host.as_bytes(), target.as_bytes())).unwrap()
    }

    #[test]
    fn keeps_what_is_not_given() {
        let to_https = redirect(Some("https"), None, None);
        assert_eq!(
            location(&to_https, "a.example", "/x%2fy?q=1"),
            "https://a.example/x%2fy?q=1"
        );
        assert_eq!(
            location(&to_https, "a.example:80", "/"),
            "https://a.example/"
        );
        assert_eq!(
            location(&to_https, "a.example:8080", "/"),
            "https://a.example:8080/"
        );
        let to_host = redirect(None, Some("b.example:81"), None);
        assert_eq!(
            location(&to_host, "a.example:80", "/x"),
            "http://b.example:81/x"
        );
        assert_eq!(location(&to_host, "a.example", "*"), "http://b.example:81/");
        let to_path = redirect(None, None, Some("/caf\u{e9}?a=b"));
        assert_eq!(
            location(&to_path, "a:80", "/x?y"),
            "http://a:80/caf%C3%A9?a=b"
        );
    }

    #[test]
    fn never_yields_a_second_line_nor_another_host() {
        let to_https = redirect(Some("https"), None, None);
        let made = location(&to_https, "a", "/x\r\nSet-Cookie: a=b\0");
        assert_eq!(made, "https://a/x%0D%0ASet-Cookie:%20a=b%00");
        assert_eq!(
            location(&to_https, "", "//evil.example/"),
            "/.//evil.example/"
        );
        assert_eq!(
            location(&to_https, "", "/\\evil.example/"),
            "/./\\evil.example/"
        );
        assert_eq!(location(&to_https, "", "/x"), "/x");
    }

    #[test]
    fn faulty_answers_are_refused_with_all_their_faults() {
        let written = config::Redirect {
            status: 200,
            scheme: Some("ftp".into()),
            host: Some("a b".into()),
            path: Some("x".into()),
        };
        let places: Vec<_> = Redirect::compile(&written)
            .unwrap_err()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(places, ["status", "scheme", "host", "path"]);
        let written = config::Respond {
            status: 204,
            body: "x".into(),
            content_type: "a\nb".into(),
        };
        let faults = Respond::compile(&written).unwrap_err();
        let expected = [
            ("body", Fault::BodyNotAllowed(204)),
            ("content_type", Fault::FieldValue(b'\n')),
        ];
        assert_eq!(faults, expected);
    }
}
