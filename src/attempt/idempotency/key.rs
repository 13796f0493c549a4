//! Reading a key from its field, and hashing what tells requests apart.

use aws_lc_rs::digest::{Context, SHA256};

/// SHA-256 of what tells one from another. Nobody can find two inputs with the same one, so that what is looked up by it
/// needs no comparison, and no key or credential is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

/// Takes the parts of a [`struct@Hash`], each with its length before it, so that no two lists of parts are the same bytes.
pub struct Hasher(Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Hasher {
    /// One more part.
    pub fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// The hash of all parts.
    pub fn finish(self) -> Hash {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.0.finish().as_ref());
        Hash(hash)
    }
}

/// Why a request is not answered for the sake of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum KeyError {
    #[error("an idempotency key is required, and there is none")]
    Missing,
    #[error("the idempotency key is malformed")]
    Malformed,
    #[error("the idempotency key is too long")]
    TooLong,
}

impl KeyError {
    /// Every label.
    pub const LABELS: &'static [&'static str] = &[
        "idempotency_key_missing",
        "idempotency_key_malformed",
        "idempotency_key_too_long",
    ];

    /// One word for logs and metrics.
    pub const fn label(self) -> &'static str {
        Self::LABELS[self as usize]
    }
}

/// The key that these values of the field give; `None` when there is no such field.
///
/// The draft asks for a string in quotation marks (RFC 9651, 3.3.3). Most clients send a bare word, as they do to those
/// who used such keys before the draft, so that is read as well, and is the same key as the word in quotation marks.
pub fn read<'v>(
    mut values: impl Iterator<Item = &'v [u8]>,
    limit: usize,
) -> Result<Option<Vec<u8>>, KeyError> {
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(KeyError::Malformed);
    }
    let value = value.trim_ascii();
    let key = match value.split_first() {
        Some((b'"', rest)) => quoted(rest)?,
        _ => bare(value)?.to_vec(),
    };
    match key.len() {
        0 => Err(KeyError::Malformed),
        length if length > limit => Err(KeyError::TooLong),
        _ => Ok(Some(key)),
    }
}

fn bare(value: &[u8]) -> Result<&[u8], KeyError> {
    // A comma may come from two fields that somebody on the way has joined.
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',');
    if value.iter().all(is_plain) {
        Ok(value)
    } else {
        Err(KeyError::Malformed)
    }
}

/// What follows the first quotation mark. Parameters behind the string say nothing that is known (RFC 9651, 3.1.2).
fn quoted(mut rest: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut key = Vec::with_capacity(rest.len());
    loop {
        rest = match rest {
            [b'"'] | [b'"', b';', ..] => return Ok(key),
            [b'\\', byte @ (b'"' | b'\\'), rest @ ..]
            | [byte @ (b' ' | b'!' | b'#'..=b'[' | b']'..=b'~'), rest @ ..] => {
                key.push(*byte);
                rest
            }
            _ => return Err(KeyError::Malformed),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(values: &[&[u8]]) -> Result<Option<Vec<u8>>, KeyError> {
        read(values.iter().copied(), 40)
    }

    #[test]
    fn strings_and_bare_words_are_read() {
        let uuid = b"8e03978e-40d5-43e8-bc93-6894a57f9324";
        let read = |value: &[u8]| key(&[value]).unwrap().unwrap();
        assert_eq!(read(uuid), uuid);
        assert_eq!(read(&[b"\"", &uuid[..], b"\""].concat()), uuid);
        assert_eq!(read(b"\"a b\";version=1"), b"a b");
        assert_eq!(read(br#""a\"b\\""#), br#"a"b\"#);
        assert_eq!(key(&[]), Ok(None));
    }

    #[test]
    fn what_is_no_key_is_told() {
        for value in [
            &b""[..],
            b"\"\"",
            b"\"open",
            b"\"a\" b",
            b"\"a\"b\"",
            b"\"a\\x\"",
            b"two words",
            b"a,b",
            b"a\"b",
            b"caf\xc3\xa9",
            b"\"caf\xc3\xa9\"",
            b"\"a\tb\"",
        ] {
            assert_eq!(key(&[value]), Err(KeyError::Malformed), "{value:?}");
        }
        assert_eq!(key(&[b"a", b"a"]), Err(KeyError::Malformed));
        assert_eq!(key(&[&[b'a'; 41]]), Err(KeyError::TooLong));
        assert_eq!(key(&[&[b'a'; 40]]).unwrap().unwrap().len(), 40);
    }

    #[test]
    fn parts_do_not_run_together() {
        let hash = |parts: &[&[u8]]| {
            let mut hasher = Hasher::default();
            parts.iter().for_each(|part| hasher.part(part));
            hasher.finish()
        };
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b"a"]), hash(&[b"a", b""]));
        assert_eq!(hash(&[b"a", b""]), hash(&[b"a", b""]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_string_comes_back_from_its_written_form(text in "[ -~]{1,40}") {
            let written = text.replace('\\', "\\\\").replace('"', "\\\"");
            let written = format!("\"{written}\"");
            prop_assert_eq!(key(&[written.as_bytes()]), Ok(Some(text.into_bytes())));
        }

        #[test]
        fn no_bytes_are_read_as_a_key_beyond_the_limit(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(Some(key)) = key(&[&bytes]) {
                prop_assert!((1..=40).contains(&key.len()));
            }
        }
    }
}
