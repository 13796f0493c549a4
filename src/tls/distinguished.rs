//! Distinguished names: whom a certificate is for, and who made it, as one line of text (pure, fuzzed).

use std::fmt;

use super::der::{Der, Element, tag};
use super::facts::hex;

/// A distinguished name (RFC 5280, 4.1.2.4), known to be well-formed.
///
/// Its text is that of RFC 4514, most special first: `CN=api,O=Example`. Whoever made the certificate chose the bytes, and the
/// text stands in fields towards endpoints: whatever is no printable ASCII is written as `\0D`, so that a name cannot end
/// its field and begin another one (Envoy, GHSA-w5w5-487h-qv8q).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a>(&'a [u8]);

/// One part of a name, `CN=api`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// What the part is, an object identifier in DER.
    pub kind: &'a [u8],
    /// The tag of the value: UTF8String, PrintableString or another one.
    pub tag: u8,
    pub value: &'a [u8],
    /// Whether the part before stands at the same place of the name.
    pub is_joined: bool,
}

/// Object identifiers of the kinds that have a short name.
const KINDS: [(&[u8], &str); 11] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    // 0.9.2342.19200300.100.1.25 and .1
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
        "DC",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1],
        "UID",
    ),
    // 1.2.840.113549.1.9.1
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1],
        "emailAddress",
    ),
];

/// Kinds of text whose bytes are ASCII or UTF-8: UTF8String, PrintableString, IA5String.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

impl<'a> Name<'a> {
    /// `None` where these bytes are none.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        parts(bytes).map(|_| Self(bytes))
    }

    /// The parts in the order of the certificate, the most general first.
    pub fn parts(&self) -> Vec<Part<'a>> {
        parts(self.0).unwrap_or_default()
    }

    /// The last common name, as text; `None` where there is none that is UTF-8.
    pub fn common_name(&self) -> Option<&'a str> {
        let parts = self.parts();
        let named = parts.iter().rev().find(|part| part.short() == Some("CN"))?;
        std::str::from_utf8(named.value).ok()
    }
}

impl Part<'_> {
    /// The short name of its kind.
    pub fn short(&self) -> Option<&'static str> {
        let kind = KINDS.iter().find(|(id, _)| *id == self.kind);
        kind.map(|(_, short)| *short)
    }

    /// The numbers of its kind, as in `2.5.4.3`.
    pub fn arcs(&self) -> Vec<u64> {
        arcs(self.kind)
    }
}

fn parts(bytes: &[u8]) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut places = Der(bytes);
    while !places.is_empty() {
        let mut place = Der(places.expect(tag::SET)?);
        let mut is_joined = false;
        while !place.is_empty() {
            let mut part = place.sequence()?;
            let kind = part.expect(tag::OBJECT)?;
            let Element { tag, content } = part.next()?;
            parts.push(Part {
                kind,
                tag,
                value: content,
                is_joined,
            });
            is_joined = true;
        }
    }
    Some(parts)
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts();
        // Those of one place stay together: joined by `+`, in the order of the certificate.
        let mut places: Vec<Vec<Part<'_>>> = Vec::new();
        for part in parts {
            match places.last_mut() {
                Some(place) if part.is_joined => place.push(part),
                _ => places.push(vec![part]),
            }
        }
        for (index, place) in places.iter().rev().enumerate() {
            for (inner, part) in place.iter().enumerate() {
                if index + inner > 0 {
                    f.write_str(if inner > 0 { "+" } else { "," })?;
                }
                write!(f, "{part}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.short() {
            Some(short) if TEXTS.contains(&self.tag) => {
                write!(f, "{short}=")?;
                escape(self.value, f)
            }
            Some(short) => write!(f, "{short}=#{:02x}{}", self.tag, encoded(self.value)),
            None => {
                let arcs = self.arcs().iter().map(u64::to_string).collect::<Vec<_>>();
                let dotted = arcs.join(".");
                write!(f, "{dotted}=#{:02x}{}", self.tag, encoded(self.value))
            }
        }
    }
}

/// Length and content in hexadecimal, as they stand in the certificate.
fn encoded(value: &[u8]) -> String {
    let length = value.len();
    let head = match length {
        0..=0x7f => format!("{length:02x}"),
        0x80..=0xff => format!("81{length:02x}"),
        0x100..=0xffff => format!("82{length:04x}"),
        _ => format!("83{length:06x}"),
    };
    head + &hex(value)
}

/// Text as RFC 4514, 2.4 has it.
fn escape(text: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let last = text.len().saturating_sub(1);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                write!(f, "\\{}", char::from(byte))?;
            }
            b' ' if at == 0 || at == last => f.write_str("\\ ")?,
            b'#' if at == 0 => f.write_str("\\#")?,
            0x20..=0x7e => write!(f, "{}", char::from(byte))?,
            _ => write!(f, "\\{byte:02X}")?,
        }
    }
    Ok(())
}

/// The numbers of an object identifier (X.690, 8.19).
fn arcs(id: &[u8]) -> Vec<u64> {
    let mut arcs = Vec::new();
    let mut number = 0_u64;
    for &byte in id {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if arcs.is_empty() {
            let top = (number / 40).min(2);
            arcs.extend([top, number - top * 40]);
        } else {
            arcs.push(number);
        }
        number = 0;
    }
    arcs
}

#[cfg(test)]
mod tests {
    use rcgen::{DnType, DnValue};

    use crate::tls::facts::Facts;
    use crate::tls::fixture::Authority;

    fn subject(parts: &[(DnType, DnValue)]) -> String {
        let issued = Authority::new().issue_with(&[], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            for (kind, value) in parts {
                params.distinguished_name.push(kind.clone(), value.clone());
            }
        });
        Facts::of(&issued.der()).unwrap().subject.to_string()
    }

    fn common(name: &str) -> String {
        subject(&[(DnType::CommonName, DnValue::Utf8String(name.to_owned()))])
    }

    #[test]
    fn the_most_special_part_comes_first() {
        let text = |text: &str| DnValue::Utf8String(text.to_owned());
        let printable = DnValue::PrintableString("DE".try_into().unwrap());
        let told = subject(&[
            (DnType::CountryName, printable),
            (DnType::OrganizationName, text("Example, Inc.")),
            (DnType::CommonName, text("api")),
        ]);
        assert_eq!(told, "CN=api,O=Example\\, Inc.,C=DE");
    }

    #[test]
    fn what_has_a_meaning_is_escaped() {
        for (name, told) in [
            ("a+b=c", "CN=a\\+b=c"),
            (" a ", "CN=\\ a\\ "),
            (" ", "CN=\\ "),
            ("#1", "CN=\\#1"),
            ("a,O=admin", "CN=a\\,O=admin"),
            ("\\", "CN=\\\\"),
            ("a\r\nX-Admin: 1", "CN=a\\0D\\0AX-Admin: 1"),
            ("Caf\u{e9}\0", "CN=Caf\\C3\\A9\\00"),
        ] {
            assert_eq!(common(name), told, "{name:?}");
        }
    }

    #[test]
    fn kinds_and_values_that_are_not_known_are_shown_as_they_are_written() {
        let custom = DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 311, 7]);
        let told = subject(&[(custom, DnValue::Utf8String("x".to_owned()))]);
        assert_eq!(told, "1.3.6.1.4.1.311.7=#0c0178");
        let teletex = DnValue::TeletexString("a!".try_into().unwrap());
        let told = subject(&[(DnType::CommonName, teletex)]);
        assert_eq!(told, "CN=#14026121");
        assert_eq!(subject(&[]), "");
    }

    #[test]
    fn the_common_name_is_found() {
        let issued = Authority::new().issue_with(&[], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
            params.distinguished_name.push(DnType::CommonName, "api");
        });
        let der = issued.der();
        assert_eq!(Facts::of(&der).unwrap().subject.common_name(), Some("api"));
    }
}
