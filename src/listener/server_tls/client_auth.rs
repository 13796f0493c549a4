//! Certificates of clients: whose are believed, and whether one must be shown.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use crate::config::{ClientAuth, ClientAuthMode};
use crate::tls::{self, Fingerprint, Press, Shared, TlsError};

/// How a listener asks for certificates.
pub(super) struct Asking {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// The same for two listeners only if they believe the same authorities and are as strict as each other.
    pub(super) fingerprint: Fingerprint,
}

/// Reads the authorities. Blocks on files.
pub(super) fn compile(written: &ClientAuth, shared: &Shared) -> Result<Asking, TlsError> {
    let own = tls::certificates(&written.ca)?;
    let mut press = Press::new();
    press.add(written.mode.name().as_bytes());
    own.iter().for_each(|one| press.add(one));
    let roots = Arc::new(tls::roots(Some((&written.ca, &own)))?);
    let provider = Arc::clone(&shared.provider);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
    let builder = match written.mode {
        ClientAuthMode::Require => builder,
        ClientAuthMode::Optional => builder.allow_unauthenticated(),
    };
    let verifier = builder
        .build()
        .map_err(|error| tls::unusable(&written.ca, &error))?;
    Ok(Asking {
        verifier,
        fingerprint: press.finish(),
    })
}
