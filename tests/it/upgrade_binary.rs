//! Another process of the program takes over, also in adversity.
//!
//! Not here: that it does so under load, see [`crate::upgrade_load`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{
    Backend, Client, DEADLINE, Directory, Process, Program, Raw, Unfinished, eventually, plain,
};

/// The program by a name that can be made to lead elsewhere, and all of its processes.
pub(crate) struct Service {
    pub first: Process,
    pub directory: Directory,
    /// The process that serves.
    pub serving: Other,
    pub address: SocketAddr,
}

/// The address in a line that says where it listens.
fn url(line: &str) -> SocketAddr {
    let (_, rest) = line.split_once("://").unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// A process that is not a child of this one. Dropping it kills it, and no other.
pub(crate) struct Other(Pid);

impl Other {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.0, signal).unwrap();
    }

    /// Whether it has ended; nobody may be there to ask it for its exit code.
    pub(crate) fn is_gone(&self) -> bool {
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

/// The children of a process, of all its threads.
fn children(of: Pid) -> Vec<Pid> {
    let tasks = format!("/proc/{}/task", of.as_raw_nonzero());
    let tasks = std::fs::read_dir(tasks).unwrap();
    let texts = tasks.map(|task| {
        // A thread may end meanwhile.
        std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default()
    });
    let texts: Vec<String> = texts.collect();
    let numbers = texts.iter().flat_map(|text| text.split_whitespace());
    numbers
        .map(|number| Pid::from_raw(number.parse().unwrap()).unwrap())
        .collect()
}

impl Service {
    pub(crate) fn start(yaml: &str) -> Self {
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

    /// Where the listener of this name was bound by the first process.
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        url(&self.first.wait_for_line(&format!("({name})")))
    }

    fn program(&self) -> PathBuf {
        self.directory.path().join("plimsoll")
    }

    /// What all of its processes said.
    pub(crate) fn said(&self) -> String {
        self.first.stderr()
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.said().matches(part).count()
    }

    /// Asks for an upgrade and waits until it is done. Gives the process that served before, which lives as long as that.
    #[must_use]
    pub(crate) async fn upgrade(&mut self) -> Other {
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
async fn what_runs_is_finished_by_the_process_that_began_it() {
    let backend = Backend::start("a");
    let mut service = Service::start(&plain(&[backend.endpoint()]));
    let slow = Unfinished::begin(service.address).await;
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    let old = service.upgrade().await;
    // Whoever takes in orphans has it, long before the old one ends; else systemd would kill it on `stop` at once.
    assert!(!children(old.0).contains(&service.serving.0));
    assert_eq!(children(old.0), [], "what stood between is gone");
    let fresh = Client::h1(service.address).await.get("/").await;
    assert_eq!(fresh.backend(), Some("a"));
    assert!(!old.is_gone());
    assert_eq!(slow.finish().await.backend(), Some("a"));
    assert_eq!(service.first.wait_for_exit(), Some(0), "{}", service.said());
}

#[tokio::test]
async fn a_version_that_cannot_serve_leaves_the_old_one_serving() {
    let backend = Backend::start("a");
    let yaml = plain(&[backend.endpoint()]) + "watch: off\n";
    let mut service = Service::start(&yaml);
    let program = service.program();
    std::fs::remove_file(&program).unwrap();
    // No script of our own: while it is written another test may start a process, which has the file open for a moment.
    symlink("/bin/false", &program).unwrap();
    service.refuse("exit status: 1").await;
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, "of no use").unwrap();
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
    let (gone, web) = (service.listener("gone"), service.listener("web"));
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

#[tokio::test]
async fn the_first_process_of_a_container_serves_takes_in_orphans_and_refuses_to_be_replaced() {
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
    let unshare = i32::try_from(process.id()).unwrap();
    let first = children(Pid::from_raw(unshare).unwrap())[0];
    // A shell of its namespace leaves a child behind, which ends by itself.
    let entered = Command::new("nsenter")
        .args(["--user", "--pid", "--preserve-credentials", "--target"])
        .arg(first.to_string())
        .args(["sh", "-c", "sleep 1 >/dev/null 2>&1 & exit 0"])
        .output()
        .unwrap();
    assert!(entered.status.success(), "{entered:?}");
    eventually(DEADLINE, || !children(first).is_empty()).await;
    eventually(DEADLINE, || children(first).is_empty()).await;
    kill_process(first, Signal::USR2).unwrap();
    process.wait_for_line("this is the first process of its container");
    kill_process(first, Signal::USR1).unwrap();
    kill_process(first, Signal::TERM).unwrap();
    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
}
