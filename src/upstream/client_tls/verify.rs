//! Which certificate of an endpoint is accepted.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};

use crate::config;
use crate::tls::{self, Shared, TlsError};

/// The judge that the configuration asks for. Blocks on files.
pub(super) fn compile(
    written: &config::ClientTls,
    shared: &Shared,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let schemes = shared
        .provider
        .signature_verification_algorithms
        .supported_schemes();
    if !written.verify {
        return Ok(Arc::new(Anybody { schemes }));
    }
    let own = written
        .ca
        .as_deref()
        .map(|file| tls::certificates(file).map(|own| (file, own)))
        .transpose()?;
    let roots = Arc::new(tls::roots(
        own.as_ref().map(|(file, own)| (*file, own.as_slice())),
    )?);
    let chains =
        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&shared.provider)).build();
    let chains = chains.map_err(|error| TlsError::NoRoots {
        reason: error.to_string(),
    })?;
    let pinned = own.map(|(_, own)| own).unwrap_or_default();
    Ok(if pinned.is_empty() {
        chains
    } else {
        Arc::new(Named { chains, pinned })
    })
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
