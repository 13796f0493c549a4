//! `plimsoll diff`: what a reload would change in a running process.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::StatusCode;
use serde::Deserialize;

use super::{USAGE, ask, print, say};
use crate::config::Address;
use crate::config::difference::Difference;
use crate::lifecycle::diff::Diff;

/// Compare the configuration file of a running process, as it is now, with what is in force there.
///
/// Says which objects a reload would change, and which keys differ as they are written. Exit code 0 whether anything differs
/// or not, 2 when the file cannot be put in force.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where its admin API listens; by default as plimsoll.yaml here or in /etc/plimsoll says, else 127.0.0.1:9900.
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<Address>,
    /// For programs: the answer of `/api/v1/diff` as it is.
    #[arg(long)]
    pub json: bool,
    /// Exit code 1 when anything differs.
    #[arg(long)]
    pub exit_code: bool,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

/// Asks once.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let admin = ask::admin(args.admin.as_ref());
    let (status, body) = ask::ask(&admin, "/api/v1/diff", Duration::from_secs(10))?;
    let unknown = || format!("{admin} is no admin API of this version");
    if args.json {
        print(&String::from_utf8_lossy(&body))?;
    }
    if status == StatusCode::CONFLICT {
        let refused: Refused = serde_json::from_slice(&body).with_context(unknown)?;
        if !args.json {
            say(&format!(
                "{}\nplimsoll: a reload would be refused",
                refused.error
            ));
        }
        return Ok(USAGE.into());
    }
    if !status.is_success() {
        bail!("the admin API at {admin} answers {status}");
    }
    let diff: Diff = serde_json::from_slice(&body).with_context(unknown)?;
    if !args.json {
        print(&render(&diff))?;
    }
    Ok(if args.exit_code && diff.differs {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn render(diff: &Diff) -> String {
    let (file, generation) = (&diff.file, diff.generation);
    if !diff.differs {
        return format!("{file} is as it is in force, generation {generation}\n");
    }
    let mut text = format!("{file} beside generation {generation}, which is in force:\n");
    for line in diff.changes.lines() {
        let _ = writeln!(text, "  {line}");
    }
    if diff.changes.is_nothing() {
        text.push_str("  nothing that a reload would change\n");
    }
    if !diff.keys.is_empty() {
        text.push('\n');
    }
    for key in &diff.keys {
        let Difference {
            path,
            before,
            after,
        } = key;
        let _ = match (before, after) {
            (None, Some(after)) => writeln!(text, "+ {path}: {after}"),
            (Some(before), None) => writeln!(text, "- {path}: {before}"),
            (before, after) => writeln!(
                text,
                "~ {path}: {} -> {}",
                before.as_deref().unwrap_or_default(),
                after.as_deref().unwrap_or_default()
            ),
        };
    }
    if diff.more > 0 {
        let _ = writeln!(text, "and {} more keys", diff.more);
    }
    if !diff.fixed.is_empty() {
        let keys = diff.fixed.join(", ");
        let _ = writeln!(
            text,
            "\na reload would be refused: these keys cannot change while the process runs: {keys}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Changes;

    fn diff(keys: Vec<Difference>) -> Diff {
        Diff {
            file: "plimsoll.yaml".to_owned(),
            generation: 3,
            differs: !keys.is_empty(),
            changes: Changes::default(),
            keys,
            more: 0,
            fixed: Vec::new(),
        }
    }

    #[test]
    fn keys_are_shown_by_what_became_of_them() {
        let key = |path: &str, before: Option<&str>, after: Option<&str>| Difference {
            path: path.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        let keys = vec![
            key("a", None, Some("1")),
            key("b", Some("1"), None),
            key("c", Some("1"), Some("2")),
        ];
        assert_eq!(
            render(&diff(keys)),
            "plimsoll.yaml beside generation 3, which is in force:\n  nothing that a reload would change\n\n\
             + a: 1\n- b: 1\n~ c: 1 -> 2\n"
        );
        assert_eq!(
            render(&diff(Vec::new())),
            "plimsoll.yaml is as it is in force, generation 3\n"
        );
    }
}
