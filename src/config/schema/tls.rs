//! Keys of TLS with clients.

use std::path::PathBuf;
use std::time::Duration;

use super::super::kinds::{AtLeastOne, Fields};
use super::super::setting::{block, choice, written_as_map};
use super::{HOUR, seconds};

/// So long before a certificate runs out it is told, where nothing else is said.
pub const EXPIRY_WARNING: Duration = seconds(14 * 24 * 3600);

block! {
    /// TLS with clients.
    pub struct ServerTls {
        /// At least one; chosen by the name that the client asks for (SNI). The first also serves
        /// clients that ask for none, or for one that no certificate carries.
        pub certificates: Vec<Certificate> as AtLeastOne<Certificate>;
        /// The oldest version spoken, `"1.2"` or `"1.3"`. 1.2 by default: older ones are broken
        /// (RFC 8996), and some clients still lack 1.3.
        pub min_version: TlsVersion = TlsVersion::V1_2;
        /// Protocols offered by ALPN, the preferred first.
        pub alpn: Vec<Alpn> = vec![Alpn::H2, Alpn::Http11];
        /// Certificates of clients. Off: none is asked for.
        pub client: Option<ClientAuth> = None;
        /// Whether a request whose host is another one than the name that its connection asked for (SNI)
        /// is answered with 421, upon which browsers ask again on a connection of its own (RFC 9110,
        /// 15.5.20). It keeps those out who show one name to whoever watches the network and ask for
        /// another. Off, because clients that share a connection among the names of one certificate
        /// then need several. A connection that asked for no name is not judged.
        pub sni_matches_host: bool = false;
        /// TLS handshakes that each worker begins at once; the others take turns with what else the
        /// worker has to do, first come first served, within `timeouts.handshake`. One takes 0.15 to
        /// 0.5 ms, in which nothing else of that worker runs: in a flood of them, requests wait for
        /// four at most. More only makes them wait longer, and gets no more handshakes done.
        pub handshakes: usize = 4, in 1..=10_000;
        /// So long before a certificate runs out, an event and `check` warn of it. Two weeks: what
        /// renews by itself has done so by then, and there is time to do it by hand.
        pub expiry_warning: Option<Duration> = Some(EXPIRY_WARNING), in Some(HOUR)..=Some(seconds(3650 * 24 * 3600));
    }
}

block! {
    /// A certificate and its key, both PEM. Read at start, on reload, and by themselves when they
    /// change: a pair that fits is served to the connections that come then, one that does not
    /// leaves the old one in force and is told as an event.
    pub struct Certificate {
        /// The file of the chain, the leaf first.
        pub cert: PathBuf;
        /// The file of the private key, without a passphrase.
        pub key: PathBuf;
        /// The file of an OCSP response for the leaf, DER, which is stapled to the handshake (RFC 6066,
        /// 8) until it runs out. Off: none is.
        pub ocsp: Option<PathBuf> = None;
    }
}

block! {
    /// Certificates of clients.
    pub struct ClientAuth {
        /// The file of the authorities whose certificates are believed, PEM. Watched as those of
        /// `certificates` are.
        pub ca: PathBuf;
        /// `require` refuses the handshake of a client without one. `optional` serves it; a
        /// certificate that is not believed is refused all the same.
        pub mode: ClientAuthMode = ClientAuthMode::Require;
        /// Header fields by which endpoints are told who the client is, each with what it holds:
        /// `subject`, `issuer`, `serial`, `names`, `sha256` or `certificate`. What any client of any
        /// listener says in these fields is dropped, also before routes look at them, so that nobody
        /// can pretend to be somebody. Empty: endpoints are told nothing.
        pub header: Vec<(String, ClientFact)> as Fields<ClientFact> = Vec::new();
    }
}

choice! {
    /// Whether a client must show a certificate.
    pub enum ClientAuthMode, "a way to ask clients for certificates" {
        /// A client without one gets no connection.
        Require = "require",
        /// A client without one is served, and endpoints are told nothing of it.
        Optional = "optional",
    }
}

choice! {
    /// What endpoints are told of a client's certificate.
    pub enum ClientFact, "a part of a certificate" {
        /// Whom it is for, as RFC 4514 writes it: `CN=api,O=Example`. Bytes that are no printable ASCII
        /// stand there as `\0D`.
        Subject = "subject",
        /// Who made it, in the same manner.
        Issuer = "issuer",
        /// Its serial number in hexadecimal.
        Serial = "serial",
        /// Its names (subjectAltName), with commas between them: `DNS:a.test,URI:spiffe://a.test/api`.
        Names = "names",
        /// The SHA-256 of the certificate in hexadecimal: what names it and no other.
        Sha256 = "sha256",
        /// The certificate itself, as RFC 9440 writes it in `Client-Cert`.
        Certificate = "certificate",
    }
}

choice! {
    /// A version of TLS.
    pub enum TlsVersion, "a version of TLS" {
        /// TLS 1.2 (RFC 5246).
        V1_2 = "1.2",
        /// TLS 1.3 (RFC 8446).
        V1_3 = "1.3",
    }
}

choice! {
    /// A protocol by its ALPN name.
    pub enum Alpn, "a protocol by its ALPN name" {
        /// HTTP/2.
        H2 = "h2",
        /// HTTP/1.1.
        Http11 = "http/1.1",
    }
}

impl ServerTls {
    /// With these certificates and every default.
    pub fn new(certificates: Vec<Certificate>) -> Self {
        Self {
            certificates,
            min_version: TlsVersion::V1_2,
            alpn: vec![Alpn::H2, Alpn::Http11],
            client: None,
            sni_matches_host: false,
            handshakes: 4,
            expiry_warning: Some(EXPIRY_WARNING),
        }
    }
}

written_as_map!(ServerTls, Certificate, ClientAuth);
