//! What a request may be asked for, and the parts of it that are compared or counted, read without copying them.
//!
//! A balancer hashes by them, a limit counts by them: both read the same value from the same request.

use std::net::IpAddr;

/// The longest host name of the DNS (RFC 1035, 2.3.4); a longer one is no host.
pub const HOST_BYTES: usize = 255;

/// What a request may be asked for; implemented by whoever holds it.
pub trait Asked {
    /// The client, as far as proxies before this one are believed.
    fn client_ip(&self) -> Option<IpAddr>;
    /// The host as the request names it, port included.
    fn host(&self) -> Option<&[u8]>;
    /// The path as received, without the query.
    fn path(&self) -> &[u8];
    /// What follows the first question mark.
    fn query(&self) -> Option<&[u8]>;
    /// Calls `each` with every value of a header, whose name counts in any case, in their order.
    fn each_header(&self, name: &str, each: &mut dyn FnMut(&[u8]));
}

/// The host without its port and the dot of the root, in small letters; `None` when nothing is left of it, or too much. The form
/// that routes compare, too (`route`).
pub fn host_name<'b>(host: &[u8], buffer: &'b mut [u8; HOST_BYTES]) -> Option<&'b [u8]> {
    let name = without_port(host);
    let name = name.strip_suffix(b".").unwrap_or(name);
    let lower = buffer.get_mut(..name.len()).filter(|_| !name.is_empty())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    Some(lower)
}

/// The colons of an IPv6 address stand within brackets.
fn without_port(host: &[u8]) -> &[u8] {
    let from = match host.first() {
        Some(b'[') => memchr::memchr(b']', host).unwrap_or(host.len()),
        _ => 0,
    };
    match memchr::memchr(b':', &host[from..]) {
        Some(colon) => &host[..from + colon],
        None => host,
    }
}

/// Calls `each` with the value of every cookie of this name, in their order; there may be several
/// lines, as HTTP/2 parts them (RFC 6265, 4.2.1 and 5.4; RFC 9113, 8.2.3).
pub fn each_cookie(asked: &impl Asked, name: &str, each: &mut dyn FnMut(&[u8])) {
    asked.each_header("cookie", &mut |line| {
        for pair in line.split(|&byte| byte == b';') {
            let value = pair
                .trim_ascii()
                .strip_prefix(name.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="));
            if let Some(value) = value {
                each(value);
            }
        }
    });
}

/// The value of a query parameter as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a>(&'a [u8]);

impl<'a> Value<'a> {
    /// Its bytes as they are, where nothing in it is escaped.
    pub fn as_plain(self) -> Option<&'a [u8]> {
        is_plain(self.0).then_some(self.0)
    }

    /// Its bytes, decoded.
    pub fn bytes(self) -> impl Iterator<Item = u8> + 'a {
        decode(self.0)
    }
}

/// A parameter of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// As it stands between two `&`.
    pub whole: &'a [u8],
    name: &'a [u8],
    /// Empty where there is none.
    pub value: Value<'a>,
}

impl Parameter<'_> {
    /// Whether this is its name, decoded.
    pub fn is(&self, name: &[u8]) -> bool {
        self.name == name || (!is_plain(self.name) && decode(self.name).eq(name.iter().copied()))
    }
}

/// Every parameter of a query. What counts by one, hashes it or takes it out reads it here, so that all mean the same.
pub fn parameters(query: &[u8]) -> impl Iterator<Item = Parameter<'_>> {
    query.split(|&byte| byte == b'&').map(|whole| {
        let border = memchr::memchr(b'=', whole);
        let value = border.map_or(&[][..], |border| &whole[border + 1..]);
        Parameter {
            whole,
            name: &whole[..border.unwrap_or(whole.len())],
            value: Value(value),
        }
    })
}

/// The first value of the query parameter of this name that is not empty.
pub fn parameter<'a>(query: &'a [u8], name: &[u8]) -> Option<Value<'a>> {
    let mut of_name = parameters(query).filter(|one| !one.value.0.is_empty() && one.is(name));
    of_name.next().map(|one| one.value)
}

/// What follows the scheme of credentials, whose name counts in any case (RFC 9110, 11.4): of `Bearer abc` it is `abc`.
pub fn after_scheme<'a>(value: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (name, rest) = value.split_at_checked(scheme.len())?;
    if !name.eq_ignore_ascii_case(scheme) || rest.first() != Some(&b' ') {
        return None;
    }
    Some(rest.trim_ascii())
}

fn is_plain(raw: &[u8]) -> bool {
    memchr::memchr2(b'%', b'+', raw).is_none()
}

/// The form of HTML, as matches on queries read it (`route`).
fn decode(raw: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let (&first, tail) = rest.split_first()?;
        rest = tail;
        Some(match (first, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            _ => first,
        })
    })
}

fn hex(digit: u8) -> Option<u8> {
    // A digit is below 16.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_in_small_letters() {
        let mut buffer = [0; HOST_BYTES];
        let mut name = |host: &str| {
            let name = host_name(host.as_bytes(), &mut buffer);
            name.map(|name| String::from_utf8(name.to_vec()).unwrap())
        };
        assert_eq!(name("Example.COM.:8080").as_deref(), Some("example.com"));
        assert_eq!(name("[::A]:80").as_deref(), Some("[::a]"));
        assert_eq!((name(""), name(":80"), name(".")), (None, None, None));
        assert_eq!(name(&"a".repeat(HOST_BYTES + 1)), None);
    }

    #[test]
    fn a_parameter_is_found_however_it_is_spelt() {
        let value = |query: &'static str, name: &str| {
            let value = parameter(query.as_bytes(), name.as_bytes())?;
            Some((
                value.as_plain().is_some(),
                value.bytes().collect::<Vec<u8>>(),
            ))
        };
        assert_eq!(value("a=&a=1", "a"), Some((true, b"1".to_vec())));
        assert_eq!(
            value("%61=x%20y%zz", "a"),
            Some((false, b"x y%zz".to_vec()))
        );
        assert_eq!(value("b=1&a", "a"), None);
    }
}
