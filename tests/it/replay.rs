//! A request with a body whose idle connection turns out to be dead is sent again, whole, where that is harmless.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use plimsoll::clock::Clock;
use plimsoll::observe::Metric;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use crate::harness::{
    Answer, Backend, Client, DEADLINE, Faults, Outgoing, Proxy, Raw, Scripted, Step, config,
    eventually, within,
};

/// A proxy whose connection to the endpoint is idle.
async fn before(endpoint: SocketAddr, listener: &str, upstream: &str) -> Proxy {
    let yaml = config(&[endpoint.to_string()], listener, "", upstream);
    let proxy = Proxy::start(&yaml).await;
    let answer = Client::h1(proxy.address()).await.get("/first").await;
    assert_eq!(answer.status, StatusCode::OK);
    proxy
}

async fn client(h2: bool, proxy: &Proxy) -> Client {
    if h2 {
        Client::h2(proxy.address()).await
    } else {
        Client::h1(proxy.address()).await
    }
}

/// Bytes in which a missing, doubled or moved piece is seen.
fn traceable(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + (i >> 8)) as u8).collect()
}

async fn put(client: &mut Client, method: Method, body: Vec<u8>) -> Answer {
    let sent = client.try_send(method, "/put", Outgoing::whole(body));
    sent.await.unwrap()
}

#[tokio::test]
async fn a_body_is_sent_again_whole() {
    const BODY: usize = 60_000;
    for h2 in [false, true] {
        for (method, end) in [(Method::PUT, vec![]), (Method::DELETE, vec![Step::Reset])] {
            let mut then = vec![Step::ReadHead, Step::ReadBytes(BODY)];
            then.extend(end);
            let endpoint = Scripted::stale(then).await;
            let limits = format!("limits: {{ body_bytes: {BODY}B }}");
            let proxy = before(endpoint.address(), &limits, "").await;
            let mut client = client(h2, &proxy).await;
            let answer = put(&mut client, method.clone(), traceable(BODY)).await;
            assert_eq!(answer.status, StatusCode::OK, "h2 {h2}, {method}");
            assert_eq!(endpoint.heads().len(), 3);
            let [again] = &endpoint.requests()[..] else {
                panic!("it was sent again once");
            };
            assert!(
                again
                    .head
                    .first_line
                    .starts_with(&format!("{method} /put "))
            );
            assert_eq!(again.field("content-length"), Some("60000"));
            assert!(again.body == traceable(BODY), "h2 {h2}, {method}");
            let counts =
                || [Metric::Replays, Metric::RequestBytes].map(|one| proxy.routes(one, ""));
            eventually(DEADLINE, || counts() == [1, BODY as u64]).await;
        }
    }
}

#[tokio::test]
async fn chunks_and_trailers_are_sent_again() {
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    for body in [
        "4\r\nsome\r\n5\r\n more\r\n0\r\nChecksum: 1\r\n\r\n",
        "0\r\nChecksum: 1\r\n\r\n",
    ] {
        let endpoint = Scripted::stale(vec![Step::ReadRequest]).await;
        let proxy = before(endpoint.address(), "", "").await;
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{chunked}{body}"))
            .await;
        assert_eq!(raw.response().await.status(), 200);
        let [first, again] = &endpoint.requests()[..] else {
            panic!("it was sent again once");
        };
        assert_eq!(first.body, again.body);
        assert_eq!(
            again.trailers,
            [("Checksum".to_owned(), "1".to_owned())],
            "{again:?}"
        );
        // Both messages were read and written to their end: both connections go on.
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(raw.response().await.status(), 200);
        assert_eq!(proxy.endpoints(Metric::EndpointConnections, ""), 2);
    }

    let endpoint = Scripted::stale(vec![Step::ReadRequest]).await;
    let proxy = before(endpoint.address(), "", "").await;
    let mut client = Client::h2(proxy.address()).await;
    let (mut upload, body) = Outgoing::pieces();
    let request = Request::put("/").body(body).unwrap();
    let feeding = tokio::spawn(async move {
        upload.send("some").await;
        upload.send(" more").await;
        let mut trailers = HeaderMap::new();
        trailers.insert("checksum", "1".parse().unwrap());
        upload.finish_with(trailers).await;
    });
    assert_eq!(client.send(request).await.status, StatusCode::OK);
    feeding.await.unwrap();
    let requests = endpoint.requests();
    let again = requests.last().unwrap();
    assert_eq!((requests.len(), again.text()), (2, "some more"));
    assert_eq!(again.trailers, [("checksum".to_owned(), "1".to_owned())]);
}

#[tokio::test]
async fn an_upload_half_way_goes_on_where_it_was() {
    const HALF: usize = 30_000;
    // The rest is larger than what is ever kept.
    const WHOLE: usize = 1_000_000;
    for h2 in [false, true] {
        let endpoint = Scripted::stale(vec![Step::ReadHead, Step::ReadBytes(HALF)]).await;
        let proxy = before(endpoint.address(), "", "").await;
        let mut client = client(h2, &proxy).await;
        let (mut upload, body) = Outgoing::pieces();
        let mut request = Request::put("/").body(body).unwrap();
        request.headers_mut().insert("content-length", WHOLE.into());
        let answered = tokio::spawn(async move { client.send(request).await });
        let whole = traceable(WHOLE);
        assert!(upload.send(whole[..HALF].to_vec()).await);
        // Not a byte more is sent before the connection has died.
        eventually(DEADLINE, || {
            proxy.endpoints(Metric::EndpointConnections, "") == 2
        })
        .await;
        for piece in whole[HALF..].chunks(100_000) {
            assert!(upload.send(piece.to_vec()).await);
        }
        drop(upload);
        assert_eq!(within(answered).await.unwrap().status, StatusCode::OK);
        let requests = endpoint.requests();
        assert!(requests.len() == 1 && requests[0].body == whole, "h2 {h2}");
        assert_eq!(requests[0].field("content-length"), Some("1000000"));
        eventually(DEADLINE, || {
            proxy.routes(Metric::RequestBytes, "") == WHOLE as u64
        })
        .await;
    }
}

#[tokio::test]
async fn a_body_larger_than_the_buffer_is_not_sent_again() {
    for (upstream, body) in [
        ("", 64 * 1024 + 1),
        ("retry: { buffer: 1000B }", 1001),
        ("retry: { buffer: 0B }", 1),
        ("retry: { buffer: off }", 1),
    ] {
        for h2 in [false, true] {
            let endpoint = Scripted::stale(vec![Step::ReadHead, Step::ReadBytes(body)]).await;
            let proxy = before(endpoint.address(), "", upstream).await;
            let mut client = client(h2, &proxy).await;
            let answer = put(&mut client, Method::PUT, traceable(body)).await;
            assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{upstream}");
            let told = answer.header("proxy-status").unwrap();
            assert!(told.contains("connection_closed"), "{told}");
            assert_eq!(endpoint.heads().len(), 2, "{upstream}");
        }
    }
    // The largest that still is, and one that needs no buffer.
    for (upstream, body) in [
        ("retry: { buffer: 1000B }", 1000),
        ("retry: { buffer: off }", 0),
    ] {
        let endpoint = Scripted::stale(vec![Step::ReadHead, Step::ReadBytes(body)]).await;
        let proxy = before(endpoint.address(), "", upstream).await;
        let mut client = client(false, &proxy).await;
        let answer = put(&mut client, Method::PUT, traceable(body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{upstream}");
        assert!(endpoint.requests()[0].body == traceable(body));
    }
}

#[tokio::test]
async fn what_was_written_of_a_post_is_not_sent_again() {
    for h2 in [false, true] {
        for body in [1, 1000, 30_000] {
            let endpoint = Scripted::stale(vec![Step::ReadHead, Step::ReadBytes(body)]).await;
            let proxy = before(endpoint.address(), "", "").await;
            let mut client = client(h2, &proxy).await;
            let answer = put(&mut client, Method::POST, traceable(body)).await;
            assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
            assert_eq!(endpoint.heads().len(), 2);
        }
    }
}

/// The worker stands still while its idle connection is reset, so that it learns of that only when it writes.
#[tokio::test]
async fn a_post_of_which_nothing_was_written_is_sent_again() {
    for h2 in [false, true] {
        let reset = Arc::new(Notify::new());
        let first = vec![
            Step::ReadHead,
            Step::ok(),
            Step::Wait(Arc::clone(&reset)),
            Step::Reset,
        ];
        let endpoint = Scripted::play(vec![first, vec![Step::ReadRequest, Step::ok()]]).await;
        let (go_on, faults) = Faults::new();
        let yaml = config(&[endpoint.address().to_string()], "", "", "");
        let proxy = Proxy::start_with(Clock::system(), &yaml, faults.handler()).await;
        let mut client = client(h2, &proxy).await;
        assert_eq!(client.get("/first").await.status, StatusCode::OK);
        let posting = tokio::spawn(async move { client.post("/block", "body").await });
        eventually(DEADLINE, || faults.blocked.lock().unwrap().is_some()).await;
        reset.notify_one();
        eventually(DEADLINE, || endpoint.ended() == 1).await;
        go_on.send(()).unwrap();
        let answer = within(posting).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "h2 {h2}: {answer:?}");
        assert_eq!(endpoint.heads().len(), 2, "h2 {h2}");
        assert_eq!(endpoint.requests()[0].text(), "body", "h2 {h2}");
        eventually(DEADLINE, || proxy.routes(Metric::Replays, "") == 1).await;
    }
}

#[tokio::test]
async fn nothing_is_sent_again_once_an_answer_began_or_twice() {
    // An interim response is an answer, too.
    for began in ["HTTP/1.1 2", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let endpoint =
            Scripted::stale(vec![Step::ReadHead, Step::ReadBytes(4), Step::write(began)]).await;
        let proxy = before(endpoint.address(), "", "retry: off").await;
        let mut client = client(false, &proxy).await;
        let answer = put(&mut client, Method::PUT, traceable(4)).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{began}");
        assert_eq!(endpoint.heads().len(), 2);
    }
    let endpoint = Scripted::play(vec![
        vec![Step::ReadHead, Step::ok(), Step::ReadRequest],
        vec![Step::ReadRequest],
    ])
    .await;
    let proxy = before(endpoint.address(), "", "retry: off").await;
    let mut client = client(false, &proxy).await;
    let answer = put(&mut client, Method::PUT, traceable(4)).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(endpoint.heads().len(), 3);
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_to_go_on_is_told_by_the_second_connection() {
    let ask = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    let go_on = Step::write("HTTP/1.1 100 Continue\r\n\r\n");
    let first = |then: &[Step]| [&[Step::ReadHead, Step::ok(), Step::ReadHead], then].concat();
    let second = vec![
        Step::ReadHead,
        go_on,
        Step::ReadBytes(4),
        Step::ok(),
        Step::Stall,
    ];
    // It waits; nothing of the body was read when the first connection died.
    let endpoint = Scripted::play(vec![first(&[]), second.clone()]).await;
    let proxy = before(endpoint.address(), "", "").await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send(ask).await;
    assert_eq!(raw.head().await.status(), 100);
    raw.send("body").await;
    assert_eq!(raw.response().await.status(), 200);
    assert_eq!(
        endpoint.heads()[2].field("expect"),
        Some("100-continue"),
        "asked anew"
    );

    // It does not; what it sent goes out again, and 100 comes through late.
    let endpoint = Scripted::play(vec![first(&[Step::ReadBytes(4)]), second]).await;
    let proxy = before(endpoint.address(), "", "").await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send(format!("{ask}body")).await;
    let answer = raw.response().await;
    assert_eq!((answer.status(), answer.interim.len()), (200, 1));
    eventually(DEADLINE, || proxy.routes(Metric::Replays, "") == 1).await;
}

#[tokio::test]
async fn a_replay_that_is_refused_takes_the_body_elsewhere() {
    const BODY: usize = 50_000;
    let backend = Backend::start("b");
    let endpoint =
        Scripted::stale(vec![Step::ReadHead, Step::ReadBytes(BODY / 2), Step::Stall]).await;
    let endpoints = [endpoint.address().to_string(), backend.endpoint()];
    let yaml = config(&endpoints, "", "", "balance: round_robin");
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::h1(proxy.address()).await;
    // Until each endpoint has an idle connection and it is the scripted one's turn.
    let mut last = None;
    while endpoint.heads().is_empty() || last.as_deref() != Some("b") {
        let answer = client.get("/").await;
        assert_eq!(answer.status, StatusCode::OK);
        last = answer.backend().map(str::to_owned);
    }
    let (mut upload, body) = Outgoing::pieces();
    let request = Request::put("/checksum").body(body).unwrap();
    let answered = tokio::spawn(async move { client.send(request).await });
    let whole = traceable(BODY);
    assert!(upload.send(whole[..BODY / 2].to_vec()).await);
    eventually(DEADLINE, || endpoint.heads().len() == 2).await;
    // It closes its connection, and listens no more.
    drop(endpoint);
    assert!(upload.send(whole[BODY / 2..].to_vec()).await);
    drop(upload);
    let answer = within(answered).await.unwrap();
    assert_eq!(answer.backend(), Some("b"));
    assert_eq!(answer.json()["length"], BODY);
    let sum = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&whole));
    assert!(answer.text().contains(&sum), "{answer:?}");
}

/// What an HTTP/2 endpoint does with a request, in turn over all connections; the last one again and again.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answer,
    /// REFUSED_STREAM after so many bytes of its body.
    Refuse(usize),
    /// The connection is cut after as many.
    Cut(usize),
}

/// A whole body and its trailers.
type Received = (Vec<u8>, HeaderMap);

/// What an endpoint was sent, over all connections.
#[derive(Default)]
struct Met {
    begun: usize,
    whole: Vec<Received>,
}

/// An endpoint that speaks HTTP/2.
struct Fateful {
    address: SocketAddr,
    met: Arc<Mutex<Met>>,
}

impl Fateful {
    async fn start(fates: &'static [Fate]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let met = Arc::default();
        let endpoint = Self {
            address,
            met: Arc::clone(&met),
        };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(Self::serve(stream, fates, Arc::clone(&met)));
            }
        });
        endpoint
    }

    async fn serve(stream: TcpStream, fates: &'static [Fate], met: Arc<Mutex<Met>>) {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (cut, mut is_cut) = watch::channel(false);
        loop {
            let (request, response) = tokio::select! {
                _ = is_cut.wait_for(|cut| *cut) => return,
                accepted = connection.accept() => match accepted {
                    Some(Ok(accepted)) => accepted,
                    _ => return,
                },
            };
            let number = {
                let mut met = met.lock().unwrap();
                met.begun += 1;
                met.begun - 1
            };
            let fate = fates[number.min(fates.len() - 1)];
            let (met, cut) = (Arc::clone(&met), cut.clone());
            tokio::spawn(async move {
                if let Some(received) = meet(fate, request, response, &cut).await {
                    met.lock().unwrap().whole.push(received);
                }
            });
        }
    }
}

async fn meet(
    fate: Fate,
    request: Request<h2::RecvStream>,
    mut response: SendResponse<Bytes>,
    cut: &watch::Sender<bool>,
) -> Option<Received> {
    let mut body = request.into_body();
    let mut bytes = Vec::new();
    let wanted = match fate {
        Fate::Answer => usize::MAX,
        Fate::Refuse(count) | Fate::Cut(count) => count,
    };
    while bytes.len() < wanted {
        let Some(data) = body.data().await else {
            break;
        };
        let data = data.ok()?;
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    match fate {
        Fate::Answer => {
            let trailers = body.trailers().await.ok()?.unwrap_or_default();
            response.send_response(Response::new(()), true).unwrap();
            return Some((bytes, trailers));
        }
        Fate::Refuse(_) => response.send_reset(Reason::REFUSED_STREAM),
        Fate::Cut(_) => {
            let _ = cut.send(true);
            // Nothing is said of the stream itself.
            std::future::pending().await
        }
    }
    None
}

/// Sends some, waits until the endpoint has met its fate, and sends the rest.
async fn upload(h2: bool, proxy: &Proxy, endpoint: &Fateful, method: Method) -> Answer {
    let mut client = client(h2, proxy).await;
    let (mut upload, body) = Outgoing::pieces();
    let mut request = Request::put("/").body(body).unwrap();
    *request.method_mut() = method;
    let answered = tokio::spawn(async move { client.send(request).await });
    upload.send(traceable(50_000)[..20_000].to_vec()).await;
    eventually(DEADLINE, || {
        endpoint.met.lock().unwrap().begun == 3 || answered.is_finished()
    })
    .await;
    // An answer of an error may have come already.
    upload.send(traceable(50_000)[20_000..].to_vec()).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", "1".parse().unwrap());
    upload.finish_with(trailers).await;
    within(answered).await.unwrap()
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_whatever_its_method() {
    for h2 in [false, true] {
        for method in [Method::PUT, Method::POST] {
            let fates = &[Fate::Answer, Fate::Refuse(20_000), Fate::Answer];
            let endpoint = Fateful::start(fates).await;
            let proxy = before(endpoint.address, "", "protocol: h2").await;
            let answer = upload(h2, &proxy, &endpoint, method.clone()).await;
            assert_eq!(answer.status, StatusCode::OK, "h2 {h2}, {method}");
            let met = endpoint.met.lock().unwrap();
            assert_eq!(
                proxy.endpoints(Metric::EndpointConnections, ""),
                2,
                "the first had refused"
            );
            let (bytes, trailers) = &met.whole[1];
            assert!(
                met.whole.len() == 2 && *bytes == traceable(50_000),
                "h2 {h2}"
            );
            // hyper writes trailers in HTTP/1.1 only to servers that were asked.
            assert!(!h2 || trailers.contains_key("checksum"), "{trailers:?}");
        }
    }
}

#[tokio::test]
async fn a_cut_connection_of_many_streams_is_made_good_if_harmless() {
    for h2 in [false, true] {
        for (method, is_harmless) in [(Method::PUT, true), (Method::POST, false)] {
            let fates = &[Fate::Answer, Fate::Cut(20_000), Fate::Answer];
            let endpoint = Fateful::start(fates).await;
            let proxy = before(endpoint.address, "", "protocol: h2").await;
            let answer = upload(h2, &proxy, &endpoint, method.clone()).await;
            let met = endpoint.met.lock().unwrap();
            let whole = &met.whole;
            if is_harmless {
                assert_eq!(answer.status, StatusCode::OK, "h2 {h2}, {method}");
                assert!(
                    whole.len() == 2 && whole[1].0 == traceable(50_000),
                    "h2 {h2}"
                );
            } else {
                assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "h2 {h2}");
                assert_eq!(met.begun, 2);
            }
        }
    }
}
