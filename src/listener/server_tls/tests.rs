//! Handshakes over sockets: names, protocols, versions, resumption, and what is not TLS.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, ServerConfig, SignatureScheme,
    SupportedProtocolVersion, version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsConnector, client};

use super::certificates::Certificates;
use super::{AcceptError, finish, hello};
use crate::config::{self, ClientAuth, ClientAuthMode, ServerTls, TlsVersion};
use crate::stream::Stream;
use crate::tls::fixture::{Authority, Folder, Issued};
use crate::tls::{Shared, TlsError};

const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

fn written(certificates: Vec<config::Certificate>) -> ServerTls {
    ServerTls::new(certificates)
}

/// What new connections get.
fn compile(written: &ServerTls, shared: &Shared) -> Result<Arc<ServerConfig>, TlsError> {
    super::ServerTls::compile(written, shared).map(|tls| Arc::clone(&tls.now().config))
}

fn pair(folder: &Folder, name: &str, issued: &Issued) -> config::Certificate {
    let (cert, key) = folder.pair(name, issued);
    config::Certificate {
        cert,
        key,
        ocsp: None,
    }
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

/// The handshake of an accepted connection, without its turn.
async fn accept(stream: TcpStream, config: &Arc<ServerConfig>) -> Result<Stream, AcceptError> {
    let accepted = hello(&stream).await?;
    Ok(Stream::Server(finish(accepted, stream, config).await?))
}

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

/// The same client with a certificate to show.
fn showing(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    issued: Option<&Issued>,
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(authority.roots());
    let Some(issued) = issued else {
        return Arc::new(builder.with_no_client_auth());
    };
    let chain = CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let config = builder.with_client_auth_cert(vec![chain], key);
    Arc::new(config.unwrap())
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
    let table = Certificates::compile(&listed, &shared, 0)
        .unwrap()
        .certificates;
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
        ocsp: None,
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
        ocsp: None,
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

/// A listener that asks for certificates of this authority.
fn asking(site: &Site, name: &str, authority: &Authority, mode: ClientAuthMode) -> ServerTls {
    let pair = config::Certificate {
        cert: site.folder.path("a.pem"),
        key: site.folder.path("a.key"),
        ocsp: None,
    };
    ServerTls {
        client: Some(ClientAuth {
            ca: site.folder.write(name, &authority.pem()),
            mode,
            header: Vec::new(),
        }),
        ..ServerTls::new(vec![pair])
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_is_asked_for_its_certificate_as_strictly_as_configured() {
    let (site, shared) = (Site::new(), Shared::new().unwrap());
    let clients = Authority::new();
    let good = clients.issue(&["ada.test"]);
    let strange = Authority::new().issue(&["ada.test"]);
    let past = clients.issue_with(&["ada.test"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    for (mode, shown, label) in [
        (ClientAuthMode::Require, Some(&good), None),
        (ClientAuthMode::Require, None, Some("tls_no_certificate")),
        (
            ClientAuthMode::Require,
            Some(&strange),
            Some("tls_bad_certificate"),
        ),
        (
            ClientAuthMode::Require,
            Some(&past),
            Some("tls_bad_certificate"),
        ),
        (ClientAuthMode::Optional, Some(&good), None),
        (ClientAuthMode::Optional, None, None),
        (
            ClientAuthMode::Optional,
            Some(&strange),
            Some("tls_bad_certificate"),
        ),
    ] {
        let server = compile(&asking(&site, "ca.pem", &clients, mode), &shared).unwrap();
        for versions in [&[&version::TLS13][..], &[&version::TLS12]] {
            let client = showing(&site.authority, versions, shown);
            let (accepted, _) = handshake(&server, &client, "a.test").await;
            assert_eq!(accepted.err().map(|error| error.label()), label, "{mode:?}");
        }
    }
}

/// CVE-2025-23419: a ticket of a listener that asks for less must not get a client past one that asks for more.
#[tokio::test(flavor = "local")]
async fn a_session_resumes_only_where_clients_are_asked_in_the_same_way() {
    let (site, shared) = (Site::new(), Shared::new().unwrap());
    let (ours, theirs) = (Authority::new(), Authority::new());
    let open = ServerTls {
        client: None,
        ..asking(&site, "a.pem.ca", &ours, ClientAuthMode::Require)
    };
    let listeners = [
        open,
        asking(&site, "optional.pem", &ours, ClientAuthMode::Optional),
        asking(&site, "ours.pem", &ours, ClientAuthMode::Require),
        asking(&site, "theirs.pem", &theirs, ClientAuthMode::Require),
    ];
    let compiled: Vec<_> = listeners
        .iter()
        .map(|one| compile(one, &shared).unwrap())
        .collect();
    let again: Vec<_> = listeners
        .iter()
        .map(|one| compile(one, &shared).unwrap())
        .collect();
    let issued = ours.issue(&["ada.test"]);
    for versions in [&[&version::TLS13][..], &[&version::TLS12]] {
        for (from, first) in compiled.iter().enumerate().take(3) {
            for (to, second) in again.iter().enumerate() {
                let client = showing(&site.authority, versions, Some(&issued));
                assert!(handshake(first, &client, "a.test").await.1.is_ok());
                let (accepted, connected) = handshake(second, &client, "a.test").await;
                let resumed = connected
                    .ok()
                    .and_then(|stream| stream.get_ref().1.handshake_kind())
                    == Some(HandshakeKind::Resumed);
                assert_eq!(resumed, from == to, "{from} to {to}");
                // Those who believe others refuse it, whatever it brings along.
                assert_eq!(accepted.is_ok(), to != 3, "{from} to {to}");
            }
        }
    }
}

#[test]
fn files_that_change_are_exchanged_and_those_of_no_use_are_not() {
    let site = Site::new();
    let shared = Shared::new().unwrap();
    let (cert, key) = (site.folder.path("a.pem"), site.folder.path("a.key"));
    let pair = config::Certificate {
        cert: cert.clone(),
        key,
        ocsp: None,
    };
    let tls = super::ServerTls::compile(&written(vec![pair]), &shared).unwrap();
    let first = tls.now();
    assert!(!tls.renew(&shared).unwrap(), "nothing has changed");
    assert!(Arc::ptr_eq(&first, &tls.now()));
    let next = site.authority.issue(&["a.test"]);
    site.folder.write("a.pem", &next.cert);
    assert!(matches!(
        tls.renew(&shared),
        Err(TlsError::Mismatch { cert: named, .. }) if named == cert
    ));
    assert!(Arc::ptr_eq(&first, &tls.now()), "half of a pair is no pair");
    site.folder.write("a.key", &next.key);
    assert!(tls.renew(&shared).unwrap());
    assert!(!Arc::ptr_eq(&first, &tls.now()));
    assert!(
        Arc::ptr_eq(&first.config.ticketer, &tls.now().config.ticketer),
        "sessions resume as before"
    );
}

#[test]
fn a_response_is_stapled_until_it_runs_out() {
    let site = Site::new();
    let shared = Shared::new().unwrap();
    let (cert, key) = (site.folder.path("a.pem"), site.folder.path("a.key"));
    let leaf = shared.certified_key(&cert, &key).unwrap().cert[0].clone();
    let serial = crate::tls::Facts::of(&leaf).unwrap().serial.to_vec();
    let file = site.folder.path("a.ocsp");
    let write = |until: &str, status: u8| {
        std::fs::write(&file, crate::tls::fixture::ocsp(&serial, status, until)).unwrap();
    };
    let pair = config::Certificate {
        cert,
        key,
        ocsp: Some(file.clone()),
    };
    let read = |now: i64| super::certificates::Pair::read(&pair, &shared, now);
    write("20270101000000Z", 0x80);
    let until = 1_798_761_600;
    let fresh = read(until - 1).unwrap();
    assert_eq!(
        (fresh.shown.is_stapled, fresh.staple_until),
        (true, Some(until))
    );
    assert_eq!(
        fresh.key.ocsp.as_deref(),
        std::fs::read(&file).ok().as_deref()
    );
    let stale = read(until).unwrap();
    assert!(!stale.shown.is_stapled && stale.key.ocsp.is_none());
    write("20270101000000Z", 0xa1);
    assert!(matches!(read(0), Err(TlsError::Ocsp { file: named, .. }) if named == file));
}

mod choosing {
    //! The choice of a certificate against a slow scan.

    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = String> {
        ("(\\*\\.)?", "[ab]{1,2}(\\.[ab]){0,2}\\.test").prop_map(|(star, rest)| star + &rest)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn a_name_gets_what_a_scan_finds(
            lists in proptest::collection::vec(proptest::collection::vec(name(), 1..3), 1..5),
            asked in proptest::collection::vec("[ab]{1,2}(\\.[ab]){0,3}\\.test", 1..20),
        ) {
            let (authority, folder, shared) = (Authority::new(), Folder::new(), Shared::new().unwrap());
            let listed: Vec<_> = lists
                .iter()
                .enumerate()
                .map(|(index, names)| {
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    pair(&folder, &index.to_string(), &authority.issue(&names))
                })
                .collect();
            let read = Certificates::compile(&listed, &shared, 0).unwrap();
            for asked in &asked {
                let rest = asked.split_once('.').map(|(_, rest)| format!("*.{rest}"));
                let holds = |name: &String| lists.iter().position(|list| list.contains(name));
                let wanted = holds(asked).or_else(|| rest.as_ref().and_then(holds)).unwrap_or(0);
                let found = read
                    .certificates
                    .choose(Some(asked), &[SignatureScheme::ECDSA_NISTP256_SHA256])
                    .unwrap();
                prop_assert!(Arc::ptr_eq(&found, &read.pairs[wanted].key), "{asked} of {lists:?}");
            }
        }
    }
}
