//! Reloads under load: no request fails and no stream is cut, whatever is changed; and nothing of what was replaced stays.
//!
//! The short ones run with all tests. The long ones print the tables of `.ci/long/reloads.sh`, which runs them.

#![allow(
    clippy::print_stdout,
    reason = "what was measured is shown, as a table"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::{Request, StatusCode};
use plimsoll::lab::generator::Report;
use plimsoll::limit::auth::key_line;
use rustls::ClientConfig;
use tokio::time::interval;

use crate::grpc::{self, Messages, message};
use crate::harness::{
    Authority, Backend, Client, Directory, Loading, Outgoing, Program, WebSocket, pattern, within,
};

/// How much of it.
struct Size {
    reloads: u32,
    /// Requests per second.
    rate: f64,
    /// Between two reloads.
    pause: Duration,
    /// WebSockets, gRPC streams and downloads at once, of each.
    streams: usize,
}

impl Size {
    fn length(&self) -> Duration {
        self.pause * (self.reloads + 4)
    }
}

/// What the file says; each reload changes one thing of it.
struct Written {
    weight: u32,
    has_second: bool,
    routes: u32,
    idle: u32,
    has_extra: bool,
    certificate: String,
    /// Who may enter the route that asks: whoever has the key of this number.
    partner: u32,
}

const KINDS: [&str; 10] = [
    "weights",
    "endpoint removed",
    "endpoint added",
    "route",
    "limits",
    "certificate",
    "listener added",
    "listener removed",
    "auth",
    "invalid file",
];

impl Written {
    /// Makes the change of this number, and says whether it can be put in force.
    fn change(&mut self, number: u32, site: &Site) -> bool {
        match KINDS[number as usize % KINDS.len()] {
            "weights" => self.weight = 1 + number % 7,
            "endpoint removed" => self.has_second = false,
            "endpoint added" => self.has_second = true,
            "route" => self.routes += 1,
            "limits" => self.idle = 32 + number % 32,
            "certificate" => {
                site.renew();
            }
            "listener added" => self.has_extra = true,
            "listener removed" => self.has_extra = false,
            "auth" => {
                self.partner = number;
                site.let_in(number);
            }
            _ => return false,
        }
        true
    }

    fn yaml(&self, site: &Site, first: &str, second: &str, calls: &str) -> String {
        let second = if self.has_second {
            format!(", {second:?}")
        } else {
            String::new()
        };
        let extra = if self.has_extra {
            "  extra: { address: \"127.0.0.1:0\" }\n"
        } else {
            ""
        };
        let keys = site.directory.path().join("keys").display().to_string();
        let routes: String = (0..self.routes % 10)
            .map(|route| {
                format!("  - {{ match: {{ path: /gone/{route} }}, respond: {{ status: 410 }} }}\n")
            })
            .collect();
        format!(
            "listeners:\n  web: {{ address: \"127.0.0.1:0\", limits: {{ connections: 2{:03} }} }}\n  \
             secure: {{ address: \"127.0.0.1:0\", tls: {} }}\n{extra}\
             routes:\n{routes}\
             \x20 - {{ name: partner-{}, match: {{ path: /partners/ }}, respond: {{ status: 204 }}, \
             auth: {{ api_key: {{ keys_file: {keys:?} }}, identity_header: X-Partner-{} }} }}\n\
             \x20 - {{ match: {{ path: /test.Echo/ }}, upstream: calls }}\n\
             \x20 - {{ match: {{ path: / }}, upstream: pool, limits: [per_client] }}\n\
             upstreams:\n  pool:\n    endpoints: [ {{ address: {first:?}, weight: {} }}{second} ]\n    \
             connections: {{ idle: {} }}\n  calls: {{ endpoints: [{calls:?}], protocol: h2 }}\n\
             rate_limits: {{ per_client: {{ key: client_ip, rate: 9{:03}00/s }} }}\n\
             admin: {{ address: \"127.0.0.1:0\" }}\nwatch: off\n",
            self.idle,
            self.certificate,
            self.partner,
            self.partner,
            self.weight,
            self.idle,
            self.idle
        )
    }
}

/// The certificates of the listener with TLS.
struct Site {
    authority: Authority,
    directory: Directory,
}

impl Site {
    /// Has the file of keys hold that of this number alone.
    fn let_in(&self, number: u32) {
        let key = format!("key-{number}");
        let line = key_line("partner", key.as_bytes());
        self.directory.write("keys", line);
    }

    fn renew(&self) -> String {
        let identity = self.authority.identity(&["localhost"]);
        let (cert, key) = identity.write(&self.directory, "site");
        format!("{{ certificates: [ {{ cert: {cert:?}, key: {key:?} }} ] }}")
    }
}

/// Clients beside the load that keep streams open, each on a thread or task of its own, until they are told to stop.
struct Company {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Company {
    fn start(web: SocketAddr, secure: SocketAddr, trust: Arc<ClientConfig>, count: usize) -> Self {
        let mut company = Self {
            stop: Arc::default(),
            rounds: Arc::default(),
            threads: Vec::new(),
        };
        company.spawn(move |stop, rounds| {
            let open = || WebSocket::open(web, "/ws").unwrap();
            let mut sockets: Vec<WebSocket> = (0..count).map(|_| open()).collect();
            while !stop.load(Ordering::Relaxed) {
                for socket in &mut sockets {
                    socket.expect_echo("still here");
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        company.spawn(move |stop, rounds| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut all = tokio::task::JoinSet::new();
                for _ in 0..count {
                    all.spawn(talk(web, Arc::clone(&stop), Arc::clone(&rounds)));
                    all.spawn(download(web, Arc::clone(&stop), Arc::clone(&rounds)));
                }
                let trust = Arc::clone(&trust);
                all.spawn(knock(secure, trust, Arc::clone(&stop), Arc::clone(&rounds)));
                while let Some(done) = all.join_next().await {
                    done.unwrap();
                }
            });
        });
        company
    }

    fn spawn(&mut self, run: impl FnOnce(Arc<AtomicBool>, Arc<AtomicU64>) + Send + 'static) {
        let (stop, rounds) = (Arc::clone(&self.stop), Arc::clone(&self.rounds));
        self.threads
            .push(std::thread::spawn(move || run(stop, rounds)));
    }

    /// How often they were answered, and how many of them were cut.
    fn finish(self) -> (u64, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let joined: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        let cut = joined.iter().filter(|ended| ended.is_err()).count();
        (self.rounds.load(Ordering::Relaxed), cut)
    }
}

/// One gRPC stream for the whole time.
async fn talk(web: SocketAddr, stop: Arc<AtomicBool>, rounds: Arc<AtomicU64>) {
    let mut client = Client::h2(web).await;
    let (mut upload, body) = Outgoing::pieces();
    let response = client
        .open(grpc::call("/test.Echo/Talk", body))
        .await
        .unwrap();
    let mut answers = Messages::of(response.into_body());
    let mut pace = interval(Duration::from_millis(20));
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        assert!(upload.send(message("still here")).await);
        assert_eq!(answers.next().await.as_deref(), Some("echo still here"));
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// Downloads of two seconds each, one after the other.
async fn download(web: SocketAddr, stop: Arc<AtomicBool>, rounds: Arc<AtomicU64>) {
    let whole = pattern(100_000);
    while !stop.load(Ordering::Relaxed) {
        let answer = Client::h1(web).await.get("/chunked/100000/1000/20").await;
        assert!(answer.status == StatusCode::OK && answer.body == whole);
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// New connections over TLS, one after the other.
async fn knock(
    secure: SocketAddr,
    trust: Arc<ClientConfig>,
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
) {
    let mut pace = interval(Duration::from_millis(50));
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let mut client = Client::tls(secure, &trust).await;
        assert_eq!(client.get("/").await.status, StatusCode::OK);
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// What stands around the program.
struct World {
    backends: [Backend; 2],
    calls: String,
    site: Site,
    written: Written,
    program: Program,
}

impl World {
    fn start() -> Self {
        let backends = [Backend::start("a"), Backend::start("b")];
        let site = Site {
            authority: Authority::new(),
            directory: Directory::new(),
        };
        site.let_in(0);
        let calls = serve_calls().to_string();
        let written = Written {
            weight: 1,
            has_second: true,
            routes: 0,
            idle: 64,
            has_extra: false,
            certificate: site.renew(),
            partner: 0,
        };
        let yaml = written.yaml(
            &site,
            &backends[0].endpoint(),
            &backends[1].endpoint(),
            &calls,
        );
        Self {
            program: Program::start(&yaml),
            backends,
            calls,
            site,
            written,
        }
    }

    fn listener(&self, name: &str) -> SocketAddr {
        let line = self.program.process.wait_for_line(&format!("({name})"));
        let url = line.split_whitespace().nth(2).unwrap();
        url.rsplit('/').next().unwrap().parse().unwrap()
    }

    /// Makes the change of this number, has it put in force, and gives the answer.
    async fn reload(&mut self, number: u32) -> serde_json::Value {
        let is_valid = self.written.change(number, &self.site);
        let [first, second] = &self.backends;
        let yaml = self.written.yaml(
            &self.site,
            &first.endpoint(),
            &second.endpoint(),
            &self.calls,
        );
        let yaml = if is_valid { yaml } else { yaml + "wrong\n" };
        self.program.directory.write("plimsoll.yaml", yaml);
        let mut client = Client::h1(self.program.admin()).await;
        let answer = client.post("/api/v1/reload", "").await;
        let expected = if is_valid { 200 } else { 409 };
        assert_eq!(answer.status.as_u16(), expected, "{}", answer.text());
        if KINDS[number as usize % KINDS.len()] == "auth" {
            self.assert_lets_in(number).await;
        }
        answer.json()
    }

    /// The key of this number opens, and soon no other.
    async fn assert_lets_in(&self, number: u32) {
        let mut client = Client::h1(self.listener("web")).await;
        let mut status = async |key: String| {
            let request = Request::get("/partners/").header("x-api-key", key);
            let request = request.body(Outgoing::empty()).unwrap();
            client.send(request).await.status.as_u16()
        };
        // The worker takes the configuration up after the reload was answered.
        within(async { while status(format!("key-{number}")).await != 204 {} }).await;
        assert_eq!(status("key-0".to_owned()).await, 401);
    }

    /// Load and streams for a while, with these reloads in between.
    async fn run(&mut self, size: &Size, reloads: u32) -> Measured {
        let (web, secure) = (self.listener("web"), self.listener("secure"));
        let trust = self.site.authority.client(&["h2"]);
        let company = Company::start(web, secure, trust, size.streams);
        let load = Loading::start(web, size.rate, size.length());
        let mut pace = interval(size.pause);
        pace.tick().await;
        for number in 0..reloads {
            pace.tick().await;
            self.reload(number).await;
        }
        let report = tokio::task::spawn_blocking(|| load.finish()).await.unwrap();
        let (rounds, cut) = tokio::task::spawn_blocking(|| company.finish())
            .await
            .unwrap();
        Measured {
            report,
            rounds,
            cut,
        }
    }
}

struct Measured {
    report: Report,
    rounds: u64,
    cut: usize,
}

impl Measured {
    fn assert_nothing_lost(&self) {
        let Report {
            statuses, failures, ..
        } = &self.report;
        assert!(
            failures.is_empty() && self.report.unsent == 0 && self.cut == 0,
            "{failures:?}, {} unsent, {} cut",
            self.report.unsent,
            self.cut
        );
        assert_eq!(
            statuses.keys().copied().collect::<Vec<_>>(),
            [StatusCode::OK]
        );
        assert!(self.rounds > 0);
    }

    fn row(&self, what: &str) -> String {
        let at = |share: f64| self.report.latency.value_at_quantile(share) as f64 / 1000.0;
        format!(
            "{what:<22}{:>9}{:>8}{:>9}{:>6}{:>10.2}{:>10.2}{:>10.2}",
            self.report.answered(),
            self.report.failed() + self.report.unsent,
            self.rounds,
            self.cut,
            at(0.5),
            at(0.99),
            at(0.999),
        )
    }
}

/// Serves gRPC on a thread of its own, which ends with the process.
fn serve_calls() -> SocketAddr {
    let (told, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            told.send(grpc::server().await).unwrap();
            std::future::pending::<()>().await;
        });
    });
    address.recv().unwrap()
}

#[tokio::test]
async fn reloads_of_every_kind_under_load_lose_nothing() {
    let size = Size {
        reloads: 20,
        rate: 200.0,
        pause: Duration::from_millis(100),
        streams: 2,
    };
    let mut world = World::start();
    let measured = world.run(&size, size.reloads).await;
    measured.assert_nothing_lost();
}

/// The table of 100 reloads at 2000 requests per second, with and without.
#[tokio::test]
#[ignore = "takes a minute and two cores: .ci/long/reloads.sh"]
async fn a_hundred_reloads_under_load_lose_nothing() {
    let rate = std::env::var("RATE")
        .ok()
        .and_then(|rate| rate.parse().ok());
    let size = Size {
        reloads: 100,
        rate: rate.unwrap_or(2000.0),
        pause: Duration::from_millis(200),
        streams: 8,
    };
    let mut world = World::start();
    let without = world.run(&size, 0).await;
    let with = world.run(&size, size.reloads).await;
    println!(
        "{:<22}{:>9}{:>8}{:>9}{:>6}{:>10}{:>10}{:>10}",
        "", "answered", "failed", "echoes", "cut", "p50 ms", "p99 ms", "p99.9 ms"
    );
    println!("{}", without.row("without reloads"));
    println!("{}", with.row(&format!("with {} reloads", size.reloads)));
    without.assert_nothing_lost();
    with.assert_nothing_lost();
}

/// A value of the memory of a process, in KiB.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// So many reloads, with a WebSocket opened on every tenth generation that stays open. Gives the resident KiB after each tenth
/// part of them.
async fn many(world: &mut World, reloads: u32) -> (Vec<u64>, Vec<WebSocket>) {
    let web = world.listener("web");
    let (mut sizes, mut sockets, mut older) = (Vec::new(), Vec::new(), 0);
    for number in 1..=reloads {
        let told = world.reload(number).await;
        if let Some(all) = told["changes"]["older"].as_array() {
            older = all.len();
        }
        if number % 10 == 0 {
            let open = move || WebSocket::open(web, "/ws").unwrap();
            sockets.push(within(tokio::task::spawn_blocking(open)).await.unwrap());
        }
        if number % (reloads / 10) == 0 {
            sizes.push(resident(world.program.process.id()));
            println!(
                "{number:>8}{:>12}{:>10}{older:>12}",
                sizes.last().unwrap(),
                sockets.len()
            );
        }
    }
    (sizes, sockets)
}

/// Closes all, and sees that nothing of what was replaced is left.
async fn close(world: &mut World, sockets: Vec<WebSocket>) {
    let closing = move || {
        for mut socket in sockets {
            socket.expect_echo("still here");
            socket.close();
        }
    };
    within(tokio::task::spawn_blocking(closing)).await.unwrap();
    let alive = async || {
        let mut client = Client::h1(world.program.admin()).await;
        let answer = client.get("/metrics").await;
        answer
            .text()
            .contains("plimsoll_config_generations_alive 1\n")
    };
    within(async { while !alive().await {} }).await;
}

#[tokio::test]
async fn what_was_replaced_is_gone_with_its_last_stream() {
    let mut world = World::start();
    let (_, sockets) = many(&mut world, 30).await;
    let told = world.reload(31).await;
    assert_eq!(
        told["changes"]["older"].as_array().unwrap().len(),
        3,
        "{told}"
    );
    close(&mut world, sockets).await;
}

/// The table of 1000 reloads.
#[tokio::test]
#[ignore = "takes a minute: .ci/long/reloads.sh"]
async fn a_thousand_reloads_leave_nothing_behind() {
    let mut world = World::start();
    println!(
        "{:>8}{:>12}{:>10}{:>12}",
        "reloads", "KiB", "sockets", "older"
    );
    let (sizes, sockets) = many(&mut world, 1000).await;
    close(&mut world, sockets).await;
    let closed = resident(world.program.process.id());
    for number in 0..1000 {
        world.reload(number).await;
    }
    let end = resident(world.program.process.id());
    println!("all sockets closed: {closed} KiB; after 1000 reloads more: {end} KiB");
    // What a WebSocket costs by itself, with its two connections, and what an allocator keeps for later, is in it: 8 MiB would be
    // 16 KiB for each of the 500 generations of the second half.
    let (half, last) = (sizes[4], sizes[9]);
    assert!(last < half + 8 * 1024, "{sizes:?}");
    assert!(end < closed + 8 * 1024, "{closed} and {end}");
}
