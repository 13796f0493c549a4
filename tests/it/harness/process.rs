//! The program itself as a child process.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use plimsoll::clock::Clock;
use rustix::process::{Pid, Signal, kill_process};

use super::DEADLINE;

/// A running child. Dropping it kills it, and no other process.
pub struct Process {
    child: Child,
    output: Arc<Output>,
}

#[derive(Default)]
struct Output {
    text: Mutex<Text>,
    changed: Condvar,
}

#[derive(Default)]
struct Text {
    stdout: String,
    stderr: String,
    /// Streams that have ended.
    ended: usize,
}

impl Process {
    /// Runs `plimsoll` with these arguments.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(arguments);
        Self::spawn(command)
    }

    /// The same in this folder.
    pub fn start_in(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(arguments).current_dir(folder);
        Self::spawn(command)
    }

    /// Runs any command, with its output captured.
    pub fn spawn(command: Command) -> Self {
        Self::spawn_reading(command, Stdio::null())
    }

    /// The same with this standard input.
    pub fn spawn_reading(mut command: Command, input: Stdio) -> Self {
        command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = Arc::new(Output::default());
        capture(child.stdout.take().unwrap(), &output, |text| {
            &mut text.stdout
        });
        capture(child.stderr.take().unwrap(), &output, |text| {
            &mut text.stderr
        });
        Self { child, output }
    }

    /// Waits for a line, on either stream, that contains `part`; panics when the process ends without it.
    pub fn wait_for_line(&self, part: &str) -> String {
        let find = |text: &Text| {
            let mut lines = text
                .stdout
                .split_inclusive('\n')
                .chain(text.stderr.split_inclusive('\n'));
            let line = lines.find(|line| line.ends_with('\n') && line.contains(part));
            line.map(|line| line.trim_end().to_owned())
        };
        let text = self.output.text.lock().unwrap();
        let waiting = |text: &mut Text| find(text).is_none() && text.ended < 2;
        let (text, _) = self
            .output
            .changed
            .wait_timeout_while(text, DEADLINE, waiting)
            .unwrap();
        find(&text).unwrap_or_else(|| {
            panic!(
                "no line with {part:?}\nstdout:\n{}\nstderr:\n{}",
                text.stdout, text.stderr
            )
        })
    }

    /// Waits until `ready`; panics when the process ends before.
    pub fn wait_until(&mut self, mut ready: impl FnMut() -> bool) {
        let (clock, mut pause) = (Clock::system(), Duration::from_micros(100));
        let start = clock.now();
        while !ready() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!(
                    "the process ended with {status}\nstderr:\n{}",
                    self.stderr()
                );
            }
            assert!(
                clock.now().since(start) < DEADLINE,
                "not ready; stderr:\n{}",
                self.stderr()
            );
            std::thread::park_timeout(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// All of it so far.
    pub fn stdout(&self) -> String {
        self.output.text.lock().unwrap().stdout.clone()
    }

    /// All of it so far.
    pub fn stderr(&self) -> String {
        self.output.text.lock().unwrap().stderr.clone()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end alone: a child of its own may go on and hold its output. The exit code, or `None` after a signal.
    pub fn wait_for_exit(&mut self) -> Option<i32> {
        let (clock, mut pause) = (Clock::system(), Duration::from_micros(100));
        let start = clock.now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            let waited = clock.now().since(start);
            assert!(waited < DEADLINE, "it did not end\n{}", self.stderr());
            std::thread::park_timeout(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// Waits for its end and for all of its output; the exit code, or `None` after a signal.
    pub fn wait(&mut self) -> Option<i32> {
        // Both streams end with the process, unless a child of its own holds them.
        let text = self.output.text.lock().unwrap();
        let waiting = |text: &mut Text| text.ended < 2;
        let (text, late) = self
            .output
            .changed
            .wait_timeout_while(text, DEADLINE, waiting)
            .unwrap();
        assert!(
            !late.timed_out(),
            "it did not end\nstderr:\n{}",
            text.stderr
        );
        drop(text);
        let status: ExitStatus = self.child.wait().unwrap();
        status.code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn capture(
    stream: impl Read + Send + 'static,
    output: &Arc<Output>,
    side: fn(&mut Text) -> &mut String,
) {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|count| count > 0)
        {
            let mut text = output.text.lock().unwrap();
            side(&mut text).push_str(&String::from_utf8_lossy(&line));
            output.changed.notify_all();
            line.clear();
        }
        output.text.lock().unwrap().ended += 1;
        output.changed.notify_all();
    });
}
