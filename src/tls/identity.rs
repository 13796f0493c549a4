//! Who a client is by the certificate that it showed, in the words in which endpoints are told (pure, fuzzed).

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;

use super::facts::{Facts, hex};

/// What is told of a client's certificate. No part holds anything but printable ASCII, whatever the certificate does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub subject: Box<str>,
    pub issuer: Box<str>,
    pub serial: Box<str>,
    /// With commas between them.
    pub names: Box<str>,
    pub sha256: Box<str>,
    /// Seconds since 1970, after which it is worth nothing.
    pub not_after: i64,
    der: CertificateDer<'static>,
}

/// Bytes of the names of a certificate that are told. Longer ones leave no room for the other fields of a head.
const MOST: usize = 4096;

impl Identity {
    /// Reads it from the certificate; `None` where it cannot be told: it is not written as it should be, or its names are
    /// longer than a head can carry. To tell a part of a name would be to tell another one.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let facts = Facts::of(certificate)?;
        let names: Vec<String> = facts.names.iter().map(ToString::to_string).collect();
        let this = Self {
            subject: facts.subject.to_string().into(),
            issuer: facts.issuer.to_string().into(),
            serial: facts.serial().into(),
            names: names.join(",").into(),
            sha256: hex(digest::digest(&digest::SHA256, certificate).as_ref()).into(),
            not_after: facts.not_after,
            der: certificate.clone().into_owned(),
        };
        let parts = [&this.subject, &this.issuer, &this.serial, &this.names];
        parts.iter().all(|part| part.len() <= MOST).then_some(this)
    }

    /// The certificate as a structured field (RFC 9440, 2.1): base64 between colons.
    pub fn certificate(&self) -> Vec<u8> {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = Vec::with_capacity(self.der.len().div_ceil(3) * 4 + 2);
        text.push(b':');
        for three in self.der.chunks(3) {
            let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for place in 0..4 {
                text.push(if place <= three.len() {
                    DIGITS[(bits >> (18 - 6 * place)) as usize & 63]
                } else {
                    b'='
                });
            }
        }
        text.push(b':');
        text
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{DnType, SanType};

    use super::*;
    use crate::tls::fixture::{Authority, Issued};

    fn issue(change: impl FnOnce(&mut rcgen::CertificateParams)) -> Issued {
        Authority::new().issue_with(&["a.test"], &rcgen::PKCS_ECDSA_P256_SHA256, change)
    }

    #[test]
    fn nothing_that_is_told_can_end_a_field() {
        let issued = issue(|params| {
            let name = "a\r\nX-Admin: 1\0\u{e9}";
            params.distinguished_name.push(DnType::CommonName, name);
            let uri = "spiffe://a/b,DNS:c".try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(uri));
        });
        let identity = Identity::of(&issued.der().into()).unwrap();
        assert_eq!(&*identity.names, "DNS:a.test,URI:spiffe://a/b%2CDNS:c");
        assert!(identity.subject.contains("a\\0D\\0AX-Admin: 1\\00\\C3\\A9"));
        for part in [&identity.subject, &identity.issuer, &identity.names] {
            assert!(part.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        }
        assert_eq!(identity.sha256.len(), 64);
    }

    #[test]
    fn the_certificate_is_told_as_it_is() {
        let issued = issue(|_| {});
        let identity = Identity::of(&issued.der().into()).unwrap();
        let told = String::from_utf8(identity.certificate()).unwrap();
        let lines = issued.cert.lines().filter(|line| !line.starts_with('-'));
        let expected: String = lines.collect();
        assert_eq!(told, format!(":{expected}:"));
    }

    #[test]
    fn names_that_leave_no_room_are_not_told() {
        let issued = issue(|params| {
            let name = "a".repeat(MOST);
            params.distinguished_name.push(DnType::CommonName, name);
        });
        assert_eq!(Identity::of(&issued.der().into()), None);
    }
}
