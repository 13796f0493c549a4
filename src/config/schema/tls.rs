//! Keys of TLS with clients.

use std::path::PathBuf;

use super::super::kinds::AtLeastOne;
use super::super::setting::{block, choice, written_as_map};

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
    }
}

block! {
    /// A certificate and its key, both PEM. Read at start and on reload, not by `check`.
    pub struct Certificate {
        /// The file of the chain, the leaf first.
        pub cert: PathBuf;
        /// The file of the private key.
        pub key: PathBuf;
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

written_as_map!(ServerTls, Certificate);
