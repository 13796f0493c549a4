//! What the service manager is told, and the sockets that it passes.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use plimsoll::clock::Clock;
use rustix::process::Signal;

use crate::harness::{Backend, Client, DEADLINE, Directory, Process, Raw, eventually, plain};

/// The end of `NOTIFY_SOCKET` that the manager reads.
struct Manager {
    socket: UnixDatagram,
    directory: Directory,
}

impl Manager {
    fn start() -> Self {
        let directory = Directory::new();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, directory }
    }

    /// Runs the program with this configuration under its eyes.
    fn run(&self, yaml: &str, watchdog: Option<u64>) -> Process {
        let file = self
            .directory
            .write("plimsoll.yaml", yaml.to_owned() + "watch: off\n");
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(["run", "-c", file.to_str().unwrap()]);
        command.env("NOTIFY_SOCKET", self.directory.path().join("notify"));
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.to_string());
        }
        Process::spawn(command)
    }

    /// The next datagram that says something else than that the process is not stuck.
    fn next(&self) -> String {
        loop {
            let told = self.any();
            if told != "WATCHDOG=1" {
                return told;
            }
        }
    }

    fn any(&self) -> String {
        let mut buffer = [0; 4096];
        let count = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }
}

fn address(process: &Process, what: &str) -> std::net::SocketAddr {
    let line = process.wait_for_line(what);
    let (_, rest) = line.split_once("http://").unwrap();
    let word = rest.split_whitespace().next().unwrap();
    word.parse().unwrap()
}

#[test]
fn a_start_a_reload_a_refused_one_and_the_end_are_told() {
    let backend = Backend::start("a");
    let yaml = plain(&[backend.endpoint()]);
    let manager = Manager::start();
    let mut process = manager.run(&yaml, None);
    assert_eq!(manager.next(), "READY=1\nSTATUS=serving");

    manager
        .directory
        .write("plimsoll.yaml", yaml + "watch: off\nzone: a\n");
    process.signal(Signal::HUP);
    let begun = manager.next();
    let at: u64 = begun
        .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
        .and_then(|at| at.parse().ok())
        .unwrap_or_else(|| panic!("{begun}"));
    assert!(at > 0);
    assert_eq!(manager.next(), "READY=1\nSTATUS=serving generation 2");

    manager.directory.write("plimsoll.yaml", "listeners: {}\n");
    process.signal(Signal::HUP);
    assert!(manager.next().starts_with("RELOADING=1\n"));
    let refused = manager.next();
    let expected = "READY=1\nSTATUS=serving generation 2; the last reload was refused: ";
    assert!(refused.starts_with(expected), "{refused}");

    process.signal(Signal::TERM);
    assert!(manager.next().starts_with("STOPPING=1\n"));
    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
}

#[tokio::test]
async fn more_time_is_asked_for_while_something_runs() {
    let backend = Backend::start("a");
    let manager = Manager::start();
    let process = manager.run(&plain(&[backend.endpoint()]), None);
    let mut client = Client::h1(address(&process, "listening on http://")).await;
    assert!(manager.next().starts_with("READY=1\n"));
    let running = tokio::spawn(async move { client.try_get("/hang").await.is_err() });
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    process.signal(Signal::QUIT);
    assert!(manager.next().starts_with("STOPPING=1\n"));
    let told = manager.next();
    assert!(told.starts_with("EXTEND_TIMEOUT_USEC="), "{told}");
    assert_eq!(manager.next(), "STATUS=draining: 1 connection open");
    // Two of the same that come together count as one.
    process.signal(Signal::TERM);
    process.signal(Signal::INT);
    assert!(running.await.unwrap());
}

#[test]
fn the_watchdog_is_fed_twice_in_its_time() {
    let manager = Manager::start();
    let clock = Clock::system();
    let start = clock.now();
    let _process = manager.run(&plain(&["127.0.0.1:1".to_owned()]), Some(600_000));
    let mut fed = 0;
    while fed < 4 {
        fed += usize::from(manager.any().contains("WATCHDOG=1"));
    }
    // Three pauses of 300 ms, and no flood.
    assert!(clock.now().since(start) > Duration::from_millis(800));
}

/// Runs the program as the manager does that passes this socket; `sh` knows its own number, which stays that of what it
/// executes.
fn activated(file: &std::path::Path, socket: std::os::fd::OwnedFd, name: &str) -> Process {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg("LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" run -c \"$1\" 3<&0 0</dev/null")
        .arg(env!("CARGO_BIN_EXE_plimsoll"))
        .arg(file)
        .env("LISTEN_FDNAMES", name);
    Process::spawn_reading(command, Stdio::from(socket))
}

#[tokio::test]
async fn a_listener_takes_the_socket_of_its_name_with_whom_waits_in_its_queue() {
    let backend = Backend::start("a");
    let directory = Directory::new();
    let yaml = plain(&[backend.endpoint()]) + "workers: 2\n";
    let file = directory.write("plimsoll.yaml", yaml);
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut early = Raw::connect(address).await;
    early.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut process = activated(&file, socket.into(), "web");
    process.wait_for_line(&format!("listening on http://{address} (web)"));
    assert_eq!(early.response().await.status(), 200);
    for _ in 0..4 {
        let mut client = Client::h1(address).await;
        assert_eq!(client.get("/").await.backend(), Some("a"));
    }
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
}

#[tokio::test]
async fn a_unix_socket_is_found_by_its_path_and_its_file_is_left_to_the_manager() {
    let backend = Backend::start("a");
    let directory = Directory::new();
    let path = directory.path().join("web.sock");
    let yaml = format!(
        "listeners: {{ web: {{ address: {:?} }} }}\n\
         routes: [ {{ match: {{ path: / }}, upstream: pool }} ]\n\
         upstreams: {{ pool: {{ endpoints: [{:?}] }} }}\n",
        format!("unix:{}", path.display()),
        backend.endpoint()
    );
    let file = directory.write("plimsoll.yaml", yaml);
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut process = activated(&file, socket.into(), "plimsoll.socket");
    process.wait_for_line("listening on unix:");
    let mut raw = Raw::connect_unix(&path).await;
    raw.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.response().await.status(), 200);
    drop(raw);
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
    assert!(path.exists());
}

#[test]
fn a_socket_that_no_listener_asks_for_is_named() {
    let directory = Directory::new();
    let file = directory.write("plimsoll.yaml", plain(&["127.0.0.1:1".to_owned()]));
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let process = activated(&file, socket.into(), "other");
    process.wait_for_line("the service manager passes the socket `other` at 127.0.0.1:");
}
