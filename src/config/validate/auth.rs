//! Who may enter a route, where that could not work as it is written.

use super::fields::Meaning;
use super::{child, fields, is_off, warn};
use crate::config::cursor::Reader;
use crate::config::schema::{Address, Auth, AuthWay, Config};
use crate::config::tree::{Entry, Node, Value};

/// The `auth` of every route.
pub(super) fn check(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    let Some(Value::List(items)) = root.child("routes").map(|entry| &entry.node.value) else {
        return;
    };
    // With a faulty route the positions no longer agree; its error comes first.
    if items.len() != config.routes.len() {
        return;
    }
    for (index, (route, item)) in config.routes.iter().zip(items).enumerate() {
        let written = item.child("auth").filter(|entry| !is_off(&entry.node));
        if let (Some(auth), Some(entry)) = (&route.auth, written) {
            of_route(
                &format!("routes[{index}].auth"),
                entry,
                auth,
                config,
                reader,
            );
        }
    }
}

fn of_route(path: &str, entry: &Entry, auth: &Auth, config: &Config, reader: &mut Reader<'_>) {
    let mark = |keys: &[&str]| child(&entry.node, keys).map_or(entry.mark, |entry| entry.node.mark);
    told(path, entry, auth, reader);
    let AuthWay::Forward(forward) = &auth.way else {
        return;
    };
    if auth.keep_credentials {
        let message = "without effect: with `forward` nothing is taken away";
        let path = format!("{path}.keep_credentials");
        warn(
            reader,
            mark(&["keep_credentials"]),
            path,
            message,
            "remove it",
        );
    }
    let endpoints = config.upstreams.get(&forward.upstream);
    let endpoints = endpoints.iter().flat_map(|upstream| &upstream.endpoints);
    let own = config.listeners.values().find_map(|listener| {
        let Address::Tcp(address) = &listener.address else {
            return None;
        };
        let port = format!(":{}", address.port());
        let mut endpoints = endpoints.clone();
        endpoints.find_map(|endpoint| {
            let host = endpoint.address.strip_suffix(&port)?;
            let is_here = host == "localhost"
                || host.parse().is_ok_and(|host: std::net::IpAddr| {
                    host == address.ip() || (address.ip().is_unspecified() && host.is_loopback())
                });
            is_here.then_some(&endpoint.address)
        })
    });
    if let Some(own) = own {
        let message = format!(
            "the service is asked at `{own}`, where this proxy listens: if the route that takes the question asks in turn, no question ends before its `timeout`"
        );
        let path = format!("{path}.forward.upstream");
        let help = "name the endpoints of the service itself";
        warn(reader, mark(&["forward", "upstream"]), path, message, help);
    }
}

/// The fields by which it is told who it is, by clients and to endpoints.
fn told(path: &str, entry: &Entry, auth: &Auth, reader: &mut Reader<'_>) {
    let help = "choose a name of your own, such as `X-User`";
    if let (Some(name), Some(written)) =
        (&auth.identity_header, entry.node.child("identity_header"))
    {
        let place = (written.node.mark, format!("{path}.identity_header"), help);
        fields::own(name, &[], place, reader);
    }
    if let AuthWay::ApiKey(api_key) = &auth.way
        && let (Some(name), Some(written)) =
            (&api_key.header, child(&entry.node, &["api_key", "header"]))
    {
        // The field is taken away when it was read.
        let path = format!("{path}.api_key.header");
        let help = "choose a name such as `X-Api-Key`, or `Authorization` for bearer tokens";
        let place = (written.node.mark, path, help);
        fields::own(name, &[Meaning::Credentials], place, reader);
    }
    let AuthWay::Forward(forward) = &auth.way else {
        return;
    };
    let written = child(&entry.node, &["forward", "copy"]).map(|entry| &entry.node.value);
    let Some(Value::List(items)) = written else {
        return;
    };
    // With a faulty name the positions no longer agree; its error comes first.
    if items.len() != forward.copy.len() {
        return;
    }
    for (index, (name, item)) in forward.copy.iter().zip(items).enumerate() {
        // A service may put its own credentials in place of the client's, and speak for it where the client may.
        let but = [Meaning::Credentials, Meaning::Content];
        let place = (
            item.mark,
            format!("{path}.forward.copy[{index}]"),
            "remove it",
        );
        fields::own(name, &but, place, reader);
    }
}
