//! The process between the one that serves and its successor. It starts the successor, waits for it, and is ended when
//! the successor serves: the successor is then a child of whoever takes in orphans, the service manager as a rule,
//! before the manager is told to watch it. systemd asks whose child a process is only when it is told of it, and one
//! that is not its own it kills on `stop` without giving it time to drain.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use rustix::process::{Signal, set_parent_process_death_signal};

use super::handover::{BETWEEN, MARK, SUCCESSOR};
use super::upgrade::Program;

/// Stands between the process that serves and its successor, where this process was started for that; gives how the
/// successor ended.
pub fn stand(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<io::Result<u8>> {
    (variable(MARK)? == BETWEEN).then(|| wait().map(code))
}

fn wait() -> io::Result<ExitStatus> {
    // Without the one that serves there is nothing to stand in for.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let program = Program::of_this_process()?;
    let mut successor = Command::new(&program.path);
    successor.args(&program.arguments).env(MARK, SUCCESSOR);
    successor.status()
}

/// The exit code that tells it, as shells do.
fn code(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| 128 + signal);
    let code = status.code().or(signal);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_was_started_for_it_stands_between() {
        assert!(stand(&|_| None).is_none());
        assert!(stand(&|_| Some(SUCCESSOR.into())).is_none());
    }

    #[test]
    fn codes_and_signals_are_told_apart() {
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(11)), 139);
    }
}
