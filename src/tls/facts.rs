//! What stands in a certificate: who it is for, who vouches for that, how long, and under which names (pure, fuzzed).
//!
//! Not here: whether it is to be believed, which rustls and webpki judge.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::der::{Der, Element, tag, time};
use super::distinguished::Name;

/// What a certificate says (RFC 5280, 4.1).
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// As an integer in DER: big-endian, with a zero in front where the first bit is set.
    pub serial: &'a [u8],
    pub issuer: Name<'a>,
    pub subject: Name<'a>,
    /// Seconds since 1970, both ends included.
    pub not_before: i64,
    pub not_after: i64,
    /// Under which names it is known (subjectAltName), in its order.
    pub names: Vec<AltName<'a>>,
    /// Whether it may vouch for others.
    pub is_authority: bool,
    /// What the issuer of others calls its key (subjectKeyIdentifier).
    pub key_id: Option<&'a [u8]>,
    pub key: Key,
}

/// One name of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AltName<'a> {
    Dns(&'a [u8]),
    Email(&'a [u8]),
    Uri(&'a [u8]),
    Ip(IpAddr),
}

/// The kind of key that a certificate vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Rsa { bits: usize },
    Ecdsa { curve: &'static str },
    Ed25519,
    Other,
}

impl<'a> Facts<'a> {
    /// Reads a certificate in DER; `None` where it is not written as RFC 5280 has it.
    pub fn of(certificate: &'a [u8]) -> Option<Self> {
        let mut signed = Der(certificate).sequence()?;
        let mut body = signed.sequence()?;
        body.optional(tag::inner(0)); // the version
        let serial = body.expect(tag::INTEGER)?;
        body.sequence()?; // the algorithm of the signature, again
        let issuer = Name::new(body.expect(tag::SEQUENCE)?)?;
        let mut validity = body.sequence()?;
        let not_before = time(validity.next()?)?;
        let not_after = time(validity.next()?)?;
        let subject = Name::new(body.expect(tag::SEQUENCE)?)?;
        let key = key(body.sequence()?)?;
        body.optional(tag::plain(1));
        body.optional(tag::plain(2));
        let mut this = Self {
            serial,
            issuer,
            subject,
            not_before,
            not_after,
            names: Vec::new(),
            is_authority: false,
            key_id: None,
            key,
        };
        if let Some(extensions) = body.optional(tag::inner(3)) {
            this.extend(Der(extensions).sequence()?)?;
        }
        Some(this)
    }

    fn extend(&mut self, mut extensions: Der<'a>) -> Option<()> {
        while !extensions.is_empty() {
            let mut extension = extensions.sequence()?;
            let kind = extension.expect(tag::OBJECT)?;
            extension.optional(tag::BOOLEAN);
            let value = extension.expect(tag::OCTET_STRING)?;
            match kind {
                SUBJECT_ALT_NAME => self.names = names(Der(value).sequence()?)?,
                BASIC_CONSTRAINTS => {
                    let mut constraints = Der(value).sequence()?;
                    self.is_authority = constraints.optional(tag::BOOLEAN) == Some(&[0xff]);
                }
                SUBJECT_KEY_ID => self.key_id = Der(value).expect(tag::OCTET_STRING),
                _ => {}
            }
        }
        Some(())
    }

    /// The serial number in hexadecimal, as `openssl x509 -serial` shows it, in lower case.
    pub fn serial(&self) -> String {
        hex(match self.serial {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        })
    }
}

// 2.5.29.17, 2.5.29.19, 2.5.29.14
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 0x0e];

/// The names that are understood; directory names and those of other kinds are passed over.
fn names(mut listed: Der<'_>) -> Option<Vec<AltName<'_>>> {
    let mut names = Vec::new();
    while !listed.is_empty() {
        let Element { tag, content } = listed.next()?;
        names.extend(match tag {
            0x81 => Some(AltName::Email(content)),
            0x82 => Some(AltName::Dns(content)),
            0x86 => Some(AltName::Uri(content)),
            0x87 => Some(AltName::Ip(ip(content)?)),
            _ => None,
        });
    }
    Some(names)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).into());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(sixteen).into())
}

/// Reads a public key (RFC 5280, 4.1.2.7) as far as its kind goes.
fn key(mut info: Der<'_>) -> Option<Key> {
    // 1.2.840.113549.1.1.1, 1.2.840.10045.2.1, 1.3.101.112
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    // 1.2.840.10045.3.1.7, 1.3.132.0.34, 1.3.132.0.35
    const CURVES: [(&[u8], &str); 3] = [
        (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], "P-256"),
        (&[0x2b, 0x81, 0x04, 0x00, 0x22], "P-384"),
        (&[0x2b, 0x81, 0x04, 0x00, 0x23], "P-521"),
    ];
    let mut algorithm = info.sequence()?;
    let bits = info.expect(tag::BIT_STRING)?;
    Some(match algorithm.expect(tag::OBJECT)? {
        RSA => {
            // The number of bits that are not used comes first.
            let modulus = Der(bits.get(1..)?).sequence()?.expect(tag::INTEGER)?;
            let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
            let unused = modulus
                .first()
                .map_or(0, |first| first.leading_zeros() as usize);
            Key::Rsa {
                bits: modulus.len() * 8 - unused,
            }
        }
        ECDSA => {
            let named = algorithm.optional(tag::OBJECT);
            let curve = CURVES.iter().find(|(id, _)| Some(*id) == named);
            curve.map_or(Key::Other, |(_, curve)| Key::Ecdsa { curve })
        }
        ED25519 => Key::Ed25519,
        _ => Key::Other,
    })
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "RSA, {bits} bits"),
            Self::Ecdsa { curve } => write!(f, "ECDSA, {curve}"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Other => f.write_str("of a kind that is not known"),
        }
    }
}

impl fmt::Display for AltName<'_> {
    /// `DNS:a.test`. Whoever made the certificate chose the bytes: whatever could end the name, or the field that it is
    /// put into, is percent-encoded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, bytes) = match self {
            Self::Dns(name) => ("DNS", *name),
            Self::Email(name) => ("email", *name),
            Self::Uri(name) => ("URI", *name),
            Self::Ip(address) => return write!(f, "IP:{address}"),
        };
        write!(f, "{kind}:")?;
        for &byte in bytes {
            match byte {
                b'%' | b',' | 0..=0x20 | 0x7f.. => write!(f, "%{byte:02X}")?,
                _ => write!(f, "{}", char::from(byte))?,
            }
        }
        Ok(())
    }
}

/// Bytes in hexadecimal, in lower case.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{SanType, SerialNumber, date_time_ymd};

    use super::*;
    use crate::tls::fixture::{Authority, Issued};

    fn issue(change: impl FnOnce(&mut rcgen::CertificateParams)) -> Issued {
        Authority::new().issue_with(&["a.test"], &rcgen::PKCS_ECDSA_P256_SHA256, change)
    }

    #[test]
    fn a_certificate_tells_what_it_was_made_with() {
        let issued = issue(|params| {
            params.not_before = date_time_ymd(2024, 2, 29);
            params.not_after = date_time_ymd(2051, 1, 1);
            params.serial_number = Some(SerialNumber::from_slice(&[0x8f, 1]));
            let name = "ops@a.test".try_into().unwrap();
            params.subject_alt_names.push(SanType::Rfc822Name(name));
            params
                .subject_alt_names
                .push(SanType::IpAddress("::1".parse().unwrap()));
            let uri = "spiffe://a.test/x,y".try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(uri));
        });
        let der = issued.der();
        let facts = Facts::of(&der).unwrap();
        assert_eq!(facts.not_before, 1_709_164_800);
        assert_eq!(
            facts.not_after,
            date_time_ymd(2051, 1, 1).unix_timestamp(),
            "written with four digits of the year"
        );
        assert_eq!(facts.serial(), "8f01");
        let names: Vec<String> = facts.names.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "DNS:a.test",
                "email:ops@a.test",
                "IP:::1",
                "URI:spiffe://a.test/x%2Cy"
            ]
        );
        assert!(facts.issuer.to_string().starts_with("CN=authority "));
        assert_eq!(facts.key, Key::Ecdsa { curve: "P-256" });
        assert!(!facts.is_authority);
    }

    #[test]
    fn an_authority_tells_that_it_is_one() {
        let authority = Authority::new();
        let der = authority.der();
        let facts = Facts::of(&der).unwrap();
        assert!(facts.is_authority);
        assert_eq!(facts.issuer.to_string(), facts.subject.to_string());
        assert!(facts.key_id.is_some());
    }

    #[test]
    fn the_kind_of_a_key_is_told() {
        let authority = Authority::new();
        for (algorithm, key) in [
            (&rcgen::PKCS_RSA_SHA256, "RSA, 2048 bits"),
            (&rcgen::PKCS_ECDSA_P384_SHA384, "ECDSA, P-384"),
            (&rcgen::PKCS_ED25519, "Ed25519"),
        ] {
            let der = authority.issue_with(&["a.test"], algorithm, |_| {}).der();
            assert_eq!(Facts::of(&der).unwrap().key.to_string(), key);
        }
    }

    #[test]
    fn a_name_never_ends_the_field_that_it_is_put_into() {
        let name = AltName::Uri(b"a\r\nX-Evil: 1, b\x00\xff%");
        assert_eq!(name.to_string(), "URI:a%0D%0AX-Evil:%201%2C%20b%00%FF%25");
    }

    proptest! {
        /// A certificate with any bytes changed is refused, or read without a fault.
        #[test]
        fn whatever_comes_is_read_or_refused(
            changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8),
        ) {
            let mut der = issue(|_| {}).der();
            for (at, byte) in changes {
                let at = at % der.len();
                der[at] = byte;
            }
            if let Some(facts) = Facts::of(&der) {
                let told = format!("{}{}{:?}", facts.issuer, facts.subject, facts.names);
                prop_assert!(told.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            }
        }
    }
}
