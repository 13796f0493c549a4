//! Reloads under load: no request fails and no stream is cut, whatever is changed; and nothing of what was replaced stays.
//!
//! The short ones run with all tests. The long ones print the tables of `.ci/long/reloads.sh`, which runs them.

#![allow(
    clippy::print_stdout,
    reason = "what was measured is shown, as a table"
)]

use std::net::SocketAddr;
use std::time::Duration;

use hyper::Request;
use plimsoll::limit::auth::key_line;
use tokio::time::interval;

use crate::harness::grpc;
use crate::harness::{
    Authority, Backend, Client, Directory, Measured, Outgoing, Program, Traffic, WebSocket,
    long_rate, within,
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
        let calls = grpc::serve_apart().to_string();
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

    /// Requests and streams for as long as so many reloads take, with or without them.
    async fn run(&mut self, size: &Size, has_reloads: bool) -> Measured {
        let traffic = Traffic {
            web: self.listener("web"),
            secure: (self.listener("secure"), self.site.authority.client(&["h2"])),
            rate: size.rate,
            streams: size.streams,
            // All of it: what is begun with the first generation ends with the last.
            life: size.pause * size.reloads,
        };
        let running = traffic.start();
        let mut pace = interval(size.pause);
        pace.tick().await;
        for number in 0..size.reloads {
            pace.tick().await;
            if has_reloads {
                self.reload(number).await;
            }
        }
        running.finish().await
    }
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
    let measured = world.run(&size, true).await;
    measured.assert_nothing_lost();
}

/// The table of 100 reloads at 2000 requests per second, with and without.
#[tokio::test]
#[ignore = "takes a minute and two cores: .ci/long/reloads.sh"]
async fn a_hundred_reloads_under_load_lose_nothing() {
    let size = Size {
        reloads: 100,
        rate: long_rate(),
        pause: Duration::from_millis(200),
        streams: 8,
    };
    let mut world = World::start();
    let without = world.run(&size, false).await;
    let with = world.run(&size, true).await;
    println!("{}", Measured::headings());
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
