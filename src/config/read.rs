//! From a file to a [`Config`], or to every reason why not.

use std::path::Path;
use std::rc::Rc;

use super::cursor::Reader;
use super::diagnostic::{Mark, Problem};
use super::places::Places;
use super::schema::{Admin, Config, Endpoint};
use super::setting::Setting as _;
use super::{tree, validate};
use crate::file;

pub use super::diagnostic::{Diagnostic, Refusal};

/// Bytes of a configuration file. Ten thousand routes need about one MiB.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A configuration that can be used, and what seems odd about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Diagnostic>,
    /// For what only a later stage can tell about the file.
    pub places: Places,
}

/// Reads the file at `path`; `env` answers for `${VAR}`.
///
/// A file that cannot be read, is no UTF-8 or is larger than [`MAX_BYTES`] is refused with one
/// diagnostic at line 0.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Refusal> {
    from_bytes(&path.display().to_string(), bytes(path), env)
}

/// The same with what `bytes` gave; `name` stands for the file.
pub fn from_bytes(
    name: &str,
    bytes: std::io::Result<Vec<u8>>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Refusal> {
    let refuse = |message: String, help: Option<&str>, unreadable: bool| {
        let problem = Problem::error(Mark::default(), String::new(), message);
        let problem = match help {
            Some(help) => problem.help(help),
            None => problem,
        };
        Refusal {
            diagnostics: vec![problem.locate(name, &[])],
            unreadable,
        }
    };
    let bytes = bytes.map_err(|error| refuse(format!("cannot be read: {error}"), None, true))?;
    match String::from_utf8(bytes) {
        Ok(text) => from_text(name, &text, env),
        Err(error) => {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            let message = format!("not UTF-8: line {line} holds other bytes");
            Err(refuse(message, Some("save the file as UTF-8"), false))
        }
    }
}

/// The `admin` of the file at `path`, whatever else is wrong with it: whoever wants to ask a running process about its broken
/// file must find that process by the same file.
pub fn admin(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Option<Admin> {
    let text = String::from_utf8(bytes(path).ok()?).ok()?;
    let mut reader = Reader::new(env);
    let root = tree::parse(&text, &mut reader.problems)?;
    Admin::read(&root.child("admin")?.node, &mut reader)
}

/// Reads a file of endpoints; `name` stands for it in diagnostics. An empty text names none.
pub fn endpoints(
    name: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Endpoint>, Refusal> {
    let mut reader = Reader::new(env);
    let root = tree::parse(text, &mut reader.problems);
    let endpoints = match root {
        Some(root) if !matches!(root.value, tree::Value::Null) => {
            let endpoints = Vec::<Endpoint>::read(&root, &mut reader);
            if let Some(endpoints) = &endpoints {
                validate::endpoints(&root, endpoints, &mut reader);
            }
            endpoints
        }
        _ => Some(Vec::new()),
    };
    let refuse = reader.problems.refuse();
    match endpoints {
        Some(endpoints) if !refuse => Ok(endpoints),
        _ => Err(Refusal {
            diagnostics: reader.problems.into_diagnostics(name, text),
            unreadable: false,
        }),
    }
}

/// The bytes of a file, or of a pipe that a shell has made, of which one may be more than [`MAX_BYTES`].
pub fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    // One byte more than allowed tells a file of just the allowed size from a larger one.
    file::read_or_pipe(path, MAX_BYTES + 1)
}

/// Reads `text`; `name` stands for the file in diagnostics.
pub fn from_text(
    name: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Refusal> {
    let mut reader = Reader::new(env);
    let config = if text.len() as u64 > MAX_BYTES {
        let message = format!("the file is larger than {} MiB", MAX_BYTES >> 20);
        reader
            .problems
            .push(Problem::error(Mark::default(), String::new(), message));
        None
    } else {
        read_tree(text, &mut reader)
    };
    let refuse = reader.problems.refuse();
    let diagnostics = reader.problems.into_diagnostics(name, text);
    match config {
        Some((config, root)) if !refuse => Ok(Loaded {
            config,
            warnings: diagnostics,
            places: Places::new(name, text, root),
        }),
        _ => Err(Refusal {
            diagnostics,
            unreadable: false,
        }),
    }
}

fn read_tree(text: &str, reader: &mut Reader<'_>) -> Option<(Config, Rc<tree::Node>)> {
    let Some(root) = tree::parse(text, &mut reader.problems) else {
        if !reader.problems.refuse() {
            validate::nothing(reader);
        }
        return None;
    };
    if matches!(root.value, tree::Value::Null) {
        validate::nothing(reader);
        return None;
    }
    let names = |key: &str| match root.child(key) {
        Some(entry) => entry
            .node
            .entries()
            .iter()
            .map(|entry| entry.key.clone())
            .collect(),
        None => std::collections::BTreeSet::new(),
    };
    (reader.names.listeners, reader.names.upstreams) = (names("listeners"), names("upstreams"));
    let limiters = validate::LIMITERS.into_iter().flat_map(names);
    reader.names.limiters = limiters.collect();
    let config = Config::read(&root, reader)?;
    validate::cross_check(&root, &config, reader);
    Some((config, root))
}
