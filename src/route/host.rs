//! Which hosts a route takes.

use super::error::Fault;

/// The longest host name of the DNS, in bytes; a longer host is equal to no pattern (RFC 1035, 2.3.4).
const LONGEST: usize = 255;

/// A host pattern in lower case, without port and trailing dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPattern {
    Any,
    Exact(Box<[u8]>),
    /// One or more labels before this domain (`*.` is left away).
    Under(Box<[u8]>),
}

impl HostPattern {
    /// Of `api.example.com`, `*.example.com`, `[::1]` or `*`.
    pub(super) fn compile(text: &str) -> Result<Self, Fault> {
        let refuse = |reason| {
            let text = text.to_owned();
            Err(Fault::Host { text, reason })
        };
        if text == "*" {
            return Ok(Self::Any);
        }
        let (wild, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if let Some(reason) = fault_of(&name, wild) {
            return refuse(reason);
        }
        let name = name.into_bytes().into();
        Ok(if wild {
            Self::Under(name)
        } else {
            Self::Exact(name)
        })
    }

    /// Whether it takes `host`, which is in the form that [`with_normal`] gives.
    pub(super) fn takes(&self, host: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => host == &**name,
            Self::Under(domain) => host
                .strip_suffix(&**domain)
                .and_then(|labels| labels.strip_suffix(b"."))
                .is_some_and(|labels| !labels.is_empty()),
        }
    }
}

fn fault_of(name: &str, wild: bool) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty; leave `host` away to match any");
    }
    if name.len() > LONGEST {
        return Some("it is longer than 255 bytes");
    }
    let literal = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = literal.filter(|_| !wild) {
        let valid = address.parse::<std::net::Ipv6Addr>().is_ok();
        return (!valid).then_some("it is not an IPv6 address");
    }
    if name.contains('*') {
        return Some("`*` may only stand for the first labels, as in `*.example.com`");
    }
    if !name.is_ascii() {
        return Some("write an international name in its ASCII form, `xn--...`");
    }
    if name.contains(':') {
        return Some("the port is not compared; match on the `listener` instead");
    }
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| !label.is_empty() && label.bytes().all(valid);
    (!name.split('.').all(label)).then_some("labels hold letters, digits, `-` and `_`")
}

/// Calls `then` with `host` in the form of the patterns: no port, no trailing dot, lower case. A host that is too
/// long to equal any pattern becomes the empty one. Copies, to the stack, only what is not in lower case already.
pub(super) fn with_normal<R>(host: &[u8], then: impl FnOnce(&[u8]) -> R) -> R {
    let plain = is_plain(host);
    let mut name = if plain { host } else { without_port(host) };
    name = name.strip_suffix(b".").unwrap_or(name);
    if name.len() > LONGEST {
        name = b"";
    }
    let mut buffer;
    if !plain {
        buffer = [0; LONGEST];
        let lower = &mut buffer[..name.len()];
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        name = lower;
    }
    then(name)
}

/// Whether there is neither a port nor an upper-case letter. One range of ASCII holds both and nothing else of a host;
/// chunks of a fixed size are compared at once.
fn is_plain(host: &[u8]) -> bool {
    let other = |byte: &u8| (b':'..=b'Z').contains(byte);
    let (chunks, rest) = host.as_chunks::<8>();
    let in_chunk = |chunk: &[u8; 8]| chunk.iter().fold(false, |found, byte| found | other(byte));
    !chunks.iter().any(in_chunk) && !rest.iter().any(other)
}

/// The colons of an IPv6 address stand within brackets, so that they are not taken for that of a port.
pub(super) fn without_port(host: &[u8]) -> &[u8] {
    let from = if host.first() == Some(&b'[') {
        memchr::memchr(b']', host)
    } else {
        Some(0)
    };
    match from.and_then(|from| Some(from + memchr::memchr(b':', host.get(from..)?)?)) {
        Some(colon) => &host[..colon],
        None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_dot_and_case_are_taken_off() {
        let cases: [(&[u8], &[u8]); 8] = [
            (b"example.com", b"example.com"),
            (b"Example.COM:8080", b"example.com"),
            (b"example.com.", b"example.com"),
            (b"example.com.:80", b"example.com"),
            (b"[::1]:80", b"[::1]"),
            (b"[FE80::1]", b"[fe80::1]"),
            (b"", b""),
            (&[b'a'; 300], b""),
        ];
        for (host, expected) in cases {
            with_normal(host, |normal| assert_eq!(normal, expected));
        }
    }

    #[test]
    fn patterns_are_read_and_faulty_ones_refused() {
        let exact = |name: &str| HostPattern::Exact(name.as_bytes().into());
        assert_eq!(
            HostPattern::compile("API.example.com."),
            Ok(exact("api.example.com"))
        );
        assert_eq!(HostPattern::compile("[::1]"), Ok(exact("[::1]")));
        assert_eq!(HostPattern::compile("*"), Ok(HostPattern::Any));
        let under = HostPattern::Under((*b"example.com").into());
        assert_eq!(HostPattern::compile("*.Example.com"), Ok(under));
        for text in [
            "",
            "*.",
            "a.*.com",
            "*a.com",
            "a..b",
            "a:80",
            "b\u{fc}cher.de",
            "[::g]",
            "a/b",
            "*.[::1]",
        ] {
            assert!(
                matches!(HostPattern::compile(text), Err(Fault::Host { .. })),
                "{text}"
            );
        }
    }
}
