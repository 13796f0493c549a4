//! Another process takes over under load: no request fails, and what is open on the old process goes on there to its end.
//!
//! A short one runs with all tests. The long one prints the table of `.ci/long/upgrades.sh`, which runs it.

#![allow(
    clippy::print_stdout,
    reason = "what was measured is shown, as a table"
)]

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{
    Authority, Backend, DEADLINE, Directory, Measured, Traffic, WebSocket, eventually, grpc,
    long_rate, within,
};
use crate::upgrade_binary::{Other, Service};

/// How much of it.
struct Size {
    upgrades: usize,
    /// Requests per second.
    rate: f64,
    /// Requests that are answered between two upgrades.
    between: u64,
    /// WebSockets, gRPC streams and downloads at once, of each.
    streams: usize,
    /// How long each of them goes on.
    life: Duration,
}

/// The program, and what stands around it.
struct World {
    backend: Backend,
    authority: Authority,
    _certificates: Directory,
    service: Service,
}

impl World {
    fn start() -> Self {
        let (backend, authority) = (Backend::start("a"), Authority::new());
        let certificates = Directory::new();
        let identity = authority.identity(&["localhost"]);
        let (cert, key) = identity.write(&certificates, "site");
        // What is open when it is replaced ends by itself, long before the old process would cut it.
        let yaml = format!(
            "workers: 2\ndrain_timeout: 5m\nwatch: off\nlisteners:\n  web: {{ address: \"127.0.0.1:0\" }}\n  \
             secure: {{ address: \"127.0.0.1:0\", tls: {{ certificates: [ {{ cert: {cert:?}, key: {key:?} }} ] }} }}\n\
             routes:\n\
             \x20 - {{ match: {{ path: /test.Echo/ }}, upstream: calls }}\n\
             \x20 - {{ match: {{ path: / }}, upstream: pool }}\n\
             upstreams:\n  pool: {{ endpoints: [{:?}] }}\n  calls: {{ endpoints: [{:?}], protocol: h2 }}\n",
            backend.endpoint(),
            grpc::serve_apart().to_string()
        );
        Self {
            service: Service::start(&yaml),
            backend,
            authority,
            _certificates: certificates,
        }
    }

    async fn answers(&self, requests: u64) {
        let seen = self.backend.counters().requests();
        let enough = || self.backend.counters().requests() >= seen + requests;
        eventually(DEADLINE, enough).await;
    }

    /// Requests and streams for as long as so many upgrades take, with or without them.
    async fn run(&mut self, size: &Size, has_upgrades: bool) -> Measured {
        let web = self.service.listener("web");
        let traffic = Traffic {
            web,
            secure: (
                self.service.listener("secure"),
                self.authority.client(&["h2"]),
            ),
            rate: size.rate,
            streams: size.streams,
            life: size.life,
        };
        let running = traffic.start();
        let (mut before, mut sockets) = (Vec::new(), Vec::new());
        for _ in 0..size.upgrades {
            self.answers(size.between).await;
            if has_upgrades {
                // One of each process, which stays to the end.
                let open = move || WebSocket::open(web, "/ws").unwrap();
                sockets.push(within(tokio::task::spawn_blocking(open)).await.unwrap());
                before.push(self.service.upgrade().await);
            }
        }
        self.answers(size.between).await;
        let measured = running.finish().await;
        leave(before, sockets).await;
        measured
    }
}

/// Each process that was replaced is there as long as its socket, and no longer.
async fn leave(before: Vec<Other>, sockets: Vec<WebSocket>) {
    assert!(before.iter().all(|one| !one.is_gone()));
    let closing = move || {
        for mut socket in sockets {
            socket.expect_echo("still there");
            socket.close();
        }
    };
    within(tokio::task::spawn_blocking(closing)).await.unwrap();
    eventually(DEADLINE, || before.iter().all(Other::is_gone)).await;
}

/// Ends the last process, and sees that none of them cut anything.
async fn end(mut world: World) {
    let service = &mut world.service;
    assert_eq!(service.first.wait_for_exit(), Some(0), "{}", service.said());
    service.serving.signal(Signal::TERM);
    eventually(DEADLINE, || service.serving.is_gone()).await;
    let said = service.said();
    let cut = said.lines().find(|line| line.contains(" cut"));
    assert_eq!(cut, None, "{said}");
}

#[tokio::test]
async fn another_process_takes_over_under_load_without_losing_anything() {
    let size = Size {
        upgrades: 1,
        rate: 200.0,
        between: 50,
        streams: 2,
        life: Duration::from_secs(1),
    };
    let mut world = World::start();
    world.run(&size, true).await.assert_nothing_lost();
    // The first line is the old one's, the last the new one's: on the same port, which was 0.
    let address = world.service.address;
    let line = format!("listening on http://{address}");
    assert_eq!(world.service.count(&line), 2);
    end(world).await;
}

/// The table of ten upgrades at 2000 requests per second, with and without.
#[tokio::test]
#[ignore = "takes a minute of both cores: .ci/long/upgrades.sh"]
async fn ten_upgrades_under_load_lose_nothing() {
    let rate = long_rate();
    let size = Size {
        upgrades: 10,
        rate,
        // Two seconds.
        between: (2.0 * rate) as u64,
        streams: 8,
        life: Duration::from_secs(3),
    };
    let mut world = World::start();
    let without = world.run(&size, false).await;
    let with = world.run(&size, true).await;
    println!("{}", Measured::headings());
    println!("{}", without.row("without upgrades"));
    println!("{}", with.row(&format!("with {} upgrades", size.upgrades)));
    without.assert_nothing_lost();
    with.assert_nothing_lost();
    end(world).await;
}
