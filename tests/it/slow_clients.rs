//! Clients that are slow on purpose, many at once, beside one that behaves: it must not notice, and memory stays bounded.
//!
//! The figures are printed: `cargo test --test it slow_clients -- --nocapture --test-threads 1`. The long version has more
//! of them, for longer than any deadline: the same with `--ignored`, best with `--release`.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use plimsoll::clock::{Clock, Instant};
use plimsoll::observe::Metric;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Backend, DEADLINE, Directory, Process, Proxy, config, eventually};

/// What an attacker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    /// Connects and says nothing.
    Silent,
    /// A head whose fields come byte by byte.
    SlowHead,
    /// A body that was announced as large, byte by byte.
    SlowBody,
    /// Takes an answer byte by byte.
    SlowRead,
    /// Takes nothing of an answer: its window closes.
    ZeroWindow,
    /// Begins a PROXY header and goes no further.
    SlowHeader,
}

const ALL: [Attack; 6] = [
    Attack::Silent,
    Attack::SlowHead,
    Attack::SlowBody,
    Attack::SlowRead,
    Attack::ZeroWindow,
    Attack::SlowHeader,
];

/// How many attack for how long.
struct Scale {
    attackers: usize,
    span: Duration,
    /// What part of the answers must come within [`QUICK`].
    quick: f64,
}

const QUICK: Duration = Duration::from_millis(100);
/// Answers without which nothing can be said.
const ENOUGH: usize = 100;

/// What an answer is that a slow reader does not take.
const LARGE: &str = "/large/bytes/1000000";
/// Between two bytes of an attacker.
const DRIP: Duration = Duration::from_millis(200);

/// What became of all attackers.
#[derive(Default)]
struct Tally {
    /// Connections that were made.
    begun: AtomicU64,
    /// Connections that have ended, which no attacker does by itself.
    thrown_out: AtomicU64,
}

/// One attacker: comes back whenever it is thrown out.
async fn attack(kind: Attack, address: SocketAddr, tally: Arc<Tally>) {
    loop {
        // However it ends, the next one follows.
        let _ = once(kind, address, &tally).await;
        tally.thrown_out.fetch_add(1, Ordering::Relaxed);
        // Not in a busy loop where it is closed at once.
        tokio::time::timeout(DRIP, std::future::pending::<()>())
            .await
            .unwrap_or(());
    }
}

async fn once(kind: Attack, address: SocketAddr, tally: &Tally) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut stream = socket.connect(address).await?;
    let opening = match kind {
        Attack::Silent => String::new(),
        Attack::SlowHead => "GET / HTTP/1.1\r\nHost: a\r\nX: ".to_owned(),
        Attack::SlowBody => {
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n".to_owned()
        }
        Attack::SlowRead | Attack::ZeroWindow => {
            format!("GET {LARGE} HTTP/1.1\r\nHost: a\r\n\r\n")
        }
        Attack::SlowHeader => "PROXY TCP4 192.0.2.1".to_owned(),
    };
    stream.write_all(opening.as_bytes()).await?;
    tally.begun.fetch_add(1, Ordering::Relaxed);
    match kind {
        Attack::ZeroWindow => until_cut(&mut stream).await,
        Attack::SlowRead => drip(&mut stream, false).await,
        Attack::Silent => stream.read_u8().await.map(drop),
        Attack::SlowHead | Attack::SlowBody | Attack::SlowHeader => drip(&mut stream, true).await,
    }
}

/// Reads nothing; an error shows once the other side has reset the connection.
async fn until_cut(stream: &mut TcpStream) -> io::Result<()> {
    let mut ticks = tokio::time::interval(DRIP);
    while stream.take_error()?.is_none() {
        ticks.tick().await;
    }
    Ok(())
}

/// Sends or takes one byte after the other, until the other side has enough of it.
async fn drip(stream: &mut TcpStream, sends: bool) -> io::Result<()> {
    let mut ticks = tokio::time::interval(DRIP);
    let mut answer = [0; 512];
    loop {
        ticks.tick().await;
        if sends {
            stream.write_all(b"1").await?;
            match stream.try_read(&mut answer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return Ok(()),
                Ok(_) => {}
            }
        } else {
            stream.read_u8().await?;
        }
    }
}

/// What a client that behaves saw.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    failures: usize,
}

impl Seen {
    fn success(&self) -> f64 {
        let all = self.latencies.len() + self.failures;
        self.latencies.len() as f64 / all.max(1) as f64
    }

    fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort();
        let at = (sorted.len() as f64 * share) as usize;
        sorted
            .get(at.min(sorted.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

/// Asks every few milliseconds, on a thread of its own, so that what attacks does not slow down what is measured. Every
/// tenth request has a new connection.
fn behave(address: SocketAddr, opening: &[u8], stop: &AtomicBool) -> Seen {
    let clock = Clock::system();
    let mut seen = Seen::default();
    let mut connection: Option<std::net::TcpStream> = None;
    for number in 0.. {
        if number >= ENOUGH && stop.load(Ordering::Relaxed) {
            break;
        }
        if number % 10 == 0 {
            connection = None;
        }
        let begun = clock.now();
        match ask(&mut connection, address, opening) {
            Ok(()) => seen.latencies.push(clock.now().since(begun)),
            Err(error) => {
                eprintln!("the client that behaves: {error}");
                seen.failures += 1;
                connection = None;
            }
        }
        std::thread::park_timeout(Duration::from_millis(4));
    }
    seen
}

fn ask(
    connection: &mut Option<std::net::TcpStream>,
    address: SocketAddr,
    opening: &[u8],
) -> io::Result<()> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let mut stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(opening)?;
            connection.insert(stream)
        }
    };
    stream.write_all(b"GET /bytes/10 HTTP/1.1\r\nHost: a\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&buffer[..count]);
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
        if head.is_some_and(|end| answer.len() >= end + 4 + 10) {
            break;
        }
    }
    if answer.starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(io::Error::other("another status"))
    }
}

/// A value of `/proc/PID/status`, in bytes.
fn memory(process: &Process, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .unwrap();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes * 1024
}

/// Attacks a process of its own, and tells how the client that behaves fared.
async fn fare(kind: Attack, scale: &Scale) {
    // What makes large answers is not what the client that behaves asks.
    let (backend, large) = (Backend::start("a"), Backend::start("b"));
    let directory = Directory::new();
    let is_told = kind == Attack::SlowHeader;
    let opening: &[u8] = if is_told { b"PROXY UNKNOWN\r\n" } else { b"" };
    let told = if is_told {
        ", proxy_protocol: require"
    } else {
        ""
    };
    // As it comes, but for the cap on what runs at once, which would be the one to answer.
    let file = directory.write(
        "p.yaml",
        format!(
            "workers: 1\n\
             listeners: {{ web: {{ address: \"127.0.0.1:0\"{told} }} }}\n\
             routes:\n  \
             - {{ match: {{ path: /large/ }}, rewrite: {{ prefix: / }}, upstream: large }}\n  \
             - {{ upstream: pool }}\n\
             upstreams:\n  \
             pool: {{ endpoints: [\"{}\"], connections: {{ max: 10000 }}, bulkhead: off }}\n  \
             large: {{ endpoints: [\"{}\"], connections: {{ max: 10000 }}, bulkhead: off }}\n",
            backend.endpoint(),
            large.endpoint()
        ),
    );
    let process = Process::start(&["run", "-c", &file.display().to_string()]);
    let line = process.wait_for_line("listening on");
    let address = line.split("http://").nth(1).unwrap();
    let address: SocketAddr = address.split(' ').next().unwrap().parse().unwrap();
    let before = memory(&process, "VmRSS:");
    let tally = Arc::<Tally>::default();
    let mut attackers = tokio::task::JoinSet::new();
    for _ in 0..scale.attackers {
        attackers.spawn(attack(kind, address, Arc::clone(&tally)));
    }
    let all = scale.attackers as u64;
    eventually(DEADLINE, || tally.begun.load(Ordering::Relaxed) >= all).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (told_to_stop, opening) = (Arc::clone(&stop), opening.to_vec());
    let behaving = tokio::task::spawn_blocking(move || behave(address, &opening, &told_to_stop));
    let (clock, begun) = (Clock::system(), Instant(0));
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    while clock.now().since(begun) < scale.span {
        ticks.tick().await;
    }
    stop.store(true, Ordering::Relaxed);
    let seen = behaving.await.unwrap();
    let peak = memory(&process, "VmHWM:");
    attackers.shutdown().await;
    let (grown, share) = (peak.saturating_sub(before), seen.success() * 100.0);
    eprintln!(
        "{kind:?}: {} attackers for {:?}, thrown out {} times | victim {} requests, {share:.2} % answered, p50 {:.1} ms, p99 {:.1} ms | memory {:.1} MiB + {:.1} MiB, {:.1} KiB each",
        scale.attackers,
        scale.span,
        tally.thrown_out.load(Ordering::Relaxed),
        seen.latencies.len() + seen.failures,
        seen.quantile(0.5).as_secs_f64() * 1e3,
        seen.quantile(0.99).as_secs_f64() * 1e3,
        before as f64 / 1048576.0,
        grown as f64 / 1048576.0,
        grown as f64 / 1024.0 / scale.attackers as f64,
    );
    assert!(seen.success() >= 0.99, "{kind:?}: {share} %");
    let latency = seen.quantile(scale.quick);
    assert!(latency < QUICK, "{kind:?}: {latency:?}");
    let allowed = 16 * 1024 * 1024 + scale.attackers as u64 * 96 * 1024;
    assert!(
        grown <= allowed,
        "{kind:?}: {grown} bytes, allowed are {allowed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_do_not_slow_down_others() {
    let scale = Scale {
        attackers: 100,
        span: Duration::from_millis(1500),
        // Beside other tests on the same cores: their bursts are in the rest.
        quick: 0.5,
    };
    for kind in ALL {
        fare(kind, &scale).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes three minutes: by hand"]
async fn many_slow_clients_for_longer_than_any_deadline() {
    let scale = Scale {
        attackers: 1000,
        span: Duration::from_secs(30),
        quick: 0.99,
    };
    for kind in ALL {
        fare(kind, &scale).await;
    }
}

/// An answer that the buffers of the system hold as a whole: the proxy is done with it long before its client is.
const BUFFERED: usize = 100_000;

/// A client with little room that has asked for [`BUFFERED`] bytes.
async fn asking(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!("GET /bytes/{BUFFERED} HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Sockets of the system that have this local port and are connected, or were and still hold what was not taken.
fn sockets_of(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{port:04X}");
    let fields = table.lines().map(|line| line.split_whitespace().collect());
    let is_ours = |fields: &Vec<&str>| fields[1].ends_with(&port) && fields[3] != "0A";
    fields.filter(is_ours).count()
}

#[tokio::test]
async fn an_answer_that_nobody_takes_leaves_the_system_once_its_time_is_over() {
    let backend = Backend::start("a");
    let yaml = |send: &str| {
        let listener = format!("timeouts: {{ keep_alive: 300ms, send: {send} }}");
        config(&[backend.endpoint()], &listener, "", "")
    };
    let proxy = Proxy::start(&yaml("24h")).await;
    let port = proxy.address().port();
    let mut stubborn = Vec::new();
    for _ in 0..20 {
        stubborn.push(asking(proxy.address()).await);
    }
    let closed = |proxy: &Proxy, count: u64| {
        proxy.listeners(Metric::ListenerAccepted, "") == count
            && proxy.listeners(Metric::ListenerOpen, "") == 0
    };
    eventually(DEADLINE, || closed(&proxy, 20)).await;
    // No connection is open; what was sent is still there, and stays for as long as it may.
    assert_eq!(sockets_of(port), 20);
    // Whoever is accepted after a reload has as long as it says.
    proxy.reload(&yaml("1s")).await.unwrap();
    let mut later = Vec::new();
    for _ in 0..20 {
        later.push(asking(proxy.address()).await);
    }
    eventually(DEADLINE, || closed(&proxy, 40)).await;
    eventually(DEADLINE, || sockets_of(port) <= 20).await;
    drop(stubborn);
    eventually(DEADLINE, || sockets_of(port) == 0).await;
    // They were reset, not answered in the end.
    for mut client in later {
        let mut answer = Vec::new();
        let read = tokio::time::timeout(DEADLINE, client.read_to_end(&mut answer));
        assert!(read.await.unwrap().is_err());
        assert!(answer.len() < BUFFERED);
    }
}

#[tokio::test]
async fn who_takes_an_answer_slowly_gets_all_of_it_though_the_proxy_has_closed() {
    let backend = Backend::start("a");
    let listener = "timeouts: { keep_alive: 100ms, send: 1s }";
    let proxy = Proxy::start(&config(&[backend.endpoint()], listener, "", "")).await;
    let mut client = asking(proxy.address()).await;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let (mut taken, mut buffer) = (0, [0; 3000]);
    loop {
        ticks.tick().await;
        match client.read(&mut buffer).await.unwrap() {
            0 => break,
            count => taken += count,
        }
    }
    assert!(taken > BUFFERED, "{taken}");
    let held = proxy.listeners(Metric::ListenerOpen, "");
    assert_eq!(held, 0);
}
