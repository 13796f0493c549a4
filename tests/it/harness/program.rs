//! The program with its file, as an operator runs it; and load on it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use plimsoll::clock::Clock;
use plimsoll::entropy::Random;
use plimsoll::lab::generator::{self, Load, Report, Tally};
use plimsoll::lab::schedule::{Arrivals, Schedule};
use rustix::process::Signal;

use super::{DEADLINE, Directory, Process, plain};

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

/// Load on a thread of its own, so that a test that blocks does not hold it up.
pub struct Loading {
    tally: Tally,
    thread: std::thread::JoinHandle<()>,
}

impl Loading {
    pub fn start(address: SocketAddr, rate: f64, length: Duration) -> Self {
        let tally = Tally::default();
        let counted = Arc::clone(&tally);
        let schedule = Schedule::new(Arrivals::Uniform, rate, Some(length), Random::seeded(1));
        let load = Load {
            address,
            host: "test".to_owned(),
            targets: vec!["/".to_owned()],
            field: None,
            schedule,
            warm_up: Duration::ZERO,
            connections: 8,
            timeout: DEADLINE,
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(generator::run(load, Clock::system(), counted));
        });
        Self { tally, thread }
    }

    pub fn finish(self) -> Report {
        self.thread.join().unwrap();
        let report = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        report.clone()
    }
}
