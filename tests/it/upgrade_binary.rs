//! Another process of the program takes over, under load and in adversity.

#![allow(
    clippy::print_stdout,
    reason = "what was measured is shown, as a table"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{
    Backend, Client, DEADLINE, Directory, Loading, Process, Program, Raw, WebSocket, eventually,
    plain, within,
};

/// The program by a name that can be made to lead elsewhere, and all of its processes.
struct Service {
    first: Process,
    directory: Directory,
    /// The process that serves.
    serving: Other,
    address: SocketAddr,
}

/// A process that is not a child of this one. Dropping it kills it, and no other.
struct Other(Pid);

impl Other {
    fn signal(&self, signal: Signal) {
        kill_process(self.0, signal).unwrap();
    }

    /// Whether it has ended; nobody may be there to ask it for its exit code.
    fn is_gone(&self) -> bool {
        let status = format!("/proc/{}/stat", self.0.as_raw_nonzero());
        std::fs::read_to_string(status).map_or(true, |text| {
            let state = text.rsplit_once(')').map(|(_, rest)| rest.trim_start());
            state.is_none_or(|state| state.starts_with('Z'))
        })
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        if !self.is_gone() {
            let _ = kill_process(self.0, Signal::KILL);
        }
    }
}

impl Service {
    fn start(yaml: &str) -> Self {
        let directory = Directory::new();
        let file = directory.write("plimsoll.yaml", yaml);
        let program = directory.path().join("plimsoll");
        symlink(env!("CARGO_BIN_EXE_plimsoll"), &program).unwrap();
        let mut command = Command::new(&program);
        command.args(["run", "-c", file.to_str().unwrap()]);
        let Program {
            process: first,
            address,
            directory,
            ..
        } = Program::of(Process::spawn(command), directory, file);
        let id = i32::try_from(first.id()).unwrap();
        Self {
            serving: Other(Pid::from_raw(id).unwrap()),
            first,
            directory,
            address,
        }
    }

    fn program(&self) -> PathBuf {
        self.directory.path().join("plimsoll")
    }

    /// What all of its processes said.
    fn said(&self) -> String {
        self.first.stderr()
    }

    fn count(&self, part: &str) -> usize {
        self.said().matches(part).count()
    }

    /// Asks for an upgrade and waits until it is done. Gives the process that served before, which lives as long as that.
    #[must_use]
    async fn upgrade(&mut self) -> Other {
        let before = self.count("has taken over");
        self.serving.signal(Signal::USR2);
        eventually(DEADLINE, || self.count("has taken over") > before).await;
        let said = self.said();
        let line = said.lines().rfind(|line| line.contains("has taken over"));
        let number = line.unwrap().split_whitespace().nth(2).unwrap();
        let successor = Pid::from_raw(number.parse().unwrap()).unwrap();
        std::mem::replace(&mut self.serving, Other(successor))
    }

    /// Asks for an upgrade that is refused, for a reason that holds `part`.
    async fn refuse(&self, part: &str) {
        let before = self.count("the upgrade was refused");
        self.serving.signal(Signal::USR2);
        eventually(DEADLINE, || self.count("the upgrade was refused") > before).await;
        let said = self.said();
        let line = said.lines().rfind(|line| line.contains("was refused"));
        assert!(line.unwrap().contains(part), "{said}");
    }
}

#[tokio::test]
async fn another_process_takes_over_under_load_without_losing_a_request() {
    let backend = Backend::start("a");
    let mut service = Service::start(&(plain(&[backend.endpoint()]) + "workers: 2\n"));
    let load = Loading::start(service.address, 400.0, Duration::from_millis(2500));
    eventually(DEADLINE, || backend.counters().requests() > 50).await;
    let old = service.upgrade().await;
    assert_eq!(service.first.wait_for_exit(), Some(0), "{}", service.said());
    assert!(old.is_gone());
    let served = backend.counters().requests();
    let report = load.finish();
    assert_eq!(
        (report.failed(), report.unsent),
        (0, 0),
        "{:?}\n{}",
        report.failures,
        service.said()
    );
    assert_eq!(report.answered(), report.due);
    assert!(backend.counters().requests() > served);
    // The first line is the old one's, the last the new one's: on the same port, which was 0.
    assert_eq!(
        service.count(&format!("listening on http://{}", service.address)),
        2
    );
    service.serving.signal(Signal::TERM);
    eventually(DEADLINE, || service.serving.is_gone()).await;
}

#[tokio::test]
async fn what_runs_is_finished_by_the_process_that_began_it() {
    let backend = Backend::start("a");
    let mut service = Service::start(&plain(&[backend.endpoint()]));
    let mut client = Client::h1(service.address).await;
    let slow = tokio::spawn(async move { client.get("/delay/1500").await });
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    let old = service.upgrade().await;
    let fresh = Client::h1(service.address).await.get("/").await;
    assert_eq!(fresh.backend(), Some("a"));
    assert!(!old.is_gone());
    assert_eq!(within(slow).await.unwrap().backend(), Some("a"));
    assert_eq!(service.first.wait_for_exit(), Some(0), "{}", service.said());
}

#[tokio::test]
async fn a_version_that_cannot_serve_leaves_the_old_one_serving() {
    let backend = Backend::start("a");
    let yaml = plain(&[backend.endpoint()]) + "watch: off\n";
    let mut service = Service::start(&yaml);
    let program = service.program();
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, "#!/bin/sh\nexit 7\n").unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    service.refuse("exit status: 7").await;
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o644)).unwrap();
    service.refuse("cannot start").await;

    // A version that serves, with a file that it refuses.
    std::fs::remove_file(&program).unwrap();
    symlink(env!("CARGO_BIN_EXE_plimsoll"), &program).unwrap();
    service.directory.write("plimsoll.yaml", "listeners: {}\n");
    service.refuse("listeners").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let second = format!(
        "listeners: {{ web: {{ address: \"127.0.0.1:0\" }}, b: {{ address: {:?} }} }}\n\
         routes: [ {{ respond: {{ status: 204 }} }} ]\n",
        taken.local_addr().unwrap().to_string()
    );
    service.directory.write("plimsoll.yaml", second);
    service.refuse("in use by another process").await;

    let answer = Client::h1(service.address).await.get("/").await;
    assert_eq!(answer.backend(), Some("a"));
    service.directory.write("plimsoll.yaml", yaml);
    let _old = service.upgrade().await;
    let answer = Client::h1(service.address).await.get("/").await;
    assert_eq!(answer.backend(), Some("a"));
    assert_eq!(service.first.wait_for_exit(), Some(0), "{}", service.said());
}

/// Listeners by name and address, all of which answer with 204.
fn listeners(workers: usize, each: &[(&str, String)]) -> String {
    let each: BTreeMap<&str, String> = each
        .iter()
        .map(|(name, address)| (*name, format!("  {name}: {{ address: {address:?} }}\n")))
        .collect();
    let listeners: String = each.into_values().collect();
    format!(
        "workers: {workers}\nlisteners:\n{listeners}routes: [ {{ respond: {{ status: 204 }} }} ]\n\
         drain_timeout: 5s\nwatch: off\n"
    )
}

async fn answers(path: &Path) {
    let mut raw = Raw::connect_unix(path).await;
    raw.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.response().await.status(), 204);
}

#[tokio::test]
async fn fewer_workers_more_listeners_and_unix_sockets_are_taken_over_too() {
    let sockets = Directory::new();
    let path = sockets.path().join("web.sock");
    let unix = format!("unix:{}", path.display());
    let tcp = "127.0.0.1:0".to_owned();
    let before = [
        ("web", tcp.clone()),
        ("gone", tcp.clone()),
        ("file", unix.clone()),
    ];
    let mut service = Service::start(&listeners(4, &before));
    let line = service.first.wait_for_line("(gone)");
    let (_, rest) = line.split_once("http://").unwrap();
    let gone: SocketAddr = rest.split_whitespace().next().unwrap().parse().unwrap();
    let line = service.first.wait_for_line("(web)");
    let (_, rest) = line.split_once("http://").unwrap();
    let web: SocketAddr = rest.split_whitespace().next().unwrap().parse().unwrap();
    answers(&path).await;

    let other = "127.0.0.2:0".to_owned();
    let after = [("web", tcp), ("new", other), ("file", unix)];
    service
        .directory
        .write("plimsoll.yaml", listeners(1, &after));
    let _old = service.upgrade().await;
    assert_eq!(service.first.wait_for_exit(), Some(0), "{}", service.said());
    answers(&path).await;
    for _ in 0..16 {
        // Whichever of the four sockets the kernel chooses.
        let answer = Client::h1(web).await.get("/").await;
        assert_eq!(answer.status.as_u16(), 204);
    }
    eventually(DEADLINE, || std::net::TcpStream::connect(gone).is_err()).await;
    service.serving.signal(Signal::TERM);
    eventually(DEADLINE, || service.serving.is_gone()).await;
    assert!(!path.exists(), "the socket file outlives its last process");
}

#[tokio::test]
async fn the_manager_learns_whom_to_watch_and_then_hears_of_the_new_one_alone() {
    let directory = Directory::new();
    let name = directory.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&name).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let next = || {
        let mut buffer = [0; 4096];
        let count = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    let file = directory.write("plimsoll.yaml", plain(&["127.0.0.1:1".to_owned()]));
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command
        .args(["run", "-c", file.to_str().unwrap()])
        .env("NOTIFY_SOCKET", &name);
    let mut first = Process::spawn(command);
    assert!(next().starts_with("READY=1"));
    first.signal(Signal::USR2);
    let told = next();
    let number = told
        .strip_prefix("MAINPID=")
        .unwrap_or_else(|| panic!("{told}"));
    let successor = Other(Pid::from_raw(number.parse().unwrap()).unwrap());
    assert!(next().starts_with("READY=1"));
    assert_eq!(first.wait_for_exit(), Some(0));
    successor.signal(Signal::TERM);
    assert!(next().starts_with("STOPPING=1"));
    eventually(DEADLINE, || successor.is_gone()).await;
}

#[test]
fn the_first_process_of_a_container_serves_drains_and_refuses_to_be_replaced() {
    let directory = Directory::new();
    let yaml = listeners(1, &[("web", "127.0.0.1:0".to_owned())]);
    let file = directory.write("plimsoll.yaml", yaml);
    let mut command = Command::new("unshare");
    // As root in a namespace of its own where the user is not root.
    command
        .args([
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .arg(env!("CARGO_BIN_EXE_plimsoll"))
        .args(["run", "-c", file.to_str().unwrap()]);
    let probe = Command::new("unshare")
        .args(["--user", "--map-root-user", "--pid", "--fork", "true"])
        .output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        eprintln!("not tried: this system lets nobody make namespaces");
        return;
    }
    let mut process = Process::spawn(command);
    process.wait_for_line("listening on http://");
    let children = format!("/proc/{0}/task/{0}/children", process.id());
    let child = std::fs::read_to_string(children).unwrap();
    let first = Pid::from_raw(child.trim().parse().unwrap()).unwrap();
    kill_process(first, Signal::USR2).unwrap();
    process.wait_for_line("this is the first process of its container");
    kill_process(first, Signal::USR1).unwrap();
    kill_process(first, Signal::TERM).unwrap();
    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
}

/// Run by hand: `.ci/long/upgrades.sh`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute of both cores"]
async fn ten_upgrades_under_load_lose_nothing() {
    const TIMES: usize = 10;
    let backend = Backend::start("a");
    let yaml = plain(&[backend.endpoint()]) + "workers: 2\ndrain_timeout: 60s\n";
    let mut service = Service::start(&yaml);
    let load = Loading::start(service.address, 2000.0, Duration::from_secs(30));
    let mut streams = Vec::new();
    let mut sockets = Vec::new();
    let mut before = Vec::new();
    for _ in 0..TIMES {
        let seen = backend.counters().requests();
        eventually(DEADLINE, || backend.counters().requests() > seen + 1000).await;
        let mut client = Client::h1(service.address).await;
        // A download that takes five seconds.
        streams.push(tokio::spawn(async move {
            let answer = client.try_get("/chunked/512000/1024/10").await;
            answer.map(|answer| answer.body.len())
        }));
        let address = service.address;
        let socket = tokio::task::spawn_blocking(move || WebSocket::open(address, "/ws").unwrap());
        sockets.push(socket.await.unwrap());
        before.push(service.upgrade().await);
    }
    let report = load.finish();
    println!(
        "{TIMES} upgrades: {} due, {} answered, {} failed, {} unsent; p50 {} µs, p99 {} µs",
        report.due,
        report.answered(),
        report.failed(),
        report.unsent,
        report.latency.value_at_quantile(0.5),
        report.latency.value_at_quantile(0.99),
    );
    assert_eq!(
        (report.failed(), report.unsent),
        (0, 0),
        "{:?}",
        report.failures
    );
    assert_eq!(report.answered(), report.due);
    for stream in streams {
        assert_eq!(stream.await.unwrap().unwrap(), 512_000);
    }
    let closing = tokio::task::spawn_blocking(move || {
        for mut socket in sockets {
            socket.expect_echo("still there");
            socket.close();
        }
    });
    closing.await.unwrap();
    eventually(DEADLINE, || before.iter().all(Other::is_gone)).await;
}
