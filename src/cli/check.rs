//! `plimsoll check`: what is wrong with a configuration, all of it at once.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{UNAVAILABLE, USAGE, config_path, print, say};
use crate::config::{Config, Diagnostic, Level, Loaded, Refusal, check, read};
use crate::route::Table;

/// Check a configuration and say everything that is wrong with it.
///
/// Exit code 0 when it can be used, 2 when not, 3 when it cannot be read. Nothing is resolved, opened or bound.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration; by default ./plimsoll.yaml, then /etc/plimsoll/plimsoll.yaml.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// For programs: the findings as JSON, on stdout.
    #[arg(long)]
    pub json: bool,
    /// Warnings count as errors.
    #[arg(long)]
    pub strict: bool,
}

/// Checks one file.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = config_path(args.file.as_deref());
    let name = path.display().to_string();
    let outcome = read::load(&path, &|variable| std::env::var(variable).ok());
    let outcome = outcome.and_then(|loaded| with_routes(&name, loaded));
    if args.json {
        print(&format!("{:#}\n", check::json(&name, &outcome)))?;
    } else if outcome.is_ok() {
        print(&format!("{}\n", check::text(&name, &outcome)))?;
    } else {
        say(&check::text(&name, &outcome));
    }
    Ok(match outcome {
        Err(refusal) if refusal.unreadable => UNAVAILABLE.into(),
        Err(_) => USAGE.into(),
        Ok(loaded) if args.strict && !loaded.warnings.is_empty() => USAGE.into(),
        Ok(_) => ExitCode::SUCCESS,
    })
}

/// Adds what only the compiled routes can tell: what cannot be compiled, and what can never match.
fn with_routes(file: &str, mut loaded: Loaded) -> Result<Loaded, Refusal> {
    match compile(&loaded.config) {
        Ok(table) => {
            loaded.warnings.extend(unreachable(file, &table));
            Ok(loaded)
        }
        Err(messages) => {
            let errors = messages
                .into_iter()
                .map(|message| finding(file, Level::Error, String::new(), message));
            loaded.warnings.extend(errors);
            Err(Refusal {
                diagnostics: loaded.warnings,
                unreadable: false,
            })
        }
    }
}

fn compile(config: &Config) -> Result<Table, Vec<String>> {
    let listeners: Vec<String> = config.listeners.keys().cloned().collect();
    let upstreams: Vec<String> = config.upstreams.keys().cloned().collect();
    Table::compile(&config.routes, &listeners, &upstreams)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn unreachable(file: &str, table: &Table) -> Vec<Diagnostic> {
    let routes = table.routes();
    let each = table.unreachable().into_iter();
    each.map(|(hidden, by)| {
        let message = format!(
            "the route `{}` can never match: `routes[{by}]`, `{}`, takes all of its requests",
            routes[hidden].name, routes[by].name
        );
        let mut warning = finding(file, Level::Warning, format!("routes[{hidden}]"), message);
        warning.help = Some("move it up, or remove it".to_owned());
        warning
    })
    .collect()
}

fn finding(file: &str, level: Level, path: String, message: String) -> Diagnostic {
    Diagnostic {
        level,
        file: file.to_owned(),
        line: 0,
        column: 0,
        path,
        message,
        help: None,
        snippet: String::new(),
    }
}
