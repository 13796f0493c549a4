//! Connections that leave HTTP: WebSocket and other tunnels, whichever versions of HTTP the two sides speak.

use http_body_util::BodyExt;
use hyper::{Method, Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{
    Backend, Client, DEADLINE, Outgoing, Proxy, Raw, Scripted, Step, WebSocket, config, eventually,
    pattern, within,
};

async fn before(endpoint: String, protocol: &str) -> Proxy {
    Proxy::start(&config(
        &[endpoint],
        "",
        "",
        &format!("protocol: {protocol}"),
    ))
    .await
}

/// A masked text frame with a mask of zeros, and the frame that echoes it.
const FRAME: (&[u8], &[u8]) = (b"\x81\x85\0\0\0\0hello", b"\x81\x05hello");

#[tokio::test]
async fn websockets_pass_from_http1() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let proxy = before(backend.endpoint(), protocol).await;
        let address = proxy.address();
        let talk = move || {
            // The library checks the answer to its key.
            let mut socket = WebSocket::open(address, "/ws").unwrap();
            socket.expect_echo("hello");
            socket.expect_echo(&"x".repeat(200_000));
            socket.close();
        };
        within(tokio::task::spawn_blocking(talk)).await.unwrap();
        eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
    }
}

#[tokio::test]
async fn websockets_pass_from_http2() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let proxy = before(backend.endpoint(), protocol).await;
        let mut client = Client::h2(proxy.address()).await;
        let mut tunnel = client.tunnel("websocket", "/ws").await.unwrap();
        for _ in 0..3 {
            within(tunnel.write_all(FRAME.0)).await.unwrap();
            let mut echoed = vec![0; FRAME.1.len()];
            within(tunnel.read_exact(&mut echoed)).await.unwrap();
            assert_eq!(echoed, FRAME.1);
        }
        // Other streams of the connection go on meanwhile.
        assert_eq!(client.get("/").await.status, StatusCode::OK);
        drop(tunnel);
        eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
    }
}

#[tokio::test]
async fn each_side_of_a_tunnel_may_end_before_the_other() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let proxy = before(backend.endpoint(), protocol).await;
        for mut client in [
            Client::h1(proxy.address()).await,
            Client::h2(proxy.address()).await,
        ] {
            let mut tunnel = client.tunnel("echo", "/upgrade").await.unwrap();
            let sent = pattern(500_000);
            let (mut read, mut write) = tokio::io::split(&mut tunnel);
            let writing = async {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let mut echoed = Vec::new();
            // The backend answers the end of what it gets with its own end.
            let (_, all) =
                within(async { tokio::join!(writing, read.read_to_end(&mut echoed)) }).await;
            all.unwrap();
            assert!(echoed == sent, "{protocol}: {}", echoed.len());
            eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
        }
    }
}

const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";

#[tokio::test]
async fn an_endpoint_may_end_its_direction_first() {
    let script = vec![
        Step::ReadHead,
        Step::Write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nbye"
                .to_vec(),
        ),
        Step::FinishSending,
        Step::ReadBytes(5),
        Step::Reset,
    ];
    let scripted = Scripted::play(vec![script]).await;
    let proxy = before(scripted.address().to_string(), "h1").await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send(UPGRADE).await;
    let head = raw.head().await;
    assert_eq!((head.status(), head.field("upgrade")), (101, Some("chat")));
    assert_eq!(raw.rest().await.unwrap(), b"bye");
    // The other direction is open still, until the endpoint has what it waits for.
    raw.send("hello").await;
    raw.finish_sending().await;
}

#[tokio::test]
async fn a_declined_upgrade_is_a_normal_answer() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let proxy = before(backend.endpoint(), protocol).await;
        let mut raw = Raw::connect(proxy.address()).await;
        if protocol == "h1" {
            for status in [200, 400, 426] {
                raw.send(UPGRADE.replace("/chat", &format!("/status/{status}")))
                    .await;
                let answer = raw.response().await;
                assert_eq!(answer.status(), status);
                assert!(answer.keeps_alive());
            }
        }
        // What extended CONNECT cannot say goes without the wish.
        raw.send("POST /checksum HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: chat\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        assert_eq!(raw.response().await.status(), 200);
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(raw.response().await.text(), "a\n");
        assert_eq!(backend.counters().accepted(), 1);
    }
    // From HTTP/2: a refusal passes, and a 200 that overlooked the wish must not look like an agreement.
    let answers = ["404 Not Found", "200 OK"];
    for (answer, status) in answers.into_iter().zip([404, 502]) {
        let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 2\r\n\r\nno");
        let scripted = Scripted::start(vec![answer.into_bytes()]).await;
        let proxy = before(scripted.address().to_string(), "h1").await;
        let mut client = Client::h2(proxy.address()).await;
        let refused = client.tunnel("websocket", "/chat").await.err().unwrap();
        assert_eq!(refused.status(), status);
        let heads = scripted.heads();
        assert_eq!(heads[0].first_line, "GET /chat HTTP/1.1");
        assert_eq!(heads[0].field("upgrade"), Some("websocket"));
        assert_eq!(heads[0].field("connection"), Some("upgrade"));
        assert_eq!(heads[0].field("sec-websocket-key").unwrap().len(), 24);
        assert_eq!(heads[0].field("sec-websocket-version"), Some("13"));
        within(refused.into_body().collect()).await.unwrap();
    }
}

#[tokio::test]
async fn an_agreement_without_proof_is_refused() {
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let scripted = Scripted::start(vec![agreed.into()]).await;
    let proxy = before(scripted.address().to_string(), "h1").await;
    let refused = Client::h2(proxy.address())
        .await
        .tunnel("websocket", "/chat")
        .await
        .err()
        .unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_GATEWAY);
    let told = refused.headers()["proxy-status"].to_str().unwrap();
    assert!(
        told.contains("http_upgrade_failed") && told.contains("bad_upgrade"),
        "{told}"
    );
}

#[tokio::test]
async fn an_unasked_switch_is_a_bad_answer() {
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";
    let scripted = Scripted::start(vec![agreed.into()]).await;
    let proxy = before(scripted.address().to_string(), "h1").await;
    for mut client in [
        Client::h1(proxy.address()).await,
        Client::h2(proxy.address()).await,
    ] {
        let answer = client.get("/").await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert!(
            answer
                .header("proxy-status")
                .unwrap()
                .contains("unasked_switch")
        );
    }
}

/// It is written into the head that an HTTP/1 endpoint gets: what is no name could write a request of its own there,
/// and HTTP itself would be spoken past every route.
#[tokio::test]
async fn what_is_no_protocol_is_not_asked_of_an_endpoint() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let proxy = before(backend.endpoint(), protocol).await;
        let mut client = Client::h2(proxy.address()).await;
        for asked in [
            "x\r\n\r\nGET /admin HTTP/1.1\r\nHost: b\r\nX-A: b",
            "x\r\nX-Evil: 1",
            "x\ny",
            "a b",
            "a, b",
            "a;b",
            "\u{e9}",
            "",
            "/",
            "a/",
            "a/b/c",
            "h2c",
            "H2C",
            "HTTP/2.0",
            "a-name-that-is-longer-than-any-protocol-has-and-has-no-end-in-sight",
        ] {
            let answer = client.tunnel(asked, "/upgrade").await.err().unwrap();
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{asked:?}");
            let told = answer.headers()["proxy-status"].to_str().unwrap();
            assert!(told.ends_with("details=\"bad_protocol\""), "{told}");
        }
        assert_eq!(backend.counters().accepted(), 0);
    }
}

#[tokio::test]
async fn plain_connect_is_not_carried() {
    let backend = Backend::start("a");
    let proxy = before(backend.endpoint(), "h1").await;
    for upgrade in ["", "Connection: upgrade\r\nUpgrade: chat\r\n"] {
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send(format!(
            "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n{upgrade}\r\n"
        ))
        .await;
        assert_eq!(raw.response_to("CONNECT").await.status(), 501);
    }
    let mut client = Client::h2(proxy.address()).await;
    let asked = Request::builder()
        .method(Method::CONNECT)
        .uri("b.example:443");
    let refused = client
        .open(asked.body(Outgoing::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::NOT_IMPLEMENTED);
    assert_eq!(backend.counters().accepted(), 0);
}

/// A success would look as if an endpoint had agreed, and the client would send into nowhere.
#[tokio::test]
async fn an_answer_of_the_proxys_own_is_never_a_tunnel() {
    let yaml = "listeners: { web: { address: \"127.0.0.1:0\" } }\n\
                routes:\n\
                - { match: { path: /ok }, respond: { status: 200, body: fine } }\n\
                - { match: { path: /gone }, respond: { status: 410 } }\n\
                - { match: { path: /old }, redirect: { host: new.example } }\n";
    let proxy = Proxy::start(yaml).await;
    let mut client = Client::h2(proxy.address()).await;
    for (path, status) in [("/ok", 501), ("/gone", 410), ("/old", 308)] {
        let answer = client.tunnel("websocket", path).await.err().unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
    }
    assert_eq!(client.get("/ok").await.text(), "fine");
    let mut client = Client::h1(proxy.address()).await;
    let answer = client.tunnel("websocket", "/ok").await.err().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}
