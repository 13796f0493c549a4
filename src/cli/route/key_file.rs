//! Keys as they stand in a file, one on each line, hashed as a request that has them would be.

use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context;

use super::Stop;
use crate::asked::Asked;
use crate::balance::HashKey;
use crate::cli::UNAVAILABLE;
use crate::upstream::Upstream;

/// Bytes of a file of keys.
const LARGEST: u64 = 256 << 20;

/// A key of the file.
#[derive(Debug)]
pub(super) struct Key {
    /// As it is shown.
    pub(super) text: String,
    pub(super) hash: u64,
}

#[cfg(test)]
impl Key {
    pub(super) fn named(text: &str) -> Self {
        let text = text.to_owned();
        Self { text, hash: 0 }
    }
}

/// The bytes of a file, `-` for stdin.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Stop> {
    let mut bytes = Vec::new();
    let from: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(file).map_err(|error| Stop {
            code: UNAVAILABLE,
            text: format!("plimsoll: {} cannot be read: {error}", file.display()),
        })?)
    };
    let read = from.take(LARGEST + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("{} cannot be read", file.display()))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Stop::usage(format!(
            "the keys are more than {} MiB",
            LARGEST >> 20
        )));
    }
    Ok(bytes)
}

/// The keys of a file as this upstream hashes them; the error names the line that cannot be one.
pub(super) fn keys(bytes: &[u8], upstream: &Upstream) -> Result<Vec<Key>, String> {
    let by = upstream.selectors.as_ref().and_then(|all| all.key.as_ref());
    let by = by.ok_or("the upstream hashes nothing")?;
    let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    let lines = lines.map(|(line, number)| (line.strip_suffix(b"\r").unwrap_or(line), number));
    let key = |(line, number): (&[u8], u64)| {
        let text: String = String::from_utf8_lossy(line).escape_debug().collect();
        match by.of(&Line::new(by, line)) {
            Some(key) => Ok(Key {
                text,
                hash: key.hash,
            }),
            None => Err(format!(
                "line {number}: `{text}` is none of the keys that this upstream hashes"
            )),
        }
    };
    let keys: Vec<Key> = lines
        .filter(|(line, _)| !line.is_empty())
        .map(key)
        .collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err("there is no key in the file".to_owned());
    }
    Ok(keys)
}

/// A request that has nothing but a key.
struct Line<'a> {
    value: &'a [u8],
    /// `name=value` of a cookie or parameter.
    pair: Vec<u8>,
}

impl<'a> Line<'a> {
    fn new(by: &HashKey, value: &'a [u8]) -> Self {
        let mut pair = match by {
            HashKey::Cookie { name, .. } => name.as_bytes().to_vec(),
            // Escaped, as it may hold what parts parameters.
            HashKey::Query(name) => name
                .bytes()
                .flat_map(|byte| format!("%{byte:02X}").into_bytes())
                .collect(),
            HashKey::ClientIp | HashKey::Host | HashKey::Path | HashKey::Header(_) => Vec::new(),
        };
        pair.push(b'=');
        pair.extend_from_slice(value);
        Self { value, pair }
    }
}

impl Asked for Line<'_> {
    fn client_ip(&self) -> Option<IpAddr> {
        std::str::from_utf8(self.value).ok()?.trim().parse().ok()
    }

    fn host(&self) -> Option<&[u8]> {
        Some(self.value)
    }

    fn path(&self) -> &[u8] {
        self.value
    }

    fn query(&self) -> Option<&[u8]> {
        Some(&self.pair)
    }

    fn each_header(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        each(
            if name.eq_ignore_ascii_case("cookie") && self.pair.len() > self.value.len() + 1 {
                &self.pair
            } else {
                self.value
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(by: &HashKey, line: &str) -> Option<u64> {
        by.of(&Line::new(by, line.as_bytes())).map(|key| key.hash)
    }

    #[test]
    fn a_line_hashes_as_the_same_value_of_a_request_does() {
        let plain = |text: &str| Some(xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        for by in [
            HashKey::Path,
            HashKey::Host,
            HashKey::header("X-User"),
            HashKey::header("Cookie"),
            HashKey::cookie("sid", None),
            HashKey::query("a&b=c"),
        ] {
            assert_eq!(hash(&by, "alice"), plain("alice"), "{by:?}");
        }
        assert_eq!(
            hash(&HashKey::ClientIp, "::ffff:192.0.2.1"),
            hash(&HashKey::ClientIp, "192.0.2.1")
        );
        assert_eq!(hash(&HashKey::ClientIp, "alice"), None);
        assert_eq!(hash(&HashKey::query("q"), "a+b"), plain("a b"));
    }
}
