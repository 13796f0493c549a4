//! Traffic that shows what is lost: requests at a steady rate, and beside them streams of every kind that nobody may cut.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::StatusCode;
use plimsoll::clock::Clock;
use plimsoll::entropy::Random;
use plimsoll::lab::generator::{self, Load, Report, Tally};
use plimsoll::lab::schedule::{Arrivals, Schedule};
use rustls::ClientConfig;
use tokio::sync::oneshot;
use tokio::time::interval;

use super::grpc::{self, Messages, message};
use super::{Client, DEADLINE, Outgoing, WebSocket, pattern};

/// Requests over a few connections that are kept, on a thread of its own, so that a test that blocks does not hold them up.
/// It goes on until it is finished.
pub struct Loading {
    tally: Tally,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Loading {
    /// `rate` is in requests per second.
    pub fn start(address: SocketAddr, rate: f64) -> Self {
        let tally = Tally::default();
        let counted = Arc::clone(&tally);
        let load = Load {
            address,
            host: "test".to_owned(),
            targets: vec!["/".to_owned()],
            field: None,
            schedule: Schedule::new(Arrivals::Uniform, rate, None, Random::seeded(1)),
            warm_up: Duration::ZERO,
            connections: 8,
            timeout: DEADLINE,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let stopped = async {
                let _ = stopped.await;
            };
            alone(generator::run_until(
                load,
                Clock::system(),
                counted,
                stopped,
            ));
        });
        Self {
            tally,
            stop,
            thread,
        }
    }

    /// Sends no more, and waits for the last answer.
    pub fn finish(self) -> Report {
        let _ = self.stop.send(());
        self.thread.join().unwrap();
        let report = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        report.clone()
    }
}

/// Runs to the end on a runtime of this thread.
fn alone(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future);
}

/// How much traffic, and where to.
#[derive(Clone)]
pub struct Traffic {
    pub web: SocketAddr,
    /// A listener with TLS, and what its clients trust.
    pub secure: (SocketAddr, Arc<ClientConfig>),
    /// Requests per second.
    pub rate: f64,
    /// WebSockets, gRPC streams and downloads at once, of each.
    pub streams: usize,
    /// How long a stream goes on before it ends by itself, and another takes its place.
    pub life: Duration,
}

/// Requests per second of a long test: `RATE` of the environment, for a slower machine.
pub fn long_rate() -> f64 {
    let written = std::env::var("RATE").ok();
    written.map_or(2000.0, |rate| rate.parse().unwrap())
}

/// What streams have come to so far.
#[derive(Default)]
struct Told {
    stop: AtomicBool,
    /// Answers within them, and over TLS.
    echoes: AtomicU64,
    /// Streams that came to their own end.
    whole: AtomicU64,
    cut: Mutex<Vec<String>>,
}

impl Told {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn echo(&self) {
        self.echoes.fetch_add(1, Ordering::Relaxed);
    }
}

/// Traffic that is on its way.
pub struct Running {
    load: Loading,
    told: Arc<Told>,
    thread: JoinHandle<()>,
}

impl Traffic {
    pub fn start(self) -> Running {
        let load = Loading::start(self.web, self.rate);
        let told = Arc::<Told>::default();
        let known = Arc::clone(&told);
        let thread = std::thread::spawn(move || alone(self.stream(known)));
        Running { load, told, thread }
    }

    /// Keeps all streams going until it is told to stop.
    async fn stream(self, told: Arc<Told>) {
        let mut all = tokio::task::JoinSet::new();
        let (web, life) = (self.web, self.life);
        for _ in 0..self.streams {
            let known = Arc::clone(&told);
            all.spawn(renew(Arc::clone(&told), "WebSocket", move || {
                let known = Arc::clone(&known);
                tokio::task::spawn_blocking(move || converse(web, life, &known))
            }));
            let known = Arc::clone(&told);
            all.spawn(renew(Arc::clone(&told), "gRPC stream", move || {
                tokio::spawn(talk(web, life, Arc::clone(&known)))
            }));
            let known = Arc::clone(&told);
            all.spawn(renew(Arc::clone(&told), "download", move || {
                tokio::spawn(download(web, life, Arc::clone(&known)))
            }));
        }
        let (address, trust) = self.secure;
        let known = Arc::clone(&told);
        all.spawn(renew(told, "connection over TLS", move || {
            tokio::spawn(knock(address, Arc::clone(&trust), Arc::clone(&known)))
        }));
        all.join_all().await;
    }
}

/// Begins one stream after the other until it is told to stop, or one is cut.
async fn renew(told: Arc<Told>, what: &str, begin: impl Fn() -> tokio::task::JoinHandle<()>) {
    while !told.is_over() {
        if let Err(error) = begin().await {
            let mut cut = told.cut.lock().unwrap();
            cut.push(format!("{what}: {error}"));
            return;
        }
        told.whole.fetch_add(1, Ordering::Relaxed);
    }
}

/// Between two messages of a stream.
const PACE: Duration = Duration::from_millis(20);

/// One WebSocket. Blocks.
fn converse(web: SocketAddr, life: Duration, told: &Told) {
    let mut socket = WebSocket::open(web, "/ws").unwrap();
    let clock = Clock::system();
    let begun = clock.now();
    while !told.is_over() && clock.now().since(begun) < life {
        socket.expect_echo("still here");
        told.echo();
        std::thread::park_timeout(PACE);
    }
    socket.close();
}

/// One gRPC stream.
async fn talk(web: SocketAddr, life: Duration, told: Arc<Told>) {
    let mut client = Client::h2(web).await;
    let (mut upload, body) = Outgoing::pieces();
    let response = client.open(grpc::call("/test.Echo/Talk", body)).await;
    let mut answers = Messages::of(response.unwrap().into_body());
    let clock = Clock::system();
    let begun = clock.now();
    let mut pace = interval(PACE);
    while !told.is_over() && clock.now().since(begun) < life {
        pace.tick().await;
        assert!(upload.send(message("still here")).await);
        assert_eq!(answers.next().await.as_deref(), Some("echo still here"));
        told.echo();
    }
    drop(upload);
    assert_eq!(answers.next().await, None);
    assert_eq!(answers.trailers["grpc-status"], "0");
}

/// One download, which takes as long as another stream, so far as a test waits for an answer.
async fn download(web: SocketAddr, life: Duration, told: Arc<Told>) {
    let pieces = life.min(DEADLINE / 4).as_millis() / PACE.as_millis();
    let length = pieces as usize * 1000;
    let path = format!("/chunked/{length}/1000/{}", PACE.as_millis());
    let response = Client::h1(web).await.get(&path).await;
    assert!(response.status == StatusCode::OK && response.body == pattern(length));
    told.echo();
}

/// A new connection over TLS.
async fn knock(secure: SocketAddr, trust: Arc<ClientConfig>, told: Arc<Told>) {
    let mut pace = interval(Duration::from_millis(50));
    pace.tick().await;
    let mut client = Client::tls(secure, &trust).await;
    assert_eq!(client.get("/").await.status, StatusCode::OK);
    told.echo();
    pace.tick().await;
}

impl Running {
    /// Sends no more and opens no more, and waits until all that is open has come to its end.
    pub async fn finish(self) -> Measured {
        let joining = tokio::task::spawn_blocking(move || {
            self.told.stop.store(true, Ordering::Relaxed);
            let report = self.load.finish();
            self.thread.join().unwrap();
            Measured {
                report,
                echoes: self.told.echoes.load(Ordering::Relaxed),
                whole: self.told.whole.load(Ordering::Relaxed),
                cut: std::mem::take(&mut *self.told.cut.lock().unwrap()),
            }
        });
        joining.await.unwrap()
    }
}

/// What came of it.
pub struct Measured {
    report: Report,
    echoes: u64,
    whole: u64,
    /// What was lost, each with the reason.
    cut: Vec<String>,
}

impl Measured {
    /// Every request was answered with 200, and every stream came to its own end.
    #[track_caller]
    pub fn assert_nothing_lost(&self) {
        let Report {
            statuses,
            failures,
            unsent,
            ..
        } = &self.report;
        assert!(
            failures.is_empty() && *unsent == 0 && self.cut.is_empty(),
            "{failures:?}, {unsent} unsent, cut: {:?}",
            self.cut
        );
        assert_eq!(self.report.answered(), self.report.due);
        assert_eq!(
            statuses.keys().copied().collect::<Vec<_>>(),
            [StatusCode::OK]
        );
        assert!(self.echoes > 0 && self.whole > 0);
    }

    /// What stands above the rows of a table.
    pub fn headings() -> String {
        format!(
            "{:<22}{:>9}{:>8}{:>9}{:>9}{:>6}{:>10}{:>10}{:>10}",
            "", "answered", "failed", "echoes", "streams", "cut", "p50 ms", "p99 ms", "p99.9 ms"
        )
    }

    pub fn row(&self, what: &str) -> String {
        let at = |share: f64| self.report.latency.value_at_quantile(share) as f64 / 1000.0;
        format!(
            "{what:<22}{:>9}{:>8}{:>9}{:>9}{:>6}{:>10.2}{:>10.2}{:>10.2}",
            self.report.answered(),
            self.report.failed() + self.report.unsent,
            self.echoes,
            self.whole,
            self.cut.len(),
            at(0.5),
            at(0.99),
            at(0.999),
        )
    }
}
