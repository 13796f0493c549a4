//! Floods of HTTP/2 beside a client that behaves: it is served as if nobody else were there, and memory has a bound.
//!
//! Not here: what becomes of the connection that floods; see [`super::h2_conformance`]. The short version runs with the other
//! tests, the long one by hand: `cargo test --release --test it -- --ignored floods --nocapture`.

#![allow(
    clippy::print_stdout,
    reason = "what was measured is shown, as a table"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "load is timed as its clients see it"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Backend, Client, Directory, Process};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// GET or POST of `/`, or another path shorter than 127 bytes.
fn head(method: u8, path: &str) -> Vec<u8> {
    let path = [&[0x04, path.len() as u8][..], path.as_bytes()].concat();
    [&[method, 0x86][..], &path, b"\x41\x01a"].concat()
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// A request, and something that ends its stream at once, on each of so many streams.
fn pairs(flags: u8, method: u8, then: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let streams = (0..4000).map(|number| 2 * number + 1);
    let pairs = streams.flat_map(|stream| {
        [
            frame(HEADERS, flags, stream, &head(method, "/")),
            then(stream),
        ]
        .concat()
    });
    pairs.collect()
}

/// One large field that is put into the table and named ten thousand times: 12 KB that stand for 40 MB.
fn bomb(stream: u32) -> Vec<u8> {
    let large = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4000]].concat();
    let block = [head(GET, "/"), large, vec![0xbe; 10_000]].concat();
    frame(HEADERS, 5, stream, &block)
}

/// What each flood sends again and again, until its connection ends.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    let update = |stream: u32, by: u32| frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    let open = frame(HEADERS, 4, 1, &head(POST, "/"));
    let bombs = (0..200).flat_map(|number| bomb(2 * number + 1));
    vec![
        (
            "rapid reset",
            pairs(5, GET, |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])),
        ),
        (
            "provoked resets",
            pairs(4, POST, |stream| update(stream, 0x7fff_ffff)),
        ),
        ("PING", frame(PING, 0, 0, b"whatever").repeat(4000)),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[]).repeat(4000)),
        (
            "PRIORITY",
            frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 9]).repeat(4000),
        ),
        (
            "empty DATA",
            [open, frame(DATA, 0, 1, &[]).repeat(4000)].concat(),
        ),
        ("WINDOW_UPDATE", update(0, 1).repeat(4000)),
        (
            "CONTINUATION",
            [
                frame(HEADERS, 1, 1, &head(GET, "/")),
                frame(CONTINUATION, 0, 1, &[]).repeat(4000),
            ]
            .concat(),
        ),
        ("unknown frames", frame(0xbe, 0, 0, &[]).repeat(4000)),
        ("HPACK bomb", bombs.collect()),
        (
            "late heads",
            [
                frame(HEADERS, 4, 1, &head(POST, "/")),
                frame(HEADERS, 4, 1, &head(GET, "/")),
                frame(HEADERS, 4, 1, &[0x82; 16_000]).repeat(60),
            ]
            .concat(),
        ),
        ("new connections", Vec::new()),
    ]
}

/// The program before a backend, and how it fares.
struct Target {
    process: Process,
    address: SocketAddr,
    backend: Backend,
    _files: Directory,
}

impl Target {
    fn start() -> Self {
        let backend = Backend::start("a");
        let files = Directory::new();
        let config = files.write(
            "plimsoll.yaml",
            format!(
                "workers: 2\nlisteners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
                 routes: [ {{ upstream: pool }} ]\nupstreams: {{ pool: {{ endpoints: [{:?}] }} }}\n",
                backend.endpoint()
            ),
        );
        let process = Process::start(&["run", "-c", config.to_str().unwrap()]);
        let line = process.wait_for_line("listening on");
        let address = line.split("http://").nth(1).unwrap();
        let address = address.split(' ').next().unwrap().parse().unwrap();
        Self {
            process,
            address,
            backend,
            _files: files,
        }
    }

    /// KiB of memory: now, and the most so far.
    fn memory(&self) -> (u64, u64) {
        let path = format!("/proc/{}/status", self.process.id());
        let text = std::fs::read_to_string(path).unwrap();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.unwrap().trim().split(' ').next().unwrap();
            number.parse::<u64>().unwrap()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

/// How those fare who behave.
#[derive(Default)]
struct Victim {
    answered: usize,
    failed: usize,
    micros: Vec<u128>,
}

impl Victim {
    /// Asks one after the other for so long.
    async fn ask(address: SocketAddr, span: Duration) -> Self {
        let mut victim = Self::default();
        let mut client = Client::h1(address).await;
        let until = Instant::now() + span;
        while Instant::now() < until {
            let begun = Instant::now();
            let asked = tokio::time::timeout(Duration::from_secs(2), client.try_get("/")).await;
            victim.micros.push(begun.elapsed().as_micros());
            match asked {
                Ok(Ok(answer)) if answer.status == 200 => victim.answered += 1,
                _ => {
                    victim.failed += 1;
                    client = Client::h1(address).await;
                }
            }
        }
        victim.micros.sort_unstable();
        victim
    }

    fn percentile(&self, share: f64) -> f64 {
        let place = ((self.micros.len() - 1) as f64 * share) as usize;
        self.micros[place] as f64 / 1000.0
    }

    fn success(&self) -> f64 {
        self.answered as f64 / (self.answered + self.failed) as f64
    }
}

/// Floods on so many connections at once, each followed by the next when it was cut.
struct Attack {
    stop: Arc<AtomicBool>,
    cut: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Attack {
    fn begin(address: SocketAddr, bytes: &[u8], connections: usize) -> Self {
        let (stop, cut) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let bytes: Arc<[u8]> = bytes.into();
        let flood = || {
            let (stop, cut, bytes) = (Arc::clone(&stop), Arc::clone(&cut), Arc::clone(&bytes));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    once(address, &bytes);
                    cut.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = (0..connections).map(|_| flood()).collect();
        Self { stop, cut, threads }
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.cut.load(Ordering::Relaxed)
    }
}

/// One connection, from its preface until the server has had enough.
fn once(address: SocketAddr, bytes: &[u8]) {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return;
    };
    let patience = Some(Duration::from_millis(200));
    stream.set_write_timeout(patience).unwrap();
    stream.set_read_timeout(patience).unwrap();
    let _ = stream
        .write_all(PREFACE)
        .and_then(|()| stream.write_all(bytes));
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = [0; 16 * 1024];
    while matches!(stream.read(&mut answer), Ok(1..)) {}
}

/// Every flood in turn for so long, by so many connections at once. What is asserted is what is promised to users.
async fn beside(span: Duration, connections: usize, p99_millis: f64) {
    let target = Target::start();
    let calm = Victim::ask(target.address, span).await;
    let (before, _) = target.memory();
    println!(
        "{:<18} {:>8} {:>9} {:>8} {:>8} {:>8} {:>9} {:>9}",
        "flood", "cut", "served", "success", "p50 ms", "p99 ms", "RSS KiB", "reached"
    );
    let row = |name: &str, cut: u64, victim: &Victim, reached: u64| {
        println!(
            "{name:<18} {cut:>8} {:>9} {:>7.2}% {:>8.2} {:>8.2} {:>9} {reached:>9}",
            victim.answered,
            100.0 * victim.success(),
            victim.percentile(0.5),
            victim.percentile(0.99),
            target.memory().0,
        );
    };
    row("none", 0, &calm, 0);
    for (name, bytes) in floods() {
        let asked = target.backend.counters().requests();
        let attack = Attack::begin(target.address, &bytes, connections);
        let victim = Victim::ask(target.address, span).await;
        let cut = attack.end();
        let reached = target.backend.counters().requests() - asked - victim.answered as u64;
        row(name, cut, &victim, reached);
        assert!(cut > 0, "{name}: no connection came to its end");
        assert!(victim.success() >= 0.99, "{name}: {} failed", victim.failed);
        let late = victim.percentile(0.99);
        assert!(late < p99_millis, "{name}: {late:.1} ms");
    }
    let (_, most) = target.memory();
    println!("memory: {before} KiB before, {most} KiB at most");
    assert!(most - before < 96 * 1024, "{} KiB more", most - before);
}

#[tokio::test]
async fn who_behaves_is_served_beside_every_flood() {
    // Few requests, on a machine that compiles meanwhile, without optimisation: the long version looks closer.
    beside(Duration::from_millis(400), 2, 2000.0).await;
}

#[tokio::test]
#[ignore = "takes two minutes; for the table of the README"]
async fn long_floods_beside_one_who_behaves() {
    beside(Duration::from_secs(10), 8, 100.0).await;
}

/// What one connection makes the process hold by asking for this on each of so many streams and not letting the answers
/// through, in KiB. `window` is that of each stream.
async fn held_by_one(name: &str, path: &str, window: u32, streams: u32) -> u64 {
    // Within what one endpoint is asked at once.
    const CONNECTIONS: u64 = 2;
    let target = Target::start();
    let calm = Victim::ask(target.address, Duration::from_millis(300)).await;
    assert_eq!(calm.failed, 0);
    let (before, _) = target.memory();
    let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
    let mut bytes = PREFACE[..24].to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &settings));
    bytes.extend(frame(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes()));
    for stream in 0..streams {
        bytes.extend(frame(HEADERS, 5, 2 * stream + 1, &head(GET, path)));
    }
    let open = |_| {
        let mut stream = TcpStream::connect(target.address).unwrap();
        stream.write_all(&bytes).unwrap();
        stream
    };
    let asked = target.backend.counters().requests();
    let held: Vec<TcpStream> = (0..CONNECTIONS).map(open).collect();
    let all = asked + CONNECTIONS * u64::from(streams);
    crate::harness::eventually(crate::harness::DEADLINE, || {
        target.backend.counters().requests() >= all
    })
    .await;
    // Meanwhile what they are to get comes in, as far as there is room for it.
    let victim = Victim::ask(target.address, Duration::from_secs(1)).await;
    let (now, _) = target.memory();
    let each = now.saturating_sub(before) / CONNECTIONS;
    println!(
        "{name}: {each} KiB for each connection of {streams} streams, p99 of others {:.2} ms",
        victim.percentile(0.99)
    );
    assert!(victim.success() >= 0.99 && victim.percentile(0.99) < 2000.0);
    drop(held);
    each
}

/// Streams whose answers the client does not let through: by its windows, or by not reading.
#[tokio::test]
async fn answers_that_nobody_takes_are_held_within_a_bound() {
    const STREAMS: u32 = 100;
    // What the exchanges need for themselves.
    let bare = held_by_one("no answer", "/hang", 0, STREAMS).await;
    for (name, window) in [
        ("no window", 0_u32),
        ("a byte of window", 1),
        ("no reading", 0x7fff_ffff),
    ] {
        let each = held_by_one(name, "/bytes/10000000", window, STREAMS).await;
        // 1 MiB for all streams together, 64 KiB that are read when it is used up and as much on their way to the socket;
        // 4 KiB for each stream whatever there is, and 16 KiB that came with the head of its answer. What is measured are
        // pages, of which an allocator keeps some for each size.
        let bound = bare + (1024 + 128 + u64::from(STREAMS) * (4 + 16)) * 5 / 4 + 512;
        assert!(each < bound, "{name}: {each} KiB, {bare} without answers");
    }
}
