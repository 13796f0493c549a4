//! What `run`, `proxy` and `demo` share: start, serve until the end, and say how it ended by the exit code.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{UNAVAILABLE, USAGE, panic, say};
use crate::clock::Clock;
use crate::config::{Config, Places};
use crate::lifecycle::{
    self, Ended, Inherited, Notify, Options, Predecessor, Running, StartError, findings,
};
use crate::observe::console::Console;
use crate::snapshot::CompileError;
use crate::tls::TlsError;

/// The file that a configuration was read from.
pub(super) struct Written {
    pub(super) path: PathBuf,
    pub(super) places: Places,
}

/// Where the sockets come from that this process does not bind itself.
pub(super) struct Ancestry {
    predecessor: Option<Predecessor>,
    inherited: Inherited,
}

impl Ancestry {
    /// Asks the process that started this one, or the service manager.
    pub(super) fn find() -> std::io::Result<Self> {
        Ok(match Predecessor::find(&variable)? {
            Some((predecessor, inherited)) => Self {
                predecessor: Some(predecessor),
                inherited,
            },
            None => Self {
                predecessor: None,
                inherited: Inherited::from_manager(&variable)?,
            },
        })
    }

    /// Tells the process that this one was to take over from why it will not.
    pub(super) fn refuse(&self, reason: &str) {
        if let Some(predecessor) = &self.predecessor {
            predecessor.refuse(reason);
        }
    }
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Starts and serves. `started` is called when everything is bound, before the first request is taken up.
pub(super) fn serve<T>(
    config: Config,
    written: Option<Written>,
    ancestry: Ancestry,
    started: impl FnOnce(&Running) -> anyhow::Result<T>,
) -> anyhow::Result<ExitCode> {
    let admin = config.admin.as_ref();
    if admin.is_some_and(|admin| !admin.address.is_local() && admin.token_file.is_none()) {
        say(
            "plimsoll: an admin API that is not on loopback needs `admin.token_file`, which only a configuration file can name",
        );
        return Ok(USAGE.into());
    }
    raise_descriptors();
    let Ancestry {
        predecessor,
        inherited,
    } = ancestry;
    let running = match lifecycle::start_from(config, Clock::system(), inherited) {
        Ok(running) => running,
        Err(error) => {
            if let Some(predecessor) = &predecessor {
                predecessor.refuse(&error.to_string());
            }
            match (&error, &written) {
                (StartError::Compile(CompileError::Routes(errors)), Some(written)) => {
                    say(&findings::refusal(errors, &written.places).to_string());
                }
                _ => say(&format!("plimsoll: {error}")),
            }
            return Ok(exit_code(&error).into());
        }
    };
    if let Some(written) = &written {
        let snapshot = running.live.snapshot.load();
        for warning in findings::unreachable(&snapshot.config, &snapshot.routes, &written.places) {
            say(&warning.to_string());
        }
    }
    if predecessor.is_none() {
        for (name, address) in &running.unused {
            say(&format!(
                "plimsoll: the service manager passes the socket `{name}` at {address}, and no listener has this name or this address"
            ));
        }
    }
    // Held until the end.
    let _company = started(&running)?;
    // From here on nobody waits for whoever reads standard error.
    let console = Console::start(Arc::clone(&running.live.said))?;
    let (panics, says) = (console.clone(), console.clone());
    panic::tell(move |line| tell_panic(&panics, line));
    let options = Options {
        file: written.map(|written| (written.path, written.places.text().to_owned())),
        signals: true,
        say: Arc::new(move |line: &str| says.say(line)),
        notify: Notify::from_environment(&variable, predecessor.is_some()),
        predecessor,
    };
    let code = ended(&running.serve(options), &console);
    console.sync(LAST_LINES);
    Ok(code)
}

/// What standard error may take for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// A panic of the main thread is the end of the process, which does not wait for the lines.
fn tell_panic(console: &Console, line: &str) {
    console.say(line);
    if std::thread::current().name() == Some("main") {
        console.sync(LAST_LINES);
    }
}

/// Says why it ended, unless that was asked for and nothing was lost.
fn ended(ended: &Ended, console: &Console) -> ExitCode {
    match ended {
        Ended::Asked { cut: 0 } => return ExitCode::SUCCESS,
        Ended::Asked { cut } => {
            let plural = if *cut == 1 { "" } else { "s" };
            console.say(&format!("plimsoll: {cut} connection{plural} cut"));
        }
        Ended::Failed(reason) => console.say(&format!("plimsoll: {reason}")),
    }
    ExitCode::FAILURE
}

fn exit_code(error: &StartError) -> u8 {
    match error {
        StartError::Compile(error) => compile_code(error),
        StartError::Tls(source) => tls_code(source),
        StartError::Bind(_)
        | StartError::Log { .. }
        | StartError::Privileges(_)
        | StartError::Token(_) => UNAVAILABLE,
        StartError::Worker(_) | StartError::Names(_) => 1,
    }
}

/// The exit code for a configuration that cannot be put in force.
pub(super) fn compile_code(error: &CompileError) -> u8 {
    use crate::upstream::CompileError as UpstreamError;
    use crate::upstream::probe::CompileError as CheckError;
    match error {
        CompileError::Routes(_) | CompileError::Upstream(UpstreamError::Malformed { .. }) => USAGE,
        CompileError::Tls { source, .. }
        | CompileError::Upstream(UpstreamError::Tls { source, .. }) => tls_code(source),
        CompileError::Upstream(UpstreamError::Checks { source, .. }) => match source {
            CheckError::Tls(source) => tls_code(source),
            CheckError::Unsendable(_) => USAGE,
        },
        CompileError::Upstream(UpstreamError::Secret { .. }) | CompileError::Auth(_) => UNAVAILABLE,
    }
}

/// Whether the configuration asks for what cannot be, or a file of it cannot be read.
pub(super) fn tls_code(error: &TlsError) -> u8 {
    match error {
        TlsError::NoPair
        | TlsError::ServerName { .. }
        | TlsError::NoServerName
        | TlsError::UnixSocket { .. } => USAGE,
        TlsError::Read { .. }
        | TlsError::Pem { .. }
        | TlsError::NoCertificate { .. }
        | TlsError::NoKey { .. }
        | TlsError::EncryptedKey { .. }
        | TlsError::Ocsp { .. }
        | TlsError::Certificate { .. }
        | TlsError::Key { .. }
        | TlsError::Mismatch { .. }
        | TlsError::NoName { .. }
        | TlsError::NoRoots { .. } => UNAVAILABLE,
        TlsError::Library(_) => 1,
    }
}

/// Every connection needs a descriptor; the soft limit is often far below what the system would give.
pub(super) fn raise_descriptors() {
    let limits = getrlimit(Resource::Nofile);
    // Where it cannot be raised, the listeners pause when descriptors run out.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limits.maximum,
            ..limits
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_that_was_asked_for_and_cut_nothing_is_a_success() {
        let console = Console::start(Arc::default()).unwrap();
        let code = |end| ended(&end, &console);
        assert_eq!(code(Ended::Asked { cut: 0 }), ExitCode::SUCCESS);
        assert_eq!(code(Ended::Asked { cut: 1 }), ExitCode::FAILURE);
        let failed = Ended::Failed("worker 1 ended: panicked".to_owned());
        assert_eq!(code(failed), ExitCode::FAILURE);
    }
}
