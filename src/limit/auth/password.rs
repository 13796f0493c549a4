//! Passwords as they are kept: PBKDF2 with HMAC-SHA-256 (RFC 8018, 5.2), written as
//! `$pbkdf2-sha256$i=600000,l=32$SALT$HASH` with salt and hash in base64 without padding. What passlib writes,
//! `$pbkdf2-sha256$29000$SALT$HASH`, is read too.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA256};

use super::base64;

const NAME: &str = "pbkdf2-sha256";
/// What OWASP asked for in 2023; about a tenth of a second on one core.
pub const ITERATIONS: u32 = 600_000;
/// Fewer would be no obstacle, more keep a core busy for seconds.
const ALLOWED: std::ops::RangeInclusive<u32> = 1_000..=10_000_000;
/// Bytes of a salt: long enough never to occur twice (RFC 8018, 4.1).
const SALT: std::ops::RangeInclusive<usize> = 8..=64;
/// Bytes of a hash. Those of SHA-256, since more tell nothing more.
const HASH: usize = 32;

/// A password that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hash {
    iterations: NonZeroU32,
    salt: Box<[u8]>,
    hash: [u8; HASH],
}

/// What is wrong with a line. Nothing of it is repeated, because it is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    #[error(
        "the password is not hashed as it must be, `$pbkdf2-sha256$i=600000,l=32$SALT$HASH`; `plimsoll password NAME` writes such a line"
    )]
    Form,
    #[error("from {} to {} iterations are possible", ALLOWED.start(), ALLOWED.end())]
    Iterations,
    #[error("a salt has from {} to {} bytes", SALT.start(), SALT.end())]
    Salt,
    #[error("a hash has {HASH} bytes")]
    Length,
}

impl Hash {
    /// Hashes a password. Takes long: not on a thread on which others wait. `salt` is chance, from the system.
    pub fn make(password: &[u8], salt: &[u8], iterations: u32) -> Result<Self, HashError> {
        let iterations = checked(iterations)?;
        if !SALT.contains(&salt.len()) {
            return Err(HashError::Salt);
        }
        let mut hash = [0; HASH];
        pbkdf2::derive(PBKDF2_HMAC_SHA256, iterations, salt, password, &mut hash);
        Ok(Self {
            iterations,
            salt: salt.into(),
            hash,
        })
    }

    /// One that no password has, for those who are not known: to say so must take as long as to find a password wrong.
    pub(super) fn decoy(iterations: NonZeroU32, secret: [u8; HASH]) -> Self {
        Self {
            iterations,
            salt: secret[..16].into(),
            hash: secret,
        }
    }

    /// Whether it is that of this password. Takes long: not on a thread on which others wait. Takes as long whether it is
    /// or not.
    pub fn is_of(&self, password: &[u8]) -> bool {
        let (salt, hash) = (&self.salt, &self.hash);
        pbkdf2::verify(PBKDF2_HMAC_SHA256, self.iterations, salt, password, hash).is_ok()
    }

    /// How often is hashed.
    pub(super) fn iterations(&self) -> NonZeroU32 {
        self.iterations
    }

    /// Reads it as it is written.
    pub fn read(text: &str) -> Result<Self, HashError> {
        let mut parts = text.split('$');
        let (Some(""), Some(NAME), Some(options), Some(salt), Some(hash), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(HashError::Form);
        };
        let iterations = options.strip_prefix("i=").map_or(Ok(options), |rest| {
            rest.split_once(',').map_or(Ok(rest), |(count, length)| {
                (length == "l=32").then_some(count).ok_or(HashError::Length)
            })
        })?;
        if !iterations.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HashError::Form);
        }
        let iterations = checked(iterations.parse().map_err(|_| HashError::Iterations)?)?;
        let salt = base64::decode(salt.as_bytes()).ok_or(HashError::Form)?;
        if !SALT.contains(&salt.len()) {
            return Err(HashError::Salt);
        }
        let hash = base64::decode(hash.as_bytes()).ok_or(HashError::Form)?;
        Ok(Self {
            iterations,
            salt: salt.into(),
            hash: hash.try_into().map_err(|_| HashError::Length)?,
        })
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (salt, hash) = (base64::encode(&self.salt), base64::encode(&self.hash));
        write!(f, "${NAME}$i={},l={HASH}${salt}${hash}", self.iterations)
    }
}

fn checked(iterations: u32) -> Result<NonZeroU32, HashError> {
    NonZeroU32::new(iterations)
        .filter(|iterations| ALLOWED.contains(&iterations.get()))
        .ok_or(HashError::Iterations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_its_hash_and_no_other() {
        let hash = Hash::make(b"open sesame", b"0123456789abcdef", 1000).unwrap();
        assert!(hash.is_of(b"open sesame"));
        for other in [&b"open sesam"[..], b"open sesame ", b"Open sesame", b""] {
            assert!(!hash.is_of(other));
        }
        let read = Hash::read(&hash.to_string()).unwrap();
        assert_eq!(read, hash);
        assert!(read.is_of(b"open sesame"));
    }

    /// Made by another implementation: `hashlib.pbkdf2_hmac("sha256", b"password", b"saltsalt", 1000)`.
    #[test]
    fn others_hash_the_same() {
        let text =
            "$pbkdf2-sha256$i=1000,l=32$c2FsdHNhbHQ$E196ZhRPzw+wA84EjzHwJO1cv/MFJdO6C/sxmUeTYqY";
        let made = Hash::make(b"password", b"saltsalt", 1000).unwrap();
        assert_eq!(made.to_string(), text);
    }

    #[test]
    fn a_line_of_passlib_is_read() {
        let hash = Hash::make(b"x", b"saltsalt", 29_000).unwrap();
        let text = hash.to_string().replace("i=29000,l=32", "29000");
        assert_eq!(Hash::read(&text).unwrap(), hash);
        assert_eq!(
            Hash::read(&hash.to_string().replace(",l=32", "")).unwrap(),
            hash
        );
    }

    #[test]
    fn what_is_no_hash_is_told_without_repeating_it() {
        let (salt, hash) = ("c2FsdHNhbHQ", "A".repeat(43));
        for (text, error) in [
            ("secret".to_owned(), HashError::Form),
            ("$2y$05$abcdefghijklmnopqrstuv".to_owned(), HashError::Form),
            ("$apr1$abc$def".to_owned(), HashError::Form),
            (
                format!("$pbkdf2-sha256$i=1000,l=32${salt}"),
                HashError::Form,
            ),
            (
                format!("$pbkdf2-sha256$i=1000,l=32${salt}${hash}$"),
                HashError::Form,
            ),
            (
                format!("$pbkdf2-sha256$i=1000,l=32$%${hash}"),
                HashError::Form,
            ),
            (
                format!("$pbkdf2-sha256$i=+1000,l=32${salt}${hash}"),
                HashError::Form,
            ),
            (
                format!("$pbkdf2-sha256$i=1000,l=64${salt}${hash}"),
                HashError::Length,
            ),
            (
                format!("$pbkdf2-sha256$i=1000,l=32${salt}$AAAA"),
                HashError::Length,
            ),
            (
                format!("$pbkdf2-sha256$i=10,l=32${salt}${hash}"),
                HashError::Iterations,
            ),
            (
                format!("$pbkdf2-sha256$i=99999999999,l=32${salt}${hash}"),
                HashError::Iterations,
            ),
            (
                format!("$pbkdf2-sha256$i=1000,l=32$AAAA${hash}"),
                HashError::Salt,
            ),
        ] {
            assert_eq!(Hash::read(&text), Err(error), "{text}");
        }
    }
}
