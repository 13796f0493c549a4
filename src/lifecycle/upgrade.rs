//! Letting another process of the program take over, the new version of it as a rule: the side of the one that serves.
//! What is said between the two is told in [`handover`].

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, Shutdown, SocketFlags, SocketType, shutdown, socketpair,
};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::task::JoinHandle;

use super::handover::{self, BATCH, BETWEEN, MARK, Offer, Reply};
use crate::config::units::format_duration;

/// Why this process goes on.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpgradeError {
    #[error(
        "this is the first process of its container, which would end with it: start another container instead"
    )]
    FirstProcess,
    #[error("another upgrade is under way")]
    UnderWay,
    #[error("it is about to end")]
    Ending,
    #[error("cannot start {path}: {source}")]
    Start { path: PathBuf, source: io::Error },
    #[error("cannot speak with the new process: {0}")]
    Talk(#[source] io::Error),
    #[error("the new process ended before it served ({0}); what it said stands above")]
    Ended(String),
    #[error("the new process refused: {0}")]
    Refused(String),
    #[error("the new process did not serve within {0}, and was killed")]
    Late(String),
    #[error("the task that waited for the new process panicked, which is a bug")]
    Panicked,
}

/// How to start the program once more: by the name it was started with, which leads to the new version after that was
/// put in place of the old one.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

impl Program {
    /// That of this process; to be asked while the file is still the one that it runs.
    pub(super) fn of_this_process() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_default();
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let path = match resolved(Path::new(&name), &folders) {
            Some(path) => path,
            None => std::env::current_exe()?,
        };
        let arguments = arguments.collect();
        Ok(Self { path, arguments })
    }
}

/// The whole path of the file that a shell would start by this name.
fn resolved(name: &Path, folders: &OsString) -> Option<PathBuf> {
    if name.components().count() > 1 {
        let path = std::path::absolute(name).ok()?;
        return path.exists().then_some(path);
    }
    let mut places = std::env::split_paths(folders).map(|folder| folder.join(name));
    places.find(|path| path.is_file())
}

/// Sockets that this process goes on serving until another does.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) name: String,
    pub(super) is_admin: bool,
    pub(super) is_own: bool,
    pub(super) written: String,
    pub(super) bound: String,
    pub(super) sockets: Vec<Arc<OwnedFd>>,
}

/// The process that has taken over.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) process: u32,
    /// Bound addresses that it does not serve.
    pub(super) unused: Vec<String>,
    socket: Arc<OwnedFd>,
}

impl Successor {
    /// Lets it speak for the service: whoever had to be told was told.
    pub(super) fn let_go(&self) {
        let _ = handover::send(&self.socket, &Offer::Go, &[]);
    }
}

/// An upgrade under way.
pub(super) struct Upgrade {
    socket: Arc<OwnedFd>,
    task: JoinHandle<Result<Successor, UpgradeError>>,
}

impl Upgrade {
    /// Starts the other process, off the calling thread. To be called within a runtime.
    pub(super) fn begin(
        program: Program,
        lent: Vec<Lent>,
        timeout: Duration,
    ) -> Result<Self, UpgradeError> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|error| UpgradeError::Talk(error.into()))?;
        let socket = Arc::new(ours);
        let speaking = Arc::clone(&socket);
        let task =
            tokio::task::spawn_blocking(move || carry(&program, &lent, timeout, &speaking, theirs));
        Ok(Self { socket, task })
    }

    /// Gives up: what was started is killed. It still has to be waited for.
    pub(super) fn cancel(&self) {
        let _ = shutdown(&self.socket, Shutdown::Both);
    }

    /// Waits until the other process serves, or does not.
    pub(super) async fn done(&mut self) -> Result<Successor, UpgradeError> {
        (&mut self.task)
            .await
            .unwrap_or(Err(UpgradeError::Panicked))
    }
}

/// Blocks.
fn carry(
    program: &Program,
    lent: &[Lent],
    timeout: Duration,
    socket: &Arc<OwnedFd>,
    theirs: OwnedFd,
) -> Result<Successor, UpgradeError> {
    let mut between = start(program, theirs)?;
    let served = offer(lent, timeout, socket).and_then(|()| answer(socket));
    match served {
        Ok(Some(Reply::Ready { process, unused })) => {
            release(&mut between);
            Ok(Successor {
                process,
                unused,
                socket: Arc::clone(socket),
            })
        }
        Ok(Some(Reply::Refused { reason })) => {
            end(&mut between);
            Err(UpgradeError::Refused(reason))
        }
        Ok(None) => Err(UpgradeError::Ended(end(&mut between))),
        Err(error) => {
            let how = end(&mut between);
            Err(match error.kind() {
                io::ErrorKind::WouldBlock => UpgradeError::Late(format_duration(timeout)),
                // It is gone, and what was sent found nobody.
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                    UpgradeError::Ended(how)
                }
                _ => UpgradeError::Talk(error),
            })
        }
    }
}

fn start(program: &Program, theirs: OwnedFd) -> Result<Child, UpgradeError> {
    // With it goes the end of the pair that is the other's, so that its end is noticed.
    let mut command = Command::new(&program.path);
    command
        .args(&program.arguments)
        .env(MARK, BETWEEN)
        // With whatever it starts, so that all of it can be ended.
        .process_group(0)
        // Sockets of the service manager come with the others; its watchdog is that of whoever serves.
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_FDNAMES")
        .env_remove("WATCHDOG_PID")
        .stdin(Stdio::from(theirs));
    command.spawn().map_err(|source| UpgradeError::Start {
        path: program.path.clone(),
        source,
    })
}

fn offer(lent: &[Lent], timeout: Duration, socket: &OwnedFd) -> io::Result<()> {
    for kind in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(socket, kind, Some(timeout))?;
    }
    for one in lent {
        let packet = Offer::Sockets {
            name: one.name.clone(),
            is_admin: one.is_admin,
            is_own: one.is_own,
            written: one.written.clone(),
            bound: one.bound.clone(),
        };
        for batch in one.sockets.chunks(BATCH) {
            let batch: Vec<BorrowedFd<'_>> = batch.iter().map(AsFd::as_fd).collect();
            handover::send(socket, &packet, &batch)?;
        }
    }
    handover::send(socket, &Offer::End, &[])
}

fn answer(socket: &OwnedFd) -> io::Result<Option<Reply>> {
    let reply = handover::receive(socket, RecvFlags::empty())?;
    Ok(reply.map(|(reply, _)| reply))
}

/// Ends the process between alone. Once it was waited for the successor has another parent.
fn release(between: &mut Child) {
    let _ = between.kill();
    let _ = between.wait();
}

/// Sees to it that all that was started is gone, and says how it ended.
fn end(between: &mut Child) -> String {
    // One that has ended by itself keeps its own status.
    let _ = kill_process_group(Pid::from_child(between), Signal::KILL);
    match between.wait() {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(path: &str, arguments: &[&str], timeout: Duration) -> Upgrade {
        let program = Program {
            path: path.into(),
            arguments: arguments.iter().map(Into::into).collect(),
        };
        Upgrade::begin(program, Vec::new(), timeout).unwrap()
    }

    #[test]
    fn a_name_is_looked_up_as_a_shell_does() {
        let folders = OsString::from("/nowhere:/bin");
        let shell = resolved(Path::new("sh"), &folders);
        assert_eq!(shell, Some(PathBuf::from("/bin/sh")));
        let whole = resolved(Path::new("/bin/sh"), &OsString::new());
        assert_eq!(whole, Some(PathBuf::from("/bin/sh")));
        assert_eq!(resolved(Path::new("sh"), &OsString::new()), None);
        assert_eq!(resolved(Path::new("./no-such-file"), &folders), None);
        let own = Program::of_this_process().unwrap();
        assert!(own.path.is_absolute(), "{own:?}");
    }

    #[tokio::test]
    async fn whatever_a_new_process_does_instead_of_serving_is_told() {
        let minute = Duration::from_secs(60);
        let fails = begin("/bin/sh", &["-c", "exit 7"], minute).done().await;
        let told = fails.unwrap_err().to_string();
        assert!(told.contains("exit status: 7"), "{told}");
        let missing = begin("/nowhere/plimsoll", &[], minute).done().await;
        assert!(
            matches!(missing, Err(UpgradeError::Start { .. })),
            "{missing:?}"
        );
        let short = Duration::from_millis(20);
        let late = begin("/bin/sh", &["-c", "exec sleep 60"], short)
            .done()
            .await;
        assert!(matches!(late, Err(UpgradeError::Late(_))), "{late:?}");
        // It closes its end and goes on.
        let deaf = begin("/bin/sh", &["-c", "exec sleep 60 <&-"], minute)
            .done()
            .await;
        let told = deaf.unwrap_err().to_string();
        assert!(told.contains("signal: 9"), "{told}");
    }

    #[tokio::test]
    async fn what_is_given_up_is_killed() {
        let script = ["-c", "exec sleep 60"];
        let mut upgrade = begin("/bin/sh", &script, Duration::from_secs(60));
        upgrade.cancel();
        assert!(upgrade.done().await.is_err());
    }
}
