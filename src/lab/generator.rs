//! A small open-loop load generator over HTTP/1.1.
//!
//! Requests are sent by a [`Schedule`] that does not wait for answers, and each is timed from the moment at which it
//! was due: a stall of the server, or of this client, shows in full instead of thinning out the requests that
//! would have seen it ("coordinated omission"). A thread of its own keeps the schedule, because the
//! runtime's timer rounds up to whole milliseconds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::schedule::Schedule;
use crate::clock::{Clock, Instant};

/// Requests that are due and wait for a connection; beyond it they count as unsent.
const BACKLOG: usize = 100_000;

/// The longest sleep of the pacing thread, which is how soon it sees that nobody listens any more.
const NAP: Duration = Duration::from_millis(100);

/// What is sent, where to and when.
#[derive(Debug, Clone)]
pub struct Load {
    pub address: SocketAddr,
    /// Sent as `Host`.
    pub host: String,
    /// Paths with their queries, taken in turn.
    pub targets: Vec<String>,
    /// A field that each request carries, with values taken in turn.
    pub field: Option<(HeaderName, Vec<HeaderValue>)>,
    pub schedule: Schedule,
    /// Requests that are due before it are sent and not counted.
    pub warm_up: Duration,
    /// Connections at most, and so requests at once.
    pub connections: usize,
    /// From sending to the end of the answer.
    pub timeout: Duration,
}

/// What became of the requests that were due in one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Second {
    pub due: u64,
    /// Answered with a status of success while the client still waited.
    pub good: u64,
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    Connect,
    /// The connection ended or the answer was malformed.
    Broken,
    Timeout,
}

/// What has happened so far.
#[derive(Debug, Clone)]
pub struct Report {
    /// Microseconds from when a request was due to the end of its answer, for all that were answered.
    pub latency: Histogram<u64>,
    /// Microseconds from when a request was due to when a connection took it up: what this side was late.
    pub lag: Histogram<u64>,
    pub statuses: BTreeMap<StatusCode, u64>,
    /// Answers by the `X-Backend` that they carry.
    pub backends: BTreeMap<String, u64>,
    pub failures: BTreeMap<Failure, u64>,
    /// Requests that were due, those of the warm-up left out as in all counts but the next.
    pub due: u64,
    /// Requests that were due and never sent, because too many already waited.
    pub unsent: u64,
    /// The same second by second, by when requests were due; the warm-up too.
    pub seconds: Vec<Second>,
    /// When the latest request was due, and when the latest was sent; from the start.
    pub last_due: Duration,
    pub last_sent: Duration,
}

impl Report {
    /// Nothing yet.
    pub fn new() -> Self {
        // Three digits up to an hour; the bounds are constants that the crate accepts.
        let micros: Histogram<u64> = Histogram::new_with_bounds(1, 3_600_000_000, 3)
            .expect("1 µs to an hour at three digits is a valid histogram");
        Self {
            latency: micros.clone(),
            lag: micros,
            statuses: BTreeMap::new(),
            backends: BTreeMap::new(),
            failures: BTreeMap::new(),
            due: 0,
            unsent: 0,
            seconds: Vec::new(),
            last_due: Duration::ZERO,
            last_sent: Duration::ZERO,
        }
    }

    /// Requests that were answered, whatever the status.
    pub fn answered(&self) -> u64 {
        self.latency.len()
    }

    /// Requests that were sent and not answered.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Whether the load was the one asked for: all was sent, and at 99 % of the rate or more. Otherwise
    /// the latencies are those of another load, and void.
    pub fn kept_pace(&self) -> bool {
        let allowed = self.last_due.mul_f64(1.01) + Duration::from_millis(20);
        self.unsent == 0 && self.last_sent <= allowed
    }

    /// The second in which a request is due.
    fn second(&mut self, due: Duration) -> Option<&mut Second> {
        let number = usize::try_from(due.as_secs()).ok()?;
        if self.seconds.len() <= number {
            self.seconds.resize(number + 1, Second::default());
        }
        self.seconds.get_mut(number)
    }

    fn record(&mut self, lag: Duration, waited: Duration, outcome: Result<Answer, Failure>) {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
        self.lag.saturating_record(micros(lag));
        match outcome {
            Ok(answer) => {
                self.latency.saturating_record(micros(waited));
                *self.statuses.entry(answer.status).or_default() += 1;
                if let Some(backend) = answer.backend {
                    *self.backends.entry(backend).or_default() += 1;
                }
            }
            Err(failure) => *self.failures.entry(failure).or_default() += 1,
        }
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

struct Answer {
    status: StatusCode,
    backend: Option<String>,
}

/// Counts that grow while the load runs.
pub type Tally = Arc<Mutex<Report>>;

/// Sends the whole load and waits for the last answer; `tally` may be read meanwhile. Dropping the future
/// stops the load.
pub async fn run(load: Load, clock: Clock, tally: Tally) {
    run_until(load, clock, tally, std::future::pending()).await;
}

/// The same, but that nothing more is sent once `stop` has come. What was due before is sent, and answered.
pub async fn run_until(load: Load, clock: Clock, tally: Tally, stop: impl Future<Output = ()>) {
    let start = clock.now();
    let (due, queue) = mpsc::channel(BACKLOG);
    let (schedule, warm_up) = (load.schedule.clone(), load.warm_up);
    let pacing = Arc::clone(&tally);
    std::thread::spawn(move || pace(schedule, warm_up, clock, start, &due, &pacing));

    let queue = Arc::new(tokio::sync::Mutex::new(queue));
    let load = Arc::new(load);
    let mut clients = JoinSet::new();
    for _ in 0..load.connections.max(1) {
        let client = Client {
            load: Arc::clone(&load),
            clock,
            start,
            queue: Arc::clone(&queue),
            tally: Arc::clone(&tally),
        };
        clients.spawn(client.run());
    }
    let stopping = async {
        stop.await;
        queue.lock().await.close();
        std::future::pending().await
    };
    tokio::select! {
        () = stopping => {}
        () = async { while clients.join_next().await.is_some() {} } => {}
    }
}

/// Hands over each request when it is due.
fn pace(
    schedule: Schedule,
    warm_up: Duration,
    clock: Clock,
    start: Instant,
    queue: &mpsc::Sender<(u64, Duration)>,
    tally: &Mutex<Report>,
) {
    for (number, due) in (0u64..).zip(schedule) {
        loop {
            let left = (start + due).since(clock.now());
            if left.is_zero() {
                break;
            }
            if queue.is_closed() {
                return;
            }
            std::thread::sleep(clock.real(left).min(NAP));
        }
        // Held meanwhile, so that no request is counted as answered before it is as due.
        let mut report = tally.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = queue.try_send((number, due));
        if matches!(outcome, Err(mpsc::error::TrySendError::Closed(_))) {
            return;
        }
        report.due += u64::from(due >= warm_up);
        if let Some(second) = report.second(due) {
            second.due += 1;
        }
        report.last_due = due;
        report.unsent += u64::from(outcome.is_err());
    }
}

/// One connection, which takes whatever request is due next.
struct Client {
    load: Arc<Load>,
    clock: Clock,
    start: Instant,
    queue: Arc<tokio::sync::Mutex<mpsc::Receiver<(u64, Duration)>>>,
    tally: Tally,
}

impl Client {
    async fn run(self) {
        let mut connection = None;
        loop {
            let next = self.queue.lock().await.recv().await;
            let Some((number, due)) = next else { return };
            let sent = self.clock.now().since(self.start);
            let exchange = self.exchange(&mut connection, number);
            let outcome = tokio::time::timeout(self.load.timeout, exchange).await;
            let outcome = outcome.unwrap_or(Err(Failure::Timeout));
            if outcome.is_err() {
                // What it would still carry belongs to the request that failed.
                connection = None;
            }
            let waited = self.clock.now().since(self.start + due);
            let mut report = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            report.last_sent = report.last_sent.max(sent);
            let is_good = matches!(&outcome, Ok(answer) if answer.status.is_success());
            if let Some(second) = report.second(due).filter(|_| is_good) {
                second.good += 1;
            }
            if due >= self.load.warm_up {
                report.record(sent.saturating_sub(due), waited, outcome);
            }
        }
    }

    async fn exchange(
        &self,
        connection: &mut Option<SendRequest<Empty<Bytes>>>,
        number: u64,
    ) -> Result<Answer, Failure> {
        let ready = match connection {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !ready {
            *connection = Some(self.connect().await?);
        }
        let sender = connection.as_mut().ok_or(Failure::Connect)?;

        let targets = &self.load.targets;
        let turn = number as usize % targets.len().max(1);
        let target = targets.get(turn).map_or("/", String::as_str);
        let mut request = Request::get(target).header(header::HOST, &self.load.host);
        if let Some((name, values)) = &self.load.field {
            let value = values.get(number as usize % values.len().max(1));
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let request = request.body(Empty::new()).map_err(|_| Failure::Broken)?;
        let response = sender.send_request(request).await;
        let response = response.map_err(|_| Failure::Broken)?;
        let backend = response.headers().get("x-backend");
        let answer = Answer {
            status: response.status(),
            backend: backend.and_then(|label| label.to_str().ok().map(str::to_owned)),
        };
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|_| Failure::Broken)?;
        }
        Ok(answer)
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, Failure> {
        let stream = TcpStream::connect(self.load.address).await;
        let stream = stream.map_err(|_| Failure::Connect)?;
        stream.set_nodelay(true).map_err(|_| Failure::Connect)?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, driver) = handshake.map_err(|_| Failure::Connect)?;
        // Ends with its sender.
        tokio::spawn(driver);
        Ok(sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::Address;
    use crate::entropy::Random;
    use crate::lab::backend::{Backend, Behaviour, Settings};
    use crate::lab::distribution::StatusShare;
    use crate::lab::schedule::Arrivals;

    fn load(address: SocketAddr, rate: f64, length: Duration) -> Load {
        Load {
            address,
            host: "lab".to_owned(),
            targets: vec!["/".to_owned(), "/bytes/100".to_owned()],
            field: None,
            schedule: Schedule::new(Arrivals::Uniform, rate, Some(length), Random::seeded(0)),
            warm_up: Duration::ZERO,
            connections: 4,
            timeout: Duration::from_secs(5),
        }
    }

    fn tcp(backend: &Backend) -> SocketAddr {
        match backend.address() {
            Address::Tcp(address) => *address,
            Address::Unix(_) => unreachable!("local settings bind TCP"),
        }
    }

    #[tokio::test]
    async fn every_request_of_the_schedule_is_sent_and_counted() {
        let mut behaviour = Behaviour::labelled("a");
        behaviour.statuses = vec!["503:1".parse::<StatusShare>().unwrap()];
        let backend = Backend::start(Settings::local(behaviour)).await.unwrap();
        let tally = Tally::default();
        let load = load(tcp(&backend), 1000.0, Duration::from_millis(200));
        run(load, Clock::system(), Arc::clone(&tally)).await;

        let report = tally.lock().unwrap();
        assert_eq!(
            (report.due, report.answered(), report.failed()),
            (200, 200, 0)
        );
        assert_eq!(report.statuses[&StatusCode::SERVICE_UNAVAILABLE], 200);
        assert_eq!(report.backends["a"], 200);
        assert_eq!(report.seconds, [Second { due: 200, good: 0 }]);
        assert_eq!(backend.counters().requests(), 200);
        assert!(backend.counters().accepted() <= 4);
    }

    #[tokio::test]
    async fn a_request_that_waits_for_a_connection_counts_its_wait() {
        // Each answer takes 20 ms on the only connection and ten are due at once, so the last waits for nine.
        let mut behaviour = Behaviour::labelled("slow");
        behaviour.latency = "20ms".parse().unwrap();
        let backend = Backend::start(Settings::local(behaviour)).await.unwrap();
        let tally = Tally::default();
        let mut load = load(tcp(&backend), 10_000.0, Duration::from_millis(1));
        load.connections = 1;
        run(load, Clock::system(), Arc::clone(&tally)).await;

        let report = tally.lock().unwrap();
        assert_eq!(report.answered(), 10);
        assert!(report.latency.max() >= 190_000, "{}", report.latency.max());
        assert!(!report.kept_pace());
    }

    #[tokio::test]
    async fn the_warm_up_is_sent_and_not_counted() {
        let backend = Backend::start(Settings::local(Behaviour::labelled("a")))
            .await
            .unwrap();
        let tally = Tally::default();
        let mut load = load(tcp(&backend), 1000.0, Duration::from_millis(100));
        load.warm_up = Duration::from_millis(40);
        run(load, Clock::system(), Arc::clone(&tally)).await;

        let report = tally.lock().unwrap();
        assert_eq!(backend.counters().requests(), 100);
        assert_eq!((report.due, report.answered()), (60, 60));
        assert_eq!(report.lag.len(), 60);
    }

    #[tokio::test]
    async fn a_load_without_end_is_stopped_and_all_that_was_due_is_answered() {
        let backend = Backend::start(Settings::local(Behaviour::labelled("a")))
            .await
            .unwrap();
        let tally = Tally::default();
        let mut load = load(tcp(&backend), 2000.0, Duration::ZERO);
        load.schedule = Schedule::new(Arrivals::Uniform, 2000.0, None, Random::seeded(0));
        let seen = Arc::clone(&tally);
        let stop = async {
            while seen.lock().unwrap().answered() < 50 {
                tokio::task::yield_now().await;
            }
        };
        run_until(load, Clock::system(), Arc::clone(&tally), stop).await;

        let report = tally.lock().unwrap();
        assert!(report.due >= 50, "{}", report.due);
        assert_eq!((report.answered(), report.failed()), (report.due, 0));
        assert_eq!(report.unsent, 0);
        assert_eq!(backend.counters().requests(), report.due);
    }

    #[tokio::test]
    async fn the_values_of_the_field_are_sent_in_turn() {
        use std::io::{Read, Write};

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heads = Vec::new();
            for _ in 0..3 {
                let mut head = [0; 1024];
                let length = stream.read(&mut head).unwrap();
                heads.push(String::from_utf8_lossy(&head[..length]).into_owned());
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).unwrap();
            }
            heads
        });
        let mut load = load(address, 1000.0, Duration::from_millis(3));
        load.connections = 1;
        let values = ["ann", "bob"].map(HeaderValue::from_static);
        load.field = Some((HeaderName::from_static("x-user"), values.to_vec()));
        run(load, Clock::system(), Tally::default()).await;

        let heads = server.join().unwrap();
        for (head, user) in heads.iter().zip(["ann", "bob", "ann"]) {
            assert!(head.contains(&format!("x-user: {user}\r\n")), "{head}");
        }
    }

    #[tokio::test]
    async fn failures_are_told_apart() {
        let backend = Backend::start(Settings::local(Behaviour::labelled("a")))
            .await
            .unwrap();
        let address = tcp(&backend);
        for (target, failure) in [("/gone", Failure::Broken), ("/hang", Failure::Timeout)] {
            let tally = Tally::default();
            let mut load = load(address, 1000.0, Duration::from_millis(3));
            load.targets = vec![target.to_owned()];
            load.timeout = Duration::from_millis(50);
            run(load, Clock::system(), Arc::clone(&tally)).await;
            assert_eq!(tally.lock().unwrap().failures[&failure], 3, "{target}");
        }
    }
}
