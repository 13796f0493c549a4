//! Many identified requests while the backends misbehave in every way they know, by a seeded schedule.
//!
//! However an exchange ends, it ends in time, with the right bytes or as an error that can be told from an answer; and
//! what may be carried out only once is carried out at most once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use plimsoll::entropy::Random;
use plimsoll::lab::backend::{Executions, Fault, identified};

use crate::harness::{Backend, Client, DEADLINE, Outgoing, Proxy, eventually, request};

/// The longest that any exchange may take: 3 s up to its head and as much between two pieces, and twice that again for a
/// machine that is busy.
const LIMIT: Duration = Duration::from_secs(15);
const CLIENTS: usize = 24;
/// Answered requests between two changes of the schedule.
const FLIP: u64 = 12;

/// How an exchange ended that ended as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// The whole answer, with the bytes of its id.
    Whole,
    /// The backend's own 503.
    Burst,
    /// An error that the proxy tells.
    Told,
    /// A head, some of the right bytes, and an end that can be told from a whole answer; or not even the head.
    Broken,
}

/// What is asked for.
struct Asked {
    id: String,
    method: Method,
    body: usize,
    /// Sent without a length.
    in_pieces: bool,
    answer: usize,
}

impl Asked {
    fn draw(id: String, random: &mut Random) -> Self {
        let methods = [Method::GET, Method::POST, Method::PUT, Method::POST];
        let method = methods[random.below(methods.len())].clone();
        let body = match random.below(10) {
            _ if method == Method::GET => 0,
            0..3 => 0,
            // More than is kept to be sent again.
            9 => 200_000,
            _ => 1 + random.below(3000),
        };
        Self {
            id,
            method,
            body,
            in_pieces: body > 0 && random.below(3) == 0,
            answer: random.below(20_000),
        }
    }
}

/// Asks, and judges what comes. An error says what must not be.
async fn exchange(client: &mut Client, asked: &Asked) -> Result<End, String> {
    let (mut upload, body) = Outgoing::pieces();
    let bytes = identified(&asked.id, asked.body);
    let feed = async {
        let half = bytes.len() / 2;
        let _ = upload.send(bytes.slice(..half)).await && upload.send(bytes.slice(half..)).await;
        drop(upload);
    };
    let path = format!("/identified/{}", asked.answer);
    let body = if asked.in_pieces {
        body
    } else {
        Outgoing::whole(bytes.clone())
    };
    let mut sent = request(asked.method.clone(), &path, body);
    let id = asked.id.parse().unwrap();
    sent.headers_mut().insert("x-request-id", id);
    let answered = async {
        match client.open(sent).await {
            Ok(response) => judge(response, asked).await,
            Err(error) if is_cut(&error) => Ok(End::Broken),
            Err(error) => Err(format!("no head: {error:?}")),
        }
    };
    if asked.in_pieces {
        // A client goes on with what it sends whether or not it is answered; what is left is dropped with the answer.
        let mut feed = std::pin::pin!(feed);
        let mut answered = std::pin::pin!(answered);
        tokio::select! {
            biased;
            judged = &mut answered => return judged,
            () = &mut feed => {}
        }
        answered.await
    } else {
        answered.await
    }
}

/// Whether the stream was broken off before a head: an endpoint's head and its reset come so close behind each other that
/// the head has not left yet.
fn is_cut(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error);
    let h2 = cause.and_then(|cause| cause.downcast_ref::<h2::Error>());
    let io = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>());
    h2.is_some_and(|h2| h2.is_reset() && h2.reason() == Some(h2::Reason::INTERNAL_ERROR))
        || io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionReset)
        || error.is_incomplete_message()
}

async fn judge(
    response: hyper::Response<hyper::body::Incoming>,
    asked: &Asked,
) -> Result<End, String> {
    let (head, mut body) = response.into_parts();
    let mut read = BytesMut::new();
    let mut is_whole = true;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => read.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => {
                is_whole = false;
                break;
            }
        }
    }
    let read: Bytes = read.freeze();
    let expected = identified(&asked.id, asked.answer);
    if let Some(told) = head.headers.get("proxy-status") {
        let told = told.to_str().unwrap();
        let is_known = matches!(head.status.as_u16(), 502..=504);
        let label = told.rsplit('"').nth(1).unwrap_or_default();
        let is_worded = !label.is_empty() && String::from_utf8_lossy(&read).contains(label);
        let is_well_formed = told.starts_with("plimsoll; error=") && is_worded && is_whole;
        if is_known && is_well_formed && head.headers.contains_key("x-request-id") {
            return Ok(End::Told);
        }
        return Err(format!("an error that is none: {head:?} {read:?}"));
    }
    match (head.status, is_whole) {
        (StatusCode::OK, true) if read == expected => Ok(End::Whole),
        (StatusCode::OK, false) if expected.starts_with(&read) => Ok(End::Broken),
        (StatusCode::SERVICE_UNAVAILABLE, true) if head.headers.contains_key("x-backend") => {
            Ok(End::Burst)
        }
        // What the client sent came to the endpoint as something else.
        (status, is_whole) => Err(format!(
            "{status}, whole: {is_whole}, {} bytes of {}, right: {}",
            read.len(),
            expected.len(),
            expected.starts_with(&read),
        )),
    }
}

/// What all clients have seen together.
#[derive(Default)]
struct Seen {
    ended: AtomicU64,
    ends: Mutex<BTreeMap<End, u64>>,
    wrong: Mutex<Vec<String>>,
    /// Ids of what may be carried out once, and of what was answered in full.
    once: Mutex<Vec<String>>,
    answered: Mutex<Vec<String>>,
}

async fn ask_all(index: usize, count: usize, proxy: std::net::SocketAddr, seen: Arc<Seen>) {
    let mut random = Random::seeded(1000 + index as u64);
    let connect = async || match index % 2 {
        0 => Client::h1(proxy).await,
        _ => Client::h2(proxy).await,
    };
    let mut client = connect().await;
    for number in 0..count {
        let asked = Asked::draw(format!("{index}-{number}"), &mut random);
        if asked.method == Method::POST {
            seen.once.lock().unwrap().push(asked.id.clone());
        }
        if client.is_closed() {
            client = connect().await;
        }
        let judged = tokio::time::timeout(LIMIT, exchange(&mut client, &asked)).await;
        let judged = judged.unwrap_or_else(|_| Err(format!("not over after {LIMIT:?}")));
        match judged {
            Ok(End::Whole) => {
                *seen.ends.lock().unwrap().entry(End::Whole).or_default() += 1;
                seen.answered.lock().unwrap().push(asked.id);
            }
            Ok(end) => *seen.ends.lock().unwrap().entry(end).or_default() += 1,
            Err(wrong) => {
                let Asked {
                    id,
                    method,
                    body,
                    in_pieces,
                    ..
                } = &asked;
                let what =
                    format!("{id} {method} of {body} bytes (in pieces: {in_pieces}): {wrong}");
                seen.wrong.lock().unwrap().push(what);
                client = connect().await;
            }
        }
        seen.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Changes the fault of one backend after the other, as long as requests end.
async fn flip(backends: &[Backend], seed: u64, seen: &Seen) {
    let mut random = Random::seeded(seed);
    for step in 1.. {
        eventually(DEADLINE, || {
            seen.ended.load(Ordering::Relaxed) >= step * FLIP
        })
        .await;
        let fault = match random.below(2 * Fault::ALL.len()) {
            drawn if drawn < Fault::ALL.len() => Some(Fault::ALL[drawn]),
            _ => None,
        };
        let fault = match fault {
            Some(Fault::Slow(_)) => Some(Fault::Slow(Duration::from_millis(300))),
            Some(Fault::Trickle(_)) => Some(Fault::Trickle(Duration::from_millis(5))),
            other => other,
        };
        let which = random.below(backends.len());
        backends[which].change(Backend::labelled("b").fault(fault));
    }
}

/// `keys` are further ones of the upstream.
async fn chaos(requests: usize, protocol: &str, keys: &str, seed: u64) {
    let executions = Arc::<Executions>::default();
    let backends: Vec<Backend> = (0..4)
        .map(|_| Backend::labelled("b").counted(&executions).start())
        .collect();
    let endpoints: Vec<String> = backends
        .iter()
        .map(|one| format!("{:?}", one.endpoint()))
        .collect();
    let yaml = format!(
        "workers: 2\n\
         listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ upstream: pool }} ]\n\
         upstreams:\n\
         \x20 pool:\n\
         \x20   endpoints: [{}]\n\
         \x20   protocol: {protocol}\n\
         \x20   timeouts: {{ connect: 500ms, first_byte: 1s, total: 3s, idle: 3s }}\n{keys}",
        endpoints.join(", ")
    );
    let proxy = Proxy::start(&yaml).await;
    let seen = Arc::<Seen>::default();
    let each = requests.div_ceil(CLIENTS);
    let mut clients = tokio::task::JoinSet::new();
    for index in 0..CLIENTS {
        clients.spawn(ask_all(index, each, proxy.address(), Arc::clone(&seen)));
    }
    tokio::select! {
        () = flip(&backends, seed, &seen) => {}
        () = async { while let Some(joined) = clients.join_next().await { joined.unwrap() } } => {}
    }
    let ends = seen.ends.lock().unwrap().clone();
    eprintln!("{requests} requests over {protocol}: {ends:?}");
    judge_all(&seen, &executions, requests as u64, &ends);
    recovers(&backends, &proxy).await;
}

fn judge_all(seen: &Seen, executions: &Executions, requests: u64, ends: &BTreeMap<End, u64>) {
    let wrong = seen.wrong.lock().unwrap();
    assert!(
        wrong.is_empty(),
        "{} of {requests}: {wrong:#?}",
        wrong.len()
    );
    let once = seen.once.lock().unwrap();
    let twice: Vec<_> = once.iter().filter(|id| executions.of(id) > 1).collect();
    assert!(twice.is_empty(), "carried out more than once: {twice:?}");
    let answered = seen.answered.lock().unwrap();
    let never: Vec<_> = answered
        .iter()
        .filter(|id| executions.of(id) == 0)
        .collect();
    assert!(never.is_empty(), "answered by nobody: {never:?}");
    // It is chaos and not an outage.
    let share = |end| ends.get(&end).copied().unwrap_or_default() as f64 / requests as f64;
    assert!(share(End::Whole) > 0.3, "{ends:?}");
    let failed = share(End::Told) + share(End::Broken);
    assert!(failed > 0.02, "{ends:?}");
}

/// Once the backends behave again, everything is as if nothing had been, and nothing of it is still held.
async fn recovers(backends: &[Backend], proxy: &Proxy) {
    for backend in backends {
        backend.change(Backend::labelled("b"));
        let address = backend.address();
        eventually(DEADLINE, || std::net::TcpStream::connect(address).is_ok()).await;
    }
    let mut client = Client::h2(proxy.address()).await;
    let mut in_a_row = 0;
    let begun = plimsoll::clock::Clock::system();
    while in_a_row < 50 {
        let answer = client.get("/").await;
        in_a_row = if answer.status == StatusCode::OK {
            in_a_row + 1
        } else {
            0
        };
        assert!(
            begun.now() < plimsoll::clock::Instant(DEADLINE.as_nanos() as u64),
            "{answer:?}"
        );
    }
    let snapshot = proxy.live().snapshot.load_full();
    let endpoints = &snapshot.upstreams[0].endpoints;
    let held = || {
        endpoints
            .iter()
            .map(|one| one.signals.in_flight.load())
            .sum::<u32>()
    };
    eventually(DEADLINE, || held() == 0).await;
}

#[tokio::test]
async fn no_post_is_carried_out_twice_and_no_body_goes_astray_over_http_1() {
    chaos(1200, "h1", OPEN_NEVER, 1).await;
}

#[tokio::test]
async fn no_post_is_carried_out_twice_and_no_body_goes_astray_over_http_2() {
    chaos(600, "h2", OPEN_NEVER, 2).await;
}

/// Whatever fails is asked again and again: more attempts meet a fault than with a breaker.
const OPEN_NEVER: &str = "\x20   breaker: off\n";

/// The breakers as they are by default, but that their pauses suit a test.
const BREAKERS: &str =
    "\x20   breaker: { open_for: 50ms, open_for_max: 200ms, ramp: 100ms }\n\x20   outlier: {}\n";

#[tokio::test]
async fn no_post_is_carried_out_twice_and_no_body_goes_astray_while_breakers_open_and_close() {
    chaos(1200, "h1", BREAKERS, 7).await;
}

/// As many attempts as can be, some of them at the same time.
const STORM: &str = "\x20   breaker: off\n\
                     \x20   retry: { max_attempts: 4, budget: off, backoff: { base: 1ms, max: 5ms } }\n\
                     \x20   hedge: { after: p50, min_samples: 20, max: 50% }\n";

#[tokio::test]
async fn no_post_is_carried_out_twice_and_no_body_goes_astray_in_a_storm_of_retries_and_hedges() {
    chaos(800, "h1", STORM, 6).await;
}

#[tokio::test]
#[ignore = "takes minutes; run by hand with `--ignored`"]
async fn twenty_thousand_requests_over_both_protocols() {
    chaos(8_000, "h1", OPEN_NEVER, 3).await;
    chaos(6_000, "h2", OPEN_NEVER, 4).await;
    chaos(6_000, "h1", STORM, 5).await;
    chaos(4_000, "h1", BREAKERS, 8).await;
}
