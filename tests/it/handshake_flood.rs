//! A flood of TLS handshakes on one listener beside a client that behaves on another of the same worker.
//!
//! Each attacker says hello, waits for the answer, which has the signature in it, and leaves. The figures are printed; the long
//! version has more attackers for longer, and the same again without turns to compare with: `.ci/long/attacks.sh`.

#![allow(
    clippy::print_stdout,
    reason = "what was measured is shown, as a table"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "load is timed as its clients see it"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{Authority, Backend, Client, Directory, Process};

/// The first flight of a client.
fn hello(authority: &Authority) -> Vec<u8> {
    let name = "localhost".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(authority.client(&[]), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// Says hello again and again; counts the answers.
async fn flood(address: SocketAddr, hello: Arc<[u8]>, answered: Arc<AtomicU64>) {
    loop {
        let Ok(mut stream) = TcpStream::connect(address).await else {
            continue;
        };
        let said = stream.write_all(&hello).await;
        if said.is_ok() && stream.read_u8().await.is_ok() {
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What one run showed.
struct Outcome {
    /// Handshakes that were answered, each second.
    rate: f64,
    requests: usize,
    failed: usize,
    p50: Duration,
    p99: Duration,
}

/// Floods for so long, with so many handshakes in a turn.
async fn beside(turns: usize, attackers: usize, span: Duration) -> Outcome {
    let (backend, authority, directory) = (Backend::start("a"), Authority::new(), Directory::new());
    let (cert, key) = authority.identity(&["localhost"]).write(&directory, "site");
    let file = directory.write(
        "plimsoll.yaml",
        format!(
            "workers: 1\nlisteners:\n  web: {{ address: \"127.0.0.1:0\" }}\n  secure: {{ address: \"127.0.0.1:0\", \
             tls: {{ certificates: [ {{ cert: {cert:?}, key: {key:?} }} ], handshakes: {turns} }} }}\n\
             routes: [ {{ upstream: pool }} ]\nupstreams: {{ pool: {{ endpoints: [{:?}] }} }}\n",
            backend.endpoint()
        ),
    );
    let process = Process::start(&["run", "-c", file.to_str().unwrap()]);
    let address = |scheme: &str| -> SocketAddr {
        let line = process.wait_for_line(&format!("listening on {scheme}://"));
        let (_, rest) = line.split_once("://").unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    let (plain, secure) = (address("http"), address("https"));
    let hello: Arc<[u8]> = hello(&authority).into();
    let answered = Arc::<AtomicU64>::default();
    let mut flooding = JoinSet::new();
    for _ in 0..attackers {
        flooding.spawn(flood(secure, Arc::clone(&hello), Arc::clone(&answered)));
    }
    // On a thread of its own, so that those who flood do not slow down what is measured.
    let asking = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(ask(plain, span))
    });
    let begun = Instant::now();
    let (mut latencies, failed) = tokio::task::spawn_blocking(|| asking.join().unwrap())
        .await
        .unwrap();
    let rate = answered.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    flooding.shutdown().await;
    latencies.sort_unstable();
    let quantile = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    Outcome {
        rate,
        requests: latencies.len(),
        failed,
        p50: quantile(0.5),
        p99: quantile(0.99),
    }
}

/// One request after the other on a kept connection: how long each took, and how many failed.
async fn ask(address: SocketAddr, span: Duration) -> (Vec<Duration>, usize) {
    let (mut latencies, mut failed) = (Vec::new(), 0);
    let mut client = Client::h1(address).await;
    let until = Instant::now() + span;
    while Instant::now() < until {
        let begun = Instant::now();
        let asked = tokio::time::timeout(Duration::from_secs(2), client.try_get("/")).await;
        latencies.push(begun.elapsed());
        if !matches!(asked, Ok(Ok(answer)) if answer.status == 200) {
            failed += 1;
            client = Client::h1(address).await;
        }
    }
    (latencies, failed)
}

fn print(turns: usize, attackers: usize, outcome: &Outcome) {
    let millis = |span: Duration| span.as_secs_f64() * 1e3;
    println!(
        "handshakes: {turns:<5} | {attackers} attackers, {:.0} hellos answered a second | {} requests, {} failed, p50 {:.2} ms, p99 \
         {:.2} ms",
        outcome.rate,
        outcome.requests,
        outcome.failed,
        millis(outcome.p50),
        millis(outcome.p99),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_handshakes_leaves_requests_alone() {
    let outcome = beside(4, 50, Duration::from_millis(800)).await;
    print(4, 50, &outcome);
    assert!(outcome.rate > 0.0, "nobody was answered");
    assert_eq!(outcome.failed, 0, "of {}", outcome.requests);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute of two cores: .ci/long/attacks.sh"]
async fn five_hundred_clients_that_say_hello_and_leave() {
    const ATTACKERS: usize = 500;
    let span = Duration::from_secs(10);
    for turns in [10_000, 4] {
        let outcome = beside(turns, ATTACKERS, span).await;
        print(turns, ATTACKERS, &outcome);
        if turns == 4 {
            assert!(
                outcome.failed * 100 <= outcome.requests,
                "{} failed",
                outcome.failed
            );
            assert!(
                outcome.p99 < Duration::from_millis(100),
                "{:?}",
                outcome.p99
            );
        }
    }
}
