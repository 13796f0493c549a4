//! The files of those who may enter: users with their passwords, names with their keys. One a line, `NAME:SECRET`; empty
//! lines and those that begin with `#` count for nothing.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use super::password::{Hash, HashError, ITERATIONS};
use crate::entropy;
use crate::watch::Content;

/// Bytes of a file. Some hundred thousand lines; a larger one is another file than was meant.
const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of a name: it stands in logs and in the heads of requests.
const NAME_BYTES: usize = 128;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read `{}`: {source}; check the path and that this user may read the file", file.display())]
    Read {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("`{}` has more than {FILE_BYTES} bytes; is it the right file?", file.display())]
    TooLarge { file: PathBuf },
    #[error("`{}` names nobody: every request would be refused; `plimsoll password NAME` writes a line", file.display())]
    Empty { file: PathBuf },
    #[error("`{}`, line {line}: {fault}", file.display())]
    Line {
        file: PathBuf,
        line: usize,
        fault: LineFault,
    },
}

/// What is wrong with a line. Nothing of it is repeated, because it holds a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    #[error("expected `NAME:SECRET`")]
    Form,
    #[error("a name has from 1 to {NAME_BYTES} letters, digits and signs of ASCII, without spaces")]
    Name,
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(
        "expected the SHA-256 of the key, 64 hexadecimal digits; `plimsoll password --key NAME` makes both"
    )]
    Digest,
    #[error("line {0} says the same")]
    Repeated(usize),
}

/// Users and their passwords.
#[derive(Debug)]
pub struct Users {
    hashes: HashMap<Box<str>, Hash>,
    /// For names that are not there.
    decoy: Hash,
}

impl PartialEq for Users {
    /// The decoy is another one each time.
    fn eq(&self, other: &Self) -> bool {
        self.hashes == other.hashes
    }
}

impl Content for Users {
    type Error = FileError;

    fn load(file: &Path) -> Result<Self, FileError> {
        let secret = entropy::system_secret();
        Self::read(&text(file)?, secret).map_err(|(line, fault)| told(file, line, fault))
    }

    fn what() -> &'static str {
        "users"
    }
}

impl Users {
    /// Reads the text of a file. `secret` is chance, for a password that nobody has.
    pub fn read(text: &str, secret: [u8; 32]) -> Result<Self, (usize, LineFault)> {
        let mut hashes: HashMap<Box<str>, Hash> = HashMap::new();
        let mut lines: HashMap<&str, usize> = HashMap::new();
        let mut most = NonZeroU32::MIN;
        for (number, name, secret) in entries(text) {
            let (name, secret) = name.map_or(Err((number, LineFault::Form)), |name| {
                Ok((checked(name).map_err(|fault| (number, fault))?, secret))
            })?;
            let hash = Hash::read(secret).map_err(|error| (number, error.into()))?;
            if let Some(first) = lines.insert(name, number) {
                return Err((number, LineFault::Repeated(first)));
            }
            most = most.max(hash.iterations());
            hashes.insert(name.into(), hash);
        }
        let most = if hashes.is_empty() {
            NonZeroU32::new(ITERATIONS).unwrap_or(most)
        } else {
            most
        };
        Ok(Self {
            hashes,
            decoy: Hash::decoy(most, secret),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.hashes.len()
    }

    /// The name as it is known and its password; for one that is not known a password that nobody has.
    pub fn find(&self, name: &[u8]) -> (Option<&str>, &Hash) {
        let found = std::str::from_utf8(name).ok();
        let found = found.and_then(|name| self.hashes.get_key_value(name));
        found.map_or((None, &self.decoy), |(name, hash)| (Some(&**name), hash))
    }
}

/// The SHA-256 of a key, and whose it is.
type Digest = ([u8; 32], Arc<str>);

/// Names and their keys.
///
/// A key is long and made by chance, so that one SHA-256 keeps it: there is nothing to guess.
#[derive(Debug, Default, PartialEq)]
pub struct Keys {
    /// By the first bytes of the digest, which tell nothing of the key; the rest is compared in constant time.
    digests: HashMap<u64, Vec<Digest>>,
    count: usize,
}

impl Content for Keys {
    type Error = FileError;

    fn load(file: &Path) -> Result<Self, FileError> {
        Self::read(&text(file)?).map_err(|(line, fault)| told(file, line, fault))
    }

    fn what() -> &'static str {
        "keys"
    }
}

impl Keys {
    /// Reads the text of a file.
    pub fn read(text: &str) -> Result<Self, (usize, LineFault)> {
        let mut keys = Self::default();
        let mut lines: HashMap<[u8; 32], usize> = HashMap::new();
        for (number, name, secret) in entries(text) {
            let name = name.ok_or((number, LineFault::Form))?;
            let name = checked(name).map_err(|fault| (number, fault))?;
            let digest = from_hex(secret).ok_or((number, LineFault::Digest))?;
            if let Some(first) = lines.insert(digest, number) {
                return Err((number, LineFault::Repeated(first)));
            }
            let shelf = keys.digests.entry(prefix(&digest)).or_default();
            shelf.push((digest, name.into()));
            keys.count += 1;
        }
        Ok(keys)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whose key it is.
    pub fn find(&self, key: &[u8]) -> Option<&Arc<str>> {
        let hashed = digest(&SHA256, key);
        let hashed: &[u8; 32] = hashed.as_ref().try_into().ok()?;
        let candidates = self.digests.get(&prefix(hashed))?;
        let mut candidates = candidates.iter();
        let found = candidates.find(|(known, _)| verify_slices_are_equal(known, hashed).is_ok());
        found.map(|(_, name)| name)
    }
}

/// The line of a file for a key.
pub fn key_line(name: &str, key: &[u8]) -> String {
    let mut line = format!("{name}:");
    for byte in digest(&SHA256, key).as_ref() {
        line.push_str(&format!("{byte:02x}"));
    }
    line
}

/// Whether somebody may be called so.
pub fn is_name(name: &str) -> bool {
    checked(name).is_ok()
}

fn prefix(digest: &[u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The lines that say something, with their numbers: the name, unless the line has none, and what follows it.
fn entries(text: &str) -> impl Iterator<Item = (usize, Option<&str>, &str)> {
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(number, line)| match line.split_once(':') {
        Some((name, secret)) => (number, Some(name), secret),
        None => (number, None, ""),
    })
}

fn checked(name: &str) -> Result<&str, LineFault> {
    let is_fine = (1..=NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b':')
        && !name.starts_with('#');
    if is_fine {
        Ok(name)
    } else {
        Err(LineFault::Name)
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(bytes)
}

/// The text of a file that is not too large.
fn text(file: &Path) -> Result<String, FileError> {
    use std::io::Read;
    let failed = |source| FileError::Read {
        file: file.to_owned(),
        source,
    };
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(failed)?;
    let mut bounded = opened.take(FILE_BYTES + 1);
    bounded.read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES {
        return Err(FileError::TooLarge {
            file: file.to_owned(),
        });
    }
    if entries(&text).next().is_none() {
        return Err(FileError::Empty {
            file: file.to_owned(),
        });
    }
    Ok(text)
}

fn told(file: &Path, line: usize, fault: LineFault) -> FileError {
    let file = file.to_owned();
    FileError::Line { file, line, fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, password: &str, iterations: u32) -> String {
        let hash = Hash::make(password.as_bytes(), b"saltsalt", iterations).unwrap();
        format!("{name}:{hash}\n")
    }

    #[test]
    fn users_are_found_by_name() {
        let text = format!(
            "# those of the team\n\n  {}{}",
            line("ops", "a:b", 1000),
            line("dev", "x", 2000)
        );
        let users = Users::read(&text, [7; 32]).unwrap();
        assert_eq!(users.count(), 2);
        let (name, hash) = users.find(b"ops");
        assert!(name == Some("ops") && hash.is_of(b"a:b") && !hash.is_of(b"x"));
        for other in [&b"Ops"[..], b"", b"ops ", b"op\xff"] {
            let (name, hash) = users.find(other);
            assert!(name.is_none() && !hash.is_of(b"a:b") && !hash.is_of(b"x"));
            // It takes as long as for the costliest that is known.
            assert_eq!(hash.iterations().get(), 2000);
        }
    }

    #[test]
    fn keys_are_found_by_what_they_are() {
        let text = format!(
            "{}\n{}\n",
            key_line("a", b"first"),
            key_line("a", b"second")
        );
        let keys = Keys::read(&text.to_uppercase().replace("A:", "a:")).unwrap();
        assert_eq!(keys.count(), 2);
        assert_eq!(keys.find(b"first").map(|name| &**name), Some("a"));
        assert_eq!(keys.find(b"second").map(|name| &**name), Some("a"));
        assert_eq!(keys.find(b"third"), None);
        assert_eq!(keys.find(b""), None);
    }

    #[test]
    fn a_faulty_line_is_told_by_its_number() {
        let good = line("ops", "x", 1000);
        for (text, number, fault) in [
            (format!("{good}ops\n"), 2, LineFault::Form),
            (format!("{good}:x\n"), 2, LineFault::Name),
            (format!("{good}a b:x\n"), 2, LineFault::Name),
            (format!("{good}\u{e9}:x\n"), 2, LineFault::Name),
            (format!("{good}{}:x\n", "a".repeat(129)), 2, LineFault::Name),
            (format!("{good}\n\ndev:secret\n"), 4, HashError::Form.into()),
            (format!("{good}{good}"), 2, LineFault::Repeated(1)),
        ] {
            assert_eq!(
                Users::read(&text, [0; 32]).unwrap_err(),
                (number, fault),
                "{text}"
            );
        }
        let key = key_line("a", b"first");
        for (text, number, fault) in [
            (format!("{key}\n{key}"), 2, LineFault::Repeated(1)),
            (format!("{key}0"), 1, LineFault::Digest),
            ("a:first".to_owned(), 1, LineFault::Digest),
            (format!("a:{}", "g".repeat(64)), 1, LineFault::Digest),
            (format!("a:{}", "é".repeat(32)), 1, LineFault::Digest),
            ("a".to_owned(), 1, LineFault::Form),
        ] {
            assert_eq!(Keys::read(&text).unwrap_err(), (number, fault), "{text}");
        }
    }

    #[test]
    fn a_file_that_is_missing_or_names_nobody_is_told() {
        let folder = std::env::temp_dir().join(format!("plimsoll-auth-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("users");
        assert!(matches!(Users::load(&file), Err(FileError::Read { .. })));
        std::fs::write(&file, "# nobody yet\n\n").unwrap();
        assert!(matches!(Users::load(&file), Err(FileError::Empty { .. })));
        std::fs::write(&file, "ops:secret\n").unwrap();
        let error = Users::load(&file).unwrap_err().to_string();
        assert!(
            error.contains("line 1") && !error.contains(":secret"),
            "{error}"
        );
        std::fs::write(&file, b"ops:\xff\n").unwrap();
        assert!(matches!(Keys::load(&file), Err(FileError::Read { .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
