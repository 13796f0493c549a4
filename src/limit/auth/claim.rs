//! What a request says of who it is: the user and password of `Authorization: Basic` (RFC 7617), or a key.

use super::base64;
use crate::asked::{self, after_scheme};

/// Why a request says nothing that could be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unclaimed {
    /// It has no credentials.
    Absent,
    /// They cannot be read, or there are two of them: who sent the second is not known.
    Malformed,
}

/// A user and a password, for as long as it takes to judge them.
#[derive(PartialEq, Eq)]
pub struct Login {
    pub user: Vec<u8>,
    pub password: Vec<u8>,
}

impl std::fmt::Debug for Login {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({:?})", String::from_utf8_lossy(&self.user))
    }
}

/// The one value that there is.
pub(super) fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<&'a [u8], Unclaimed> {
    let value = values.next().ok_or(Unclaimed::Absent)?;
    match values.next() {
        None => Ok(value),
        Some(_) => Err(Unclaimed::Malformed),
    }
}

/// The user and password of the values of `Authorization`. Those of another scheme are none.
pub fn login<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Login, Unclaimed> {
    let text = after_scheme(only(values)?, b"basic").ok_or(Unclaimed::Absent)?;
    let pair = base64::decode(text).ok_or(Unclaimed::Malformed)?;
    // A user holds no colon, a password may (RFC 7617, 2).
    let colon = memchr::memchr(b':', &pair).ok_or(Unclaimed::Malformed)?;
    Ok(Login {
        user: pair[..colon].to_vec(),
        password: pair[colon + 1..].to_vec(),
    })
}

/// The key of the values of a field; of `Authorization`, what follows `Bearer` (RFC 6750, 2.1).
pub fn key<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    is_bearer: bool,
) -> Result<&'a [u8], Unclaimed> {
    let value = only(values)?;
    let key = if is_bearer {
        after_scheme(value, b"bearer").ok_or(Unclaimed::Absent)?
    } else {
        value
    };
    if key.is_empty() {
        return Err(Unclaimed::Absent);
    }
    Ok(key)
}

/// Takes a parameter out of the query of a target, so that neither an endpoint nor a log sees it. Gives its value,
/// decoded; `Malformed` when it stands there twice, of which nothing stays either.
pub fn take_parameter(target: &mut Vec<u8>, name: &[u8]) -> Result<Vec<u8>, Unclaimed> {
    let mark = memchr::memchr(b'?', target).ok_or(Unclaimed::Absent)?;
    let mut found = Vec::new();
    let mut kept = Vec::new();
    for parameter in asked::parameters(&target[mark + 1..]) {
        if parameter.is(name) {
            found.push(parameter.value.bytes().collect::<Vec<u8>>());
        } else {
            kept.push(parameter.whole);
        }
    }
    let is_twice = found.len() > 1;
    let value = found.pop().ok_or(Unclaimed::Absent)?;
    let left = (!kept.is_empty()).then(|| kept.join(&b'&'));
    target.truncate(mark);
    if let Some(left) = left {
        target.push(b'?');
        target.extend_from_slice(&left);
    }
    if is_twice {
        return Err(Unclaimed::Malformed);
    }
    if value.is_empty() {
        return Err(Unclaimed::Absent);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(values: &[&str]) -> Result<(String, String), Unclaimed> {
        let login = login(values.iter().map(|value| value.as_bytes()))?;
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ok((text(login.user), text(login.password)))
    }

    #[test]
    fn basic_credentials_are_read() {
        let pair = |user: &str, password: &str| Ok((user.to_owned(), password.to_owned()));
        // Of RFC 7617, 2.
        let example = "QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        let expected = pair("Aladdin", "open sesame");
        assert_eq!(read(&[&format!("Basic {example}")]), expected);
        assert_eq!(read(&[&format!("bAsIc   {example} ")]), expected);
        // a:b:c
        assert_eq!(read(&["Basic YTpiOmM="]), pair("a", "b:c"));
        assert_eq!(read(&["Basic Og=="]), pair("", ""));
        for (values, error) in [
            (&[][..], Unclaimed::Absent),
            (&["Bearer x"], Unclaimed::Absent),
            (&["Basic"], Unclaimed::Absent),
            (&["Basicx YTpi"], Unclaimed::Absent),
            (&["Basic "], Unclaimed::Absent),
            (&["Basic YTpi", "Basic YTpi"], Unclaimed::Malformed),
            (&["Basic YTpi, Basic YTpi"], Unclaimed::Malformed),
            (&["Basic YWI="], Unclaimed::Malformed),
            (&["Basic ?"], Unclaimed::Malformed),
        ] {
            let trimmed: Vec<&str> = values.iter().map(|value| value.trim_end()).collect();
            assert_eq!(read(&trimmed), Err(error), "{values:?}");
        }
        let shown = format!("{:?}", login([&b"Basic YTpi"[..]].into_iter()));
        assert_eq!(shown, "Ok(Login(\"a\"))");
    }

    #[test]
    fn keys_are_read() {
        let read = |values: &[&'static str], is_bearer| {
            key(values.iter().map(|value| value.as_bytes()), is_bearer)
        };
        assert_eq!(read(&["abc"], false), Ok(&b"abc"[..]));
        assert_eq!(read(&["bearer abc"], true), Ok(&b"abc"[..]));
        assert_eq!(read(&["abc"], true), Err(Unclaimed::Absent));
        assert_eq!(read(&["Basic abc"], true), Err(Unclaimed::Absent));
        assert_eq!(read(&[""], false), Err(Unclaimed::Absent));
        assert_eq!(read(&[], false), Err(Unclaimed::Absent));
        assert_eq!(read(&["a", "a"], false), Err(Unclaimed::Malformed));
    }

    #[test]
    fn a_parameter_is_taken_out_of_the_query() {
        for (target, expected, left) in [
            ("/a?key=x", Ok("x"), "/a"),
            ("/a?key=x&b=c", Ok("x"), "/a?b=c"),
            ("/a?b=c&key=x", Ok("x"), "/a?b=c"),
            ("/a?b=c&%6bey=x%79&d", Ok("xy"), "/a?b=c&d"),
            ("/a?b=%zz&key=a+b", Ok("a b"), "/a?b=%zz"),
            ("/a?b=key", Err(Unclaimed::Absent), "/a?b=key"),
            ("/a", Err(Unclaimed::Absent), "/a"),
            ("/a?", Err(Unclaimed::Absent), "/a?"),
            ("/a?key", Err(Unclaimed::Absent), "/a"),
            ("/a?key=x&key=y&b", Err(Unclaimed::Malformed), "/a?b"),
            ("/a?b?key=x", Err(Unclaimed::Absent), "/a?b?key=x"),
        ] {
            let mut taken = target.as_bytes().to_vec();
            let value = take_parameter(&mut taken, b"key");
            let value = value.map(|value| String::from_utf8(value).unwrap());
            assert_eq!(
                value.as_deref().map_err(|error| *error),
                expected,
                "{target}"
            );
            assert_eq!(String::from_utf8(taken).unwrap(), left, "{target}");
        }
    }

    proptest! {
        /// Who counts by a parameter and who takes a key out of it mean the same.
        #[test]
        fn what_is_taken_is_what_is_counted_by(query in "[kb%6=&+?]{0,12}") {
            let counted = asked::parameter(query.as_bytes(), b"k");
            let counted: Option<Vec<u8>> = counted.map(|value| value.bytes().collect());
            let mut target = format!("/?{query}").into_bytes();
            match take_parameter(&mut target, b"k") {
                Ok(taken) => prop_assert_eq!(Some(taken), counted),
                Err(Unclaimed::Absent) => prop_assert_eq!(counted, None),
                Err(Unclaimed::Malformed) => {}
            }
        }

        #[test]
        fn what_is_taken_is_gone(target in "/[a-c]{0,3}\\?([kb%6=&?]{0,12})") {
            let mut taken = target.into_bytes();
            let before = taken.clone();
            match take_parameter(&mut taken, b"k") {
                Err(Unclaimed::Absent) if taken == before => {}
                _ => prop_assert!(taken.len() < before.len()),
            }
            let mut again = taken.clone();
            prop_assert_eq!(take_parameter(&mut again, b"k"), Err(Unclaimed::Absent));
            prop_assert_eq!(taken, again);
        }
    }
}
