//! What the service manager is told (sd_notify(3)): that the process is ready, reloads, ends, and is not stuck.
//!
//! Silent where `NOTIFY_SOCKET` is not set. Telling never blocks and never fails the process: a manager that does not
//! read loses what it was told.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::clock::{self, Clock, Instant};

/// How often a manager that waits for the end is asked for more time, and how much each time: long enough for a machine
/// that is busy, short enough that one that hangs is killed soon.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
const EXTEND_BY: Duration = Duration::from_secs(15);

/// The manager's end.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that the process is not stuck: half of what it waits.
    watchdog: Option<Duration>,
}

impl Notify {
    /// Nobody wants to know.
    pub fn off() -> Self {
        Self::default()
    }

    /// The manager that the environment names. `is_successor`: the process was started by the one that the manager
    /// knows, so that what was said of that one's number holds for this one.
    pub fn from_environment(
        variable: &dyn Fn(&str) -> Option<OsString>,
        is_successor: bool,
    ) -> Self {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::off();
        };
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        let of_another =
            number("WATCHDOG_PID").is_some_and(|id| id != u64::from(std::process::id()));
        let waits = number("WATCHDOG_USEC").filter(|waits| *waits > 0);
        let waits = waits.filter(|_| is_successor || !of_another);
        Self {
            socket: open(name.as_bytes()),
            watchdog: waits.map(|waits| Duration::from_micros(waits / 2)),
        }
    }

    /// Tells all of these at once: what belongs together must be one datagram.
    pub fn tell(&self, said: &[Said<'_>]) {
        if let Some((socket, address)) = &self.socket
            && !said.is_empty()
        {
            // Whoever does not listen any more need not be told.
            let _ = socket.send_to_addr(text(said).as_bytes(), address);
        }
    }
}

fn open(name: &[u8]) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match name {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
        // Addresses of other families are not for processes of the same machine.
        _ => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, address.ok()?))
}

/// One thing to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said<'a> {
    /// What was begun, a start or a reload, is done.
    Ready,
    /// A reload begins, at this moment of CLOCK_MONOTONIC, in microseconds.
    Reloading(u64),
    Stopping,
    /// It is not stuck.
    Watchdog,
    /// It needs so much longer.
    Extend(Duration),
    /// This process is the one to watch from now on.
    Main(u32),
    /// For people.
    Status(&'a str),
}

impl Said<'_> {
    /// A reload begins now.
    pub fn reloading() -> Self {
        Self::Reloading(clock::monotonic_micros())
    }
}

fn text(said: &[Said<'_>]) -> String {
    let mut lines = Vec::with_capacity(said.len());
    for one in said {
        lines.push(match one {
            Said::Ready => "READY=1".to_owned(),
            Said::Reloading(at) => format!("RELOADING=1\nMONOTONIC_USEC={at}"),
            Said::Stopping => "STOPPING=1".to_owned(),
            Said::Watchdog => "WATCHDOG=1".to_owned(),
            Said::Extend(by) => format!("EXTEND_TIMEOUT_USEC={}", by.as_micros()),
            Said::Main(process) => format!("MAINPID={process}"),
            // One line, whatever is in it.
            Said::Status(status) => format!("STATUS={}", status.replace(['\n', '\r'], "; ")),
        });
    }
    lines.join("\n")
}

/// How the process stands when the manager is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not all workers serve yet.
    Starting,
    Serving,
    /// Until the end, what runs is finished.
    Ending,
    /// The manager watches another process: the one that this one takes over from, or the one that took over.
    Unwatched,
}

/// What is told by itself, as time passes.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    is_ready: bool,
    watched: Option<Instant>,
    extended: Option<Instant>,
}

impl Pulse {
    /// What is due now. `is_stuck`: a worker does not show itself.
    pub(super) fn due(
        &mut self,
        notify: &Notify,
        clock: Clock,
        standing: Standing,
        is_stuck: bool,
    ) -> Vec<Said<'static>> {
        let mut said = Vec::new();
        let now = clock.now();
        let passed = |last: Option<Instant>, every: Duration| {
            last.is_none_or(|last| clock.real(now.since(last)) >= every)
        };
        if notify.socket.is_none() || standing == Standing::Unwatched {
            return said;
        }
        if standing == Standing::Serving && !self.is_ready {
            self.is_ready = true;
            said.extend([Said::Ready, Said::Status("serving")]);
        }
        if let Some(every) = notify.watchdog
            && !is_stuck
            && passed(self.watched, every)
        {
            self.watched = Some(now);
            said.push(Said::Watchdog);
        }
        if standing == Standing::Ending && passed(self.extended, EXTEND_EVERY) {
            self.extended = Some(now);
            said.push(Said::Extend(EXTEND_BY));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(name: &SocketAddr) -> UnixDatagram {
        let socket = UnixDatagram::bind_addr(name).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    fn received(socket: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 512];
        let count = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..count].to_vec()).unwrap())
    }

    /// A manager under an abstract name of this test's own, and a process that tells it.
    fn manager(test: &str, watchdog: &str, of: &str, successor: bool) -> (UnixDatagram, Notify) {
        let name = format!("plimsoll-notify-{}-{test}", std::process::id());
        let socket = listening(&SocketAddr::from_abstract_name(&name).unwrap());
        let variables = |asked: &str| match asked {
            "NOTIFY_SOCKET" => Some(format!("@{name}").into()),
            "WATCHDOG_USEC" => Some(watchdog.into()),
            "WATCHDOG_PID" => Some(of.into()),
            _ => None,
        };
        (socket, Notify::from_environment(&variables, successor))
    }

    #[test]
    fn what_belongs_together_is_one_datagram() {
        let (socket, notify) = manager("together", "", "", false);
        notify.tell(&[Said::Reloading(17), Said::Status("a\nb")]);
        let told = received(&socket).unwrap();
        assert_eq!(told, "RELOADING=1\nMONOTONIC_USEC=17\nSTATUS=a; b");
        assert_eq!(received(&socket), None);
        notify.tell(&[Said::Stopping, Said::Main(4)]);
        assert_eq!(received(&socket).unwrap(), "STOPPING=1\nMAINPID=4");
    }

    #[test]
    fn nobody_is_told_where_nobody_asks_and_a_manager_that_is_gone_does_no_harm() {
        let off = Notify::from_environment(&|_| None, false);
        off.tell(&[Said::Ready]);
        let (socket, notify) = manager("gone", "1000000", "", false);
        drop(socket);
        notify.tell(&[Said::Ready]);
        let odd = Notify::from_environment(&|_| Some("vsock:2:1".into()), false);
        assert!(odd.socket.is_none());
    }

    #[test]
    fn the_watchdog_of_another_process_is_left_to_it_but_not_that_of_the_predecessor() {
        let own = std::process::id().to_string();
        let half = Some(Duration::from_secs(1));
        assert_eq!(manager("own", "2000000", &own, false).1.watchdog, half);
        assert_eq!(manager("any", "2000000", "", false).1.watchdog, half);
        assert_eq!(manager("other", "2000000", "1", false).1.watchdog, None);
        assert_eq!(manager("successor", "2000000", "1", true).1.watchdog, half);
        assert_eq!(manager("zero", "0", "", false).1.watchdog, None);
    }

    #[test]
    fn it_is_ready_once_and_fed_unless_a_worker_is_stuck() {
        let (_socket, notify) = manager("pulse", "2", "", false);
        // A microsecond later it is due again.
        let clock = Clock::scaled(1_000_000);
        let (mut pulse, mut due) = (Pulse::default(), Vec::new());
        let mut look = |standing, is_stuck| {
            due = pulse.due(&notify, clock, standing, is_stuck);
            due.clone()
        };
        assert_eq!(look(Standing::Starting, false), [Said::Watchdog]);
        let ready = look(Standing::Serving, true);
        assert_eq!(ready, [Said::Ready, Said::Status("serving")]);
        assert_eq!(look(Standing::Serving, true), []);
        let ending = look(Standing::Ending, true);
        assert_eq!(ending, [Said::Extend(EXTEND_BY)]);
        assert_eq!(look(Standing::Ending, true), []);
        assert_eq!(look(Standing::Unwatched, false), []);
    }
}
