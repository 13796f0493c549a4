//! Which certificate of an endpoint is accepted.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::config;
use crate::tls::{self, Press, Shared, TlsError};

/// What the configuration says of who is believed, as far as it was read.
pub(super) enum Judge {
    /// `verify: false`
    Anybody,
    /// Those of whom these roots know; the certificates of a file, where one is named.
    Rooted {
        roots: RootCertStore,
        own: Vec<CertificateDer<'static>>,
    },
}

impl Judge {
    /// Reads the roots, and presses all that decides into the fingerprint. Blocks on files.
    pub(super) fn read(written: &config::ClientTls, press: &mut Press) -> Result<Self, TlsError> {
        if !written.verify {
            press.add(b"anybody");
            return Ok(Self::Anybody);
        }
        let own = written
            .ca
            .as_deref()
            .map(|file| tls::certificates(file).map(|own| (file, own)))
            .transpose()?;
        let roots = tls::roots(own.as_ref().map(|(file, own)| (*file, own.as_slice())))?;
        press.add(b"roots");
        for root in &roots.roots {
            press.add(&root.subject);
            press.add(&root.subject_public_key_info);
            press.add(root.name_constraints.as_deref().unwrap_or_default());
        }
        // A certificate that is listed is believed itself, too, under the names that it carries.
        let own = own.map(|(_, own)| own).unwrap_or_default();
        press.add(b"own");
        own.iter().for_each(|one| press.add(one));
        Ok(Self::Rooted { roots, own })
    }

    /// The judge.
    pub(super) fn compile(self, shared: &Shared) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        let Self::Rooted { roots, own } = self else {
            let schemes = shared
                .provider
                .signature_verification_algorithms
                .supported_schemes();
            return Ok(Arc::new(Anybody { schemes }));
        };
        let provider = Arc::clone(&shared.provider);
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let chains = chains.map_err(|error| TlsError::NoRoots {
            reason: error.to_string(),
        })?;
        Ok(if own.is_empty() {
            chains
        } else {
            Arc::new(Named {
                chains,
                pinned: own,
            })
        })
    }
}

/// Trusts chains that end in the configured roots, and a configured certificate that is shown itself.
///
/// The usual self-signed certificate (`openssl req -x509`) calls itself an authority, which webpki refuses at the end
/// of a chain (RFC 5280, 4.2.1.9). Whoever lists that very certificate under `ca` trusts it all the same, as OpenSSL,
/// and so nginx and HAProxy, take it.
#[derive(Debug)]
struct Named {
    chains: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judged = self
            .chains
            .verify_server_cert(leaf, intermediates, name, ocsp, now);
        if is_ca_as_leaf(&judged) && self.pinned.contains(leaf) {
            verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        judged
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

fn is_ca_as_leaf(judged: &Result<ServerCertVerified, rustls::Error>) -> bool {
    let Err(rustls::Error::InvalidCertificate(CertificateError::Other(other))) = judged else {
        return false;
    };
    matches!(
        other.0.downcast_ref(),
        Some(webpki::Error::CaUsedAsEndEntity)
    )
}

/// `verify: false`: trusts whoever answers. Signatures are not checked either: a stranger would sign with a key of his own,
/// and the odd certificates for which this switch is used could then not be parsed.
#[derive(Debug)]
struct Anybody {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
