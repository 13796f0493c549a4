//! Handshakes over sockets: names, protocols, versions, resumption, and what is not TLS.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, ServerConfig, SignatureScheme,
    SupportedProtocolVersion, version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsConnector, client};

use super::certificates::Certificates;
use super::{AcceptError, accept, compile};
use crate::config::{self, Alpn, ServerTls, TlsVersion};
use crate::stream::Stream;
use crate::tls::fixture::{Authority, Folder, Issued};
use crate::tls::{Shared, TlsError};

const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

fn written(certificates: Vec<config::Certificate>) -> ServerTls {
    ServerTls {
        certificates,
        min_version: TlsVersion::V1_2,
        alpn: vec![Alpn::H2, Alpn::Http11],
    }
}

fn pair(folder: &Folder, name: &str, issued: &Issued) -> config::Certificate {
    let (cert, key) = folder.pair(name, issued);
    config::Certificate { cert, key }
}

fn client(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    client_of(provider, authority, versions, alpn)
}

fn client_of(
    provider: Arc<CryptoProvider>,
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap();
    let mut config = builder
        .with_root_certificates(authority.roots())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

type Client = client::TlsStream<TcpStream>;

/// One handshake over a socket, with a byte each way after it, so that tickets have arrived.
async fn handshake(
    server: &Arc<ServerConfig>,
    config: &Arc<ClientConfig>,
    name: &str,
) -> (Result<Stream, AcceptError>, std::io::Result<Client>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connector = TlsConnector::from(Arc::clone(config));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let serving = async {
        let mut accepted = accept(listener.accept().await.unwrap().0, server).await;
        if let Ok(stream) = &mut accepted {
            stream.write_all(b"!").await.unwrap();
            stream.flush().await.unwrap();
        }
        accepted
    };
    let connecting = async {
        let mut connected = connector
            .connect(name, TcpStream::connect(address).await.unwrap())
            .await?;
        connected.read_u8().await?;
        Ok(connected)
    };
    tokio::join!(serving, connecting)
}

/// What the server makes of these bytes, and what the client gets back.
async fn send(server: &Arc<ServerConfig>, bytes: &[u8]) -> (AcceptError, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let accepted = accept(listener.accept().await.unwrap().0, server).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    (accepted.err().unwrap(), answer)
}

struct Site {
    authority: Authority,
    folder: Folder,
    server: Arc<ServerConfig>,
}

impl Site {
    /// A listener with one certificate for `a.test`.
    fn new() -> Self {
        let (authority, folder) = (Authority::new(), Folder::new());
        let pair = pair(&folder, "a", &authority.issue(&["a.test"]));
        let server = compile(&written(vec![pair]), &Shared::new().unwrap()).unwrap();
        Self {
            authority,
            folder,
            server,
        }
    }
}

#[test]
fn a_name_picks_among_three_certificates() {
    let (authority, folder, shared) = (Authority::new(), Folder::new(), Shared::new().unwrap());
    let listed: Vec<_> = [
        &["first.test"][..],
        &["A.test", "www.a.test"],
        &["*.a.test", "*.b.test"],
    ]
    .iter()
    .enumerate()
    .map(|(index, names)| pair(&folder, &index.to_string(), &authority.issue(names)))
    .collect();
    let table = Certificates::compile(&listed, &shared).unwrap();
    let leaves: Vec<_> = listed
        .iter()
        .map(|pair| shared.certified_key(&pair.cert, &pair.key).unwrap().cert[0].clone())
        .collect();
    let picked = |name: Option<&str>| {
        let shown = table
            .choose(name, &[SignatureScheme::ECDSA_NISTP256_SHA256])
            .unwrap();
        leaves
            .iter()
            .position(|leaf| *leaf == shown.cert[0])
            .unwrap()
    };
    assert_eq!(picked(Some("first.test")), 0);
    assert_eq!(picked(Some("a.test")), 1);
    assert_eq!(
        picked(Some("www.a.test")),
        1,
        "an exact name comes before a wildcard"
    );
    assert_eq!(picked(Some("other.a.test")), 2);
    assert_eq!(picked(Some("x.b.test")), 2);
    assert_eq!(
        picked(Some("x.y.b.test")),
        0,
        "a wildcard stands for one label"
    );
    assert_eq!(
        picked(Some("b.test")),
        0,
        "a wildcard does not stand for none"
    );
    assert_eq!(picked(Some("unknown.test")), 0);
    assert_eq!(picked(None), 0);
}

#[tokio::test(flavor = "local")]
async fn a_name_is_matched_whatever_its_case() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let first = pair(&folder, "first", &authority.issue(&["first.test"]));
    let second = pair(&folder, "second", &authority.issue(&["second.test"]));
    let server = compile(&written(vec![first, second]), &Shared::new().unwrap()).unwrap();
    for versions in [&[&version::TLS13][..], &[&version::TLS12]] {
        let (accepted, connected) =
            handshake(&server, &client(&authority, versions, &[]), "SeCond.TEST").await;
        assert!(accepted.is_ok() && connected.is_ok());
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_gets_the_kind_of_key_that_it_can_check() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let ecdsa = pair(&folder, "ecdsa", &authority.issue(&["a.test"]));
    let rsa = pair(
        &folder,
        "rsa",
        &authority.issue_with(&["a.test"], &rcgen::PKCS_RSA_SHA256, |_| {}),
    );
    let server = compile(&written(vec![ecdsa, rsa]), &Shared::new().unwrap()).unwrap();
    let length = |connected: &Client| connected.get_ref().1.peer_certificates().unwrap()[0].len();
    for versions in [&[&version::TLS13][..], &[&version::TLS12]] {
        let (_, modern) = handshake(&server, &client(&authority, versions, &[]), "a.test").await;
        // This client checks chains as others do, but names only RSA for the handshake.
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        let all = provider.signature_verification_algorithms;
        let rsa_only: Vec<_> = all
            .mapping
            .iter()
            .filter(|(scheme, _)| format!("{scheme:?}").starts_with("RSA"))
            .copied()
            .collect();
        provider.signature_verification_algorithms.mapping = Vec::leak(rsa_only);
        let (_, old) = handshake(
            &server,
            &client_of(Arc::new(provider), &authority, versions, &[]),
            "a.test",
        )
        .await;
        // An RSA key of 2048 bits makes the certificate longer.
        assert!(length(&old.unwrap()) > length(&modern.unwrap()) + 100);
    }
}

#[tokio::test(flavor = "local")]
async fn the_configured_order_decides_the_protocol() {
    let site = Site::new();
    for (offered, agreed) in [
        (&["http/1.1", "h2"][..], Some(&b"h2"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let (accepted, connected) = handshake(
            &site.server,
            &client(&site.authority, BOTH, offered),
            "a.test",
        )
        .await;
        assert_eq!(accepted.unwrap().alpn(), agreed);
        assert_eq!(connected.unwrap().get_ref().1.alpn_protocol(), agreed);
    }
    let (accepted, _) = handshake(
        &site.server,
        &client(&site.authority, BOTH, &["spdy/3"]),
        "a.test",
    )
    .await;
    assert!(matches!(accepted, Err(AcceptError::NoProtocol)));
}

#[tokio::test(flavor = "local")]
async fn a_session_resumes_on_another_listener_of_the_same_process() {
    let site = Site::new();
    let pair = config::Certificate {
        cert: site.folder.path("a.pem"),
        key: site.folder.path("a.key"),
    };
    let shared = Shared::new().unwrap();
    let [first, second] = [0, 1].map(|_| compile(&written(vec![pair.clone()]), &shared).unwrap());
    for versions in [&[&version::TLS13][..], &[&version::TLS12]] {
        let config = client(&site.authority, versions, &[]);
        let kind = async |server| {
            handshake(server, &config, "a.test")
                .await
                .1
                .unwrap()
                .get_ref()
                .1
                .handshake_kind()
        };
        assert_eq!(kind(&first).await, Some(HandshakeKind::Full));
        assert_eq!(kind(&second).await, Some(HandshakeKind::Resumed));
        assert_eq!(
            kind(&first).await,
            Some(HandshakeKind::Resumed),
            "resuming brings the next ticket"
        );
        assert_eq!(
            kind(&site.server).await,
            Some(HandshakeKind::Full),
            "other ticket keys"
        );
    }
}

#[tokio::test(flavor = "local")]
async fn the_oldest_version_is_as_configured() {
    let site = Site::new();
    let old = client(&site.authority, &[&version::TLS12], &[]);
    let (_, connected) = handshake(&site.server, &old, "a.test").await;
    assert_eq!(
        connected.unwrap().get_ref().1.protocol_version(),
        Some(ProtocolVersion::TLSv1_2)
    );
    let pair = config::Certificate {
        cert: site.folder.path("a.pem"),
        key: site.folder.path("a.key"),
    };
    let strict = ServerTls {
        min_version: TlsVersion::V1_3,
        ..written(vec![pair])
    };
    let server = compile(&strict, &Shared::new().unwrap()).unwrap();
    let (accepted, connected) = handshake(&server, &old, "a.test").await;
    assert!(matches!(accepted, Err(AcceptError::Incompatible(_))));
    assert!(connected.is_err());
}

#[tokio::test(flavor = "local")]
async fn a_client_that_distrusts_the_certificate_is_told_apart() {
    let site = Site::new();
    let stranger = client(&Authority::new(), &[&version::TLS12], &[]);
    let (accepted, _) = handshake(&site.server, &stranger, "a.test").await;
    assert!(matches!(accepted, Err(AcceptError::Refused(_))));
}

#[tokio::test(flavor = "local")]
async fn what_is_not_tls_is_told_apart() {
    let site = Site::new();
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "G",
    ] {
        let (error, answer) = send(&site.server, request.as_bytes()).await;
        assert_eq!(error.label(), "tls_plain_http");
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 400 ")
                && head.contains(&format!("Content-Length: {}\r\n", body.len()))
        );
    }
    for (bytes, label) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "tls_not_tls"),
        (&[0; 100], "tls_not_tls"),
        (&[22, 9, 9], "tls_not_tls"),
        (&[], "tls_closed"),
        (&[22, 3], "tls_closed"),
        (&[22, 3, 1, 0, 4, 99, 0, 0, 0], "tls_failed"),
    ] {
        assert_eq!(
            send(&site.server, bytes).await.0.label(),
            label,
            "{bytes:?}"
        );
    }
}

#[test]
fn a_certificate_that_nobody_can_ask_for_is_refused() {
    let (authority, folder, shared) = (Authority::new(), Folder::new(), Shared::new().unwrap());
    let named = pair(&folder, "named", &authority.issue(&["a.test"]));
    let nameless = pair(&folder, "nameless", &authority.issue(&[]));
    let refused = compile(&written(vec![named.clone(), nameless.clone()]), &shared);
    assert!(matches!(refused, Err(TlsError::NoName { file }) if file == nameless.cert));
    assert!(
        compile(&written(vec![nameless, named]), &shared).is_ok(),
        "the first needs no name"
    );
    assert!(matches!(
        compile(&written(Vec::new()), &shared),
        Err(TlsError::NoPair)
    ));
}
