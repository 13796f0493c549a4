//! What a reload cannot change while the process runs: whatever is bound to sockets and threads (pure).

use std::collections::BTreeMap;

use crate::config::{Config, Listener};

/// Every key that would have to change and cannot.
pub fn fixed(old: &Config, new: &Config) -> Vec<String> {
    let mut keys = listeners(&old.listeners, &new.listeners);
    if old.workers != new.workers {
        keys.push("workers".to_owned());
    }
    if old.admin != new.admin {
        keys.push("admin".to_owned());
    }
    if old.user != new.user {
        keys.push("user".to_owned());
    }
    if old.group != new.group {
        keys.push("group".to_owned());
    }
    if old.access_log != new.access_log {
        keys.push("access_log".to_owned());
    }
    keys
}

fn listeners(old: &BTreeMap<String, Listener>, new: &BTreeMap<String, Listener>) -> Vec<String> {
    let mut keys = Vec::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        keys.push(format!("listeners.{name} (removed)"));
    }
    for (name, listener) in new {
        match old.get(name) {
            None => keys.push(format!("listeners.{name} (added)")),
            Some(before) => {
                if before.address != listener.address {
                    keys.push(format!("listeners.{name}.address"));
                }
                if before.limits.connections != listener.limits.connections {
                    keys.push(format!("listeners.{name}.limits.connections"));
                }
                // Certificates change with the snapshot; what the clients were told to speak does not.
                if before.tls.is_some() != listener.tls.is_some() {
                    keys.push(format!("listeners.{name}.tls"));
                }
            }
        }
    }
    keys
}
