//! What `run`, `proxy` and `demo` share: start, serve until the end, and say how it ended by the exit code.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{UNAVAILABLE, USAGE, say};
use crate::clock::Clock;
use crate::config::{Config, Places};
use crate::lifecycle::{self, Ended, Options, Running, StartError, findings};
use crate::snapshot::CompileError;
use crate::tls::TlsError;

/// The file that a configuration was read from.
pub(super) struct Written {
    pub(super) path: PathBuf,
    pub(super) places: Places,
}

/// Starts and serves. `started` is called when everything is bound, before the first request is taken up.
pub(super) fn serve<T>(
    config: Config,
    written: Option<Written>,
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
    let running = match lifecycle::start(config, Clock::system()) {
        Ok(running) => running,
        Err(error) => {
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
    // Held until the end.
    let _company = started(&running)?;
    let options = Options {
        file: written.map(|written| (written.path, written.places.text().to_owned())),
        signals: true,
        say: Arc::new(say),
    };
    Ok(ended(&running.serve(options)))
}

/// Says why it ended, unless that was asked for and nothing was lost.
fn ended(ended: &Ended) -> ExitCode {
    match ended {
        Ended::Asked { cut: 0 } => return ExitCode::SUCCESS,
        Ended::Asked { cut } => {
            let plural = if *cut == 1 { "" } else { "s" };
            say(&format!("plimsoll: {cut} connection{plural} cut"));
        }
        Ended::Failed(reason) => say(&format!("plimsoll: {reason}")),
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
        CompileError::Upstream(UpstreamError::Secret { .. }) => UNAVAILABLE,
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
        assert_eq!(ended(&Ended::Asked { cut: 0 }), ExitCode::SUCCESS);
        assert_eq!(ended(&Ended::Asked { cut: 1 }), ExitCode::FAILURE);
        let failed = Ended::Failed("worker 1 ended: panicked".to_owned());
        assert_eq!(ended(&failed), ExitCode::FAILURE);
    }
}
