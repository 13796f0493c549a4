//! Header and trailer fields of one message: order, spelling and repetition kept, looked up without hashing.
//!
//! The fields lie in one buffer in the form in which HTTP/1 writes them (`name: value\r\n`), so that writing a
//! head is copying runs of it. Each entry carries the [`Name`] of the fields that a proxy acts on, and a bit set
//! says which of them occur at all. `::http::HeaderMap` is used only at the edge to HTTP/2, whose library wants it.

/// A field name that the proxy acts on, or a class of them. Anything else is [`Name::Other`] and is compared by its
/// bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Name {
    Other = 0,
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    KeepAlive,
    ProxyConnection,
    ProxyAuthenticate,
    ProxyAuthorization,
    Te,
    Trailer,
    Upgrade,
    Http2Settings,
    Expect,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    Forwarded,
    Via,
    RequestId,
    Accept,
    ContentType,
    ContentEncoding,
    Date,
    Server,
    Location,
    RetryAfter,
    Authorization,
    Cookie,
    SetCookie,
    UserAgent,
    Referer,
    MaxForwards,
    IdempotencyKey,
    GrpcStatus,
    GrpcTimeout,
    ProxyStatus,
    SecWebSocketKey,
    SecWebSocketVersion,
    SecWebSocketAccept,
    Priority,
    /// A class: any other field of the family by which proxies tell of a client, `X-Forwarded-*` and `X-Real-IP`, with
    /// `-` or `_`.
    XForwardedOther,
    /// A class: any other name that holds `_`.
    Underscored,
}

/// A set of [`Name`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Names(u64);

impl Names {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The set of `names`.
    pub const fn of(names: &[Name]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < names.len() {
            bits |= 1 << (names[i] as u8);
            i += 1;
        }
        Self(bits)
    }

    /// Both sets together.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `name` is in the set.
    pub const fn contains(self, name: Name) -> bool {
        self.0 & (1 << (name as u8)) != 0
    }

    /// Whether the sets share a name.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

const _: () = assert!((Name::Underscored as u8) < 64, "the bit set holds 64 names");

/// A name in the form in which it is compared.
struct Known {
    #[cfg(test)]
    spelt: &'static [u8],
    name: Name,
    words: [u64; 3],
    /// The bit in which the cases differ, for each byte that is a letter.
    cases: [u64; 3],
}

const fn known(spelt: &'static [u8], name: Name) -> Known {
    let words = words(spelt);
    let mut cases = [0; 3];
    let mut i = 0;
    while i < cases.len() {
        let mut bytes = words[i].to_le_bytes();
        let mut j = 0;
        while j < bytes.len() {
            bytes[j] = if bytes[j].is_ascii_lowercase() {
                0x20
            } else {
                0
            };
            j += 1;
        }
        cases[i] = u64::from_le_bytes(bytes);
        i += 1;
    }
    Known {
        #[cfg(test)]
        spelt,
        name,
        words,
        cases,
    }
}

/// Two to 24 bytes in three words that overlap: together with the length they hold every byte, and are compared at
/// once. Of fewer or more, nothing is told.
const fn words(bytes: &[u8]) -> [u64; 3] {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let middle = match bytes.split_at_checked(8) {
            Some((_, rest)) if bytes.len() > 16 => rest.first_chunk(),
            _ => None,
        };
        let middle = match middle {
            Some(middle) => u64::from_le_bytes(*middle),
            None => 0,
        };
        [
            u64::from_le_bytes(*first),
            u64::from_le_bytes(*last),
            middle,
        ]
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        [first as u64, last as u64, 0]
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u16::from_le_bytes(*first), u16::from_le_bytes(*last));
        [first as u64, last as u64, 0]
    } else {
        [0; 3]
    }
}

impl Known {
    /// Whether words of the same number of bytes spell it, in any case. A byte that differs from a letter of the name
    /// only in the bit of the case is that letter in the other case; all other bytes are compared whole.
    fn is(&self, words: [u64; 3]) -> bool {
        (words[0] | self.cases[0]) == self.words[0]
            && (words[1] | self.cases[1]) == self.words[1]
            && (words[2] | self.cases[2]) == self.words[2]
    }
}

/// Names by length, so that recognising one costs a comparison or two.
fn candidates(length: usize) -> &'static [Known] {
    use Name::*;
    match length {
        2 => const { &[known(b"te", Te)] },
        3 => const { &[known(b"via", Via)] },
        4 => const { &[known(b"host", Host), known(b"date", Date)] },
        6 => {
            const {
                &[
                    known(b"accept", Accept),
                    known(b"cookie", Cookie),
                    known(b"server", Server),
                    known(b"expect", Expect),
                ]
            }
        }
        7 => {
            const {
                &[
                    known(b"upgrade", Upgrade),
                    known(b"trailer", Trailer),
                    known(b"referer", Referer),
                ]
            }
        }
        8 => const { &[known(b"location", Location), known(b"priority", Priority)] },
        9 => const { &[known(b"forwarded", Forwarded)] },
        10 => {
            const {
                &[
                    known(b"user-agent", UserAgent),
                    known(b"connection", Connection),
                    known(b"keep-alive", KeepAlive),
                    known(b"set-cookie", SetCookie),
                ]
            }
        }
        11 => {
            const {
                &[
                    known(b"retry-after", RetryAfter),
                    known(b"grpc-status", GrpcStatus),
                ]
            }
        }
        12 => {
            const {
                &[
                    known(b"content-type", ContentType),
                    known(b"x-request-id", RequestId),
                    known(b"max-forwards", MaxForwards),
                    known(b"grpc-timeout", GrpcTimeout),
                    known(b"proxy-status", ProxyStatus),
                ]
            }
        }
        13 => const { &[known(b"authorization", Authorization)] },
        14 => {
            const {
                &[
                    known(b"content-length", ContentLength),
                    known(b"http2-settings", Http2Settings),
                ]
            }
        }
        15 => {
            const {
                &[
                    known(b"x-forwarded-for", XForwardedFor),
                    known(b"idempotency-key", IdempotencyKey),
                ]
            }
        }
        16 => {
            const {
                &[
                    known(b"x-forwarded-host", XForwardedHost),
                    known(b"content-encoding", ContentEncoding),
                    known(b"proxy-connection", ProxyConnection),
                ]
            }
        }
        17 => {
            const {
                &[
                    known(b"transfer-encoding", TransferEncoding),
                    known(b"x-forwarded-proto", XForwardedProto),
                    known(b"sec-websocket-key", SecWebSocketKey),
                ]
            }
        }
        18 => const { &[known(b"proxy-authenticate", ProxyAuthenticate)] },
        19 => const { &[known(b"proxy-authorization", ProxyAuthorization)] },
        20 => const { &[known(b"sec-websocket-accept", SecWebSocketAccept)] },
        21 => const { &[known(b"sec-websocket-version", SecWebSocketVersion)] },
        _ => &[],
    }
}

impl Name {
    /// The name that these bytes spell, in any case, or the class that they belong to.
    pub fn of(bytes: &[u8]) -> Self {
        match Self::known(bytes) {
            Self::Other => Self::class(bytes),
            known => known,
        }
    }

    /// The name that these bytes spell, in any case. Does not look for classes.
    pub fn known(bytes: &[u8]) -> Self {
        let words = words(bytes);
        candidates(bytes.len())
            .iter()
            .find(|known| known.is(words))
            .map_or(Self::Other, |known| known.name)
    }

    fn class(bytes: &[u8]) -> Self {
        // What begins with another letter is not of the family.
        if matches!(bytes.first(), Some(b'x' | b'X')) && is_forwarding(bytes) {
            Self::XForwardedOther
        } else if bytes.contains(&b'_') {
            Self::Underscored
        } else {
            Self::Other
        }
    }
}

/// Whether an application could take one name for the other: many read `-` and `_` as the same (CGI does).
pub fn is_read_as(spelt: &[u8], name: &[u8]) -> bool {
    let plain = |byte: &u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    spelt.len() == name.len() && spelt.iter().map(plain).eq(name.iter().map(plain))
}

/// Whether these bytes spell `x-forwarded`, alone or with more behind it, or `x-real-ip`; `_` is as good as `-`, since
/// many applications cannot tell the two apart.
fn is_forwarding(bytes: &[u8]) -> bool {
    const FAMILY: &[u8] = b"x-forwarded-";
    let spells = |name: &[u8]| {
        bytes.iter().zip(name).all(|(byte, expected)| {
            byte.to_ascii_lowercase() == *expected || (*byte == b'_' && *expected == b'-')
        })
    };
    if bytes.len() < FAMILY.len() - 1 {
        bytes.len() == b"x-real-ip".len() && spells(b"x-real-ip")
    } else {
        spells(FAMILY)
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    name: Name,
    name_length: u16,
    start: u32,
    value_length: u32,
}

impl Entry {
    /// Where the value lies: after the name and `": "`.
    fn value(self) -> std::ops::Range<usize> {
        let start = self.start as usize + usize::from(self.name_length) + 2;
        start..start + self.value_length as usize
    }

    fn line(self) -> std::ops::Range<usize> {
        self.start as usize..self.value().end + 2
    }
}

/// The fields of one message, in the order in which they stood.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    present: Names,
}

impl Fields {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.present = Names::NONE;
    }

    /// Adds a field at the end. The caller has validated both parts: a token, and a value without CR, LF or NUL and
    /// without white space around it.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_known(Name::of(name), name, value);
    }

    /// [`Self::push`] where the name was recognised already.
    pub fn push_known(&mut self, known: Name, name: &[u8], value: &[u8]) {
        self.bytes.reserve(name.len() + value.len() + 4);
        self.push_written(known, name, |out| out.extend_from_slice(value));
    }

    /// Adds a field whose value `write` appends to the buffer it is given, so that a value made of parts needs no
    /// buffer of its own. The same rules hold for the value as in [`Self::push`].
    pub fn push_written(&mut self, known: Name, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(
            name.len() < 1 << 16 && !name.is_empty(),
            "a field name has 1 to 65535 bytes"
        );
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        let value = self.bytes.len();
        write(&mut self.bytes);
        let value_length = self.bytes.len() - value;
        self.bytes.extend_from_slice(b"\r\n");
        self.entries.push(Entry {
            name: known,
            name_length: name.len() as u16,
            start: start as u32,
            value_length: value_length as u32,
        });
        self.present.0 |= 1 << (known as u8);
    }

    /// Which of the known names occur.
    pub fn present(&self) -> Names {
        self.present
    }

    /// Whether a field of this name, or of this class of names, occurs.
    pub fn contains(&self, name: Name) -> bool {
        self.present.contains(name)
    }

    /// The first value of a known name.
    pub fn get(&self, name: Name) -> Option<&[u8]> {
        if !self.contains(name) {
            return None;
        }
        self.entries
            .iter()
            .find(|entry| entry.name == name)
            .map(|entry| &self.bytes[entry.value()])
    }

    /// Every value of a known name, in order.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        let entries: &[Entry] = if self.contains(name) {
            &self.entries
        } else {
            &[]
        };
        entries
            .iter()
            .filter(move |entry| entry.name == name)
            .map(|entry| &self.bytes[entry.value()])
    }

    /// Every value of a name given by its bytes, in any case.
    pub fn all_by_bytes<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(_, spelt, _)| spelt.eq_ignore_ascii_case(name))
            .map(|(_, _, value)| value)
    }

    /// Every field: known name, spelling, value.
    pub fn iter(&self) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
        self.entries.iter().map(|entry| {
            let start = entry.start as usize;
            (
                entry.name,
                &self.bytes[start..start + usize::from(entry.name_length)],
                &self.bytes[entry.value()],
            )
        })
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all fields as HTTP/1 writes them.
    pub fn wire_length(&self) -> usize {
        self.bytes.len()
    }

    /// Takes out every field for which `gone` says so.
    pub fn remove_if(&mut self, mut gone: impl FnMut(Name, &[u8], &[u8]) -> bool) {
        let old = std::mem::take(self);
        for (name, spelt, value) in old.iter() {
            if !gone(name, spelt, value) {
                self.push_known(name, spelt, value);
            }
        }
    }

    /// Appends the HTTP/1 lines of all fields that are not in `skip` and not in `nominated` (lower case).
    /// Runs of kept fields are copied at once.
    pub fn write_lines(&self, out: &mut Vec<u8>, skip: Names, nominated: &[Vec<u8>]) {
        if !self.present.meets(skip) && nominated.is_empty() {
            out.extend_from_slice(&self.bytes);
            return;
        }
        let mut run = 0;
        for entry in &self.entries {
            let line = entry.line();
            let spelt = &self.bytes[line.start..line.start + usize::from(entry.name_length)];
            if skip.contains(entry.name)
                || nominated
                    .iter()
                    .any(|name| spelt.eq_ignore_ascii_case(name))
            {
                out.extend_from_slice(&self.bytes[run..line.start]);
                run = line.end;
            }
        }
        out.extend_from_slice(&self.bytes[run..]);
    }
}

#[cfg(test)]
mod tests {
    use super::{Fields, Name, Names};

    #[test]
    fn keeps_order_spelling_and_repetition() {
        let mut fields = Fields::default();
        fields.push(b"Host", b"a");
        fields.push(b"X-One", b"1");
        fields.push(b"x-one", b"2");
        assert_eq!(fields.get(Name::Host), Some(&b"a"[..]));
        assert_eq!(
            fields.all_by_bytes(b"X-ONE").collect::<Vec<_>>(),
            [b"1", b"2"]
        );
        let mut out = Vec::new();
        fields.write_lines(&mut out, Names::of(&[Name::Host]), &[]);
        assert_eq!(out, b"X-One: 1\r\nx-one: 2\r\n");
        out.clear();
        fields.write_lines(&mut out, Names::NONE, &[b"x-one".to_vec()]);
        assert_eq!(out, b"Host: a\r\n");
    }

    #[test]
    fn every_known_name_is_found_by_its_spelling() {
        for length in 0..32 {
            for known in super::candidates(length) {
                let (spelt, name) = (known.spelt, known.name);
                assert_eq!(spelt.len(), length);
                assert_eq!(Name::of(&spelt.to_ascii_uppercase()), name);
                // No other byte at any place, whichever bit it differs in.
                for at in 0..length {
                    for byte in 0..=u8::MAX {
                        let mut other = spelt.to_vec();
                        other[at] = byte;
                        let is_same = other.eq_ignore_ascii_case(spelt);
                        assert_eq!(Name::known(&other) == name, is_same, "{other:?}");
                    }
                }
            }
        }
        assert_eq!(Name::of(b"x-unknown"), Name::Other);
    }

    #[test]
    fn what_could_pass_for_another_name_is_put_into_a_class() {
        for name in [
            "X-Forwarded-Port",
            "x-forwarded",
            "X_Forwarded_For",
            "x-forwarded_host",
            "X_FORWARDED-PROTO",
            "X-Real-IP",
            "x_real_ip",
        ] {
            assert_eq!(Name::of(name.as_bytes()), Name::XForwardedOther, "{name}");
        }
        for name in [
            "Content_Length",
            "_",
            "x_forwardedfor",
            "x_forward",
            "x_real_ip_",
        ] {
            assert_eq!(Name::of(name.as_bytes()), Name::Underscored, "{name}");
        }
        for name in ["x-forwardedfor", "x-forward", "x-real", "real-ip", "x"] {
            assert_eq!(Name::of(name.as_bytes()), Name::Other, "{name}");
        }
    }
}
