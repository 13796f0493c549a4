//! What one value alone cannot show: duplicates, blocks that nothing uses, warnings.
//!
//! Types, ranges, patterns and references are checked where each value is read (`kinds.rs`).
//! Not here: whether files exist and addresses are free, which only a start can tell.

mod auth;
mod balance;
mod bulkhead;
mod discovery;
mod edge;
mod faults;
mod fields;
mod health;
mod idempotency;
mod limits;
mod retries;
mod sessions;
mod subsets;
mod tls;
mod upstream;
mod watched;

pub(crate) use limits::LIMITERS;

use std::collections::{BTreeSet, HashMap};

use super::cursor::Reader;
use super::diagnostic::{Mark, Problem};
use super::schema::{Action, Address, Auth, Config, Endpoint, PathMatch, Rewrite, TrustedProxy};
use super::tree::{Entry, Node, Value};

/// Refuses a file with nothing in it.
pub(crate) fn nothing(reader: &mut Reader<'_>) {
    let problem = Problem::error(Mark::point(1, 1), String::new(), "the file is empty");
    reader.problems.push(
        problem.help("at least `listeners` must be given: nothing would be served otherwise"),
    );
}

/// Checks what spans several entries of a file of endpoints.
pub(crate) fn endpoints(root: &Node, endpoints: &[Endpoint], reader: &mut Reader<'_>) {
    if let Value::List(items) = &root.value
        && items.len() == endpoints.len()
    {
        upstream::duplicates("", endpoints, items, reader);
    }
}

/// Checks what spans several blocks of the file.
pub(crate) fn cross_check(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    listeners(root, config, reader);
    route_names(root, config, reader);
    idle_edits(root, config, reader);
    faults::check(root, config, reader);
    for entry in entries(root, "upstreams") {
        if let Some(upstream) = config.upstreams.get(&entry.key) {
            upstream::endpoints(&entry.key, entry, upstream, reader);
            upstream::warnings(&entry.key, entry, upstream, reader);
            watched::upstream(&entry.key, entry, upstream, reader);
            bulkhead::warnings(&entry.key, entry, upstream, reader);
            retries::one(&entry.key, entry, upstream, reader);
            balance::options(&entry.key, entry, upstream, reader);
            balance::endpoints(&entry.key, entry, upstream, reader);
            health::check(&entry.key, entry, upstream, reader);
            discovery::check(&entry.key, entry, upstream, reader);
            sessions::one(&entry.key, entry, upstream, config, reader);
        }
    }
    sessions::all(root, config, reader);
    watched::routes(root, config, reader);
    subsets::check(root, config, reader);
    idempotency::check(root, config, reader);
    auth::check(root, config, reader);
    limits::check(root, config, reader);
    tls::check(root, config, reader);
    zones(root, config, reader);
    explained_to_all(root, config, reader);
    unused(root, config, reader);
    open_admin(root, config, reader);
    edge::check(root, config, reader);
}

fn child<'n>(node: &'n Node, keys: &[&str]) -> Option<&'n Entry> {
    let (first, rest) = keys.split_first()?;
    let entry = node.child(first)?;
    if rest.is_empty() {
        Some(entry)
    } else {
        child(&entry.node, rest)
    }
}

fn entries<'n>(root: &'n Node, key: &str) -> &'n [Entry] {
    root.child(key).map_or(&[], |entry| entry.node.entries())
}

/// Whether `off` was written.
fn is_off(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar { text, plain: true } if text == "off")
}

fn warn(reader: &mut Reader<'_>, mark: Mark, path: String, message: impl Into<String>, help: &str) {
    reader
        .problems
        .push(Problem::warning(mark, path, message).help(help));
}

fn listeners(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    match root.child("listeners") {
        Some(entry)
            if entry.node.entries().is_empty()
                && matches!(entry.node.value, Value::Map(_) | Value::Null) =>
        {
            reader.error_at_key(
                "listeners",
                entry.mark,
                "no listener is given: nothing would be served".to_owned(),
                None,
            );
        }
        Some(_) => {}
        None => {
            let help = "add `listeners: { web: { address: \"0.0.0.0:8080\" } }`".to_owned();
            reader.error_at_key(
                "listeners",
                root.mark,
                "no listener is given: nothing would be served".to_owned(),
                Some(help),
            );
        }
    }
    let admin = config
        .admin
        .as_ref()
        .map(|admin| ("admin".to_owned(), &admin.address));
    let all = config
        .listeners
        .iter()
        .map(|(name, listener)| (format!("listeners.{name}"), &listener.address));
    let mut owners: HashMap<&Address, String> = HashMap::new();
    for (path, address) in all.chain(admin) {
        // Port 0 is a different port each time.
        if matches!(address, Address::Tcp(address) if address.port() == 0) {
            continue;
        }
        let Some(first) = owners.get(address) else {
            owners.insert(address, path);
            continue;
        };
        let keys: Vec<&str> = path.splitn(2, '.').chain(["address"]).collect();
        let mark = child(root, &keys).map_or(root.mark, |entry| entry.node.mark);
        let message = format!("`{first}` has the same address; the second could not be bound");
        reader
            .problems
            .push(Problem::error(mark, format!("{path}.address"), message));
    }
}

/// Numbers are kept by identity, so no two routes share one. A route with an error in it has no
/// identity yet, and the positions behind it no longer agree; its error comes first.
fn route_names(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    let Some(Value::List(items)) = root.child("routes").map(|entry| &entry.node.value) else {
        return;
    };
    if items.len() != config.routes.len() {
        return;
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (index, (route, item)) in config.routes.iter().zip(items).enumerate() {
        let identity = route.identity();
        let Some(first) = seen.get(&identity) else {
            seen.insert(identity, index);
            continue;
        };
        let problem = match item.child("name").filter(|_| route.name.is_some()) {
            Some(name) => {
                let message = format!(
                    "routes[{first}] has the same name; their numbers could not be told apart"
                );
                Problem::error(name.node.mark, format!("routes[{index}].name"), message)
            }
            None => {
                let message = format!(
                    "routes[{first}] has the same match, so that nothing would reach this route"
                );
                let mark = item
                    .child("match")
                    .map_or(item.mark, |entry| entry.node.mark);
                Problem::error(mark, format!("routes[{index}]"), message)
                    .help("remove one of the two, or match more narrowly")
            }
        };
        reader.problems.push(problem);
    }
}

/// Keys of a route that its action leaves without effect.
fn idle_edits(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    let Some(Value::List(items)) = root.child("routes").map(|entry| &entry.node.value) else {
        return;
    };
    if items.len() != config.routes.len() {
        return;
    }
    for (index, (route, item)) in config.routes.iter().zip(items).enumerate() {
        let direct = matches!(route.action, Action::Redirect(_) | Action::Respond(_));
        for key in ["subset", "rewrite", "host", "request_headers"] {
            if let Some(entry) = item.child(key).filter(|_| direct) {
                let message = "without effect: the route answers itself and forwards nothing";
                warn(
                    reader,
                    entry.mark,
                    format!("routes[{index}].{key}"),
                    message,
                    "remove it",
                );
            }
        }
        let regex = matches!(route.matcher.path, Some(PathMatch::Regex(_)));
        if let (true, Some(Rewrite::Prefix(_)), Some(entry)) =
            (regex, &route.rewrite, item.child("rewrite"))
        {
            let message = "a path matched by a regular expression has no prefix to replace";
            let problem =
                Problem::error(entry.node.mark, format!("routes[{index}].rewrite"), message);
            reader
                .problems
                .push(problem.help("write `{ regex: …, to: … }` or `{ path: … }`"));
        }
    }
}

/// Whoever is not on this host must show a token.
fn open_admin(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    let Some(admin) = &config.admin else {
        return;
    };
    let is_open = !admin.address.is_local() && admin.token_file.is_none();
    if let (true, Some(entry)) = (is_open, child(root, &["admin", "address"])) {
        let message = "not on loopback: whoever reaches the address could change what runs";
        let help =
            "name a file of tokens in `admin.token_file`, or listen on 127.0.0.1 or a Unix socket";
        let path = "admin.address".to_owned();
        let problem = Problem::error(entry.node.mark, path, message.to_owned()).help(help);
        reader.problems.push(problem);
    }
}

/// Zones that are compared with nothing.
fn zones(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    let of_endpoint = entries(root, "upstreams").iter().find_map(zone_of_endpoint);
    match (root.child("zone"), of_endpoint) {
        (Some(own), None) if config.zone.is_some() => {
            let message = "without effect: no endpoint is in a zone";
            let help = "give endpoints their `zone`, or remove it";
            warn(reader, own.mark, "zone".to_owned(), message, help);
        }
        (None, Some((path, zone))) => {
            let message = "without effect: where this proxy stands is not known";
            warn(
                reader,
                zone.mark,
                path,
                message,
                "add `zone: …` at the top of the file",
            );
        }
        _ => {}
    }
}

/// The first zone that an endpoint of `upstream` is in, with its path.
fn zone_of_endpoint(upstream: &Entry) -> Option<(String, &Entry)> {
    let Value::List(items) = &upstream.node.child("endpoints")?.node.value else {
        return None;
    };
    items.iter().enumerate().find_map(|(index, item)| {
        let zone = item.child("zone").filter(|zone| !is_off(&zone.node))?;
        let path = format!("upstreams.{}.endpoints[{index}].zone", upstream.key);
        Some((path, zone))
    })
}

/// Listeners that tell everybody which endpoints there are.
fn explained_to_all(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    for (name, listener) in &config.listeners {
        let all = listener
            .explain_to
            .iter()
            .any(|peer| matches!(peer, TrustedProxy::Network(network) if network.prefix == 0));
        if let (true, Some(entry)) = (all, child(root, &["listeners", name, "explain_to"])) {
            let message = "holds every address: whoever asks is told the endpoints and their load";
            let help = "name the networks of those who look into it";
            warn(
                reader,
                entry.node.mark,
                format!("listeners.{name}.explain_to"),
                message,
                help,
            );
        }
    }
}

/// Listeners that no route serves and upstreams that no route names.
fn unused(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    // A route with an error in it may be the one that is missed.
    let routes = root.child("routes").map(|entry| &entry.node.value);
    if matches!(routes, Some(Value::List(items)) if items.len() != config.routes.len()) {
        return;
    }
    let mut named: BTreeSet<&str> = BTreeSet::new();
    let mut served: BTreeSet<&str> = BTreeSet::new();
    for route in &config.routes {
        named.extend(route.action.upstreams());
        named.extend(route.auth.iter().filter_map(Auth::upstream));
        served.extend(route.matcher.listener.iter().map(String::as_str));
    }
    let any = config
        .routes
        .iter()
        .any(|route| route.matcher.listener.is_empty());
    for entry in entries(root, "listeners")
        .iter()
        .filter(|entry| !any && !served.contains(&*entry.key))
    {
        let message = "no route serves this listener: every request would be answered with 404";
        let help = "add a route, or remove the listener";
        warn(
            reader,
            entry.mark,
            format!("listeners.{}", entry.key),
            message,
            help,
        );
    }
    for entry in entries(root, "upstreams")
        .iter()
        .filter(|entry| !named.contains(&*entry.key))
    {
        let path = format!("upstreams.{}", entry.key);
        warn(
            reader,
            entry.mark,
            path,
            "no route names this upstream",
            "add a route, or remove it",
        );
    }
}
