//! Fields by which endpoints would be told of a client, that mean something else.

use std::collections::BTreeSet;

use super::{child, entries, fields, warn};
use crate::config::cursor::Reader;
use crate::config::diagnostic::Problem;
use crate::config::schema::{ClientAuthMode, Config};
use crate::config::tree::Node;

/// What clients are asked for, and what is told of it.
pub(super) fn check(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    for entry in entries(root, "listeners") {
        let listener = config.listeners.get(&entry.key);
        let client = listener.and_then(|one| one.tls.as_ref()?.client.as_ref());
        let (Some(client), Some(place)) = (client, child(&entry.node, &["tls", "client"])) else {
            continue;
        };
        let path = format!("listeners.{}.tls.client", entry.key);
        let mut names = BTreeSet::new();
        for (name, _) in &client.header {
            let lower = name.to_ascii_lowercase();
            let written = child(&place.node, &["header", name]);
            let mark = written.map_or(place.mark, |written| written.mark);
            let told = format!("{path}.header.{name}");
            let help = "choose a name of your own, such as `X-Client-Subject`";
            if fields::own(name, &[], (mark, told.clone(), help), reader)
                && !names.insert(lower.replace('_', "-"))
            {
                let message = "many applications take this name and another one here for the same";
                let problem = Problem::error(mark, told, message);
                reader.problems.push(problem.help("give it another name"));
            }
        }
        if client.mode == ClientAuthMode::Optional && client.header.is_empty() {
            let message = "certificates are asked for and nothing comes of them";
            let help = "name a `header` by which endpoints are told, or write `mode: require`";
            warn(reader, place.mark, path, message, help);
        }
    }
}
