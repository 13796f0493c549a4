//! Handshakes with endpoints over sockets: who is trusted, what is shown and agreed on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{ClientTls, TlsFailure, server_name};
use crate::config::{self, Alpn, Protocol, ServerTls};
use crate::listener::server_tls;
use crate::stream::Stream;
use crate::tls::fixture::{Authority, Folder, Issued};
use crate::tls::{Shared, TlsError};
use crate::upstream::connect::{Address, DialError, Target, dial};

/// An endpoint's certificate and who signed it, with the files of both sides.
struct Site {
    authority: Authority,
    folder: Folder,
    shared: Shared,
}

impl Site {
    fn new() -> Self {
        Self {
            authority: Authority::new(),
            folder: Folder::new(),
            shared: Shared::new().unwrap(),
        }
    }

    /// What an operator writes to trust this site's authority.
    fn trusting(&self) -> config::ClientTls {
        let ca = self.folder.write("ca.pem", &self.authority.pem());
        config::ClientTls {
            ca: Some(ca),
            ..config::ClientTls::default()
        }
    }

    fn server(&self, issued: &Issued, alpn: &[Alpn]) -> Arc<ServerConfig> {
        let config::ClientCertificate { cert, key } = self.pair("endpoint", issued);
        let certificate = config::Certificate {
            cert,
            key,
            ocsp: None,
        };
        let written = ServerTls {
            alpn: alpn.to_vec(),
            ..ServerTls::new(vec![certificate])
        };
        let tls = server_tls::ServerTls::compile(&written, &self.shared).unwrap();
        Arc::clone(&tls.now().config)
    }

    fn pair(&self, name: &str, issued: &Issued) -> config::ClientCertificate {
        let (cert, key) = self.folder.pair(name, issued);
        config::ClientCertificate { cert, key }
    }

    fn client(&self, written: &config::ClientTls, protocol: Protocol) -> ClientTls {
        ClientTls::compile(written, protocol, &self.shared).unwrap()
    }
}

/// Dials a server that is known as `host`, and has it answer one byte.
async fn reach(
    server: &Arc<ServerConfig>,
    client: &ClientTls,
    host: &str,
) -> Result<(Stream, io::Result<u8>), DialError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(listener.local_addr().unwrap(), host);
    let serving = async {
        let accepted = listener.accept().await.unwrap().0;
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(server));
        if let Ok(mut stream) = acceptor.accept(accepted).await {
            // A client that refuses after the handshake is gone.
            let _ = stream.write_all(b"!").await;
            let _ = stream.flush().await;
        }
    };
    let dialling = async {
        let mut stream = dial(&target, Some(client)).await?;
        let answer = stream.read_u8().await;
        Ok((stream, answer))
    };
    tokio::join!(serving, dialling).1
}

fn target(address: SocketAddr, host: &str) -> Target {
    Target {
        address: Address::Tcp(address),
        host: Some(server_name(host).unwrap()),
    }
}

async fn failure(server: &Arc<ServerConfig>, client: &ClientTls, host: &str) -> TlsFailure {
    match reach(server, client, host).await {
        Err(DialError::Tls(failure)) => failure,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a connection"),
    }
}

#[tokio::test(flavor = "local")]
async fn an_own_authority_is_trusted_and_no_other() {
    let site = Site::new();
    let server = site.server(&site.authority.issue(&["a.test", "127.0.0.1"]), &[]);
    let client = site.client(&site.trusting(), Protocol::H1);
    for host in ["a.test", "A.Test.", "127.0.0.1"] {
        let (stream, answer) = reach(&server, &client, host).await.unwrap();
        assert!(stream.is_tls());
        assert_eq!(answer.unwrap(), b'!');
    }
    let stranger = Site::new();
    let client = stranger.client(&stranger.trusting(), Protocol::H1);
    assert!(matches!(
        failure(&server, &client, "a.test").await,
        TlsFailure::UnknownIssuer
    ));
}

#[tokio::test(flavor = "local")]
async fn a_certificate_for_another_name_is_refused_and_the_configured_name_decides() {
    let site = Site::new();
    let server = site.server(&site.authority.issue(&["a.test"]), &[]);
    let client = site.client(&site.trusting(), Protocol::H1);
    for host in ["b.test", "127.0.0.1"] {
        let TlsFailure::WrongName { presented } = failure(&server, &client, host).await else {
            panic!("{host}")
        };
        assert!(presented.contains("a.test"), "{presented}");
    }
    let named = config::ClientTls {
        name: Some("a.test".to_owned()),
        ..site.trusting()
    };
    assert!(
        reach(&server, &site.client(&named, Protocol::H1), "127.0.0.1")
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "local")]
async fn a_certificate_out_of_its_time_is_refused() {
    let site = Site::new();
    let client = site.client(&site.trusting(), Protocol::H1);
    let issue = |from: i32, to: i32| {
        site.authority
            .issue_with(&["a.test"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
                params.not_before = rcgen::date_time_ymd(from, 1, 1);
                params.not_after = rcgen::date_time_ymd(to, 1, 1);
            })
    };
    let past = site.server(&issue(2000, 2001), &[]);
    assert!(matches!(
        failure(&past, &client, "a.test").await,
        TlsFailure::Expired
    ));
    let future = site.server(&issue(3000, 3001), &[]);
    assert!(matches!(
        failure(&future, &client, "a.test").await,
        TlsFailure::NotYetValid
    ));
}

#[tokio::test(flavor = "local")]
async fn without_verification_anybody_is_believed() {
    let site = Site::new();
    let server = site.server(&Authority::new().issue(&["other.test"]), &[]);
    let careless = config::ClientTls {
        verify: false,
        ..config::ClientTls::default()
    };
    assert!(
        reach(&server, &site.client(&careless, Protocol::H1), "a.test")
            .await
            .is_ok()
    );
}

/// What `openssl req -x509` makes: self-signed, and an authority by its own word.
fn self_signed(names: &[&str]) -> Issued {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    Issued {
        cert: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

#[tokio::test(flavor = "local")]
async fn a_listed_self_signed_certificate_is_trusted_for_its_names() {
    let site = Site::new();
    let issued = self_signed(&["a.test"]);
    let server = site.server(&issued, &[]);
    let ca = site.folder.write("pinned.pem", &issued.cert);
    let client = site.client(
        &config::ClientTls {
            ca: Some(ca),
            ..config::ClientTls::default()
        },
        Protocol::H1,
    );
    assert!(reach(&server, &client, "a.test").await.is_ok());
    assert!(matches!(
        failure(&server, &client, "b.test").await,
        TlsFailure::WrongName { .. }
    ));
    // A site of its own, since the first one's ticket would resume the session that was verified.
    let other = Site::new();
    let unlisted = other.server(&self_signed(&["a.test"]), &[]);
    let refused = failure(&unlisted, &client, "a.test").await;
    assert!(matches!(
        refused,
        TlsFailure::Certificate(CertificateError::Other(_)) | TlsFailure::UnknownIssuer
    ));
}

#[tokio::test(flavor = "local")]
async fn a_client_certificate_is_shown_to_an_endpoint_that_asks() {
    let site = Site::new();
    let demanding = {
        let mut server = ServerConfig::clone(&site.server(&site.authority.issue(&["a.test"]), &[]));
        let verifier = WebPkiClientVerifier::builder_with_provider(
            site.authority.roots(),
            Arc::clone(&site.shared.provider),
        );
        let resolver = Arc::clone(&server.cert_resolver);
        server = ServerConfig::builder_with_provider(Arc::clone(&site.shared.provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_cert_resolver(resolver);
        Arc::new(server)
    };
    let pair = site.pair("client", &site.authority.issue(&["proxy.test"]));
    let shown = config::ClientTls {
        certificate: Some(pair),
        ..site.trusting()
    };
    let (_, answer) = reach(&demanding, &site.client(&shown, Protocol::H1), "a.test")
        .await
        .unwrap();
    assert_eq!(answer.unwrap(), b'!');
    let (_, answer) = reach(
        &demanding,
        &site.client(&site.trusting(), Protocol::H1),
        "a.test",
    )
    .await
    .unwrap();
    assert!(answer.is_err(), "TLS 1.3 tells of it at the first read");
}

#[tokio::test(flavor = "local")]
async fn the_protocol_of_the_upstream_decides_what_is_offered() {
    let site = Site::new();
    let issued = site.authority.issue(&["a.test"]);
    let [both, old, none] = [&[Alpn::H2, Alpn::Http11][..], &[Alpn::Http11], &[]]
        .map(|alpn| site.server(&issued, alpn));
    let [h1, h2, auto] = [Protocol::H1, Protocol::H2, Protocol::Auto]
        .map(|protocol| site.client(&site.trusting(), protocol));
    for (server, client, agreed) in [
        (&both, &h1, Some(&b"http/1.1"[..])),
        (&both, &h2, Some(b"h2")),
        (&both, &auto, Some(b"h2")),
        (&old, &auto, Some(b"http/1.1")),
        (&none, &auto, None),
        (&none, &h1, None),
    ] {
        assert_eq!(
            reach(server, client, "a.test").await.unwrap().0.alpn(),
            agreed
        );
    }
    for server in [&old, &none] {
        assert!(matches!(
            failure(server, &h2, "a.test").await,
            TlsFailure::NoProtocol
        ));
    }
}

#[tokio::test(flavor = "local")]
async fn the_second_connection_resumes_the_session_of_the_first() {
    let site = Site::new();
    let server = site.server(&site.authority.issue(&["a.test"]), &[]);
    let client = site.client(&site.trusting(), Protocol::H1);
    for expected in [
        HandshakeKind::Full,
        HandshakeKind::Resumed,
        HandshakeKind::Resumed,
    ] {
        let (stream, _) = reach(&server, &client, "a.test").await.unwrap();
        let Stream::Client(tls) = stream else {
            panic!("not TLS")
        };
        assert_eq!(tls.get_ref().1.handshake_kind(), Some(expected));
    }
}

/// A reload compiles anew. Whoever believes others must not resume what these believed.
#[tokio::test(flavor = "local")]
async fn sessions_outlast_a_reload_and_end_with_what_they_stand_for() {
    let site = Site::new();
    let server = site.server(&site.authority.issue(&["a.test"]), &[]);
    let kind = async |client: &ClientTls| {
        let (stream, _) = reach(&server, client, "a.test").await.ok()?;
        Some(stream.was_resumed())
    };
    let first = site.client(&site.trusting(), Protocol::H1);
    assert_eq!(kind(&first).await, Some(false));
    let again = site.client(&site.trusting(), Protocol::H1);
    assert_eq!(kind(&again).await, Some(true));
    assert!(!again.renew(&site.shared).unwrap(), "nothing has changed");
    let anybody = config::ClientTls {
        verify: false,
        ..site.trusting()
    };
    assert_eq!(
        kind(&site.client(&anybody, Protocol::H1)).await,
        Some(false)
    );
    let other = Authority::new();
    site.folder.write("ca.pem", &other.pem());
    assert!(again.renew(&site.shared).unwrap());
    assert_eq!(kind(&again).await, None, "it is believed no more");
    site.folder.write("ca.pem", "nothing");
    assert!(again.renew(&site.shared).is_err());
    assert_eq!(again.files(), [site.folder.path("ca.pem")]);
}

#[tokio::test(flavor = "local")]
async fn an_endpoint_that_does_not_speak_tls_is_told_apart() {
    let site = Site::new();
    let client = site.client(&site.trusting(), Protocol::H1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(listener.local_addr().unwrap(), "a.test");
    let answering = async |answer: &[u8]| {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        stream.write_all(answer).await.unwrap();
    };
    let (_, plain) = tokio::join!(
        answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        dial(&target, Some(&client))
    );
    assert!(matches!(plain, Err(DialError::Tls(TlsFailure::NotTls))));
    let (_, closed) = tokio::join!(answering(b""), dial(&target, Some(&client)));
    assert!(matches!(closed, Err(DialError::Tls(TlsFailure::Closed(_)))));
    drop(listener);
    assert!(matches!(
        dial(&target, Some(&client)).await,
        Err(DialError::Refused)
    ));
}

#[test]
fn what_cannot_be_used_is_refused_with_its_name() {
    let site = Site::new();
    let absent = site.folder.path("absent.pem");
    let written = config::ClientTls {
        ca: Some(absent.clone()),
        ..config::ClientTls::default()
    };
    let refused = ClientTls::compile(&written, Protocol::H1, &site.shared);
    assert!(matches!(refused, Err(TlsError::Read { file, .. }) if file == absent));
    let client = site.client(&site.trusting(), Protocol::H1);
    let unix = Target {
        address: Address::Unix("/run/a.sock".into()),
        host: None,
    };
    assert!(matches!(
        client.check(&unix),
        Err(TlsError::UnixSocket { .. })
    ));
    assert!(matches!(
        server_name("not a name"),
        Err(TlsError::ServerName { .. })
    ));
}
