//! Making certificates: an authority, and what it vouches for.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber,
};

use crate::entropy::Random;
use crate::tls::{self, Facts, Name, Shared, hex};

const DAY: Duration = Duration::from_secs(86_400);
/// Clocks of those who are shown a fresh certificate may go behind ours.
const SKEW: Duration = Duration::from_secs(3600);

/// From when to when a certificate is good, since 1970.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Span {
    from: Duration,
    until: Duration,
}

impl Span {
    /// From now on, for so many days.
    pub(in crate::cli) fn days(now: Duration, days: u32) -> Self {
        Self {
            from: now.saturating_sub(SKEW),
            until: now + DAY * days,
        }
    }

    /// For so many days that were over yesterday.
    pub(super) fn expired(now: Duration, days: u32) -> Self {
        let until = now.saturating_sub(DAY);
        Self {
            from: until.saturating_sub(DAY * days),
            until,
        }
    }

    fn set(self, params: &mut CertificateParams) {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + self.from;
        params.not_after = epoch + self.until;
    }
}

/// A certificate authority.
pub(in crate::cli) struct Authority {
    cert: String,
    key: String,
    /// Its certificate in DER.
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is asked for.
pub(in crate::cli) struct Request<'a> {
    pub(in crate::cli) names: &'a [String],
    pub(in crate::cli) rsa: bool,
    pub(in crate::cli) client: bool,
    pub(in crate::cli) span: Span,
}

impl Authority {
    /// Makes one.
    pub(in crate::cli) fn new(name: Option<&str>, rsa: bool, span: Span) -> anyhow::Result<Self> {
        // Two of one name are taken for each other by those who trust both, and then their signatures do not fit.
        let number = Random::from_system().next_u64() >> 40;
        let own = format!("Plimsoll local CA {number:06x}");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, name.unwrap_or(&own));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        span.set(&mut params);
        let key = new_key(rsa)?;
        let text = key.serialize_pem();
        let signed = CertifiedIssuer::self_signed(params.clone(), key)
            .context("cannot sign the authority's certificate")?;
        let (cert, der) = (signed.pem(), signed.der().to_vec());
        let key = KeyPair::from_pem(&text).context("cannot read back the authority's key")?;
        Ok(Self {
            cert,
            key: text,
            der,
            issuer: Issuer::new(params, key),
        })
    }

    /// Reads one, made here or elsewhere. Blocks on files.
    pub(in crate::cli) fn load(cert: &Path, key: &Path) -> anyhow::Result<Self> {
        // It sees to it that both belong together.
        // Its errors tell what is behind them already.
        let certified = Shared::new()?.certified_key(cert, key);
        let certified = certified.map_err(|error| anyhow::anyhow!("{error}"))?;
        let der = certified.end_entity_cert()?.to_vec();
        let named = cert.display();
        let facts = Facts::of(&der).with_context(|| format!("`{named}` cannot be read"))?;
        ensure!(
            facts.is_authority,
            "the certificate in `{named}` is none of an authority; `plimsoll cert ca` makes one"
        );
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(&facts.subject)
            .with_context(|| format!("cannot issue in the name that `{named}` carries"))?;
        if let Some(id) = facts.key_id {
            params.key_identifier_method = KeyIdMethod::PreSpecified(id.to_vec());
        }
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let secret = tls::private_key(key)?;
        let signing = KeyPair::try_from(&secret);
        let signing = signing.with_context(|| format!("cannot sign with `{}`", key.display()))?;
        Ok(Self {
            cert: std::fs::read_to_string(cert)?,
            key: signing.serialize_pem(),
            issuer: Issuer::new(params, signing),
            der,
        })
    }

    /// Certificate and key.
    pub(in crate::cli) fn pem(&self) -> (String, String) {
        (self.cert.clone(), self.key.clone())
    }

    /// A certificate and its key, both PEM.
    pub(in crate::cli) fn issue(&self, asked: &Request<'_>) -> anyhow::Result<(String, String)> {
        let mut params = CertificateParams::default();
        let names = asked.names.iter();
        for name in names {
            params
                .subject_alt_names
                .extend(alt_name(name, asked.client)?);
        }
        params.distinguished_name = DistinguishedName::new();
        if let Some(first) = asked.names.first() {
            params
                .distinguished_name
                .push(DnType::CommonName, first.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![if asked.client {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        }];
        params.use_authority_key_identifier_extension = true;
        // Sixteen bytes by chance, the first bit off (RFC 5280, 4.1.2.2).
        let mut random = Random::from_system();
        let high = (random.next_u64() >> 1) | 1 << 62;
        let serial = [high.to_be_bytes(), random.next_u64().to_be_bytes()].concat();
        params.serial_number = Some(SerialNumber::from(serial));
        asked.span.set(&mut params);
        let key = new_key(asked.rsa)?;
        let signed = params
            .signed_by(&key, &self.issuer)
            .context("cannot sign the certificate")?;
        // Chains are found by the bytes of the name.
        let own = Facts::of(&self.der).map(|facts| facts.subject);
        let told = Facts::of(signed.der()).map(|facts| facts.issuer);
        ensure!(
            own.is_some() && own == told,
            "the authority's name is written in a way that cannot be repeated here"
        );
        Ok((signed.pem(), key.serialize_pem()))
    }
}

fn new_key(rsa: bool) -> anyhow::Result<KeyPair> {
    let algorithm = if rsa {
        &rcgen::PKCS_RSA_SHA256
    } else {
        &rcgen::PKCS_ECDSA_P256_SHA256
    };
    KeyPair::generate_for(algorithm).context("cannot make a key")
}

/// The name as certificates carry it; `None` where only the common name can.
fn alt_name(name: &str, client: bool) -> anyhow::Result<Option<SanType>> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(Some(SanType::IpAddress(address)));
    }
    if is_host(name.strip_prefix("*.").unwrap_or(name)) {
        return Ok(Some(SanType::DnsName(name.try_into()?)));
    }
    if !client {
        bail!("`{name}` is neither a host name nor an IP address; `--client` takes other names");
    }
    Ok(if name.contains("://") && name.is_ascii() {
        Some(SanType::URI(name.try_into()?))
    } else if name.contains('@') && name.is_ascii() && !name.contains(' ') {
        Some(SanType::Rfc822Name(name.try_into()?))
    } else {
        None
    })
}

/// Whether this can be asked for by SNI: labels of letters, digits, `-` and `_`.
fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// The name of an authority, to be written again as it is.
fn distinguished(name: &Name<'_>) -> anyhow::Result<DistinguishedName> {
    let mut copy = DistinguishedName::new();
    for part in name.parts() {
        let kind = DnType::from_oid(&part.arcs());
        ensure!(
            !part.is_joined && copy.get(&kind).is_none(),
            "it has several parts of one kind or at one place"
        );
        let text = std::str::from_utf8(part.value).context("it is not UTF-8")?;
        let value = match part.tag {
            0x0c => DnValue::Utf8String(text.to_owned()),
            0x13 => DnValue::PrintableString(text.try_into()?),
            0x14 => DnValue::TeletexString(text.try_into()?),
            0x16 => DnValue::Ia5String(text.try_into()?),
            tag => bail!("a part is text of the kind {}", hex(&[tag])),
        };
        copy.push(kind, value);
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, UnixTime};
    use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

    use super::*;
    use crate::tls::fixture::Folder;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    fn request(names: &[String], client: bool) -> Request<'_> {
        Request {
            names,
            rsa: false,
            client,
            span: Span::days(NOW, 10),
        }
    }

    fn verify(authority: &str, leaf: &str, usage: KeyUsage) -> Result<(), webpki::Error> {
        let (authority, leaf) = (der(authority), der(leaf));
        let anchor = anchor_from_trusted_cert(&authority).unwrap();
        let algorithms = rustls::crypto::aws_lc_rs::default_provider();
        let algorithms = algorithms.signature_verification_algorithms.all;
        let leaf = EndEntityCert::try_from(&leaf).unwrap();
        let now = UnixTime::since_unix_epoch(NOW);
        leaf.verify_for_usage(algorithms, &[anchor], &[], now, usage, None, None)
            .map(|_| ())
    }

    #[test]
    fn what_is_issued_is_believed_for_what_it_is_for() {
        for rsa in [false, true] {
            let authority = Authority::new(None, rsa, Span::days(NOW, 100)).unwrap();
            let (ca, _) = authority.pem();
            let names = ["a.test", "*.b.test", "127.0.0.1"].map(str::to_owned);
            let (server, _) = authority.issue(&request(&names, false)).unwrap();
            assert_eq!(verify(&ca, &server, KeyUsage::server_auth()), Ok(()));
            assert!(verify(&ca, &server, KeyUsage::client_auth()).is_err());
            let names = ["ada@a.test", "Ada, of a"].map(str::to_owned);
            let (client, _) = authority.issue(&request(&names, true)).unwrap();
            assert_eq!(verify(&ca, &client, KeyUsage::client_auth()), Ok(()));
            assert!(verify(&ca, &client, KeyUsage::server_auth()).is_err());
            let client = der(&client);
            let facts = Facts::of(&client).unwrap();
            assert_eq!(facts.subject.to_string(), "CN=ada@a.test");
            assert_eq!(facts.names.len(), 1);
        }
    }

    #[test]
    fn an_authority_that_was_read_issues_as_the_one_that_was_made() {
        let folder = Folder::new();
        let made = Authority::new(Some("Caf\u{e9}, Inc."), false, Span::days(NOW, 10)).unwrap();
        let (cert, key) = made.pem();
        let (cert, key) = (folder.write("ca.pem", &cert), folder.write("ca.key", &key));
        let read = Authority::load(&cert, &key).unwrap();
        let names = ["a.test".to_owned()];
        let (leaf, _) = read.issue(&request(&names, false)).unwrap();
        assert_eq!(
            verify(&made.pem().0, &leaf, KeyUsage::server_auth()),
            Ok(())
        );
        // A certificate that is none of an authority vouches for nobody.
        let (leaf, key) = made.issue(&request(&names, false)).unwrap();
        let (leaf, key) = (folder.write("a.pem", &leaf), folder.write("a.key", &key));
        let refused = Authority::load(&leaf, &key).err().unwrap();
        assert!(
            refused.to_string().contains("none of an authority"),
            "{refused}"
        );
    }

    #[test]
    fn one_that_is_expired_is_not_believed() {
        let authority = Authority::new(None, false, Span::days(NOW, 10)).unwrap();
        let names = ["a.test".to_owned()];
        let expired = Request {
            span: Span::expired(NOW, 30),
            ..request(&names, false)
        };
        let (leaf, _) = authority.issue(&expired).unwrap();
        let judged = verify(&authority.pem().0, &leaf, KeyUsage::server_auth());
        assert!(matches!(judged, Err(webpki::Error::CertExpired { .. })));
    }

    #[test]
    fn a_server_needs_a_name_that_can_be_asked_for() {
        for name in ["a b", "", "a..b", "-a", "ada@a.test", "*.*.a", "http://a"] {
            assert!(alt_name(name, false).is_err(), "{name:?}");
        }
        for name in ["a", "a_b.test", "*.a.test", "::1", "10.0.0.1"] {
            assert!(alt_name(name, false).unwrap().is_some(), "{name:?}");
        }
    }
}
