//! `plimsoll password`: makes the lines of the files that say who may enter a route.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

use anyhow::Context;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::{USAGE, print, say};
use crate::entropy;
use crate::limit::auth::password::{Hash, ITERATIONS};
use crate::limit::auth::{is_name, key_line};

/// Make a line of a users file, or with --key of a keys file.
///
/// The password is read from the terminal without showing it, or as the first line of what is piped in. Append the line
/// to the file that `auth.basic.users_file` or `auth.api_key.keys_file` names, and reload:
///
///   plimsoll password ops >> users
///   plimsoll password --key partner >> keys    # shows the key once, on stderr
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The user, or whose key it is: letters, digits and signs of ASCII, without spaces and colons.
    pub name: String,
    /// Make a key by chance instead of asking for a password.
    #[arg(long)]
    pub key: bool,
    /// How often the password is hashed (PBKDF2 with HMAC-SHA-256).
    #[arg(long, value_name = "COUNT", default_value_t = ITERATIONS, conflicts_with = "key",
        value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    pub iterations: u32,
}

/// Bytes of a password. More than anybody remembers.
const PASSWORD_BYTES: u64 = 4096;

/// Writes one line to stdout. Exit code 2 for a name that will not do, or no password.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if !is_name(&args.name) {
        say("error: a name has letters, digits and signs of ASCII, without spaces and colons");
        return Ok(USAGE.into());
    }
    if args.key {
        let key: String = entropy::system_secret()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        say(&format!("key, shown only now: {key}"));
        print(&format!("{}\n", key_line(&args.name, key.as_bytes())))?;
        return Ok(ExitCode::SUCCESS);
    }
    let password = ask(&args.name)?;
    if password.is_empty() {
        say("error: the password is empty");
        return Ok(USAGE.into());
    }
    let salt = entropy::system_secret();
    let hash = Hash::make(&password, &salt[..16], args.iterations)?;
    print(&format!("{}:{hash}\n", args.name))?;
    Ok(ExitCode::SUCCESS)
}

/// The password, from a terminal twice.
fn ask(name: &str) -> anyhow::Result<Vec<u8>> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return line();
    }
    let shown = tcgetattr(&stdin).context("cannot ask the terminal")?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Now, &hidden).context("cannot hide what is typed")?;
    let typed = prompt(&format!("password of {name}: "))
        .and_then(|first| Ok((first, prompt("once more: ")?)));
    tcsetattr(&stdin, OptionalActions::Now, &shown).context("cannot show what is typed again")?;
    let (first, second) = typed?;
    anyhow::ensure!(first == second, "the two are not the same");
    Ok(first)
}

fn prompt(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut terminal = std::io::stderr();
    let _ = write!(terminal, "{text}").and_then(|()| terminal.flush());
    let typed = line();
    say("");
    typed
}

/// The first line of stdin, without its end.
fn line() -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut stdin = std::io::stdin().lock().take(PASSWORD_BYTES + 2);
    stdin
        .read_until(b'\n', &mut line)
        .context("cannot read the password")?;
    let ends: &[&[u8]] = &[b"\r\n", b"\n"];
    for end in ends {
        if let Some(rest) = line.strip_suffix(*end) {
            line.truncate(rest.len());
            break;
        }
    }
    anyhow::ensure!(
        line.len() as u64 <= PASSWORD_BYTES,
        "the password has more than {PASSWORD_BYTES} bytes"
    );
    anyhow::ensure!(
        !line.iter().any(u8::is_ascii_control),
        "the password holds a control character, which no client may send (RFC 7617, 2)"
    );
    Ok(line)
}
