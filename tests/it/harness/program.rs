//! The program with its file, as an operator runs it.

use std::net::SocketAddr;
use std::path::PathBuf;

use rustix::process::Signal;

use super::{Directory, Process, plain};

/// The program with its file.
pub struct Program {
    pub process: Process,
    /// Of its first listener.
    pub address: SocketAddr,
    pub file: PathBuf,
    pub directory: Directory,
}

impl Program {
    pub fn start(yaml: &str) -> Self {
        let directory = Directory::new();
        let file = directory.write("plimsoll.yaml", yaml);
        Self::run(directory, file)
    }

    /// In front of these endpoints, with further keys.
    pub fn before(endpoints: &[String], more: &str) -> Self {
        Self::start(&(plain(endpoints) + more))
    }

    /// From a file that is there.
    pub fn run(directory: Directory, file: PathBuf) -> Self {
        let process = Process::start(&["run", "-c", file.to_str().unwrap()]);
        Self::of(process, directory, file)
    }

    /// Of a process that was started.
    pub fn of(process: Process, directory: Directory, file: PathBuf) -> Self {
        Self {
            address: told(&process, "listening on http://"),
            process,
            file,
            directory,
        }
    }

    /// Puts another configuration in its file and tells it.
    pub fn reload(&self, yaml: &str) {
        self.directory.write("plimsoll.yaml", yaml);
        self.process.signal(Signal::HUP);
    }

    /// Where its admin API is.
    pub fn admin(&self) -> SocketAddr {
        told(&self.process, "admin on http://")
    }

    /// Runs a subcommand that asks it: its exit code, what it prints, and what it says.
    pub fn ask(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let admin = self.admin().to_string();
        let all = [arguments, &["--admin", &admin]].concat();
        let mut asking = Process::start(&all);
        (asking.wait(), asking.stdout(), asking.stderr())
    }
}

/// The address behind what a process says.
fn told(process: &Process, what: &str) -> SocketAddr {
    let line = process.wait_for_line(what);
    let (_, rest) = line.split_once("http://").unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}
