//! The parameters of a query, read without copying it.

use std::borrow::Cow;

use super::path::triplet;

/// Whether some parameter `name` of `query` has a value that passes `test`. Names and values are compared decoded:
/// `%41` is `A`, `+` is a space (the form of HTML, as browsers and endpoints read it). `a` alone has an empty value.
pub(super) fn any(query: &[u8], name: &[u8], mut test: impl FnMut(&[u8]) -> bool) -> bool {
    query.split(|&byte| byte == b'&').any(|pair| {
        let (key, value) = match memchr::memchr(b'=', pair) {
            Some(border) => (&pair[..border], &pair[border + 1..]),
            None => (pair, &b""[..]),
        };
        !pair.is_empty() && equals(key, name) && test(&decoded(value))
    })
}

fn is_plain(raw: &[u8]) -> bool {
    memchr::memchr2(b'%', b'+', raw).is_none()
}

fn equals(raw: &[u8], name: &[u8]) -> bool {
    if is_plain(raw) {
        raw == name
    } else {
        decode(raw).eq(name.iter().copied())
    }
}

/// Only a value that holds an escape is copied.
fn decoded(raw: &[u8]) -> Cow<'_, [u8]> {
    if is_plain(raw) {
        Cow::Borrowed(raw)
    } else {
        Cow::Owned(decode(raw).collect())
    }
}

/// A `%` that begins no triplet stands for itself.
fn decode(raw: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let (&first, tail) = rest.split_first()?;
        rest = tail;
        Some(match first {
            b'+' => b' ',
            b'%' => match triplet(tail) {
                Some(byte) => {
                    rest = &tail[2..];
                    byte
                }
                None => b'%',
            },
            other => other,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::any;

    #[test]
    fn finds_every_value_of_a_parameter() {
        let query = b"a=1&&b&a=2&c=x=y&d%2B=p+q%20%zz";
        let has = |name: &str, value: &str| any(query, name.as_bytes(), |v| v == value.as_bytes());
        assert!(has("a", "1") && has("a", "2") && has("b", "") && has("c", "x=y"));
        assert!(has("d+", "p q %zz"));
        assert!(!has("a", "3") && !has("", "") && !has("d", "p q %zz"));
        assert!(!any(b"", b"", |_| true));
    }
}
